/*-------------------------------------------------------------------------
 *
 * leftover.h
 *	  What is left of backups that have ended: files to be closed, directories
 *	  to be removed, threads that hang.
 *
 * The worker waits for it as long as something gets on.  What hangs is set
 * aside: with the threads, whose place others take, and with everything that
 * they may look at.  When a thread that hung returns, it does nothing more;
 * when all have, what the backup has left on disk is removed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_LEFTOVER_H
#define ESE_LEFTOVER_H

#include "backup.h"
#include "engine/closing.h"

typedef struct Leftover Leftover;

/* A task of the open backup hangs. */
extern void leftover_add_task(Worker *worker, PathTask *task);

/*
 * The open backup is over, and this is left to do for it.  Returns when that
 * is done, or hangs.  The closing is not the caller's any more.
 */
extern void leftover_close(Worker *worker, Closing *closing);

/* The open backup is stopped: say so, if a thread hangs. */
extern void leftover_announce(Worker *worker);

/* Memory that what hangs may look at: true when it was taken over. */
extern bool leftover_keep_context(Worker *worker, int64 backup,
								  MemoryContext context);

/* Say where something hangs, or that nothing does. */
extern void leftover_publish(Worker *worker);

/* Go on with what has hung; in the main loop. */
extern void leftover_pump(Worker *worker);

/*
 * Does something hang where this path leads?  It may be slow only: some seconds
 * are given to it.  False and *error if it hangs on, or the wait was ended.
 */
extern bool leftover_check_path(Worker *worker, const char *path,
								TargetError *error);

/* Warn in an answer that something hangs. */
extern void leftover_say(Worker *worker, Answer *answer);

/*
 * On the way out: the same as leftover_close(), but nothing is set aside, and
 * nothing is raised.
 */
extern void leftover_close_at_exit(Closing *closing);

#endif							/* ESE_LEFTOVER_H */
