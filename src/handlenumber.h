/*-------------------------------------------------------------------------
 *
 * handlenumber.h
 *	  Numbers of handles, none of which comes again.
 *
 * A client that was away for long must not read somebody else's file with the
 * number of a handle it had once: not after the worker, the server or the
 * machine has been started again, and not when many files were opened since.
 * So numbers only grow, up to the largest integer, which is two thousand
 * million opens away.  How far they have come is on disk: a worker takes them
 * in blocks, and a block is written down before its first number is used.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_HANDLENUMBER_H
#define ESE_HANDLENUMBER_H

/*
 * Worker, without a lock: have numbers for one handle more, whichever place
 * of memory is free for it.
 */
extern void handlenumber_reserve(void);

/* The number that is used next, unless its place is not free. */
extern uint32 handlenumber_next(void);

/* Neither this number nor one below it is used any more. */
extern void handlenumber_use(uint32 number);

#endif							/* ESE_HANDLENUMBER_H */
