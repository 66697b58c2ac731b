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

#include "engine/jet.h"
#include "engine/logname.h"
#include "engine/search.h"
#include "engine/walk.h"
#include "pathrun.h"
#include "source.h"

/* Longer than any label, map of tablespaces or history of timelines. */
#define SMALL_FILE (64 * 1024 * 1024)

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

/* Take up an archive: of logs, or another. */
static void
take_archive(Source *source, const char *name)
{
	if (!is_archive(name))
		return;
	if (strncmp(name, "logs.", 5) == 0)
		source->log_archives = lappend(source->log_archives, pstrdup(name));
	else
		source->data_archives = lappend(source->data_archives, pstrdup(name));
}

/* What lies in its directory: NULL and *error when that cannot be read. */
static Walk *
list_top(Worker *worker, const Source *source, TargetError *error)
{
	PathTask   *task = (PathTask *) walk_new(source->directory, source->path, "");

	if (path_run(worker, &task, error))
		return (Walk *) task;
	path_free(task);
	return NULL;
}

/* Find its archives: those of logs, and the others. */
static void
list_archives(Source *source, const Walk *walk)
{
	source->log_archives = source->data_archives = NIL;
	for (uint32 i = 0; i < walk->count; i++)
		take_archive(source, walk->entries[i].name);
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
	return strcmp(name, BACKUPINDEX_PATH_TAR) == 0 ||
		is_unpublished(source, name) ||
		logchain_is_leftover_archive(&source->chain, name);
}

/* Nothing but what the index lists? */
static bool
check_strange(const Source *source, const Walk *walk, TargetError *error)
{
	for (uint32 i = 0; i < walk->count; i++)
	{
		const char *name = walk->entries[i].name;

		if (!is_expected_there(source, name) &&
			backupindex_find_archive(&source->chain.index, name) == NULL)
			return target_fail(error, JET_errReadVerifyFailure,
							   "\"%s\" lies in the backup, but is not in its index",
							   name);
	}
	return true;
}

static bool
is_there(const Walk *walk, const char *name)
{
	for (uint32 i = 0; i < walk->count; i++)
	{
		if (strcmp(walk->entries[i].name, name) == 0)
			return true;
	}
	return false;
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
take_listed(Source *source, const Walk *walk, TargetError *error)
{
	const BackupIndex *index = &source->chain.index;

	source->log_archives = source->data_archives = NIL;
	for (uint32 i = 0; i < index->link_count; i++)
		source->log_archives = lappend(source->log_archives,
									   index->links[i].archive);
	for (uint32 i = 0; i < index->archive_count; i++)
	{
		char	   *name = index->archives[i].name;

		if (!is_there(walk, name))
			return target_fail(error, JET_errFileNotFound,
							   "archive \"%s\" is missing in the backup", name);
		if (!is_of_logs(index, name))
			source->data_archives = lappend(source->data_archives, name);
	}
	return true;
}

/* Are the archives there that must be, and no others? */
static bool
check_archives(Source *source, const Walk *walk, TargetError *error)
{
	List	   *logs;

	list_archives(source, walk);
	if (source->chain.has_index)
		return check_strange(source, walk, error) &&
			take_listed(source, walk, error);
	logs = list_copy(source->log_archives);
	list_sort(logs, compare_names);
	return check_doubles(logs, error) &&
		check_doubles(source->data_archives, error);
}

/* Read the index, or the manifests of logs; what has been read goes on. */
static bool
read_chain(Worker *worker, Source *source, int directory, bool manifests,
		   TargetError *error)
{
	ChainReading *reading = chain_reading_new(directory, source->path);
	PathTask   *task = (PathTask *) reading;
	bool		good;

	if (reading != NULL)
	{
		reading->tar = source->tar;
		reading->manifests = manifests;
		reading->chain = source->chain;
		memset(&source->chain, 0, sizeof(source->chain));
	}
	good = path_run(worker, &task, error);
	if (good)
	{
		source->chain = reading->chain;
		memset(&reading->chain, 0, sizeof(reading->chain));
	}
	path_free(task);
	return good;
}

/* What the backup says about itself. */
static bool
read_index(Worker *worker, Source *source, TargetError *error)
{
	Walk	   *walk;
	bool		good;

	if (!read_chain(worker, source, source->directory, false, error))
		return false;
	if (!source->tar)
		return true;
	walk = list_top(worker, source, error);
	if (walk == NULL)
		return false;
	good = check_archives(source, walk, error);
	path_free(&walk->task);
	return good;
}

bool
source_find(Worker *worker, Source *source, const char *path,
			TargetError *error)
{
	Search	   *search = search_new(path);
	PathTask   *task = (PathTask *) search;
	bool		found = path_run(worker, &task, error);

	memset(source, 0, sizeof(*source));
	source->directory = -1;
	if (found)
	{
		strlcpy(source->path, search->path, sizeof(source->path));
		source->tar = search->tar;
		source->directory = search->directory;
		ReserveExternalFD();
	}
	path_free(task);
	return found && read_index(worker, source, error);
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
source_read_file(Worker *worker, int directory, const char *path,
				 const char *name, size_t *length, TargetError *error)
{
	FileReading *reading = file_reading_new(directory, path, name, SMALL_FILE);
	PathTask   *task = (PathTask *) reading;
	char	   *contents = NULL;

	error->jet = JET_errSuccess;
	if (path_run(worker, &task, error))
	{
		*length = reading->length;
		contents = palloc(reading->length + 1);
		memcpy(contents, reading->bytes, reading->length + 1);
	}
	else if (task != NULL && reading->absent)
		error->jet = JET_errFileNotFound;
	path_free(task);
	return contents;
}

Inventory *
source_read_inventory(Worker *worker, int directory, const char *path,
					  TargetError *error)
{
	InventoryReading *reading = inventory_reading_new(directory, path);
	PathTask   *task = (PathTask *) reading;
	Inventory  *inventory = NULL;

	if (path_run(worker, &task, error))
	{
		inventory = reading->inventory;
		reading->inventory = NULL;
	}
	path_free(task);
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
source_read_control(Worker *worker, int directory, const char *path,
					const char *suffix, TargetError *error)
{
	size_t		length;
	char	   *bytes = source_read_file(worker, directory, path,
										 psprintf("%s%s", XLOG_CONTROL_FILE,
												  suffix), &length, error);

	if (bytes == NULL)
		return NULL;
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
check_directories(FileList *list, TargetError *error)
{
	static const char *const names[] = {
		"pg_commit_ts", "pg_dynshmem", "pg_logical/mappings",
		"pg_logical/snapshots", "pg_multixact/members",
		"pg_multixact/offsets", "pg_notify", "pg_replslot", "pg_serial",
		"pg_snapshots", "pg_stat", "pg_stat_tmp", "pg_subtrans", "pg_tblspc",
		"pg_twophase",
	};

	for (int i = 0; i < lengthof(names); i++)
	{
		const FileEntry *entry = filelist_find(list, names[i]);

		if (entry != NULL && entry->kind == FILE_DIRECTORY)
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

/* One entry of a listing. */
static bool
take_entry(Source *source, const Inventory *inventory, FileList *list,
		   const WalkEntry *entry, TargetError *error)
{
	if (S_ISDIR(entry->mode))
	{
		filelist_add(list, FILE_DIRECTORY, entry->name, 0);
		return true;
	}
	if (!S_ISREG(entry->mode))
		return target_fail(error, JET_errFileInvalidType,
						   "\"%s\" in the backup is neither a file nor a directory",
						   entry->name);
	switch (judge_file(source, inventory, entry->name))
	{
		case FILE_IS_TAKEN:
			filelist_add(list, FILE_OTHER, entry->name, entry->size);
			return true;
		case FILE_IS_LEFT:
			return true;
		case FILE_IS_STRANGE:
			break;
	}
	return target_fail(error, JET_errReadVerifyFailure,
					   "\"%s\" lies in the backup, but is not in its manifest",
					   entry->name);
}

bool
source_list(Worker *worker, Source *source, int directory, const char *path,
			const Inventory *inventory, FileList *list, TargetError *error)
{
	Walk	   *walk = walk_new(directory, path, "");
	PathTask   *task = (PathTask *) walk;
	bool		good;

	filelist_init(list);
	source->beyond = 0;
	if (walk != NULL)
		walk->deep = true;
	good = path_run(worker, &task, error);
	for (uint32 i = 0; good && i < walk->count; i++)
		good = take_entry(source, inventory, list, &walk->entries[i], error);
	path_free(task);
	if (!good)
		return false;
	filelist_sort(list);
	return source->tar || source->chain.count == 0 ||
		check_directories(list, error);
}

bool
source_read_chain(Worker *worker, Source *source, int directory,
				  Inventory *inventory, const ControlFileData *control,
				  TargetError *error)
{
	ChainProblem problem;

	if (!read_chain(worker, source, directory, true, error))
		return false;
	if (logchain_check(&source->chain, inventory, control->system_identifier,
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
check_segment(const WalkEntry *entry, const char *name, XLogSegNo segment,
			  const ControlFileData *control, TargetError *error)
{
	const XLogLongPageHeaderData *header = (const XLogLongPageHeaderData *) entry->head;

	if (!S_ISREG(entry->mode) || entry->size != control->xlog_seg_size)
		return target_fail(error, JET_errLogFileSizeMismatch,
						   "WAL segment %s has the wrong size", name);
	if (header->std.xlp_magic != XLOG_PAGE_MAGIC ||
		header->std.xlp_pageaddr != segment * control->xlog_seg_size)
		return target_fail(error, JET_errLogFileCorrupt,
						   "WAL segment %s is damaged", name);
	if (header->xlp_sysid != control->system_identifier)
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

/* Look at one file below pg_wal. */
static bool
take_segment(const WalkEntry *entry, const ControlFileData *control,
			 WalRange *range, TargetError *error)
{
	const char *name = entry->name + strlen(XLOGDIR "/");
	TimeLineID	timeline;
	XLogSegNo	segment;

	if (!IsXLogFileName(name))
		return true;
	XLogFromFileName(name, &timeline, &segment, control->xlog_seg_size);
	if (segment < range->first)
		return true;
	add_segment(range, segment);
	return check_segment(entry, name, segment, control, error);
}

/* Which segments are there?  Each is looked at. */
static bool
scan_wal(Worker *worker, int directory, const char *path,
		 const ControlFileData *control, WalRange *range, TargetError *error)
{
	Walk	   *walk = walk_new(directory, path, XLOGDIR);
	PathTask   *task = (PathTask *) walk;
	bool		good;

	if (walk != NULL)
		walk->head_length = sizeof(XLogLongPageHeaderData);
	good = path_run(worker, &task, error);
	for (uint32 i = 0; good && i < walk->count; i++)
		good = take_segment(&walk->entries[i], control, range, error);
	path_free(task);
	return good;
}

bool
source_check_wal(Worker *worker, int directory, const char *path,
				 const Inventory *inventory, const ControlFileData *control,
				 TargetError *error)
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
	if (!scan_wal(worker, directory, path, control, &range, error))
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
