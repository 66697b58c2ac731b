/*-------------------------------------------------------------------------
 *
 * chain.c
 *	  The chain of an instance: full backup, slot, incremental backups.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "common/string.h"
#include "replication/slot.h"
#include "storage/lwlock.h"

#include "backup.h"
#include "engine/atomic.h"
#include "chain.h"
#include "compat.h"
#include "engine/logmanifest.h"

static const char *const state_names[] = {
	[CHAIN_NONE] = "none",
	[CHAIN_OK] = "ok",
	[CHAIN_BROKEN] = "broken",
};

const char *
chain_state_name(ChainState state)
{
	return state_names[state];
}

char *
chain_slot_name(const EseInstance *instance)
{
	return psprintf("ese_%s", instance->name);
}

/* Copy what matters of the slot; false when it does not exist. */
static bool
look_at_slot(const EseInstance *instance, Chain *chain, bool *lost)
{
	ReplicationSlot *slot;

	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	slot = SearchNamedReplicationSlot(chain_slot_name(instance), false);
	if (slot != NULL)
	{
		*lost = compat_slot_is_lost(slot);
		SpinLockAcquire(&slot->mutex);
		chain->restart_lsn = slot->data.restart_lsn;
		chain->active_pid = (int) slot->active_pid;
		SpinLockRelease(&slot->mutex);
	}
	LWLockRelease(ReplicationSlotControlLock);
	return slot != NULL;
}

/* Is it the same directory, perhaps of an atomic backup that has moved? */
static bool
is_same_place(const char *a, const char *b)
{
	static const char *const names[] = {"/" ATOMIC_NEW, "/" ATOMIC_OLD};
	size_t		length = strlen(a);

	for (int i = 0; i < lengthof(names); i++)
	{
		if (pg_str_endswith(a, names[i]))
			length = strlen(a) - strlen(names[i]);
	}
	return strcmp(a, b) == 0 ||
		(length < strlen(a) && strncmp(a, b, length) == 0 &&
		 (strcmp(b + length, names[0]) == 0 || strcmp(b + length, names[1]) == 0));
}

/* The first incremental backup whose logs went elsewhere than its full one. */
static int64
find_elsewhere(const HistoryRow *full, const HistoryRow *end)
{
	for (const HistoryRow *row = full + 1; row < end; row++)
	{
		if (row->status == OUTCOME_COMPLETED && row->kind == KIND_INCREMENTAL &&
			!is_same_place(full->location, row->location))
			return row->backup_id;
	}
	return 0;
}

static LogFollows
link_of(const HistoryRow *row)
{
	LogFollows	link = {.backup_id = row->backup_id};

	link.end_lsn = (uint64) row->stop_lsn;
	strlcpy(link.checksum, row->log_manifest, sizeof(link.checksum));
	return link;
}

/* Is it a link of the chain that an earlier row began? */
static bool
is_next_link(const HistoryRow *row)
{
	return row->kind == KIND_INCREMENTAL && row->status == OUTCOME_COMPLETED;
}

/* The newest link of the chain that begins with this row. */
static LogFollows
find_newest(const HistoryRow *full, const HistoryRow *end)
{
	const HistoryRow *newest = full;

	for (const HistoryRow *row = full + 1; row < end; row++)
	{
		if (is_next_link(row))
			newest = row;
	}
	return link_of(newest);
}

/* The newest good full backup whose logs were truncated. */
static void
look_at_history(const EseInstance *instance, Chain *chain)
{
	HistoryRow *rows;
	int			count;

	rows = history_read(instance->id, &count);
	for (int i = count - 1; i >= 0 && chain->backup_id == 0; i--)
	{
		if (!history_is_chain_base(&rows[i]))
			continue;
		chain->backup_id = rows[i].backup_id;
		chain->copied = rows[i].backup_id < instance->chain_floor;
		strlcpy(chain->location, rows[i].location, sizeof(chain->location));
		chain->elsewhere_id = find_elsewhere(&rows[i], &rows[count]);
		chain->newest = find_newest(&rows[i], &rows[count]);
	}
	pfree(rows);
}

/* Did somebody move the slot beyond where the newest backup ends? */
static bool
is_moved(const Chain *chain)
{
	return chain->newest.end_lsn != InvalidXLogRecPtr &&
		!logmanifest_may_follow(chain->newest.end_lsn, chain->restart_lsn,
								(uint32) wal_segment_size);
}

void
chain_look(const EseInstance *instance, Chain *chain)
{
	bool		lost = false;

	memset(chain, 0, sizeof(*chain));
	if (instance->params.circular_log)
		return;
	look_at_history(instance, chain);
	chain->has_slot = look_at_slot(instance, chain, &lost);
	chain->moved = chain->has_slot && is_moved(chain);
	if (chain->backup_id == 0)
		chain->state = CHAIN_NONE;
	else if (chain->copied || chain->moved || !chain->has_slot || lost || chain->restart_lsn == InvalidXLogRecPtr)
		chain->state = CHAIN_BROKEN;
	else
		chain->state = CHAIN_OK;
}

LogFollows *
chain_unfinished(const EseInstance *instance, int *count)
{
	LogFollows *unfinished;
	HistoryRow *rows;
	int			row_count;

	rows = history_read(instance->id, &row_count);
	unfinished = palloc(sizeof(LogFollows) * (row_count + 1));
	*count = 0;
	for (int i = 0; i < row_count; i++)
	{
		if (history_is_chain_base(&rows[i]) || is_next_link(&rows[i]))
			*count = 0;
		else if (rows[i].kind == KIND_INCREMENTAL &&
				 rows[i].location[0] != '\0' &&
				 rows[i].log_manifest[0] != '\0')
			unfinished[(*count)++] = link_of(&rows[i]);
	}
	pfree(rows);
	return unfinished;
}

static bool
has_free_slot(void)
{
	bool		found = false;

	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	for (int i = 0; i < max_replication_slots && !found; i++)
		found = !ReplicationSlotCtl->replication_slots[i].in_use;
	LWLockRelease(ReplicationSlotControlLock);
	return found;
}

int64
chain_wal_retained(const Chain *chain)
{
	XLogRecPtr	now = backup_current_lsn();

	if (!chain->has_slot || chain->restart_lsn == InvalidXLogRecPtr ||
		now < chain->restart_lsn)
		return 0;
	return (int64) (now - chain->restart_lsn);
}

bool
chain_can_advance(const EseInstance *instance)
{
	Chain		chain;

	chain_look(instance, &chain);
	return chain.has_slot || has_free_slot();
}

void
chain_advance(const EseInstance *instance, XLogRecPtr to)
{
	char	   *name = chain_slot_name(instance);
	Chain		chain;

	/* a temporary slot stays this process's own when it is let go */
	if (MyReplicationSlot != NULL)
		ReplicationSlotRelease();
	chain_look(instance, &chain);
	/* a full backup begins a new chain: what the old slot has lost is no loss */
	if (chain.has_slot && chain.state == CHAIN_BROKEN)
	{
		ReplicationSlotDrop(name, true);
		chain.has_slot = false;
	}
	if (chain.has_slot)
		compat_acquire_slot(name);
	else
		compat_create_slot(name, RS_PERSISTENT);
	SpinLockAcquire(&MyReplicationSlot->mutex);
	MyReplicationSlot->data.restart_lsn = to;
	SpinLockRelease(&MyReplicationSlot->mutex);
	ReplicationSlotMarkDirty();
	ReplicationSlotSave();
	ReplicationSlotsComputeRequiredLSN();
	ReplicationSlotRelease();
}

char *
chain_own_slot(const EseInstance *instance)
{
	ReplicationSlot *slot = SearchNamedReplicationSlot(chain_slot_name(instance),
													   true);
	Chain		chain = {0};

	if (slot == NULL || !SlotIsPhysical(slot))
		return NULL;
	look_at_history(instance, &chain);
	return chain.backup_id != 0 ? chain_slot_name(instance) : NULL;
}

void
chain_refuse_active(const char *name)
{
	ReplicationSlot *slot;
	int			pid = 0;

	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	slot = SearchNamedReplicationSlot(name, false);
	if (slot != NULL)
	{
		SpinLockAcquire(&slot->mutex);
		pid = (int) slot->active_pid;
		SpinLockRelease(&slot->mutex);
	}
	LWLockRelease(ReplicationSlotControlLock);
	if (pid != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("replication slot \"%s\" is active for PID %d", name, pid)));
}

char *
chain_describe_break(const EseInstance *instance, const Chain *chain)
{
	if (chain->copied)
		return psprintf("Backup %lld is that of the data directory of which this one is a copy.",
						(long long) chain->backup_id);
	return psprintf("WAL since backup %lld is gone: replication slot \"%s\" %s.",
					(long long) chain->backup_id, chain_slot_name(instance),
					!chain->has_slot ? "does not exist" :
					chain->moved ? "was moved by somebody else" : "was invalidated");
}

void
chain_drop(const EseInstance *instance)
{
	char	   *name = chain_own_slot(instance);
	char	   *held = NULL;

	if (name == NULL)
		return;
	/* a process holds one slot at a time; a temporary one stays its own */
	if (MyReplicationSlot != NULL)
	{
		held = pstrdup(NameStr(MyReplicationSlot->data.name));
		ReplicationSlotRelease();
	}
	ReplicationSlotDrop(name, true);
	if (held != NULL)
		compat_acquire_slot(held);
}
