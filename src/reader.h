/*-------------------------------------------------------------------------
 *
 * reader.h
 *	  What the functions that read a handle have in common.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_READER_H
#define ESE_READER_H

#include "shared.h"

/* One call that reads. */
typedef struct Reading
{
	EseInstance *instance;
	EseHandle  *handle;
	uint64		stop_word;		/* at entry */
	uint64		start;			/* of the piece */
	uint64		length;
	bool		large;			/* it spans more frames than the ring has, and
								 * gives them back while it is copied */
} Reading;

/*
 * ESE's first checks: is there a backup, was it stopped?  Sets instance and
 * stop_word.
 */
extern void reader_enter(Reading *reading, FunctionCallInfo fcinfo);

/* Refuse a max_bytes that is not a multiple of 8192 up to 16 MiB. */
extern void reader_check_size(int32 max_bytes);

/*
 * Find the handle and get the right to read it; then, with reader_release()
 * registered as clean-up, reader_check_claim() makes sure that it still is
 * the same handle.
 */
extern void reader_claim(Reading *reading, int32 number);
extern void reader_check_claim(Reading *reading, int32 number);

/*
 * Refuse to go on with a handle whose client has not got what was sent: there
 * would be a hole.
 */
extern void reader_refuse_broken(Reading *reading, int32 number);

/* Give up the claim; a callback, so that it also runs when a session dies. */
extern void reader_release(int code, Datum reading);

/*
 * Wait until a frame is there, or (request) the answer to a request.  False
 * when a stream has ended before it.
 */
extern bool reader_await(Reading *reading, bool request, uint64 frame);

/*
 * Make the ring of a file ready for the piece in start and length, and give
 * back what lies before it.  Afterwards the frames are where ring_frame_of()
 * says.  J1003 when it cannot be had any more.
 */
extern void reader_prepare(Reading *reading);

/*
 * What was copied counts only if nothing has ended the backup meanwhile; call
 * it between the copy and whatever makes it count.
 */
extern void reader_check_end(Reading *reading);

/* A sign of life: now, for the idle timeout and the views. */
extern void reader_touch(Reading *reading);

#endif							/* ESE_READER_H */
