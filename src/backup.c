/*-------------------------------------------------------------------------
 *
 * backup.c
 *	  An open backup, in the worker: what its calls have in common, its stop
 *	  and its end.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogrecovery.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "backup.h"
#include "chain.h"
#include "clock.h"
#include "engine/jet.h"
#include "frame.h"
#include "leftover.h"
#include "logfacts.h"
#include "refuse.h"
#include "statefile.h"
#include "stop.h"
#include "testpoint.h"
#include "unread.h"
#include "worker_internal.h"

/* How long a stop waits for threads that are inside a system call. */
#define ENGINE_STOP_MS 500

static void
copy_row(EseInstance *instance, HistoryRow *row)
{
	LWLockAcquire(instance_lock(instance), LW_SHARED);
	*row = instance->backup.row;
	LWLockRelease(instance_lock(instance));
}

bool
backup_record_row(EseInstance *instance, FileProblem *problem)
{
	HistoryRow	row;

	copy_row(instance, &row);
	return history_record(instance, &row, problem);
}

void
backup_record_or_keep(EseInstance *instance)
{
	HistoryRow	row;
	FileProblem problem;

	copy_row(instance, &row);
	if (!history_record(instance, &row, &problem))
		history_report_kept(instance, &row, &problem);
}

/* J0505: which backup is in the way. */
static void
answer_in_progress(EseInstance *instance, Answer *answer)
{
	HistoryRow *row = &instance->backup.row;

	answer_error(answer, JET_errBackupInProgress,
				 "a %s of instance \"%s\" is already open",
				 history_noun(row->kind), instance->name);
	history_describe_begin(row, answer->detail, sizeof(answer->detail));
	if (row->location[0] != '\0')
		answer_hint(answer, "It ends by itself; CALL ese_wait_backup(%d) waits for it.",
					instance->id);
	else
		answer_hint(answer, "End it with ese_end_external_backup_instance(%d) first.",
					instance->id);
}

static bool
is_native(const Worker *worker)
{
	return worker->backup != NULL && worker->backup->native != NATIVE_NONE;
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
	if (is_native(worker) && jet != JET_errBackupInProgress &&
		protocol_call != CALL_TERM_STOP)
	{
		answer_error(answer, JET_errInvalidBackupSequence,
					 "%s cannot be called during a %s",
					 protocol_function_name(protocol_call),
					 status->row.kind <= KIND_DIFFERENTIAL ? "native backup" :
					 history_noun(status->row.kind));
		answer_detail(answer, "The %s %lld of instance \"%s\" is not over.",
					  history_noun(status->row.kind),
					  (long long) status->row.backup_id, instance->name);
		answer_hint(answer, "It ends by itself; CALL ese_wait_backup(%d) waits for it, ese_stop_backup_instance(%d) stops it.",
					instance->id, instance->id);
		return true;
	}
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
			stop_describe(instance, answer->detail, sizeof(answer->detail));
			answer_hint(answer, "End the backup, then begin a new one.");
			break;
		case JET_errInvalidBackupSequence:
			refuse_sequence(worker, call, protocol_call);
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

void
backup_leave_mode(Backup *backup)
{
	if (backup->in_backup_mode)
		compat_backup_abort();
	backup->in_backup_mode = false;
}

void
backup_drop_slot(Backup *backup)
{
	if (MyReplicationSlot != NULL)
		ReplicationSlotRelease();
	if (backup->has_slot)
		ReplicationSlotDrop(backup->slot_name, true);
	backup->has_slot = false;
}

bool
backup_put_entry(char *frame, int *used, const FileEntry *entry, int state)
{
	int			name_length = (int) strlen(entry->name) + 1;
	ListedFile	listed = {
		.size = entry->size,
		.generation = entry->generation,
		.database = entry->database,
		.tablespace = entry->tablespace,
		.kind = entry->kind,
		.state = state,
		.name_length = name_length,
	};

	if (*used + (int) sizeof(listed) + name_length > ENG_FRAME_SIZE)
		return false;
	memcpy(frame + *used, &listed, sizeof(listed));
	memcpy(frame + *used + sizeof(listed), entry->name, name_length);
	*used += sizeof(listed) + name_length;
	return true;
}

/* Which entry is shown at a place? */
static const FileEntry *
shown_at(const FileList *list, int64 at)
{
	int64		last = list->shown_last != NULL ?
		list->shown_last - list->entries : list->count;

	if (at < last)
		return &list->entries[at];
	return at == list->count - 1 ? list->shown_last : &list->entries[at + 1];
}

void
backup_answer_page(Worker *worker, Call *call, FileList *list)
{
	char	   *frame = frame_address(worker->instance->answer_frame);
	int64		at = call->request.number;
	int			used = 0;

	while (at < list->count &&
		   backup_put_entry(frame, &used, shown_at(list, at), 0))
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
	entry->bad_pages = error == JET_errReadVerifyFailure;
	if (backup->failed_files++ == 0)
		backup->first_failure = error;
	ereport(LOG,
			(errmsg("backup %lld of instance \"%s\": file \"%s\" failed: %s (%d)",
					(long long) backup->id, worker->instance->name,
					entry->name, jet_error_name(error), error)));
}

int
backup_judge(Worker *worker, char *reason, size_t size)
{
	BackupStatus *status = &worker->instance->backup;
	Backup	   *backup = worker->backup;

	reason[0] = '\0';
	if (status->protocol.stopped)
	{
		strlcpy(reason, status->row.reason, size);
		return status->stop_error;
	}
	if (backup->failed_files > 0)
	{
		unread_describe_failed(backup, reason, size);
		return backup->first_failure;
	}
	if (!backup->logs_listed)
	{
		strlcpy(reason, "the backup was ended before its logs were requested",
				size);
		return errBackupAbortByCaller;
	}
	unread_describe_missing(backup, reason, size);
	return reason[0] ? errBackupAbortByCaller : JET_errSuccess;
}

BackupOutcome
backup_outcome_of(int error)
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

/* The kind of a good backup, by what became of its logs. */
static BackupKind
kind_of(const Backup *backup)
{
	if (backup->incremental)
		return backup->truncated ? KIND_INCREMENTAL : KIND_DIFFERENTIAL;
	return backup->truncated ? KIND_FULL : KIND_COPY;
}

/*
 * From where on the next backup needs WAL.  Logs end with a closed segment,
 * but on a standby a full backup ends in the middle of one: that one is
 * needed again.
 */
static XLogRecPtr
end_of_logs(const Backup *backup)
{
	XLogRecPtr	stop = backup->mode.stop_lsn;
	XLogRecPtr	start = stop - XLogSegmentOffset(stop, wal_segment_size);

	return start == stop || (backup->on_standby && !backup->incremental) ?
		start : start + wal_segment_size;
}

bool
backup_settle_chain(Worker *worker)
{
	EseInstance *instance = worker->instance;
	Backup	   *backup = worker->backup;
	bool		wanted = backup->truncated;

	/* with circular logging there is no chain, and nothing to truncate */
	if (instance->params.circular_log)
		return true;
	backup->truncated = wanted && chain_can_advance(instance);
	if (backup->truncated)
		backup->chain_end = end_of_logs(backup);
	else if (wanted)
		ereport(LOG,
				(errmsg("backup %lld of instance \"%s\" counts as a copy",
						(long long) backup->id, instance->name),
				 errdetail("No replication slot is free for incremental backups to follow."),
				 errhint("Increase max_replication_slots.")));
	LWLockAcquire(instance_lock(instance), LW_EXCLUSIVE);
	instance->backup.row.kind = kind_of(backup);
	instance->backup.row.truncated = backup->truncated;
	LWLockRelease(instance_lock(instance));
	return backup->truncated == wanted;
}

void
backup_end(Worker *worker, Call *call)
{
	int32		ways = call->request.grbit &
		(JET_bitBackupEndNormal | JET_bitBackupEndAbort);
	bool		normal = ways == JET_bitBackupEndNormal;
	int64		backup;
	char		reason[ESE_MESSAGE_LENGTH];
	int			error;

	if (refuse_options(&call->answer, OPTIONS_END, call->request.grbit))
		return;
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
	error = backup_judge(worker, reason, sizeof(reason));
	if (!normal && !worker->instance->backup.protocol.stopped)
	{
		error = errBackupAbortByCaller;
		strlcpy(reason, "the backup was ended with JET_bitBackupEndAbort",
				sizeof(reason));
	}
	if (call->request.grbit & JET_bitBackupTruncateDone)
		worker->backup->truncated = true;
	if (error == JET_errSuccess)
		logfacts_note_checksum(worker);
	if (error == JET_errSuccess && !backup_settle_chain(worker))
		answer_warning(&call->answer, 0,
					   "the backup counts as a copy, because no replication slot is free for incremental backups to follow");
	backup = worker->backup->id;
	error = backup_finish(worker, backup_outcome_of(error), error, reason);
	call->answer.backup = backup;
	call->answer.result = normal ? error : JET_errSuccess;
	if (call->answer.result < 0)
	{
		answer_warning(&call->answer, error,
					   "backup %lld of instance \"%s\" is not usable: %s",
					   (long long) backup, worker->instance->name,
					   worker->instance->backup.row.reason);
		if (worker->unread.count > 0)
			answer_hint(&call->answer, "ese_unread_files(%d, %lld) lists the files, until the next backup begins.",
						worker->instance->id, (long long) backup);
	}
}

/* The receipt of a stop, and what can take a while after it. */
static void
release_after_stop(Worker *worker)
{
	EseInstance *instance = worker->instance;
	HistoryRow	row;

	native_close(worker, false);
	backup_drop_slot(worker->backup);
	worker->backup->released = true;
	LWLockAcquire(instance_lock(instance), LW_EXCLUSIVE);
	instance->backup.row.released_at = GetCurrentTimestamp();
	row = instance->backup.row;
	LWLockRelease(instance_lock(instance));
	backup_record_or_keep(instance);
	ereport(LOG,
			(errmsg("%s %lld of instance \"%s\" stopped by %s: %s",
					history_noun(row.kind), (long long) row.backup_id, instance->name,
					row.stop_requested_by, row.reason),
			 errdetail("%s (%d). It was quiescent %lld ms after the request.",
					   jet_error_name((int) row.error_number),
					   (int) row.error_number,
					   (long long) (row.quiescent_at - row.stop_requested_at) / 1000)));
}

/* Nothing runs any more: who waits for that can go on. */
static void
set_quiescent(EseInstance *instance)
{
	BackupStatus *status = &instance->backup;

	LWLockAcquire(instance_lock(instance), LW_EXCLUSIVE);
	if (status->row.stop_requested_at != 0 && status->row.quiescent_at == 0)
		status->row.quiescent_at = stop_clock(status);
	status->quiescent = true;
	LWLockRelease(instance_lock(instance));
	ConditionVariableBroadcast(&instance->changed);
}

void
backup_rest(Worker *worker)
{
	if (eng_running(worker->engine) == 0)
		set_quiescent(worker->instance);
}

bool
backup_set_out(Worker *worker)
{
	EseInstance *instance = worker->instance;
	bool		stopped;

	LWLockAcquire(instance_lock(instance), LW_EXCLUSIVE);
	stopped = instance->backup.protocol.stopped;
	if (!stopped)
		instance->backup.quiescent = false;
	LWLockRelease(instance_lock(instance));
	return !stopped;
}

bool
backup_meet_stop(Worker *worker)
{
	EseInstance *instance = worker->instance;
	Backup	   *backup = worker->backup;

	if (backup == NULL || backup->released || !stop_is_requested(instance))
		return false;
	if (!backup->engine_stopped)
	{
		eng_stop(worker->engine);
		restore_interrupt(worker);
		backup->engine_stopped = true;
		backup->engine_stopped_at = clock_us();
	}
	/* a thread in a system call will only park when it comes back */
	if (eng_running(worker->engine) > 0 &&
		clock_us() - backup->engine_stopped_at < ENGINE_STOP_MS * 1000)
		return false;
	leftover_announce(worker);
	backup_leave_mode(backup);
	if (!instance->backup.quiescent)
		set_quiescent(instance);
	return true;
}

void
backup_pursue_stop(Worker *worker)
{
	if (!backup_meet_stop(worker))
		return;
	testpoint("stop.quiescent");
	worker_show_activity(worker);
	release_after_stop(worker);

	/* nobody calls End for a native backup */
	if (is_native(worker))
	{
		char		reason[ESE_MESSAGE_LENGTH];
		int			error = backup_judge(worker, reason, sizeof(reason));

		(void) backup_finish(worker, backup_outcome_of(error), error, reason);
	}
}

/*
 * Memory that a thread may look at once more when it returns from a system
 * call it is in: it stays until all have.
 */
static void
forget_context(Worker *worker, int64 backup, MemoryContext context)
{
	if (leftover_keep_context(worker, backup, context))
		return;
	if (eng_running(worker->engine) == 0)
		MemoryContextDelete(context);
	else
		MemoryContextSetParent(context, worker->limbo);
}

/* Wait a little for the threads: they look at the flag between pieces. */
static void
quiet_engine(Worker *worker)
{
	eng_stop(worker->engine);
	for (int ms = 0; eng_running(worker->engine) > 0 && ms < ENGINE_STOP_MS; ms++)
		pg_usleep(1000);
}

void
backup_reopen(EseInstance *instance)
{
	LWLockAcquire(instance_lock(instance), LW_EXCLUSIVE);
	instance->backup.ending = false;
	LWLockRelease(instance_lock(instance));
}

/* The final row, with everything it says. */
void
backup_complete_row(Worker *worker, BackupOutcome outcome, int error,
					const char *reason)
{
	EseInstance *instance = worker->instance;
	BackupStatus *status = &instance->backup;
	HistoryRow *row = &status->row;
	TimestampTz now = GetCurrentTimestamp();

	LWLockAcquire(instance_lock(instance), LW_EXCLUSIVE);
	status->ending = true;
	status->quiescent = true;
	row->status = outcome;
	row->error_number = error;
	strlcpy(row->reason, reason, sizeof(row->reason));
	row->ended_at = now;
	if (row->stop_requested_at != 0 && row->quiescent_at == 0)
		row->quiescent_at = stop_clock(status);
	if (row->stop_requested_at != 0 && row->released_at == 0)
		row->released_at = now;
	row->files = status->files_done;
	row->bytes = status->bytes_closed;
	LWLockRelease(instance_lock(instance));
	/* a stop waits for no disk */
	ConditionVariableBroadcast(&instance->changed);
}

void
backup_log_outcome(const HistoryRow *row)
{
	if (row->status == OUTCOME_COMPLETED)
		ereport(row->warned ? WARNING : LOG,
				(errmsg("%s %lld of instance \"%s\" completed%s%s",
						history_noun(row->kind),
						(long long) row->backup_id, row->name,
						row->reason[0] != '\0' ? ": " : "", row->reason),
				 errdetail("%lld files, %lld bytes, and %lld bytes of WAL.",
						   (long long) row->files, (long long) row->bytes,
						   (long long) row->wal_bytes)));
	else
		ereport(LOG,
				(errmsg("%s %lld of instance \"%s\" ended: %s",
						history_noun(row->kind),
						(long long) row->backup_id, row->name,
						history_status_name(row->status)),
				 errdetail("%s (%d): %s.", jet_error_name((int) row->error_number),
						   (int) row->error_number, row->reason)));
}

/* From now on no backup is open.  lost_word: what readers still find. */
void
backup_publish_end(EseInstance *instance, uint64 lost_word)
{
	LWLockAcquire(instance_lock(instance), LW_EXCLUSIVE);
	instance->backup.protocol =
		protocol_next(instance->backup.protocol, CALL_END_ABORT);
	pg_atomic_write_u64(&instance->stop_word, lost_word);
	LWLockRelease(instance_lock(instance));
	ConditionVariableBroadcast(&instance->changed);
}

/*
 * The row is final: put it on record.  A backup of which nobody would know
 * after the next crash is not good.
 */
static int
record_end(Worker *worker, int error)
{
	EseInstance *instance = worker->instance;
	HistoryRow *row = &instance->backup.row;
	FileProblem problem;
	char		reason[ESE_MESSAGE_LENGTH];

	if (backup_record_row(instance, &problem))
		return error;
	if (error == JET_errSuccess && row->kind <= KIND_DIFFERENTIAL)
	{
		error = statefile_jet_error(&problem);
		snprintf(reason, sizeof(reason), "its end could not be recorded: %s",
				 problem.message);
		backup_complete_row(worker, OUTCOME_FAILED, error, reason);
	}
	history_report_kept(instance, row, &problem);
	return error;
}

int
backup_finish(Worker *worker, BackupOutcome outcome, int error,
			  const char *reason)
{
	EseInstance *instance = worker->instance;
	Backup	   *backup = worker->backup;
	HistoryRow *row = &instance->backup.row;
	HistoryRow	final;

	quiet_engine(worker);
	backup_leave_mode(backup);
	set_quiescent(instance);
	openfile_close_all(worker);
	/* of a backup with damaged pages the copy is worth keeping */
	native_close(worker, outcome == OUTCOME_COMPLETED ||
				 (error == JET_errReadVerifyFailure &&
				  backup->restore == NULL));
	(void) unlink(statefile_manifest_path(instance->id));
	backup_complete_row(worker, outcome, error, reason);
	error = record_end(worker, error);
	backup->recorded = true;
	final = *row;
	outcome = (BackupOutcome) final.status;
	testpoint("end.recorded");

	/* WAL that the next backup needs is never without a slot */
	if (outcome == OUTCOME_COMPLETED && backup->chain_end != InvalidXLogRecPtr)
		chain_advance(instance, backup->chain_end);
	testpoint("end.advanced");
	backup_drop_slot(backup);
	native_close_atomic(worker, outcome == OUTCOME_COMPLETED);

	/* who was not asked finds the stop at his next read, until a Begin */
	backup_publish_end(instance, final.stop_cause == CAUSE_IDLE_TIMEOUT ?
					   STOP_WORD_STOPPED : 0);
	backup_log_outcome(&final);
	unread_keep(worker);
	worker->backup = NULL;
	forget_context(worker, final.backup_id, backup->context);
	worker_show_activity(worker);
	return error;
}
