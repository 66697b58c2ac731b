/*-------------------------------------------------------------------------
 *
 * pathrun.c
 *	  The worker does something to a path that may hang, and waits for it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "engine/jet.h"
#include "hanging.h"
#include "leftover.h"
#include "pathrun.h"
#include "testpoint.h"
#include "worker_internal.h"

/* How long a wait sleeps at most before it looks again. */
#define WAIT_STEP_MS 100

/* The same without a latch. */
#define GIVE_UP_STEP_US 1000

bool
path_look(PathTask *task)
{
	const char *point = path_waits_at(task);

	if (point != NULL)
	{
		testpoint_reached(point);
		path_go_on(task);
	}
	return path_is_done(task);
}

bool
path_wait(PathTask *task)
{
	if (path_look(task))
		return true;
	if (WaitLatchOrSocket(MyLatch,
						  WL_LATCH_SET | WL_SOCKET_READABLE | WL_TIMEOUT |
						  WL_EXIT_ON_PM_DEATH,
						  path_event_fd(), WAIT_STEP_MS,
						  compat_wait_event("EseWorkerPath")) & WL_LATCH_SET)
		ResetLatch(MyLatch);
	path_drain();
	return path_is_done(task);
}

bool
path_is_still(PathTask *task, PathWatch *watch, int ms)
{
	uint64		steps = path_steps(task);
	int64		now = clock_us();

	if (watch->since == 0 || watch->steps != steps)
	{
		watch->steps = steps;
		watch->since = now;
	}
	return now - watch->since > ms * INT64CONST(1000);
}

bool
path_hangs(PathTask *task, PathWatch *watch)
{
	return path_is_still(task, watch, HANG_MS);
}

bool
path_is_unwanted(Worker *worker)
{
	return (pg_atomic_read_u64(&worker->instance->stop_word) & STOP_WORD_STOPPED) ||
		(worker->serving != NULL &&
		 call_is_abandoned(worker->instance, worker->serving));
}

/* It is unwanted: its thread may end, or it is left. */
static void
leave(Worker *worker, PathTask **task)
{
	PathWatch	watch = {0};

	path_cancel(*task);
	while (!path_wait(*task))
	{
		CHECK_FOR_INTERRUPTS();
		if (path_hangs(*task, &watch))
		{
			leftover_add_task(worker, *task);
			*task = NULL;
			return;
		}
	}
}

/* Wait until the task is done, or is left. */
static void
wait_for_end(Worker *worker, PathTask **task)
{
	PathWatch	watch = {0};

	while (!path_wait(*task))
	{
		CHECK_FOR_INTERRUPTS();
		if (path_is_unwanted(worker))
		{
			leave(worker, task);
			return;
		}
		if (path_hangs(*task, &watch))
		{
			hanging_publish(worker->instance, (*task)->path);
			worker_serve_meanwhile(worker);
		}
	}
}

/* An error: whatever the task does, it is not wanted. */
static void
give_up(Worker *worker, PathTask *task)
{
	PathWatch	watch = {0};

	path_cancel(task);
	while (!path_is_done(task) && !path_hangs(task, &watch))
		pg_usleep(GIVE_UP_STEP_US);
	leftover_add_task(worker, task);
}

bool
path_run(Worker *worker, PathTask **task, TargetError *error)
{
	PathTask   *it = *task;
	char		path[PATH_SIZE];

	if (it == NULL)
		return target_fail(error, JET_errOutOfMemory, "memory is out");
	strlcpy(path, it->path, sizeof(path));
	it->has_points = ese_test_points[0] != '\0';
	if (!path_start(it))
		return target_fail(error, JET_errOutOfMemory,
						   "could not start a thread: %s", strerror(errno));
	worker->task = it;
	PG_TRY();
	{
		wait_for_end(worker, task);
	}
	PG_CATCH();
	{
		worker->task = NULL;
		give_up(worker, it);
		PG_RE_THROW();
	}
	PG_END_TRY();
	worker->task = NULL;
	leftover_publish(worker);
	if (*task == NULL)
		return target_fail(error, JET_errBackupAbortByServer,
						   "stopped while a thread hangs in \"%s\"",
						   path);
	if (!it->good)
		*error = it->error;
	return it->good;
}
