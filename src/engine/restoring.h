/*-------------------------------------------------------------------------
 *
 * restoring.h
 *	  Tasks on the directories that a restore or a verification writes to.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_RESTORING_H
#define ESE_RESTORING_H

#include "closing.h"

/* Make the destination. */
typedef struct RestoreTarget
{
	PathTask	task;

	/* given */
	const char *what;			/* "restore" */
	bool		scratch;		/* one that was cut off goes */
	char		source[PATH_SIZE];	/* it must not lie in this */
	char		instance_name[64];

	/* result */
	Target		target;
} RestoreTarget;

extern RestoreTarget *restore_target_new(const char *path);

/* Make a place for a tablespace, and the link to it. */
typedef struct RestoreSpace
{
	PathTask	task;

	/* given */
	Target		target;			/* a copy; it stays open */
	char		source[PATH_SIZE];
	char		oid[16];

	/* result */
	ClosingPlace place;
} RestoreSpace;

extern RestoreSpace *restore_space_new(const Target *target, const char *path,
									   const char *oid);

/* All files are there: it gets its pg_control, and can be recovered. */
typedef struct RestoreCompletion
{
	PathTask	task;
	Target		target;			/* a copy; it stays open */
	char	   *control;		/* malloc'd; NULL: it is there under a suffix */
	size_t		control_length;
	char	  **unwanted;		/* names of files that go; malloc'd */
	uint32_t	unwanted_count;
} RestoreCompletion;

extern RestoreCompletion *restore_completion_new(const Target *target);

/* Note a file that goes; false when memory is out. */
extern bool restore_completion_drop(RestoreCompletion *completion,
									const char *name);

#endif							/* ESE_RESTORING_H */
