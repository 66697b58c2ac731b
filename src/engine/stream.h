/*-------------------------------------------------------------------------
 *
 * stream.h
 *	  Streams: jobs whose bytes are a tar of files from a common queue.
 *
 * The bytes go to a ring, or to a file.  All streams of a phase of a backup
 * share one queue.  What a stream to a ring has carried counts only when the
 * owner says so; else its files go back to the queue.
 *
 * A frame of a stream is as long as its ring says: without compression it
 * ends early where a page of a relation would not fit, so that pages are
 * read, verified and sent where they lie.  With compression files are read
 * into slices (pack.h), and now and then a slice ends with a member, so that
 * what was received can be cut there.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_STREAM_H
#define ESE_STREAM_H

#include "intake.h"
#include "pack.h"
#include "sink.h"
#include "tar.h"

typedef struct EngStream
{
	EngIntake	intake;
	uint32_t	uid;
	uint32_t	gid;

	/* the archive, as it is put together in a buffer */
	uint32_t	fill;			/* bytes in the buffer */
	char		pending[TAR_MAX_HEADER];	/* a header to be written */
	uint32_t	pending_length;
	uint32_t	pending_at;
	uint32_t	zeros;			/* padding to be written */
	bool		ending;			/* the end of the archive was begun */
	bool		full;			/* the buffer is to go out now */

	/* compression */
	Packer	   *packer;			/* NULL for none */
	uint64_t	since_cut;		/* bytes in slices since the last cut */
	bool		cut;			/* the stream may be cut behind the buffer */
	uint32_t	frame_fill;		/* bytes in the frame being filled */

	/* output */
	uint64_t	bytes;			/* in finished frames */
	char	   *frame;			/* to a file: where frames are filled */
	Digest		digest;			/* to a file: of its bytes */
	EngSink		sink;
	char		name[64];		/* of the file */
} EngStream;

/*
 * A stream over a queue, to a ring.  "how" is NULL for no compression.  NULL
 * when memory is out.
 */
extern EngStream *eng_stream_new(EngQueue *queue, VerifyMode verify,
								 const Compression *how);

/* The same, to a new file; without files to carry, none is made. */
extern EngStream *eng_stream_new_file(EngQueue *queue, VerifyMode verify,
									  const Compression *how,
									  const EngTarget *target,
									  const char *name);
extern void eng_stream_free(EngStream *stream);

/*
 * To a file, and finished: how long it is, and a digest of its bytes.  False
 * when none was made.
 */
extern bool eng_stream_file(const EngStream *stream, uint64_t *size,
							DigestValue *digest);

/* Bind a job to a ring and a stream, like eng_job_open(). */
extern bool eng_job_open_stream(EngJob *job, EngRing *ring,
								EngStream *stream);

#endif							/* ESE_STREAM_H */
