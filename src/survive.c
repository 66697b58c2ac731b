/*-------------------------------------------------------------------------
 *
 * survive.c
 *	  Errors that end a call or a backup, but not the worker.
 *
 * What an administrator can bring about (no replication slot is free, a
 * directory cannot be read, a disk is full) is raised by the server's own code
 * as an ERROR in the middle of the worker.  It is an answer: the caller gets
 * it as it is, and the history says it.  The worker lives on, because with it
 * everything would die that other sessions have going on with the instance.
 *
 * An error of the server's internals is nothing to go on after: the worker
 * restarts.  But then, too, its words and number are in the history.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "storage/condition_variable.h"
#include "storage/fd.h"
#include "storage/lwlock.h"
#include "utils/memutils.h"

#include "engine/jet.h"
#include "stop.h"
#include "survive.h"

/* Which JET error is it that PostgreSQL calls so? */
static const struct
{
	int			sqlstate;
	int			jet;
}			jet_of_sqlstate[] = {
	{ERRCODE_DISK_FULL, JET_errDiskFull},
	{ERRCODE_OUT_OF_MEMORY, JET_errOutOfMemory},
	{ERRCODE_INSUFFICIENT_PRIVILEGE, JET_errFileAccessDenied},
	{ERRCODE_UNDEFINED_FILE, JET_errFileNotFound},
	{ERRCODE_IO_ERROR, JET_errDiskIO},
	{ERRCODE_INSUFFICIENT_RESOURCES, JET_errOutOfFileHandles},
	{ERRCODE_CONFIGURATION_LIMIT_EXCEEDED, JET_errBackupNotAllowedYet},
	{ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, JET_errBackupNotAllowedYet},
	{ERRCODE_OBJECT_IN_USE, JET_errBackupNotAllowedYet},
	{ERRCODE_DATA_CORRUPTED, JET_errDatabaseCorrupted},
};

int
survive_jet_error(const ErrorData *error)
{
	const char *text = unpack_sql_state(error->sqlerrcode);

	/* J0801 is -801 */
	if (text[0] == 'J')
		return -atoi(text +1);
	for (int i = 0; i < lengthof(jet_of_sqlstate); i++)
	{
		if (jet_of_sqlstate[i].sqlstate == error->sqlerrcode)
			return jet_of_sqlstate[i].jet;
	}
	return JET_errInternalError;
}

/* Errors of the server's internals have no code of their own. */
static bool
is_foreseeable(const ErrorData *error)
{
	return error->sqlerrcode != ERRCODE_INTERNAL_ERROR;
}

void
survive_clean_up(void)
{
	LWLockReleaseAll();
	ConditionVariableCancelSleep();
	AtEOXact_Files(false);
	FlushErrorState();
}

/* The caller gets the error as it is. */
static void
answer_with(Call *call, const ErrorData *error)
{
	Answer	   *answer = &call->answer;

	strlcpy(answer->sqlstate, unpack_sql_state(error->sqlerrcode),
			sizeof(answer->sqlstate));
	strlcpy(answer->message, error->message ? error->message : "",
			sizeof(answer->message));
	strlcpy(answer->detail, error->detail ? error->detail : "",
			sizeof(answer->detail));
	strlcpy(answer->hint, error->hint ? error->hint : "",
			sizeof(answer->hint));
}

/* For the history: also when the worker ends of it. */
static void
keep(Worker *worker, const ErrorData *error)
{
	backup_reopen(worker->instance);
	worker->failure_number = survive_jet_error(error);
	snprintf(worker->failure, sizeof(worker->failure), "%s%s%s",
			 error->message ? error->message : "",
			 error->detail ? ": " : "", error->detail ? error->detail : "");
}

void
survive_note_death(Worker *worker)
{
	EseInstance *instance = worker->instance;
	MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);
	ErrorData  *error = CopyErrorData();

	MemoryContextSwitchTo(caller);
	keep(worker, error);
	LWLockReleaseAll();
	LWLockAcquire(instance_lock(instance), LW_EXCLUSIVE);
	strlcpy(instance->failure, error->message ? error->message : "",
			sizeof(instance->failure));
	LWLockRelease(instance_lock(instance));
}

/*
 * End the backup that the error is about, or stop it where a client is to
 * read on and is told at his next call.
 */
static void
end_backup(Worker *worker)
{
	EseInstance *instance = worker->instance;
	BackupStatus *status = &instance->backup;
	Backup	   *backup = worker->backup;
	int64		stopped;

	if (backup->native == NATIVE_NONE && !status->protocol.stopped &&
		status->protocol.phase != PHASE_STARTING)
	{
		(void) stop_request(instance, 0, CAUSE_NONE, worker->failure_number,
							"server", worker->failure, &stopped);
		return;
	}
	/* one that was stopped before has its reason, and ends here */
	if (status->protocol.stopped)
		(void) backup_finish(worker, backup_outcome_of(status->stop_error),
							 status->stop_error, pstrdup(status->row.reason));
	else
		(void) backup_finish(worker, OUTCOME_FAILED, worker->failure_number,
							 worker->failure);
}

/* The step has failed: what becomes of the backup? */
static void
settle(Worker *worker, StepSubject subject, const Backup *before)
{
	bool		begun = worker->backup != before;

	if (worker->backup != NULL && (subject == STEP_BACKUP || begun))
		end_backup(worker);
	worker->failure_number = 0;
}

void
survive(Worker *worker, Call *call, WorkerStep step, StepSubject subject)
{
	MemoryContext caller = CurrentMemoryContext;
	const Backup *before = worker->backup;
	volatile bool failed = false;

	PG_TRY();
	{
		step(worker, call);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		LWLockReleaseAll();
		keep(worker, error);
		if (call != NULL)
			answer_with(call, error);
		/* what is on record as good stays so: a fresh worker finds it */
		if (!is_foreseeable(error) ||
			(worker->backup != NULL && worker->backup->recorded))
			PG_RE_THROW();
		EmitErrorReport();
		survive_clean_up();
		failed = true;
	}
	PG_END_TRY();
	if (failed)
		settle(worker, subject, before);
}
