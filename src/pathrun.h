/*-------------------------------------------------------------------------
 *
 * pathrun.h
 *	  The worker does something to a path that may hang, and waits for it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_PATHRUN_H
#define ESE_PATHRUN_H

#include "backup.h"

/*
 * Without getting on for so long, a task hangs: then other calls are served,
 * and who waits for the end of a backup waits no longer.
 */
#define HANG_MS 300

/*
 * Run a task to its end.  False and *error when it has failed, or when the
 * wait was ended: by a stop of the open backup, or because the session whose
 * call is served has left.  A task that hangs then belongs to what is left of
 * the backup, and *task is NULL; otherwise it is the caller's.
 *
 * The open backup is a native one: other calls, which are served meanwhile,
 * are refused.
 */
extern bool path_run(Worker *worker, PathTask **task, TargetError *error);

/* Does a task get on?  Looked at every few milliseconds. */
typedef struct PathWatch
{
	uint64		steps;
	int64		since;			/* clock_us(): there were no more since then */
} PathWatch;

/*
 * Has a stop of the open backup, or the session that waits for the answer to
 * the call that is served, ended the wait?
 */
extern bool path_is_unwanted(Worker *worker);

/* Serve the test point at which a task waits; true when it is done. */
extern bool path_look(PathTask *task);

/* The same, after waiting a little. */
extern bool path_wait(PathTask *task);

/* Has it shown no sign of life for so long, or for HANG_MS? */
extern bool path_is_still(PathTask *task, PathWatch *watch, int ms);
extern bool path_hangs(PathTask *task, PathWatch *watch);

#endif							/* ESE_PATHRUN_H */
