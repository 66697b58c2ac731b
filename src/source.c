/*-------------------------------------------------------------------------
 *
 * source.c
 *	  A backup that is to be restored or verified.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog_internal.h"
#include "catalog/catversion.h"
#include "common/string.h"
#include "miscadmin.h"
#include "port/pg_crc32c.h"
#include "storage/fd.h"

#include "atomic.h"
#include "engine/jet.h"
#include "source.h"

/* Is a name that of an archive? */
static bool
is_archive(const char *name)
{
	return pg_str_endswith(name, ".tar") || pg_str_endswith(name, ".tar.lz4") ||
		pg_str_endswith(name, ".tar.zst");
}

static int
compare_names(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

/* The backup whose logs an archive holds: 0 for the full one. */
static int64
logs_number(const char *name)
{
	return strtoll(name + strlen("logs."), NULL, 10);
}

/* Oldest first: what comes later may hold a longer version of a segment. */
static int
compare_logs(const ListCell *a, const ListCell *b)
{
	int64		first = logs_number(lfirst(a));
	int64		second = logs_number(lfirst(b));

	return first < second ? -1 : first > second;
}

/* Find its archives: those of logs, and the others. */
static void
list_archives(Source *source)
{
	DIR		   *directory = AllocateDir(source->path);
	struct dirent *de;

	source->log_archives = source->data_archives = NIL;
	while ((de = ReadDirExtended(directory, source->path, LOG)) != NULL)
	{
		if (!is_archive(de->d_name))
			continue;
		if (strncmp(de->d_name, "logs.", 5) == 0)
			source->log_archives = lappend(source->log_archives,
										   pstrdup(de->d_name));
		else
			source->data_archives = lappend(source->data_archives,
											pstrdup(de->d_name));
	}
	FreeDir(directory);
	list_sort(source->log_archives, compare_logs);
	list_sort(source->data_archives, compare_names);
}

bool
source_find(Source *source, const char *path, TargetError *error)
{
	char	   *atomic = atomic_find(path);
	struct stat st;

	memset(source, 0, sizeof(*source));
	source->directory = -1;
	if (stat(path, &st) != 0)
		return target_fail_errno(error, "access", path);
	if (!S_ISDIR(st.st_mode))
		return target_fail(error, JET_errInvalidPath,
						   "\"%s\" is not a directory", path);
	strlcpy(source->path, path, sizeof(source->path));
	if (target_has_file(path, TARGET_MARKER))
		return target_fail(error, JET_errRestoreOfNonBackupDatabase,
						   "the backup in \"%s\" is not complete", path);
	list_archives(source);
	if (!target_has_file(path, "backup_manifest") &&
		source->log_archives == NIL)
	{
		if (atomic == NULL)
			return target_fail(error, JET_errRestoreOfNonBackupDatabase,
							   "there is no backup in \"%s\"", path);
		strlcpy(source->path, atomic, sizeof(source->path));
		list_archives(source);
	}
	source->tar = !target_has_file(source->path, "backup_manifest");
	source->directory = open(source->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (source->directory < 0)
		return target_fail_errno(error, "open directory", source->path);
	ReserveExternalFD();
	return true;
}

void
source_close(Source *source)
{
	if (source->directory < 0)
		return;
	close(source->directory);
	ReleaseExternalFD();
	source->directory = -1;
}

char *
source_read_file(int directory, const char *name, size_t *length)
{
	int			fd = openat(directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;
	char	   *contents;
	size_t		done = 0;
	ssize_t		n = 1;

	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
	{
		close(fd);
		errno = EINVAL;
		return NULL;
	}
	contents = palloc_extended(st.st_size + 1, MCXT_ALLOC_HUGE);
	while (done < (size_t) st.st_size && n > 0)
	{
		n = read(fd, contents + done, st.st_size - done);
		if (n > 0)
			done += n;
	}
	close(fd);
	if (n < 0)
		return NULL;
	contents[done] = '\0';
	*length = done;
	return contents;
}

Inventory *
source_read_inventory(int directory, const char *path, TargetError *error)
{
	size_t		length;
	char	   *text = source_read_file(directory, "backup_manifest", &length);
	Inventory  *inventory;
	const char *why;
	uint32_t	line;

	if (text == NULL)
	{
		(void) target_fail_errno(error, "read the backup manifest in", path);
		error->jet = JET_errFileNotFound;
		return NULL;
	}
	inventory = inventory_read(text, length, &why, &line);
	pfree(text);
	if (inventory == NULL)
		(void) target_fail(error, JET_errReadVerifyFailure,
						   "the backup manifest in \"%s\" is damaged (line %u): %s",
						   path, line, why);
	return inventory;
}

/* May our programs start on it? */
static bool
check_control(const ControlFileData *control, const char *path,
			  TargetError *error)
{
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, control, offsetof(ControlFileData, crc));
	FIN_CRC32C(crc);
	if (control->pg_control_version != PG_CONTROL_VERSION ||
		control->catalog_version_no != CATALOG_VERSION_NO)
		return target_fail(error, JET_errInvalidDatabaseVersion,
						   "the backup in \"%s\" is one of another version of PostgreSQL (catalog version %u, not %u)",
						   path, control->catalog_version_no, CATALOG_VERSION_NO);
	if (!EQ_CRC32C(crc, control->crc))
		return target_fail(error, JET_errReadVerifyFailure,
						   "\"%s\" in \"%s\" is damaged", XLOG_CONTROL_FILE, path);
	return true;
}

char *
source_read_control(int directory, const char *path, const char *suffix,
					TargetError *error)
{
	size_t		length;
	char	   *bytes = source_read_file(directory,
										 psprintf("%s%s", XLOG_CONTROL_FILE,
												  suffix), &length);

	if (bytes == NULL)
	{
		(void) target_fail_errno(error, "read \"" XLOG_CONTROL_FILE "\" in",
								 path);
		error->jet = JET_errFileNotFound;
		return NULL;
	}
	if (length != PG_CONTROL_FILE_SIZE)
	{
		(void) target_fail(error, JET_errReadVerifyFailure,
						   "\"%s\" in \"%s\" has the wrong size",
						   XLOG_CONTROL_FILE, path);
		return NULL;
	}
	return check_control((ControlFileData *) bytes, path, error) ? bytes : NULL;
}

/* What pg_verifybackup does not ask about either. */
static bool
is_ignored(const char *name)
{
	return strcmp(name, "recovery.signal") == 0 ||
		strcmp(name, "standby.signal") == 0 ||
		pg_str_endswith(name, TARGET_SUFFIX);
}

/* Of what is not in the manifest, only these belong to a backup. */
static bool
may_be_unlisted(const char *name)
{
	return strncmp(name, XLOGDIR "/", strlen(XLOGDIR "/")) == 0 ||
		strcmp(name, "backup_manifest") == 0 ||
		strcmp(name, "postgresql.auto.conf") == 0;
}

static bool
list_directory(const Source *source, const Inventory *inventory,
			   const char *name, FileList *list, TargetError *error)
{
	char	   *path = name[0] ? psprintf("%s/%s", source->path, name) :
		pstrdup(source->path);
	DIR		   *directory = AllocateDir(path);
	struct dirent *de;
	bool		good = true;

	if (directory == NULL)
		return target_fail_errno(error, "open directory", path);
	while (good && (de = ReadDirExtended(directory, path, LOG)) != NULL)
	{
		char		inside[MAXPGPATH * 2];
		struct stat st;

		CHECK_FOR_INTERRUPTS();
		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
			continue;
		snprintf(inside, sizeof(inside), "%s%s%s", name, name[0] ? "/" : "",
				 de->d_name);
		if (strlen(inside) >= MAXPGPATH)
			good = target_fail(error, JET_errInvalidPath,
							   "the path of \"%s\" is too long", inside);
		else if (is_ignored(inside))
			continue;
		else if (fstatat(source->directory, inside, &st, AT_SYMLINK_NOFOLLOW) != 0)
			good = target_fail_errno(error, "access", inside);
		else if (S_ISDIR(st.st_mode))
		{
			filelist_add(list, FILE_DIRECTORY, inside, 0);
			good = list_directory(source, inventory, inside, list, error);
		}
		else if (!S_ISREG(st.st_mode))
			good = target_fail(error, JET_errFileInvalidType,
							   "\"%s\" in the backup is neither a file nor a directory", inside);
		else if (inventory_find(inventory, inside) != NULL ||
				 may_be_unlisted(inside))
			filelist_add(list, FILE_OTHER, inside, st.st_size);
		else
			good = target_fail(error, JET_errReadVerifyFailure,
							   "\"%s\" lies in the backup, but is not in its manifest",
							   inside);
	}
	FreeDir(directory);
	pfree(path);
	return good;
}

bool
source_list(const Source *source, const Inventory *inventory, FileList *list,
			TargetError *error)
{
	filelist_init(list);
	if (!list_directory(source, inventory, "", list, error))
		return false;
	filelist_sort(list);
	return true;
}

/* What source_check_wal() looks for. */
typedef struct WalRange
{
	XLogSegNo	first;			/* needed */
	XLogSegNo	needed;			/* the last one that is needed */
	XLogSegNo	last;			/* that is there */
	bool	   *found;			/* [last - first + 1] */
} WalRange;

/* Does a segment begin as it must? */
static bool
check_segment(int directory, const char *name, XLogSegNo segment,
			  const ControlFileData *control, TargetError *error)
{
	XLogLongPageHeaderData header;
	struct stat st;
	int			fd = openat(directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	bool		whole;

	if (fd < 0)
		return target_fail_errno(error, "open file", name);
	whole = fstat(fd, &st) == 0 &&
		read(fd, &header, sizeof(header)) == sizeof(header);
	close(fd);
	if (!whole || st.st_size != control->xlog_seg_size)
		return target_fail(error, JET_errLogFileSizeMismatch,
						   "WAL segment %s has the wrong size", name);
	if (header.std.xlp_magic != XLOG_PAGE_MAGIC ||
		header.std.xlp_pageaddr != segment * control->xlog_seg_size)
		return target_fail(error, JET_errLogFileCorrupt,
						   "WAL segment %s is damaged", name);
	if (header.xlp_sysid != control->system_identifier)
		return target_fail(error, JET_errGivenLogFileHasBadSignature,
						   "WAL segment %s is one of another cluster", name);
	return true;
}

/* One pass over the segments: which ones are there? */
static bool
scan_wal(const char *path, const ControlFileData *control, WalRange *range,
		 TargetError *error)
{
	DIR		   *directory = AllocateDir(path);
	struct dirent *de;
	int			fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool		good = directory != NULL && fd >= 0;

	if (!good)
		(void) target_fail_errno(error, "open directory", path);
	while (good && (de = ReadDirExtended(directory, path, LOG)) != NULL)
	{
		TimeLineID	timeline;
		XLogSegNo	segment;

		if (!IsXLogFileName(de->d_name))
			continue;
		XLogFromFileName(de->d_name, &timeline, &segment, control->xlog_seg_size);
		if (segment < range->first)
			continue;
		if (range->found != NULL)
			range->found[segment - range->first] = true;
		else
			good = check_segment(fd, de->d_name, segment, control, error);
		range->last = Max(range->last, segment);
	}
	if (fd >= 0)
		close(fd);
	if (directory != NULL)
		FreeDir(directory);
	return good;
}

bool
source_check_wal(const char *path, const Inventory *inventory,
				 const ControlFileData *control, TargetError *error)
{
	const ManifestWalRange *newest = &inventory->ranges[0];
	const ManifestWalRange *oldest =
		&inventory->ranges[inventory->range_count - 1];
	WalRange	range = {0};
	char		name[MAXFNAMELEN];

	if (!IsValidWalSegSize(control->xlog_seg_size))
		return target_fail(error, JET_errReadVerifyFailure,
						   "\"%s\" of the backup is damaged", XLOG_CONTROL_FILE);
	XLByteToSeg(oldest->start_lsn, range.first, control->xlog_seg_size);
	XLByteToPrevSeg(newest->end_lsn, range.needed, control->xlog_seg_size);
	if (!scan_wal(path, control, &range, error))
		return false;
	if (range.last < range.needed)
	{
		XLogFileName(name, newest->timeline, range.needed, control->xlog_seg_size);
		return target_fail(error, JET_errEndingRestoreLogTooLow,
						   "the WAL of the backup ends too early: it needs segment %s", name);
	}
	range.found = palloc_extended(range.last - range.first + 1,
								  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	if (!scan_wal(path, control, &range, error))
		return false;
	for (XLogSegNo segment = range.first; segment <= range.last; segment++)
	{
		if (range.found[segment - range.first])
			continue;
		XLogFileName(name, newest->timeline, segment, control->xlog_seg_size);
		return target_fail(error, JET_errMissingLogFile,
						   "WAL segment %s is missing", name);
	}
	pfree(range.found);
	return true;
}
