/*-------------------------------------------------------------------------
 *
 * shared.c
 *	  Setting up shared memory.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "ese.h"
#include "shared.h"

#define TRANCHE "ese"
#define FRAME_ALIGNMENT 4096

EseShared  *ese_shared;
EseHandle  *ese_handles;
char	   *ese_frames;
bool	   *ese_frame_used;

static LWLockPadded *locks;

LWLock *
registry_lock(void)
{
	return &locks[0].lock;
}

LWLock *
frame_lock(void)
{
	return &locks[1].lock;
}

LWLock *
instance_lock(EseInstance *instance)
{
	return &locks[2 + instance->index].lock;
}

static int
frame_count(void)
{
	return (int) ((int64) ese_stream_buffers_kb * 1024 / ENG_FRAME_SIZE);
}

/* A handle takes at least the frames of a minimal ring. */
static int
handle_count(void)
{
	return frame_count() / RING_MIN_FRAMES;
}

static Size
instances_size(void)
{
	return add_size(offsetof(EseShared, instances),
					mul_size(sizeof(EseInstance), ese_max_instances));
}

static Size
frames_size(void)
{
	return add_size(mul_size(ENG_FRAME_SIZE, frame_count()), FRAME_ALIGNMENT);
}

void
shared_request(void)
{
	RequestAddinShmemSpace(instances_size());
	RequestAddinShmemSpace(mul_size(sizeof(EseHandle), handle_count()));
	RequestAddinShmemSpace(frames_size());
	RequestAddinShmemSpace(mul_size(sizeof(bool), frame_count()));
	RequestNamedLWLockTranche(TRANCHE, 2 + ese_max_instances);
}

/*
 * After a crash the postmaster does this again, and starts the workers again
 * by itself.
 */
static void
init_instances(void)
{
	static bool again = false;

	memset(ese_shared, 0, instances_size());
	ese_shared->launched = again;
	again = true;
	recordlock_init(&ese_shared->registry);
	recordlock_init(&ese_shared->handle_numbers);
	ese_shared->max_instances = ese_max_instances;
	ese_shared->nframes = frame_count();
	ese_shared->nhandles = handle_count();
	ese_shared->free_frames = ese_shared->nframes;
	for (int i = 0; i < ese_max_instances; i++)
	{
		EseInstance *instance = instance_of_index(i);

		instance->index = i;
		instance->answer_owner = -1;
		pg_atomic_init_u32(&instance->worker_pid, 0);
		pg_atomic_init_u64(&instance->stop_word, 0);
		pg_atomic_init_u64(&instance->last_activity, 0);
		pg_atomic_init_u64(&instance->last_call_at, 0);
		recordlock_init(&instance->records);
		ConditionVariableInit(&instance->changed);
	}
}

static void
init_handles(void)
{
	memset(ese_handles, 0, sizeof(EseHandle) * handle_count());
	for (int i = 0; i < handle_count(); i++)
	{
		pg_atomic_init_u32(&ese_handles[i].reader_proc_number, 0);
		pg_atomic_init_u64(&ese_handles[i].last_read_at, 0);
		pg_atomic_init_u64(&ese_handles[i].receipt, 0);
		pg_atomic_init_u64(&ese_handles[i].piece_receipt, 0);
	}
}

void
shared_startup(void)
{
	bool		found;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	locks = GetNamedLWLockTranche(TRANCHE);
	ese_shared = ShmemInitStruct("ese instances", instances_size(), &found);
	if (!found)
		init_instances();
	ese_handles = ShmemInitStruct("ese handles",
								  mul_size(sizeof(EseHandle), handle_count()),
								  &found);
	if (!found)
		init_handles();
	ese_frame_used = ShmemInitStruct("ese frame map",
									 mul_size(sizeof(bool), frame_count()),
									 &found);
	if (!found)
		memset(ese_frame_used, 0, sizeof(bool) * frame_count());
	ese_frames = ShmemInitStruct("ese frames", frames_size(), &found);
	ese_frames = (char *) TYPEALIGN(FRAME_ALIGNMENT, ese_frames);
	LWLockRelease(AddinShmemInitLock);
}

void
shared_note_activity(EseInstance *instance)
{
	pg_atomic_write_u64(&instance->last_activity, clock_us());
	pg_atomic_write_u64(&instance->last_call_at, GetCurrentTimestamp());
}

void
shared_check_loaded(void)
{
	if (ese_shared == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("ese is not loaded by the server"),
				 errdetail("It needs shared memory and background workers from server start on."),
				 errhint("Add ese to shared_preload_libraries in postgresql.conf and restart the server.")));
}
