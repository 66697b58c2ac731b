/*-------------------------------------------------------------------------
 *
 * flusher.h
 *	  A thread that makes durable what others write, while they go on.
 *
 * A disk with a volatile cache needs time for a flush in proportion to what
 * was written since the last one, and no CPU.  Asked now and then it has done
 * most of that when the backup is complete, instead of only beginning then.
 *
 * Internal to the engine; any of its threads may call flusher_note().
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_FLUSHER_H
#define ESE_FLUSHER_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "engine.h"

typedef struct Flusher Flusher;

/* NULL and *sys_errno when memory or threads are short. */
extern Flusher *flusher_start(Engine *engine, int *sys_errno);

/*
 * End it, waiting until a moment of CLOCK_MONOTONIC at most.  False when it is
 * still inside a system call: its memory is left to it.
 */
extern bool flusher_end(Flusher *flusher, const struct timespec *until);

/*
 * So many bytes were handed to the disk from a file; when enough have come
 * together, and nothing is being flushed, that file is.
 */
extern void flusher_note(Flusher *flusher, int fd, uint64_t bytes);

/*
 * Something of this backup waits to be flushed, or is; its end notifies the
 * owner.
 */
extern bool flusher_is_busy(Flusher *flusher);

/* An errno, when a flush of this backup has failed; otherwise 0. */
extern int	flusher_error(Flusher *flusher);

/*
 * Owner, before a backup.  One that was stopped may still be flushed, by a
 * disk that is slow or gone: that is no business of this one.
 */
extern void flusher_begin(Flusher *flusher);

/*
 * Owner: do not begin what waits.  What is under way goes on; a stop need not
 * wait for it, as it reads nothing of the cluster.
 */
extern void flusher_cancel(Flusher *flusher);

#endif							/* ESE_FLUSHER_H */
