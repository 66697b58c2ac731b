/*-------------------------------------------------------------------------
 *
 * thread.h
 *	  What the engine's threads have in common.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_THREAD_H
#define ESE_THREAD_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

/* Start a thread with all signals blocked; returns 0 or an errno. */
extern int	thread_start(pthread_t *thread, void *(*main) (void *arg),
						 void *arg);

/* A condition whose timed waits go by CLOCK_MONOTONIC. */
extern void thread_init_condition(pthread_cond_t *condition);

/* A moment of CLOCK_MONOTONIC in nanoseconds, as timed waits want it. */
extern struct timespec thread_timespec(uint64_t ns);

#endif							/* ESE_THREAD_H */
