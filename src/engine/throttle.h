/*-------------------------------------------------------------------------
 *
 * throttle.h
 *	  One limit on bytes per second for all threads together.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_THROTTLE_H
#define ESE_THROTTLE_H

#include <stdatomic.h>
#include <stdint.h>

typedef struct Throttle
{
	_Atomic uint64_t rate;		/* bytes per second; 0 for no limit */
	_Atomic uint64_t next;		/* when the next piece may start, in ns */
} Throttle;

extern uint64_t throttle_now(void);

/*
 * Reserve the time for so many bytes.  Returns the moment (in nanoseconds of
 * CLOCK_MONOTONIC) from which they may be moved; now or earlier means go on.
 */
extern uint64_t throttle_reserve(Throttle *throttle, uint64_t bytes);

#endif							/* ESE_THROTTLE_H */
