/*-------------------------------------------------------------------------
 *
 * frame.c
 *	  Accounting for handles and frames.
 *
 * Order of memory: who has what changes under the frame lock.  What is read
 * without it is 'zombies' (a hint: the worker looks again within a second) and
 * a handle by its number: everything about a handle is written before its
 * ring's ident, with which it is published, and ident is 0 again before
 * anything about it changes (sequentially consistent both).  So who has seen
 * the number after his last look has seen that handle.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "frame.h"
#include "handlenumber.h"

#define FRAME_KB (ENG_FRAME_SIZE / 1024)

/* Where the handle of a number lies. */
static EseHandle *
place_of(uint32 number)
{
	return &ese_handles[(number - 1) % ese_shared->nhandles];
}

/* Frames taken from the pool; the frame lock is held. */
static uint32
take_frame(void)
{
	for (int i = 0; i < ese_shared->nframes; i++)
	{
		if (!ese_frame_used[i])
		{
			ese_frame_used[i] = true;
			ese_shared->free_frames--;
			return (uint32) i;
		}
	}
	elog(ERROR, "no free frame although %d are counted",
		 ese_shared->free_frames);
}

static void
put_frame(uint32 frame)
{
	ese_frame_used[frame] = false;
	ese_shared->free_frames++;
}

/* A handle nobody reads any more; we hold its claim and the frame lock. */
static void
free_handle(EseHandle *handle)
{
	for (uint32 i = 0; i < handle->ring.nframes; i++)
		put_frame(handle->ring.slot[i]);
	handle->ring.nframes = 0;
	handle->instance_id = 0;
	ese_shared->zombies -= handle->zombie;
	handle->zombie = false;
	ring_free(&handle->ring);
}

/* The frame lock is held. */
static void
sweep_zombies(void)
{
	for (int i = 0; i < ese_shared->nhandles; i++)
	{
		EseHandle  *handle = &ese_handles[i];
		int32		holder;

		if (handle->zombie &&
			ring_claim(&handle->ring, RING_CLAIM_OWNER, &holder))
			free_handle(handle);
	}
}

void
frame_sweep_zombies(void)
{
	if (ese_shared->zombies == 0)
		return;
	LWLockAcquire(frame_lock(), LW_EXCLUSIVE);
	sweep_zombies();
	LWLockRelease(frame_lock());
}

/* The frame lock is held. */
static void
put_handle(EseHandle *handle, bool have_claim)
{
	int32		holder;

	ring_close(&handle->ring);
	ese_shared->promised_frames += RING_MIN_FRAMES;
	if (have_claim ||
		ring_claim(&handle->ring, RING_CLAIM_OWNER, &holder))
		free_handle(handle);
	else
	{
		handle->zombie = true;
		ese_shared->zombies++;
	}
}

/* Put all handles of an instance; the frame lock is held. */
static void
put_all_handles(EseInstance *instance)
{
	for (int i = 0; i < ese_shared->nhandles; i++)
	{
		EseHandle  *handle = &ese_handles[i];
		int32		holder = RING_CLAIM_OWNER;

		if (handle->instance_id != instance->id || handle->zombie)
			continue;
		/* a claim of the dead worker is nobody's */
		atomic_compare_exchange_strong(&handle->ring.claim, &holder, 0);
		put_handle(handle, false);
	}
}

/* The frame lock is held. */
static void
unreserve(EseInstance *instance)
{
	if (instance->reserved_handles == 0)
		return;
	put_frame(instance->answer_frame);
	ese_shared->promised_frames -=
		instance->reserved_handles * RING_MIN_FRAMES;
	instance->reserved_handles = 0;
}

bool
frame_reserve(EseInstance *instance, int handles,
			  int *needed_kb, int *available_kb)
{
	int			needed = handles * RING_MIN_FRAMES + 1;
	int			available;
	bool		enough;

	LWLockAcquire(frame_lock(), LW_EXCLUSIVE);
	/* a worker that could not join its threads has left all it had */
	put_all_handles(instance);
	unreserve(instance);
	sweep_zombies();
	available = ese_shared->free_frames - ese_shared->promised_frames;
	enough = needed <= available;
	if (enough)
	{
		instance->answer_frame = take_frame();
		instance->reserved_handles = handles;
		ese_shared->promised_frames += handles * RING_MIN_FRAMES;
	}
	LWLockRelease(frame_lock());
	*needed_kb = needed * FRAME_KB;
	*available_kb = available * FRAME_KB;
	return enough;
}

void
frame_unreserve(EseInstance *instance)
{
	LWLockAcquire(frame_lock(), LW_EXCLUSIVE);
	unreserve(instance);
	LWLockRelease(frame_lock());
}

/*
 * A free place whose claim we could take, or NULL.  The place of a number is
 * what frame_find_handle() takes it for; numbers of other places are skipped.
 */
static EseHandle *
claim_free_place(uint32 *number)
{
	uint32		first = handlenumber_next();

	for (int i = 0; i < ese_shared->nhandles; i++)
	{
		EseHandle  *handle = place_of(first + i);
		int32		holder;

		if (handle->instance_id == 0 &&
			ring_claim(&handle->ring, RING_CLAIM_OWNER, &holder))
		{
			*number = first + i;
			handlenumber_use(*number);
			return handle;
		}
	}
	return NULL;
}

/*
 * Frames for a handle's ring: those that were promised, and what nobody has
 * reserved.  The ring has them from now on, so that they come back with the
 * handle whatever happens next.  The frame lock is held.
 */
static void
give_frames(EseHandle *handle)
{
	int			surplus = ese_shared->free_frames -
		ese_shared->promised_frames;
	uint32		slot[RING_MAX_FRAMES];
	uint32		nframes = RING_MIN_FRAMES +
		Max(0, Min(surplus, RING_MAX_FRAMES - RING_MIN_FRAMES));

	ese_shared->promised_frames -= RING_MIN_FRAMES;
	for (uint32 i = 0; i < nframes; i++)
		slot[i] = take_frame();
	ring_set_frames(&handle->ring, slot, nframes);
}

EseHandle *
frame_take_handle(EseInstance *instance, uint32 *number)
{
	EseHandle  *handle = NULL;

	handlenumber_reserve();
	LWLockAcquire(frame_lock(), LW_EXCLUSIVE);
	sweep_zombies();
	if (ese_shared->free_frames >= RING_MIN_FRAMES)
		handle = claim_free_place(number);
	if (handle != NULL)
	{
		give_frames(handle);
		handle->instance_id = instance->id;
		handle->zombie = false;
	}
	LWLockRelease(frame_lock());
	return handle;
}

void
frame_put_handle(EseInstance *instance, EseHandle *handle, bool have_claim)
{
	LWLockAcquire(frame_lock(), LW_EXCLUSIVE);
	put_handle(handle, have_claim);
	LWLockRelease(frame_lock());
}

void
frame_put_all_handles(EseInstance *instance)
{
	LWLockAcquire(frame_lock(), LW_EXCLUSIVE);
	put_all_handles(instance);
	LWLockRelease(frame_lock());
}

/*
 * The lock keeps handles from being given back meanwhile; one that is just
 * being opened has no ident yet, or has one after the copy, and is left out.
 */
bool
frame_copy_handle(int place, EseHandle *copy)
{
	EseHandle  *handle = &ese_handles[place];
	uint32		ident;

	LWLockAcquire(frame_lock(), LW_SHARED);
	ident = atomic_load(&handle->ring.ident);
	memcpy(copy, handle, sizeof(*copy));
	LWLockRelease(frame_lock());
	return ident != 0 && copy->instance_id != 0 && !copy->zombie;
}

int32 *
frame_zombie_readers(int *count)
{
	int32	   *pids = palloc(sizeof(int32) * ese_shared->nhandles);

	*count = 0;
	LWLockAcquire(frame_lock(), LW_SHARED);
	for (int i = 0; i < ese_shared->nhandles; i++)
	{
		int32		pid = atomic_load(&ese_handles[i].ring.claim);

		/* one that has just let go is free when the worker looks */
		if (ese_handles[i].zombie && pid > 0)
			pids[(*count)++] = pid;
	}
	LWLockRelease(frame_lock());
	return pids;
}

EseHandle *
frame_find_handle(EseInstance *instance, int32 number)
{
	EseHandle  *handle;

	if (number <= 0)
		return NULL;
	handle = place_of((uint32) number);
	if (atomic_load(&handle->ring.ident) != (uint32) number ||
		handle->instance_id != instance->id)
		return NULL;
	return handle;
}
