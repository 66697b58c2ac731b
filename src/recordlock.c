/*-------------------------------------------------------------------------
 *
 * recordlock.c
 *	  Who may write a file under ese/.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"
#include "storage/ipc.h"

#include "aside.h"
#include "compat.h"
#include "recordlock.h"

/* How often a waiter looks whether the holder is still there. */
#define WAIT_STEP_MS	1000

/* How long a process on its way out waits. */
#define LEAVING_MS		1000

void
recordlock_init(RecordLock *lock)
{
	pg_atomic_init_u32(&lock->holder, 0);
	ConditionVariableInit(&lock->released);
}

/* One that vanished without a crash of the server can hold nothing. */
static bool
is_dead(uint32 pid)
{
	return kill((pid_t) pid, 0) != 0 && errno == ESRCH;
}

static bool
try_acquire(RecordLock *lock)
{
	uint32		holder = 0;

	if (pg_atomic_compare_exchange_u32(&lock->holder, &holder,
									   (uint32) MyProcPid))
		return true;
	/* an error that nobody foresaw has left it to this process */
	if (holder == (uint32) MyProcPid)
		return true;
	return is_dead(holder) &&
		pg_atomic_compare_exchange_u32(&lock->holder, &holder,
									   (uint32) MyProcPid);
}

/* Condition variables may raise: on the way out there is polling alone. */
static bool
acquire_leaving(RecordLock *lock)
{
	for (int ms = 0; ms < LEAVING_MS; ms++)
	{
		if (try_acquire(lock))
			return true;
		pg_usleep(1000);
	}
	return false;
}

static void
wait_for(RecordLock *lock)
{
	long		step = aside_watches() ? ASIDE_LOOK_MS : WAIT_STEP_MS;

	ConditionVariablePrepareToSleep(&lock->released);
	while (!try_acquire(lock))
	{
		aside_look();
		ConditionVariableTimedSleep(&lock->released, step,
									compat_wait_event("EseRecord"));
	}
	/* ending the sleep passes a wake-up on, if there was one */
	ConditionVariableCancelSleep();
}

bool
recordlock_acquire(RecordLock *lock)
{
	if (!try_acquire(lock))
	{
		if (!proc_exit_inprogress)
			wait_for(lock);
		else if (!acquire_leaving(lock))
			return false;
	}
	HOLD_INTERRUPTS();
	return true;
}

void
recordlock_release(RecordLock *lock)
{
	pg_memory_barrier();
	pg_atomic_write_u32(&lock->holder, 0);
	pg_memory_barrier();
	ConditionVariableBroadcast(&lock->released);
	RESUME_INTERRUPTS();
}
