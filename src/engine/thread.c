/*-------------------------------------------------------------------------
 *
 * thread.c
 *	  What the engine's threads have in common.
 *
 *-------------------------------------------------------------------------
 */
#include "thread.h"

#include <signal.h>

#define NS_PER_SECOND	UINT64_C(1000000000)

/* Threads need little: their buffers are the frames. */
#define STACK_SIZE (256 * 1024)

int
thread_start(pthread_t *thread, void *(*main) (void *arg), void *arg)
{
	pthread_attr_t attr;
	sigset_t	all;
	sigset_t	before;
	int			failure;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	failure = pthread_create(thread, &attr, main, arg);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return failure;
}

void
thread_init_condition(pthread_cond_t *condition)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(condition, &attr);
	pthread_condattr_destroy(&attr);
}

struct timespec
thread_timespec(uint64_t ns)
{
	struct timespec time;

	time.tv_sec = (time_t) (ns / NS_PER_SECOND);
	time.tv_nsec = (long) (ns % NS_PER_SECOND);
	return time;
}
