/*-------------------------------------------------------------------------
 *
 * stream.c
 *	  Filling frames with a tar of files from the common queue.
 *
 *-------------------------------------------------------------------------
 */
#include "stream.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "jet.h"
#include "job.h"
#include "page.h"

struct EngQueue
{
	pthread_mutex_t mutex;		/* protects 'next' and 'order' */
	FileEntry  *entries;
	uint32_t	count;
	uint32_t	next;			/* order[next..] is waiting */
	uint32_t	order[];
};

EngQueue *
eng_queue_new(FileEntry *entries, const uint32_t *order, uint32_t count)
{
	EngQueue   *queue = malloc(sizeof(EngQueue) + count * sizeof(uint32_t));

	if (queue == NULL)
		return NULL;
	pthread_mutex_init(&queue->mutex, NULL);
	queue->entries = entries;
	queue->count = count;
	queue->next = 0;
	memcpy(queue->order, order, count * sizeof(uint32_t));
	return queue;
}

void
eng_queue_free(EngQueue *queue)
{
	pthread_mutex_destroy(&queue->mutex);
	free(queue);
}

uint32_t
eng_queue_waiting(EngQueue *queue)
{
	uint32_t	waiting;

	pthread_mutex_lock(&queue->mutex);
	waiting = queue->count - queue->next;
	pthread_mutex_unlock(&queue->mutex);
	return waiting;
}

/* The next file; false when none is waiting. */
static bool
take(EngQueue *queue, uint32_t *index)
{
	bool		taken;

	pthread_mutex_lock(&queue->mutex);
	taken = queue->next < queue->count;
	if (taken)
	{
		*index = queue->order[queue->next++];
		queue->entries[*index].status = FILE_IN_STREAM;
	}
	pthread_mutex_unlock(&queue->mutex);
	return taken;
}

void
eng_queue_return(EngQueue *queue, uint32_t index)
{
	pthread_mutex_lock(&queue->mutex);
	queue->order[--queue->next] = index;
	queue->entries[index].status = FILE_UNREAD;
	pthread_mutex_unlock(&queue->mutex);
}

EngStream *
eng_stream_new(EngQueue *queue, VerifyMode verify)
{
	EngStream  *stream = calloc(1, sizeof(EngStream));

	if (stream == NULL)
		return NULL;
	stream->queue = queue;
	stream->verify = verify;
	stream->uid = (uint32_t) geteuid();
	stream->gid = (uint32_t) getegid();
	return stream;
}

void
eng_stream_free(EngStream *stream)
{
	free(stream->members);
	free(stream);
}

/* Note what was taken; false when memory is out. */
static bool
add_member(EngStream *stream, uint32_t index)
{
	if (stream->member_count == stream->member_room)
	{
		uint32_t	room = stream->member_room ? 2 * stream->member_room : 64;
		StreamMember *larger = realloc(stream->members,
									   room * sizeof(StreamMember));

		if (larger == NULL)
			return false;
		stream->members = larger;
		stream->member_room = room;
	}
	memset(&stream->members[stream->member_count], 0, sizeof(StreamMember));
	stream->members[stream->member_count].index = index;
	stream->members[stream->member_count].listed_size =
		stream->queue->entries[index].size;
	stream->members[stream->member_count].end = UINT64_MAX;
	stream->member_count++;
	return true;
}

static StreamMember *
last_member(EngStream *stream)
{
	return &stream->members[stream->member_count - 1];
}

/* Open the file of an entry; false and errno when that fails. */
static bool
open_member(EngJob *job, EngShared *shared, FileEntry *entry)
{
	EngStream  *stream = job->stream;
	struct stat st;
	int			fd;

	job->source.fd = -1;
	job->source.memory = entry->contents;
	job->source.verify = VERIFY_OFF;
	if (entry->kind == FILE_DIRECTORY || entry->contents != NULL)
		return true;
	fd = open(entry->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return false;
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
	{
		errno = EINVAL;
		close(fd);
		return false;
	}
	/* the entry may be gone if the call above took longer than its backup */
	if (job_is_unwanted(job, shared))
	{
		errno = ECANCELED;
		close(fd);
		return false;
	}
	job->source.fd = fd;
	entry->size = st.st_size;
	entry->modified = st.st_mtime;
	if (entry->kind == FILE_RELATION && entry->size % ENG_PAGE_SIZE == 0)
		job->source.verify = stream->verify;
	job->source.first_block = entry->first_block;
	job->source.tag = stream->index;
	return true;
}

/* Take the next file and make its header; JOB_PARK when memory is out. */
static JobOutcome
next_member(EngJob *job, EngShared *shared)
{
	EngStream  *stream = job->stream;
	FileEntry  *entry;

	if (!take(stream->queue, &stream->index))
	{
		stream->ending = true;
		stream->zeros = TAR_END_LENGTH;
		return JOB_MORE;
	}
	if (!add_member(stream, stream->index))
	{
		eng_queue_return(stream->queue, stream->index);
		return job_fail(job, JET_errOutOfMemory, 0, 0, stream->bytes);
	}
	entry = &stream->queue->entries[stream->index];
	if (!open_member(job, shared, entry))
	{
		if (errno == EMFILE || errno == ENFILE)
			return job_fail(job, JET_errOutOfFileHandles, errno, 0,
							stream->bytes);
		last_member(stream)->sys_errno = errno;
		last_member(stream)->outcome = errno == ENOENT ? MEMBER_MISSING :
			MEMBER_UNREADABLE;
		last_member(stream)->end = stream->bytes + stream->fill;
		return JOB_MORE;
	}
	stream->entry = entry;
	stream->offset = 0;
	stream->pending_at = 0;
	stream->pending_length = (uint32_t)
		tar_header(stream->pending, entry->name, entry->kind == FILE_DIRECTORY,
				   (uint64_t) entry->size, entry->modified,
				   stream->uid, stream->gid);
	if (!digest_reset(&job->digest))
		return job_fail(job, JET_errOutOfMemory, 0, 0, stream->bytes);
	return JOB_MORE;
}

/* The file has been read: its digest, its padding. */
static JobOutcome
finish_member(EngJob *job)
{
	EngStream  *stream = job->stream;
	FileEntry  *entry = stream->entry;

	if (!digest_value(&job->digest, &job->scratch, &entry->digest))
		return job_fail(job, JET_errOutOfMemory, 0, 0, stream->bytes);
	if (job->source.fd >= 0)
		close(job->source.fd);
	job->source.fd = -1;
	stream->zeros = entry->kind == FILE_DIRECTORY ? 0 :
		(uint32_t) tar_padding((uint64_t) entry->size);
	last_member(stream)->end = stream->bytes + stream->fill + stream->zeros;
	stream->entry = NULL;
	return JOB_MORE;
}

/* Copy what is pending, or zeros, into the frame. */
static void
put_small(EngStream *stream, char *frame)
{
	uint32_t	room = ENG_FRAME_SIZE - stream->fill;
	uint32_t	length;

	if (stream->pending_at < stream->pending_length)
	{
		length = stream->pending_length - stream->pending_at;
		length = length < room ? length : room;
		memcpy(frame + stream->fill, stream->pending + stream->pending_at,
			   length);
		stream->pending_at += length;
	}
	else
	{
		length = stream->zeros < room ? stream->zeros : room;
		memset(frame + stream->fill, 0, length);
		stream->zeros -= length;
	}
	stream->fill += length;
}

/*
 * The next piece of the file straight into the frame.  Pages are not split:
 * *full says that the frame has no room for one more.
 */
static JobOutcome
put_piece(EngJob *job, EngShared *shared, char *frame, bool *full)
{
	EngStream  *stream = job->stream;
	uint64_t	rest = (uint64_t) stream->entry->size - stream->offset;
	uint32_t	room = ENG_FRAME_SIZE - stream->fill;
	JobOutcome	outcome;

	if (!job->loaded)
	{
		stream->piece = rest < room ? (uint32_t) rest : room;
		if (job->source.verify != VERIFY_OFF)
			stream->piece -= stream->piece % ENG_PAGE_SIZE;
		*full = stream->piece == 0;
		if (*full)
			return JOB_MORE;
		outcome = job_load(job, shared, frame + stream->fill, stream->piece,
						   stream->offset);
		if (outcome != JOB_MORE)
			return outcome;
	}
	if (job->source.verify != VERIFY_OFF)
	{
		outcome = job_verify(job, shared, frame + stream->fill, stream->piece,
							 stream->offset);
		if (outcome != JOB_MORE)
			return outcome;
	}
	if (!digest_update(&job->digest, frame + stream->fill, stream->piece))
		return job_fail(job, JET_errOutOfMemory, 0, 0, stream->bytes);
	job->loaded = false;
	stream->offset += stream->piece;
	stream->fill += stream->piece;
	return JOB_MORE;
}

/* Hand the frame to the reader. */
static void
publish(EngJob *job, uint64_t number)
{
	EngStream  *stream = job->stream;
	EngRing    *ring = job->ring;

	ring->length[number % ring->nframes] = stream->fill;
	stream->bytes += stream->fill;
	stream->fill = 0;
	atomic_store(&ring->produced, number + 1);
}

JobOutcome
stream_fill_frame(EngJob *job, EngShared *shared)
{
	EngStream  *stream = job->stream;
	EngRing    *ring = job->ring;
	uint64_t	number = atomic_load(&ring->produced);
	JobOutcome	outcome = JOB_MORE;
	bool		full = false;
	char	   *frame;

	if (atomic_load(&ring->finished))
		return JOB_PARK;
	if (number - atomic_load(&ring->consumed) >= ring->nframes)
		return job_park_until_room(ring);

	frame = shared->pool +
		(size_t) ring->slot[number % ring->nframes] * ENG_FRAME_SIZE;
	while (outcome == JOB_MORE && !full && stream->fill < ENG_FRAME_SIZE)
	{
		if (job_is_unwanted(job, shared))
			return JOB_PARK;
		if (stream->pending_at < stream->pending_length || stream->zeros > 0)
			put_small(stream, frame);
		else if (stream->entry != NULL &&
				 stream->offset < (uint64_t) stream->entry->size &&
				 stream->entry->kind != FILE_DIRECTORY)
			outcome = put_piece(job, shared, frame, &full);
		else if (stream->entry != NULL)
			outcome = finish_member(job);
		else if (!stream->ending)
			outcome = next_member(job, shared);
		else
			full = true;		/* everything is written */
	}
	if (outcome != JOB_MORE)
		return outcome;

	if (stream->fill > 0)
	{
		publish(job, number);
		return JOB_MORE;
	}
	atomic_store(&ring->finished, 1);
	return JOB_MORE;
}
