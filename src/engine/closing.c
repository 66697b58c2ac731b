/*-------------------------------------------------------------------------
 *
 * closing.c
 *	  What is left to do when a job that wrote to a directory has ended.
 *
 *-------------------------------------------------------------------------
 */
#include "closing.h"

#include <stdlib.h>
#include <unistd.h>

#include "removal.h"

void
closing_close_job(NativeJob *place)
{
	eng_job_close(place->job);
	if (place->stream != NULL)
		eng_stream_free(place->stream);
	if (place->writer != NULL)
		eng_writer_free(place->writer);
	if (place->extract != NULL)
		eng_extract_free(place->extract);
	close(place->target.directory);
	place->stream = NULL;
	place->writer = NULL;
	place->extract = NULL;
	place->in_use = false;
}

void
closing_undo(PathTask *tasks)
{
	while (tasks != NULL)
	{
		PathTask   *next = tasks->next;

		if (tasks->good && tasks->undo != NULL)
			tasks->undo(tasks);
		path_free(tasks);
		tasks = next;
		(void) path_step();
	}
}

static void
close_jobs(Closing *closing)
{
	for (int i = 0; i < closing->job_count; i++)
	{
		if (closing->jobs[i].in_use)
			closing_close_job(&closing->jobs[i]);
		(void) path_step();
	}
}

/* The first error is kept. */
static bool
remove_places(Closing *closing, TargetError *error)
{
	bool		good = true;

	for (int i = 0; i < closing->place_count; i++)
	{
		ClosingPlace *place = &closing->places[i];
		TargetError further;
		TargetError *its = good ? error : &further;

		if (!removal_empty(place->directory, place->path, NULL, its) ||
			(place->made &&
			 !removal_of_directory(place->directory, place->path, its)))
			good = false;
		close(place->directory);
	}
	return good;
}

static bool
run_closing(PathTask *task, TargetError *error)
{
	Closing    *closing = (Closing *) task;
	TargetError further;
	bool		good;

	closing_undo(closing->undone);
	closing->undone = NULL;
	close_jobs(closing);
	good = remove_places(closing, error);
	good = target_remove(&closing->target, good ? error : &further) && good;
	if (closing->remove_old)
		good = atomic_remove_old(&closing->atomic, good ? error : &further) && good;
	atomic_unlock(&closing->atomic);
	if (closing->source >= 0)
		close(closing->source);
	return good;
}

Closing *
closing_new(void)
{
	Closing    *closing = calloc(1, sizeof(Closing));

	if (closing == NULL)
		return NULL;
	closing->task.run = run_closing;
	closing->atomic.directory = -1;
	closing->source = -1;
	return closing;
}

void
closing_free(Closing *closing)
{
	free(closing->places);
	free(closing);
}

static int
count_jobs(const Closing *closing)
{
	int			count = 0;

	for (int i = 0; i < closing->job_count; i++)
		count += closing->jobs[i].in_use;
	return count;
}

bool
closing_is_needed(const Closing *closing)
{
	return closing_count_fds(closing) > 0 || closing->undone != NULL;
}

int
closing_count_fds(const Closing *closing)
{
	return count_jobs(closing) * JOB_FDS + closing->place_count +
		closing->target.in_use + (closing->atomic.directory >= 0) +
		(closing->source >= 0);
}
