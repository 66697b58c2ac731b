/*-------------------------------------------------------------------------
 *
 * backup.c
 *	  A streaming backup from Begin to End, in the worker.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "backup.h"
#include "engine/jet.h"
#include "frame.h"
#include "registry.h"
#include "stop.h"
#include "testpoint.h"
#include "worker.h"
#include "worker_internal.h"

/* How long a stop waits for threads that are inside a system call. */
#define ENGINE_STOP_MS 1000

/* Make the row as it is now durable; sessions may be adding a stop to it. */
static void
record_row(EseInstance *instance)
{
	HistoryRow	row;

	LWLockAcquire(instance_lock(instance), LW_SHARED);
	row = instance->backup.row;
	LWLockRelease(instance_lock(instance));
	history_write(&row, instance->params.history_limit);
}

/* J0505: which backup is in the way. */
static void
answer_in_progress(EseInstance *instance, Answer *answer)
{
	HistoryRow *row = &instance->backup.row;

	answer_error(answer, JET_errBackupInProgress,
				 "a backup of instance \"%s\" is already open",
				 instance->name);
	answer_detail(answer, "Backup %lld, label \"%s\", was begun by %s at %s.",
				  (long long) row->backup_id, row->label, row->begun_by,
				  timestamptz_to_str(row->started_at));
	answer_hint(answer, "End it with ese_end_external_backup_instance(%d) first.",
				instance->id);
}

bool
backup_refuse(Worker *worker, Call *call, ProtocolCall protocol_call)
{
	EseInstance *instance = worker->instance;
	BackupStatus *status = &instance->backup;
	Answer	   *answer = &call->answer;
	int64		wanted = call->request.backup;
	int			jet;

	jet = protocol_check(&status->protocol, protocol_call);
	if (wanted != 0 && protocol_call != CALL_BEGIN &&
		(status->protocol.phase == PHASE_NONE ||
		 wanted != status->row.backup_id))
	{
		/* the session looks up how that backup has ended */
		answer_error(answer, JET_errNoBackup, "other backup");
		return true;
	}
	switch (jet)
	{
		case JET_errSuccess:
			return false;
		case JET_errBackupInProgress:
			answer_in_progress(instance, answer);
			break;
		case JET_errNoBackup:
			answer_error(answer, jet, "no backup of instance \"%s\" is open",
						 instance->name);
			answer_hint(answer, "Begin one with ese_begin_external_backup_instance(%d).",
						instance->id);
			break;
		case JET_errBackupAbortByServer:
			answer_error(answer, status->stop_error,
						 "the backup of instance \"%s\" was stopped by the server",
						 instance->name);
			answer_detail(answer, "%s", status->row.reason);
			answer_hint(answer, "End the backup, then begin a new one.");
			break;
		case JET_errInvalidBackupSequence:
			answer_error(answer, jet, "%s cannot be called now",
						 protocol_call_name(protocol_call));
			if (protocol_call == CALL_OPEN_ATTACHED)
				answer_detail(answer, "The backup of instance \"%s\" is in its logs phase.",
							  instance->name);
			else
				answer_detail(answer, "Files of the backup of instance \"%s\" are open: %d.",
							  instance->name, status->protocol.open_files);
			break;
		case JET_errDatabaseNotFound:
			answer_error(answer, jet, "\"%s\" is not a file of the backup",
						 call->request.text);
			answer_hint(answer, "ese_get_attach_info_instance(%d) lists the files.",
						instance->id);
			break;
		case JET_errMissingFileToBackup:
			answer_error(answer, jet, "\"%s\" is not a log or patch file of the backup",
						 call->request.text);
			answer_hint(answer, "ese_get_log_info_instance(%d) lists the files.",
						instance->id);
			break;
		default:
			answer_error(answer, jet, "handle %d is not open",
						 call->request.handle);
			break;
	}
	return true;
}

XLogRecPtr
backup_current_lsn(void)
{
	return RecoveryInProgress() ? GetXLogReplayRecPtr(NULL) :
		GetXLogInsertRecPtr();
}

/* What Begin needs of the server; true when it was refused. */
static bool
refuse_begin(Worker *worker, Call *call)
{
	int32		grbit = call->request.grbit;

	if (!XLogIsNeeded() && !RecoveryInProgress())
	{
		answer_error(&call->answer, JET_errLoggingDisabled,
					 "WAL level is not sufficient for an online backup");
		answer_hint(&call->answer, "Set wal_level to replica or logical and restart the server.");
	}
	else if (grbit & ~JET_bitBackupIncremental)
		answer_error(&call->answer, JET_errInvalidGrbit,
					 "unknown options 0x%08x for a backup",
					 grbit & ~JET_bitBackupIncremental);
	else if (grbit & JET_bitBackupIncremental)
	{
		answer_error(&call->answer, JET_errInvalidBackup,
					 "cannot begin an incremental backup of instance \"%s\"",
					 worker->instance->name);
		answer_detail(&call->answer, "Parameter circular_log is on, so no WAL is kept between backups.");
	}
	else if (max_replication_slots == 0)
	{
		answer_error(&call->answer, JET_errBackupNotAllowedYet,
					 "a backup needs a replication slot");
		answer_hint(&call->answer, "Increase max_replication_slots and restart the server.");
	}
	else
		return backup_refuse(worker, call, CALL_BEGIN);
	return true;
}

/* Announce the backup in the slot: from now on it can be stopped. */
static void
publish_start(Worker *worker, const Request *request)
{
	EseInstance *instance = worker->instance;
	BackupStatus *status = &instance->backup;
	HistoryRow *row = &status->row;

	LWLockAcquire(instance_lock(instance), LW_EXCLUSIVE);
	status->protocol = protocol_next(status->protocol, CALL_BEGIN);
	memset(row, 0, sizeof(*row));
	row->backup_id = worker->backup->id;
	row->instance_id = instance->id;
	strlcpy(row->name, instance->name, sizeof(row->name));
	strlcpy(row->label, request->text, sizeof(row->label));
	row->kind = KIND_FULL;
	row->status = OUTCOME_RUNNING;
	row->begun_by_oid = request->client.role;
	strlcpy(row->begun_by, request->client.role_name, sizeof(row->begun_by));
	strlcpy(row->client_addr, request->client.address,
			sizeof(row->client_addr));
	strlcpy(row->application_name, request->client.application,
			sizeof(row->application_name));
	row->started_at = GetCurrentTimestamp();
	status->phase_started_at = row->started_at;
	status->quiescent = false;
	status->stop_error = 0;
	status->files_total = status->files_done = 0;
	status->bytes_total = status->bytes_closed = 0;
	status->bytes_per_second = 0;
	pg_atomic_write_u64(&instance->stop_word,
						(uint64) worker->backup->id << STOP_WORD_BITS);
	LWLockRelease(instance_lock(instance));
	pg_atomic_write_u64(&instance->last_activity, row->started_at);
}

/* Make the worker's own record of a new backup. */
static void
create_backup(Worker *worker)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext,
												  "ese backup",
												  ALLOCSET_DEFAULT_SIZES);
	Backup	   *backup = MemoryContextAllocZero(context, sizeof(Backup));

	backup->context = context;
	backup->id = registry_next_backup_id();
	backup->on_standby = RecoveryInProgress();
	snprintf(backup->slot_name, sizeof(backup->slot_name), "esebk_%lld",
			 (long long) backup->id);
	worker->backup = backup;
}

static void
reserve_wal(Backup *backup)
{
	CheckSlotRequirements();
	compat_create_temporary_slot(backup->slot_name);
	backup->has_slot = true;
	testpoint("begin.slot");
	ReplicationSlotReserveWal();
	ReplicationSlotMarkDirty();
	ReplicationSlotSave();
}

/*
 * The part of Begin that can take long and can fail: slot, backup mode, list
 * of files.  A stop, or the cancel of the session that waits, ends it with an
 * ERROR.
 */
static void
start_backup_mode(Worker *worker, const char *label)
{
	Backup	   *backup = worker->backup;
	bool		fast = worker->instance->params.backup_checkpoint ==
		CHECKPOINT_KIND_FAST;

	reserve_wal(backup);
	testpoint("begin.start");
	compat_backup_start(&backup->mode, label, fast);
	backup->in_backup_mode = true;
	testpoint("begin.started");

	filelist_init(&backup->attach);
	filelist_init(&backup->logs);
	filelist_scan(&backup->attach, backup->mode.tablespace_map->data,
				  backup->on_standby);
	testpoint("begin.listed");
}

/*
 * What the abort of a transaction would do for an ERROR that the worker
 * survives: the cancel of a Begin.
 */
static void
clean_up_after_error(void)
{
	LWLockReleaseAll();
	ConditionVariableCancelSleep();
	AtEOXact_Files(false);
	if (MyReplicationSlot != NULL)
		ReplicationSlotRelease();
	FlushErrorState();
}

/* Leave backup mode; what has been copied is void. */
static void
leave_backup_mode(Backup *backup)
{
	if (backup->in_backup_mode)
		compat_backup_abort();
	backup->in_backup_mode = false;
}

static void
drop_slot(Backup *backup)
{
	if (!backup->has_slot)
		return;
	backup->has_slot = false;
	if (MyReplicationSlot != NULL)
		ReplicationSlotRelease();
	ReplicationSlotDrop(backup->slot_name, true);
}

/* Begin was cancelled: by a stop, or by the session that waited for it. */
static void
undo_begin(Worker *worker, Call *call)
{
	EseInstance *instance = worker->instance;
	bool		stopped = instance->backup.protocol.stopped;

	if (stopped)
	{
		answer_error(&call->answer, instance->backup.stop_error,
					 "the backup of instance \"%s\" was stopped before it had begun",
					 instance->name);
		answer_detail(&call->answer, "No backup is open.");
		backup_finish(worker, OUTCOME_ABORTED_BY_SERVER,
					  instance->backup.stop_error, "stopped while starting");
	}
	else
	{
		/* nobody waits for this answer */
		answer_error(&call->answer, errBackupAbortByCaller, "cancelled");
		backup_finish(worker, OUTCOME_ABORTED_BY_CALLER,
					  errBackupAbortByCaller,
					  "the session that began the backup left before it had begun");
	}
}

/* Run start_backup_mode(); false when it was cancelled. */
static bool
try_start(Worker *worker, Call *call)
{
	MemoryContext caller = MemoryContextSwitchTo(worker->backup->context);
	volatile bool started = false;

	worker_allow_interrupt(true);
	PG_TRY();
	{
		/* a stop that came before the signal could be taken */
		if (worker->instance->backup.protocol.stopped ||
			call_is_abandoned(worker->instance, call))
			ereport(ERROR,
					(errcode(ERRCODE_QUERY_CANCELED),
					 errmsg("the start of the backup was cancelled")));
		start_backup_mode(worker, call->request.text);
		worker_allow_interrupt(false);
		started = true;
	}
	PG_CATCH();
	{
		worker_allow_interrupt(false);
		if (geterrcode() != ERRCODE_QUERY_CANCELED)
			PG_RE_THROW();
		MemoryContextSwitchTo(caller);
		clean_up_after_error();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	return started && !worker->instance->backup.protocol.stopped &&
		!call_is_abandoned(worker->instance, call);
}

/* The backup is open. */
static void
publish_begun(Worker *worker)
{
	EseInstance *instance = worker->instance;
	BackupStatus *status = &instance->backup;
	Backup	   *backup = worker->backup;
	int64		bytes = 0;
	int64		files = 0;

	for (int i = 0; i < backup->attach.count; i++)
	{
		bytes += backup->attach.entries[i].size;
		files += backup->attach.entries[i].kind != FILE_DIRECTORY;
	}
	LWLockAcquire(instance_lock(instance), LW_EXCLUSIVE);
	status->protocol.phase = PHASE_DATABASES;
	status->phase_started_at = GetCurrentTimestamp();
	status->files_total = files;
	status->bytes_total = bytes;
	status->row.start_lsn = (int64) backup->mode.start_lsn;
	status->row.timeline = backup->mode.start_timeline;
	LWLockRelease(instance_lock(instance));
	ereport(LOG,
			(errmsg("backup %lld of instance \"%s\" started: full, label \"%s\"",
					(long long) backup->id, instance->name, status->row.label),
			 errdetail("%lld files, %lld bytes, from WAL location %X/%X.",
					   (long long) files, (long long) bytes,
					   LSN_FORMAT_ARGS(backup->mode.start_lsn))));
}

void
backup_begin(Worker *worker, Call *call)
{
	EseInstance *instance = worker->instance;
	Parameters *params = &instance->params;

	if (refuse_begin(worker, call))
		return;
	worker_prepare_engine(worker);
	create_backup(worker);
	publish_start(worker, &call->request);
	worker_show_activity(worker);
	record_row(instance);
	if (!try_start(worker, call))
	{
		undo_begin(worker, call);
		return;
	}
	eng_set_lsn_limit(worker->engine, backup_current_lsn());
	eng_begin(worker->engine, worker->backup->mode.start_lsn,
			  (DigestKind) params->manifest_checksums);
	publish_begun(worker);
	worker_show_activity(worker);
	call->answer.backup = worker->backup->id;
	testpoint("begin.done");
}

/* Append one entry to the answer frame; false when it is full. */
static bool
put_entry(char *frame, int *used, const FileEntry *entry)
{
	int			name_length = (int) strlen(entry->name) + 1;
	ListedFile	listed = {
		.size = entry->size,
		.generation = entry->generation,
		.database = entry->database,
		.tablespace = entry->tablespace,
		.kind = entry->kind,
		.name_length = name_length,
	};

	if (*used + (int) sizeof(listed) + name_length > ENG_FRAME_SIZE)
		return false;
	memcpy(frame + *used, &listed, sizeof(listed));
	memcpy(frame + *used + sizeof(listed), entry->name, name_length);
	*used += sizeof(listed) + name_length;
	return true;
}

void
backup_answer_page(Worker *worker, Call *call, FileList *list)
{
	char	   *frame = frame_address(worker->instance->answer_frame);
	int64		at = call->request.number;
	int			used = 0;

	while (at < list->count && put_entry(frame, &used, &list->entries[at]))
		at++;
	call->answer.page_length = used;
	call->answer.page_last = at >= list->count;
	call->answer.number = at;
	call->answer.backup = worker->backup->id;
}

void
backup_attach_info(Worker *worker, Call *call)
{
	if (!backup_refuse(worker, call, CALL_GET_ATTACH_INFO))
		backup_answer_page(worker, call, &worker->backup->attach);
}

void
backup_note_failure(Worker *worker, FileEntry *entry, int error)
{
	Backup	   *backup = worker->backup;

	if (entry->failure_counted)
		return;
	entry->failure_counted = true;
	if (backup->failed_files++ == 0)
	{
		backup->first_failure = error;
		strlcpy(backup->first_failed, entry->name,
				sizeof(backup->first_failed));
	}
	ereport(LOG,
			(errmsg("backup %lld of instance \"%s\": file \"%s\" failed: %s (%d)",
					(long long) backup->id, worker->instance->name,
					entry->name, jet_error_name(error), error)));
}

int
backup_count_unread(const FileList *list)
{
	int			unread = 0;

	for (int i = 0; i < list->count; i++)
	{
		const FileEntry *entry = &list->entries[i];

		if (entry->kind != FILE_DIRECTORY && entry->status != FILE_READ &&
			entry->status != FILE_GONE)
			unread++;
	}
	return unread;
}

/*
 * Is the backup good?  0, or the error that End returns; the reason in words.
 */
static int
judge(Worker *worker, char *reason, size_t size)
{
	BackupStatus *status = &worker->instance->backup;
	Backup	   *backup = worker->backup;
	int			unread = backup_count_unread(&backup->attach) +
		backup_count_unread(&backup->logs);

	reason[0] = '\0';
	if (status->protocol.stopped)
	{
		strlcpy(reason, status->row.reason[0] ? status->row.reason :
				"the backup was stopped", size);
		return status->stop_error;
	}
	if (backup->failed_files > 0)
	{
		snprintf(reason, size, "%d files could not be read, first \"%s\"",
				 backup->failed_files, backup->first_failed);
		return backup->first_failure;
	}
	if (status->protocol.phase == PHASE_DATABASES)
	{
		strlcpy(reason, "the backup was ended before its logs were requested",
				size);
		return errBackupAbortByCaller;
	}
	if (unread > 0)
	{
		snprintf(reason, size, "%d files were not read to their end and closed",
				 unread);
		return errBackupAbortByCaller;
	}
	return JET_errSuccess;
}

/* The outcome that goes with an error. */
static BackupOutcome
outcome_of(int error)
{
	switch (error)
	{
		case JET_errSuccess:
			return OUTCOME_COMPLETED;
		case errBackupAbortByCaller:
			return OUTCOME_ABORTED_BY_CALLER;
		case JET_errBackupAbortByServer:
			return OUTCOME_ABORTED_BY_SERVER;
		default:
			return OUTCOME_FAILED;
	}
}

void
backup_end(Worker *worker, Call *call)
{
	int32		ways = call->request.grbit &
		(JET_bitBackupEndNormal | JET_bitBackupEndAbort);
	bool		normal = ways == JET_bitBackupEndNormal;
	char		reason[ESE_MESSAGE_LENGTH];
	int			error;

	if (ways != JET_bitBackupEndNormal && ways != JET_bitBackupEndAbort)
	{
		answer_error(&call->answer, JET_errInvalidParameter,
					 "exactly one of JET_bitBackupEndNormal and JET_bitBackupEndAbort must be given");
		return;
	}
	if (backup_refuse(worker, call, normal ? CALL_END_NORMAL : CALL_END_ABORT))
		return;

	/* handles that nobody has closed do not count; pages may be damaged */
	openfile_pump(worker);
	testpoint("end.start");
	error = judge(worker, reason, sizeof(reason));
	if (!normal && !worker->instance->backup.protocol.stopped)
	{
		error = errBackupAbortByCaller;
		strlcpy(reason, "the backup was ended with JET_bitBackupEndAbort",
				sizeof(reason));
	}
	backup_finish(worker, outcome_of(error), error, reason);
	call->answer.result = normal ? error : JET_errSuccess;
	if (call->answer.result < 0)
	{
		answer_warning(&call->answer, error,
					   "the backup of instance \"%s\" is not usable: %s",
					   worker->instance->name, reason);
	}
}

/* The receipt of a stop, and what can take a while after it. */
static void
release_after_stop(Worker *worker)
{
	EseInstance *instance = worker->instance;
	HistoryRow	row;

	drop_slot(worker->backup);
	worker->backup->released = true;
	LWLockAcquire(instance_lock(instance), LW_EXCLUSIVE);
	instance->backup.row.released_at = GetCurrentTimestamp();
	row = instance->backup.row;
	LWLockRelease(instance_lock(instance));
	record_row(instance);
	ereport(LOG,
			(errmsg("backup %lld of instance \"%s\" stopped by %s: %s",
					(long long) row.backup_id, instance->name,
					row.stop_requested_by, history_cause_name(row.stop_cause)),
			 errdetail("It was quiescent %lld ms after the request.",
					   (long long) (row.quiescent_at - row.stop_requested_at) / 1000)));
}

static void
set_quiescent(Worker *worker)
{
	EseInstance *instance = worker->instance;

	leave_backup_mode(worker->backup);
	LWLockAcquire(instance_lock(instance), LW_EXCLUSIVE);
	instance->backup.row.quiescent_at = GetCurrentTimestamp();
	instance->backup.quiescent = true;
	LWLockRelease(instance_lock(instance));
	ConditionVariableBroadcast(&instance->changed);
}

void
backup_pursue_stop(Worker *worker)
{
	EseInstance *instance = worker->instance;
	Backup	   *backup = worker->backup;

	if (backup == NULL || backup->released ||
		!(pg_atomic_read_u64(&instance->stop_word) & STOP_WORD_STOPPED))
		return;
	if (!backup->engine_stopped)
	{
		eng_stop(worker->engine);
		backup->engine_stopped = true;
		backup->engine_stopped_at = GetCurrentTimestamp();
	}
	/* a thread in a system call will only park when it comes back */
	if (eng_running(worker->engine) > 0 &&
		!TimestampDifferenceExceeds(backup->engine_stopped_at,
									GetCurrentTimestamp(), ENGINE_STOP_MS))
		return;
	set_quiescent(worker);
	testpoint("stop.quiescent");
	worker_show_activity(worker);
	release_after_stop(worker);
}

/* Wait a little for the threads: they look at the flag between pieces. */
static void
quiet_engine(Worker *worker)
{
	eng_stop(worker->engine);
	for (int ms = 0; eng_running(worker->engine) > 0 && ms < ENGINE_STOP_MS; ms++)
		pg_usleep(1000);
}

/* The final row, with everything it says. */
static void
complete_row(Worker *worker, BackupOutcome outcome, int error,
			 const char *reason)
{
	EseInstance *instance = worker->instance;
	BackupStatus *status = &instance->backup;
	HistoryRow *row = &status->row;
	TimestampTz now = GetCurrentTimestamp();

	LWLockAcquire(instance_lock(instance), LW_EXCLUSIVE);
	row->status = outcome;
	row->error_number = error;
	strlcpy(row->reason, reason, sizeof(row->reason));
	row->ended_at = now;
	if (row->stop_requested_at != 0 && row->quiescent_at == 0)
		row->quiescent_at = now;
	if (row->stop_requested_at != 0 && row->released_at == 0)
		row->released_at = now;
	row->files = status->files_done;
	row->bytes = status->bytes_closed;
	LWLockRelease(instance_lock(instance));
}

static void
log_outcome(const HistoryRow *row)
{
	if (row->status == OUTCOME_COMPLETED)
		ereport(LOG,
				(errmsg("backup %lld of instance \"%s\" completed",
						(long long) row->backup_id, row->name),
				 errdetail("%lld files, %lld bytes, and %lld bytes of WAL.",
						   (long long) row->files, (long long) row->bytes,
						   (long long) row->wal_bytes)));
	else
		ereport(LOG,
				(errmsg("backup %lld of instance \"%s\" ended: %s",
						(long long) row->backup_id, row->name,
						history_status_name(row->status)),
				 errdetail("%s (%d): %s.", jet_error_name((int) row->error_number),
						   (int) row->error_number, row->reason)));
}

/* From now on no backup is open.  lost_word: what readers still find. */
static void
publish_end(EseInstance *instance, uint64 lost_word)
{
	LWLockAcquire(instance_lock(instance), LW_EXCLUSIVE);
	instance->backup.protocol =
		protocol_next(instance->backup.protocol, CALL_END_ABORT);
	pg_atomic_write_u64(&instance->stop_word, lost_word);
	LWLockRelease(instance_lock(instance));
	ConditionVariableBroadcast(&instance->changed);
}

void
backup_finish(Worker *worker, BackupOutcome outcome, int error,
			  const char *reason)
{
	EseInstance *instance = worker->instance;
	Backup	   *backup = worker->backup;
	HistoryRow *row = &instance->backup.row;

	quiet_engine(worker);
	leave_backup_mode(backup);
	openfile_close_all(worker);
	drop_slot(backup);
	complete_row(worker, outcome, error, reason);
	record_row(instance);
	testpoint("end.recorded");

	/* who was not asked finds the stop at his next read, until a Begin */
	publish_end(instance, row->stop_cause == CAUSE_IDLE_TIMEOUT ?
				STOP_WORD_STOPPED : 0);
	log_outcome(row);
	worker->backup = NULL;
	MemoryContextDelete(backup->context);
	worker_show_activity(worker);
}

/* Has nobody shown a sign of life for too long? */
static bool
is_abandoned(EseInstance *instance)
{
	int64		timeout = instance->params.backup_idle_timeout;
	TimestampTz last = (TimestampTz) pg_atomic_read_u64(&instance->last_activity);

	return timeout > 0 && GetCurrentTimestamp() - last > timeout * 1000;
}

/* The idle timeout stops a backup and ends it; one that is stopped, ends. */
static void
end_abandoned(Worker *worker)
{
	EseInstance *instance = worker->instance;
	int64		stopped;

	(void) stop_request(instance, 0, CAUSE_IDLE_TIMEOUT,
						JET_errBackupAbortByServer, "backup_idle_timeout",
						"no call came for longer than backup_idle_timeout",
						&stopped);
	backup_pursue_stop(worker);
	backup_finish(worker, OUTCOME_ABORTED_BY_SERVER,
				  instance->backup.stop_error, instance->backup.row.reason);
}

static int64
bytes_done(Worker *worker)
{
	int64		bytes = worker->instance->backup.bytes_closed;

	for (int i = 0; i < worker->file_places; i++)
	{
		OpenFile   *file = &worker->files[i];

		if (file->handle != NULL && file->entry != NULL)
			bytes += (int64) atomic_load(&file->handle->ring.position);
	}
	return bytes;
}

/* bytes_per_second over the last ten seconds. */
static void
sample_rate(Worker *worker)
{
	Backup	   *backup = worker->backup;
	TimestampTz now = GetCurrentTimestamp();
	int			last = RATE_SECONDS;

	if (now - backup->rate_sampled_at < USECS_PER_SEC)
		return;
	backup->rate_sampled_at = now;
	memmove(&backup->rate_samples[0], &backup->rate_samples[1],
			sizeof(int64) * last);
	backup->rate_samples[last] = bytes_done(worker);
	backup->rate_count = Min(backup->rate_count + 1, last + 1);
	if (backup->rate_count > 1)
		worker->instance->backup.bytes_per_second =
			(backup->rate_samples[last] -
			 backup->rate_samples[last - backup->rate_count + 1]) /
			(backup->rate_count - 1);
}

void
backup_tick(Worker *worker)
{
	EseInstance *instance = worker->instance;
	Backup	   *backup = worker->backup;
	int64		stopped;

	if (backup == NULL)
		return;
	sample_rate(worker);
	if (is_abandoned(instance))
	{
		end_abandoned(worker);
		return;
	}
	if (instance->backup.protocol.stopped)
		return;
	if (backup->on_standby && !RecoveryInProgress())
		(void) stop_request(instance, 0, CAUSE_PROMOTION,
							JET_errBackupAbortByServer, "server",
							"the standby was promoted during the backup",
							&stopped);
	else if (backup->has_slot && MyReplicationSlot != NULL &&
			 compat_slot_is_lost(MyReplicationSlot))
		(void) stop_request(instance, 0, CAUSE_WAL_LIMIT,
							JET_errRequiredLogFilesMissing, "server",
							"max_slot_wal_keep_size was exceeded and WAL of the backup was removed",
							&stopped);
}

/* Why is the worker told to exit? */
static StopCause
cause_of_exit(Backup *backup)
{
	XLogRecPtr	restart = InvalidXLogRecPtr;
	XLogRecPtr	now = backup_current_lsn();

	if (MyReplicationSlot != NULL)
	{
		SpinLockAcquire(&MyReplicationSlot->mutex);
		restart = MyReplicationSlot->data.restart_lsn;
		SpinLockRelease(&MyReplicationSlot->mutex);
	}
	if (backup->has_slot && max_slot_wal_keep_size_mb >= 0 &&
		restart != InvalidXLogRecPtr &&
		now - restart > (uint64) max_slot_wal_keep_size_mb * 1024 * 1024)
		return CAUSE_WAL_LIMIT;
	if (worker_server_is_stopping())
		return CAUSE_SHUTDOWN;
	return CAUSE_WORKER_EXIT;
}

void
backup_die_early(Worker *worker)
{
	static const char *const reasons[] = {
		[CAUSE_WAL_LIMIT] = "max_slot_wal_keep_size was exceeded, so the WAL of the backup could not be kept",
		[CAUSE_SHUTDOWN] = "the server was shut down",
		[CAUSE_WORKER_EXIT] = "the worker of the instance ended",
	};
	EseInstance *instance = worker->instance;
	StopCause	cause;
	int64		stopped;

	if (worker->backup == NULL)
		return;
	cause = cause_of_exit(worker->backup);
	(void) stop_request(instance, 0, cause,
						cause == CAUSE_WAL_LIMIT ?
						JET_errRequiredLogFilesMissing :
						JET_errBackupAbortByServer,
						"server", reasons[cause], &stopped);
	eng_stop(worker->engine);
}

void
backup_die_late(Worker *worker)
{
	EseInstance *instance = worker->instance;
	HistoryRow *row = &instance->backup.row;
	BackupOutcome outcome = OUTCOME_FAILED;

	if (worker->backup == NULL)
		return;

	/* who had stopped it before, has his receipt */
	if (row->stop_cause == CAUSE_USER || row->stop_cause == CAUSE_TERM ||
		row->stop_cause == CAUSE_IDLE_TIMEOUT)
		outcome = OUTCOME_ABORTED_BY_SERVER;
	complete_row(worker, outcome, instance->backup.stop_error, row->reason);

	/* nothing may keep the rest of the way out from being gone */
	PG_TRY();
	{
		record_row(instance);
	}
	PG_CATCH();
	{
		EmitErrorReport();
		FlushErrorState();
		LWLockReleaseAll();
	}
	PG_END_TRY();
	publish_end(instance, STOP_WORD_STOPPED);
	log_outcome(row);
	worker->backup = NULL;
}
