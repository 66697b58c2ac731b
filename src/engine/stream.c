/*-------------------------------------------------------------------------
 *
 * stream.c
 *	  Filling frames with a tar of files from the common queue.
 *
 *-------------------------------------------------------------------------
 */
#include "stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "jet.h"

/* A slice ends with the first member after so many bytes. */
#define CUT_AFTER (1024 * 1024)

EngStream *
eng_stream_new(EngQueue *queue, VerifyMode verify, const Compression *how)
{
	EngStream  *stream = calloc(1, sizeof(EngStream));

	if (stream == NULL)
		return NULL;
	intake_init(&stream->intake, queue, verify);
	sink_init(&stream->sink, NULL);
	stream->uid = (uint32_t) geteuid();
	stream->gid = (uint32_t) getegid();
	if (how == NULL || how->kind == COMPRESS_NONE)
		return stream;

	stream->packer = packer_new(how);
	if (stream->packer != NULL)
		return stream;
	eng_stream_free(stream);
	return NULL;
}

EngStream *
eng_stream_new_file(EngQueue *queue, VerifyMode verify, const Compression *how,
					const EngTarget *target, const char *name)
{
	EngStream  *stream = eng_stream_new(queue, verify, how);

	if (stream == NULL)
		return NULL;
	sink_init(&stream->sink, target);
	snprintf(stream->name, sizeof(stream->name), "%s", name);
	stream->frame = malloc(ENG_FRAME_SIZE);
	/* its members have better digests, if any; this is for what is between */
	if (stream->frame != NULL && digest_init(&stream->digest, DIGEST_CRC32C))
		return stream;
	eng_stream_free(stream);
	return NULL;
}

void
eng_stream_free(EngStream *stream)
{
	intake_free(&stream->intake);
	sink_abandon(&stream->sink);
	if (stream->packer != NULL)
		packer_free(stream->packer);
	free(stream->frame);
	free(stream);
}

static bool
is_to_file(const EngStream *stream)
{
	return stream->frame != NULL;
}

bool
eng_stream_file(const EngStream *stream, uint64_t *size, DigestValue *digest)
{
	*size = stream->bytes;
	return is_to_file(stream) && stream->intake.member_count > 0 &&
		digest_value(&stream->digest, NULL, digest);
}

/* Without compression the end of a member is known as soon as it is made. */
static void
note_end(EngStream *stream)
{
	if (stream->packer == NULL)
		intake_set_end(&stream->intake, stream->intake.member_count,
					   stream->bytes + stream->fill + stream->zeros);
}

/* What the buffer takes. */
static uint32_t
buffer_room(const EngStream *stream)
{
	return (stream->packer != NULL ? stream->packer->slice_length :
			ENG_FRAME_SIZE) - stream->fill;
}

/*
 * No file is left.  The end of the archive does not belong to the last member:
 * who has received everything and goes on in another stream must be told to
 * cut before it, because tar(1) reads no further.
 */
static void
begin_end(EngStream *stream)
{
	uint32_t	members = stream->intake.member_count;

	stream->ending = true;
	stream->zeros = TAR_END_LENGTH;
	if (stream->packer == NULL)
		return;
	if (stream->fill > 0)
		stream->full = stream->cut = true;
	else if (!packer_cut(stream->packer, members))
		intake_set_end(&stream->intake, members,
					   stream->bytes + stream->frame_fill);
}

/* Take the next file and make its header. */
static JobOutcome
next_member(EngJob *job, EngShared *shared, EngStream *stream)
{
	FileEntry  *entry;

	switch (intake_next(job, shared, &stream->intake))
	{
		case INTAKE_FILE:
			break;
		case INTAKE_SKIPPED:
			note_end(stream);
			return JOB_MORE;
		case INTAKE_EMPTY:
			begin_end(stream);
			return JOB_MORE;
		case INTAKE_UNWANTED:
		case INTAKE_FAILED:
			return JOB_PARK;
	}
	entry = stream->intake.entry;
	stream->pending_at = 0;
	stream->pending_length = (uint32_t)
		tar_header(stream->pending, entry->name, entry->kind == FILE_DIRECTORY,
				   (uint64_t) entry->size, entry->modified,
				   stream->uid, stream->gid);
	return JOB_MORE;
}

/* The file has been read: its digest, its padding. */
static JobOutcome
finish_member(EngJob *job, EngStream *stream)
{
	FileEntry  *entry = stream->intake.entry;
	JobOutcome	outcome = intake_finish(job, &stream->intake);

	if (outcome != JOB_MORE)
		return outcome;
	stream->zeros = entry->kind == FILE_DIRECTORY ? 0 :
		(uint32_t) tar_padding((uint64_t) entry->size);
	note_end(stream);
	return JOB_MORE;
}

/* Copy what is pending, or zeros, into the buffer. */
static void
put_small(EngStream *stream, char *buffer)
{
	uint32_t	room = buffer_room(stream);
	uint32_t	length;

	if (stream->pending_at < stream->pending_length)
	{
		length = stream->pending_length - stream->pending_at;
		length = length < room ? length : room;
		memcpy(buffer + stream->fill, stream->pending + stream->pending_at,
			   length);
		stream->pending_at += length;
	}
	else
	{
		length = stream->zeros < room ? stream->zeros : room;
		memset(buffer + stream->fill, 0, length);
		stream->zeros -= length;
	}
	stream->fill += length;
}

/* The next piece of the file straight into the buffer. */
static JobOutcome
put_piece(EngJob *job, EngShared *shared, EngStream *stream, char *buffer)
{
	uint32_t	room = buffer_room(stream);
	uint32_t	length;
	JobOutcome	outcome = intake_read(job, shared, &stream->intake,
									  buffer + stream->fill,
									  room < ENG_FRAME_SIZE ? room : ENG_FRAME_SIZE,
									  &length);

	stream->fill += length;
	stream->full = outcome == JOB_MORE && length == 0;
	return outcome;
}

/* Between two members: is the slice to end here? */
static bool
is_cut(const EngStream *stream)
{
	return stream->packer != NULL &&
		stream->since_cut + stream->fill >= CUT_AFTER;
}

/* Put the archive together until the buffer is full, or ends. */
static JobOutcome
fill(EngJob *job, EngShared *shared, EngStream *stream, char *buffer)
{
	JobOutcome	outcome = JOB_MORE;

	while (outcome == JOB_MORE && !stream->full)
	{
		if (job_is_unwanted(job, shared))
			return JOB_PARK;
		if (buffer_room(stream) == 0)
			stream->full = true;
		else if (stream->pending_at < stream->pending_length ||
				 stream->zeros > 0)
			put_small(stream, buffer);
		else if (stream->intake.entry != NULL &&
				 intake_has_more(&stream->intake))
			outcome = put_piece(job, shared, stream, buffer);
		else if (stream->intake.entry != NULL)
			outcome = finish_member(job, stream);
		else if (stream->ending || is_cut(stream))
			stream->full = stream->cut = true;
		else
			outcome = next_member(job, shared, stream);
	}
	return outcome;
}

/* Hand a frame of so many bytes to the reader, or write it. */
static JobOutcome
publish(EngJob *job, EngShared *shared, EngStream *stream, char *frame,
		uint32_t length)
{
	EngRing    *ring = job->ring;
	uint64_t	number = atomic_load(&ring->produced);
	JobOutcome	outcome = JOB_MORE;

	if (!is_to_file(stream))
		ring->length[number % ring->nframes] = length;
	else if (stream->intake.member_count > 0)
	{
		if (stream->sink.fd < 0)
			outcome = sink_open(job, shared, &stream->sink, stream->name);
		if (outcome == JOB_MORE)
			outcome = sink_write(job, shared, &stream->sink, frame, length);
		if (outcome == JOB_MORE)
			(void) digest_update(&stream->digest, frame, length);
		if (outcome != JOB_MORE)
			return outcome;
	}
	stream->bytes += length;
	atomic_store(&ring->produced, number + 1);
	return JOB_MORE;
}

static JobOutcome
finish(EngJob *job, EngShared *shared, EngStream *stream)
{
	if (stream->sink.fd >= 0 &&
		sink_close(job, shared, &stream->sink) != JOB_MORE)
		return JOB_PARK;
	return job_finish(job);
}

/* One frame as it lies in the archive. */
static JobOutcome
fill_plain(EngJob *job, EngShared *shared, EngStream *stream, char *frame)
{
	JobOutcome	outcome = fill(job, shared, stream, frame);

	if (outcome != JOB_MORE)
		return outcome;
	if (stream->fill == 0)
		return finish(job, shared, stream);
	outcome = publish(job, shared, stream, frame, stream->fill);
	stream->fill = 0;
	stream->full = false;
	return outcome;
}

/* Fill a slice, and have it packed. */
static JobOutcome
fill_slice(EngJob *job, EngShared *shared, EngStream *stream)
{
	char	   *buffer = packer_buffer(stream->packer);
	JobOutcome	outcome;

	if (buffer == NULL)
		return job_fail(job, JET_errOutOfMemory, 0, 0, 0);
	outcome = fill(job, shared, stream, buffer);
	if (outcome != JOB_MORE)
		return outcome;
	stream->since_cut += stream->fill;
	if (stream->cut)
		stream->since_cut = 0;
	if (stream->fill > 0)
		packer_add(stream->packer, job, shared, stream->fill,
				   stream->cut ? stream->intake.member_count : 0);
	stream->fill = 0;
	stream->full = stream->cut = false;
	return JOB_MORE;
}

/* Move a packed slice into the frame, as far as it fits. */
static JobOutcome
move_packed(EngJob *job, EngStream *stream, PackSlice *slice, char *frame)
{
	Packer	   *packer = stream->packer;
	size_t		length = slice->packed_length - packer->taken_at;
	size_t		room = ENG_FRAME_SIZE - stream->frame_fill;

	if (slice->failed)
		return job_fail(job, JET_errOutOfMemory, 0, 0, 0);
	length = length < room ? length : room;
	memcpy(frame + stream->frame_fill, slice->packed + packer->taken_at,
		   length);
	packer->taken_at += length;
	stream->frame_fill += (uint32_t) length;
	if (packer->taken_at < slice->packed_length)
		return JOB_MORE;
	if (slice->members > 0)
		intake_set_end(&stream->intake, slice->members,
					   stream->bytes + stream->frame_fill);
	packer_drop_oldest(packer);
	return JOB_MORE;
}

/* The archive has been put together. */
static bool
is_over(const EngStream *stream)
{
	return stream->ending && stream->zeros == 0 && stream->fill == 0;
}

/* One frame of compressed bytes. */
static JobOutcome
fill_compressed(EngJob *job, EngShared *shared, EngStream *stream, char *frame)
{
	Packer	   *packer = stream->packer;
	JobOutcome	outcome = JOB_MORE;

	while (stream->frame_fill < ENG_FRAME_SIZE && outcome == JOB_MORE)
	{
		PackSlice  *slice = packer_oldest(packer);

		if (job_is_unwanted(job, shared))
			return JOB_PARK;
		if (slice != NULL)
			outcome = move_packed(job, stream, slice, frame);
		else if (!is_over(stream) && packer_has_room(packer))
			outcome = fill_slice(job, shared, stream);
		else if (packer_is_empty(packer))
			break;
		else if (!packer_help(packer, shared))
			return JOB_PARK;	/* who packs the oldest one starts us again */
	}
	if (outcome != JOB_MORE)
		return outcome;
	if (stream->frame_fill == 0)
	{
		intake_set_end(&stream->intake, stream->intake.member_count,
					   stream->bytes);
		return finish(job, shared, stream);
	}
	outcome = publish(job, shared, stream, frame, stream->frame_fill);
	stream->frame_fill = 0;
	return outcome;
}

static JobOutcome
stream_step(EngJob *job, EngShared *shared)
{
	EngStream  *stream = job->task;
	EngRing    *ring = job->ring;
	uint64_t	number = atomic_load(&ring->produced);
	char	   *frame = stream->frame;

	if (!is_to_file(stream))
	{
		if (!ring_has_room(ring))
			return job_park_until_room(job);
		frame = shared->pool +
			(size_t) ring->slot[number % ring->nframes] * ENG_FRAME_SIZE;
	}
	return stream->packer == NULL ?
		fill_plain(job, shared, stream, frame) :
		fill_compressed(job, shared, stream, frame);
}

bool
eng_job_open_stream(EngJob *job, EngRing *ring, EngStream *stream)
{
	return job_open_task(job, ring, stream_step, stream);
}
