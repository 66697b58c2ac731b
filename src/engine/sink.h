/*-------------------------------------------------------------------------
 *
 * sink.h
 *	  A file that is being written.
 *
 * What is written is handed to the disk a few megabytes at a time, so that
 * the sync at the end has little left to do.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_SINK_H
#define ESE_SINK_H

#include <stdint.h>

#include "job.h"

/* Where files are written; owned by the owner, who closes the directory. */
typedef struct EngTarget
{
	int			directory;		/* descriptor */
	unsigned	file_mode;
	const char *suffix;			/* of the names under which files are written;
								 * NULL for none */
	bool		read_soon;		/* keep what is written in the page cache */
} EngTarget;

typedef struct EngSink
{
	const EngTarget *target;
	int			fd;				/* -1: none is open */
	uint64_t	written;
	uint64_t	written_out;	/* of these, handed to the disk */
} EngSink;

/* Without a target (NULL) nothing is written. */
extern void sink_init(EngSink *sink, const EngTarget *target);

/* Owner, or the end of a job: close what an unfinished job left open. */
extern void sink_abandon(EngSink *sink);

/*
 * Make a new file, write to it, finish it.  JOB_PARK when that failed, or
 * when the job is unwanted.
 */
extern JobOutcome sink_open(EngJob *job, EngShared *shared, EngSink *sink,
							const char *name);
extern JobOutcome sink_write(EngJob *job, EngShared *shared, EngSink *sink,
							 const char *bytes, size_t length);
extern JobOutcome sink_close(EngJob *job, EngShared *shared, EngSink *sink);

#endif							/* ESE_SINK_H */
