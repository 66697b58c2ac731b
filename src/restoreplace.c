/*-------------------------------------------------------------------------
 *
 * restoreplace.c
 *	  Where a restored backup goes: its directory, and its tablespaces.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file_perm.h"

#include "engine/jet.h"
#include "restore_internal.h"

/* What a verification makes beside its source, and removes. */
#define SCRATCH_SUFFIX ".ese_verify"

/* Where a tablespace is restored to. */
typedef struct RestorePlace
{
	char	   *path;
	bool		made;			/* it was not there before */
} RestorePlace;

/* What a verification that was cut off has left goes. */
static bool
remove_stale_scratch(const char *path, TargetError *error)
{
	if (access(path, F_OK) != 0 || !target_has_file(path, TARGET_MARKER))
		return true;
	target_remove_contents(path);
	(void) unlink(psprintf("%s/%s", path, TARGET_MARKER));
	if (rmdir(path) != 0)
		return target_fail_errno(error, "remove directory", path);
	return true;
}

bool
restore_make_destination(Worker *worker, Restore *restore,
						 const Request *request, TargetError *error)
{
	const char *path = request->path;
	char		scratch[MAXPGPATH];

	if (restore->verify)
	{
		if (!restore->recover && !restore->source.tar)
			return true;
		strlcpy(scratch, restore->source.path, sizeof(scratch) - sizeof(SCRATCH_SUFFIX));
		strlcat(scratch, SCRATCH_SUFFIX, sizeof(scratch));
		path = scratch;
		if (!remove_stale_scratch(path, error))
			return false;
	}
	else if (target_lies_in(path, restore->source.path))
		return target_fail(error, JET_errInvalidPath,
						   "\"%s\" lies in the backup", path);
	return target_check(path, error) &&
		target_make(&worker->target, path,
					restore->verify ? "verification" : "restore",
					worker->instance->name, error);
}

/* Take a path of the map apart: line breaks in it are escaped. */
static char *
unescape(const char *from)
{
	char	   *path = palloc(strlen(from) + 1);
	char	   *to = path;

	for (; *from != '\0'; from++)
	{
		if (*from == '\\' && from[1] != '\0')
			from++;
		*to++ = *from;
	}
	*to = '\0';
	return path;
}

/* Where a tablespace is to go. */
static char *
choose_place(Restore *restore, const char *destination, const char *oid,
			 const char *original)
{
	ListCell   *cell;

	foreach(cell, restore->wanted_places)
	{
		WantedPlace *wanted = lfirst(cell);

		if (strcmp(wanted->key, oid) == 0 || strcmp(wanted->key, original) == 0)
		{
			wanted->used = true;
			return wanted->path;
		}
	}
	return psprintf("%s.%s", destination, oid);
}

static bool
make_place(Worker *worker, Restore *restore, const char *oid,
		   const char *original, TargetError *error)
{
	RestorePlace *place = palloc0(sizeof(RestorePlace));
	char	   *link = psprintf("pg_tblspc/%s", oid);

	place->path = choose_place(restore, worker->target.path, oid, original);
	if (!target_check(place->path, error))
		return false;
	if (target_lies_in(place->path, worker->target.path) ||
		target_lies_in(place->path, restore->source.path))
		return target_fail(error, JET_errInvalidPath,
						   "\"%s\", for tablespace %s, lies in the backup or in its destination",
						   place->path, oid);
	place->made = mkdir(place->path, pg_dir_create_mode) == 0;
	if (!place->made && errno != EEXIST)
		return target_fail_errno(error, "create directory", place->path);
	restore->places = lappend(restore->places, place);
	(void) chmod(place->path, pg_dir_create_mode);
	if (symlinkat(place->path, worker->target.directory, link) != 0)
		return target_fail_errno(error, "create symbolic link", link);
	return true;
}

bool
restore_make_places(Worker *worker, Restore *restore, TargetError *error)
{
	size_t		length;
	int			directory = restore->source.tar ? worker->target.directory :
		restore->source.directory;
	char	   *map = source_read_file(directory, "tablespace_map.original",
									   &length);
	char	   *line;
	ListCell   *cell;

	if (mkdirat(worker->target.directory, "pg_tblspc", pg_dir_create_mode) != 0 &&
		errno != EEXIST)
		return target_fail_errno(error, "create directory", "pg_tblspc");
	worker->target.linked = true;
	while (map != NULL && (line = strsep(&map, "\n")) != NULL)
	{
		char	   *path = strchr(line, ' ');

		if (path == NULL)
			continue;
		*path++ = '\0';
		if (strspn(line, "0123456789") != strlen(line))
			return target_fail(error, JET_errReadVerifyFailure,
							   "\"tablespace_map.original\" of the backup is damaged");
		if (!make_place(worker, restore, line, unescape(path), error))
			return false;
	}
	foreach(cell, restore->wanted_places)
	{
		WantedPlace *wanted = lfirst(cell);

		if (!wanted->used)
			return target_fail(error, JET_errInvalidParameter,
							   "the backup has no tablespace \"%s\"", wanted->key);
	}
	return true;
}

int
restore_open_directory(Worker *worker, Restore *restore, int n)
{
	RestorePlace *place;

	if (n == 0)
		return fcntl(worker->target.directory, F_DUPFD_CLOEXEC, 0);
	place = list_nth(restore->places, n - 1);
	return open(place->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

void
restore_remove_places(Restore *restore)
{
	ListCell   *cell;

	foreach(cell, restore->places)
	{
		RestorePlace *place = lfirst(cell);

		target_remove_contents(place->path);
		if (place->made)
			(void) rmdir(place->path);
	}
}
