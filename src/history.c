/*-------------------------------------------------------------------------
 *
 * history.c
 *	  The rows of ese_backup_history on disk.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "engine/jet.h"
#include "history.h"
#include "shared.h"
#include "statefile.h"

#define HISTORY_MAGIC	0x48455345	/* "ESEH" */
#define HISTORY_VERSION 3

/* How a field is stored: in the order of this table. */
typedef struct RowField
{
	size_t		offset;
	size_t		size;			/* of a string; 0 for a number */
} RowField;

#define NUMBER(field) {offsetof(HistoryRow, field), 0}
#define STRING(field) {offsetof(HistoryRow, field), sizeof(((HistoryRow *) 0)->field)}

static const RowField row_fields[] = {
	NUMBER(backup_id),
	NUMBER(instance_id),
	STRING(name),
	STRING(label),
	NUMBER(kind),
	NUMBER(status),
	NUMBER(stop_cause),
	NUMBER(error_number),
	STRING(reason),
	STRING(location),
	NUMBER(begun_by_oid),
	STRING(begun_by),
	STRING(client_addr),
	STRING(application_name),
	NUMBER(started_at),
	NUMBER(ended_at),
	NUMBER(stop_requested_at),
	STRING(stop_requested_by),
	NUMBER(quiescent_at),
	NUMBER(released_at),
	NUMBER(start_lsn),
	NUMBER(stop_lsn),
	NUMBER(timeline),
	NUMBER(files),
	NUMBER(bytes),
	NUMBER(wal_bytes),
	NUMBER(checksum_failures),
	NUMBER(verified_at),
	STRING(verified_depth),
	NUMBER(truncated),
	NUMBER(warned),
	STRING(log_manifest),
};

static const char *const kind_names[] = {
	[KIND_FULL] = "full",
	[KIND_COPY] = "copy",
	[KIND_INCREMENTAL] = "incremental",
	[KIND_DIFFERENTIAL] = "differential",
	[KIND_RESTORE] = "restore",
	[KIND_VERIFY] = "verify",
};

static const char *const status_names[] = {
	[OUTCOME_RUNNING] = "running",
	[OUTCOME_STOPPED] = "stopped",
	[OUTCOME_COMPLETED] = "completed",
	[OUTCOME_ABORTED_BY_CALLER] = "aborted by caller",
	[OUTCOME_ABORTED_BY_SERVER] = "aborted by server",
	[OUTCOME_FAILED] = "failed",
};

static const char *const cause_names[] = {
	[CAUSE_NONE] = NULL,
	[CAUSE_USER] = "user",
	[CAUSE_IDLE_TIMEOUT] = "idle timeout",
	[CAUSE_WAL_LIMIT] = "wal limit",
	[CAUSE_TERM] = "term",
	[CAUSE_SHUTDOWN] = "shutdown",
	[CAUSE_WORKER_EXIT] = "worker exit",
	[CAUSE_PROMOTION] = "promotion",
	[CAUSE_DISK_SPACE] = "disk space",
};

const char *
history_kind_name(int64 kind)
{
	return kind_names[kind];
}

const char *
history_noun(int64 kind)
{
	return kind == KIND_RESTORE ? "restore" :
		kind == KIND_VERIFY ? "verification" : "backup";
}

void
history_describe_begin(const HistoryRow *row, char *to, size_t size)
{
	const char *noun = row->kind == KIND_RESTORE ? "Restore" :
		row->kind == KIND_VERIFY ? "Verification" : "Backup";
	char		label[MAXPGPATH + 16] = "";

	if (row->kind != KIND_RESTORE)
		snprintf(label, sizeof(label), ", label \"%s\",", row->label);
	snprintf(to, size, "%s %lld%s was begun by %s at %s.", noun,
			 (long long) row->backup_id, label, row->begun_by,
			 timestamptz_to_str(row->started_at));
}

const char *
history_status_name(int64 status)
{
	return status_names[status];
}

const char *
history_cause_name(int64 cause)
{
	return cause_names[cause];
}

static char *
file_name(int32 instance_id)
{
	return psprintf("history.%d", instance_id);
}

static void
put_row(ByteBuffer *record, const HistoryRow *row)
{
	for (int i = 0; i < lengthof(row_fields); i++)
	{
		const char *field = (const char *) row + row_fields[i].offset;

		if (row_fields[i].size > 0)
			record_put_string(record, field);
		else
			record_put_int(record, *(const int64 *) field);
	}
}

static void
get_row(RecordReader *reader, HistoryRow *row)
{
	for (int i = 0; i < lengthof(row_fields); i++)
	{
		char	   *field = (char *) row + row_fields[i].offset;

		if (row_fields[i].size > 0)
			record_get_string(reader, field, row_fields[i].size);
		else
			*(int64 *) field = record_get_int(reader);
	}
	/* what is used as an index must be one */
	if (row->kind < 0 || row->kind >= lengthof(kind_names) ||
		row->status < 0 || row->status >= lengthof(status_names) ||
		row->stop_cause < 0 || row->stop_cause >= lengthof(cause_names))
	{
		reader->bad = true;
		memset(row, 0, sizeof(*row));
	}
}

HistoryRow *
history_read(int32 instance_id, int *count)
{
	char	   *name = file_name(instance_id);
	RecordReader reader;
	char	   *data;
	int64		rows;
	HistoryRow *result;

	*count = 0;
	if (!statefile_read(name, HISTORY_MAGIC, HISTORY_VERSION, &reader, &data))
		return palloc(sizeof(HistoryRow));
	rows = record_get_int(&reader);
	if (rows < 0 || rows > RECORD_MAX_LENGTH / (int64) lengthof(row_fields))
	{
		reader.bad = true;
		rows = 0;
	}
	result = palloc_extended(sizeof(HistoryRow) * (rows + 1), MCXT_ALLOC_HUGE);
	for (int64 i = 0; i < rows && !reader.bad; i++)
		get_row(&reader, &result[i]);
	statefile_read_done(name, &reader);
	pfree(data);
	*count = (int) rows;
	return result;
}

bool
history_is_chain_base(const HistoryRow *row)
{
	return row->status == OUTCOME_COMPLETED && row->kind == KIND_FULL &&
		row->truncated;
}

/* The last full backup that others rest on is never dropped, nor are they. */
static int
first_to_keep(const HistoryRow *rows, int count, int64 limit)
{
	int			first = count > limit ? count - (int) limit : 0;

	for (int i = count - 1; i >= 0; i--)
	{
		if (history_is_chain_base(&rows[i]))
			return Min(first, i);
	}
	return first;
}

static void
write_rows(int32 instance_id, const HistoryRow *rows, int count, int64 limit)
{
	ByteBuffer	record = {0};
	int			first = first_to_keep(rows, count, limit);

	record_begin(&record);
	record_put_int(&record, count - first);
	for (int i = first; i < count; i++)
		put_row(&record, &rows[i]);
	statefile_write(file_name(instance_id), &record, HISTORY_MAGIC,
					HISTORY_VERSION);
}

void
history_write(const HistoryRow *row, int64 limit)
{
	int32		instance_id = (int32) row->instance_id;
	HistoryRow *rows;
	int			count;
	int			at;

	LWLockAcquire(registry_lock(), LW_EXCLUSIVE);
	rows = history_read(instance_id, &count);
	for (at = count - 1; at >= 0 && rows[at].backup_id != row->backup_id; at--)
		;
	if (at < 0)
	{
		rows = repalloc_huge(rows, sizeof(HistoryRow) * (count + 1));
		at = count++;
	}
	rows[at] = *row;
	write_rows(instance_id, rows, count, limit);
	LWLockRelease(registry_lock());
	pfree(rows);
}

bool
history_find(int32 instance_id, int64 backup_id, HistoryRow *row)
{
	HistoryRow *rows;
	int			count;
	bool		found = false;

	LWLockAcquire(registry_lock(), LW_SHARED);
	rows = history_read(instance_id, &count);
	LWLockRelease(registry_lock());
	for (int i = count - 1; i >= 0 && !found; i--)
	{
		found = backup_id == 0 || rows[i].backup_id == backup_id;
		if (found)
			*row = rows[i];
	}
	pfree(rows);
	return found;
}

void
history_close_open_rows(int32 instance_id, int64 limit)
{
	HistoryRow *rows;
	int			count;
	bool		changed = false;

	LWLockAcquire(registry_lock(), LW_EXCLUSIVE);
	rows = history_read(instance_id, &count);
	for (int i = 0; i < count; i++)
	{
		HistoryRow *row = &rows[i];

		if (row->status == OUTCOME_STOPPED)
			row->status = OUTCOME_ABORTED_BY_SERVER;
		else if (row->status == OUTCOME_RUNNING)
		{
			row->status = OUTCOME_FAILED;
			row->stop_cause = CAUSE_WORKER_EXIT;
			row->error_number = JET_errBackupAbortByServer;
			strlcpy(row->reason,
					"the server or the instance's worker ended without warning while the backup was open",
					sizeof(row->reason));
		}
		else
			continue;
		row->ended_at = GetCurrentTimestamp();
		changed = true;
	}
	if (changed)
		write_rows(instance_id, rows, count, limit);
	LWLockRelease(registry_lock());
	pfree(rows);
}

/* The rows that this verification is about. */
static bool
mark_verified(HistoryRow *rows, int count, XLogRecPtr start_lsn,
			  const char *depth)
{
	const HistoryRow *full = NULL;
	bool		changed = false;

	for (int i = 0; i < count; i++)
	{
		HistoryRow *row = &rows[i];
		bool		is_full = row->kind == KIND_FULL || row->kind == KIND_COPY;

		if (row->status != OUTCOME_COMPLETED)
			continue;
		if (is_full && (XLogRecPtr) row->start_lsn == start_lsn)
			full = row;
		else if (full == NULL || row->kind > KIND_DIFFERENTIAL ||
				 row->location[0] == '\0' ||
				 strcmp(row->location, full->location) != 0)
			continue;
		else if (is_full)
		{
			/* another one has taken its place */
			full = NULL;
			continue;
		}
		row->verified_at = GetCurrentTimestamp();
		strlcpy(row->verified_depth, depth, sizeof(row->verified_depth));
		changed = true;
	}
	return changed;
}

void
history_note_verified(XLogRecPtr start_lsn, const char *depth)
{
	LWLockAcquire(registry_lock(), LW_EXCLUSIVE);
	for (int i = 0; i < ese_shared->max_instances; i++)
	{
		EseInstance *instance = instance_of_index(i);
		HistoryRow *rows;
		int			count;

		if (instance->id == 0)
			continue;
		rows = history_read(instance->id, &count);
		if (mark_verified(rows, count, start_lsn, depth))
			write_rows(instance->id, rows, count,
					   instance->params.history_limit);
		pfree(rows);
	}
	LWLockRelease(registry_lock());
}

void
history_remove(int32 instance_id)
{
	statefile_remove(file_name(instance_id));
}
