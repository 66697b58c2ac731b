/*-------------------------------------------------------------------------
 *
 * aside.h
 *	  Waiting for a disk without being deaf.
 *
 * A worker writes records while its threads read for a backup.  A stop that
 * comes meanwhile is met at once, however long the disk takes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_ASIDE_H
#define ESE_ASIDE_H

/*
 * What this process looks after while it waits; NULL for nothing.  It raises
 * nothing, and takes no record lock.
 */
extern void aside_set_watch(void (*watch) (void));

/* Does this process look after something? */
extern bool aside_watches(void);

/* Look after it now. */
extern void aside_look(void);

/* How often to look, while waiting for something else. */
#define ASIDE_LOOK_MS	5

/*
 * Do the work, in a thread when there is something to be looked after
 * meanwhile.  It calls nothing of PostgreSQL's that a thread must not call.
 */
extern void aside_run(void (*work) (void *arg), void *arg);

#endif							/* ESE_ASIDE_H */
