/*-------------------------------------------------------------------------
 *
 * atomic.h
 *	  The directories of backups with JET_bitBackupAtomic.
 *
 * ESE's protocol (JetBackupInstance): in the directory P a new backup is
 * written to P/temp.  When it begins, the former one goes from P/new to
 * P/old; when the new one is complete, it goes to P/new, and P/old is
 * removed.  So at every moment there is a complete backup, if there was one:
 * P/new, or else P/old.
 *
 * While a backup is written, P is locked: two instances with the same P would
 * remove each other's files.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_ATOMIC_H
#define ESE_ATOMIC_H

#include "target.h"

#define ATOMIC_TEMP	"temp"
#define ATOMIC_NEW	"new"
#define ATOMIC_OLD	"old"

/* P/<name>; palloc'd */
extern char *atomic_place(const char *path, const char *name);

/* The directory in P that holds the newest complete backup, or NULL. */
extern char *atomic_find(const char *path);

/*
 * Lock P, which exists, until atomic_unlock() or the worker's death.  False
 * and *error when another backup has it.
 */
extern bool atomic_lock(const char *path, TargetError *error);

/* Does nothing when nothing is locked. */
extern void atomic_unlock(void);

/*
 * Before a backup: make P (*made) and lock it, remove what was cut off, move
 * the former backup out of the way.  False and *error when P holds something
 * else under these names, or something fails.
 */
extern bool atomic_prepare(const char *path, bool *made,
						   TargetError *error);

/* P/temp is complete, and on disk: it becomes P/new. */
extern bool atomic_publish(const char *path, TargetError *error);

/* Afterwards: P/old goes. */
extern void atomic_remove_old(const char *path);

#endif							/* ESE_ATOMIC_H */
