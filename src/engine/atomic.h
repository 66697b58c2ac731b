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
 * All of this may hang: it belongs into a task (pathwork.h).
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_ATOMIC_H
#define ESE_ATOMIC_H

#include "target.h"

#define ATOMIC_TEMP	"temp"
#define ATOMIC_NEW	"new"
#define ATOMIC_OLD	"old"

/* P, which is locked. */
typedef struct Atomic
{
	char		path[PATH_SIZE];
	int			directory;		/* descriptor with the lock; -1: none */
	bool		made;			/* it was not there before */
} Atomic;

/* Put the directory in P that holds the newest complete backup in *found. */
extern bool atomic_find(const char *path, char *found);

/*
 * Lock P, which exists, until atomic_unlock().  False and *error when another
 * backup has it.
 */
extern bool atomic_lock(Atomic *atomic, const char *path, TargetError *error);

/* Does nothing when nothing is locked. */
extern void atomic_unlock(Atomic *atomic);

/*
 * Before a backup: make P and lock it, remove what was cut off, move the
 * former backup out of the way.  False and *error when P holds something else
 * under these names, or something fails.
 */
extern bool atomic_prepare(Atomic *atomic, const char *path,
						   TargetError *error);

/*
 * P/temp is complete, and on disk: it becomes P/new, unless nobody wants it
 * any more.
 */
extern bool atomic_publish(Atomic *atomic, TargetError *error);

/* Afterwards: P/old goes. */
extern bool atomic_remove_old(Atomic *atomic, TargetError *error);

#endif							/* ESE_ATOMIC_H */
