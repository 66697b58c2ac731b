/*-------------------------------------------------------------------------
 *
 * loglist.c
 *	  GetLogInfo: the end of backup mode, and the files that go with it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/timeline.h"
#include "access/xlog_internal.h"
#include "access/xlogrecovery.h"
#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/timestamp.h"

#include "backup.h"
#include "engine/jet.h"
#include "engine/manifest.h"
#include "logfacts.h"
#include "statefile.h"
#include "stop.h"
#include "testpoint.h"
#include "unread.h"
#include "worker_internal.h"

#define WAL_DIRECTORY	"pg_wal"

/*
 * pg_control, as it is after all other files have been read.  The file is
 * rewritten in place, so only its lock keeps a copy from being torn.
 */
static char *
capture_control_file(void)
{
	char	   *contents = palloc0(PG_CONTROL_FILE_SIZE);
	ControlFileData *control;
	bool		crc_ok;

	LWLockAcquire(ControlFileLock, LW_SHARED);
	control = get_controlfile(DataDir, &crc_ok);
	LWLockRelease(ControlFileLock);
	if (!crc_ok)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the checksum of file \"%s\" is wrong",
						XLOG_CONTROL_FILE)));
	memcpy(contents, control, sizeof(ControlFileData));
	pfree(control);
	return contents;
}

/* A file that exists only in our memory. */
static FileEntry *
add_patch(Backup *backup, const char *name, char *contents, int64 size)
{
	FileEntry  *entry = filelist_add(&backup->logs, FILE_PATCH, name, size);

	entry->contents = contents;
	entry->modified = (pg_time_t) time(NULL);
	return entry;
}

/* A restored server must not archive again what is archived already. */
static void
add_archive_status(Backup *backup, const char *file)
{
	add_patch(backup,
			  psprintf("%s/archive_status/%s.done", WAL_DIRECTORY, file),
			  pstrdup(""), 0);
}

/* The contents of a small file; NULL when it has gone. */
static char *
read_small_file(const char *path, int64 *size)
{
	struct stat st;
	char	   *contents;
	int			fd = OpenTransientFile(path, O_RDONLY | PG_BINARY);

	if (fd < 0 && errno == ENOENT)
		return NULL;
	if (fd < 0 || fstat(fd, &st) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\": %m", path)));
	contents = palloc(st.st_size + 1);
	*size = read(fd, contents, st.st_size);
	if (*size < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read file \"%s\": %m", path)));
	CloseTransientFile(fd);
	return contents;
}

static void
add_timeline_history(Backup *backup, const char *file)
{
	char	   *path = psprintf("%s/%s", WAL_DIRECTORY, file);
	int64		size;
	char	   *contents = read_small_file(path, &size);

	if (contents == NULL)
		return;
	add_patch(backup, path, contents, size);
	add_archive_status(backup, file);
}

/*
 * The segment in which the logs of a standby end is written on, so it is
 * delivered up to there, and zeros behind: its bytes must be known.
 */
static uint32
end_within(const Backup *backup, TimeLineID timeline, XLogSegNo segment)
{
	XLogRecPtr	stop = backup->mode.stop_lsn;
	XLogSegNo	last;

	XLByteToPrevSeg(stop, last, wal_segment_size);
	return backup->on_standby && segment == last &&
		timeline == backup->mode.stop_timeline ?
		XLogSegmentOffset(stop, wal_segment_size) : 0;
}

static void
add_log(Backup *backup, const char *file, TimeLineID timeline,
		XLogSegNo segment)
{
	FileEntry  *entry;

	entry = filelist_add(&backup->logs, FILE_LOG,
						 psprintf("%s/%s", WAL_DIRECTORY, file),
						 wal_segment_size);
	entry->generation = (int64) segment;
	entry->zeros_from = end_within(backup, timeline, segment);
	add_archive_status(backup, file);
}

/*
 * List the segments from the first to the last one needed, of whatever
 * timeline, and all timeline history files.
 */
static void
list_wal(Backup *backup, XLogSegNo first, XLogSegNo last)
{
	DIR		   *directory = AllocateDir(WAL_DIRECTORY);
	struct dirent *de;

	while ((de = ReadDir(directory, WAL_DIRECTORY)) != NULL)
	{
		if (IsXLogFileName(de->d_name))
		{
			TimeLineID	timeline;
			XLogSegNo	segment;

			XLogFromFileName(de->d_name, &timeline, &segment, wal_segment_size);
			if (segment >= first && segment <= last)
				add_log(backup, de->d_name, timeline, segment);
		}
		else if (IsTLHistoryFileName(de->d_name))
			add_timeline_history(backup, de->d_name);
	}
	FreeDir(directory);
}

/* The first segment of the range that is not there; 0 when none is missing. */
static XLogSegNo
find_missing_segment(const FileList *logs, XLogSegNo first, XLogSegNo last)
{
	XLogSegNo	missing = 0;
	bool	   *found;

	if (last < first)
		return 0;
	found = palloc_extended(last - first + 1,
							MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (int i = 0; i < logs->count; i++)
	{
		if (logs->entries[i].kind == FILE_LOG)
			found[logs->entries[i].generation - first] = true;
	}
	for (XLogSegNo segment = first; segment <= last && missing == 0; segment++)
	{
		if (!found[segment - first])
			missing = segment;
	}
	pfree(found);
	return missing;
}

/* The checksum of a patch file. */
static void
digest_patch(FileEntry *entry, DigestKind kind)
{
	if (!digest_bytes(kind, entry->contents, entry->size, &entry->digest))
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory for the backup manifest")));
}

/* The WAL a restore needs. */
static void
add_wal_ranges(Manifest *manifest, const CompatBackup *mode)
{
	uint32		count;
	ManifestWalRange *ranges = logfacts_ranges(mode, &count);

	for (uint32 i = 0; i < count; i++)
		manifest_add_wal_range(manifest, &ranges[i]);
}

static void
add_to_manifest(Manifest *manifest, const FileEntry *entry)
{
	manifest_add_file(manifest, entry->name, (uint64) entry->size,
					  (time_t) entry->modified, &entry->digest);
}

/* A ManifestWriter; arg is a descriptor. */
static bool
write_to_file(void *arg, const char *bytes, size_t length)
{
	errno = ENOSPC;				/* unless write() says something else */
	return write(*(int *) arg, bytes, length) == (ssize_t) length;
}

/* All files that are in the backup; false when it was stopped meanwhile. */
static bool
add_files(Worker *worker, Manifest *manifest)
{
	Backup	   *backup = worker->backup;

	for (int i = 0; i < backup->attach.count; i++)
	{
		FileEntry  *entry = &backup->attach.entries[i];

		CHECK_FOR_INTERRUPTS();
		if (stop_is_requested(worker->instance))
			return false;
		/* a damaged file is in the copy all the same */
		if (entry->kind != FILE_DIRECTORY &&
			(entry->status == FILE_READ ||
			 (entry->status == FILE_FAILED && entry->damaged)))
			add_to_manifest(manifest, entry);
	}
	for (int i = 0; i < backup->logs.count; i++)
	{
		FileEntry  *entry = &backup->logs.entries[i];

		if (entry->kind != FILE_PATCH ||
			strncmp(entry->name, WAL_DIRECTORY "/", 7) == 0)
			continue;
		digest_patch(entry, (DigestKind) worker->instance->params.manifest_checksums);
		add_to_manifest(manifest, entry);
	}
	return true;
}

/* What stands below the list of files; false when it could not be written. */
static bool
finish_manifest(Worker *worker, Manifest *manifest)
{
	Backup	   *backup = worker->backup;

	manifest_end_files(manifest);
	add_wal_ranges(manifest, &backup->mode);
	return manifest_finish(manifest, backup->manifest_checksum);
}

/*
 * Write the manifest of what has been read.  From now on it is fixed: a file
 * opened again cannot change what it says.  It is as long as the list of all
 * files, so it lies on disk.  False when the backup was stopped meanwhile.
 */
static bool
add_manifest(Worker *worker)
{
	Backup	   *backup = worker->backup;
	char	   *path = statefile_manifest_path(worker->instance->id);
	Manifest	manifest;
	FileEntry  *entry;
	int			fd;
	bool		complete;

	fd = OpenTransientFile(path, O_WRONLY | O_CREAT | O_TRUNC | PG_BINARY);
	if (fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create file \"%s\": %m", path)));
	manifest_begin(&manifest, COMPAT_MANIFEST_VERSION, GetSystemIdentifier(),
				   write_to_file, &fd);
	complete = add_files(worker, &manifest);
	if (complete && !finish_manifest(worker, &manifest))
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not write file \"%s\": %m", path)));
	if (complete)
	{
		entry = add_patch(backup, "backup_manifest", path,
						  (int64) manifest.size);
		entry->elsewhere = true;
	}
	manifest_free(&manifest);
	CloseTransientFile(fd);
	return complete;
}

/* The backup cannot be finished: stop it.  Always false. */
static bool
give_up(Worker *worker, StopCause cause, int error, const char *reason)
{
	int64		stopped;

	(void) stop_request(worker->instance, 0, cause, error, "server", reason,
						&stopped);
	return false;
}

/* Leave backup mode by its front door; false when the backup was stopped. */
static bool
stop_backup_mode(Worker *worker)
{
	Backup	   *backup = worker->backup;

	if (backup->on_standby != RecoveryInProgress())
		return give_up(worker, CAUSE_PROMOTION, JET_errBackupAbortByServer,
					   "the standby was promoted during the backup");
	testpoint("logs.stop");
	compat_backup_stop(&backup->mode);
	backup->logs_ended_at = GetCurrentTimestamp();
	backup->in_backup_mode = false;
	backup_rest(worker);
	testpoint("logs.stopped");
	if (MyReplicationSlot == NULL || compat_slot_is_lost(MyReplicationSlot))
		return give_up(worker, CAUSE_WAL_LIMIT, JET_errRequiredLogFilesMissing,
					   "max_slot_wal_keep_size was exceeded and WAL of the backup was removed");
	return true;
}

/*
 * List the WAL from the start to the stop of the backup; false, and the
 * backup is stopped with this error, when a segment is missing.
 */
static bool
list_range(Worker *worker, int error)
{
	Backup	   *backup = worker->backup;
	CompatBackup *mode = &backup->mode;
	char		name[MAXFNAMELEN];
	XLogSegNo	first;
	XLogSegNo	last;
	XLogSegNo	missing;

	XLByteToSeg(mode->start_lsn, first, wal_segment_size);
	XLByteToPrevSeg(mode->stop_lsn, last, wal_segment_size);
	list_wal(backup, first, last);
	missing = find_missing_segment(&backup->logs, first, last);
	if (missing == 0)
		return true;
	XLogFileName(name, mode->stop_timeline, missing, wal_segment_size);
	return give_up(worker, CAUSE_WAL_LIMIT, error,
				   psprintf("WAL segment %s is missing", name));
}

/* All logs and patch files but the manifest; false when it was stopped. */
static bool
list_files(Worker *worker, char *control_file)
{
	Backup	   *backup = worker->backup;
	CompatBackup *mode = &backup->mode;

	if (!list_range(worker, JET_errRequiredLogFilesMissing))
		return false;
	add_patch(backup, "backup_label", mode->label_file,
			  strlen(mode->label_file));
	add_patch(backup, "global/pg_control", control_file,
			  PG_CONTROL_FILE_SIZE);
	if (mode->tablespace_map->len > 0)
		add_patch(backup, "tablespace_map.original",
				  mode->tablespace_map->data, mode->tablespace_map->len);
	return true;
}

/* The slot shows the logs phase. */
static void
publish_logs(Worker *worker)
{
	BackupStatus *status = &worker->instance->backup;
	Backup	   *backup = worker->backup;
	int64		wal_bytes = 0;
	int64		bytes = 0;

	for (int i = 0; i < backup->logs.count; i++)
	{
		FileEntry  *entry = &backup->logs.entries[i];

		bytes += entry->size;
		if (entry->kind == FILE_LOG)
			wal_bytes += entry->size;
	}
	LWLockAcquire(instance_lock(worker->instance), LW_EXCLUSIVE);
	status->protocol = protocol_next(status->protocol, CALL_GET_LOG_INFO);
	status->phase_started_at = GetCurrentTimestamp();
	status->files_total += backup->logs.count;
	status->streaming = false;
	status->files_in_streams = 0;
	status->bytes_total += bytes;
	status->row.stop_lsn = (int64) backup->mode.stop_lsn;
	status->row.timeline = backup->mode.stop_timeline;
	status->row.wal_bytes = wal_bytes;
	LWLockRelease(instance_lock(worker->instance));
	ereport(LOG,
			(errmsg("backup %lld of instance \"%s\": logs phase, WAL from %X/%X to %X/%X",
					(long long) backup->id, worker->instance->name,
					LSN_FORMAT_ARGS(backup->mode.start_lsn),
					LSN_FORMAT_ARGS(backup->mode.stop_lsn))));
}

/*
 * The roll of an incremental backup: all WAL up to now is in closed segments,
 * and listed from where the chain has come to.
 */
static bool
roll_incremental(Worker *worker)
{
	CompatBackup *mode = &worker->backup->mode;

	backup_rest(worker);
	testpoint("logs.stop");
	if (RecoveryInProgress())
	{
		/* a standby cannot close a segment: those that are complete */
		mode->stop_lsn = GetXLogReplayRecPtr(&mode->stop_timeline);
		mode->stop_lsn -= XLogSegmentOffset(mode->stop_lsn, wal_segment_size);
	}
	else
	{
		mode->stop_lsn = RequestXLogSwitch(false);
		mode->stop_timeline = GetWALInsertionTimeLine();
	}
	worker->backup->logs_ended_at = GetCurrentTimestamp();
	mode->start_timeline =
		tliOfPointInHistory(mode->start_lsn,
							readTimeLineHistory(mode->stop_timeline));
	return list_range(worker, JET_errMissingFileToBackup);
}

/* The roll of a full one, which ends backup mode. */
static bool
roll_full(Worker *worker)
{
	char	   *control_file = capture_control_file();

	return stop_backup_mode(worker) && list_files(worker, control_file) &&
		add_manifest(worker);
}

bool
loglist_roll(Worker *worker)
{
	Backup	   *backup = worker->backup;
	MemoryContext caller = MemoryContextSwitchTo(backup->context);
	bool		done = false;

	if (backup->incremental ? roll_incremental(worker) : roll_full(worker))
	{
		logfacts_add_manifest(worker);
		filelist_sort(&backup->logs);
		logfacts_open_account(worker);
		testpoint("logs.listed");
		done = backup_set_out(worker);
	}
	if (done)
	{
		backup->logs_listed = true;
		streamfile_drop_queue(backup);
		publish_logs(worker);
	}
	MemoryContextSwitchTo(caller);
	return done;
}

void
loglist_get(Worker *worker, Call *call)
{
	char		unread[ESE_MESSAGE_LENGTH];

	if (backup_refuse(worker, call, CALL_GET_LOG_INFO))
		return;
	if (!worker->backup->logs_listed && !loglist_roll(worker))
	{
		(void) backup_refuse(worker, call, CALL_GET_LOG_INFO);
		return;
	}
	worker_show_activity(worker);
	backup_answer_page(worker, call, &worker->backup->logs);
	if (call->request.number > 0)
		return;
	unread_describe_attached(worker->backup, unread, sizeof(unread));
	if (unread[0] == '\0')
		return;
	answer_warning(&call->answer, 0, "%s", unread);
	answer_hint(&call->answer, "ese_unread_files(%d) lists them.",
				worker->instance->id);
}

/* The first log or patch file that nobody has read to its end, or NULL. */
static const FileEntry *
find_unread(const FileList *list)
{
	for (int i = 0; i < list->count; i++)
	{
		if (list->entries[i].status != FILE_READ &&
			list->entries[i].status != FILE_GONE)
			return &list->entries[i];
	}
	return NULL;
}

/*
 * What is truncated is only noted here; WAL is given up when End has found
 * the whole backup good.
 */
void
loglist_truncate(Worker *worker, Call *call)
{
	const FileEntry *unread;

	if (backup_refuse(worker, call, CALL_TRUNCATE_LOG))
		return;
	if (!worker->backup->logs_listed)
	{
		answer_error(&call->answer, JET_errInvalidBackupSequence,
					 "the logs of the backup have not been requested yet");
		return;
	}
	unread = find_unread(&worker->backup->logs);
	if (unread == NULL)
	{
		worker->backup->truncated = true;
		return;
	}
	answer_error(&call->answer, JET_errLogFileNotCopied,
				 "the logs of the backup of instance \"%s\" cannot be truncated",
				 worker->instance->name);
	answer_detail(&call->answer, "\"%s\" has not been read to its end and closed.",
				  unread->name);
}
