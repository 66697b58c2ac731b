/*-------------------------------------------------------------------------
 *
 * restore.c
 *	  Restoring and verifying a backup, in the worker.
 *
 * It goes through stages.  Threads copy or extract the files and compare them
 * with the manifest; then a private server recovers the copy.  Archives are
 * read in two goes, because the manifest lies in that of the logs.
 *
 * A verification is a restore that writes nothing (depth "manifest"), or one
 * that is removed again (depth "restore").
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>
#include <unistd.h>

#include "access/xlog.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "engine/jet.h"
#include "restore_internal.h"
#include "testpoint.h"
#include "worker_internal.h"

void
restore_fail(Worker *worker, int jet, const char *reason)
{
	(void) backup_finish(worker, OUTCOME_FAILED, jet, reason);
}

static void
fail_target(Worker *worker, const TargetError *error)
{
	restore_fail(worker, error->jet, error->text);
}

/* Take up a line of the options: a key and its values. */
static void
read_option(Restore *restore, char *line)
{
	char	   *key = line;
	char	   *first = strchr(key, '\t');
	char	   *second;

	if (first == NULL)
		return;
	*first++ = '\0';
	second = strchr(first, '\t');
	if (second != NULL)
		*second++ = '\0';
	if (strcmp(key, OPTION_TARGET) == 0)
		restore->target = pstrdup(first);
	else if (strcmp(key, OPTION_MOMENT) == 0)
	{
		restore->has_moment = true;
		restore->moment = strtoll(first, NULL, 10);
	}
	else if (strcmp(key, OPTION_SUPERUSER) == 0)
		restore->superuser = pstrdup(first);
	else if (strcmp(key, OPTION_TABLESPACE) == 0 && second != NULL)
	{
		WantedPlace *wanted = palloc0(sizeof(WantedPlace));

		wanted->key = pstrdup(first);
		wanted->path = pstrdup(second);
		restore->wanted_places = lappend(restore->wanted_places, wanted);
	}
}

static Restore *
create_restore(const Request *request)
{
	Restore    *restore = palloc0(sizeof(Restore));
	char	   *options = pstrdup(request->options);
	char	   *line;

	restore->source.directory = -1;
	restore->server.child.control = -1;
	restore->program.control = -1;
	restore->target = restore->superuser = restore->moment_text = "";
	initStringInfo(&restore->warnings);
	restore->verify = request->operation == OP_VERIFY;
	restore->depth = restore->verify ? pstrdup(request->text) : "";
	restore->recover = !restore->verify ||
		strcmp(restore->depth, DEPTH_RESTORE) == 0;
	while ((line = strsep(&options, "\n")) != NULL)
		read_option(restore, line);
	return restore;
}

void
restore_warn(Restore *restore, const char *format,...)
{
	va_list		args;
	char		words[ESE_MESSAGE_LENGTH];

	va_start(args, format);
	vsnprintf(words, sizeof(words), format, args);
	va_end(args);
	if (restore->warnings.len > 0)
		appendStringInfoString(&restore->warnings, "; ");
	appendStringInfoString(&restore->warnings, words);
}

/* What is to be known about a good one: which moment it is, and warnings. */
static char *
describe_result(Worker *worker, Restore *restore)
{
	HistoryRow *row = &worker->instance->backup.row;
	bool		warned = restore->warnings.len > 0;

	LWLockAcquire(instance_lock(worker->instance), LW_EXCLUSIVE);
	row->warned = warned;
	LWLockRelease(instance_lock(worker->instance));
	return psprintf("%s%s%s", restore->moment_text,
					warned && restore->moment_text[0] != '\0' ? "; " : "",
					restore->warnings.data);
}

/* What was verified, and belongs to this cluster, is noted in its history. */
static void
note_verified(Worker *worker, Restore *restore)
{
	const LogChain *chain = &restore->source.chain;

	if (restore_control(restore)->system_identifier == GetSystemIdentifier())
		history_note_verified((XLogRecPtr) worker->instance->backup.row.start_lsn,
							  chain->count > 0 ?
							  chain->links[chain->count - 1]->head.backup_id :
							  PG_INT64_MAX, restore->depth);
}

/* It is good: it ends. */
static void
complete(Worker *worker, Restore *restore)
{
	TargetError error;
	char		parent[MAXPGPATH];

	if (restore->verify)
		note_verified(worker, restore);
	else
	{
		strlcpy(parent, worker->target.path, sizeof(parent));
		get_parent_directory(parent);
		if (!target_complete(&worker->target, NULL, &error) ||
			!target_sync_directory(parent[0] ? parent : "/", &error))
		{
			fail_target(worker, &error);
			return;
		}
	}
	restore_publish(worker);
	(void) backup_finish(worker, OUTCOME_COMPLETED, JET_errSuccess,
						 describe_result(worker, restore));
}

/* Read the next range of WAL with pg_waldump; false when all were read. */
static bool
start_waldump(Worker *worker, Restore *restore)
{
	const char *path = restore->source.tar ? worker->target.path :
		restore->source.path;
	char	   *argv[] = {"pg_waldump", "--quiet", NULL, NULL, NULL, NULL, NULL};
	const ManifestWalRange *range;

	if (restore->next_range == restore->range_count)
		return false;
	range = &restore->ranges[restore->next_range++];
	argv[2] = psprintf("--path=%s/%s", path, XLOGDIR);
	argv[3] = psprintf("--timeline=%u", range->timeline);
	argv[4] = psprintf("--start=%X/%X", LSN_FORMAT_ARGS(range->start_lsn));
	argv[5] = psprintf("--end=%X/%X", LSN_FORMAT_ARGS(range->end_lsn));
	if (!private_run(&restore->server, &restore->program, argv))
		restore_fail(worker, JET_errOutOfMemory,
					 psprintf("could not run pg_waldump: %s", strerror(errno)));
	return true;
}

static bool
start_amcheck(Restore *restore)
{
	char	   *argv[] = {
		"pg_amcheck", "--all", "--install-missing", "--heapallindexed",
		psprintf("--host=%s", restore->server.home),
		psprintf("--username=%s", restore->superuser),
		"--port=" PRIVATE_PORT,
		NULL
	};

	return private_run(&restore->server, &restore->program, argv);
}

/* pg_control gets its place, and a server recovers what is there. */
static bool
start_recovery(Worker *worker, Restore *restore, TargetError *error)
{
	if (restore->source.tar ?
		!target_publish_file(&worker->target, CONTROL_FILE_NAME, error) :
		!target_write_file(&worker->target, CONTROL_FILE_NAME,
						   restore->control_file, PG_CONTROL_FILE_SIZE, error))
		return false;
	/* they are about the backup, not about what comes of it */
	for (uint32 i = 0; restore->source.tar && i < restore->source.chain.count; i++)
	{
		char		path[LOGMANIFEST_MAX_PATH];

		logmanifest_path(path, restore->source.chain.links[i]->head.backup_id);
		(void) unlinkat(worker->target.directory, path, 0);
	}
	if (!private_start(&restore->server, worker->target.path,
					   restore_control(restore), restore->target))
		return target_fail_errno(error, "start a server in",
								 worker->target.path);
	return true;
}

static void
enter_stage(Worker *worker, Restore *restore, RestoreStage stage)
{
	static const char *const points[] = {
		[RESTORE_LOGS] = "restore.logs",
		[RESTORE_LOG_FILES] = "restore.log_files",
		[RESTORE_FILES] = "restore.files",
		[RESTORE_WAL] = "restore.wal",
		[RESTORE_SYNC] = "restore.sync",
		[RESTORE_RECOVERY] = "restore.recovery",
		[RESTORE_CHECK] = "restore.check",
		[RESTORE_SHUTDOWN] = "restore.shutdown",
	};
	TargetError error;

	restore->stage = stage;
	restore->next_item = 0;
	testpoint(points[stage]);
	switch (stage)
	{
		case RESTORE_LOGS:
		case RESTORE_SYNC:
			break;
		case RESTORE_LOG_FILES:
			if (!restore_prepare_logs(worker, restore, &error))
				fail_target(worker, &error);
			break;
		case RESTORE_FILES:
			if (!restore_prepare_files(worker, restore, &error))
				fail_target(worker, &error);
			break;
		case RESTORE_WAL:
			(void) start_waldump(worker, restore);
			break;
		case RESTORE_RECOVERY:
			LWLockAcquire(instance_lock(worker->instance), LW_EXCLUSIVE);
			worker->instance->backup.protocol.phase = PHASE_LOGS;
			worker->instance->backup.phase_started_at = GetCurrentTimestamp();
			LWLockRelease(instance_lock(worker->instance));
			worker_show_activity(worker);
			if (!start_recovery(worker, restore, &error))
				fail_target(worker, &error);
			break;
		case RESTORE_CHECK:
			if (!start_amcheck(restore))
				restore_fail(worker, JET_errFeatureNotAvailable,
							 psprintf("could not run pg_amcheck: %s", strerror(errno)));
			break;
		case RESTORE_SHUTDOWN:
			private_shut_down(&restore->server);
			break;
	}
}

static void
fail_missing(Worker *worker, const char *path)
{
	const char *name = strncmp(path, XLOGDIR "/", strlen(XLOGDIR "/")) == 0 ?
		path + strlen(XLOGDIR "/") : "";

	if (IsXLogFileName(name))
		restore_fail(worker, JET_errMissingLogFile,
					 psprintf("WAL segment %s is missing", name));
	else
		restore_fail(worker, JET_errFileNotFound,
					 psprintf("\"%s\" is missing in the backup", path));
}

/* All files have been read: is any missing? */
static void
finish_files(Worker *worker, Restore *restore)
{
	const InventoryFile *missing = inventory_first_unseen(restore->inventory);

	if (missing != NULL)
		fail_missing(worker, missing->path);
	else
		enter_stage(worker, restore,
					restore->recover ? RESTORE_SYNC : RESTORE_WAL);
}

/* pg_amcheck has ended: 2 is damage, and all else is no news about that. */
static void
finish_check(Worker *worker, Restore *restore)
{
	switch (child_exit_status(&restore->program))
	{
		case 0:
			enter_stage(worker, restore, RESTORE_SHUTDOWN);
			break;
		case 2:
			restore_fail(worker, JET_errReadVerifyFailure,
						 psprintf("pg_amcheck has found damage: %s",
								  private_output(&restore->server)));
			break;
		default:
			restore_fail(worker, JET_errFeatureNotAvailable,
						 psprintf("the restored databases could not be checked: %s",
								  private_output(&restore->server)));
			break;
	}
}

/* Recovery has ended, and the server runs. */
static void
finish_recovery(Worker *worker, Restore *restore)
{
	if (restore_judge_end(worker, restore))
		enter_stage(worker, restore, restore->verify ?
					RESTORE_CHECK : RESTORE_SHUTDOWN);
}

/* Go on with what a program or server does. */
static void
pump_programs(Worker *worker, Restore *restore)
{
	switch (restore->stage)
	{
		case RESTORE_WAL:
			if (child_runs(&restore->program))
				return;
			if (!child_succeeded(&restore->program))
				restore_fail(worker, JET_errLogFileCorrupt,
							 psprintf("its WAL is damaged: %s", private_output(&restore->server)));
			else if (!start_waldump(worker, restore))
				complete(worker, restore);
			break;
		case RESTORE_CHECK:
			if (child_runs(&restore->program))
				return;
			finish_check(worker, restore);
			break;
		case RESTORE_RECOVERY:
			switch (private_state(&restore->server))
			{
				case PRIVATE_STARTING:
					break;
				case PRIVATE_READY:
					finish_recovery(worker, restore);
					break;
				case PRIVATE_ENDED:
					restore_fail_recovery(worker, restore);
					break;
			}
			break;
		default:
			if (private_state(&restore->server) != PRIVATE_ENDED)
				return;
			if (child_succeeded(&restore->server.child))
				complete(worker, restore);
			else
				restore_fail_recovery(worker, restore);
			break;
	}
}

bool
restore_waits_for_program(const Worker *worker)
{
	Restore    *restore = restore_of(worker);

	return restore != NULL && !worker->backup->engine_stopped &&
		(restore->stage == RESTORE_WAL || restore->stage >= RESTORE_RECOVERY);
}

/* Go on with the jobs of a stage; true when the next one has begun. */
static bool
pump_stage(Worker *worker, Restore *restore)
{
	if (restore->stage > RESTORE_FILES && restore->stage != RESTORE_SYNC)
	{
		pump_programs(worker, restore);
		return false;
	}
	if (!restore_pump_jobs(worker, restore))
		return false;
	if (restore->stage == RESTORE_FILES)
		finish_files(worker, restore);
	else
		enter_stage(worker, restore, restore->stage == RESTORE_SYNC ?
					RESTORE_RECOVERY : restore->stage + 1);
	return true;
}

void
restore_pump(Worker *worker)
{
	Restore    *restore;

	/* nothing wakes the worker for jobs that were not started yet */
	do
	{
		restore = restore_of(worker);
		if (restore == NULL || worker->backup->engine_stopped)
			return;
	} while (pump_stage(worker, restore));
}

void
restore_interrupt(Worker *worker)
{
	Restore    *restore = restore_of(worker);

	if (restore == NULL)
		return;
	if (restore->program.pid != 0)
		kill(-restore->program.pid, SIGKILL);
	if (restore->server.child.control >= 0)
		close(restore->server.child.control);
	restore->server.child.control = -1;
}

void
restore_close(Worker *worker, bool keep)
{
	Restore    *restore = restore_of(worker);

	if (restore == NULL)
		return;
	child_end(&restore->program, 0);
	private_end(&restore->server);
	if (!keep || restore->verify)
		restore_remove_places(restore);
	restore->places = NIL;
	if (restore->verify)
		target_remove(&worker->target);
	source_close(&restore->source);
}

/* The beginning is made: from now on it can be stopped. */
static void
publish_begun(Worker *worker)
{
	EseInstance *instance = worker->instance;
	BackupStatus *status = &instance->backup;

	worker->backup->on_standby = false;
	LWLockAcquire(instance_lock(instance), LW_EXCLUSIVE);
	status->protocol.phase = PHASE_DATABASES;
	LWLockRelease(instance_lock(instance));
	ereport(LOG,
			(errmsg("%s %lld of instance \"%s\" started: \"%s\"",
					history_noun(status->row.kind),
					(long long) status->row.backup_id, instance->name,
					status->row.location)));
}

/* It has not begun: close and remove what was found and made for it. */
static void
give_up_places(Worker *worker, Restore *restore)
{
	private_end(&restore->server);
	target_remove(&worker->target);
	source_close(&restore->source);
}

/* Before anything is copied: is there what checks databases? */
static bool
refuse_check(const Restore *restore, Call *call)
{
	const char *missing = private_missing_check();

	if (!restore->verify || !restore->recover || missing == NULL)
		return false;
	answer_error(&call->answer, JET_errFeatureNotAvailable,
				 "cannot verify a backup with depth \"%s\"", DEPTH_RESTORE);
	answer_detail(&call->answer, "On this server %s is not installed.", missing);
	answer_hint(&call->answer, "Install PostgreSQL's contrib modules, or verify with depth \"%s\".",
				DEPTH_MANIFEST);
	return true;
}

/* Find the source and make the destination, or refuse. */
static bool
refuse_restore(Worker *worker, Restore *restore, Call *call)
{
	const Request *request = &call->request;
	const char *source = restore->verify ? request->path : request->text;
	TargetError error;

	if (backup_refuse(worker, call, CALL_BEGIN) || refuse_check(restore, call))
		return true;
	if (source_find(&restore->source, source, &error))
	{
		if (restore_make_destination(worker, restore, request, &error) &&
			private_make_home(&restore->server, worker->instance->id))
			return false;
		if (worker->target.in_use)
			(void) target_fail_errno(&error, "create a directory in", "/tmp");
		give_up_places(worker, restore);
	}
	answer_error(&call->answer, error.jet, "cannot %s the backup in \"%s\"",
				 restore->verify ? "verify" : "restore", source);
	answer_detail(&call->answer, "%c%s.",
				  pg_toupper((unsigned char) error.text[0]), error.text +1);
	return true;
}

void
restore_begin(Worker *worker, Call *call)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "ese restore",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	Restore    *restore = create_restore(&call->request);

	if (refuse_restore(worker, restore, call))
	{
		MemoryContextSwitchTo(caller);
		MemoryContextDelete(context);
		return;
	}
	MemoryContextSwitchTo(caller);
	if (!backup_open(worker, call,
					 restore->verify ? KIND_VERIFY : KIND_RESTORE))
	{
		give_up_places(worker, restore);
		MemoryContextDelete(context);
		return;
	}
	MemoryContextSetParent(context, worker->backup->context);
	worker->backup->restore = restore;
	worker->backup->native = NATIVE_RESTORE;
	publish_begun(worker);
	call->answer.backup = worker->backup->id;
	/* one that was stopped already, ends in the next round */
	if (!backup_set_out(worker))
		return;
	eng_begin(worker->engine, 0, DIGEST_NONE);
	enter_stage(worker, restore,
				restore->source.tar ? RESTORE_LOGS : RESTORE_FILES);
}
