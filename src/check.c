/*-------------------------------------------------------------------------
 *
 * check.c
 *	  ese_check_instance(): what a backup would need, and whether it is there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/statvfs.h>

#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "replication/slot.h"
#include "utils/timestamp.h"

#include "chain.h"
#include "instance.h"
#include "privilege.h"
#include "rows.h"

PGDLLEXPORT Datum ese_check_instance(PG_FUNCTION_ARGS);

PG_FUNCTION_INFO_V1(ese_check_instance);

/* A backup that is older is no comfort. */
#define OLD_BACKUP_DAYS 7

/* WAL for so many segments should have room. */
#define ROOM_SEGMENTS 16

/* Fills in the detail, a sentence; is it as it should be? */
typedef bool (*Check) (EseInstance *instance, StringInfo detail);

static bool
check_wal_level(EseInstance *instance, StringInfo detail)
{
	bool		good = XLogIsNeeded() || RecoveryInProgress();

	appendStringInfo(detail, good ? "WAL is sufficient for an online backup." :
					 "wal_level is minimal; a backup needs replica or logical.");
	return good;
}

static bool
check_worker(EseInstance *instance, StringInfo detail)
{
	InstanceState state = instance->state;

	appendStringInfo(detail, "The instance is %s.", instance_state_name(state));
	return state == INSTANCE_RUNNING;
}

static bool
check_replication_slots(EseInstance *instance, StringInfo detail)
{
	Chain		chain;
	int			free_slots = 0;
	int			needed;

	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	for (int i = 0; i < max_replication_slots; i++)
		free_slots += !ReplicationSlotCtl->replication_slots[i].in_use;
	LWLockRelease(ReplicationSlotControlLock);
	chain_look(instance, &chain);
	needed = 1 + (!instance->params.circular_log && !chain.has_slot);
	appendStringInfo(detail, "%d of max_replication_slots (%d) are free; a full backup needs %d.",
					 free_slots, max_replication_slots, needed);
	return free_slots >= needed;
}

static bool
check_rights(EseInstance *instance, StringInfo detail)
{
	bool		reads = privilege_to_read();

	appendStringInfo(detail, "Role \"%s\" may %sread backups and may %shave the server write them.",
					 GetUserNameFromId(GetUserId(), false),
					 reads ? "" : "not ",
					 privilege_to_write_files() ? "" : "not ");
	return reads;
}

static bool
check_wal_volume(EseInstance *instance, StringInfo detail)
{
	int64		wanted = Max(instance->params.backup_min_free_space,
							 (int64) ROOM_SEGMENTS * wal_segment_size);
	struct statvfs st;
	int64		room;

	if (statvfs("pg_wal", &st) != 0)
	{
		appendStringInfo(detail, "The volume of WAL cannot be looked at: %m.");
		return false;
	}
	room = (int64) st.f_bavail * (int64) st.f_frsize;
	appendStringInfo(detail, "%lld MB are free on the volume of WAL; at least %lld MB should be.",
					 (long long) (room >> 20), (long long) (wanted >> 20));
	return room >= wanted;
}

static bool
check_chain(EseInstance *instance, StringInfo detail)
{
	Chain		chain;

	chain_look(instance, &chain);
	if (instance->params.circular_log)
		appendStringInfo(detail, "With circular logging there is none: full backups only.");
	else if (chain.state == CHAIN_NONE)
		appendStringInfo(detail, "There is no full backup yet that an incremental could follow.");
	else if (chain.state == CHAIN_BROKEN)
		appendStringInfo(detail, "The slot of backup %lld %s: take a full backup.",
						 (long long) chain.backup_id,
						 chain.has_slot ? "has lost its WAL" : "does not exist");
	else
		appendStringInfo(detail, "Incremental backups can follow backup %lld.",
						 (long long) chain.backup_id);
	return instance->params.circular_log || chain.state == CHAIN_OK;
}

static bool
check_last_backup(EseInstance *instance, StringInfo detail)
{
	TimestampTz now = GetCurrentTimestamp();
	HistoryRow *rows;
	int			count;
	int			i;

	LWLockAcquire(registry_lock(), LW_SHARED);
	rows = history_read(instance->id, &count);
	LWLockRelease(registry_lock());
	for (i = count - 1; i >= 0 && rows[i].status != OUTCOME_COMPLETED; i--)
		;
	if (i < 0)
	{
		appendStringInfo(detail, "No backup was good yet.");
		return false;
	}
	appendStringInfo(detail, "The last good backup, %lld, was begun at %s.",
					 (long long) rows[i].backup_id,
					 timestamptz_to_str(rows[i].started_at));
	return now - rows[i].started_at < OLD_BACKUP_DAYS * USECS_PER_DAY;
}

static const struct
{
	const char *name;
	Check		check;
}			checks[] = {
	{"wal_level", check_wal_level},
	{"worker", check_worker},
	{"replication slots", check_replication_slots},
	{"rights", check_rights},
	{"WAL volume", check_wal_volume},
	{"chain", check_chain},
	{"last good backup", check_last_backup},
};

/* ese_check_instance(instance) → SETOF (check_name, ok, detail) */
Datum
ese_check_instance(PG_FUNCTION_ARGS)
{
	EseInstance *instance = instance_get(fcinfo, 0);
	Row			row;

	rows_begin(&row, fcinfo);
	for (int i = 0; i < lengthof(checks); i++)
	{
		StringInfoData detail;
		bool		good;

		initStringInfo(&detail);
		good = checks[i].check(instance, &detail);
		row_add_text(&row, checks[i].name);
		row_add_bool(&row, good);
		row_add_text(&row, detail.data);
		row_put(&row);
	}
	return (Datum) 0;
}
