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
#include "registry.h"
#include "shared.h"

#define HISTORY_MAGIC	0x48455345	/* "ESEH" */
#define HISTORY_VERSION 3
#define HISTORY_OLDEST	2

/* How a field is stored: in the order of this table. */
typedef struct RowField
{
	size_t		offset;
	size_t		size;			/* of a string; 0 for a number */
	uint32		since;			/* the first version that has it */
} RowField;

#define NUMBER(field, ...) {offsetof(HistoryRow, field), 0, __VA_ARGS__}
#define STRING(field, ...) {offsetof(HistoryRow, field), sizeof(((HistoryRow *) 0)->field), __VA_ARGS__}

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
	NUMBER(warned, 3),
	STRING(log_manifest, 3),
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

/* Room for the name of a file. */
#define NAME_LENGTH 32

static void
file_name(char *name, int32 instance_id)
{
	snprintf(name, NAME_LENGTH, "history.%d", instance_id);
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

		if (row_fields[i].since > reader->version)
			memset(field, 0, Max(row_fields[i].size, sizeof(int64)));
		else if (row_fields[i].size > 0)
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

/* Not raising when memory is out. */
static HistoryRow *
allocate_rows(int64 rows, FileProblem *problem)
{
	HistoryRow *result = palloc_extended(sizeof(HistoryRow) * rows,
										 MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM);

	if (result == NULL)
	{
		problem->sys_errno = ENOMEM;
		problem->hint = NULL;
		strlcpy(problem->message, "out of memory for the history of backups",
				sizeof(problem->message));
	}
	return result;
}

/* Rows that may be added to those of a file. */
#define SPARE_ROWS (ESE_UNRECORDED + 1)

/* The rows of the file, with room for some more; NULL when that fails. */
static HistoryRow *
read_rows(int32 instance_id, int *count, FileProblem *problem)
{
	char		name[NAME_LENGTH];
	RecordReader reader;
	char	   *data;
	int64		rows;
	HistoryRow *result;

	*count = 0;
	file_name(name, instance_id);
	switch (statefile_read_since(name, HISTORY_MAGIC, HISTORY_OLDEST,
								 HISTORY_VERSION, &reader, &data, problem))
	{
		case FILE_ABSENT:
			return allocate_rows(SPARE_ROWS, problem);
		case FILE_BAD:
			return NULL;
		case FILE_FOUND:
			break;
	}
	rows = record_get_int(&reader);
	if (rows < 0 || rows > RECORD_MAX_LENGTH / (int64) lengthof(row_fields))
	{
		reader.bad = true;
		rows = 0;
	}
	result = allocate_rows(rows + SPARE_ROWS, problem);
	for (int64 i = 0; result != NULL && i < rows && !reader.bad; i++)
		get_row(&reader, &result[i]);
	if (result == NULL)
		pfree(data);
	else if (!statefile_read_done(name, &reader, data, problem))
	{
		pfree(result);
		result = NULL;
	}
	*count = (int) rows;
	return result;
}

/* Replace the row of its backup, or add it; there is room. */
static void
put_in(HistoryRow *rows, int *count, const HistoryRow *row)
{
	int			at = *count - 1;

	while (at >= 0 && rows[at].backup_id != row->backup_id)
		at--;
	if (at < 0)
		at = (*count)++;
	rows[at] = *row;
}

/* Rows that are kept in memory. */
typedef struct Kept
{
	int			count;
	HistoryRow	rows[ESE_UNRECORDED];
} Kept;

static void
get_kept(EseInstance *instance, Kept *kept)
{
	LWLockAcquire(instance_lock(instance), LW_SHARED);
	kept->count = instance->unrecorded_count;
	memcpy(kept->rows, instance->unrecorded, sizeof(HistoryRow) * kept->count);
	LWLockRelease(instance_lock(instance));
}

/* These are on disk, but not what has been added meanwhile. */
static void
forget_kept(EseInstance *instance, const Kept *kept)
{
	int			left = 0;

	LWLockAcquire(instance_lock(instance), LW_EXCLUSIVE);
	for (int i = 0; i < instance->unrecorded_count; i++)
	{
		if (i >= kept->count || memcmp(&instance->unrecorded[i], &kept->rows[i],
									   sizeof(HistoryRow)) != 0)
			instance->unrecorded[left++] = instance->unrecorded[i];
	}
	instance->unrecorded_count = left;
	LWLockRelease(instance_lock(instance));
}

static void
put_in_kept(HistoryRow *rows, int *count, const Kept *kept)
{
	for (int i = 0; i < kept->count; i++)
		put_in(rows, count, &kept->rows[i]);
}

HistoryRow *
history_read(int32 instance_id, int *count)
{
	EseInstance *instance = registry_slot(instance_id);
	FileProblem problem;
	HistoryRow *rows = read_rows(instance_id, count, &problem);
	Kept		kept = {0};

	if (rows == NULL)
		statefile_raise(&problem);
	if (instance != NULL)
		get_kept(instance, &kept);
	put_in_kept(rows, count, &kept);
	return rows;
}

bool
history_newest_id(int32 instance_id, int64 *newest, FileProblem *problem)
{
	int			count;
	HistoryRow *rows = read_rows(instance_id, &count, problem);

	*newest = 0;
	if (rows == NULL)
		return false;
	for (int i = 0; i < count; i++)
		*newest = Max(*newest, rows[i].backup_id);
	pfree(rows);
	return true;
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

/* The record lock is held. */
static bool
write_rows(int32 instance_id, const HistoryRow *rows, int count, int64 limit,
		   FileProblem *problem)
{
	ByteBuffer	record = {0};
	char		name[NAME_LENGTH];
	int			first = first_to_keep(rows, count, limit);

	record_begin(&record);
	record_put_int(&record, count - first);
	for (int i = first; i < count; i++)
		put_row(&record, &rows[i]);
	file_name(name, instance_id);
	return statefile_write(name, &record, HISTORY_MAGIC, HISTORY_VERSION,
						   problem);
}

/*
 * Change the file: what is kept in memory goes with whatever is written.  The
 * record lock is held.  An instance that was dropped has no history.
 */
static bool
change_file(EseInstance *instance, const HistoryRow *row, FileProblem *problem)
{
	int			count;
	HistoryRow *rows;
	Kept		kept;
	bool		good;

	if (instance->id != row->instance_id)
		return true;
	rows = read_rows((int32) row->instance_id, &count, problem);
	if (rows == NULL)
		return false;
	get_kept(instance, &kept);
	put_in_kept(rows, &count, &kept);
	put_in(rows, &count, row);
	good = write_rows((int32) row->instance_id, rows, count,
					  instance->params.history_limit, problem);
	if (good)
		forget_kept(instance, &kept);
	pfree(rows);
	return good;
}

bool
history_record(EseInstance *instance, const HistoryRow *row,
			   FileProblem *problem)
{
	bool		good;

	if (!recordlock_acquire(&instance->records))
	{
		problem->sys_errno = EBUSY;
		problem->hint = NULL;
		strlcpy(problem->message, "another process is writing the history of the instance",
				sizeof(problem->message));
		return false;
	}
	good = change_file(instance, row, problem);
	recordlock_release(&instance->records);
	return good;
}

void
history_keep(EseInstance *instance, const HistoryRow *row,
			 const FileProblem *problem)
{
	int			at = 0;

	LWLockAcquire(instance_lock(instance), LW_EXCLUSIVE);
	while (at < instance->unrecorded_count && at < ESE_UNRECORDED - 1 &&
		   instance->unrecorded[at].backup_id != row->backup_id)
		at++;
	instance->unrecorded[at] = *row;
	instance->unrecorded_count = Max(instance->unrecorded_count, at + 1);
	strlcpy(instance->unrecorded_why, problem->message,
			sizeof(instance->unrecorded_why));
	LWLockRelease(instance_lock(instance));
}

void
history_report_kept(EseInstance *instance, const HistoryRow *row,
					const FileProblem *problem)
{
	history_keep(instance, row, problem);
	ereport(WARNING,
			(errmsg("the end of %s %lld of instance \"%s\" could not be recorded: %s",
					history_noun(row->kind), (long long) row->backup_id,
					row->name, problem->message),
			 errdetail("It is kept in memory, and recorded when that is possible.")));
}

bool
history_settle(EseInstance *instance)
{
	FileProblem problem;
	Kept		kept;

	if (instance->unrecorded_count == 0)
		return true;
	get_kept(instance, &kept);
	/* the others go with the first */
	if (kept.count > 0 && !history_record(instance, &kept.rows[0], &problem))
		return false;
	for (int i = 0; i < kept.count; i++)
		ereport(LOG,
				(errmsg("the end of %s %lld of instance \"%s\" is recorded now",
						history_noun(kept.rows[i].kind),
						(long long) kept.rows[i].backup_id,
						kept.rows[i].name)));
	return true;
}

bool
history_find(int32 instance_id, int64 backup_id, HistoryRow *row)
{
	int			count;
	HistoryRow *rows = history_read(instance_id, &count);
	bool		found = false;

	for (int i = count - 1; i >= 0 && !found; i--)
	{
		found = backup_id == 0 || rows[i].backup_id == backup_id;
		if (found)
			*row = rows[i];
	}
	pfree(rows);
	return found;
}

BackupOutcome
history_outcome_of_stop(int64 cause)
{
	return cause == CAUSE_USER || cause == CAUSE_TERM ||
		cause == CAUSE_IDLE_TIMEOUT ? OUTCOME_ABORTED_BY_SERVER :
		OUTCOME_FAILED;
}

void
history_close_row(HistoryRow *row)
{
	if (row->status == OUTCOME_STOPPED)
		row->status = history_outcome_of_stop(row->stop_cause);
	else
	{
		row->status = OUTCOME_FAILED;
		row->stop_cause = CAUSE_WORKER_EXIT;
		row->error_number = JET_errBackupAbortByServer;
		strlcpy(row->reason,
				"the server or the instance's worker ended without warning while the backup was open",
				sizeof(row->reason));
	}
	row->ended_at = GetCurrentTimestamp();
}

bool
history_close_open_rows(EseInstance *instance, int64 except)
{
	int			count;
	HistoryRow *rows = history_read(instance->id, &count);
	FileProblem problem;
	bool		good = true;

	for (int i = 0; i < count && good; i++)
	{
		if ((rows[i].status != OUTCOME_STOPPED &&
			 rows[i].status != OUTCOME_RUNNING) ||
			rows[i].backup_id == except)
			continue;
		history_close_row(&rows[i]);
		good = history_record(instance, &rows[i], &problem);
	}
	pfree(rows);
	return good;
}

/* The rows that this verification is about. */
static bool
mark_verified(HistoryRow *rows, int count, XLogRecPtr start_lsn,
			  int64 newest_id, const char *depth)
{
	const HistoryRow *full = NULL;
	bool		changed = false;

	for (int i = 0; i < count; i++)
	{
		HistoryRow *row = &rows[i];
		bool		is_full = row->kind == KIND_FULL || row->kind == KIND_COPY;

		if (row->status != OUTCOME_COMPLETED || row->backup_id > newest_id)
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

/* Note it in the history of one instance. */
static bool
note_verified(EseInstance *instance, XLogRecPtr start_lsn, int64 newest_id,
			  const char *depth, FileProblem *problem)
{
	int			count;
	HistoryRow *rows;
	int32		id;
	bool		good = true;

	(void) recordlock_acquire(&instance->records);
	/* it may be dropped meanwhile, and its slot be another one's */
	id = instance->id;
	rows = read_rows(id, &count, problem);
	if (rows == NULL)
		good = false;
	else if (mark_verified(rows, count, start_lsn, newest_id, depth))
		good = write_rows(id, rows, count,
						  instance->params.history_limit, problem);
	if (rows != NULL)
		pfree(rows);
	recordlock_release(&instance->records);
	return good;
}

void
history_note_verified(XLogRecPtr start_lsn, int64 newest_id, const char *depth)
{
	for (int i = 0; i < ese_shared->max_instances; i++)
	{
		EseInstance *instance = instance_of_index(i);
		FileProblem problem;

		if (instance->id != 0 &&
			!note_verified(instance, start_lsn, newest_id, depth, &problem))
			ereport(WARNING,
					(errmsg("could not note in the history of instance \"%s\" that a backup was verified: %s",
							instance->name, problem.message)));
	}
}

void
history_remove(int32 instance_id)
{
	char		name[NAME_LENGTH];

	file_name(name, instance_id);
	statefile_remove(name);
}
