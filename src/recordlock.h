/*-------------------------------------------------------------------------
 *
 * recordlock.h
 *	  The lock of a file under ese/: writers take it, readers do not.
 *
 * A file is replaced by a rename, so whoever reads finds the old contents or
 * the new.  Writers exclude one another, for as long as the disk takes.  That
 * is no place for an LWLock, whose waiters cannot be cancelled.
 *
 * While the lock is held nothing may raise: no ereport(), no palloc() that
 * fails.  Interrupts are held off.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_RECORDLOCK_H
#define ESE_RECORDLOCK_H

#include "port/atomics.h"
#include "storage/condition_variable.h"

typedef struct RecordLock
{
	pg_atomic_uint32 holder;	/* its process ID; 0 for nobody */
	ConditionVariable released;
} RecordLock;

extern void recordlock_init(RecordLock *lock);

/*
 * Wait for the lock; a cancel or the end of the session ends the wait.  A
 * process that is on its way out waits for a second at most and never raises:
 * false when it had no luck.
 */
extern bool recordlock_acquire(RecordLock *lock);
extern void recordlock_release(RecordLock *lock);

#endif							/* ESE_RECORDLOCK_H */
