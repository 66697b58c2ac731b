/*-------------------------------------------------------------------------
 *
 * launcher.c
 *	  The launcher: starts instances with the server, and looks after those
 *	  that have no worker.
 *
 * The slot of a stopped instance keeps WAL like that of a running one, and
 * the rows and parameters that could not be written are to be written, whoever
 * is there to do it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "compat.h"
#include "guard.h"
#include "instance.h"
#include "registry.h"
#include "testpoint.h"
#include "worker.h"

/* How often it looks. */
#define LOOK_MS			2000

/* How soon it comes back when an error has ended it. */
#define RESTART_S		5

PGDLLEXPORT void ese_launcher_main(Datum arg);

void
launcher_register(void)
{
	BackgroundWorker registration;

	worker_fill_registration(&registration, "ese_launcher_main",
							 "ese launcher", 0);
	strlcpy(registration.bgw_type, "ese launcher",
			sizeof(registration.bgw_type));
	registration.bgw_restart_time = RESTART_S;
	RegisterBackgroundWorker(&registration);
}

/* Start one instance with the server; says why when that fails. */
static void
launch(EseInstance *instance)
{
	instance_set_state(instance, INSTANCE_INITIALIZING);
	if (worker_start(instance))
		return;
	instance_set_state(instance, INSTANCE_STOPPED);
	ereport(WARNING,
			(errmsg("could not start a background worker for instance \"%s\"",
					instance->name),
			 errhint("Increase max_worker_processes (now %d) and restart the server.",
					 max_worker_processes)));
}

/* Once for each start of the server, as soon as the definitions are there. */
static void
launch_all(void)
{
	if (ese_shared->launched)
		return;
	ese_shared->launched = true;
	for (int i = 0; i < ese_shared->max_instances; i++)
	{
		EseInstance *instance = instance_of_index(i);

		if (instance->id != 0 && instance->enabled &&
			instance->params.auto_start &&
			instance->state == INSTANCE_STOPPED)
			launch(instance);
	}
}

/* Until the file can be used; what is wrong with it is said once. */
static bool
load(void)
{
	static char said[ESE_MESSAGE_LENGTH];
	FileProblem problem;

	if (registry_try_load(&problem))
		return true;
	if (strcmp(said, problem.message) != 0)
	{
		ereport(LOG,
				(errmsg("backup instances are not started: %s",
						problem.message),
				 problem.hint ? errhint("%s", problem.hint) : 0));
		strlcpy(said, problem.message, sizeof(said));
	}
	return false;
}

/* An instance without a worker. */
static void
look_after(EseInstance *instance)
{
	if (instance->id == 0 || instance->state != INSTANCE_STOPPED)
		return;
	(void) history_settle(instance);
	guard_chain(instance);
}

static void
look(void)
{
	if (!load())
		return;
	launch_all();
	registry_settle();
	for (int i = 0; i < ese_shared->max_instances; i++)
		look_after(instance_of_index(i));
}

void
ese_launcher_main(Datum arg)
{
	MemoryContext context;

	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	context = AllocSetContextCreate(TopMemoryContext, "ese launcher",
									ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		look();
		MemoryContextReset(context);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 LOOK_MS, compat_wait_event("EseLauncher"));
		ResetLatch(MyLatch);
	}
}
