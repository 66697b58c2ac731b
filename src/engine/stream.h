/*-------------------------------------------------------------------------
 *
 * stream.h
 *	  Streams: jobs whose bytes are a tar of files from a common queue.
 *
 * All streams of a phase of a backup share one queue.  A stream takes the
 * next file from it whenever it has finished one, so that together they
 * carry every file exactly once.  What a stream has carried counts only when
 * the owner says so; else its files go back to the queue.
 *
 * A frame of a stream is as long as its ring says: it ends early where a
 * page of a relation would not fit, so that pages are read, verified and
 * sent where they lie.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_STREAM_H
#define ESE_STREAM_H

#include "engine.h"
#include "file.h"
#include "tar.h"

typedef struct EngQueue EngQueue;

/* What became of a file in a stream. */
typedef enum MemberOutcome
{
	MEMBER_SENT,				/* it lies in the stream up to 'end' */
	MEMBER_MISSING,				/* ENOENT when it was to be opened */
	MEMBER_UNREADABLE,			/* another error; not in the stream */
} MemberOutcome;

typedef struct StreamMember
{
	uint32_t	index;			/* in the queue's entries */
	int32_t		sys_errno;		/* of what is not in the stream */
	MemberOutcome outcome;
	int64_t		listed_size;	/* the entry's size before it was opened */
	uint64_t	end;			/* bytes of the stream up to its padding */
} StreamMember;

typedef struct EngStream
{
	EngQueue   *queue;
	VerifyMode	verify;
	uint32_t	uid;
	uint32_t	gid;

	/* what it has taken, in order; the last may be unfinished */
	StreamMember *members;
	uint32_t	member_count;
	uint32_t	member_room;

	uint64_t	bytes;			/* of the stream, in finished frames */
	uint32_t	fill;			/* bytes in the frame being filled */
	FileEntry  *entry;			/* the file being read, or NULL */
	uint32_t	index;
	uint64_t	offset;			/* bytes of it read and verified */
	uint32_t	piece;			/* length of the piece that is loaded */
	char		pending[TAR_MAX_HEADER];	/* a header to be written */
	uint32_t	pending_length;
	uint32_t	pending_at;
	uint32_t	zeros;			/* padding to be written */
	bool		ending;			/* the end of the archive was begun */
} EngStream;

/*
 * A queue over entries, in the given order (copied).  NULL when memory is
 * out.  Freed when no stream uses it any more.
 */
extern EngQueue *eng_queue_new(FileEntry *entries, const uint32_t *order,
							   uint32_t count);
extern void eng_queue_free(EngQueue *queue);

/* Files that nobody has taken. */
extern uint32_t eng_queue_waiting(EngQueue *queue);

/* Owner: give a file back; it is taken again next. */
extern void eng_queue_return(EngQueue *queue, uint32_t index);

/* A stream over a queue; NULL when memory is out. */
extern EngStream *eng_stream_new(EngQueue *queue, VerifyMode verify);
extern void eng_stream_free(EngStream *stream);

/* Bind a job to a ring and a stream, like eng_job_open(). */
extern bool eng_job_open_stream(EngJob *job, EngRing *ring,
								EngStream *stream);

#endif							/* ESE_STREAM_H */
