/*-------------------------------------------------------------------------
 *
 * sink.c
 *	  Writing files.
 *
 *-------------------------------------------------------------------------
 */
#include "sink.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "jet.h"

/*
 * So much is handed to the disk at once.  A stop has to wait for a system
 * call to return, so it must not be too much.
 */
#define WRITE_OUT_EVERY (8 * 1024 * 1024)

/*
 * What has been written out gives up its place in the page cache, as long as
 * it lies so far back at most.
 */
#define DROP_WINDOW (128 * 1024 * 1024)

/* Names are at most MAXPGPATH long, suffixes short. */
#define MAX_NAME (1024 + 32)

/* The rest of a file smaller than this is left to the sync at the end. */
#define WRITE_OUT_AT_CLOSE (1024 * 1024)

void
sink_init(EngSink *sink, const EngTarget *target)
{
	memset(sink, 0, sizeof(*sink));
	sink->target = target;
	sink->fd = -1;
}

void
sink_abandon(EngSink *sink)
{
	if (sink->fd >= 0)
		close(sink->fd);
	sink->fd = -1;
}

static JobOutcome
fail(EngJob *job, EngSink *sink, int sys_errno)
{
	switch (sys_errno)
	{
		case ENOSPC:
		case EDQUOT:
		case EFBIG:
			return job_fail_write(job, JET_errDiskFull, sys_errno,
								  sink->written);
		case EMFILE:
		case ENFILE:
			return job_fail_write(job, JET_errOutOfFileHandles, sys_errno, 0);
		case EACCES:
		case EPERM:
		case EROFS:
		case EEXIST:
			return job_fail_write(job, JET_errFileAccessDenied, sys_errno, 0);
		default:
			return job_fail_write(job, JET_errDiskIO, sys_errno,
								  sink->written);
	}
}

JobOutcome
sink_open(EngJob *job, EngShared *shared, EngSink *sink, const char *name)
{
	char		path[MAX_NAME];

	sink->written = 0;
	sink->written_out = 0;
	if (sink->target == NULL)
		return JOB_MORE;
	snprintf(path, sizeof(path), "%s%s", name,
			 sink->target->suffix != NULL ? sink->target->suffix : "");
	sink->fd = openat(sink->target->directory, path,
					  O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
					  (mode_t) sink->target->file_mode);
	if (job_is_unwanted(job, shared))
		return JOB_PARK;
	return sink->fd >= 0 ? JOB_MORE : fail(job, sink, errno);
}

/*
 * Give up places in the page cache: nobody reads a backup soon, and the
 * server's own files stay there.  That waits for nothing; what is not yet on
 * disk has another turn.
 */
static void
drop_written(EngSink *sink)
{
	uint64_t	from = sink->written > DROP_WINDOW ?
		sink->written - DROP_WINDOW : 0;

	if (sink->written_out > from)
		(void) posix_fadvise(sink->fd, (off_t) from,
							 (off_t) (sink->written_out - from),
							 POSIX_FADV_DONTNEED);
}

/*
 * Begin to write out what has come together.  An error of doing so shows later,
 * when a flush has failed: of this file, or of another one on this disk.
 */
static JobOutcome
write_out(EngJob *job, EngSink *sink)
{
	Flusher    *flusher = eng_flusher(job->engine);
	int			error = flusher_error(flusher);

	if (error != 0)
		return fail(job, sink, error);
	(void) sync_file_range(sink->fd, (off_t) sink->written_out,
						   (off_t) (sink->written - sink->written_out),
						   SYNC_FILE_RANGE_WRITE);
	flusher_note(flusher, sink->fd, sink->written - sink->written_out);
	if (!sink->target->read_soon)
		drop_written(sink);
	sink->written_out = sink->written;
	return JOB_MORE;
}

JobOutcome
sink_write(EngJob *job, EngShared *shared, EngSink *sink, const char *bytes,
		   size_t length)
{
	JobOutcome	outcome = JOB_MORE;

	if (sink->target == NULL)
		return JOB_MORE;
	while (length > 0)
	{
		ssize_t		n = write(sink->fd, bytes, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail(job, sink, errno);
		bytes += n;
		length -= (size_t) n;
		sink->written += (uint64_t) n;
	}
	if (sink->written - sink->written_out >= WRITE_OUT_EVERY)
		outcome = write_out(job, sink);
	if (outcome != JOB_MORE)
		return outcome;
	return job_is_unwanted(job, shared) ? JOB_PARK : JOB_MORE;
}

JobOutcome
sink_close(EngJob *job, EngShared *shared, EngSink *sink)
{
	int			fd = sink->fd;
	JobOutcome	outcome = JOB_MORE;

	if (sink->target == NULL)
		return JOB_MORE;
	if (sink->written >= WRITE_OUT_AT_CLOSE && sink->written > sink->written_out)
		outcome = write_out(job, sink);
	sink->fd = -1;
	if (close(fd) != 0 && errno != EINTR && outcome == JOB_MORE)
		outcome = fail(job, sink, errno);
	if (outcome != JOB_MORE)
		return outcome;
	return job_is_unwanted(job, shared) ? JOB_PARK : JOB_MORE;
}
