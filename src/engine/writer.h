/*-------------------------------------------------------------------------
 *
 * writer.h
 *	  Writers: jobs that copy files from a common queue into a directory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_WRITER_H
#define ESE_WRITER_H

#include "intake.h"
#include "sink.h"

typedef struct EngWriter
{
	EngIntake	intake;
	EngSink		sink;
	char	   *piece;			/* ENG_FRAME_SIZE */
} EngWriter;

/*
 * The queue holds no directories: the owner has made them.  NULL when memory
 * is out.
 */
extern EngWriter *eng_writer_new(EngQueue *queue, VerifyMode verify,
								 const EngTarget *target);
extern void eng_writer_free(EngWriter *writer);

/*
 * Bind a job to it.  The ring carries no frames: its state, error and
 * 'finished' tell how the job stands.
 */
extern bool eng_job_open_writer(EngJob *job, EngRing *ring,
								EngWriter *writer);

/*
 * Bind a job to making everything durable that the target's disk holds.  It
 * parks while a flush is under way, whose end notifies the owner, who starts
 * it again.
 */
extern bool eng_job_open_sync(EngJob *job, EngRing *ring,
							  const EngTarget *target);

#endif							/* ESE_WRITER_H */
