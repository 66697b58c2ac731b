/*-------------------------------------------------------------------------
 *
 * ring.h
 *	  The frames between an engine thread and the session that reads.
 *
 * Every open handle has one ring.  It lies in shared memory: on one side the
 * engine thread that runs the handle's job, on the other whichever session
 * reads the handle now.  The file is cut into frames of ENG_FRAME_SIZE bytes
 * from 'base' on; frame k of the file lies in slot k % nframes.
 *
 * Who may write what:
 *
 *	ident, size, nframes, slot		the worker's main thread, while it holds
 *									the claim itself (RING_CLAIM_OWNER)
 *	claim							compare-and-swap from 0 by who wants to
 *									read; back to 0 by who holds it
 *	produced, length, finished,		the thread that runs the job
 *	error
 *	base							the job, to serve a request, or the owner
 *	consumed, position, piece_*		who holds the claim; consumed also the
 *									job, to serve RING_REWIND
 *	mark							the job, to serve a request; the claim
 *									holder, while there is none
 *	request							NONE to something by the claim holder,
 *									back to NONE by the job
 *	state							OPEN to FAILED by the job, to CLOSING by
 *									the owner or the claim holder, to FREE
 *									and OPEN by the owner
 *
 * The job never fills a slot before 'consumed' has passed its frame, and the
 * frames of the last piece that was delivered stay until the next piece is
 * asked for, so that a lost reply can be sent again.
 *
 * A piece that is larger than the ring gives its own frames back while it is
 * copied, and may be interrupted in the middle.  So 'position' can lie outside
 * the ring.  Then it is marked: the job keeps the digest of all bytes before
 * a mark, and can fill the ring again from there.  This holds at all times,
 * whoever died where: 'position' is held by the ring, or marked.  Everybody
 * who reads, copies or closes asks ring_find() which.
 *
 * Wake-ups are edges: a side that is about to sleep says so (reader_waiting,
 * job_waiting), looks once more, and sleeps; the other side looks at that
 * after every change.  For a moment each side waits for its bell, which the
 * other rings; then the reader sleeps on its latch, and the job parks, and
 * the owner has to wake them.
 *
 * Order of memory: all atomics here are sequentially consistent (at a frame
 * of 256 KiB the price does not show), and what is not atomic is handed over
 * by one that is: a slot's bytes and length by 'produced', to the job again
 * by 'consumed'; 'error' by 'state'; what an open ring is by 'ident' and, to
 * the job, by the engine's mutex; the reader's place by 'claim', from one
 * reader to the next and to the owner.  A request's mark and position are
 * stored before 'request', what it has changed before 'request' is NONE again.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_RING_H
#define ESE_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bell.h"

/* A frame is also the unit of work of a thread: it stays in the L2 cache. */
#define ENG_FRAME_SIZE		(256 * 1024)

/* Two frames let reading and filling overlap; more only help read-ahead. */
#define RING_MIN_FRAMES		2
#define RING_MAX_FRAMES		16

/* The claim of the worker's main thread while it changes a ring. */
#define RING_CLAIM_OWNER	(-1)

/* An error as a value: what happened to a handle's job. */
typedef struct EngError
{
	int32_t		jet;			/* JetErr; 0 when there is none */
	int32_t		sys_errno;		/* errno, or 0 */
	uint32_t	block;			/* for JET_errReadVerifyFailure */
	uint64_t	offset;			/* where in the file */
	bool		writing;		/* it was a write, not a read */
} EngError;

typedef enum RingState
{
	RING_FREE,					/* no handle; next: OPEN */
	RING_OPEN,					/* being filled or read; next: FAILED, CLOSING */
	RING_FAILED,				/* the job gave up; what was produced before
								 * can be read; next: CLOSING */
	RING_CLOSING,				/* nothing may be read; next: FREE */
} RingState;

/* How a side of the ring waits. */
typedef enum RingWaiting
{
	RING_AWAKE,
	RING_BY_BELL,				/* for a moment */
	RING_BY_OWNER,				/* until the owner wakes it */
} RingWaiting;

typedef enum RingRequest
{
	RING_NO_REQUEST,
	RING_MARK,					/* keep the digest at request_position; no
								 * mark when the ring does not hold it */
	RING_REWIND,				/* fill again from a mark; nothing when there
								 * is none */
} RingRequest;

/* Positions that can be gone back to. */
typedef enum RingMark
{
	RING_MARK_PIECE,			/* where a piece larger than the ring begins */
	RING_MARK_POSITION,			/* 'position', as it was delivered, while the
								 * piece before it is read again */
} RingMark;

#define RING_MARKS		2
#define RING_UNMARKED	UINT64_MAX

/* What ring_find() says about a position. */
typedef enum RingPlace
{
	RING_HELD,					/* it is in the ring, or comes next */
	RING_MARKED,				/* it can be gone back to */
	RING_LOST,					/* neither */
} RingPlace;

/* What ring_prepare() says about a piece. */
typedef enum RingReady
{
	RING_PREPARED,				/* its frames can be read as they come */
	RING_ASKED,					/* wait for the answer to a request, then
								 * prepare again */
	RING_CANNOT,				/* it is lost */
} RingReady;

/* What ring_poll() says about one frame. */
typedef enum RingPoll
{
	RING_READY,
	RING_WAIT,
	RING_BROKEN,				/* the job failed before this frame */
	RING_GONE,					/* the ring is being closed */
	RING_END,					/* a stream has no such frame */
} RingPoll;

typedef struct EngRing
{
	_Atomic uint32_t ident;		/* the handle's number; 0 while free */
	_Atomic int32_t claim;		/* pid of the reading session, 0, or
								 * RING_CLAIM_OWNER */
	_Atomic uint32_t state;		/* RingState */
	_Atomic uint64_t base;		/* file offset of frame 0 */
	_Atomic uint64_t produced;	/* frames filled */
	_Atomic uint64_t consumed;	/* frames given back */
	_Atomic uint32_t reader_waiting;	/* RingWaiting */
	_Atomic uint32_t job_waiting;	/* RingWaiting; BY_OWNER: it has parked */
	Bell		reader_bell;
	Bell		job_bell;
	_Atomic uint32_t request;	/* RingRequest */
	_Atomic uint32_t request_mark;	/* RingMark */
	_Atomic uint64_t request_position;
	_Atomic uint64_t mark[RING_MARKS];	/* or RING_UNMARKED */
	_Atomic uint32_t finished;	/* stream: no frame follows 'produced' */
	uint32_t	length[RING_MAX_FRAMES];	/* stream: bytes in each slot */

	uint64_t	size;			/* of the file, fixed at open */
	uint32_t	nframes;
	uint32_t	slot[RING_MAX_FRAMES];	/* frame numbers in the pool */
	EngError	error;			/* valid once state is FAILED */

	/* the reader's place */
	_Atomic uint64_t position;	/* next byte to deliver */
	uint64_t	piece_start;	/* first byte of the last piece */
	bool		piece_valid;	/* a piece was delivered */
	uint64_t	frame_at;		/* stream: the frame 'position' lies in */
	uint32_t	offset_at;		/* stream: where in that frame */
	_Atomic uint32_t sending;	/* stream: bytes beyond 'position' that are on
								 * their way to the client */
} EngRing;

/* Owner, holding the claim: these frames of the pool are the ring's. */
extern void ring_set_frames(EngRing *ring, const uint32_t *slot,
							uint32_t nframes);

/*
 * Owner, holding the claim: make a ring ready for a file whose reading begins
 * at base, and give up the claim.
 */
extern void ring_open(EngRing *ring, uint32_t ident, uint64_t base,
					  uint64_t size);

/* Owner, holding the claim: take the ring back for reuse. */
extern void ring_free(EngRing *ring);

/* Owner or claim holder: from now on nothing more is delivered. */
extern void ring_close(EngRing *ring);

/*
 * The right to read (pid), or to change the ring (RING_CLAIM_OWNER).  False,
 * and *holder, when another has it.
 */
extern bool ring_claim(EngRing *ring, int32_t pid, int32_t *holder);
extern void ring_release(EngRing *ring, int32_t pid);

/* Reader: where byte 'position' lies. */
extern uint64_t ring_frame_of(EngRing *ring, uint64_t position);
extern uint64_t ring_frame_end(EngRing *ring, uint64_t frame);
extern char *ring_bytes(EngRing *ring, char *pool, uint64_t position);

/* Reader of a stream: where frame k lies, and its length. */
extern char *ring_frame(EngRing *ring, char *pool, uint64_t frame,
						uint32_t *length);

/* Reader: wait a moment for a frame, unless it is there. */
extern void ring_linger(EngRing *ring, uint64_t frame);

/*
 * Reader: is the frame there?  RING_WAIT means that the job knows of the
 * reader, who now sleeps until the owner wakes him.
 */
extern RingPoll ring_poll(EngRing *ring, uint64_t frame);

/*
 * Reader: give back all frames before 'frame' that have been produced.  True:
 * the job has parked, half of the ring is empty, and the owner must be told.
 * A reader that then waits for a frame calls ring_wake_job().
 */
extern bool ring_retire(EngRing *ring, uint64_t frame);

/* Wake the job, if it waits.  True: the owner has to do that. */
extern bool ring_wake_job(EngRing *ring);

/* Job: wake the reader, if he waits.  True: the owner has to do that. */
extern bool ring_wake_reader(EngRing *ring);

/* Job: wait a moment for room, unless there is some, or a request. */
extern void ring_linger_for_room(EngRing *ring);
extern bool ring_has_room(EngRing *ring);

/*
 * Job, or owner while it is idle: does the ring hold the byte at 'position',
 * or does it come next?
 */
extern bool ring_holds(EngRing *ring, uint64_t position);

/*
 * Holder of the claim, without a request under way: where can a position be
 * had?  Sets *mark when it is RING_MARKED.
 */
extern RingPlace ring_find(EngRing *ring, uint64_t position, RingMark *mark);

/* Reader: does the piece span more frames than the ring has? */
extern bool ring_is_large(EngRing *ring, uint64_t start, uint64_t length);

/*
 * Reader, without a request under way: make the ring ready for a piece that
 * begins at 'position', or is to be had again.  RING_ASKED: the job has been
 * asked for something and must be woken by the owner.
 */
extern RingReady ring_prepare(EngRing *ring, uint64_t start, uint64_t length);

/* Reader: this piece is delivered; what comes next begins behind it. */
extern void ring_delivered(EngRing *ring, uint64_t start, uint64_t length);

/* Reader: ask the job for something, and look for its answer. */
extern void ring_request(EngRing *ring, RingRequest request, RingMark mark,
						 uint64_t position);
extern RingPoll ring_request_poll(EngRing *ring);

#endif							/* ESE_RING_H */
