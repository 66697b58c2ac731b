/*-------------------------------------------------------------------------
 *
 * receipt.h
 *	  Has the client got what its session has sent it of a handle?
 *
 * That the kernel took the bytes proves nothing: a client can be killed while
 * they wait in a socket, or in its own memory.  What proves it is the
 * client's next message, or its goodbye (Terminate), for it sends neither
 * before it has read the answer.  (One that pipelines statements behind those
 * that read speaks too soon, and is believed.)  Until then a receipt is
 * "due"; it is "lost" when the session ends in any other way, or when a
 * statement that had rows of a stream in hand fails before all were sent.
 *
 * A handle whose receipt is lost is read no further and does not count when
 * it is closed, unless the client says how many bytes it has: a stream's to
 * ese_resume_stream_instance(), a file's with at_offset or start_offset.
 *
 * The same holds for a piece of a file that was asked for without at_offset:
 * a client whose statement fails behind it would take the next piece for this
 * one.  Such a receipt has a word of its own, for which no Close waits.
 *
 * A session that is alive but says nothing more (an idle connection of a
 * pool) cannot be told from one that hangs: its receipt stays due, and
 * whoever closes the handle is believed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_RECEIPT_H
#define ESE_RECEIPT_H

#include "shared.h"

typedef enum SendKind
{
	SEND_COPY,					/* by us: what has left is known exactly */
	SEND_ROWS,					/* by the executor: an error can swallow rows */
	SEND_PIECE,					/* the same, a piece of a file */
} SendKind;

/*
 * Session: at the start of every call that reads, before any callback is
 * registered that must be the last one.  It is a sign that the client goes on.
 */
extern void receipt_prepare(void);

/*
 * Session, holding the claim: bytes of this handle are about to leave for
 * the client.
 */
extern void receipt_expect(EseInstance *instance, EseHandle *handle,
						   SendKind kind);

/*
 * Holder of the claim: the client has named the number of bytes it has, so
 * whatever was due or lost does not matter any more; or the handle is new.
 */
extern void receipt_forget(EseHandle *handle);

/* Anyone: was it lost? */
extern bool receipt_is_lost(EseHandle *handle);

/*
 * Session that closes a handle: its own receipt is given herewith; another
 * session that is about to go gets a moment for it, since the death of a
 * client takes the server some time to notice.
 */
extern void receipt_await(EseInstance *instance, int32 number);

#endif							/* ESE_RECEIPT_H */
