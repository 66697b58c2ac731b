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

#include "storage/fd.h"

#include "engine/jet.h"
#include "engine/restoring.h"
#include "leftover.h"
#include "pathrun.h"
#include "restore_internal.h"

/* What a verification makes beside its source, and removes. */
#define SCRATCH_SUFFIX ".ese_verify"

/* Where a verification writes to, beside its source. */
static void
scratch_path(const Restore *restore, char *path)
{
	strlcpy(path, restore->source.path, MAXPGPATH - sizeof(SCRATCH_SUFFIX));
	strlcat(path, SCRATCH_SUFFIX, MAXPGPATH);
}

bool
restore_make_destination(Worker *worker, Restore *restore,
						 const Request *request, TargetError *error)
{
	char		path[MAXPGPATH];
	RestoreTarget *making;
	PathTask   *task;
	bool		made;

	if (restore->verify && !restore->recover && !restore->source.tar)
		return true;
	strlcpy(path, request->path, sizeof(path));
	if (restore->verify)
		scratch_path(restore, path);
	if (!leftover_check_path(worker, path, error))
		return false;
	making = restore_target_new(path);
	task = (PathTask *) making;
	if (making != NULL)
	{
		making->what = restore->verify ? "verification" : "restore";
		making->scratch = restore->verify;
		strlcpy(making->source, restore->source.path, sizeof(making->source));
		strlcpy(making->instance_name, worker->instance->name,
				sizeof(making->instance_name));
	}
	made = path_run(worker, &task, error);
	if (made)
	{
		worker->target = making->target;
		ReserveExternalFD();
	}
	path_free(task);
	return made;
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
	const char *path = choose_place(restore, worker->target.path, oid, original);
	RestoreSpace *making = restore_space_new(&worker->target, path, oid);
	PathTask   *task = (PathTask *) making;
	ClosingPlace *place = palloc(sizeof(ClosingPlace));
	bool		made;

	if (making != NULL)
		strlcpy(making->source, restore->source.path, sizeof(making->source));
	made = path_run(worker, &task, error);
	if (made)
	{
		*place = making->place;
		restore->places = lappend(restore->places, place);
		ReserveExternalFD();
	}
	path_free(task);
	return made;
}

/* The directory of the links. */
static bool
make_links_directory(Worker *worker, TargetError *error)
{
	FileList	list;

	worker->target.linked = true;
	filelist_init(&list);
	filelist_add(&list, FILE_DIRECTORY, "pg_tblspc", 0);
	return native_make_directories(worker, &list, error);
}

bool
restore_make_places(Worker *worker, Restore *restore, TargetError *error)
{
	size_t		length;
	bool		tar = restore->source.tar;
	char	   *map = source_read_file(worker, tar ? worker->target.directory :
									   restore->source.directory,
									   tar ? worker->target.path : restore->source.path,
									   "tablespace_map.original", &length, error);
	char	   *line;
	ListCell   *cell;

	if ((map == NULL && error->jet != JET_errFileNotFound) ||
		!make_links_directory(worker, error))
		return false;
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
	int			directory = n == 0 ? worker->target.directory :
		((ClosingPlace *) list_nth(restore->places, n - 1))->directory;

	return fcntl(directory, F_DUPFD_CLOEXEC, 0);
}

/* The places, as a closing has them; malloc'd. */
static void
hand_over_places(Restore *restore, Closing *closing)
{
	ListCell   *cell;

	closing->places = calloc(list_length(restore->places), sizeof(ClosingPlace));
	if (closing->places == NULL)
		return;
	foreach(cell, restore->places)
	{
		ClosingPlace *place = lfirst(cell);

		closing->places[closing->place_count++] = *place;
	}
}

void
restore_close_places(Restore *restore, Closing *closing)
{
	ListCell   *cell;

	if (closing != NULL)
		hand_over_places(restore, closing);
	else
	{
		foreach(cell, restore->places)
		{
			close(((ClosingPlace *) lfirst(cell))->directory);
			ReleaseExternalFD();
		}
	}
	restore->places = NIL;
}
