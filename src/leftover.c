/*-------------------------------------------------------------------------
 *
 * leftover.c
 *	  What is left of backups that have ended.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/memutils.h"

#include "clock.h"
#include "engine/jet.h"
#include "hanging.h"
#include "leftover.h"
#include "pathrun.h"
#include "testpoint.h"
#include "worker_internal.h"

/* On the way out nothing wakes us. */
#define EXIT_STEP_US 1000

/* What is not removed now stays, so a slow disk is given some time. */
#define EXIT_PATIENCE_MS 3000

/*
 * A disk that is only slow is not hanging: a backup waits so long for what the
 * one before has left in its place.
 */
#define PATIENCE_US INT64CONST(5000000)
#define PATIENCE_STEP_MS 10

struct Leftover
{
	Leftover   *next;
	int64		backup;
	char		path[MAXPGPATH];	/* where it hangs */
	PathTask   *stuck;			/* these end before the closing begins */
	Closing    *closing;		/* NULL: it is done */
	bool		started;
	int			fds;			/* that the closing closes */
	Engine	   *engine;			/* set aside; or NULL */
	NativeJob  *jobs;			/* of that */
	MemoryContext context;		/* or NULL */
};

void
leftover_add_task(Worker *worker, PathTask *task)
{
	task->next = worker->stuck;
	worker->stuck = task;
}

void
leftover_announce(Worker *worker)
{
	if (worker->backup->native != NATIVE_NONE &&
		eng_running(worker->engine) > 0)
		hanging_publish(worker->instance, worker->instance->backup.row.location);
}

/* Do all that may still touch what the closing closes have an end? */
static bool
may_start(const Leftover *leftover)
{
	const Closing *closing = leftover->closing;

	for (const PathTask *task = leftover->stuck; task != NULL; task = task->next)
	{
		if (!path_is_done(unconstify(PathTask *, task)))
			return false;
	}
	for (int i = 0; i < closing->job_count; i++)
	{
		if (closing->jobs[i].in_use && !eng_job_idle(closing->jobs[i].job))
			return false;
	}
	return true;
}

/* Begin the closing, if that can be done; true when it is under way. */
static bool
start(Leftover *leftover)
{
	Closing    *closing = leftover->closing;

	if (leftover->started || !may_start(leftover))
		return leftover->started;
	closing->undone = leftover->stuck;
	closing->task.has_points = ese_test_points[0] != '\0';
	leftover->started = path_start(&closing->task);
	/* without a thread it is tried again */
	if (leftover->started)
		leftover->stuck = NULL;
	else
		closing->undone = NULL;
	return leftover->started;
}

/* Wait for the closing as long as it gets on; true when it is done. */
static bool
wait_for(Leftover *leftover)
{
	PathWatch	watch = {0};

	if (!start(leftover))
		return false;
	while (!path_wait(&leftover->closing->task))
	{
		CHECK_FOR_INTERRUPTS();
		if (path_hangs(&leftover->closing->task, &watch))
			return false;
	}
	return true;
}

/* The closing is done. */
static void
end_closing(Leftover *leftover)
{
	Closing    *closing = leftover->closing;

	if (!closing->task.good)
		ereport(LOG,
				(errmsg("what backup %lld has left in \"%s\" could not be removed",
						(long long) leftover->backup, leftover->path),
				 errdetail("%c%s.",
						   pg_toupper((unsigned char) closing->task.error.text[0]),
						   closing->task.error.text +1)));
	for (int i = 0; i < leftover->fds; i++)
		ReleaseExternalFD();
	closing_free(closing);
	leftover->closing = NULL;
}

/* The threads that hang keep their engine; others get a new one. */
static void
set_aside(Worker *worker, Leftover *leftover, bool has_jobs)
{
	leftover->next = worker->leftovers;
	worker->leftovers = leftover;
	hanging_publish(worker->instance, leftover->path);
	ereport(LOG,
			(errmsg("a thread of backup %lld of instance \"%s\" hangs in \"%s\"",
					(long long) leftover->backup, worker->instance->name,
					leftover->path),
			 errdetail("What is left there is removed when it returns.")));
	if (!has_jobs)
		return;
	leftover->engine = worker->engine;
	leftover->jobs = worker->native_jobs;
	worker_open_engine(worker);
}

static bool
has_jobs_in_use(const Closing *closing)
{
	for (int i = 0; i < closing->job_count; i++)
	{
		if (closing->jobs[i].in_use)
			return true;
	}
	return false;
}

void
leftover_close(Worker *worker, Closing *closing)
{
	bool		has_jobs = has_jobs_in_use(closing);
	Leftover   *leftover;

	if (!closing_is_needed(closing) && worker->stuck == NULL)
	{
		closing_free(closing);
		return;
	}
	leftover = MemoryContextAllocZero(TopMemoryContext, sizeof(Leftover));
	leftover->backup = worker->backup->id;
	strlcpy(leftover->path, closing->task.path, sizeof(leftover->path));
	leftover->closing = closing;
	leftover->fds = closing_count_fds(closing);
	leftover->stuck = worker->stuck;
	worker->stuck = NULL;
	if (wait_for(leftover))
	{
		end_closing(leftover);
		pfree(leftover);
	}
	else
		set_aside(worker, leftover, has_jobs);
}

bool
leftover_keep_context(Worker *worker, int64 backup, MemoryContext context)
{
	for (Leftover *leftover = worker->leftovers; leftover != NULL;
		 leftover = leftover->next)
	{
		if (leftover->backup == backup && leftover->context == NULL)
		{
			leftover->context = context;
			return true;
		}
	}
	return false;
}

void
leftover_publish(Worker *worker)
{
	hanging_publish(worker->instance, worker->stuck != NULL ?
					worker->stuck->path : worker->leftovers != NULL ?
					worker->leftovers->path : "");
}

/* Go on with one; true when nothing of it is left. */
static bool
pump_one(Worker *worker, Leftover *leftover)
{
	if (leftover->engine != NULL)
		eng_set_hold(leftover->engine, testpoint_is_set("engine.read", "hold"));
	if (leftover->closing != NULL)
	{
		if (!start(leftover) || !path_look(&leftover->closing->task))
			return false;
		end_closing(leftover);
	}
	/* its flusher may hang on */
	if (leftover->engine != NULL &&
		(worker_has_files_of(worker, leftover->engine) ||
		 eng_running(leftover->engine) > 0 || !eng_close(leftover->engine, 0)))
		return false;
	if (leftover->jobs != NULL)
		pfree(leftover->jobs);
	if (leftover->context != NULL)
		MemoryContextDelete(leftover->context);
	ereport(LOG,
			(errmsg("nothing of backup %lld of instance \"%s\" hangs in \"%s\" any more",
					(long long) leftover->backup, worker->instance->name,
					leftover->path)));
	return true;
}

void
leftover_pump(Worker *worker)
{
	Leftover  **link = &worker->leftovers;

	if (worker->leftovers == NULL)
		return;
	while (*link != NULL)
	{
		Leftover   *leftover = *link;

		if (!pump_one(worker, leftover))
		{
			link = &leftover->next;
			continue;
		}
		*link = leftover->next;
		pfree(leftover);
	}
	leftover_publish(worker);
}

/* Is one the other, or a directory above it? */
static bool
is_above(const char *above, const char *path)
{
	size_t		length = strlen(above);

	return strncmp(above, path, length) == 0 &&
		(path[length] == '\0' || path[length] == '/' || above[length - 1] == '/');
}

static const Leftover *
find_in_the_way(const Worker *worker, const char *path)
{
	for (const Leftover *leftover = worker->leftovers; leftover != NULL;
		 leftover = leftover->next)
	{
		if (is_above(leftover->path, path) || is_above(path, leftover->path))
			return leftover;
	}
	return NULL;
}

/* Sleep a little, and go on with what there is to do. */
static void
wait_for_others(Worker *worker)
{
	CHECK_FOR_INTERRUPTS();
	(void) WaitLatch(MyLatch,
					 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 PATIENCE_STEP_MS, compat_wait_event("EseWorkerPath"));
	ResetLatch(MyLatch);
	worker_serve_meanwhile(worker);
	leftover_pump(worker);
}

bool
leftover_check_path(Worker *worker, const char *path, TargetError *error)
{
	int64		until = clock_us() + PATIENCE_US;
	const Leftover *leftover;

	while ((leftover = find_in_the_way(worker, path)) != NULL &&
		   !path_is_unwanted(worker) && clock_us() < until)
		wait_for_others(worker);
	if (leftover == NULL)
		return true;
	return target_fail(error, JET_errFileAccessDenied,
					   "a thread of backup %lld hangs in \"%s\"",
					   (long long) leftover->backup, leftover->path);
}

void
leftover_say(Worker *worker, Answer *answer)
{
	Leftover   *leftover = worker->leftovers;

	if (leftover != NULL)
		answer_warning(answer, 0,
					   "a thread of backup %lld hangs in \"%s\"",
					   (long long) leftover->backup, leftover->path);
}

void
leftover_close_at_exit(Closing *closing)
{
	PathWatch	watch = {0};

	if (!closing_is_needed(closing) || !path_start(&closing->task))
		return;
	while (!path_is_done(&closing->task) &&
		   !path_is_still(&closing->task, &watch, EXIT_PATIENCE_MS))
		pg_usleep(EXIT_STEP_US);
}
