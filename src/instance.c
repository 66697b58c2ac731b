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
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "chain.h"
#include "compat.h"
#include "engine/jet.h"
#include "finding.h"
#include "frame.h"
#include "instance.h"
#include "refuse.h"
#include "registry.h"
#include "report.h"
#include "signature.h"
#include "statefile.h"
#include "stop.h"
#include "worker.h"

#define WAIT_STEP_MS 1000

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

/* A free slot, or NULL; the registry lock is held. */
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

static EseInstance *
find_name_locked(const char *name)
{
	for (int i = 0; i < ese_shared->max_instances; i++)
	{
		EseInstance *instance = instance_of_index(i);

		if (instance->id != 0 && strcmp(instance->name, name) == 0)
			return instance;
	}
	return NULL;
}

static void
fill_slot(EseInstance *instance, const char *name, const char *display)
{
	memset(&instance->backup, 0, sizeof(instance->backup));
	instance->state = INSTANCE_STOPPED;
	instance->failure[0] = '\0';
	instance->enabled = false;
	pg_atomic_write_u64(&instance->stop_word, 0);
	strlcpy(instance->name, name, sizeof(instance->name));
	strlcpy(instance->display_name, display ? display : "",
			sizeof(instance->display_name));
	param_defaults(&instance->params);
	instance->id = ese_shared->next_instance_id++;
}

/* Save, or make the slot free again; the registry lock is held. */
static void
save_new_instance(EseInstance *instance)
{
	PG_TRY();
	{
		registry_save();
	}
	PG_CATCH();
	{
		instance->id = 0;
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* ese_create_instance(name, display_name, if_not_exists) → integer */
Datum
ese_create_instance(PG_FUNCTION_ARGS)
{
	EseInstance *existing;
	EseInstance *instance;
	char	   *name;
	char	   *display;
	bool		if_not_exists;

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

	LWLockAcquire(registry_lock(), LW_EXCLUSIVE);
	existing = find_name_locked(name);
	if (existing != NULL && if_not_exists)
	{
		int32		id = existing->id;

		LWLockRelease(registry_lock());
		ereport(NOTICE, (errmsg("instance \"%s\" already exists, skipping", name)));
		PG_RETURN_INT32(id);
	}

	/* ESE looks at the table first, even for a name that is in use */
	instance = free_slot();
	if (instance == NULL)
		ereport(ERROR,
				(jet_errcode(JET_errTooManyInstances),
				 errmsg("there are already %d instances", ese_shared->max_instances),
				 jet_errdetail(JET_errTooManyInstances, NULL),
				 errhint("Drop one, or increase ese.max_instances and restart the server.")));
	if (existing != NULL)
		ereport(ERROR,
				(jet_errcode(JET_errInstanceNameInUse),
				 errmsg("instance \"%s\" already exists", name),
				 jet_errdetail(JET_errInstanceNameInUse, NULL)));
	fill_slot(instance, name, display);
	save_new_instance(instance);
	LWLockRelease(registry_lock());
	PG_RETURN_INT32(instance->id);
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

/* ese_drop_instance(instance) → integer */
Datum
ese_drop_instance(PG_FUNCTION_ARGS)
{
	EseInstance *instance = instance_get(fcinfo, 0);
	int32		id = PG_GETARG_INT32(0);

	/* the slot goes first: without it the chain is just broken */
	if (instance->state == INSTANCE_STOPPED)
		chain_drop(instance);
	LWLockAcquire(registry_lock(), LW_EXCLUSIVE);
	if (instance->id != id)
		refuse_parameter("instance %d does not exist", id);
	if (instance->state != INSTANCE_STOPPED)
		refuse_running(instance, "drop it");
	instance->id = 0;
	PG_TRY();
	{
		registry_save();
	}
	PG_CATCH();
	{
		instance->id = id;
		PG_RE_THROW();
	}
	PG_END_TRY();
	history_remove(id);
	finding_remove(id);
	(void) unlink(statefile_manifest_path(id));
	LWLockRelease(registry_lock());
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

/* May the parameter change now?  The registry lock is held. */
static void
check_change(EseInstance *instance, const ParamInfo *param)
{
	bool		refused;

	switch (param_change(param))
	{
		case CHANGE_ANY_TIME:
			return;
		case CHANGE_BETWEEN_BACKUPS:
			refused = instance->backup.protocol.phase != PHASE_NONE;
			break;
		default:
			refused = instance->state != INSTANCE_STOPPED;
			break;
	}
	if (refused)
		ereport(ERROR,
				(jet_errcode(JET_errAlreadyInitialized),
				 errmsg("parameter \"%s\" of instance \"%s\" cannot be changed now",
						param_name(param), instance->name),
				 jet_errdetail(JET_errAlreadyInitialized,
							   psprintf("It can be changed: %s.",
										param_change_name(param)))));
}

/* ese_set_system_parameter(instance, param, value) → integer */
Datum
ese_set_system_parameter(PG_FUNCTION_ARGS)
{
	EseInstance *instance = instance_get(fcinfo, 0);
	const ParamInfo *param = get_parameter(text_argument(fcinfo, 1));
	char	   *text = text_argument(fcinfo, 2);
	const char *reason;
	int64		value;
	int64		before;

	if (text == NULL)
		refuse_parameter("the value of parameter \"%s\" is null", param_name(param));
	if (!param_parse(param, text, &value, &reason))
		ereport(ERROR,
				(jet_errcode(JET_errInvalidParameter),
				 errmsg("\"%s\" is not a value for parameter \"%s\"",
						text, param_name(param)),
				 jet_errdetail(JET_errInvalidParameter, NULL),
				 errhint("%s", reason)));

	LWLockAcquire(registry_lock(), LW_EXCLUSIVE);
	before = param_get(&instance->params, param);
	/* ESE: setting what is set already always succeeds */
	if (value != before)
	{
		check_change(instance, param);
		param_set(&instance->params, param, value);
		PG_TRY();
		{
			registry_save();
		}
		PG_CATCH();
		{
			param_set(&instance->params, param, before);
			PG_RE_THROW();
		}
		PG_END_TRY();
	}
	LWLockRelease(registry_lock());
	/* with circular logging nothing may be kept */
	if (value != before && strcmp(param_name(param), "circular_log") == 0 && value)
		chain_drop(instance);
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

/* ese_init(instance, if_stopped) → integer */
Datum
ese_init(PG_FUNCTION_ARGS)
{
	EseInstance *instance = instance_get(fcinfo, 0);
	bool		if_stopped = !PG_ARGISNULL(1) && PG_GETARG_BOOL(1);

	if (if_stopped && instance->state != INSTANCE_STOPPED)
		PG_RETURN_INT32(JET_errSuccess);

	prepare_start(instance);
	registry_set_enabled(instance, true);
	if (!worker_start(instance))
	{
		registry_set_enabled(instance, false);
		cancel_start(instance);
		ereport(ERROR,
				(jet_errcode(JET_errOutOfThreads),
				 errmsg("could not start a background worker for instance \"%s\"",
						instance->name),
				 jet_errdetail(JET_errOutOfThreads, NULL),
				 errhint("Increase max_worker_processes (now %d) and restart the server.",
						 max_worker_processes)));
	}
	if (!wait_until_running(instance))
		ereport(ERROR,
				(jet_errcode(JET_errInstanceUnavailable),
				 errmsg("the worker of instance \"%s\" ended while it started",
						instance->name),
				 jet_errdetail(JET_errInstanceUnavailable, instance->failure),
				 errhint("It is started again every second; the server log says more.")));
	PG_RETURN_INT32(JET_errSuccess);
}

/* Wait until the worker is gone and the slot says so. */
static void
wait_until_stopped(EseInstance *instance, int32 id)
{
	ConditionVariablePrepareToSleep(&instance->changed);
	while (instance->id == id && instance->state != INSTANCE_STOPPED)
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
		registry_set_enabled(instance, false);
	else
	{
		client_describe(&request.client);
		call_execute(instance, &request, &answer, NULL);
	}
	wait_until_stopped(instance, PG_GETARG_INT32(0));
	PG_RETURN_INT32(JET_errSuccess);
}
