/*-------------------------------------------------------------------------
 *
 * throttle.c
 *	  A rate limit kept as the time at which the next byte may move.
 *
 *-------------------------------------------------------------------------
 */
#include "throttle.h"

#include <time.h>

#define NS_PER_SECOND UINT64_C(1000000000)

uint64_t
throttle_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t) now.tv_sec * NS_PER_SECOND + (uint64_t) now.tv_nsec;
}

uint64_t
throttle_reserve(Throttle *throttle, uint64_t bytes)
{
	uint64_t	rate = atomic_load(&throttle->rate);
	uint64_t	next = atomic_load(&throttle->next);
	uint64_t	start;
	uint64_t	cost;

	if (rate == 0)
		return 0;

	/* a piece is at most 256 KiB, so the product stays far below 2^64 */
	cost = bytes * NS_PER_SECOND / rate;
	do
	{
		uint64_t	now = throttle_now();

		/* time in which nothing was read is not saved up */
		start = next > now ? next : now;
	} while (!atomic_compare_exchange_weak(&throttle->next, &next,
										   start + cost));
	return start;
}
