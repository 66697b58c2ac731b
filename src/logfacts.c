/*-------------------------------------------------------------------------
 *
 * logfacts.c
 *	  Gathering what a log manifest says from server, backup and history.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "access/timeline.h"
#include "utils/timestamp.h"

#include "logfacts.h"

ManifestWalRange *
logfacts_ranges(const CompatBackup *mode, uint32 *count)
{
	List	   *timelines = readTimeLineHistory(mode->stop_timeline);
	ManifestWalRange *ranges = palloc(sizeof(ManifestWalRange) *
									  list_length(timelines));
	XLogRecPtr	end = mode->stop_lsn;
	ListCell   *cell;

	*count = 0;
	foreach(cell, timelines)
	{
		TimeLineHistoryEntry *timeline = lfirst(cell);
		bool		is_first = timeline->tli == mode->start_timeline;
		ManifestWalRange *range = &ranges[*count];

		if (end <= timeline->begin && !is_first)
			continue;			/* nothing of it was used */
		range->timeline = timeline->tli;
		range->start_lsn = is_first ? mode->start_lsn : timeline->begin;
		range->end_lsn = end;
		(*count)++;
		if (is_first)
			return ranges;
		end = timeline->begin;
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("timeline %u is not an ancestor of timeline %u, on which the logs of the backup end",
					mode->start_timeline, mode->stop_timeline)));
}

/* Is there something that an incremental backup's manifest could name? */
static bool
has_manifest(const Backup *backup)
{
	return !backup->incremental || backup->follows.checksum[0] != '\0';
}

void
logfacts_add_manifest(Worker *worker)
{
	Backup	   *backup = worker->backup;
	char		path[LOGMANIFEST_MAX_PATH];
	FileEntry  *entry;

	if (!has_manifest(backup))
	{
		ereport(WARNING,
				(errmsg("backup %lld of instance \"%s\" has no log manifest: backup %lld, which it follows, has none",
						(long long) backup->id, worker->instance->name,
						(long long) backup->follows.backup_id),
				 errhint("Take a full backup, so that the logs of the chain can be verified.")));
		return;
	}
	logmanifest_path(path, backup->id);
	entry = filelist_add(&backup->logs, FILE_PATCH, path, 0);
	entry->modified = (pg_time_t) time(NULL);
	entry->made = true;
}

/* The account goes when the backup's memory goes. */
static void
free_account(void *arg)
{
	logaccount_free(arg);
}

static void
fill_head(Worker *worker, LogManifestHead *head)
{
	HistoryRow *row = &worker->instance->backup.row;
	Backup	   *backup = worker->backup;
	time_t		started = (time_t) timestamptz_to_time_t(row->started_at);
	struct tm	tm;

	head->system_identifier = GetSystemIdentifier();
	head->instance_id = worker->instance->id;
	strlcpy(head->instance, worker->instance->name, sizeof(head->instance));
	head->backup_id = backup->id;
	head->incremental = backup->incremental;
	/* what the server writes has an index */
	head->indexed = backup->native != NATIVE_NONE;
	head->ended_at = backup->logs_ended_at +
		(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
	gmtime_r(&started, &tm);
	strftime(head->started_at, sizeof(head->started_at),
			 "%Y-%m-%d %H:%M:%S GMT", &tm);
	if (backup->incremental)
		head->follows = backup->follows;
	head->segment_size = (uint32) wal_segment_size;
	head->start_lsn = backup->mode.start_lsn;
	head->end_lsn = backup->mode.stop_lsn;
	strlcpy(head->backup_manifest, backup->manifest_checksum,
			sizeof(head->backup_manifest));
}

void
logfacts_open_account(Worker *worker)
{
	Backup	   *backup = worker->backup;
	LogFacts	facts = {0};
	char		path[LOGMANIFEST_MAX_PATH];
	FileEntry  *entry;
	MemoryContextCallback *callback;

	if (!has_manifest(backup))
		return;
	fill_head(worker, &facts.head);
	facts.ranges = logfacts_ranges(&backup->mode, &facts.range_count);
	facts.head.timeline = facts.ranges[0].timeline;
	facts.digest = (DigestKind) worker->instance->params.manifest_checksums;
	callback = palloc(sizeof(*callback));
	backup->account = logaccount_new(&facts, backup->logs.entries,
									 (uint32) backup->logs.count);
	if (backup->account == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory for the log manifest")));
	callback->func = free_account;
	callback->arg = backup->account;
	MemoryContextRegisterResetCallback(backup->context, callback);
	logmanifest_path(path, backup->id);
	entry = filelist_find(&backup->logs, path);
	entry->size = (int64) logaccount_size(backup->account);
	backup->logs.shown_last = entry;
}

void
logfacts_note_checksum(Worker *worker)
{
	EseInstance *instance = worker->instance;
	char		checksum[DOCUMENT_CHECKSUM_SIZE];

	if (worker->backup->account == NULL ||
		!logaccount_checksum(worker->backup->account, checksum))
		return;
	LWLockAcquire(instance_lock(instance), LW_EXCLUSIVE);
	strlcpy(instance->backup.row.log_manifest, checksum,
			sizeof(instance->backup.row.log_manifest));
	LWLockRelease(instance_lock(instance));
}
