/*-------------------------------------------------------------------------
 *
 * native.c
 *	  A native backup, in the worker: the whole sequence of calls, with jobs
 *	  that write instead of clients that read.
 *
 * It goes through stages.  In each one the jobs take files from a common
 * queue until it is empty; then the worker accounts for them and starts the
 * next stage.  A data directory lacks pg_control, and archives their logs,
 * until all else is on disk; so nothing can take an unfinished backup for a
 * finished one, whatever becomes of the server.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "access/xlog.h"
#include "common/file_perm.h"
#include "storage/fd.h"

#include "backup.h"
#include "chain.h"
#include "engine/destination.h"
#include "engine/jet.h"
#include "leftover.h"
#include "nativelogs.h"
#include "pathrun.h"
#include "stop.h"
#include "testpoint.h"
#include "worker_internal.h"

static bool
is_tar(const Worker *worker)
{
	return worker->target.tar;
}

/* Give back a job that has parked, with what it holds. */
void
native_release_place(NativeJob *place)
{
	closing_close_job(place);
	for (int i = 0; i < JOB_FDS; i++)
		ReleaseExternalFD();
}

void
native_release_jobs(Worker *worker)
{
	for (int i = 0; i < worker->threads; i++)
	{
		NativeJob  *place = &worker->native_jobs[i];

		if (place->in_use && eng_job_idle(place->job))
			native_release_place(place);
	}
}

static EngIntake *
intake_of(NativeJob *place)
{
	if (place->stream != NULL)
		return &place->stream->intake;
	return place->writer != NULL ? &place->writer->intake : NULL;
}

static bool
acquire_fds(void)
{
	for (int i = 0; i < JOB_FDS; i++)
	{
		if (!AcquireExternalFD())
		{
			while (i-- > 0)
				ReleaseExternalFD();
			return false;
		}
	}
	return true;
}

NativeJob *
native_take_place(Worker *worker, int index, int directory, const char *suffix)
{
	NativeJob  *place = &worker->native_jobs[index];
	int32		holder;

	/* one may still be in a system call of a backup that was stopped */
	if (place->in_use || !acquire_fds())
		return NULL;
	place->target.directory = fcntl(directory, F_DUPFD_CLOEXEC, 0);
	place->target.file_mode = pg_file_create_mode;
	place->target.suffix = suffix;
	place->target.read_soon = false;
	if (place->target.directory < 0)
	{
		for (int i = 0; i < JOB_FDS; i++)
			ReleaseExternalFD();
		return NULL;
	}
	memset(&place->ring, 0, sizeof(place->ring));
	(void) ring_claim(&place->ring, RING_CLAIM_OWNER, &holder);
	ring_open(&place->ring, (uint32) index + 1, 0, PG_INT64_MAX);
	place->in_use = true;
	return place;
}

/* Pages are verified as in streams: a damaged one is copied and reported. */
static VerifyMode
verify_mode(Worker *worker)
{
	bool		verify = DataChecksumsEnabled() &&
		!worker->backup->logs_listed &&
		worker->instance->params.verify_checksums != VERIFY_OFF;

	return verify ? VERIFY_REPORT : VERIFY_OFF;
}

/* Files of logs: one of a full backup, and one of each incremental. */
static void
name_logs_archive(Worker *worker, char *name, size_t size)
{
	Backup	   *backup = worker->backup;
	const char *suffix =
		compress_suffix(param_compression(&worker->instance->params).kind);

	if (backup->incremental)
		snprintf(name, size, "logs.%lld.tar%s", (long long) backup->id, suffix);
	else
		snprintf(name, size, "logs.tar%s", suffix);
}

/* Bind the job of a place to an archive. */
static bool
open_archive(Worker *worker, NativeJob *place, int number)
{
	Compression how = param_compression(&worker->instance->params);
	char		name[64];

	if (worker->backup->logs_listed)
		name_logs_archive(worker, name, sizeof(name));
	else
		snprintf(name, sizeof(name), "data.%d.tar%s", number,
				 compress_suffix(how.kind));
	place->stream = eng_stream_new_file(worker->backup->queue,
										verify_mode(worker), &how,
										&place->target, name);
	return place->stream != NULL &&
		eng_job_open_stream(place->job, &place->ring, place->stream);
}

static bool
open_writer(Worker *worker, NativeJob *place)
{
	place->writer = eng_writer_new(worker->backup->queue, verify_mode(worker),
								   &place->target);
	return place->writer != NULL &&
		eng_job_open_writer(place->job, &place->ring, place->writer);
}

/*
 * Start the jobs of a stage; fewer when descriptors or memory are short.
 * Returns how many there are.
 */
static int
start_jobs(Worker *worker, int wanted)
{
	int			started = 0;

	for (int i = 0; i < worker->threads && started < wanted; i++)
	{
		NativeJob  *place = native_take_place(worker, i,
											  worker->target.directory,
											  worker->target.reused ?
											  TARGET_SUFFIX : NULL);

		if (place == NULL)
			continue;
		if (worker->backup->native == NATIVE_SYNC ?
			!eng_job_open_sync(place->job, &place->ring, &place->target) :
			is_tar(worker) ? !open_archive(worker, place, started + 1) :
			!open_writer(worker, place))
		{
			native_release_place(place);
			continue;
		}
		eng_job_start(place->job);
		started++;
	}
	return started;
}

bool
native_is_for_writers(const FileEntry *entry)
{
	return entry->kind != FILE_DIRECTORY &&
		strcmp(entry->name, CONTROL_FILE_NAME) != 0;
}

/*
 * The backup has failed: it ends, and nothing of it stays.  One that nobody
 * wants any more ends as that.
 */
static void
fail(Worker *worker, int error, const char *reason)
{
	if (!path_is_unwanted(worker))
		(void) backup_finish(worker, OUTCOME_FAILED, error, reason);
}

static void
enter_stage(Worker *worker, NativeStage stage)
{
	static const char *const points[] = {
		[NATIVE_DATABASES] = "native.databases",
		[NATIVE_LOGS] = "native.logs",
		[NATIVE_SYNC] = "native.sync",
	};
	Backup	   *backup = worker->backup;
	BackupStatus *status = &worker->instance->backup;

	/* one archive holds all logs, and one job syncs everything */
	int			jobs = stage == NATIVE_SYNC ||
		(stage == NATIVE_LOGS && is_tar(worker)) ? 1 : worker->threads;

	backup->native = stage;
	backup->files_settled = status->files_done;
	backup->bytes_settled = status->bytes_closed;
	testpoint(points[stage]);
	if ((stage != NATIVE_SYNC &&
		 !streamfile_make_queue(backup, is_tar(worker) ? NULL : native_is_for_writers)) ||
		start_jobs(worker, jobs) == 0)
		fail(worker, JET_errOutOfMemory,
			 "memory or file descriptors were too short for a thread to write");
}

/* Directories were made before the jobs started: they count. */
static void
count_directories(FileList *list)
{
	for (int i = 0; i < list->count; i++)
	{
		if (list->entries[i].kind == FILE_DIRECTORY)
			list->entries[i].status = FILE_READ;
	}
}

/* What finding the target needs to know. */
static Destination *
describe_destination(Worker *worker, const Request *request, const Chain *chain)
{
	Destination *destination = destination_new(request->path);

	if (destination == NULL)
		return NULL;
	destination->incremental = (request->grbit & JET_bitBackupIncremental) != 0;
	destination->atomic_kind = (request->grbit & JET_bitBackupAtomic) != 0;
	destination->tar = worker->instance->params.backup_format == FORMAT_TAR;
	strlcpy(destination->instance_name, worker->instance->name,
			sizeof(destination->instance_name));
	strlcpy(destination->chain_location, chain->location,
			sizeof(destination->chain_location));
	destination->elsewhere_id = chain->elsewhere_id;
	return destination;
}

/* Say where the backup will be found. */
static void
publish_location(Worker *worker, const Request *request)
{
	EseInstance *instance = worker->instance;
	bool		moves = (request->grbit & JET_bitBackupAtomic) != 0 &&
		!worker->backup->incremental;

	LWLockAcquire(instance_lock(instance), LW_EXCLUSIVE);
	if (moves)
		snprintf(instance->backup.row.location,
				 sizeof(instance->backup.row.location),
				 "%s/" ATOMIC_NEW, request->path);
	else
		strlcpy(instance->backup.row.location, worker->target.path,
				sizeof(instance->backup.row.location));
	LWLockRelease(instance_lock(instance));
}

/* Find or make the target; false and *error when there is none. */
static bool
find_target(Worker *worker, const Request *request, TargetError *error)
{
	PathTask   *task;
	Chain		chain;
	bool		found;

	if (!leftover_check_path(worker, request->path, error))
		return false;
	chain_look(worker->instance, &chain);
	task = (PathTask *) describe_destination(worker, request, &chain);
	found = path_run(worker, &task, error);
	if (found)
	{
		worker->target = ((Destination *) task)->target;
		worker->atomic = ((Destination *) task)->atomic;
		ReserveExternalFD();
		if (worker->atomic.directory >= 0)
			ReserveExternalFD();
		publish_location(worker, request);
	}
	path_free(task);
	if (!found)
		return false;
	return worker->backup->incremental ?
		nativelogs_take_up(worker, &chain, error) :
		nativelogs_begin(worker, error);
}

/* A native backup of a kind there is, as a target allows it? */
static bool
refuse_native(Worker *worker, Call *call)
{
	Parameters *params = &worker->instance->params;

	if (backup_refuse_begin(worker, call))
		return true;
	if (params->backup_format != FORMAT_PLAIN ||
		param_compression(params).kind == COMPRESS_NONE)
		return false;
	answer_error(&call->answer, JET_errInvalidParameter,
				 "a native backup in plain format cannot be compressed");
	answer_hint(&call->answer, "Set backup_format to tar, or backup_compression to none.");
	return true;
}

/* There is no target for it: it ends, and the caller is told. */
static void
refuse_target(Worker *worker, Call *call, const TargetError *error)
{
	if (path_is_unwanted(worker))
	{
		backup_undo_begin(worker, call);
		return;
	}
	(void) backup_finish(worker, OUTCOME_FAILED, error->jet, error->text);
	answer_error(&call->answer, error->jet,
				 "cannot write a backup to \"%s\"", call->request.path);
	answer_detail(&call->answer, "%c%s.", pg_toupper((unsigned char) error->text[0]),
				  error->text +1);
	if (error->jet == JET_errBackupDirectoryNotEmpty)
		answer_hint(&call->answer, "Give an empty directory, or one that does not exist yet.");
}

bool
native_make_directories(Worker *worker, FileList *list, TargetError *error)
{
	PathTask   *task = (PathTask *) making_directories_new(&worker->target,
														   list->entries,
														   list->count);
	bool		made = path_run(worker, &task, error);

	path_free(task);
	return made;
}

/* The directories of a plain full backup come before its files. */
static bool
make_directories(Worker *worker)
{
	FileList   *list = &worker->backup->attach;
	TargetError error;
	bool		made = native_make_directories(worker, list, &error);

	if (made)
		count_directories(list);
	else
		/* whoever waits for the backup is told */
		fail(worker, error.jet, error.text);
	return made;
}

void
native_begin(Worker *worker, Call *call)
{
	TargetError error;

	if (refuse_native(worker, call))
		return;
	if (!backup_open(worker, call, backup_kind_of(&call->request)))
		return;
	if (!find_target(worker, &call->request, &error))
	{
		refuse_target(worker, call, &error);
		return;
	}
	if (!backup_start(worker, call))
		return;
	leftover_say(worker, &call->answer);
	if (worker->backup->incremental)
	{
		/* otherwise it has been stopped, which its waiter is told */
		if (loglist_roll(worker))
			enter_stage(worker, NATIVE_LOGS);
	}
	else if (is_tar(worker) || make_directories(worker))
		enter_stage(worker, NATIVE_DATABASES);
}

void
native_publish(Worker *worker)
{
	BackupStatus *status = &worker->instance->backup;
	Backup	   *backup = worker->backup;
	uint64		files = 0;
	uint64		bytes = 0;

	if (backup->native == NATIVE_STARTING)
		return;
	for (int i = 0; i < worker->threads; i++)
	{
		EngIntake  *intake = intake_of(&worker->native_jobs[i]);

		if (intake == NULL)
			continue;
		files += atomic_load(&intake->files_done);
		bytes += atomic_load(&intake->bytes_done);
	}
	LWLockAcquire(instance_lock(worker->instance), LW_EXCLUSIVE);
	status->files_done = backup->files_settled + (int64) files;
	status->bytes_closed = backup->bytes_settled + (int64) bytes;
	LWLockRelease(instance_lock(worker->instance));
}

/*
 * The same name is that of a file of the cluster and of the copy: what cannot
 * be written names the directory it was to go to.
 */
void
native_describe_failure(const Worker *worker, const EngError *error,
						const char *name, char *to, size_t size)
{
	snprintf(to, size, "could not %s%s%s%s", error->writing ? "write" : "read",
			 name != NULL ? " file \"" : " the files",
			 name != NULL ? name : "", name != NULL ? "\"" : "");
	if (error->writing)
		snprintf(to + strlen(to), size - strlen(to), " in \"%s\"",
				 worker->target.path);
	if (error->sys_errno != 0)
		snprintf(to + strlen(to), size - strlen(to), ": %s",
				 strerror(error->sys_errno));
}

/* The job of a place has failed: that is the end. */
static void
fail_job(Worker *worker, NativeJob *place)
{
	EngError	error = place->ring.error;
	EngIntake  *intake = intake_of(place);
	const char *name = intake != NULL && intake->entry != NULL ?
		intake->entry->name : NULL;
	char		reason[ESE_MESSAGE_LENGTH];

	if (place->stream != NULL && error.writing)
		name = place->stream->name;
	native_describe_failure(worker, &error, name, reason, sizeof(reason));
	fail(worker, error.jet, reason);
}

/*
 * Look after the jobs of this stage.  True when all are done; false when some
 * run on, or the backup has ended.
 */
static bool
pump_jobs(Worker *worker)
{
	bool		all_done = true;

	for (int i = 0; i < worker->threads; i++)
	{
		NativeJob  *place = &worker->native_jobs[i];

		if (!place->in_use)
			continue;
		if (atomic_load(&place->ring.state) == RING_FAILED)
		{
			fail_job(worker, place);
			return false;
		}
		if (atomic_load(&place->ring.finished) && eng_job_idle(place->job))
			continue;
		all_done = false;
		if (atomic_load(&place->ring.finished))
			continue;
		if (eng_job_wants_lsn_limit(place->job))
			eng_set_lsn_limit(worker->engine, backup_current_lsn());
		/* also one that is just about to park */
		eng_job_start(place->job);
	}
	return all_done;
}

/* Account for what the jobs of a stage have written; false: memory is out. */
static bool
settle_stage(Worker *worker)
{
	BackupStatus *status = &worker->instance->backup;
	Backup	   *backup = worker->backup;
	bool		good = true;

	/* damaged pages may have been found up to the end */
	openfile_take_findings(worker);
	LWLockAcquire(instance_lock(worker->instance), LW_EXCLUSIVE);
	status->files_done = backup->files_settled;
	status->bytes_closed = backup->bytes_settled;
	LWLockRelease(instance_lock(worker->instance));
	for (int i = 0; i < worker->threads; i++)
	{
		EngIntake  *intake = intake_of(&worker->native_jobs[i]);

		if (intake == NULL)
			continue;
		(void) streamfile_settle(worker, intake, SETTLE_ALL, NULL);
		good = nativelogs_note_archive(worker, &worker->native_jobs[i]) && good;
	}
	native_release_jobs(worker);
	return good;
}

/* Pages may be damaged, but a file that is not in the copy is too much. */
static bool
is_complete(Worker *worker)
{
	FileList   *list = worker->backup->logs_listed ? &worker->backup->logs :
		&worker->backup->attach;

	for (int i = 0; worker->backup->failed_files > 0 && i < list->count; i++)
	{
		FileEntry  *entry = &list->entries[i];
		char		reason[ESE_MESSAGE_LENGTH];

		if (entry->status != FILE_FAILED || entry->damaged)
			continue;
		snprintf(reason, sizeof(reason), "could not open file \"%s\"%s%s",
				 entry->name, entry->failure_errno ? ": " : "",
				 entry->failure_errno ? strerror(entry->failure_errno) : "");
		fail(worker, entry->kind == FILE_LOG ? JET_errMissingFileToBackup :
			 JET_errFileAccessDenied, reason);
		return false;
	}
	return true;
}

/* What an incremental backup has brought. */
static void
describe_logs(Worker *worker, Completion *completion)
{
	completion->logs = worker->backup->logs.entries;
	completion->log_count = worker->backup->logs.count;
	if (is_tar(worker))
		name_logs_archive(worker, completion->archive,
						  sizeof(completion->archive));
}

/* Everything is on disk: it becomes a backup. */
static bool
publish(Worker *worker, FileEntry *control, TargetError *error)
{
	Backup	   *backup = worker->backup;
	Completion *completion = completion_new(&worker->target, &worker->atomic);
	PathTask   *task = (PathTask *) completion;
	bool		published;

	if (completion == NULL)
		return target_fail(error, JET_errOutOfMemory, "memory is out");
	completion->last = control;
	if (backup->incremental)
		describe_logs(worker, completion);
	published = (worker->index == NULL ||
				 nativelogs_complete(worker, completion, error)) &&
		path_run(worker, &task, error);
	path_free(task);
	testpoint("native.published");
	return published;
}

/* The last stage is over. */
static void
complete(Worker *worker)
{
	Backup	   *backup = worker->backup;
	FileEntry  *control = NULL;
	TargetError error;
	char		reason[ESE_MESSAGE_LENGTH];
	FileProblem problem;
	int			result;

	/* what cannot be recorded is not published either */
	if (!backup->incremental &&
		!backup_record_row(worker->instance, &problem))
	{
		snprintf(reason, sizeof(reason), "the backup could not be recorded: %s",
				 problem.message);
		fail(worker, statefile_jet_error(&problem), reason);
		return;
	}
	/* one that was stopped meanwhile is not published: the next round ends it */
	if (stop_is_requested(worker->instance))
		return;
	if (!is_tar(worker) && !backup->incremental)
		control = filelist_find(&backup->logs, CONTROL_FILE_NAME);
	if (!publish(worker, control, &error))
	{
		fail(worker, error.jet, error.text);
		return;
	}
	if (control != NULL)
	{
		control->status = FILE_READ;
		worker->instance->backup.files_done++;
		worker->instance->backup.bytes_closed += control->size;
	}
	result = backup_judge(worker, reason, sizeof(reason));
	/* ESE's native backup truncates the logs it has copied */
	backup->truncated = true;
	if (result == JET_errSuccess)
		(void) backup_settle_chain(worker);
	(void) backup_finish(worker, backup_outcome_of(result), result, reason);
}

void
native_pump(Worker *worker)
{
	Backup	   *backup = worker->backup;

	if (backup != NULL && backup->native == NATIVE_RESTORE)
		return;
	if (backup == NULL || backup->native <= NATIVE_STARTING)
	{
		native_release_jobs(worker);
		return;
	}
	if (backup->engine_stopped || !pump_jobs(worker))
		return;
	if (backup->native == NATIVE_SYNC)
	{
		native_release_jobs(worker);
		complete(worker);
		return;
	}
	if (!settle_stage(worker))
	{
		fail(worker, JET_errOutOfMemory, "memory is out");
		return;
	}
	if (!is_complete(worker))
		return;
	if (backup->native == NATIVE_LOGS)
		enter_stage(worker, NATIVE_SYNC);
	else if (loglist_roll(worker))
	{
		worker_show_activity(worker);
		enter_stage(worker, NATIVE_LOGS);
	}
}

/*
 * Everything that an ended backup leaves, to be closed and removed.  NULL
 * when memory is out.
 */
static Closing *
gather(Worker *worker)
{
	Closing    *closing = closing_new();

	if (closing == NULL)
		return NULL;
	strlcpy(closing->task.path, worker->target.in_use ? worker->target.path :
			worker->instance->backup.row.location, PATH_SIZE);
	closing->target = worker->target;
	closing->atomic = worker->atomic;
	worker->target.in_use = false;
	worker->atomic.directory = -1;
	restore_close(worker, closing);
	return closing;
}

/* What was written stays. */
static void
close_kept(Worker *worker)
{
	native_release_jobs(worker);
	restore_close(worker, NULL);
	if (worker->target.in_use)
		ReleaseExternalFD();
	target_close(&worker->target);
}

void
native_close(Worker *worker, bool keep)
{
	Closing    *closing;

	for (int i = 0; i < worker->threads; i++)
	{
		if (worker->native_jobs[i].in_use)
			ring_close(&worker->native_jobs[i].ring);
	}
	nativelogs_forget(worker);
	if (keep && !restore_is_scratch(worker))
	{
		close_kept(worker);
		return;
	}
	closing = gather(worker);
	if (closing == NULL)
		return;
	closing->jobs = worker->native_jobs;
	closing->job_count = worker->threads;
	leftover_close(worker, closing);
}

void
native_close_atomic(Worker *worker, bool good)
{
	Closing    *closing;

	if (worker->atomic.directory < 0)
		return;
	closing = closing_new();
	if (closing == NULL)
		return;
	strlcpy(closing->task.path, worker->atomic.path, PATH_SIZE);
	closing->atomic = worker->atomic;
	closing->remove_old = good && !worker->backup->incremental;
	worker->atomic.directory = -1;
	leftover_close(worker, closing);
}

void
native_close_at_exit(Worker *worker)
{
	Closing    *closing = gather(worker);

	if (closing != NULL)
		leftover_close_at_exit(closing);
}
