/*-------------------------------------------------------------------------
 *
 * instance.c
 *	  SQL functions that create, start, set, stop and drop instances.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "chain.h"
#include "clock.h"
#include "compat.h"
#include "engine/jet.h"
#include "finding.h"
#include "frame.h"
#include "hanging.h"
#include "instance.h"
#include "refuse.h"
#include "registry.h"
#include "report.h"
#include "signature.h"
#include "statefile.h"
#include "stop.h"
#include "worker.h"

#define WAIT_STEP_MS 1000

/* How long ese_init() waits for a worker that died to come back. */
#define WORKER_GONE_MS 15000

PGDLLEXPORT Datum ese_create_instance(PG_FUNCTION_ARGS);
PGDLLEXPORT Datum ese_drop_instance(PG_FUNCTION_ARGS);
PGDLLEXPORT Datum ese_instance_id(PG_FUNCTION_ARGS);
PGDLLEXPORT Datum ese_set_system_parameter(PG_FUNCTION_ARGS);
PGDLLEXPORT Datum ese_get_system_parameter(PG_FUNCTION_ARGS);
PGDLLEXPORT Datum ese_init(PG_FUNCTION_ARGS);
PGDLLEXPORT Datum ese_term(PG_FUNCTION_ARGS);

PG_FUNCTION_INFO_V1(ese_create_instance);
PG_FUNCTION_INFO_V1(ese_drop_instance);
PG_FUNCTION_INFO_V1(ese_instance_id);
PG_FUNCTION_INFO_V1(ese_set_system_parameter);
PG_FUNCTION_INFO_V1(ese_get_system_parameter);
PG_FUNCTION_INFO_V1(ese_init);
PG_FUNCTION_INFO_V1(ese_term);

static const char *const state_names[] = {
	[INSTANCE_STOPPED] = "stopped",
	[INSTANCE_INITIALIZING] = "initializing",
	[INSTANCE_RUNNING] = "running",
	[INSTANCE_TERMINATING] = "terminating",
	[INSTANCE_FAILED] = "failed",
};

const char *
instance_state_name(InstanceState state)
{
	return state_names[state];
}

void
instance_set_state(EseInstance *instance, InstanceState state)
{
	InstanceState before;

	LWLockAcquire(instance_lock(instance), LW_EXCLUSIVE);
	before = instance->state;
	instance->state = state;
	LWLockRelease(instance_lock(instance));
	ConditionVariableBroadcast(&instance->changed);
	elog(DEBUG1, "instance \"%s\": %s, was %s", instance->name,
		 instance_state_name(state), instance_state_name(before));
}

EseInstance *
instance_get(FunctionCallInfo fcinfo, int arg)
{
	EseInstance *instance;

	signature_check(fcinfo);
	shared_check_loaded();
	if (PG_ARGISNULL(arg))
		refuse_parameter("the instance is null");
	instance = registry_find(PG_GETARG_INT32(arg));
	if (instance == NULL)
		ereport(ERROR,
				(jet_errcode(JET_errInvalidParameter),
				 errmsg("instance %d does not exist", PG_GETARG_INT32(arg)),
				 jet_errdetail(JET_errInvalidParameter, NULL),
				 errhint("The view ese_instance lists the instances.")));
	return instance;
}

EseInstance *
instance_get_running(FunctionCallInfo fcinfo, int arg)
{
	EseInstance *instance = instance_get(fcinfo, arg);

	if (instance->state == INSTANCE_STOPPED)
		ereport(ERROR,
				(jet_errcode(JET_errNotInitialized),
				 errmsg("instance \"%s\" is not running", instance->name),
				 jet_errdetail(JET_errNotInitialized, NULL),
				 errhint("Start it with ese_init(%d).", instance->id)));
	return instance;
}

void
instance_refuse_starting(EseInstance *instance)
{
	char		detail[ESE_MESSAGE_LENGTH];
	HistoryRow	row;
	bool		starting;

	LWLockAcquire(instance_lock(instance), LW_SHARED);
	starting = instance->backup.protocol.phase == PHASE_STARTING;
	row = instance->backup.row;
	LWLockRelease(instance_lock(instance));
	if (!starting)
		return;
	history_describe_begin(&row, detail, sizeof(detail));
	ereport(ERROR,
			(jet_errcode(JET_errBackupInProgress),
			 errmsg("a %s of instance \"%s\" is already being started",
					history_noun(row.kind), instance->name),
			 jet_errdetail(JET_errBackupInProgress, detail),
			 errhint("Wait for it, or stop it with ese_stop_backup_instance(%d).",
					 instance->id)));
}

/* Text of an argument, or NULL. */
static char *
text_argument(FunctionCallInfo fcinfo, int arg)
{
	return PG_ARGISNULL(arg) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(arg));
}

static void
check_name(const char *name)
{
	size_t		length = name ? strlen(name) : 0;

	if (name == NULL)
		refuse_parameter("the name of an instance is null");
	if (length < 1 || length >= ESE_NAME_LENGTH ||
		strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != length)
		ereport(ERROR,
				(jet_errcode(JET_errInvalidParameter),
				 errmsg("\"%s\" is not a name for an instance", name),
				 jet_errdetail(JET_errInvalidParameter, NULL),
				 errhint("Use 1 to %d lower-case letters, digits and underscores.",
						 ESE_NAME_LENGTH - 1)));
}

/* A free slot, or NULL; the change of the registry has begun. */
static EseInstance *
free_slot(void)
{
	for (int i = 0; i < ese_shared->max_instances; i++)
	{
		if (instance_of_index(i)->id == 0)
			return instance_of_index(i);
	}
	return NULL;
}

/* A free slot as a new instance finds it. */
static void
clear_slot(EseInstance *instance)
{
	LWLockAcquire(instance_lock(instance), LW_EXCLUSIVE);
	memset(&instance->backup, 0, sizeof(instance->backup));
	instance->unrecorded_count = 0;
	instance->state = INSTANCE_STOPPED;
	instance->failure[0] = '\0';
	pg_atomic_write_u64(&instance->stop_word, 0);
	LWLockRelease(instance_lock(instance));
}

static void
define(Definition *definition, const char *name, const char *display)
{
	memset(definition, 0, sizeof(*definition));
	definition->id = ese_shared->next_instance_id;
	strlcpy(definition->name, name, sizeof(definition->name));
	strlcpy(definition->display_name, display ? display : "",
			sizeof(definition->display_name));
	param_defaults(&definition->params);
}

/* What became of an attempt to create an instance. */
typedef enum Creation
{
	CREATED,
	CREATE_EXISTS,
	CREATE_NO_SLOT,
	CREATE_PROBLEM,
} Creation;

/* The change of the registry has begun. */
static Creation
create(const char *name, const char *display, bool if_not_exists, int32 *id,
	   FileProblem *problem)
{
	EseInstance *existing = registry_slot_of_name(name);
	EseInstance *instance = free_slot();
	Definition	definition;

	if (existing != NULL)
		*id = existing->id;
	if (existing != NULL && if_not_exists)
		return CREATE_EXISTS;
	/* ESE looks at the table first, even for a name that is in use */
	if (instance == NULL)
		return CREATE_NO_SLOT;
	if (existing != NULL)
		return CREATE_EXISTS;
	clear_slot(instance);
	define(&definition, name, display);
	*id = definition.id;
	return registry_change(instance, &definition, problem) ? CREATED :
		CREATE_PROBLEM;
}

/* ese_create_instance(name, display_name, if_not_exists) → integer */
Datum
ese_create_instance(PG_FUNCTION_ARGS)
{
	FileProblem problem;
	Creation	creation;
	char	   *name;
	char	   *display;
	bool		if_not_exists;
	int32		id = 0;

	signature_check(fcinfo);
	shared_check_loaded();
	name = text_argument(fcinfo, 0);
	display = text_argument(fcinfo, 1);
	if_not_exists = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);
	check_name(name);
	if (display != NULL && strlen(display) >= ESE_DISPLAY_LENGTH)
		refuse_parameter("the display name is longer than %d bytes",
						 ESE_DISPLAY_LENGTH - 1);
	registry_load();

	registry_begin_change();
	creation = create(name, display, if_not_exists, &id, &problem);
	registry_end_change();
	if (creation == CREATE_PROBLEM)
		statefile_raise(&problem);
	if (creation == CREATE_NO_SLOT)
		ereport(ERROR,
				(jet_errcode(JET_errTooManyInstances),
				 errmsg("there are already %d instances", ese_shared->max_instances),
				 jet_errdetail(JET_errTooManyInstances, NULL),
				 errhint("Drop one, or increase ese.max_instances and restart the server.")));
	if (creation == CREATE_EXISTS && !if_not_exists)
		ereport(ERROR,
				(jet_errcode(JET_errInstanceNameInUse),
				 errmsg("instance \"%s\" already exists", name),
				 jet_errdetail(JET_errInstanceNameInUse, NULL)));
	if (creation == CREATE_EXISTS)
		ereport(NOTICE, (errmsg("instance \"%s\" already exists, skipping", name)));
	PG_RETURN_INT32(id);
}

static void
refuse_running(EseInstance *instance, const char *what)
{
	ereport(ERROR,
			(jet_errcode(JET_errAlreadyInitialized),
			 errmsg("cannot %s while instance \"%s\" is %s", what,
					instance->name, instance_state_name(instance->state)),
			 jet_errdetail(JET_errAlreadyInitialized, NULL),
			 errhint("Stop it with ese_term(%d) first.", instance->id)));
}

/*
 * Keep an instance from being started while it is dropped.  False when it is
 * not stopped.
 */
static bool
reserve_for_drop(EseInstance *instance)
{
	bool		stopped;

	LWLockAcquire(instance_lock(instance), LW_EXCLUSIVE);
	stopped = instance->state == INSTANCE_STOPPED;
	if (stopped)
		instance->state = INSTANCE_TERMINATING;
	LWLockRelease(instance_lock(instance));
	return stopped;
}

/* ese_drop_instance(instance) → integer */
Datum
ese_drop_instance(PG_FUNCTION_ARGS)
{
	EseInstance *instance = instance_get(fcinfo, 0);
	int32		id = PG_GETARG_INT32(0);
	char	   *slot = chain_own_slot(instance);
	static const Definition none = {0};
	FileProblem problem;
	bool		found;
	bool		stopped = false;
	bool		dropped = false;

	if (slot != NULL)
		chain_refuse_active(slot);
	registry_begin_change();
	found = instance->id == id;
	if (found)
		stopped = reserve_for_drop(instance);
	if (stopped)
	{
		dropped = registry_change(instance, &none, &problem);
		instance_set_state(instance, INSTANCE_STOPPED);
	}
	registry_end_change();
	if (!found)
		refuse_parameter("instance %d does not exist", id);
	if (!stopped)
		refuse_running(instance, "drop it");
	if (!dropped)
		statefile_raise(&problem);
	history_remove(id);
	finding_remove(id);
	(void) unlink(statefile_manifest_path(id));
	/* without its instance it would keep WAL for nobody */
	if (slot != NULL)
		ReplicationSlotDrop(slot, true);
	PG_RETURN_INT32(JET_errSuccess);
}

/* ese_instance_id(name, missing_ok) → integer */
Datum
ese_instance_id(PG_FUNCTION_ARGS)
{
	EseInstance *instance;
	char	   *name;

	signature_check(fcinfo);
	shared_check_loaded();
	name = text_argument(fcinfo, 0);
	if (name == NULL)
		refuse_parameter("the name of an instance is null");
	instance = registry_find_name(name);
	if (instance != NULL)
		PG_RETURN_INT32(instance->id);
	if (!PG_ARGISNULL(1) && PG_GETARG_BOOL(1))
		PG_RETURN_NULL();
	refuse_parameter("instance \"%s\" does not exist", name);
}

static const ParamInfo *
get_parameter(const char *name)
{
	const ParamInfo *param;

	if (name == NULL)
		refuse_parameter("the name of the parameter is null");
	param = param_find(name);
	if (param == NULL)
		ereport(ERROR,
				(jet_errcode(JET_errInvalidParameter),
				 errmsg("there is no parameter \"%s\"", name),
				 jet_errdetail(JET_errInvalidParameter, NULL),
				 errhint("The view ese_system_parameter lists the parameters.")));
	return param;
}

/* May the parameter change now? */
static bool
may_change(EseInstance *instance, const ParamInfo *param)
{
	switch (param_change(param))
	{
		case CHANGE_ANY_TIME:
			return true;
		case CHANGE_BETWEEN_BACKUPS:
			return instance->backup.protocol.phase == PHASE_NONE;
		case CHANGE_STOPPED:
			break;
	}
	return instance->state == INSTANCE_STOPPED;
}

static void
refuse_change(EseInstance *instance, const ParamInfo *param)
{
	ereport(ERROR,
			(jet_errcode(JET_errAlreadyInitialized),
			 errmsg("parameter \"%s\" of instance \"%s\" cannot be changed now",
					param_name(param), instance->name),
			 jet_errdetail(JET_errAlreadyInitialized,
						   psprintf("It can be changed: %s.",
									param_change_name(param)))));
}

/*
 * Set and save; *before is the value it had.  ESE: setting what is set already
 * always succeeds.
 */
static void
set_parameter(EseInstance *instance, int32 id, const ParamInfo *param,
			  int64 value, int64 *before)
{
	FileProblem problem;
	Definition	definition;
	bool		found;
	bool		allowed = true;
	bool		good = true;

	registry_begin_change();
	registry_describe(instance, &definition);
	found = definition.id == id;
	*before = param_get(&definition.params, param);
	if (found && value != *before)
	{
		allowed = may_change(instance, param);
		param_set(&definition.params, param, value);
		good = !allowed || registry_change(instance, &definition, &problem);
	}
	registry_end_change();
	if (!found)
		refuse_parameter("instance %d does not exist", id);
	if (!allowed)
		refuse_change(instance, param);
	if (!good)
		statefile_raise(&problem);
}

/* ese_set_system_parameter(instance, param, value) → integer */
Datum
ese_set_system_parameter(PG_FUNCTION_ARGS)
{
	EseInstance *instance = instance_get(fcinfo, 0);
	const ParamInfo *param = get_parameter(text_argument(fcinfo, 1));
	char	   *given = text_argument(fcinfo, 2);
	char	   *slot = NULL;
	const char *reason;
	int64		value;
	int64		before;

	if (given == NULL)
		refuse_parameter("the value of parameter \"%s\" is null", param_name(param));
	if (!param_parse(param, given, &value, &reason))
		ereport(ERROR,
				(jet_errcode(JET_errInvalidParameter),
				 errmsg("\"%s\" is not a value for parameter \"%s\"",
						given, param_name(param)),
				 jet_errdetail(JET_errInvalidParameter, NULL),
				 errhint("%s", reason)));

	/* with circular logging nothing may be kept */
	if (strcmp(param_name(param), "circular_log") == 0 && value)
		slot = chain_own_slot(instance);
	if (slot != NULL && instance->state == INSTANCE_STOPPED)
		chain_refuse_active(slot);
	set_parameter(instance, PG_GETARG_INT32(0), param, value, &before);
	if (slot != NULL && value != before)
		ReplicationSlotDrop(slot, true);
	worker_wake(instance);
	PG_RETURN_INT32(JET_errSuccess);
}

/* ese_get_system_parameter(instance, param) → text */
Datum
ese_get_system_parameter(PG_FUNCTION_ARGS)
{
	EseInstance *instance = instance_get(fcinfo, 0);
	const ParamInfo *param = get_parameter(text_argument(fcinfo, 1));
	int64		value = param_get(&instance->params, param);

	PG_RETURN_TEXT_P(cstring_to_text(param_show(param, value)));
}

/* From STOPPED to INITIALIZING, with frames reserved. */
static void
prepare_start(EseInstance *instance)
{
	int			needed_kb;
	int			available_kb;

	LWLockAcquire(instance_lock(instance), LW_EXCLUSIVE);
	if (instance->state != INSTANCE_STOPPED)
	{
		LWLockRelease(instance_lock(instance));
		ereport(ERROR,
				(jet_errcode(JET_errAlreadyInitialized),
				 errmsg("instance \"%s\" is already %s", instance->name,
						instance_state_name(instance->state)),
				 jet_errdetail(JET_errAlreadyInitialized, NULL)));
	}
	if (!frame_reserve(instance, (int) instance->params.max_open_files,
					   &needed_kb, &available_kb))
	{
		LWLockRelease(instance_lock(instance));
		ereport(ERROR,
				(jet_errcode(JET_errOutOfMemory),
				 errmsg("not enough shared memory for %lld open files of instance \"%s\"",
						(long long) instance->params.max_open_files, instance->name),
				 jet_errdetail(JET_errOutOfMemory,
							   psprintf("%d kB are needed, and %d kB of ese.stream_buffers are free.",
										needed_kb, available_kb)),
				 errhint("Increase ese.stream_buffers and restart the server, lower max_open_files, or stop another instance.")));
	}
	instance->state = INSTANCE_INITIALIZING;
	instance->failure[0] = '\0';
	LWLockRelease(instance_lock(instance));
}

/* Undo prepare_start(). */
static void
cancel_start(EseInstance *instance)
{
	frame_unreserve(instance);
	instance_set_state(instance, INSTANCE_STOPPED);
}

/* Wait until the worker runs; false when it has died instead. */
static bool
wait_until_running(EseInstance *instance)
{
	InstanceState state;

	ConditionVariablePrepareToSleep(&instance->changed);
	for (;;)
	{
		state = instance->state;
		if (state == INSTANCE_RUNNING || state == INSTANCE_FAILED ||
			state == INSTANCE_STOPPED)
			break;
		ConditionVariableTimedSleep(&instance->changed, WAIT_STEP_MS,
									compat_wait_event("EseInit"));
	}
	ConditionVariableCancelSleep();
	return state == INSTANCE_RUNNING;
}

static void
report_ended_worker(EseInstance *instance)
{
	ereport(ERROR,
			(jet_errcode(JET_errInstanceUnavailable),
			 errmsg("the worker of instance \"%s\" ended while it started",
					instance->name),
			 jet_errdetail(JET_errInstanceUnavailable, instance->failure),
			 errhint("It is started again every second; the server log says more.")));
}

/* Does it run, and is it to go on? */
static bool
runs(EseInstance *instance)
{
	return instance->state == INSTANCE_RUNNING && instance->enabled;
}

/*
 * Wait until it runs, or until it is stopped: false.  A worker that died is
 * given time to come back.
 */
static bool
wait_until_settled(EseInstance *instance)
{
	int64		failed_since = 0;

	ConditionVariablePrepareToSleep(&instance->changed);
	while (!runs(instance) && instance->state != INSTANCE_STOPPED)
	{
		if (instance->state == INSTANCE_FAILED && failed_since == 0)
			failed_since = clock_us();
		if (failed_since != 0 &&
			clock_us() - failed_since > WORKER_GONE_MS * INT64CONST(1000))
			report_ended_worker(instance);
		ConditionVariableTimedSleep(&instance->changed, WAIT_STEP_MS,
									compat_wait_event("EseInit"));
	}
	ConditionVariableCancelSleep();
	return runs(instance);
}

/* on_exit: what was begun is undone when the session is told to end, too. */
static void
undo_start(int code, Datum arg)
{
	EseInstance *instance = (EseInstance *) DatumGetPointer(arg);

	registry_force_disabled(instance);
	cancel_start(instance);
}

/* Have the worker started; undone, on disk and in memory, when it cannot be. */
static void
start(EseInstance *instance)
{
	FileProblem problem;
	bool		saved;
	bool		started = false;

	prepare_start(instance);
	PG_ENSURE_ERROR_CLEANUP(undo_start, PointerGetDatum(instance));
	{
		/* it may wait for others who write */
		saved = registry_set_enabled(instance, true, &problem);
		started = saved && worker_start(instance);
	}
	PG_END_ENSURE_ERROR_CLEANUP(undo_start, PointerGetDatum(instance));
	if (started)
		return;
	undo_start(0, PointerGetDatum(instance));
	registry_settle();
	if (!saved)
		statefile_raise(&problem);
	ereport(ERROR,
			(jet_errcode(JET_errOutOfThreads),
			 errmsg("could not start a background worker for instance \"%s\"",
					instance->name),
			 jet_errdetail(JET_errOutOfThreads, NULL),
			 errhint("Increase max_worker_processes (now %d) and restart the server.",
					 max_worker_processes)));
}

/* ese_init(instance, if_stopped) → integer */
Datum
ese_init(PG_FUNCTION_ARGS)
{
	EseInstance *instance = instance_get(fcinfo, 0);
	bool		if_stopped = !PG_ARGISNULL(1) && PG_GETARG_BOOL(1);

	if (if_stopped && wait_until_settled(instance))
		PG_RETURN_INT32(JET_errSuccess);
	start(instance);
	if (!wait_until_running(instance))
		report_ended_worker(instance);
	PG_RETURN_INT32(JET_errSuccess);
}

/*
 * Wait until the worker is gone and the slot says so; somebody may have had it
 * started again by then.
 */
static void
wait_until_stopped(EseInstance *instance, int32 id)
{
	ConditionVariablePrepareToSleep(&instance->changed);
	while (instance->id == id && instance->state != INSTANCE_STOPPED &&
		   !instance->enabled)
		ConditionVariableTimedSleep(&instance->changed, WAIT_STEP_MS,
									compat_wait_event("EseTerm"));
	ConditionVariableCancelSleep();
}

/* End a Begin that is starting, so that Term need not wait for it. */
static void
stop_starting(EseInstance *instance)
{
	int64		stopped;

	if (instance->backup.protocol.phase == PHASE_STARTING)
		(void) stop_request(instance, 0, CAUSE_TERM,
							JET_errBackupAbortByServer,
							GetUserNameFromId(GetUserId(), false),
							"the instance was terminated", &stopped);
}

/* ese_term(instance, grbit) → integer */
Datum
ese_term(PG_FUNCTION_ARGS)
{
	EseInstance *instance = instance_get(fcinfo, 0);
	Request		request = {.operation = OP_TERM};
	Answer		answer = {0};
	FileProblem problem;

	if (PG_ARGISNULL(1))
		refuse_parameter("the options are null");
	request.grbit = PG_GETARG_INT32(1);
	if (refuse_options(&answer, OPTIONS_TERM, request.grbit))
		report_answer(&answer);

	/* a created, never initialised instance: success, as in ESE */
	if (instance->state == INSTANCE_STOPPED)
		PG_RETURN_INT32(JET_errSuccess);

	/* the worker takes no call while it waits for a checkpoint */
	if (request.grbit & (JET_bitTermStopBackup | JET_bitTermAbrupt))
		stop_starting(instance);
	else
		instance_refuse_starting(instance);

	/* a worker that keeps dying would never serve the call */
	if (instance->state == INSTANCE_FAILED)
	{
		if (!registry_set_enabled(instance, false, &problem))
			statefile_raise(&problem);
	}
	else
	{
		client_describe(&request.client);
		call_execute(instance, &request, &answer, NULL);
	}
	wait_until_stopped(instance, PG_GETARG_INT32(0));
	hanging_warn(instance);
	PG_RETURN_INT32(JET_errSuccess);
}
