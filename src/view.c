/*-------------------------------------------------------------------------
 *
 * view.c
 *	  The rows behind the views.
 *
 * Paths, file names, reasons and client columns are NULL for a reader who
 * has neither pg_monitor nor begun the backup; the numbers of handles for one
 * who may not read backups.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

#include "chain.h"
#include "engine/jet.h"
#include "engine/relfile.h"
#include "filename.h"
#include "finding.h"
#include "frame.h"
#include "instance.h"
#include "privilege.h"
#include "registry.h"
#include "rows.h"

PGDLLEXPORT Datum ese_instance_rows(PG_FUNCTION_ARGS);
PGDLLEXPORT Datum ese_system_parameter_rows(PG_FUNCTION_ARGS);
PGDLLEXPORT Datum ese_backup_progress_rows(PG_FUNCTION_ARGS);
PGDLLEXPORT Datum ese_backup_handle_rows(PG_FUNCTION_ARGS);
PGDLLEXPORT Datum ese_backup_history_rows(PG_FUNCTION_ARGS);
PGDLLEXPORT Datum ese_checksum_failure_rows(PG_FUNCTION_ARGS);
PGDLLEXPORT Datum ese_stream_buffers_rows(PG_FUNCTION_ARGS);

PG_FUNCTION_INFO_V1(ese_stream_buffers_rows);
PG_FUNCTION_INFO_V1(ese_instance_rows);
PG_FUNCTION_INFO_V1(ese_system_parameter_rows);
PG_FUNCTION_INFO_V1(ese_backup_progress_rows);
PG_FUNCTION_INFO_V1(ese_backup_handle_rows);
PG_FUNCTION_INFO_V1(ese_backup_history_rows);
PG_FUNCTION_INFO_V1(ese_checksum_failure_rows);

/* NULL for a reader who may not see it. */
static void
add_private_text(Row *row, const char *value, bool allowed)
{
	row_add_text(row, allowed ? value : NULL);
}

/* The label of a restore is a path. */
static void
add_label(Row *row, const HistoryRow *h, bool allowed)
{
	add_private_text(row, h->label, allowed || h->kind != KIND_RESTORE);
}

static void
begin_rows(Row *row, FunctionCallInfo fcinfo)
{
	registry_load();
	rows_begin(row, fcinfo);
}

/* A copy of one slot, consistent in itself; false when it is free. */
static bool
copy_instance(int index, EseInstance *copy)
{
	EseInstance *instance = instance_of_index(index);

	LWLockAcquire(registry_lock(), LW_SHARED);
	LWLockAcquire(instance_lock(instance), LW_SHARED);
	memcpy(copy, instance, sizeof(*copy));
	LWLockRelease(instance_lock(instance));
	LWLockRelease(registry_lock());
	return copy->id != 0;
}

/* The newest good backup of a kind since another one (0: ever), or NULL. */
static HistoryRow *
last_of_kind(HistoryRow *rows, int count, BackupKind kind, int64 since)
{
	for (int i = count - 1; i >= 0 && rows[i].backup_id >= since; i--)
	{
		if (rows[i].status == OUTCOME_COMPLETED && rows[i].kind == kind)
			return &rows[i];
	}
	return NULL;
}

/* When the newest good backup of a kind was begun. */
static void
add_last(Row *row, HistoryRow *rows, int count, BackupKind kind, int64 since)
{
	HistoryRow *last = last_of_kind(rows, count, kind, since);

	row_add_time(row, last ? last->started_at : 0);
}

/* Bytes of WAL the chain's slot keeps; NULL when there is none. */
static void
add_wal_retained(Row *row, const Chain *chain)
{
	if (!chain->has_slot || chain->restart_lsn == InvalidXLogRecPtr)
		row_add_null(row);
	else
		row_add_int64(row, chain_wal_retained(chain));
}

/* The view ese_instance. */
Datum
ese_instance_rows(PG_FUNCTION_ARGS)
{
	EseInstance *copy = palloc(sizeof(EseInstance));
	Row			row;

	begin_rows(&row, fcinfo);
	for (int i = 0; i < ese_shared->max_instances; i++)
	{
		HistoryRow *history;
		HistoryRow *full;
		Chain		chain;
		int64		since;
		uint32		pid;
		int			count;

		if (!copy_instance(i, copy))
			continue;
		pid = pg_atomic_read_u32(&copy->worker_pid);
		history = history_read(copy->id, &count);
		full = last_of_kind(history, count, KIND_FULL, 0);
		since = full ? full->backup_id : 0;
		chain_look(copy, &chain);
		row_add_int32(&row, copy->id);
		row_add_text(&row, copy->name);
		row_add_text(&row, copy->display_name);
		row_add_text(&row, instance_state_name(copy->state));
		row_add_number(&row, (int32) pid);
		row_add_bool(&row, false);	/* service_stopped */
		row_add_bool(&row, copy->params.circular_log != 0);
		row_add_text(&row, chain.has_slot ? chain_slot_name(copy) : NULL);
		add_wal_retained(&row, &chain);
		row_add_time(&row, full ? full->started_at : 0);
		row_add_lsn(&row, full ? full->start_lsn : 0);
		/* ESE: a new full forgets incrementals and differentials before it */
		add_last(&row, history, count, KIND_INCREMENTAL, since);
		add_last(&row, history, count, KIND_COPY, 0);
		add_last(&row, history, count, KIND_DIFFERENTIAL, since);
		row_add_id(&row, chain.backup_id);
		add_private_text(&row, chain.location, privilege_to_monitor());
		row_add_text(&row, chain_state_name(chain.state));
		add_private_text(&row, copy->failure, privilege_to_monitor());
		row_put(&row);
		pfree(history);
	}
	return (Datum) 0;
}

/* The view ese_system_parameter. */
Datum
ese_system_parameter_rows(PG_FUNCTION_ARGS)
{
	EseInstance *copy = palloc(sizeof(EseInstance));
	Row			row;

	begin_rows(&row, fcinfo);
	for (int i = 0; i < ese_shared->max_instances; i++)
	{
		if (!copy_instance(i, copy))
			continue;
		for (int p = 0; p < param_count; p++)
		{
			const ParamInfo *param = param_at(p);

			row_add_int32(&row, copy->id);
			row_add_text(&row, param_name(param));
			row_add_text(&row, param_show(param, param_get(&copy->params, param)));
			row_add_text(&row, param_show(param, param_default(param)));
			row_add_text(&row, param_unit(param));
			row_add_text(&row, param_change_name(param));
			row_add_text(&row, param_description(param));
			row_put(&row);
		}
	}
	return (Datum) 0;
}

/* Bytes that open handles have delivered so far. */
static int64
bytes_in_handles(int32 instance_id)
{
	int64		bytes = 0;

	for (int i = 0; i < ese_shared->nhandles; i++)
	{
		EseHandle  *handle = &ese_handles[i];

		if (handle->instance_id == instance_id && !handle->zombie &&
			atomic_load(&handle->ring.ident) != 0)
			bytes += (int64) atomic_load(&handle->ring.position);
	}
	return bytes;
}

/* The view ese_backup_progress. */
Datum
ese_backup_progress_rows(PG_FUNCTION_ARGS)
{
	EseInstance *copy = palloc(sizeof(EseInstance));
	Row			row;

	begin_rows(&row, fcinfo);
	for (int i = 0; i < ese_shared->max_instances; i++)
	{
		BackupStatus *status = &copy->backup;
		HistoryRow *h = &status->row;
		bool		allowed;

		if (!copy_instance(i, copy) || status->protocol.phase == PHASE_NONE)
			continue;
		allowed = privilege_to_see(h->begun_by_oid);
		row_add_int32(&row, copy->id);
		row_add_text(&row, copy->name);
		row_add_int64(&row, h->backup_id);
		row_add_text(&row, history_kind_name(h->kind));
		add_label(&row, h, allowed);
		row_add_text(&row, protocol_phase_name(status->protocol.phase));
		row_add_bool(&row, status->protocol.stopped);
		row_add_text(&row, h->begun_by);
		add_private_text(&row, h->client_addr, allowed);
		add_private_text(&row, h->application_name, allowed);
		row_add_time(&row, h->started_at);
		row_add_time(&row, status->phase_started_at);
		row_add_int64(&row, status->protocol.open_files);
		row_add_int64(&row, status->files_total);
		row_add_int64(&row, status->files_done);
		row_add_int64(&row, status->files_in_streams);
		row_add_int64(&row, status->streaming ? status->files_waiting :
					  status->files_total - status->files_done -
					  status->protocol.open_files);
		row_add_int64(&row, status->bytes_total);
		row_add_int64(&row, status->bytes_closed + bytes_in_handles(copy->id));
		row_add_int64(&row, status->bytes_per_second);
		row_add_int64(&row, h->checksum_failures);
		row_add_time(&row, (int64) pg_atomic_read_u64(&copy->last_call_at));
		row_put(&row);
	}
	return (Datum) 0;
}

/* The view ese_backup_handle. */
Datum
ese_backup_handle_rows(PG_FUNCTION_ARGS)
{
	EseHandle  *copy = palloc(sizeof(EseHandle));
	bool		reads = privilege_to_read();
	Row			row;

	begin_rows(&row, fcinfo);
	for (int i = 0; i < ese_shared->nhandles; i++)
	{
		EseInstance *instance;
		bool		allowed;

		if (!frame_copy_handle(i, copy))
			continue;
		instance = registry_find(copy->instance_id);
		allowed = instance != NULL && privilege_to_see(instance->backup.row.begun_by_oid);
		row_add_int32(&row, copy->instance_id);
		row_add_int64(&row, copy->backup_id);
		row_add_number(&row, reads ? (int32) atomic_load(&copy->ring.ident) : 0);
		row_add_text(&row, copy->is_stream ? "stream" : "file");
		add_private_text(&row, filename_show(copy->file_name), allowed);
		row_add_int64(&row, (int64) atomic_load(&copy->ring.position));
		if (copy->is_stream)
			row_add_null(&row);
		else
			row_add_int64(&row, (int64) copy->ring.size);
		row_add_text(&row, copy->opened_by);
		row_add_time(&row, copy->opened_at);
		row_add_time(&row, (int64) pg_atomic_read_u64(&copy->last_read_at));
		row_put(&row);
	}
	return (Datum) 0;
}

static void
add_latency(Row *row, const HistoryRow *h)
{
	if (h->stop_requested_at == 0 || h->quiescent_at == 0)
		row_add_null(row);
	else
		row_add_interval(row, h->quiescent_at - h->stop_requested_at);
}

static void
put_history_row(Row *row, const HistoryRow *h)
{
	bool		allowed = privilege_to_see(h->begun_by_oid);
	bool		running = h->status == OUTCOME_RUNNING;

	row_add_int64(row, h->backup_id);
	row_add_int32(row, (int32) h->instance_id);
	row_add_text(row, h->name);
	add_label(row, h, allowed);
	row_add_text(row, history_kind_name(h->kind));
	row_add_text(row, history_status_name(h->status));
	row_add_text(row, history_cause_name(h->stop_cause));
	if (running)
		row_add_null(row);
	else
		row_add_int32(row, (int32) h->error_number);
	row_add_text(row, running || h->error_number == 0 ? NULL :
				 jet_error_name((int) h->error_number));
	add_private_text(row, h->reason, allowed);
	add_private_text(row, h->location, allowed);
	row_add_text(row, h->begun_by);
	add_private_text(row, h->client_addr, allowed);
	add_private_text(row, h->application_name, allowed);
	row_add_time(row, h->started_at);
	row_add_time(row, h->ended_at);
	row_add_time(row, h->stop_requested_at);
	row_add_text(row, h->stop_requested_by);
	row_add_time(row, h->quiescent_at);
	row_add_time(row, h->released_at);
	add_latency(row, h);
	row_add_lsn(row, h->start_lsn);
	row_add_lsn(row, h->stop_lsn);
	row_add_number(row, (int32) h->timeline);
	row_add_int64(row, h->files);
	row_add_int64(row, h->bytes);
	row_add_int64(row, h->wal_bytes);
	row_add_int64(row, h->checksum_failures);
	row_add_time(row, h->verified_at);
	row_add_text(row, h->verified_depth);
	row_put(row);
}

/* The view ese_backup_history. */
Datum
ese_backup_history_rows(PG_FUNCTION_ARGS)
{
	EseInstance *copy = palloc(sizeof(EseInstance));
	Row			row;

	begin_rows(&row, fcinfo);
	for (int i = 0; i < ese_shared->max_instances; i++)
	{
		HistoryRow *rows;
		int			count;

		if (!copy_instance(i, copy))
			continue;
		rows = history_read(copy->id, &count);
		for (int r = 0; r < count; r++)
		{
			/* what the slot knows of an open backup is newer */
			if (copy->backup.protocol.phase != PHASE_NONE &&
				rows[r].backup_id == copy->backup.row.backup_id)
				rows[r] = copy->backup.row;
			put_history_row(&row, &rows[r]);
		}
		pfree(rows);
	}
	return (Datum) 0;
}

/* The view ese_checksum_failure. */
Datum
ese_checksum_failure_rows(PG_FUNCTION_ARGS)
{
	EseInstance *copy = palloc(sizeof(EseInstance));
	bool		allowed = privilege_to_monitor();
	Row			row;

	begin_rows(&row, fcinfo);
	for (int i = 0; i < ese_shared->max_instances; i++)
	{
		Finding    *findings;
		int			count;

		if (!copy_instance(i, copy))
			continue;
		findings = finding_read(copy->id, &count);
		for (int f = 0; f < count; f++)
		{
			const char *slash = strrchr(findings[f].file_name, '/');
			RelFile		file;

			if (!relfile_parse(slash ? slash + 1 : findings[f].file_name, &file))
				continue;
			row_add_int64(&row, findings[f].backup_id);
			row_add_int32(&row, copy->id);
			row_add_oid(&row, findings[f].database);
			row_add_oid(&row, findings[f].tablespace);
			row_add_oid(&row, file.number);
			row_add_text(&row, relfile_fork_name(file.fork));
			add_private_text(&row, findings[f].file_name, allowed);
			row_add_int64(&row, findings[f].block);
			row_add_time(&row, findings[f].found_at);
			row_put(&row);
		}
		pfree(findings);
	}
	return (Datum) 0;
}

/* The view ese_stream_buffers: one row. */
Datum
ese_stream_buffers_rows(PG_FUNCTION_ARGS)
{
	int64		open_handles = 0;
	int64		zombies = 0;
	int32	   *readers;
	int			count;
	Row			row;

	begin_rows(&row, fcinfo);
	LWLockAcquire(frame_lock(), LW_SHARED);
	for (int i = 0; i < ese_shared->nhandles; i++)
	{
		zombies += ese_handles[i].zombie;
		open_handles += ese_handles[i].instance_id != 0 &&
			!ese_handles[i].zombie;
	}
	row_add_int64(&row, (int64) ese_shared->nframes * ENG_FRAME_SIZE);
	row_add_int64(&row, (int64) ese_shared->free_frames * ENG_FRAME_SIZE);
	row_add_int64(&row, (int64) ese_shared->promised_frames * ENG_FRAME_SIZE);
	LWLockRelease(frame_lock());
	row_add_int64(&row, open_handles);
	row_add_int64(&row, zombies);
	readers = frame_zombie_readers(&count);
	row_add_int32_array(&row, readers, count);
	row_put(&row);
	return (Datum) 0;
}
