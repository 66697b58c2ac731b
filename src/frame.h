/*-------------------------------------------------------------------------
 *
 * frame.h
 *	  Who has which handles and frames of the pool in shared memory.
 *
 * ese_init() reserves what max_open_files handles need at least, so that
 * opening a file cannot fail for want of frames; frames nobody has reserved
 * go to open handles as read-ahead.  A handle that a session still reads when
 * it is closed becomes a zombie: it keeps its frames until that session lets
 * go.  These may be frames that were promised to others, for nothing else can
 * be done without shared memory for every client that hangs; so an Open that
 * finds none left names the sessions, and so does the view ese_stream_buffers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_FRAME_H
#define ESE_FRAME_H

#include "shared.h"

/*
 * Reserve for an instance: handles and its answer frame.  False, and *needed
 * and *available in kB, when the pool is too small.
 */
extern bool frame_reserve(EseInstance *instance, int handles,
						  int *needed_kb, int *available_kb);

/* Give back what frame_reserve() took; all handles are closed. */
extern void frame_unreserve(EseInstance *instance);

/*
 * A free handle, its ring with its frames claimed by the owner and ready for
 * ring_open().  NULL when zombies hold so much that nothing is left.
 */
extern EseHandle *frame_take_handle(EseInstance *instance, uint32 *number);

/*
 * Close a handle whose job is idle.  It is free at once, or a zombie when a
 * session holds the claim.  have_claim: the caller holds it as the owner.
 */
extern void frame_put_handle(EseInstance *instance, EseHandle *handle,
							 bool have_claim);

/* Put all handles of an instance: its former worker is dead. */
extern void frame_put_all_handles(EseInstance *instance);

/* Free the zombies whose sessions have let go. */
extern void frame_sweep_zombies(void);

/*
 * A copy of a place, consistent in itself; false when there is no open handle
 * in it.
 */
extern bool frame_copy_handle(int place, EseHandle *copy);

/*
 * The sessions that still read handles that were closed: their process IDs in
 * a new array, and how many there are.
 */
extern int32 *frame_zombie_readers(int *count);

/*
 * The handle of a number, or NULL when it is no open handle of it.  It may be
 * closed at any time: who has claimed its ring looks at the number again.
 */
extern EseHandle *frame_find_handle(EseInstance *instance, int32 number);

static inline char *
frame_address(uint32 frame)
{
	return ese_frames + (Size) frame * ENG_FRAME_SIZE;
}

#endif							/* ESE_FRAME_H */
