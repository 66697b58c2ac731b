/*-------------------------------------------------------------------------
 *
 * destination.h
 *	  Finding, or making, the directory that a backup is written to; and what
 *	  makes it a backup in the end.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_DESTINATION_H
#define ESE_DESTINATION_H

#include "atomic.h"
#include "publishing.h"
#include "target.h"

/* A task: what is given, and what comes out of it. */
typedef struct Destination
{
	PathTask	task;

	/* given */
	char		path[PATH_SIZE];	/* as the caller has it */
	bool		incremental;
	bool		atomic_kind;
	bool		tar;			/* of a full one */
	char		instance_name[64];
	char		chain_location[PATH_SIZE];
	long long	elsewhere_id;	/* a backup whose logs lie elsewhere, or 0 */

	/* result; after a failure nothing stays */
	Target		target;
	Atomic		atomic;
} Destination;

/* NULL when memory is out. */
extern Destination *destination_new(const char *path);

/* A task: make the directories of a full backup. */
typedef struct MakingDirectories
{
	PathTask	task;
	Target		target;			/* a copy; it stays open */
	const FileEntry *entries;
	int			count;
} MakingDirectories;

extern MakingDirectories *making_directories_new(const Target *target,
												 const FileEntry *entries,
												 int count);

/* A task: read the index of a directory that holds a backup. */
typedef struct IndexReading
{
	PathTask	task;
	int			directory;
	bool		tar;
	BackupIndex *index;			/* malloc'd; who takes it leaves NULL */
} IndexReading;

extern IndexReading *index_reading_new(const Target *target);

/* A task: everything is on disk, now it becomes a backup. */
typedef struct Completion
{
	PathTask	task;
	Target		target;			/* copies; they stay open */
	Atomic		atomic;
	const FileEntry *last;		/* of a full one; or NULL */
	bool		sync_above;		/* that it is there becomes durable too */
	BackupIndex *index;			/* of a full one: to be written, malloc'd; or
								 * NULL */
	Publishing *publishing;		/* of an incremental one; or NULL: */
	const FileEntry *logs;		/* of an incremental one without an index */
	int			log_count;
	char		archive[64];	/* or empty */
} Completion;

extern Completion *completion_new(const Target *target,
								  const Atomic *atomic);

#endif							/* ESE_DESTINATION_H */
