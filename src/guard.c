/*-------------------------------------------------------------------------
 *
 * guard.c
 *	  What ends a backup from outside: timeouts, limits, the worker's own end.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/statvfs.h>

#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "backup.h"
#include "chain.h"
#include "clock.h"
#include "engine/jet.h"
#include "finding.h"
#include "guard.h"
#include "registry.h"
#include "stop.h"
#include "survive.h"
#include "worker_internal.h"

/* Has nobody shown a sign of life for too long? */
static bool
is_abandoned(EseInstance *instance)
{
	int64		timeout = instance->params.backup_idle_timeout;
	int64		last = (int64) pg_atomic_read_u64(&instance->last_activity);

	return timeout > 0 && clock_us() - last > timeout * 1000;
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
	(void) backup_finish(worker, OUTCOME_ABORTED_BY_SERVER,
						 instance->backup.stop_error,
						 instance->backup.row.reason);
}

static int64
bytes_done(Worker *worker)
{
	int64		bytes = worker->instance->backup.bytes_closed;

	for (int i = 0; i < worker->file_places; i++)
	{
		OpenFile   *file = &worker->files[i];

		if (file->handle != NULL && !file->doomed)
			bytes += (int64) atomic_load(&file->handle->ring.position);
	}
	return bytes;
}

/* bytes_per_second over the last ten seconds. */
static void
sample_rate(Worker *worker)
{
	Backup	   *backup = worker->backup;
	int64		now = clock_us();
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

/* Bytes of WAL that a slot keeps from this position on. */
static int64
retained_since(XLogRecPtr restart_lsn)
{
	XLogRecPtr	now = backup_current_lsn();

	return restart_lsn != InvalidXLogRecPtr && now > restart_lsn ?
		(int64) (now - restart_lsn) : 0;
}

/* Bytes that are free on the volume of WAL; -1 when that is not known. */
static int64
free_space(void)
{
	struct statvfs st;

	return statvfs("pg_wal", &st) == 0 ?
		(int64) st.f_bavail * (int64) st.f_frsize : -1;
}

/*
 * Is WAL kept beyond what the parameters allow?  CAUSE_NONE, or which guard
 * says so, and why.
 */
static StopCause
look_at_wal(EseInstance *instance, int64 retained, char *reason, size_t size)
{
	Parameters *params = &instance->params;
	int64		room = params->backup_min_free_space > 0 ? free_space() : -1;

	if (params->backup_max_wal_retained > 0 &&
		retained > params->backup_max_wal_retained)
	{
		snprintf(reason, size, "%lld bytes of WAL are retained, %lld more than backup_max_wal_retained",
				 (long long) retained,
				 (long long) (retained - params->backup_max_wal_retained));
		return CAUSE_WAL_LIMIT;
	}
	if (room >= 0 && room < params->backup_min_free_space && retained > 0)
	{
		snprintf(reason, size, "%lld bytes are free on the volume of WAL, %lld less than backup_min_free_space",
				 (long long) room,
				 (long long) (params->backup_min_free_space - room));
		return CAUSE_DISK_SPACE;
	}
	return CAUSE_NONE;
}

/* Must the chain go?  Then says why. */
static bool
must_give_up(EseInstance *instance, const Chain *chain, char *reason,
			 size_t size)
{
	if (!chain->has_slot || chain->active_pid != 0 || chain->backup_id == 0)
		return false;
	if (chain->copied)
	{
		strlcpy(reason, "it is that of the data directory of which this one is a copy",
				size);
		return true;
	}
	return look_at_wal(instance, retained_since(chain->restart_lsn), reason,
					   size) != CAUSE_NONE;
}

/* The full backup's row says that nothing can follow any more. */
static void
note_given_up(EseInstance *instance, int64 backup_id, const char *reason)
{
	HistoryRow	row;
	FileProblem problem;

	if (!history_find(instance->id, backup_id, &row))
		return;
	snprintf(row.reason, sizeof(row.reason), "no incremental can follow any more: %s",
			 reason);
	if (!history_record(instance, &row, &problem))
		ereport(WARNING,
				(errmsg("%s", problem.message),
				 errdetail("The history does not say that instance \"%s\" has given up its chain.",
						   instance->name)));
}

static bool
guard_applies(const EseInstance *instance)
{
	return !instance->params.circular_log &&
		(instance->params.backup_max_wal_retained > 0 ||
		 instance->params.backup_min_free_space > 0 ||
		 instance->copied_at != 0);
}

/* In a copy that has a chain of its own by now, nothing is special. */
static void
forget_copy(EseInstance *instance)
{
	Definition	definition;
	FileProblem problem;

	registry_begin_change();
	registry_describe(instance, &definition);
	definition.copied_at = definition.chain_floor = 0;
	/* the next look tries again */
	(void) registry_change(instance, &definition, &problem);
	registry_end_change();
}

/*
 * A history that cannot be used is said once, and keeps nothing else from
 * being looked at.
 */
static bool
has_usable_history(EseInstance *instance)
{
	static bool said[ESE_MAX_INSTANCES];
	FileProblem problem;
	int64		newest;
	bool		usable = history_newest_id(instance->id, &newest, &problem);

	if (!usable && !said[instance->index])
		ereport(WARNING,
				(errmsg("the chain of instance \"%s\" is not guarded: %s",
						instance->name, problem.message),
				 problem.hint ? errhint("%s", problem.hint) : 0));
	said[instance->index] = !usable;
	return usable;
}

/*
 * The chain goes before the server runs out of room for its WAL, and before a
 * backup does.
 */
void
guard_chain(EseInstance *instance)
{
	char		reason[ESE_MESSAGE_LENGTH];
	Chain		chain;

	if (!guard_applies(instance) || !has_usable_history(instance))
		return;
	chain_look(instance, &chain);
	if (instance->copied_at != 0 && chain.backup_id != 0 && !chain.copied)
		forget_copy(instance);
	if (!must_give_up(instance, &chain, reason, sizeof(reason)))
		return;
	chain_drop(instance);
	ereport(WARNING,
			(errmsg("instance \"%s\" gives up its replication slot: %s",
					instance->name, reason),
			 errdetail("Incremental backups need a new full backup.")));
	note_given_up(instance, chain.backup_id, reason);
}

/* An open backup that keeps too much WAL is stopped. */
static void
guard_backup(EseInstance *instance)
{
	char		reason[ESE_MESSAGE_LENGTH];
	XLogRecPtr	restart_lsn;
	StopCause	cause;
	int64		stopped;

	if (MyReplicationSlot == NULL)
		return;
	SpinLockAcquire(&MyReplicationSlot->mutex);
	restart_lsn = MyReplicationSlot->data.restart_lsn;
	SpinLockRelease(&MyReplicationSlot->mutex);
	cause = look_at_wal(instance, retained_since(restart_lsn), reason,
						sizeof(reason));
	if (cause != CAUSE_NONE)
		(void) stop_request(instance, 0, cause, JET_errRequiredLogFilesMissing,
							"server", reason, &stopped);
}

/* Write what could not be written when it was to be. */
static void
settle_records(Worker *worker)
{
	EseInstance *instance = worker->instance;

	if (worker->rows_open)
		worker->rows_open =
			!history_close_open_rows(instance, worker->backup != NULL ?
									 worker->backup->id : 0);
	(void) history_settle(instance);
	finding_settle(instance);
	registry_settle();
}

/*
 * What has nothing to do with the open backup, and must not keep that from
 * being looked at.
 */
static void
look_after_records(Worker *worker, Call *call)
{
	settle_records(worker);
	guard_chain(worker->instance);
}

void
backup_tick(Worker *worker)
{
	EseInstance *instance = worker->instance;
	Backup	   *backup = worker->backup;
	int64		now = clock_us();
	bool		due = now - worker->guarded_at >= USECS_PER_SEC;
	int64		stopped;

	if (due)
	{
		worker->guarded_at = now;
		survive(worker, NULL, look_after_records, STEP_CALL);
	}
	if (backup == NULL)
		return;
	sample_rate(worker);
	if (backup->native == NATIVE_RESTORE)
		restore_publish(worker);
	else if (backup->native != NATIVE_NONE)
		native_publish(worker);
	else if (is_abandoned(instance))
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
	else if (MyReplicationSlot != NULL &&
			 compat_slot_is_lost(MyReplicationSlot))
		(void) stop_request(instance, 0, CAUSE_WAL_LIMIT,
							JET_errRequiredLogFilesMissing, "server",
							"max_slot_wal_keep_size was exceeded and WAL of the backup was removed",
							&stopped);
	else if (due)
		guard_backup(instance);
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
	if (MyReplicationSlot != NULL && max_slot_wal_keep_size_mb >= 0 &&
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

	if (worker->backup == NULL || worker->backup->recorded)
		return;
	/* a way out in the middle of its end */
	backup_reopen(instance);
	cause = cause_of_exit(worker->backup);
	if (worker->failure_number != 0)
		(void) stop_request(instance, 0, cause, worker->failure_number,
							"server", worker->failure, &stopped);
	(void) stop_request(instance, 0, cause,
						cause == CAUSE_WAL_LIMIT ?
						JET_errRequiredLogFilesMissing :
						JET_errBackupAbortByServer,
						"server", reasons[cause], &stopped);
	eng_stop(worker->engine);
}

/* The final row is what readers of the history find from now on. */
static void
keep_last_row(Worker *worker)
{
	static const FileProblem problem = {.message = "its worker ended"};

	worker->last_row = worker->instance->backup.row;
	worker->has_last_row = true;
	history_keep(worker->instance, &worker->last_row, &problem);
}

void
backup_die_late(Worker *worker)
{
	EseInstance *instance = worker->instance;
	HistoryRow *row = &instance->backup.row;

	/* what is on record as good stays so, whatever was left to do */
	if (worker->backup == NULL || worker->backup->recorded)
		return;
	backup_complete_row(worker, history_outcome_of_stop(row->stop_cause),
						instance->backup.stop_error, row->reason);
	keep_last_row(worker);
}

void
backup_die_publish(Worker *worker)
{
	if (worker->backup != NULL)
		backup_publish_end(worker->instance, worker->has_last_row ?
						   STOP_WORD_STOPPED : 0);
}

void
backup_die_last(Worker *worker)
{
	FileProblem problem;

	if (!worker->has_last_row)
		return;
	if (!history_record(worker->instance, &worker->last_row, &problem))
		history_report_kept(worker->instance, &worker->last_row, &problem);
	backup_log_outcome(&worker->last_row);
}

void
backup_bury(EseInstance *instance)
{
	static const FileProblem problem = {.message = "its worker ended"};
	HistoryRow	row;

	if (instance->backup.protocol.phase == PHASE_NONE)
		return;
	LWLockAcquire(instance_lock(instance), LW_EXCLUSIVE);
	if (!instance->backup.ending)
		history_close_row(&instance->backup.row);
	row = instance->backup.row;
	LWLockRelease(instance_lock(instance));
	history_keep(instance, &row, &problem);
	backup_publish_end(instance, STOP_WORD_STOPPED);
}
