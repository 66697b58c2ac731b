/*-------------------------------------------------------------------------
 *
 * receipt.c
 *	  Has the client got what its session has sent it of a handle?
 *
 * A handle's word holds its number (so that a late change cannot hit the next
 * handle of the place) and who owes the receipt.  A session remembers which
 * words are its own, and changes them by compare-and-swap when it goes on or
 * ends.
 *
 * Order of memory: the word says all there is to say, so a reader of it needs
 * no barrier.  Who must not miss a change has one all the same: the worker
 * reads it with the ring's claim, which its reader gave up, and
 * receipt_await() after ConditionVariableTimedSleep() has looked at its list,
 * which the broadcast that follows the change empties.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "engine/throttle.h"
#include "frame.h"
#include "receipt.h"

/* Instead of a process ID: the receipt was lost. */
#define LOST	UINT64CONST(0xFFFFFFFF)

/* How long a close waits for another session's receipt. */
#define GRACE_MS	1000
#define NS_PER_MS	UINT64CONST(1000000)

/* What this session's client owes; all of one message. */
typedef struct Due
{
	EseInstance *instance;
	pg_atomic_uint64 *at;		/* where the handle has the word */
	uint64		word;
	SendKind	kind;
} Due;

static Due *due;
static int	due_count;
static int	due_room;

/* When that message came; the next one has another time. */
static TimestampTz due_since;

static uint64
make_word(EseHandle *handle, uint64 who)
{
	return (uint64) atomic_load(&handle->ring.ident) << 32 | who;
}

static uint64
owed_by(uint64 word)
{
	return word & UINT64CONST(0xFFFFFFFF);
}

/* Give, or lose, what is due, and tell who waits for it. */
static void
settle(Due *one, bool given)
{
	uint64		word = one->word;

	if (pg_atomic_compare_exchange_u64(one->at, &word,
									   given ? 0 : word | LOST) &&
		one->kind != SEND_PIECE)
		ConditionVariableBroadcast(&one->instance->changed);
}

static void
settle_all(bool given)
{
	for (int i = 0; i < due_count; i++)
		settle(&due[i], given);
	due_count = 0;
}

/* A later message of the client is its receipt. */
static void
note_message(void)
{
	if (due_count > 0 && GetCurrentStatementStartTimestamp() != due_since)
		settle_all(true);
}

/* The statement that has sent rows fails: some of them may never leave. */
static void
lose_rows(void)
{
	int			kept = 0;

	for (int i = 0; i < due_count; i++)
	{
		if (due[i].kind != SEND_COPY)
			settle(&due[i], false);
		else
			due[kept++] = due[i];
	}
	due_count = kept;
}

static void
at_end_of_transaction(XactEvent event, void *arg)
{
	/* at_exit() knows more about a session that ends */
	if (due_count == 0 || proc_exit_inprogress)
		return;
	note_message();
	if (event == XACT_EVENT_ABORT)
		lose_rows();
}

static void
at_end_of_subtransaction(SubXactEvent event, SubTransactionId subxact,
						 SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		at_end_of_transaction(XACT_EVENT_ABORT, NULL);
}

/* Only a client that says goodbye leaves the cause as it was. */
static void
at_exit(int code, Datum arg)
{
	settle_all(code == 0 && pgStatSessionEndCause == DISCONNECT_NORMAL);
}

void
receipt_prepare(void)
{
	static bool prepared = false;

	note_message();
	if (prepared)
		return;
	RegisterXactCallback(at_end_of_transaction, NULL);
	RegisterSubXactCallback(at_end_of_subtransaction, NULL);
	on_shmem_exit(at_exit, 0);
	prepared = true;
}

/* Room for one more, before anything changes. */
static void
make_room(void)
{
	if (due_count < due_room)
		return;
	due_room = due_room == 0 ? 8 : due_room * 2;
	due = due == NULL ?
		MemoryContextAlloc(TopMemoryContext, sizeof(Due) * due_room) :
		repalloc(due, sizeof(Due) * due_room);
}

void
receipt_expect(EseInstance *instance, EseHandle *handle, SendKind kind)
{
	pg_atomic_uint64 *at = kind == SEND_PIECE ? &handle->piece_receipt :
		&handle->receipt;
	uint64		word = make_word(handle, (uint64) MyProcPid);
	uint64		before = pg_atomic_read_u64(at);

	if (before == word)
		return;
	make_room();
	do
	{
		if (owed_by(before) == LOST)
			return;
	} while (!pg_atomic_compare_exchange_u64(at, &before, word));
	due[due_count++] = (Due)
	{
		instance, at, word, kind
	};
	due_since = GetCurrentStatementStartTimestamp();
}

void
receipt_forget(EseHandle *handle)
{
	pg_atomic_write_u64(&handle->receipt, 0);
	pg_atomic_write_u64(&handle->piece_receipt, 0);
}

bool
receipt_is_lost(EseHandle *handle)
{
	return owed_by(pg_atomic_read_u64(&handle->receipt)) == LOST ||
		owed_by(pg_atomic_read_u64(&handle->piece_receipt)) == LOST;
}

/* Is it another session's, and may that still change? */
static bool
is_awaited(EseHandle *handle, uint64 word)
{
	return owed_by(word) != 0 && owed_by(word) != LOST &&
		pg_atomic_read_u64(&handle->receipt) == word;
}

void
receipt_await(EseInstance *instance, int32 number)
{
	EseHandle  *handle = frame_find_handle(instance, number);
	uint64		until = throttle_now() + GRACE_MS * NS_PER_MS;
	uint64		word;

	if (handle == NULL)
		return;
	word = pg_atomic_read_u64(&handle->receipt);
	if (word == make_word(handle, (uint64) MyProcPid))
	{
		/* without a claim: it may be another handle by now */
		(void) pg_atomic_compare_exchange_u64(&handle->receipt, &word, 0);
		return;
	}
	while (is_awaited(handle, word) &&
		   (pg_atomic_read_u64(&instance->stop_word) & STOP_WORD_STOPPED) == 0)
	{
		uint64		now = throttle_now();

		if (now >= until)
			break;
		(void) ConditionVariableTimedSleep(&instance->changed,
										   (long) ((until - now) / NS_PER_MS) + 1,
										   compat_wait_event("EseReceipt"));
	}
	ConditionVariableCancelSleep();
}
