/*-------------------------------------------------------------------------
 *
 * walk.h
 *	  A task that lists what lies in a directory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_WALK_H
#define ESE_WALK_H

#include <stddef.h>
#include <sys/types.h>

#include "pathwork.h"

typedef struct WalkEntry
{
	char	   *name;			/* from the top on */
	int64_t		size;
	mode_t		mode;			/* of a link: its own */
	char	   *head;			/* of a file: its first bytes, or NULL */
} WalkEntry;

typedef struct Walk
{
	PathTask	task;

	/* given */
	int			directory;		/* stays open */
	const char *below;			/* the directory in it that is listed, or "" */
	bool		deep;			/* also what lies in directories */
	size_t		head_length;	/* so much of each file is read, or 0 */

	uint32_t	depth;			/* where it is now */

	/* result; malloc'd */
	WalkEntry  *entries;
	uint32_t	count;
	uint32_t	room;
} Walk;

/* A walk through an open directory; NULL when memory is out. */
extern Walk *walk_new(int directory, const char *path, const char *below);

#endif							/* ESE_WALK_H */
