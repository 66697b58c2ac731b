/*-------------------------------------------------------------------------
 *
 * job.c
 *	  Read, verify and digest one frame after the other.
 *
 *-------------------------------------------------------------------------
 */
#include "job.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "jet.h"
#include "page.h"

/*
 * A page that looks damaged may just have been read while the server wrote
 * it.  Core looks twice; a visibility map page of releases before 17.11 can
 * be torn without its LSN showing it, so a few more looks are worth their
 * milliseconds.
 */
#define REREADS			10
#define REREAD_PAUSE_NS 1000000

bool
job_init(EngJob *job, DigestKind kind)
{
	bool		ok;

	ok = digest_init(&job->digest, kind);
	ok = digest_init(&job->scratch, kind) && ok;
	for (int i = 0; i < RING_MARKS; i++)
		ok = digest_init(&job->mark[i], kind) && ok;
	for (int i = 0; i < RING_MAX_FRAMES; i++)
		ok = digest_init(&job->at_frame[i], kind) && ok;
	return ok;
}

void
job_free(EngJob *job)
{
	digest_free(&job->digest);
	digest_free(&job->scratch);
	for (int i = 0; i < RING_MARKS; i++)
		digest_free(&job->mark[i]);
	for (int i = 0; i < RING_MAX_FRAMES; i++)
		digest_free(&job->at_frame[i]);
}

/*
 * The engine was stopped, or the handle closed.  A thread asks that again
 * after every system call, which may have taken as long as a whole backup.
 */
bool
job_is_unwanted(EngJob *job, EngShared *shared)
{
	return atomic_load(&shared->stopping) ||
		atomic_load(&job->ring->state) != RING_OPEN;
}

/* The job is over; what the ring holds already can still be read. */
static JobOutcome
fail_with(EngJob *job, const EngError *error)
{
	uint32_t	open = RING_OPEN;

	job->ring->error = *error;
	atomic_compare_exchange_strong(&job->ring->state, &open, RING_FAILED);
	return JOB_PARK;
}

JobOutcome
job_fail(EngJob *job, int jet, int sys_errno, uint32_t block, uint64_t offset)
{
	EngError	error = {
		.jet = jet,
		.sys_errno = sys_errno,
		.block = block,
		.offset = offset,
	};

	return fail_with(job, &error);
}

JobOutcome
job_fail_write(EngJob *job, int jet, int sys_errno, uint64_t offset)
{
	EngError	error = {
		.jet = jet,
		.sys_errno = sys_errno,
		.offset = offset,
		.writing = true,
	};

	return fail_with(job, &error);
}

/* Everything is done; the owner is told when the job has parked. */
JobOutcome
job_finish(EngJob *job)
{
	atomic_store(&job->ring->finished, 1);
	return JOB_PARK;
}

/* So many of these bytes are to be read as they are. */
static size_t
wanted_bytes(const EngSource *source, size_t length, uint64_t offset)
{
	if (source->zeros_from == 0 || offset + length <= source->zeros_from)
		return length;
	return offset < source->zeros_from ?
		(size_t) (source->zeros_from - offset) : 0;
}

/*
 * Read exactly 'length' bytes; what the file no longer has is zeros: WAL
 * replay knows about the truncation.
 */
static bool
read_bytes(const EngSource *source, char *to, size_t length, uint64_t offset)
{
	size_t		wanted = wanted_bytes(source, length, offset);
	size_t		done = 0;

	if (source->fd < 0)
	{
		memcpy(to, source->memory + offset, length);
		return true;
	}
	while (done < wanted)
	{
		ssize_t		n = pread(source->fd, to + done, wanted - done,
							  (off_t) (offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		if (n == 0)
			break;
		done += (size_t) n;
	}
	memset(to + done, 0, length - done);
	return true;
}

/* Where a stuck system call would be. */
static void
hold_point(_Atomic bool *hold)
{
	while (atomic_load(hold))
	{
		struct timespec pause = {.tv_nsec = 1000000};

		nanosleep(&pause, NULL);
	}
}

void
job_hold_open(EngShared *shared)
{
	hold_point(&shared->hold_open);
}

/*
 * Look at a page that seemed damaged again, and keep the newest look.
 * Returns what it is in the end; *sys_errno when it could not be read.
 */
static PageVerdict
look_again(EngJob *job, EngShared *shared, char *page, uint32_t block,
		   uint64_t offset, int *sys_errno)
{
	PageVerdict verdict = PAGE_DAMAGED;

	for (int i = 0; i < REREADS && verdict == PAGE_DAMAGED; i++)
	{
		if (i > 0)
		{
			struct timespec pause = {.tv_nsec = REREAD_PAUSE_NS};

			nanosleep(&pause, NULL);
		}
		if (job_is_unwanted(job, shared))
			break;
		if (!read_bytes(&job->source, page, ENG_PAGE_SIZE, offset))
		{
			*sys_errno = errno;
			break;
		}
		verdict = page_verify(page, block, atomic_load(&shared->start_lsn),
							  atomic_load(&shared->lsn_limit));
	}
	return verdict;
}

/*
 * Did the owner set a new limit since this job asked for one?  Being started
 * says nothing: a reader may have caused that.
 */
static bool
took_new_limit(EngJob *job, EngShared *shared)
{
	if (!atomic_exchange(&job->wants_lsn_limit, false))
		return false;
	return atomic_load(&shared->lsn_limit_epoch) != job->asked_epoch;
}

/*
 * Verify the pages of a loaded frame from where the last call left off.
 * JOB_MORE when all are dealt with.
 */
JobOutcome
job_verify(EngJob *job, EngShared *shared, char *frame, size_t length,
		   uint64_t offset)
{
	/* bytes after the last whole page are no page */
	uint32_t	pages = (uint32_t) (length / ENG_PAGE_SIZE);
	bool		asked = took_new_limit(job, shared);

	for (; job->verified < pages; job->verified++)
	{
		char	   *page = frame + (size_t) job->verified * ENG_PAGE_SIZE;
		uint64_t	page_offset = offset + (uint64_t) job->verified * ENG_PAGE_SIZE;
		uint32_t	block = job->source.first_block +
			(uint32_t) (page_offset / ENG_PAGE_SIZE);
		PageVerdict verdict = page_verify(page, block, atomic_load(&shared->start_lsn),
										  atomic_load(&shared->lsn_limit));

		if (verdict == PAGE_DAMAGED)
		{
			int			sys_errno = 0;

			verdict = look_again(job, shared, page, block, page_offset,
								 &sys_errno);
			asked = asked && verdict != PAGE_AHEAD;
			/* a look that was cut short says nothing about the page */
			if (job_is_unwanted(job, shared))
				return JOB_PARK;
			if (sys_errno != 0)
				return job_fail(job, JET_errDiskIO, sys_errno, 0, page_offset);
		}
		if (verdict == PAGE_GOOD)
			continue;
		if (verdict == PAGE_AHEAD && !asked)
		{
			/* the limit may just be old: the owner sets a new one */
			job->asked_epoch = atomic_load(&shared->lsn_limit_epoch);
			atomic_store(&job->wants_lsn_limit, true);
			return JOB_PARK;
		}
		if (job->source.verify == VERIFY_ERROR)
			return job_fail(job, JET_errReadVerifyFailure, 0, block, page_offset);
		if (!eng_add_finding(job->engine, job->source.tag, block))
			return JOB_PARK;	/* the owner starts us when it has made room */

		/* the owner's answer was about this page only */
		asked = false;
	}
	return JOB_MORE;
}

/*
 * The digest before a frame is kept beside it, so the digest at any byte that
 * the ring holds is that and the bytes between.
 */
static bool
digest_held(EngJob *job, const EngShared *shared, uint64_t position,
			Digest *state)
{
	EngRing    *ring = job->ring;
	uint64_t	frame = ring_frame_of(ring, position);
	uint64_t	start;

	/* the end of what was read: it is the running digest */
	if (frame >= atomic_load(&ring->produced))
		return !job->digest_broken && digest_copy(state, &job->digest);

	start = atomic_load(&ring->base) + frame * ENG_FRAME_SIZE;
	if (!digest_copy(state, &job->at_frame[frame % ring->nframes]))
		return false;
	if (position == start)
		return true;
	return digest_update(state,
						 ring_bytes(ring, shared->pool, start),
						 (size_t) (position - start));
}

bool
job_digest_at(EngJob *job, const EngShared *shared, uint64_t position,
			  Digest *state)
{
	RingMark	mark;

	switch (ring_find(job->ring, position, &mark))
	{
		case RING_HELD:
			return digest_held(job, shared, position, state);
		case RING_MARKED:
			return digest_copy(state, &job->mark[mark]);
		case RING_LOST:
			break;
	}
	return false;
}

/* RING_MARK; false when memory is out. */
static bool
serve_mark(EngJob *job, EngShared *shared, RingMark mark, uint64_t position)
{
	EngRing    *ring = job->ring;

	atomic_store(&ring->mark[mark], RING_UNMARKED);
	if (!ring_holds(ring, position))
		return true;
	if (!digest_held(job, shared, position, &job->mark[mark]))
		return false;
	atomic_store(&ring->mark[mark], position);
	return true;
}

/* RING_REWIND; false when memory is out. */
static bool
serve_rewind(EngJob *job, RingMark mark)
{
	EngRing    *ring = job->ring;
	uint64_t	position = atomic_load(&ring->mark[mark]);

	if (position == RING_UNMARKED)
		return true;
	if (!digest_copy(&job->digest, &job->mark[mark]))
		return false;
	/* in this order 'consumed' never passes 'produced' */
	atomic_store(&ring->consumed, 0);
	atomic_store(&ring->produced, 0);
	atomic_store(&ring->base, position);
	job->loaded = false;
	/* the ring is back at the position */
	if (mark == RING_MARK_POSITION)
		atomic_store(&ring->mark[mark], RING_UNMARKED);
	return true;
}

static JobOutcome
serve_request(EngJob *job, EngShared *shared, RingRequest request)
{
	EngRing    *ring = job->ring;
	RingMark	mark = (RingMark) atomic_load(&ring->request_mark);
	uint64_t	position = atomic_load(&ring->request_position);
	bool		ok;

	ok = request == RING_MARK ? serve_mark(job, shared, mark, position)
		: serve_rewind(job, mark);
	if (!ok)
		return job_fail(job, JET_errOutOfMemory, 0, 0, position);
	atomic_store(&ring->request, RING_NO_REQUEST);
	return JOB_MORE;
}

/*
 * The ring is full.  With nothing else to do the thread waits a moment: that
 * is cheaper for everybody than to be woken by the owner.
 */
JobOutcome
job_park_until_room(EngJob *job)
{
	EngRing    *ring = job->ring;

	if (eng_has_nothing_else(job->engine))
		ring_linger_for_room(ring);
	if (ring_has_room(ring))
		return JOB_MORE;
	atomic_store(&ring->job_waiting, RING_BY_OWNER);
	if (ring_has_room(ring) ||
		atomic_load(&ring->request) != RING_NO_REQUEST)
	{
		atomic_store(&ring->job_waiting, RING_AWAKE);
		return JOB_MORE;
	}
	return JOB_PARK;
}

/* A LogAccountWait; arg is the job. */
static bool
wait_for_turn(void *arg, size_t length)
{
	EngJob	   *job = arg;
	EngShared  *shared = eng_shared(job->engine);

	eng_wait_until(job->engine, throttle_reserve(&shared->throttle, length));
	hold_point(&shared->hold);
	return !job_is_unwanted(job, shared);
}

/* The source is a log manifest: have it made. */
static JobOutcome
make_source(EngJob *job)
{
	int			error;

	job->source.memory = logaccount_make(job->source.account, wait_for_turn,
										 job, &error);
	if (job->source.memory != NULL)
		return JOB_MORE;
	if (error == ECANCELED)
		return JOB_PARK;
	return job_fail(job, error == ENOMEM ? JET_errOutOfMemory :
					error == EIO ? JET_errLogReadVerifyFailure :
					JET_errMissingFileToBackup, error, 0, 0);
}

/* Read the next frame, when the rate limit allows. */
JobOutcome
job_load(EngJob *job, EngShared *shared, char *frame, size_t length,
		 uint64_t offset)
{
	eng_wait_until(job->engine, throttle_reserve(&shared->throttle, length));
	hold_point(&shared->hold);
	if (job_is_unwanted(job, shared))
		return JOB_PARK;
	if (job->source.account != NULL && job->source.memory == NULL &&
		make_source(job) != JOB_MORE)
		return JOB_PARK;
	if (!read_bytes(&job->source, frame, length, offset))
		return job_fail(job, JET_errDiskIO, errno, 0, offset);
	atomic_fetch_add(&shared->bytes_read, length);
	job->loaded = true;
	job->verified = 0;
	return JOB_MORE;
}

JobOutcome
job_fill_frame(EngJob *job, EngShared *shared)
{
	EngRing    *ring = job->ring;
	uint64_t	number = atomic_load(&ring->produced);
	uint64_t	offset = atomic_load(&ring->base) + number * ENG_FRAME_SIZE;
	size_t		length;
	char	   *frame;
	JobOutcome	outcome;

	if (offset >= ring->size)
		return JOB_PARK;		/* finished */
	if (!ring_has_room(ring))
		return job_park_until_room(job);

	length = (size_t) (ring_frame_end(ring, number) - offset);
	frame = ring_bytes(ring, shared->pool, offset);

	if (!job->loaded)
	{
		outcome = job_load(job, shared, frame, length, offset);
		if (outcome != JOB_MORE || job_is_unwanted(job, shared))
			return JOB_PARK;
	}
	if (job->source.verify != VERIFY_OFF)
	{
		outcome = job_verify(job, shared, frame, length, offset);
		if (outcome != JOB_MORE)
			return outcome;
	}
	if (!digest_copy(&job->at_frame[number % ring->nframes], &job->digest) ||
		!digest_update(&job->digest, frame, length))
	{
		job->digest_broken = true;
		return job_fail(job, JET_errOutOfMemory, 0, 0, offset);
	}

	job->loaded = false;
	atomic_store(&ring->produced, number + 1);
	return JOB_MORE;
}

JobOutcome
job_step(EngJob *job, EngShared *shared)
{
	EngRing    *ring = job->ring;
	RingRequest request;
	JobOutcome	outcome;

	if (job_is_unwanted(job, shared))
		return JOB_PARK;

	atomic_store(&ring->job_waiting, RING_AWAKE);
	request = (RingRequest) atomic_load(&ring->request);
	if (request != RING_NO_REQUEST)
		outcome = serve_request(job, shared, request);
	else if (atomic_load(&ring->finished))
		outcome = JOB_PARK;
	else
		outcome = job->step(job, shared);

	/* whatever changed, a reader that waits wants to know */
	if (ring_wake_reader(ring) || atomic_load(&job->wants_lsn_limit))
		eng_notify(job->engine);
	return outcome;
}
