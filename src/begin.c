/*-------------------------------------------------------------------------
 *
 * begin.c
 *	  Begin: from the checks to an open backup, and back when it is cancelled.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "backup.h"
#include "chain.h"
#include "engine/jet.h"
#include "leftover.h"
#include "pathrun.h"
#include "refuse.h"
#include "registry.h"
#include "survive.h"
#include "testpoint.h"
#include "unread.h"
#include "worker_internal.h"

/* J0560's hint: is there a full backup that counts for less? */
static const char *
hint_of_missing_full(EseInstance *instance)
{
	HistoryRow	row;

	if (history_find(instance->id, 0, &row) && row.kind == KIND_COPY)
		return "The last backup counts only as a copy, because its logs were not truncated: call ese_truncate_log_instance before End.";
	return "Take a full backup and truncate its logs with ese_truncate_log_instance before End.";
}

/* An incremental backup needs a chain; true when it was refused. */
static bool
refuse_incremental(EseInstance *instance, Answer *answer)
{
	Chain		chain;
	int			error = JET_errSuccess;

	chain_look(instance, &chain);
	if (instance->params.circular_log)
	{
		error = JET_errInvalidBackup;
		answer_detail(answer, "Parameter circular_log is on, so no WAL is kept between backups.");
	}
	else if (chain.state == CHAIN_NONE)
	{
		error = JET_errMissingFullBackup;
		answer_detail(answer, "There is no full backup that it could follow.");
		answer_hint(answer, "%s", hint_of_missing_full(instance));
	}
	else if (chain.state == CHAIN_BROKEN)
	{
		error = JET_errMissingFileToBackup;
		answer_detail(answer, "%s", chain_describe_break(instance, &chain));
		answer_hint(answer, "Take a full backup.");
	}
	else if (chain.active_pid != 0)
	{
		error = JET_errBackupNotAllowedYet;
		answer_detail(answer, "Replication slot \"%s\" is in use by the process with ID %d.",
					  chain_slot_name(instance), chain.active_pid);
	}
	if (error == JET_errSuccess)
		return false;
	answer_error(answer, error,
				 "cannot begin an incremental backup of instance \"%s\"",
				 instance->name);
	return true;
}

bool
backup_refuse_begin(Worker *worker, Call *call)
{
	int32		grbit = call->request.grbit;
	OptionCall	options = call->request.operation == OP_BACKUP ?
		OPTIONS_BACKUP : OPTIONS_BEGIN;

	if (!XLogIsNeeded() && !RecoveryInProgress())
	{
		answer_error(&call->answer, JET_errLoggingDisabled,
					 "WAL level is not sufficient for an online backup");
		answer_hint(&call->answer, "Set wal_level to replica or logical and restart the server.");
	}
	else if (refuse_options(&call->answer, options, grbit))
		return true;
	else if ((grbit & JET_bitBackupIncremental) &&
			 refuse_incremental(worker->instance, &call->answer))
		return true;
	else if (max_replication_slots == 0)
	{
		answer_error(&call->answer, JET_errBackupNotAllowedYet,
					 "a backup needs a replication slot");
		answer_hint(&call->answer, "Increase max_replication_slots and restart the server.");
	}
	else
		return backup_refuse(worker, call, CALL_BEGIN);
	return true;
}

/* Announce the backup in the slot: from now on it can be stopped. */
static void
publish_start(Worker *worker, const Request *request, BackupKind kind)
{
	EseInstance *instance = worker->instance;
	BackupStatus *status = &instance->backup;
	HistoryRow *row = &status->row;

	LWLockAcquire(instance_lock(instance), LW_EXCLUSIVE);
	status->protocol = protocol_next(status->protocol, CALL_BEGIN);
	memset(row, 0, sizeof(*row));
	row->backup_id = worker->backup->id;
	row->instance_id = instance->id;
	strlcpy(row->name, instance->name, sizeof(row->name));
	strlcpy(row->label, request->text, sizeof(row->label));
	strlcpy(row->location, request->path, sizeof(row->location));
	row->kind = kind;
	row->status = OUTCOME_RUNNING;
	row->begun_by_oid = request->client.role;
	strlcpy(row->begun_by, request->client.role_name, sizeof(row->begun_by));
	strlcpy(row->client_addr, request->client.address,
			sizeof(row->client_addr));
	strlcpy(row->application_name, request->client.application,
			sizeof(row->application_name));
	row->started_at = GetCurrentTimestamp();
	status->phase_started_at = row->started_at;
	status->quiescent = true;	/* nothing runs yet */
	status->ending = false;
	status->stop_error = 0;
	status->files_total = status->files_done = 0;
	status->files_in_streams = status->files_waiting = 0;
	status->streaming = false;
	status->bytes_total = status->bytes_closed = 0;
	status->bytes_per_second = 0;
	pg_atomic_write_u64(&instance->stop_word,
						(uint64) worker->backup->id << STOP_WORD_BITS);
	LWLockRelease(instance_lock(instance));
	shared_note_activity(instance);
}

BackupKind
backup_kind_of(const Request *request)
{
	return (request->grbit & JET_bitBackupIncremental) != 0 ?
		KIND_INCREMENTAL : KIND_FULL;
}

/* Make the worker's own record of a new backup, whose id is durable. */
static void
create_backup(Worker *worker, int64 id, bool incremental, bool native)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext,
												  "ese backup",
												  ALLOCSET_DEFAULT_SIZES);
	Backup	   *backup = MemoryContextAllocZero(context, sizeof(Backup));

	backup->context = context;
	backup->id = id;
	backup->on_standby = RecoveryInProgress();
	backup->incremental = incremental;
	snprintf(backup->slot_name, sizeof(backup->slot_name), "esebk_%lld",
			 (long long) backup->id);
	backup->native = native ? NATIVE_STARTING : NATIVE_NONE;
	worker->backup = backup;
}

static void
cancel_start(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_QUERY_CANCELED),
			 errmsg("the start of the backup was cancelled")));
}

/*
 * From here on a stop has something to wait for; until here it took effect
 * with the request, whatever fsync the worker is in.
 */
static void
set_out(Worker *worker)
{
	if (!backup_set_out(worker))
		cancel_start();
}

static void
reserve_wal(Backup *backup)
{
	CheckSlotRequirements();
	compat_create_slot(backup->slot_name, RS_TEMPORARY);
	backup->has_slot = true;
	testpoint("begin.slot");
	ReplicationSlotReserveWal();
	ReplicationSlotMarkDirty();
	ReplicationSlotSave();
}

/*
 * The part of Begin that can take long and can fail: slot, backup mode, list
 * of files.  A stop, or the cancel of the session that waits, ends it with an
 * ERROR.
 */
static void
start_backup_mode(Worker *worker, const char *label)
{
	Backup	   *backup = worker->backup;
	bool		fast = worker->instance->params.backup_checkpoint ==
		CHECKPOINT_KIND_FAST;

	reserve_wal(backup);
	testpoint("begin.start");
	set_out(worker);
	compat_backup_start(&backup->mode, label, fast);
	backup->in_backup_mode = true;
	testpoint("begin.started");

	filelist_init(&backup->attach);
	filelist_init(&backup->logs);
	filelist_scan(&backup->attach, backup->mode.tablespace_map->data,
				  backup->on_standby);
	testpoint("begin.listed");
}

/*
 * What an incremental backup needs instead: to hold the slot, so that nobody
 * else moves or drops it.
 */
static void
take_up_chain(Worker *worker)
{
	Backup	   *backup = worker->backup;
	Chain		chain;

	testpoint("begin.start");
	set_out(worker);
	compat_acquire_slot(chain_slot_name(worker->instance));
	backup->mode.start_lsn = MyReplicationSlot->data.restart_lsn;
	chain_look(worker->instance, &chain);
	/* moved since it was looked at; from now on it stays */
	if (chain.state == CHAIN_BROKEN)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s", chain_describe_break(worker->instance, &chain))));
	backup->follows = chain.newest;
	filelist_init(&backup->attach);
	filelist_init(&backup->logs);
	testpoint("begin.listed");
}

void
backup_undo_begin(Worker *worker, Call *call)
{
	EseInstance *instance = worker->instance;
	bool		stopped = instance->backup.protocol.stopped;

	if (stopped)
	{
		answer_error(&call->answer, instance->backup.stop_error,
					 "the backup of instance \"%s\" was stopped before it had begun",
					 instance->name);
		answer_detail(&call->answer, "No backup is open.");
		(void) backup_finish(worker, OUTCOME_ABORTED_BY_SERVER,
							 instance->backup.stop_error, "stopped while starting");
		leftover_say(worker, &call->answer);
	}
	else
	{
		/* nobody waits for this answer */
		answer_error(&call->answer, errBackupAbortByCaller, "cancelled");
		(void) backup_finish(worker, OUTCOME_ABORTED_BY_CALLER,
							 errBackupAbortByCaller,
							 "the session that began the backup left before it had begun");
	}
}

/* Is this Begin not wanted any more? */
static bool
is_given_up(Worker *worker, Call *call)
{
	return worker->instance->backup.protocol.stopped ||
		call_is_abandoned(worker->instance, call);
}

/* What a try that was cancelled has taken. */
static void
undo_try(Worker *worker, MemoryContext memory)
{
	survive_clean_up();
	backup_leave_mode(worker->backup);
	backup_rest(worker);
	backup_drop_slot(worker->backup);
	MemoryContextDelete(memory);
}

/* Try to start; false when it was cancelled. */
static bool
try_start(Worker *worker, Call *call)
{
	MemoryContext memory = AllocSetContextCreate(worker->backup->context,
												 "ese start",
												 ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(memory);
	volatile bool started = false;

	worker_allow_interrupt(true);
	PG_TRY();
	{
		/* a stop that came before the signal could be taken */
		if (is_given_up(worker, call))
			cancel_start();
		if (worker->backup->incremental)
			take_up_chain(worker);
		else
			start_backup_mode(worker, call->request.text);
		worker_allow_interrupt(false);
		started = true;
	}
	PG_CATCH();
	{
		worker_allow_interrupt(false);
		if (geterrcode() != ERRCODE_QUERY_CANCELED)
			PG_RE_THROW();
		MemoryContextSwitchTo(caller);
		undo_try(worker, memory);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	return started;
}

/*
 * Start; false when it was stopped or abandoned.  A cancel for neither reason
 * belongs to nobody: to a Begin that was over when the signal came, or to who
 * has called pg_cancel_backend() on the worker.
 */
static bool
start(Worker *worker, Call *call)
{
	bool		started;

	do
		started = try_start(worker, call);
	while (!started && !is_given_up(worker, call));
	return started && !is_given_up(worker, call);
}

/* The backup is open. */
static void
publish_begun(Worker *worker)
{
	EseInstance *instance = worker->instance;
	BackupStatus *status = &instance->backup;
	Backup	   *backup = worker->backup;
	int64		bytes = 0;
	int64		files = 0;

	for (int i = 0; i < backup->attach.count; i++)
	{
		bytes += backup->attach.entries[i].size;
		files += backup->attach.entries[i].kind != FILE_DIRECTORY;
	}
	LWLockAcquire(instance_lock(instance), LW_EXCLUSIVE);
	status->protocol.phase = backup->incremental ? PHASE_LOGS :
		PHASE_DATABASES;
	status->phase_started_at = GetCurrentTimestamp();
	status->files_total = files;
	status->bytes_total = bytes;
	status->row.start_lsn = (int64) backup->mode.start_lsn;
	status->row.timeline = backup->mode.start_timeline;
	LWLockRelease(instance_lock(instance));
	ereport(LOG,
			(errmsg("backup %lld of instance \"%s\" started: %s, label \"%s\"",
					(long long) backup->id, instance->name,
					history_kind_name(status->row.kind), status->row.label),
			 errdetail("%lld files, %lld bytes, from WAL location %X/%X.",
					   (long long) files, (long long) bytes,
					   LSN_FORMAT_ARGS(backup->mode.start_lsn))));
}

/* Nobody would know of the backup after a crash: it does not begin. */
static bool
answer_unrecorded(Worker *worker, Call *call, const FileProblem *problem)
{
	answer_error(&call->answer, statefile_jet_error(problem),
				 "a backup of instance \"%s\" cannot be recorded",
				 worker->instance->name);
	answer_detail(&call->answer, "%c%s.",
				  pg_toupper((unsigned char) problem->message[0]),
				  problem->message + 1);
	return false;
}

bool
backup_open(Worker *worker, Call *call, BackupKind kind)
{
	FileProblem problem;
	int64		id;

	worker_prepare_engine(worker);
	id = registry_next_backup_id(&problem);
	if (id == 0)
		return answer_unrecorded(worker, call, &problem);
	unread_forget(worker);
	call->answer.backup = id;
	create_backup(worker, id, kind == KIND_INCREMENTAL,
				  call->request.operation != OP_BEGIN);
	publish_start(worker, &call->request, kind);
	worker_show_activity(worker);
	if (backup_record_row(worker->instance, &problem))
		return true;
	(void) backup_finish(worker, OUTCOME_FAILED,
						 statefile_jet_error(&problem), problem.message);
	return answer_unrecorded(worker, call, &problem);
}

bool
backup_start(Worker *worker, Call *call)
{
	EseInstance *instance = worker->instance;

	if (!start(worker, call))
	{
		backup_undo_begin(worker, call);
		return false;
	}
	eng_set_lsn_limit(worker->engine, backup_current_lsn());
	eng_begin(worker->engine, worker->backup->mode.start_lsn,
			  (DigestKind) instance->params.manifest_checksums);
	publish_begun(worker);
	worker_show_activity(worker);
	call->answer.backup = worker->backup->id;
	testpoint("begin.done");
	return true;
}

void
backup_begin(Worker *worker, Call *call)
{
	if (backup_refuse_begin(worker, call))
		return;
	if (backup_open(worker, call, backup_kind_of(&call->request)))
		(void) backup_start(worker, call);
}
