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

#include "engine/destination.h"
#include "engine/jet.h"
#include "engine/restoring.h"
#include "leftover.h"
#include "pathrun.h"
#include "restore_internal.h"
#include "testpoint.h"
#include "worker_internal.h"

void
restore_fail(Worker *worker, int jet, const char *reason)
{
	if (!path_is_unwanted(worker))
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

/* What was restored is complete. */
static bool
remove_marker(Worker *worker, TargetError *error)
{
	Completion *completion = completion_new(&worker->target, &worker->atomic);
	PathTask   *task = (PathTask *) completion;
	bool		good;

	if (completion != NULL)
		completion->sync_above = true;
	good = path_run(worker, &task, error);
	path_free(task);
	return good;
}

/* It is good: it ends. */
static void
complete(Worker *worker, Restore *restore)
{
	TargetError error;

	if (restore->verify)
		note_verified(worker, restore);
	else if (!remove_marker(worker, &error))
	{
		fail_target(worker, &error);
		return;
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

/* What is done before; NULL when memory is out. */
static PathTask *
describe_completion(Worker *worker, Restore *restore)
{
	const LogChain *chain = &restore->source.chain;
	RestoreCompletion *completion = restore_completion_new(&worker->target);
	char		path[LOGMANIFEST_MAX_PATH];
	bool		good = completion != NULL;

	if (good && !restore->source.tar)
	{
		completion->control = malloc(PG_CONTROL_FILE_SIZE);
		completion->control_length = PG_CONTROL_FILE_SIZE;
		good = completion->control != NULL;
		if (good)
			memcpy(completion->control, restore->control_file, PG_CONTROL_FILE_SIZE);
	}
	/* a primary may have had one, ready for a switch-over */
	good = good && restore_completion_drop(completion, "standby.signal");
	/* they are about the backup, not about what comes of it */
	for (uint32 i = 0; good && restore->source.tar && i < chain->count; i++)
	{
		logmanifest_path(path, chain->links[i]->head.backup_id);
		good = restore_completion_drop(completion, path);
	}
	if (good)
		return &completion->task;
	path_free((PathTask *) completion);
	return NULL;
}

/* pg_control gets its place, and a server recovers what is there. */
static bool
start_recovery(Worker *worker, Restore *restore, TargetError *error)
{
	PathTask   *task = describe_completion(worker, restore);
	bool		complete = path_run(worker, &task, error);

	path_free(task);
	if (!complete)
		return false;
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

/* Does the server run, and accept connections? */
static PrivateServerState
state_of_server(Worker *worker, Restore *restore)
{
	TargetError error;
	size_t		length;
	char	   *pidfile;

	if (!child_runs(&restore->server.child))
		return PRIVATE_ENDED;
	pidfile = source_read_file(worker, worker->target.directory,
							   worker->target.path, "postmaster.pid", &length,
							   &error);
	return pidfile != NULL && private_is_ready(pidfile) ? PRIVATE_READY :
		PRIVATE_STARTING;
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
			switch (state_of_server(worker, restore))
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
			if (child_runs(&restore->server.child))
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
restore_close(Worker *worker, Closing *closing)
{
	Restore    *restore = restore_of(worker);

	if (restore == NULL)
		return;
	child_end(&restore->program, 0);
	private_end(&restore->server);
	restore_close_places(restore, closing);
	if (closing != NULL)
	{
		closing->source = restore->source.directory;
		restore->source.directory = -1;
	}
	source_close(&restore->source);
}

bool
restore_is_scratch(const Worker *worker)
{
	Restore    *restore = restore_of(worker);

	return restore != NULL && restore->verify;
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

/* Find the source and make the destination; false and *error if that fails. */
static bool
find_places(Worker *worker, Restore *restore, const Request *request,
			TargetError *error)
{
	const char *source = restore->verify ? request->path : request->text;

	if (!source_find(worker, &restore->source, source, error) ||
		!restore_make_destination(worker, restore, request, error))
		return false;
	return private_make_home(&restore->server, worker->instance->id) ||
		target_fail_errno(error, "create a directory in", "/tmp");
}

/* Before anything is copied: is there what checks databases? */
static bool
refuse_check(Call *call)
{
	const char *missing = private_missing_check();

	if (missing == NULL || call->request.operation != OP_VERIFY ||
		strcmp(call->request.text, DEPTH_RESTORE) != 0)
		return false;
	answer_error(&call->answer, JET_errFeatureNotAvailable,
				 "cannot verify a backup with depth \"%s\"", DEPTH_RESTORE);
	answer_detail(&call->answer, "On this server %s is not installed.", missing);
	answer_hint(&call->answer, "Install PostgreSQL's contrib modules, or verify with depth \"%s\".",
				DEPTH_MANIFEST);
	return true;
}

/* There are none: it ends, and the caller is told. */
static void
refuse_places(Worker *worker, Call *call, const TargetError *error)
{
	bool		verify = call->request.operation == OP_VERIFY;

	if (path_is_unwanted(worker))
	{
		backup_undo_begin(worker, call);
		return;
	}
	(void) backup_finish(worker, OUTCOME_FAILED, error->jet, error->text);
	answer_error(&call->answer, error->jet, "cannot %s the backup in \"%s\"",
				 verify ? "verify" : "restore",
				 verify ? call->request.path : call->request.text);
	answer_detail(&call->answer, "%c%s.",
				  pg_toupper((unsigned char) error->text[0]), error->text +1);
}

void
restore_begin(Worker *worker, Call *call)
{
	bool		verify = call->request.operation == OP_VERIFY;
	MemoryContext caller;
	Restore    *restore;
	TargetError error;
	bool		found;

	if (backup_refuse(worker, call, CALL_BEGIN) || refuse_check(call) ||
		!backup_open(worker, call, verify ? KIND_VERIFY : KIND_RESTORE))
		return;
	caller = MemoryContextSwitchTo(worker->backup->context);
	restore = worker->backup->restore = create_restore(&call->request);
	found = find_places(worker, restore, &call->request, &error);
	MemoryContextSwitchTo(caller);
	if (!found || path_is_unwanted(worker))
	{
		refuse_places(worker, call, &error);
		return;
	}
	worker->backup->native = NATIVE_RESTORE;
	publish_begun(worker);
	call->answer.backup = worker->backup->id;
	leftover_say(worker, &call->answer);
	/* one that was stopped already, ends in the next round */
	if (!backup_set_out(worker))
		return;
	eng_begin(worker->engine, 0, DIGEST_NONE);
	enter_stage(worker, restore,
				restore->source.tar ? RESTORE_LOGS : RESTORE_FILES);
}
