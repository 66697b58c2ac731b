/*-------------------------------------------------------------------------
 *
 * ring.c
 *	  The ring protocol; see ring.h for who may call what.
 *
 *-------------------------------------------------------------------------
 */
#include "ring.h"

#include <string.h>

/* How long a side waits for its bell before it leaves that to the owner. */
#define LINGER_NS 1000000

void
ring_set_frames(EngRing *ring, const uint32_t *slot, uint32_t nframes)
{
	ring->nframes = nframes;
	memcpy(ring->slot, slot, nframes * sizeof(slot[0]));
}

void
ring_open(EngRing *ring, uint32_t ident, uint64_t base, uint64_t size)
{
	atomic_store(&ring->base, base);
	atomic_store(&ring->produced, 0);
	atomic_store(&ring->consumed, 0);
	atomic_store(&ring->reader_waiting, RING_AWAKE);
	atomic_store(&ring->job_waiting, RING_AWAKE);
	atomic_store(&ring->request, RING_NO_REQUEST);
	atomic_store(&ring->finished, 0);
	atomic_store(&ring->position, base);
	for (int i = 0; i < RING_MARKS; i++)
		atomic_store(&ring->mark[i], RING_UNMARKED);
	ring->size = size;
	memset(&ring->error, 0, sizeof(ring->error));
	ring->piece_valid = false;
	ring->frame_at = 0;
	ring->offset_at = 0;
	atomic_store(&ring->sending, 0);
	atomic_store(&ring->state, RING_OPEN);
	atomic_store(&ring->ident, ident);
	ring_release(ring, RING_CLAIM_OWNER);
}

void
ring_free(EngRing *ring)
{
	atomic_store(&ring->ident, 0);
	atomic_store(&ring->state, RING_FREE);
	ring_release(ring, RING_CLAIM_OWNER);
}

void
ring_close(EngRing *ring)
{
	atomic_store(&ring->state, RING_CLOSING);
	bell_ring(&ring->reader_bell);
	bell_ring(&ring->job_bell);
}

bool
ring_claim(EngRing *ring, int32_t pid, int32_t *holder)
{
	*holder = 0;
	return atomic_compare_exchange_strong(&ring->claim, holder, pid);
}

void
ring_release(EngRing *ring, int32_t pid)
{
	if (atomic_load(&ring->claim) != pid)
		return;
	atomic_store(&ring->reader_waiting, RING_AWAKE);
	atomic_store(&ring->claim, 0);
}

uint64_t
ring_frame_of(EngRing *ring, uint64_t position)
{
	return (position - atomic_load(&ring->base)) / ENG_FRAME_SIZE;
}

uint64_t
ring_frame_end(EngRing *ring, uint64_t frame)
{
	uint64_t	end = atomic_load(&ring->base) + (frame + 1) * ENG_FRAME_SIZE;

	return end < ring->size ? end : ring->size;
}

char *
ring_bytes(EngRing *ring, char *pool, uint64_t position)
{
	uint64_t	from_base = position - atomic_load(&ring->base);
	uint32_t	slot = ring->slot[from_base / ENG_FRAME_SIZE % ring->nframes];

	return pool + (size_t) slot * ENG_FRAME_SIZE + from_base % ENG_FRAME_SIZE;
}

char *
ring_frame(EngRing *ring, char *pool, uint64_t frame, uint32_t *length)
{
	uint32_t	at = (uint32_t) (frame % ring->nframes);

	*length = ring->length[at];
	return pool + (size_t) ring->slot[at] * ENG_FRAME_SIZE;
}

static RingPoll
look(EngRing *ring, uint64_t frame)
{
	uint32_t	state = atomic_load(&ring->state);

	if (state != RING_OPEN && state != RING_FAILED)
		return RING_GONE;
	if (frame < atomic_load(&ring->produced))
		return RING_READY;
	/* 'finished' is set after the last frame was produced */
	if (atomic_load(&ring->finished))
		return frame < atomic_load(&ring->produced) ? RING_READY : RING_END;
	return state == RING_FAILED ? RING_BROKEN : RING_WAIT;
}

void
ring_linger(EngRing *ring, uint64_t frame)
{
	uint32_t	count = atomic_load(&ring->reader_bell);

	if (look(ring, frame) != RING_WAIT)
		return;
	atomic_store(&ring->reader_waiting, RING_BY_BELL);
	if (look(ring, frame) == RING_WAIT)
		bell_wait(&ring->reader_bell, count, LINGER_NS);
	atomic_store(&ring->reader_waiting, RING_AWAKE);
}

RingPoll
ring_poll(EngRing *ring, uint64_t frame)
{
	RingPoll	poll = look(ring, frame);

	if (poll != RING_WAIT)
		return poll;
	atomic_store(&ring->reader_waiting, RING_BY_OWNER);
	poll = look(ring, frame);
	if (poll != RING_WAIT)
		atomic_store(&ring->reader_waiting, RING_AWAKE);
	return poll;
}

bool
ring_retire(EngRing *ring, uint64_t frame)
{
	uint64_t	produced = atomic_load(&ring->produced);

	/* what is not there yet cannot be given back */
	if (frame > produced)
		frame = produced;
	if (frame <= atomic_load(&ring->consumed))
		return false;
	atomic_store(&ring->consumed, frame);

	/* one wake-up for half a ring, not one for each frame */
	return produced - frame <= ring->nframes / 2 && ring_wake_job(ring);
}

bool
ring_wake_job(EngRing *ring)
{
	uint32_t	waiting = atomic_load(&ring->job_waiting);

	if (waiting == RING_BY_BELL)
		bell_ring(&ring->job_bell);
	return waiting == RING_BY_OWNER;
}

bool
ring_wake_reader(EngRing *ring)
{
	uint32_t	waiting = atomic_load(&ring->reader_waiting);

	if (waiting == RING_BY_BELL)
		bell_ring(&ring->reader_bell);
	return waiting == RING_BY_OWNER;
}

/*
 * 'consumed' first: it never passes 'produced', so the difference cannot turn
 * negative, whatever both sides do meanwhile.
 */
bool
ring_has_room(EngRing *ring)
{
	uint64_t	consumed = atomic_load(&ring->consumed);

	return atomic_load(&ring->produced) - consumed < ring->nframes;
}

/* Nothing for the job to do, nor a reason to stop waiting. */
static bool
job_has_to_wait(EngRing *ring)
{
	return !ring_has_room(ring) &&
		atomic_load(&ring->request) == RING_NO_REQUEST &&
		atomic_load(&ring->state) == RING_OPEN;
}

void
ring_linger_for_room(EngRing *ring)
{
	uint32_t	count = atomic_load(&ring->job_bell);

	atomic_store(&ring->job_waiting, RING_BY_BELL);
	if (job_has_to_wait(ring))
		bell_wait(&ring->job_bell, count, LINGER_NS);
	atomic_store(&ring->job_waiting, RING_AWAKE);
}

bool
ring_holds(EngRing *ring, uint64_t position)
{
	uint64_t	base = atomic_load(&ring->base);

	return position >=
		base + atomic_load(&ring->consumed) * ENG_FRAME_SIZE &&
		position <= base + atomic_load(&ring->produced) * ENG_FRAME_SIZE;
}

RingPlace
ring_find(EngRing *ring, uint64_t position, RingMark *mark)
{
	/* what the ring holds there may be another reading of the file */
	*mark = RING_MARK_POSITION;
	if (atomic_load(&ring->mark[RING_MARK_POSITION]) == position)
		return RING_MARKED;
	if (ring_holds(ring, position))
		return RING_HELD;
	*mark = RING_MARK_PIECE;
	return atomic_load(&ring->mark[RING_MARK_PIECE]) == position ?
		RING_MARKED : RING_LOST;
}

bool
ring_is_large(EngRing *ring, uint64_t start, uint64_t length)
{
	return length > 0 && ring_frame_of(ring, start + length - 1) -
		ring_frame_of(ring, start) >= ring->nframes;
}

/*
 * Before frames are given back in the middle of a piece, or the ring is filled
 * anew, both its start and the position must have been marked: it may end
 * anywhere.
 */
RingReady
ring_prepare(EngRing *ring, uint64_t start, uint64_t length)
{
	uint64_t	position = atomic_load(&ring->position);
	bool		large = ring_is_large(ring, start, length);
	RingMark	mark;
	RingMark	ignored;
	RingPlace	place = ring_find(ring, start, &mark);

	if (place == RING_LOST)
		return RING_CANNOT;
	if (start != position && (place == RING_MARKED || large) &&
		ring_find(ring, position, &ignored) == RING_HELD)
		ring_request(ring, RING_MARK, RING_MARK_POSITION, position);
	else if (place == RING_MARKED)
		ring_request(ring, RING_REWIND, mark, start);
	else if (large && atomic_load(&ring->mark[RING_MARK_PIECE]) != start)
		ring_request(ring, RING_MARK, RING_MARK_PIECE, start);
	else
		return RING_PREPARED;
	return RING_ASKED;
}

void
ring_delivered(EngRing *ring, uint64_t start, uint64_t length)
{
	ring->piece_start = start;
	ring->piece_valid = true;
	atomic_store(&ring->position, start + length);
	atomic_store(&ring->mark[RING_MARK_POSITION], RING_UNMARKED);
}

void
ring_request(EngRing *ring, RingRequest request, RingMark mark,
			 uint64_t position)
{
	atomic_store(&ring->request_mark, mark);
	atomic_store(&ring->request_position, position);
	atomic_store(&ring->request, request);
	(void) ring_wake_job(ring);
}

static RingPoll
look_at_request(EngRing *ring)
{
	if (atomic_load(&ring->request) == RING_NO_REQUEST)
		return RING_READY;
	switch (atomic_load(&ring->state))
	{
		case RING_OPEN:
			return RING_WAIT;
		case RING_FAILED:
			return RING_BROKEN;
		default:
			return RING_GONE;
	}
}

RingPoll
ring_request_poll(EngRing *ring)
{
	RingPoll	poll = look_at_request(ring);

	if (poll != RING_WAIT)
		return poll;
	atomic_store(&ring->reader_waiting, RING_BY_OWNER);
	poll = look_at_request(ring);
	if (poll != RING_WAIT)
		atomic_store(&ring->reader_waiting, RING_AWAKE);
	return poll;
}
