/*-------------------------------------------------------------------------
 *
 * stop.c
 *	  ese_stop_backup_instance() and what it rests on.
 *
 * A stop is a bit in the instance's stop word.  Readers look at that word
 * before and after they copy, so that a call that is entered after the bit
 * was set never succeeds, wherever it is.  The bit is followed up by the
 * worker, which ends I/O and leaves backup mode.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "compat.h"
#include "engine/jet.h"
#include "hanging.h"
#include "instance.h"
#include "privilege.h"
#include "report.h"
#include "stop.h"
#include "testpoint.h"
#include "worker.h"

#define WAIT_STEP_MS 1000

PGDLLEXPORT Datum ese_stop_backup_instance(PG_FUNCTION_ARGS);

PG_FUNCTION_INFO_V1(ese_stop_backup_instance);

/* A moment, to be shown and to measure from. */
typedef struct StopMoment
{
	TimestampTz shown;
	int64		monotonic;
} StopMoment;

/* Wake every session that waits for a frame of this instance. */
static void
wake_readers(EseInstance *instance)
{
	for (int i = 0; i < ese_shared->nhandles; i++)
	{
		EseHandle  *handle = &ese_handles[i];

		if (handle->instance_id == instance->id &&
			atomic_load(&handle->ring.claim) > 0)
			SetLatch(compat_proc_latch(pg_atomic_read_u32(&handle->reader_proc_number)));
	}
}

/* Now. */
static StopMoment
stop_moment(void)
{
	StopMoment	now = {GetCurrentTimestamp(), clock_us()};

	return now;
}

TimestampTz
stop_clock(const BackupStatus *status)
{
	return status->row.stop_requested_at +
		(clock_us() - status->stop_monotonic);
}

/* Note a stop in the slot, whose lock is held. */
static void
enter_stop(EseInstance *instance, StopCause cause, int stop_error,
		   const char *by, const char *reason, const StopMoment *moment)
{
	BackupStatus *status = &instance->backup;
	HistoryRow *row = &status->row;

	status->protocol = protocol_next(status->protocol, CALL_STOP);
	status->stop_error = stop_error;
	status->stop_monotonic = moment->monotonic;
	row->status = OUTCOME_STOPPED;
	row->stop_cause = cause;
	row->error_number = stop_error;
	row->stop_requested_at = moment->shown;
	strlcpy(row->stop_requested_by, by, sizeof(row->stop_requested_by));
	strlcpy(row->reason, reason, sizeof(row->reason));
	if (status->quiescent)
		row->quiescent_at = stop_clock(status);
	pg_atomic_fetch_or_u64(&instance->stop_word, STOP_WORD_STOPPED);
}

/* "moment": when the caller asked for it. */
static bool
stop_request_at(EseInstance *instance, int64 backup, StopCause cause,
				int stop_error, const char *by, const char *reason,
				const StopMoment *moment, int64 *stopped_backup)
{
	BackupStatus *status = &instance->backup;
	bool		open;
	bool		starting;

	LWLockAcquire(instance_lock(instance), LW_EXCLUSIVE);
	starting = status->protocol.phase == PHASE_STARTING;
	open = status->protocol.phase != PHASE_NONE &&
		(backup == 0 || backup == status->row.backup_id);
	*stopped_backup = open ? status->row.backup_id : 0;
	if (open && !status->protocol.stopped && !status->ending)
		enter_stop(instance, cause, stop_error, by, reason, moment);
	LWLockRelease(instance_lock(instance));
	if (!open)
		return false;

	if (starting)
		worker_interrupt_begin(instance);
	worker_wake(instance);
	wake_readers(instance);
	return true;
}

bool
stop_request(EseInstance *instance, int64 backup, StopCause cause,
			 int stop_error, const char *by, const char *reason,
			 int64 *stopped_backup)
{
	StopMoment	now = stop_moment();

	return stop_request_at(instance, backup, cause, stop_error, by, reason,
						   &now, stopped_backup);
}

bool
stop_is_requested(EseInstance *instance)
{
	return (pg_atomic_read_u64(&instance->stop_word) & STOP_WORD_STOPPED) != 0;
}

void
stop_describe(EseInstance *instance, char *to, size_t size)
{
	HistoryRow	row;
	const char *cause;

	LWLockAcquire(instance_lock(instance), LW_SHARED);
	row = instance->backup.row;
	LWLockRelease(instance_lock(instance));
	cause = history_cause_name(row.stop_cause);
	snprintf(to, size, "%s %lld was stopped by %s at %s%s%s%s%s%s.",
			 row.kind == KIND_RESTORE ? "Restore" :
			 row.kind == KIND_VERIFY ? "Verification" : "Backup",
			 (long long) row.backup_id, row.stop_requested_by,
			 timestamptz_to_str(row.stop_requested_at), cause ? " (" : "",
			 cause ? cause : "", cause ? ")" : "",
			 row.reason[0] ? ": " : "", row.reason);
}

/* What a stopped backup's calls get. */
static void
refuse_stopped(EseInstance *instance)
{
	char		detail[2 * ESE_MESSAGE_LENGTH];
	int			stop_error;

	LWLockAcquire(instance_lock(instance), LW_SHARED);
	stop_error = instance->backup.stop_error;
	LWLockRelease(instance_lock(instance));
	stop_describe(instance, detail, sizeof(detail));
	report_stopped(instance->name, stop_error, detail);
}

/*
 * The word is loaded after whatever the caller has copied before: the barrier
 * keeps a processor that reorders loads from looking too early, and with that
 * from passing off as good what was copied after the stop.  What goes with the
 * word (error and reason) is written under the lock before the word is, or
 * with it, and read under the lock.
 */
void
stop_check(EseInstance *instance, uint64 before)
{
	uint64		now;

	pg_read_barrier();
	now = pg_atomic_read_u64(&instance->stop_word);
	if (now & STOP_WORD_STOPPED)
		refuse_stopped(instance);
	if (now != before || now == 0)
		ereport(ERROR,
				(jet_errcode(JET_errNoBackup),
				 errmsg("no backup of instance \"%s\" is open", instance->name),
				 jet_errdetail(JET_errNoBackup, NULL)));
}

/*
 * Wait until the stop of this backup has taken full effect.  Without a worker
 * there is no thread and no backup mode.
 */
static void
wait_until_quiescent(EseInstance *instance, int64 backup)
{
	ConditionVariablePrepareToSleep(&instance->changed);
	for (;;)
	{
		bool		done;

		LWLockAcquire(instance_lock(instance), LW_SHARED);
		done = instance->backup.row.backup_id != backup ||
			instance->backup.protocol.phase == PHASE_NONE ||
			instance->backup.quiescent ||
			pg_atomic_read_u32(&instance->worker_pid) == 0;
		LWLockRelease(instance_lock(instance));
		if (done)
			break;
		ConditionVariableTimedSleep(&instance->changed, WAIT_STEP_MS,
									compat_wait_event("EseStop"));
	}
	ConditionVariableCancelSleep();
}

/*
 * Describe how the backup a client names has ended, for J0520.  It may be
 * the one that was open last; older ones are in the history.
 */
static const char *
describe_end(EseInstance *instance, int64 backup)
{
	HistoryRow	row;

	if (!history_find(instance->id, backup, &row))
		return psprintf("Backup %lld is not in the history of this instance.",
						(long long) backup);
	/* file names are nothing for who may stop backups and no more */
	if (row.reason[0] == '\0' || !privilege_to_see(row.begun_by_oid))
		return psprintf("Backup %lld of this instance has status \"%s\".",
						(long long) backup, history_status_name(row.status));
	return psprintf("Backup %lld of this instance has status \"%s\": %s.",
					(long long) backup, history_status_name(row.status),
					row.reason);
}

void
stop_refuse_other_backup(EseInstance *instance, int64 backup)
{
	ereport(ERROR,
			(jet_errcode(JET_errNoBackup),
			 errmsg("backup %lld of instance \"%s\" is not open",
					(long long) backup, instance->name),
			 jet_errdetail(JET_errNoBackup, describe_end(instance, backup))));
}

/* ese_stop_backup_instance(instance, wait, backup) → integer */
Datum
ese_stop_backup_instance(PG_FUNCTION_ARGS)
{
	StopMoment	entered = stop_moment();
	EseInstance *instance = instance_get(fcinfo, 0);
	bool		wait = PG_ARGISNULL(1) || PG_GETARG_BOOL(1);
	int64		backup = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT64(2);
	char	   *user;
	int64		stopped;

	if (!PG_ARGISNULL(2) && backup <= 0)
		refuse_parameter("%lld is not the id of a backup", (long long) backup);
	if (instance->state == INSTANCE_STOPPED)
		ereport(ERROR,
				(jet_errcode(JET_errInvalidParameter),
				 errmsg("instance \"%s\" is not running", instance->name),
				 jet_errdetail(JET_errInvalidParameter, NULL)));

	user = GetUserNameFromId(GetUserId(), false);
	testpoint("stop.entered");
	if (stop_request_at(instance, backup, CAUSE_USER, JET_errBackupAbortByServer,
						user, psprintf("role \"%s\" has stopped it", user),
						&entered, &stopped))
	{
		if (wait)
		{
			wait_until_quiescent(instance, stopped);
			hanging_warn(instance);
		}
	}
	else if (backup != 0)
		stop_refuse_other_backup(instance, backup);
	else
		ereport(NOTICE,
				(errmsg("no backup of instance \"%s\" is open",
						instance->name)));
	PG_RETURN_INT32(JET_errSuccess);
}
