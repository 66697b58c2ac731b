/*-------------------------------------------------------------------------
 *
 * waiter.c
 *	  SQL functions of native backups: begin one, wait for its end.  Restores
 *	  and verifications are waited for in the same way.
 *
 * The backup is the worker's.  Sessions that wait for it may vanish; it is
 * stopped only when the user cancels the very call that began it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "client.h"
#include "clock.h"
#include "compat.h"
#include "engine/jet.h"
#include "hanging.h"
#include "instance.h"
#include "privilege.h"
#include "refused.h"
#include "report.h"
#include "stop.h"
#include "testpoint.h"
#include "waiter.h"

/* How long a wait sleeps at most before it looks again. */
#define WAIT_STEP_MS 1000

PGDLLEXPORT Datum ese_backup_instance(PG_FUNCTION_ARGS);
PGDLLEXPORT Datum ese_wait_backup(PG_FUNCTION_ARGS);

PG_FUNCTION_INFO_V1(ese_backup_instance);
PG_FUNCTION_INFO_V1(ese_wait_backup);

static void
refuse_path(const char *path, const char *why)
{
	ereport(ERROR,
			(jet_errcode(JET_errInvalidPath),
			 errmsg("cannot use path \"%s\"", path),
			 jet_errdetail(JET_errInvalidPath, why)));
}

/* Names below the directory need room as well. */
#define MAX_PATH (MAXPGPATH / 2)

char *
waiter_path_argument(FunctionCallInfo fcinfo, int arg)
{
	if (PG_ARGISNULL(arg))
		refuse_parameter("the path is null");
	return waiter_path(text_to_cstring(PG_GETARG_TEXT_PP(arg)));
}

char *
waiter_path(char *path)
{
	if (strlen(path) >= MAX_PATH)
		refuse_path(path, psprintf("It is longer than %d bytes.", MAX_PATH - 1));
	canonicalize_path(path);
	if (!is_absolute_path(path))
		refuse_path(path, "It is not an absolute path.");
	if (strpbrk(path, "\r\n\t") != NULL)
		refuse_path(path, "It contains a line break or a tab.");
	return path;
}

static bool
is_open(EseInstance *instance, int64 backup)
{
	bool		open;

	LWLockAcquire(instance_lock(instance), LW_SHARED);
	open = instance->backup.protocol.phase != PHASE_NONE &&
		instance->backup.row.backup_id == backup;
	LWLockRelease(instance_lock(instance));
	return open;
}

/* Sleep until the backup has ended (true) or the time is up. */
static bool
sleep_until_end(EseInstance *instance, int64 backup, int64 until)
{
	bool		open;

	ConditionVariablePrepareToSleep(&instance->changed);
	while ((open = is_open(instance, backup)))
	{
		long		step = WAIT_STEP_MS;

		if (until != PG_INT64_MAX)
			step = Min(step, (until - clock_us() + 999) / 1000);
		if (step <= 0)
			break;
		ConditionVariableTimedSleep(&instance->changed, step,
									compat_wait_event("EseBackup"));
	}
	ConditionVariableCancelSleep();
	return !open;
}

/*
 * Wait for what this session has begun: its user's cancel stops it.  A timeout,
 * a conflict or the end of the session does not.
 */
static void
wait_for_own(EseInstance *instance, const Request *request, int64 backup)
{
	int64		stopped;

	PG_TRY();
	{
		testpoint("wait.own");
		(void) sleep_until_end(instance, backup, PG_INT64_MAX);
	}
	PG_CATCH();
	{
		if (report_is_users_cancel())
			(void) stop_request(instance, backup, CAUSE_USER,
								JET_errBackupAbortByServer,
								request->client.role_name,
								"the call that began it was cancelled",
								&stopped);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* Was it to add to the directory of a full one? */
static bool
is_incremental(const HistoryRow *row)
{
	return row->location[0] != '\0' &&
		(row->kind == KIND_INCREMENTAL || row->kind == KIND_DIFFERENTIAL);
}

/* Raise the error of a backup that has not ended well. */
static void
report_end(EseInstance *instance, int64 backup)
{
	HistoryRow	row;
	bool		allowed;
	int			error;

	if (!history_find(instance->id, backup, &row))
		stop_refuse_other_backup(instance, backup);
	error = (int) row.error_number;
	if (error != JET_errSuccess)
		hanging_warn(instance);
	allowed = privilege_to_see(row.begun_by_oid);
	if (error == JET_errSuccess)
	{
		if (allowed && row.reason[0] != '\0')
			ereport(row.warned ? WARNING : NOTICE,
					(errmsg("%s %lld of instance \"%s\": %s",
							history_noun(row.kind), (long long) backup,
							instance->name, row.reason)));
		return;
	}
	ereport(ERROR,
			(jet_errcode(error),
			 errmsg(row.kind > KIND_DIFFERENTIAL ?
					"%s %lld of instance \"%s\" has failed: %s" :
					"%s %lld of instance \"%s\" is not usable: %s",
					history_noun(row.kind), (long long) backup, instance->name,
					allowed && row.reason[0] ? row.reason : history_status_name(row.status)),
			 jet_errdetail(error, is_incremental(&row) && allowed ?
						   psprintf("The backup in \"%s\" is as good as it was before.",
									row.location) : NULL),
			 allowed && error == JET_errReadVerifyFailure && row.location[0] != '\0' &&
			 row.kind <= KIND_DIFFERENTIAL ?
			 errhint("The copy was kept in \"%s\"; the view ese_checksum_failure lists the damaged pages.",
					 row.location) : 0,
			 error == JET_errEndingRestoreLogTooLow ?
			 errhint("If the target lies behind the end of the logs, take one more incremental backup first, then restore.") : 0,
			 error == JET_errStartingRestoreLogTooHigh ?
			 errhint("Restore an older backup.") : 0));
}

void
waiter_execute(EseInstance *instance, const Request *request, bool wait)
{
	Answer	   *answer = palloc0(sizeof(Answer));

	PG_TRY();
	{
		instance_refuse_starting(instance);
		call_execute(instance, request, answer, NULL);
	}
	PG_CATCH();
	{
		/* one that had begun has a row */
		if (!wait && request->operation == OP_BACKUP && answer->backup == 0)
			refused_record(instance, request);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (!wait)
		return;
	wait_for_own(instance, request, answer->backup);
	report_end(instance, answer->backup);
}

/* ese_backup_instance(instance, path, grbit, wait, label) → integer */
Datum
ese_backup_instance(PG_FUNCTION_ARGS)
{
	EseInstance *instance = instance_get_running(fcinfo, 0);
	Request		request = {.operation = OP_BACKUP};

	privilege_check_read();
	privilege_check_write_files();
	strlcpy(request.path, waiter_path_argument(fcinfo, 1),
			sizeof(request.path));
	if (PG_ARGISNULL(2))
		refuse_parameter("the options are null");
	request.grbit = PG_GETARG_INT32(2);
	client_set_label(&request, fcinfo, 4);
	client_describe(&request.client);
	waiter_execute(instance, &request, PG_ARGISNULL(3) || PG_GETARG_BOOL(3));
	PG_RETURN_INT32(JET_errSuccess);
}

/* When a wait of so long ends, by clock_us(). */
static int64
deadline(FunctionCallInfo fcinfo, int arg)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz until;

	if (PG_ARGISNULL(arg))
		return PG_INT64_MAX;
	until = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
													TimestampTzGetDatum(now),
													PG_GETARG_DATUM(arg)));
	if (until < now)
		refuse_parameter("the timeout must not be negative");
	return clock_us() + (until - now);
}

/* The backup to wait for: the one named, the open one, or the last one. */
static int64
choose_backup(EseInstance *instance, FunctionCallInfo fcinfo, int arg)
{
	int64		backup = client_backup_argument(fcinfo, arg);
	HistoryRow	row;

	if (backup != 0)
		return backup;
	LWLockAcquire(instance_lock(instance), LW_SHARED);
	if (instance->backup.protocol.phase != PHASE_NONE)
		backup = instance->backup.row.backup_id;
	LWLockRelease(instance_lock(instance));
	if (backup != 0)
		return backup;
	if (!history_find(instance->id, 0, &row))
		ereport(ERROR,
				(jet_errcode(JET_errNoBackup),
				 errmsg("instance \"%s\" has no backup", instance->name),
				 jet_errdetail(JET_errNoBackup, NULL)));
	return row.backup_id;
}

/*
 * CALL ese_wait_backup(instance, backup, timeout).  It only watches: whatever
 * ends the wait leaves the backup alone.
 */
Datum
ese_wait_backup(PG_FUNCTION_ARGS)
{
	EseInstance *instance = instance_get(fcinfo, 0);
	int64		backup = choose_backup(instance, fcinfo, 1);
	int64		until = deadline(fcinfo, 2);

	if (!client_leave_snapshot(fcinfo, "ese_wait_backup"))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("ese_wait_backup cannot be called in a transaction block"),
				 errdetail("Its snapshot would hold back VACUUM until the backup has ended.")));
	if (!sleep_until_end(instance, backup, until))
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("backup %lld of instance \"%s\" has not ended in time",
						(long long) backup, instance->name),
				 errdetail("It goes on.")));
	report_end(instance, backup);
	PG_RETURN_VOID();
}
