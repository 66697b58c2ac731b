/*-------------------------------------------------------------------------
 *
 * pathwork.c
 *	  Work on paths that may hang: one thread a task.
 *
 *-------------------------------------------------------------------------
 */
#include "pathwork.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "thread.h"

/* How often a task at a point looks whether it may go on. */
#define POINT_NS 1000000

static int	event_fd = -1;

/* The task that this thread runs. */
static _Thread_local PathTask *current;

int
path_event_fd(void)
{
	if (event_fd < 0)
		event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return event_fd;
}

void
path_drain(void)
{
	uint64_t	count;

	(void) !read(event_fd, &count, sizeof(count));
}

static void
notify(void)
{
	const uint64_t one = 1;

	(void) !write(event_fd, &one, sizeof(one));
}

static void *
task_main(void *arg)
{
	PathTask   *task = arg;

	current = task;
	task->good = task->run(task, &task->error);
	/* from here on it may be freed */
	atomic_store(&task->done, true);
	notify();
	return NULL;
}

bool
path_start(PathTask *task)
{
	if (path_event_fd() < 0)
		return false;
	errno = thread_start(&task->thread, task_main, task);
	if (errno != 0)
		return false;
	(void) pthread_detach(task->thread);
	return true;
}

bool
path_is_done(PathTask *task)
{
	return atomic_load(&task->done);
}

void
path_free(PathTask *task)
{
	if (task != NULL && task->release != NULL)
		task->release(task);
	free(task);
}

void
path_cancel(PathTask *task)
{
	atomic_store(&task->cancelled, true);
}

uint64_t
path_steps(PathTask *task)
{
	return atomic_load(&task->steps);
}

const char *
path_waits_at(PathTask *task)
{
	return atomic_load(&task->point);
}

void
path_go_on(PathTask *task)
{
	atomic_store(&task->point, NULL);
}

bool
path_cancelled(void)
{
	return current != NULL && atomic_load(&current->cancelled);
}

bool
path_step(void)
{
	if (current != NULL)
		atomic_fetch_add(&current->steps, 1);
	return !path_cancelled();
}

void
path_point(const char *name)
{
	const struct timespec nap = {.tv_nsec = POINT_NS};

	if (current == NULL || !current->has_points)
		return;
	atomic_store(&current->point, name);
	notify();
	while (atomic_load(&current->point) != NULL && !path_cancelled())
		nanosleep(&nap, NULL);
}
