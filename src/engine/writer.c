/*-------------------------------------------------------------------------
 *
 * writer.c
 *	  Copying files into a directory, and making them durable.
 *
 *-------------------------------------------------------------------------
 */
#include "writer.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "jet.h"

/* Files that one step finishes: a stop waits for them at most. */
#define FILES_A_STEP 16

EngWriter *
eng_writer_new(EngQueue *queue, VerifyMode verify, const EngTarget *target)
{
	EngWriter  *writer = calloc(1, sizeof(EngWriter));

	if (writer == NULL)
		return NULL;
	intake_init(&writer->intake, queue, verify);
	sink_init(&writer->sink, target);
	writer->piece = malloc(ENG_FRAME_SIZE);
	if (writer->piece != NULL)
		return writer;
	eng_writer_free(writer);
	return NULL;
}

void
eng_writer_free(EngWriter *writer)
{
	intake_free(&writer->intake);
	sink_abandon(&writer->sink);
	free(writer->piece);
	free(writer);
}

/* Read the next piece of the open file, and write it. */
static JobOutcome
copy_piece(EngJob *job, EngShared *shared, EngWriter *writer)
{
	uint32_t	length;
	JobOutcome	outcome = intake_read(job, shared, &writer->intake,
									  writer->piece, ENG_FRAME_SIZE, &length);

	if (outcome != JOB_MORE)
		return outcome;
	return sink_write(job, shared, &writer->sink, writer->piece, length);
}

static JobOutcome
finish_file(EngJob *job, EngShared *shared, EngWriter *writer)
{
	JobOutcome	outcome = sink_close(job, shared, &writer->sink);

	if (outcome != JOB_MORE)
		return outcome;
	outcome = intake_finish(job, &writer->intake);
	intake_set_end(&writer->intake, writer->intake.member_count, 0);
	return outcome;
}

/* At most a piece of a large file, or a few small files. */
static JobOutcome
writer_step(EngJob *job, EngShared *shared)
{
	EngWriter  *writer = job->task;
	EngIntake  *intake = &writer->intake;
	JobOutcome	outcome = JOB_MORE;

	for (int files = 0; files < FILES_A_STEP && outcome == JOB_MORE;)
	{
		if (job_is_unwanted(job, shared))
			return JOB_PARK;
		if (intake->entry != NULL && intake_has_more(intake))
		{
			outcome = copy_piece(job, shared, writer);
			/* an unwanted job must not look at its entry any more */
			if (outcome != JOB_MORE || intake_has_more(intake))
				return outcome;
		}
		else if (intake->entry != NULL)
		{
			outcome = finish_file(job, shared, writer);
			files++;
		}
		else
		{
			switch (intake_next(job, shared, intake))
			{
				case INTAKE_FILE:
					outcome = sink_open(job, shared, &writer->sink,
										intake->entry->name);
					break;
				case INTAKE_SKIPPED:
					intake_set_end(intake, intake->member_count, 0);
					files++;
					break;
				case INTAKE_EMPTY:
					return job_finish(job);
				case INTAKE_UNWANTED:
				case INTAKE_FAILED:
					return JOB_PARK;
			}
		}
	}
	return outcome;
}

bool
eng_job_open_writer(EngJob *job, EngRing *ring, EngWriter *writer)
{
	return job_open_task(job, ring, writer_step, writer);
}

/*
 * One call for all files and directories.  It also reports what went wrong
 * with writing them out since the target's directory was opened.
 */
static JobOutcome
sync_step(EngJob *job, EngShared *shared)
{
	const EngTarget *target = job->task;
	Flusher    *flusher = eng_flusher(job->engine);
	int			error;

	/* the end of a flush starts us again: its error must not be missed */
	if (job_is_unwanted(job, shared) || flusher_is_busy(flusher))
		return JOB_PARK;
	error = flusher_error(flusher);
	if (error == 0 && syncfs(target->directory) != 0)
		error = errno;
	if (error != 0)
		return job_fail_write(job, error == ENOSPC || error == EDQUOT ?
							  JET_errDiskFull : JET_errDiskIO, error, 0);
	return job_finish(job);
}

bool
eng_job_open_sync(EngJob *job, EngRing *ring, const EngTarget *target)
{
	return job_open_task(job, ring, sync_step, (void *) target);
}
