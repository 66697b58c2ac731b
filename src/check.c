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
#include "engine/jet.h"
#include "instance.h"
#include "privilege.h"
#include "rows.h"

PGDLLEXPORT Datum ese_check_instance(PG_FUNCTION_ARGS);

PG_FUNCTION_INFO_V1(ese_check_instance);

/* A backup that is older is no comfort; the README says so. */
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

/* How much WAL the chain's slot keeps, and whether anything limits that. */
static void
append_retained(StringInfo detail, EseInstance *instance, const Chain *chain)
{
	int64		limit = instance->params.backup_max_wal_retained;

	if (!chain->has_slot)
		return;
	appendStringInfo(detail, " Its slot retains %lld MB of WAL; ",
					 (long long) (chain_wal_retained(chain) >> 20));
	if (limit > 0)
		appendStringInfo(detail, "backup_max_wal_retained is %lld MB.",
						 (long long) (limit >> 20));
	else
		appendStringInfoString(detail, "backup_max_wal_retained sets no limit.");
}

/* Why nothing can follow; the full backup's row may know more. */
static void
describe_break(EseInstance *instance, const Chain *chain, StringInfo detail)
{
	HistoryRow	row;

	appendStringInfo(detail, "%s Take a full backup.",
					 chain_describe_break(instance, chain));
	if (history_find(instance->id, chain->backup_id, &row) &&
		row.reason[0] != '\0' && privilege_to_see(row.begun_by_oid))
		appendStringInfo(detail, " In the history: %s.", row.reason);
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
		describe_break(instance, &chain, detail);
	else
		appendStringInfo(detail, "Incremental backups can follow backup %lld.",
						 (long long) chain.backup_id);
	append_retained(detail, instance, &chain);
	return instance->params.circular_log || chain.state == CHAIN_OK;
}

/* Which of an instance's rows; restores and verifications are no backups. */
typedef bool (*RowFilter) (const HistoryRow *row);

static bool
is_ended(const HistoryRow *row)
{
	return row->kind <= KIND_DIFFERENTIAL && row->ended_at != 0;
}

static bool
is_good(const HistoryRow *row)
{
	return is_ended(row) && row->status == OUTCOME_COMPLETED;
}

/*
 * Does it say whether pages are damaged?  One that did not read all data files
 * says so only when it has found some.
 */
static bool
is_of_data(const HistoryRow *row)
{
	return is_ended(row) && (row->kind == KIND_FULL || row->kind == KIND_COPY) &&
		(row->status == OUTCOME_COMPLETED || row->checksum_failures > 0);
}

/* The newest such row; false when there is none. */
static bool
find_last(EseInstance *instance, RowFilter filter, HistoryRow *row)
{
	HistoryRow *rows;
	int			count;
	int			i;

	rows = history_read(instance->id, &count);
	for (i = count - 1; i >= 0 && !filter(&rows[i]); i--)
		;
	if (i >= 0)
		*row = rows[i];
	pfree(rows);
	return i >= 0;
}

static bool
check_last_good_backup(EseInstance *instance, StringInfo detail)
{
	HistoryRow	row;

	if (!find_last(instance, is_good, &row))
	{
		appendStringInfo(detail, "No backup was good yet.");
		return false;
	}
	appendStringInfo(detail, "The last good backup, %lld, was begun at %s.",
					 (long long) row.backup_id,
					 timestamptz_to_str(row.started_at));
	return GetCurrentTimestamp() - row.started_at <
		OLD_BACKUP_DAYS * USECS_PER_DAY;
}

static bool
check_last_backup(EseInstance *instance, StringInfo detail)
{
	HistoryRow	row;

	if (!find_last(instance, is_ended, &row))
	{
		appendStringInfo(detail, "No backup has ended yet.");
		return true;
	}
	appendStringInfo(detail, "Backup %lld, begun at %s, ",
					 (long long) row.backup_id,
					 timestamptz_to_str(row.started_at));
	if (row.status == OUTCOME_COMPLETED)
	{
		appendStringInfo(detail, "was good.");
		return true;
	}
	appendStringInfo(detail, "%s%s: %s (%d)",
					 row.status == OUTCOME_FAILED ? "" : "was ",
					 history_status_name(row.status),
					 jet_error_name((int) row.error_number),
					 (int) row.error_number);
	if (row.reason[0] != '\0' && privilege_to_see(row.begun_by_oid))
		appendStringInfo(detail, ": %s", row.reason);
	appendStringInfoChar(detail, '.');
	return false;
}

static bool
check_damaged_pages(EseInstance *instance, StringInfo detail)
{
	HistoryRow	row;

	if (!find_last(instance, is_of_data, &row))
		appendStringInfo(detail, "No backup has read all data files yet.");
	else if (!DataChecksumsEnabled())
		appendStringInfo(detail, "The cluster has no page checksums, so no backup can find any.");
	else if (row.checksum_failures == 0)
		appendStringInfo(detail, "Backup %lld found none.",
						 (long long) row.backup_id);
	else
	{
		appendStringInfo(detail, "Backup %lld found %lld damaged page%s; the view ese_checksum_failure lists them.",
						 (long long) row.backup_id,
						 (long long) row.checksum_failures,
						 row.checksum_failures == 1 ? "" : "s");
		return false;
	}
	return true;
}

/* Is it the one that the instance was made in? */
static bool
check_directory(EseInstance *instance, StringInfo detail)
{
	Chain		chain;

	if (instance->copied_at == 0)
	{
		appendStringInfoString(detail, "It is the one in which the instance is at home.");
		return true;
	}
	chain_look(instance, &chain);
	appendStringInfo(detail, "It was found to be a copy of another one at %s: the instance was not started.",
					 timestamptz_to_str(instance->copied_at));
	return instance->enabled && !chain.copied;
}

/* Is everything under ese/ that should be? */
static bool
check_records(EseInstance *instance, StringInfo detail)
{
	bool		good = true;

	LWLockAcquire(instance_lock(instance), LW_SHARED);
	if (instance->unrecorded_count > 0)
	{
		good = false;
		appendStringInfo(detail, "The end%s of %d backup%s kept in memory, because it could not be recorded: %s.",
						 instance->unrecorded_count == 1 ? "" : "s",
						 instance->unrecorded_count,
						 instance->unrecorded_count == 1 ? " is" : "s are",
						 instance->unrecorded_why);
	}
	LWLockRelease(instance_lock(instance));
	if (ese_shared->stale)
	{
		good = false;
		appendStringInfo(detail, "%sFile \"ese/state\" could not be written.",
						 detail->len > 0 ? " " : "");
	}
	if (good)
		appendStringInfoString(detail, "Everything is on disk.");
	return good;
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
	{"last good backup", check_last_good_backup},
	{"last backup", check_last_backup},
	{"damaged pages", check_damaged_pages},
	{"data directory", check_directory},
	{"records", check_records},
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
