/*-------------------------------------------------------------------------
 *
 * closing.h
 *	  What is left to do when a job that wrote to a directory has ended: close
 *	  its files, remove what it made.
 *
 * All of it may hang, so it is a task (pathwork.h).  It begins when all
 * threads that worked there have returned: nothing appears behind it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_CLOSING_H
#define ESE_CLOSING_H

#include "atomic.h"
#include "extract.h"
#include "pathwork.h"
#include "stream.h"
#include "target.h"
#include "writer.h"

/* Descriptors of a job: its directory, what it reads, what it writes. */
#define JOB_FDS 3

/* The owner's side of a job that writes. */
typedef struct NativeJob
{
	bool		in_use;
	EngJob	   *job;
	EngRing		ring;			/* without frames: how the job stands */
	EngTarget	target;			/* its own descriptor of the directory */
	EngStream  *stream;			/* an archive, or NULL */
	EngWriter  *writer;			/* a directory, or NULL */
	EngExtract *extract;		/* an archive that is read, or NULL; all NULL:
								 * the sync */
} NativeJob;

/* A directory beside the target. */
typedef struct ClosingPlace
{
	char		path[PATH_SIZE];
	int			directory;		/* descriptor */
	bool		made;			/* it was not there before */
} ClosingPlace;

typedef struct Closing
{
	PathTask	task;
	NativeJob  *jobs;			/* those in use have parked */
	int			job_count;
	ClosingPlace *places;		/* what lies there goes; malloc'd */
	int			place_count;
	Target		target;			/* goes, if it is in use */
	Atomic		atomic;			/* is unlocked */
	bool		remove_old;		/* the former backup goes */
	int			source;			/* a descriptor, or -1 */
	PathTask   *undone;			/* these are undone first, and freed */
} Closing;

/* A closing of nothing; NULL when memory is out. */
extern Closing *closing_new(void);
extern void closing_free(Closing *closing);

/* Is there anything to do? */
extern bool closing_is_needed(const Closing *closing);

/* Undo tasks that are done, and free them. */
extern void closing_undo(PathTask *tasks);

/* How many descriptors will be closed. */
extern int	closing_count_fds(const Closing *closing);

/* Close what a job that has parked holds. */
extern void closing_close_job(NativeJob *place);

#endif							/* ESE_CLOSING_H */
