/*-------------------------------------------------------------------------
 *
 * bell.h
 *	  Waiting for a moment, across processes: a futex in shared memory.
 *
 * Who waits reads the bell's count, looks whether there is anything to wait
 * for, and sleeps only as long as the count is still that.  A sleep is short
 * and may end without a reason: it saves the detour over the owner, and is
 * nothing to rely on.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_BELL_H
#define ESE_BELL_H

#include <linux/futex.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

typedef _Atomic uint32_t Bell;

static inline void
bell_ring(Bell *bell)
{
	atomic_fetch_add(bell, 1);
	(void) syscall(SYS_futex, bell, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static inline void
bell_wait(Bell *bell, uint32_t count, long nanoseconds)
{
	struct timespec timeout = {.tv_nsec = nanoseconds};

	(void) syscall(SYS_futex, bell, FUTEX_WAIT, count, &timeout, NULL, 0);
}

#endif							/* ESE_BELL_H */
