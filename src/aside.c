/*-------------------------------------------------------------------------
 *
 * aside.c
 *	  Waiting for a disk without being deaf.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "storage/ipc.h"

#include "aside.h"
#include "clock.h"
#include "engine/thread.h"

typedef struct Task
{
	void		(*work) (void *arg);
	void	   *arg;
	pthread_mutex_t mutex;
	pthread_cond_t ended;
	bool		done;
} Task;

static void (*watch) (void);

void
aside_set_watch(void (*new_watch) (void))
{
	watch = new_watch;
}

bool
aside_watches(void)
{
	return watch != NULL && !proc_exit_inprogress;
}

void
aside_look(void)
{
	if (aside_watches())
		watch();
}

static void *
task_main(void *arg)
{
	Task	   *task = arg;

	task->work(task->arg);
	pthread_mutex_lock(&task->mutex);
	task->done = true;
	pthread_cond_signal(&task->ended);
	pthread_mutex_unlock(&task->mutex);
	return NULL;
}

/* Wait for its end, or for the next look; the mutex is held. */
static void
wait_a_little(Task *task)
{
	uint64_t	until = ((uint64_t) clock_us() + ASIDE_LOOK_MS * 1000) * 1000;
	struct timespec moment = thread_timespec(until);

	pthread_cond_timedwait(&task->ended, &task->mutex, &moment);
}

static void
look_after(Task *task)
{
	pthread_mutex_lock(&task->mutex);
	while (!task->done)
	{
		wait_a_little(task);
		pthread_mutex_unlock(&task->mutex);
		aside_look();
		pthread_mutex_lock(&task->mutex);
	}
	pthread_mutex_unlock(&task->mutex);
}

void
aside_run(void (*work) (void *arg), void *arg)
{
	Task		task = {.work = work,.arg = arg};
	pthread_t	thread;

	pthread_mutex_init(&task.mutex, NULL);
	thread_init_condition(&task.ended);
	if (aside_watches() && thread_start(&thread, task_main, &task) == 0)
	{
		look_after(&task);
		pthread_join(thread, NULL);
	}
	else
		work(arg);
	pthread_cond_destroy(&task.ended);
	pthread_mutex_destroy(&task.mutex);
}
