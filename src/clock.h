/*-------------------------------------------------------------------------
 *
 * clock.h
 *	  How long something has lasted.
 *
 * The wall clock is set, and jumps; it is only to be shown.  CLOCK_MONOTONIC
 * does neither, and stands still while the machine is suspended: whoever slept
 * with it has not been idle.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_CLOCK_H
#define ESE_CLOCK_H

#include <time.h>

/* Microseconds since some moment of this boot. */
static inline int64
clock_us(void)
{
	struct timespec now;

	(void) clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

#endif							/* ESE_CLOCK_H */
