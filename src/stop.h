/*-------------------------------------------------------------------------
 *
 * stop.h
 *	  Stopping a backup: the one door to the stopped state.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_STOP_H
#define ESE_STOP_H

#include "shared.h"

/*
 * Put the open backup into the stopped state: from now on calls that read
 * fail with stop_error.  Returns false when no backup is open (or not this
 * one; 0 for any).  A second stop changes nothing and returns true.  Called
 * by sessions and by the worker.
 */
extern bool stop_request(EseInstance *instance, int64 backup,
						 StopCause cause, int stop_error, const char *by,
						 const char *reason, int64 *stopped_backup);

/* Which backup was stopped, by whom, when and why: a sentence. */
extern void stop_describe(EseInstance *instance, char *to, size_t size);

/*
 * Is the open backup stopped?  For loops of the worker that take long: they
 * end at once then.
 */
extern bool stop_is_requested(EseInstance *instance);

/*
 * Now, as the receipt of a stop shows it: the time of the request and what
 * has passed since, by a clock that nobody sets.  The lock is held.
 */
extern TimestampTz stop_clock(const BackupStatus *status);

/*
 * Did a stop, or the end of the backup, come since the word was read?  Then
 * raise what calls get.  "before" is the stop word at the call's entry.
 */
extern void stop_check(EseInstance *instance, uint64 before);

/* J0520 for a backup id that is not the open backup's: says how it ended. */
extern void stop_refuse_other_backup(EseInstance *instance, int64 backup)
			pg_attribute_noreturn();

#endif							/* ESE_STOP_H */
