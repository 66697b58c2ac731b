/*-------------------------------------------------------------------------
 *
 * call.c
 *	  Requests of sessions to the worker, and its answers.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <netdb.h>

#include "common/ip.h"
#include "libpq/libpq.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "compat.h"
#include "engine/jet.h"
#include "frame.h"
#include "privilege.h"
#include "report.h"
#include "shared.h"
#include "stop.h"
#include "testpoint.h"
#include "worker.h"

#define WAIT_STEP_MS	1000

/* How long a request waits for a worker that died to come back. */
#define WORKER_GONE_MS	15000

/* What on_exit of a session needs to give up its call. */
typedef struct Pending
{
	EseInstance *instance;
	Call	   *call;
	uint64		ticket;
} Pending;

/*
 * The address this session's client connects from; empty for local ones.  It
 * is taken from the backend's status entry, because libpq-be.h does not
 * compile everywhere.
 */
static void
describe_address(char *address, int size)
{
	SockAddr   *from = MyBEEntry ? &MyBEEntry->st_clientaddr : NULL;

	address[0] = '\0';
	if (from == NULL || (from->addr.ss_family != AF_INET &&
						 from->addr.ss_family != AF_INET6))
		return;
	if (pg_getnameinfo_all(&from->addr, from->salen, address, size,
						   NULL, 0, NI_NUMERICHOST) != 0)
		address[0] = '\0';
}

void
client_describe(Client *client)
{
	client->role = GetUserId();
	strlcpy(client->role_name, GetUserNameFromId(client->role, false),
			sizeof(client->role_name));
	client->address[0] = '\0';
	describe_address(client->address, sizeof(client->address));
	strlcpy(client->application, application_name ? application_name : "",
			sizeof(client->application));
}

/* Does it begin what the worker does alone? */
static bool
needs_nobody(const Call *call)
{
	return call->request.operation == OP_BACKUP ||
		call->request.operation == OP_RESTORE ||
		call->request.operation == OP_VERIFY;
}

/* Does the call begin a backup, or the like? */
static bool
is_begin(const Call *call)
{
	return call->request.operation == OP_BEGIN || needs_nobody(call);
}

/* A successful Begin that its requester has not seen. */
static bool
is_uncollected_begin(const Call *call)
{
	return is_begin(call) && call->answer.error == 0 &&
		call->answer.sqlstate[0] == '\0';
}

/*
 * Does the call go on although its requester leaves?  What needs nobody does,
 * unless its own user cancels it: not when the session dies (code is not 0),
 * meets a timeout or a conflict with recovery.
 */
static bool
goes_on(int code, const Call *call)
{
	return needs_nobody(call) && (code != 0 || !report_is_users_cancel());
}

/* Leave without the answer; also runs when the session dies. */
static void
abandon(int code, Datum arg)
{
	Pending    *pending = (Pending *) DatumGetPointer(arg);
	EseInstance *instance = pending->instance;
	Call	   *call = pending->call;
	bool		goes = goes_on(code, call);
	bool		wake = false;
	bool		interrupt = false;

	LWLockAcquire(instance_lock(instance), LW_EXCLUSIVE);
	if (call->ticket == pending->ticket)
	{
		switch (call->state)
		{
			case CALL_QUEUED:
				call->state = CALL_FREE;
				break;
			case CALL_SERVED:
				call->state = goes ? CALL_ORPHANED : CALL_ABANDONED;
				interrupt = is_begin(call) && !goes;
				break;
			case CALL_ANSWERED:
				wake = is_uncollected_begin(call) && !goes;
				call->state = wake ? CALL_ABANDONED : CALL_FREE;
				break;
			case CALL_FREE:
			case CALL_ABANDONED:
			case CALL_ORPHANED:
				break;
		}
		if (instance->answer_owner == call - instance->calls)
			instance->answer_owner = -1;
	}
	LWLockRelease(instance_lock(instance));
	ConditionVariableBroadcast(&instance->changed);
	if (interrupt)
		worker_interrupt_begin(instance);
	if (wake || interrupt)
		worker_wake(instance);
}

/* Queue the request, if there is a free place; the lock is held. */
static Call *
queue_request(EseInstance *instance, const Request *request)
{
	for (int i = 0; i < ESE_CALL_SLOTS; i++)
	{
		Call	   *call = &instance->calls[i];

		if (call->state == CALL_FREE)
		{
			call->ticket = ++instance->next_ticket;
			call->request = *request;
			memset(&call->answer, 0, sizeof(call->answer));
			call->state = CALL_QUEUED;
			return call;
		}
	}
	return NULL;
}

static void
refuse_worker_gone(EseInstance *instance)
{
	char		failure[ESE_MESSAGE_LENGTH];

	LWLockAcquire(instance_lock(instance), LW_SHARED);
	strlcpy(failure, instance->failure, sizeof(failure));
	LWLockRelease(instance_lock(instance));
	ereport(ERROR,
			(jet_errcode(JET_errInstanceUnavailable),
			 errmsg("the worker of instance \"%s\" is not running",
					instance->name),
			 jet_errdetail(JET_errInstanceUnavailable,
						   privilege_to_monitor() ? failure : NULL),
			 errhint("The server log says why it ended; it is started again every second.")));
}

/*
 * An instance that is not there for calls: stopped meanwhile, or its worker
 * stays away.  "since" is when this was first seen, 0 before.
 */
static void
check_worker(EseInstance *instance, int64 *since)
{
	InstanceState state = instance->state;

	if (state == INSTANCE_RUNNING)
		*since = 0;
	else if (state == INSTANCE_STOPPED || state == INSTANCE_TERMINATING)
		ereport(ERROR,
				(jet_errcode(JET_errTermInProgress),
				 errmsg("instance \"%s\" was terminated", instance->name),
				 jet_errdetail(JET_errTermInProgress, NULL)));
	else if (*since == 0)
		*since = clock_us();
	else if (clock_us() - *since > WORKER_GONE_MS * INT64CONST(1000))
		refuse_worker_gone(instance);
}

/*
 * Sleep until something changes.  A session that waits does not notice that
 * its client has gone, but for client_connection_check_interval; and what it
 * has asked for must not begin long after that.
 */
static void
sleep_a_little(EseInstance *instance)
{
	if (!ConditionVariableTimedSleep(&instance->changed, WAIT_STEP_MS,
									 compat_wait_event("EseCall")) ||
		MyProcPort == NULL || pq_check_connection())
		return;
	ClientConnectionLost = true;
	InterruptPending = true;
	CHECK_FOR_INTERRUPTS();
}

/* Wait for a free place among the calls. */
static void
submit(Pending *pending, const Request *request)
{
	EseInstance *instance = pending->instance;
	int64		gone_since = 0;

	ConditionVariablePrepareToSleep(&instance->changed);
	for (;;)
	{
		LWLockAcquire(instance_lock(instance), LW_EXCLUSIVE);
		pending->call = queue_request(instance, request);
		if (pending->call != NULL)
			pending->ticket = pending->call->ticket;
		LWLockRelease(instance_lock(instance));
		if (pending->call != NULL)
			break;
		check_worker(instance, &gone_since);
		sleep_a_little(instance);
	}
	ConditionVariableCancelSleep();
}

/*
 * Has the worker answered?  Looked at under the lock under which it has
 * answered: what it wrote before, the answer and the page in the answer frame,
 * is there for whoever has seen the state so, also where stores of one
 * processor come to another in any order.
 */
static bool
is_answered(EseInstance *instance, const Call *call)
{
	bool		answered;

	LWLockAcquire(instance_lock(instance), LW_SHARED);
	answered = call->state == CALL_ANSWERED;
	LWLockRelease(instance_lock(instance));
	return answered;
}

/* Wait for the answer, copy it, and free the call. */
static void
collect(Pending *pending, Answer *answer, char **page)
{
	EseInstance *instance = pending->instance;
	Call	   *call = pending->call;
	int64		gone_since = 0;

	worker_wake(instance);
	ConditionVariablePrepareToSleep(&instance->changed);
	while (!is_answered(instance, call))
	{
		check_worker(instance, &gone_since);
		sleep_a_little(instance);
	}
	ConditionVariableCancelSleep();
	testpoint("call.answered");

	/*
	 * Answer and answer frame are ours until the call is free, which the lock
	 * lets nobody see before we have copied them.
	 */
	if (page != NULL && call->answer.page_length > 0)
	{
		*page = palloc(call->answer.page_length);
		memcpy(*page, frame_address(instance->answer_frame),
			   call->answer.page_length);
	}
	LWLockAcquire(instance_lock(instance), LW_EXCLUSIVE);
	*answer = call->answer;
	call->state = CALL_FREE;
	if (instance->answer_owner == call - instance->calls)
		instance->answer_owner = -1;
	LWLockRelease(instance_lock(instance));
	ConditionVariableBroadcast(&instance->changed);
}

/* Texts are cut to fixed sizes, perhaps in the middle of a character. */
static void
clip_texts(Answer *answer)
{
	char	   *texts[] = {answer->message, answer->detail, answer->hint,
	answer->warning};

	for (int i = 0; i < lengthof(texts); i++)
	{
		int			length = strlen(texts[i]);

		texts[i][pg_mbcliplen(texts[i], length, length)] = '\0';
	}
}

void
call_execute(EseInstance *instance, const Request *request, Answer *answer,
			 char **page)
{
	Pending		pending = {.instance = instance};

	submit(&pending, request);
	PG_ENSURE_ERROR_CLEANUP(abandon, PointerGetDatum(&pending));
	{
		collect(&pending, answer, page);
	}
	PG_END_ENSURE_ERROR_CLEANUP(abandon, PointerGetDatum(&pending));

	/* somebody else may wait for the answer frame */
	if (answer->page_length > 0)
		worker_wake(instance);
	clip_texts(answer);
	if (answer->error == JET_errNoBackup && request->backup != 0)
		stop_refuse_other_backup(instance, request->backup);
	report_answer(answer);
}

Call *
call_next(EseInstance *instance)
{
	Call	   *next = NULL;

	LWLockAcquire(instance_lock(instance), LW_EXCLUSIVE);
	for (int i = 0; i < ESE_CALL_SLOTS; i++)
	{
		Call	   *call = &instance->calls[i];
		CallOperation operation = call->request.operation;

		if (call->state != CALL_QUEUED ||
			(next != NULL && call->ticket > next->ticket))
			continue;
		/* a long answer needs the answer frame; others may go first */
		if ((operation == OP_ATTACH_INFO || operation == OP_LOG_INFO ||
			 operation == OP_UNREAD_FILES) && instance->answer_owner >= 0)
			continue;
		next = call;
	}
	if (next != NULL)
		next->state = CALL_SERVED;
	LWLockRelease(instance_lock(instance));
	return next;
}

void
call_put_back(EseInstance *instance, Call *call)
{
	LWLockAcquire(instance_lock(instance), LW_EXCLUSIVE);
	call->state = call->state == CALL_SERVED ? CALL_QUEUED : CALL_FREE;
	LWLockRelease(instance_lock(instance));
}

bool
call_answer(EseInstance *instance, Call *call)
{
	bool		collected;

	LWLockAcquire(instance_lock(instance), LW_EXCLUSIVE);
	collected = call->state == CALL_SERVED;
	if (collected)
	{
		call->state = CALL_ANSWERED;
		if (call->answer.page_length > 0)
			instance->answer_owner = call - instance->calls;
	}
	else if (call->state == CALL_ORPHANED || !is_uncollected_begin(call))
		call->state = CALL_FREE;
	LWLockRelease(instance_lock(instance));
	ConditionVariableBroadcast(&instance->changed);
	return collected;
}

bool
call_take_abandoned_begin(EseInstance *instance, int64 *backup)
{
	bool		found = false;

	LWLockAcquire(instance_lock(instance), LW_EXCLUSIVE);
	for (int i = 0; i < ESE_CALL_SLOTS && !found; i++)
	{
		Call	   *call = &instance->calls[i];

		if (call->state == CALL_ABANDONED && is_uncollected_begin(call) &&
			call->answer.backup != 0)
		{
			*backup = call->answer.backup;
			call->state = CALL_FREE;
			found = true;
		}
	}
	LWLockRelease(instance_lock(instance));
	return found;
}

bool
call_is_abandoned(EseInstance *instance, Call *call)
{
	bool		abandoned;

	LWLockAcquire(instance_lock(instance), LW_SHARED);
	abandoned = call->state == CALL_ABANDONED;
	LWLockRelease(instance_lock(instance));
	return abandoned;
}

void
call_reset(EseInstance *instance)
{
	LWLockAcquire(instance_lock(instance), LW_EXCLUSIVE);
	for (int i = 0; i < ESE_CALL_SLOTS; i++)
	{
		Call	   *call = &instance->calls[i];

		if (call->state == CALL_ABANDONED || call->state == CALL_ORPHANED)
			call->state = CALL_FREE;
		if (call->state != CALL_SERVED)
			continue;
		answer_error(&call->answer, JET_errInstanceUnavailable,
					 "the worker of instance \"%s\" ended during the call",
					 instance->name);
		answer_detail(&call->answer, "%s", instance->failure);
		call->state = CALL_ANSWERED;
	}
	LWLockRelease(instance_lock(instance));
	ConditionVariableBroadcast(&instance->changed);
}

void
answer_error(Answer *answer, int jet, const char *format,...)
{
	va_list		args;

	answer->error = jet;
	va_start(args, format);
	vsnprintf(answer->message, sizeof(answer->message), format, args);
	va_end(args);
}

void
answer_detail(Answer *answer, const char *format,...)
{
	va_list		args;

	va_start(args, format);
	vsnprintf(answer->detail, sizeof(answer->detail), format, args);
	va_end(args);
}

void
answer_hint(Answer *answer, const char *format,...)
{
	va_list		args;

	va_start(args, format);
	vsnprintf(answer->hint, sizeof(answer->hint), format, args);
	va_end(args);
}

void
answer_warning(Answer *answer, int jet, const char *format,...)
{
	va_list		args;

	answer->warning_error = jet;
	va_start(args, format);
	vsnprintf(answer->warning, sizeof(answer->warning), format, args);
	va_end(args);
}
