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
#include "engine/documentfile.h"
#include "engine/jet.h"
#include "engine/logname.h"
#include "source.h"

/* Longer than any label, map of tablespaces or history of timelines. */
#define SMALL_FILE (64 * 1024 * 1024)

/* More than 100 million files. */
#define MANIFEST_MAX_LENGTH UINT64CONST(0x400000000)

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

static bool
fail_chain(TargetError *error, const ChainProblem *problem)
{
	return target_fail(error, problem->jet, "%s", problem->why);
}

/* Without an index: no two archives with the same contents, to be sure. */
static bool
check_doubles(const List *archives, TargetError *error)
{
	const char *before = NULL;
	ListCell   *cell;

	/* sorted: "data.1.tar" comes right before "data.1.tar.lz4" */
	foreach(cell, archives)
	{
		const char *name = lfirst(cell);
		size_t		length = before != NULL ?
			strstr(before, ".tar") - before + strlen(".tar") : 0;

		if (before != NULL && strncmp(name, before, length) == 0)
			return target_fail(error, JET_errReadVerifyFailure,
							   "there are two archives of one name in the backup: \"%s\" and \"%s\"",
							   before, name);
		before = name;
	}
	return true;
}

/* Is this what an incremental leaves that did not come to be published? */
static bool
is_unpublished(const Source *source, const char *name)
{
	const BackupIndex *index = &source->chain.index;

	if (!pg_str_endswith(name, TARGET_SUFFIX))
		return false;
	return strcmp(name, BACKUPINDEX_PATH_TAR TARGET_SUFFIX) == 0 ||
		(strncmp(name, "logs.", 5) == 0 &&
		 logs_number(name) > backupindex_newest(index)->backup_id);
}

/* Is this what lies in a directory of archives, and is not listed? */
static bool
is_expected_there(const Source *source, const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
		strcmp(name, BACKUPINDEX_PATH_TAR) == 0 ||
		is_unpublished(source, name) ||
		logchain_is_leftover_archive(&source->chain, name);
}

/* Nothing but what the index lists? */
static bool
check_strange(const Source *source, TargetError *error)
{
	DIR		   *directory = AllocateDir(source->path);
	struct dirent *de;
	bool		good = directory != NULL;

	if (!good)
		(void) target_fail_errno(error, "open directory", source->path);
	while (good && (de = ReadDirExtended(directory, source->path, LOG)) != NULL)
	{
		if (!is_expected_there(source, de->d_name) &&
			backupindex_find_archive(&source->chain.index, de->d_name) == NULL)
			good = target_fail(error, JET_errReadVerifyFailure,
							   "\"%s\" lies in the backup, but is not in its index",
							   de->d_name);
	}
	if (directory != NULL)
		FreeDir(directory);
	return good;
}

static bool
is_of_logs(const BackupIndex *index, const char *name)
{
	for (uint32 i = 0; i < index->link_count; i++)
	{
		if (strcmp(index->links[i].archive, name) == 0)
			return true;
	}
	return false;
}

/* The archives that the index lists, those of logs in the order of links. */
static bool
take_listed(Source *source, TargetError *error)
{
	const BackupIndex *index = &source->chain.index;

	source->log_archives = source->data_archives = NIL;
	for (uint32 i = 0; i < index->link_count; i++)
		source->log_archives = lappend(source->log_archives,
									   index->links[i].archive);
	for (uint32 i = 0; i < index->archive_count; i++)
	{
		char	   *name = index->archives[i].name;
		struct stat st;

		if (fstatat(source->directory, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
			return errno != ENOENT ? target_fail_errno(error, "access", name) :
				target_fail(error, JET_errFileNotFound,
							"archive \"%s\" is missing in the backup", name);
		if (!is_of_logs(index, name))
			source->data_archives = lappend(source->data_archives, name);
	}
	return true;
}

/* Are the archives there that must be, and no others? */
static bool
check_archives(Source *source, TargetError *error)
{
	if (!source->chain.has_index)
	{
		List	   *logs = list_copy(source->log_archives);

		list_sort(logs, compare_names);
		return check_doubles(logs, error) &&
			check_doubles(source->data_archives, error);
	}
	return check_strange(source, error) && take_listed(source, error);
}

/* What the backup says about itself. */
static bool
read_index(Source *source, TargetError *error)
{
	ChainProblem problem;

	if (!logchain_read_index(&source->chain, source->directory, source->tar,
							 &problem))
		return fail_chain(error, &problem);
	return !source->tar || check_archives(source, error);
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
	if (read_index(source, error))
		return true;
	source_close(source);
	return false;
}

void
source_close(Source *source)
{
	logchain_clear(&source->chain);
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
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) ||
		st.st_size > SMALL_FILE)
	{
		close(fd);
		errno = EINVAL;
		return NULL;
	}
	contents = palloc(st.st_size + 1);
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
	DocumentProblem problem;
	Inventory  *inventory = NULL;
	const char *why = problem.why;
	uint32_t	line = 0;
	size_t		length;
	int			sys_errno;
	char	   *bytes = document_load(directory, "backup_manifest",
									  MANIFEST_MAX_LENGTH, &length, &sys_errno,
									  &problem);

	if (bytes == NULL && sys_errno != 0)
	{
		errno = sys_errno;
		(void) target_fail_errno(error, "read the backup manifest in", path);
		if (sys_errno == ENOENT)
			error->jet = JET_errFileNotFound;
		return NULL;
	}
	if (bytes != NULL)
		inventory = inventory_read(bytes, length, &why, &line);
	free(bytes);
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

static bool
is_below_wal(const char *name)
{
	return strncmp(name, XLOGDIR "/", strlen(XLOGDIR "/")) == 0;
}

/*
 * Of what no manifest lists, only these belong to a backup that was made before
 * there were manifests of logs.
 */
static bool
may_be_unlisted(const char *name)
{
	return is_below_wal(name) || strcmp(name, "backup_manifest") == 0 ||
		strcmp(name, "postgresql.auto.conf") == 0;
}

/* What is to be done about a file. */
typedef enum FileUse
{
	FILE_IS_TAKEN,
	FILE_IS_LEFT,				/* it belongs there, but not to the data */
	FILE_IS_STRANGE,
} FileUse;

/* Is this what an incremental that did not come to be published has left? */
static bool
is_unpublished_log(const char *name)
{
	char		published[MAXPGPATH];

	if (!is_below_wal(name) || !pg_str_endswith(name, TARGET_SUFFIX))
		return false;
	strlcpy(published, name, sizeof(published));
	published[strlen(published) - strlen(TARGET_SUFFIX)] = '\0';
	return strcmp(published, BACKUPINDEX_PATH_PLAIN) == 0 ||
		logname_is_allowed(published, 0);
}

/* Directories without files are in no manifest, but no server starts without. */
static bool
check_directories(const Source *source, TargetError *error)
{
	static const char *const names[] = {
		"pg_commit_ts", "pg_dynshmem", "pg_logical/mappings",
		"pg_logical/snapshots", "pg_multixact/members",
		"pg_multixact/offsets", "pg_notify", "pg_replslot", "pg_serial",
		"pg_snapshots", "pg_stat", "pg_stat_tmp", "pg_subtrans", "pg_tblspc",
		"pg_twophase",
	};
	struct stat st;

	for (int i = 0; i < lengthof(names); i++)
	{
		if (fstatat(source->directory, names[i], &st, AT_SYMLINK_NOFOLLOW) == 0 &&
			S_ISDIR(st.st_mode))
			continue;
		return target_fail(error, JET_errFileNotFound,
						   "directory \"%s\" is missing in the backup", names[i]);
	}
	return true;
}

/* The same with manifests of logs. */
static FileUse
judge_unlisted(Source *source, const char *name)
{
	const LogChain *chain = &source->chain;
	uint64_t	number;

	if (logchain_is_part(chain, name) || logchain_is_leftover(chain, name) ||
		(chain->has_index && is_unpublished_log(name)))
		return FILE_IS_LEFT;
	/* where archives were extracted */
	if (source->tar && (strcmp(name, TARGET_MARKER) == 0 ||
						strcmp(name, XLOG_CONTROL_FILE TARGET_SUFFIX) == 0))
		return FILE_IS_LEFT;
	if (!logchain_is_beyond(chain, name, &number))
		return FILE_IS_STRANGE;
	source->beyond = Max(source->beyond, (int) Min(number, PG_INT32_MAX - 1) + 1);
	return FILE_IS_TAKEN;
}

static FileUse
judge_file(Source *source, const Inventory *inventory, const char *name)
{
	if (inventory_find(inventory, name) != NULL)
		return FILE_IS_TAKEN;
	if (source->chain.count > 0)
		return judge_unlisted(source, name);
	if (is_ignored(name))
		return FILE_IS_LEFT;
	return may_be_unlisted(name) ? FILE_IS_TAKEN : FILE_IS_STRANGE;
}

/* What source_list() goes through. */
typedef struct Listing
{
	Source	   *source;
	int			directory;
	const char *path;
	const Inventory *inventory;
	FileList   *list;
} Listing;

static bool list_directory(Listing *listing, const char *name,
						   TargetError *error);

/* One entry: its name from the top on. */
static bool
list_entry(Listing *listing, const char *name, TargetError *error)
{
	struct stat st;

	if (strlen(name) >= MAXPGPATH)
		return target_fail(error, JET_errInvalidPath,
						   "the path of \"%s\" is too long", name);
	if (fstatat(listing->directory, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return target_fail_errno(error, "access", name);
	if (S_ISDIR(st.st_mode))
	{
		filelist_add(listing->list, FILE_DIRECTORY, name, 0);
		return list_directory(listing, name, error);
	}
	if (!S_ISREG(st.st_mode))
		return target_fail(error, JET_errFileInvalidType,
						   "\"%s\" in the backup is neither a file nor a directory", name);
	switch (judge_file(listing->source, listing->inventory, name))
	{
		case FILE_IS_TAKEN:
			filelist_add(listing->list, FILE_OTHER, name, st.st_size);
			return true;
		case FILE_IS_LEFT:
			return true;
		case FILE_IS_STRANGE:
			break;
	}
	return target_fail(error, JET_errReadVerifyFailure,
					   "\"%s\" lies in the backup, but is not in its manifest",
					   name);
}

static bool
list_directory(Listing *listing, const char *name, TargetError *error)
{
	char	   *path = psprintf("%s%s%s", listing->path, name[0] ? "/" : "", name);
	DIR		   *directory = AllocateDir(path);
	struct dirent *de;
	bool		good = true;

	if (directory == NULL)
		return target_fail_errno(error, "open directory", path);
	while (good && (de = ReadDirExtended(directory, path, LOG)) != NULL)
	{
		char		inside[MAXPGPATH * 2];

		CHECK_FOR_INTERRUPTS();
		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
			continue;
		snprintf(inside, sizeof(inside), "%s%s%s", name, name[0] ? "/" : "",
				 de->d_name);
		good = list_entry(listing, inside, error);
	}
	FreeDir(directory);
	pfree(path);
	return good;
}

bool
source_list(Source *source, int directory, const char *path,
			const Inventory *inventory, FileList *list, TargetError *error)
{
	Listing		listing = {source, directory, path, inventory, list};

	filelist_init(list);
	source->beyond = 0;
	if (!list_directory(&listing, "", error) ||
		(!source->tar && source->chain.count > 0 &&
		 !check_directories(source, error)))
		return false;
	filelist_sort(list);
	return true;
}

bool
source_read_chain(Source *source, int directory, Inventory *inventory,
				  const ControlFileData *control, TargetError *error)
{
	ChainProblem problem;

	if (logchain_read_manifests(&source->chain, directory, &problem) &&
		logchain_check(&source->chain, inventory, control->system_identifier,
					   &problem) &&
		logchain_complete(&source->chain, inventory, &problem))
		return true;
	return fail_chain(error, &problem);
}

/* What source_check_wal() has found. */
typedef struct WalRange
{
	XLogSegNo	first;			/* needed */
	XLogSegNo  *found;			/* from the first one on, of any timeline */
	int			count;
	int			room;
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

static void
add_segment(WalRange *range, XLogSegNo segment)
{
	if (range->count == range->room)
	{
		range->room = range->room * 2 + 1024;
		range->found = range->found == NULL ?
			palloc(sizeof(XLogSegNo) * range->room) :
			repalloc_huge(range->found, sizeof(XLogSegNo) * range->room);
	}
	range->found[range->count++] = segment;
}

static int
compare_segments(const void *a, const void *b)
{
	XLogSegNo	first = *(const XLogSegNo *) a;
	XLogSegNo	second = *(const XLogSegNo *) b;

	return first < second ? -1 : first > second;
}

/* Which segments are there?  Each is looked at. */
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
		good = check_segment(fd, de->d_name, segment, control, error);
		add_segment(range, segment);
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
	XLogSegNo	needed;
	XLogSegNo	next;
	char		name[MAXFNAMELEN];

	if (!IsValidWalSegSize(control->xlog_seg_size))
		return target_fail(error, JET_errReadVerifyFailure,
						   "\"%s\" of the backup is damaged", XLOG_CONTROL_FILE);
	XLByteToSeg(oldest->start_lsn, range.first, control->xlog_seg_size);
	XLByteToPrevSeg(newest->end_lsn, needed, control->xlog_seg_size);
	if (!scan_wal(path, control, &range, error))
		return false;
	if (range.count > 0)
		qsort(range.found, range.count, sizeof(XLogSegNo), compare_segments);
	if (range.count == 0 || range.found[range.count - 1] < needed)
	{
		XLogFileName(name, newest->timeline, needed, control->xlog_seg_size);
		return target_fail(error, JET_errEndingRestoreLogTooLow,
						   "the WAL of the backup ends too early: it needs segment %s", name);
	}
	next = range.first;
	for (int i = 0; i < range.count; i++)
	{
		if (range.found[i] > next)
		{
			XLogFileName(name, newest->timeline, next, control->xlog_seg_size);
			return target_fail(error, JET_errMissingLogFile,
							   "WAL segment %s is missing", name);
		}
		next = range.found[i] + 1;
	}
	pfree(range.found);
	return true;
}
