/*-------------------------------------------------------------------------
 *
 * worker.c
 *	  The main loop of an instance's background worker.
 *
 * The worker is crash-only: an error that survive.c does not take for an
 * answer is recorded in the slot and ends the process with status 1; the
 * postmaster starts it again a second later.  On its way out it sets the stop
 * first and joins its threads last, after core has dropped the slot and left
 * backup mode, because the checkpointer may be waiting for that.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <unistd.h>

#include "access/xlog.h"
#include "common/file_perm.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/procsignal.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/pidfile.h"
#include "utils/timestamp.h"

#include "aside.h"
#include "backup.h"
#include "engine/jet.h"
#include "frame.h"
#include "instance.h"
#include "leftover.h"
#include "pathrun.h"
#include "privateserver.h"
#include "registry.h"
#include "statefile.h"
#include "stop.h"
#include "survive.h"
#include "testpoint.h"
#include "unread.h"
#include "worker.h"
#include "worker_internal.h"

/* How often the loop looks at guards and timeouts while a backup is open. */
#define TICK_MS			1000

/* How often it looks whether a program that it runs has ended. */
#define PROGRAM_MS		20

/* How often it looks whether what hung has returned. */
#define LEFTOVER_MS		100

/* How long the next engine waits for the threads of the one before. */
#define JOIN_MS			2000

/* How long the way out waits for threads that are inside a system call. */
#define EXIT_JOIN_MS	500

PGDLLEXPORT void ese_worker_main(Datum arg);

static Worker worker_state = {.atomic = {.directory = -1}};
static volatile sig_atomic_t interrupt_allowed = false;

void
worker_fill_registration(BackgroundWorker *registration, const char *function,
						 const char *name, Datum arg)
{
	memset(registration, 0, sizeof(*registration));
	registration->bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION;
	registration->bgw_start_time = BgWorkerStart_ConsistentState;
	strlcpy(registration->bgw_library_name, "ese",
			sizeof(registration->bgw_library_name));
	strlcpy(registration->bgw_function_name, function,
			sizeof(registration->bgw_function_name));
	strlcpy(registration->bgw_name, name, sizeof(registration->bgw_name));
	registration->bgw_main_arg = arg;
}

bool
worker_start(EseInstance *instance)
{
	BackgroundWorker registration;
	char		name[BGW_MAXLEN];

	snprintf(name, sizeof(name), "ese instance %s", instance->name);
	worker_fill_registration(&registration, "ese_worker_main", name,
							 Int32GetDatum(instance->id));
	strlcpy(registration.bgw_type, "ese instance",
			sizeof(registration.bgw_type));
	registration.bgw_restart_time = 1;
	return RegisterDynamicBackgroundWorker(&registration, NULL);
}

void
worker_wake(EseInstance *instance)
{
	if (pg_atomic_read_u32(&instance->worker_pid) != 0)
		SetLatch(compat_proc_latch(instance->worker_proc_number));
}

void
worker_interrupt_begin(EseInstance *instance)
{
	uint32		pid = pg_atomic_read_u32(&instance->worker_pid);

	if (pid != 0)
		kill((pid_t) pid, SIGINT);
}

/* SIGINT: end the start of a backup, and nothing else. */
static void
handle_interrupt(SIGNAL_ARGS)
{
	int			save_errno = errno;

	if (interrupt_allowed)
	{
		InterruptPending = true;
		QueryCancelPending = true;
	}
	SetLatch(MyLatch);
	errno = save_errno;
}

void
worker_allow_interrupt(bool allow)
{
	interrupt_allowed = allow;
	/* one that came too late must not hit what follows */
	QueryCancelPending = false;
}

bool
worker_server_is_stopping(void)
{
	char text[	MAXPGPATH];
	int			fd = open("postmaster.pid", O_RDONLY | O_CLOEXEC);
	ssize_t		length;

	if (fd < 0)
		return true;
	length = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (length < 0)
		return false;
	text[		length] = '\0';

	return strstr(text, PM_STATUS_STOPPING) != NULL;
}

void
worker_show_activity(Worker *worker)
{
	EseInstance *instance = worker->instance;
	BackupStatus *status = &instance->backup;
	char text[	256];

	if (status->protocol.phase == PHASE_NONE)
	{
		pgstat_report_activity(STATE_IDLE, NULL);
		return;
	}
	snprintf(text, sizeof(text), "backup %lld: %s%s",
			 (long long) status->row.backup_id,
			 protocol_phase_name(status->protocol.phase),
			 status->protocol.stopped ? ", stopped" : "");
	pgstat_report_activity(STATE_RUNNING, text);
}

void
worker_open_engine(Worker *worker)
{
	int			sys_errno = 0;

	worker->threads = (int) worker->instance->params.backup_threads;
	worker->engine = eng_open(worker->threads,
							  worker->file_places + worker->threads,
							  ese_frames, &sys_errno);
	if (worker->engine == NULL)
	{
		errno = sys_errno;
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not start %d backup threads: %m",
						worker->threads)));
	}
	/* a handle that is not yet closed keeps its job, of another engine */
	for (int i = 0; i < worker->file_places; i++)
	{
		if (worker->files[i].handle == NULL)
			worker->files[i].job = eng_job(worker->engine, i);
	}
	worker->native_jobs = MemoryContextAllocZero(TopMemoryContext,
												 sizeof(NativeJob) * worker->threads);
	for (int i = 0; i < worker->threads; i++)
		worker->native_jobs[i].job = eng_job(worker->engine,
											 worker->file_places + i);
}

bool
worker_has_files_of(Worker *worker, Engine *engine)
{
	for (int i = 0; i < worker->file_places; i++)
	{
		if (worker->files[i].handle != NULL &&
			eng_owns(engine, worker->files[i].job))
			return true;
	}
	return false;
}

static bool
has_open_places(Worker *worker)
{
	if (worker_has_files_of(worker, worker->engine))
		return true;
	for (int i = 0; i < worker->threads; i++)
	{
		if (worker->native_jobs[i].in_use)
			return true;
	}
	return false;
}

void
worker_prepare_engine(Worker *worker)
{
	if (worker->engine != NULL)
	{
		/* with a thread stuck in a system call it stays as it is */
		if (worker->threads == worker->instance->params.backup_threads ||
			has_open_places(worker))
			return;
		if (!eng_close(worker->engine, JOIN_MS))
			elog(ERROR, "backup threads did not end");
		worker->engine = NULL;
		pfree(worker->native_jobs);
	}
	worker_open_engine(worker);
}

/*
 * First on the way out: readers fail, threads begin nothing more.  Core's
 * handlers, which were registered before, then leave backup mode and drop the
 * slot.
 */
static void
die_early(int code, Datum arg)
{
	Worker	   *worker = &worker_state;

	/* an ERROR may have come with one held */
	LWLockReleaseAll();
	if (worker->task != NULL)
		path_cancel(worker->task);
	backup_die_early(worker);
	instance_set_state(worker->instance, worker->leaving ?
					   INSTANCE_TERMINATING : INSTANCE_FAILED);
}

/*
 * Last on the way out.  Threads end, and everything that others may wait for
 * is given free; then comes what may take long, or fail.  An ERROR here would
 * be FATAL, and end the way out: nothing raises.
 */
static void
die_late(int code, Datum arg)
{
	Worker	   *worker = &worker_state;
	EseInstance *instance = worker->instance;
	bool		joined = true;

	MemoryContextSwitchTo(TopMemoryContext);
	if (worker->engine != NULL)
		joined = eng_close(worker->engine, EXIT_JOIN_MS);
	worker->engine = NULL;
	testpoint("worker.exit");
	backup_die_late(worker);
	/* a thread inside a system call may still write to its frame */
	if (joined)
	{
		frame_put_all_handles(instance);
		if (worker->leaving)
			frame_unreserve(instance);
	}
	pg_atomic_write_u32(&instance->worker_pid, 0);
	/* who waits for a native backup finds its place as it was */
	native_close_at_exit(worker);
	backup_die_publish(worker);
	if (worker->leaving)
		instance_set_state(instance, INSTANCE_STOPPED);
	backup_die_last(worker);
}

/*
 * Is the process that holds the slot gone?  A worker that could not leave in
 * order has left its process ID behind.
 */
static bool
holder_is_dead(EseInstance *instance, uint32 pid)
{
	int			number = instance->worker_proc_number;

	if (kill((pid_t) pid, 0) != 0 && errno == ESRCH)
		return true;
	/* another program may have the number by now */
	return compat_proc(number)->pid != (int) pid;
}

/* Take the slot, or leave it to the worker that has it. */
static void
claim_instance(EseInstance *instance)
{
	uint32		holder = 0;

	while (!pg_atomic_compare_exchange_u32(&instance->worker_pid, &holder,
										   (uint32) MyProcPid))
	{
		if (holder != 0 && !holder_is_dead(instance, holder))
			proc_exit(0);
	}
	instance->worker_proc_number = compat_my_proc_number();
	before_shmem_exit(die_early, 0);
	on_shmem_exit(die_late, 0);
	backup_bury(instance);
}

/*
 * Have the frames ese_init() reserves; after a crash of the server they are
 * reserved anew.  False when the pool has become too small.
 */
static bool
ensure_frames(EseInstance *instance)
{
	int			needed_kb;
	int			available_kb;

	if (instance->reserved_handles > 0)
	{
		frame_put_all_handles(instance);
		return true;
	}
	if (frame_reserve(instance, (int) instance->params.max_open_files,
					  &needed_kb, &available_kb))
		return true;
	ereport(WARNING,
			(errmsg("instance \"%s\" is not started: not enough shared memory",
					instance->name),
			 errdetail("%d kB are needed, and %d kB of ese.stream_buffers are free.",
					   needed_kb, available_kb)));
	return false;
}

/* Everything a worker needs before it takes calls. */
static void
set_up(Worker *worker, int32 id)
{
	EseInstance *instance = registry_find(id);

	/* dropped, or stopped while this worker was on its way back */
	if (instance == NULL)
		proc_exit(0);
	worker->instance = instance;
	target_settings.directory_mode = pg_dir_create_mode;
	target_settings.file_mode = pg_file_create_mode;
	target_settings.system_identifier = GetSystemIdentifier();
	claim_instance(instance);
	if (!instance->enabled || !ensure_frames(instance))
	{
		worker->leaving = true;
		proc_exit(0);
	}
	instance_set_state(instance, INSTANCE_INITIALIZING);
	testpoint("init.start");
	/* if they cannot be written now, they are later */
	worker->rows_open = !history_close_open_rows(instance, 0);
	(void) unlink(statefile_manifest_path(id));
	private_remove_stale(id);
	worker->file_places = (int) instance->params.max_open_files + SPARE_FILES;
	worker->files = MemoryContextAllocZero(TopMemoryContext,
										   sizeof(OpenFile) * worker->file_places);
	worker->limbo = AllocSetContextCreate(TopMemoryContext, "ese limbo",
										  ALLOCSET_SMALL_SIZES);
	worker->unread_context = AllocSetContextCreate(TopMemoryContext,
												   "ese unread files",
												   ALLOCSET_DEFAULT_SIZES);
	worker_open_engine(worker);
	testpoint("init.engine");
	LWLockAcquire(instance_lock(instance), LW_EXCLUSIVE);
	instance->answer_owner = -1;
	instance->hanging[0] = '\0';
	LWLockRelease(instance_lock(instance));
	call_reset(instance);
	pgstat_report_appname(instance->name);
	worker_show_activity(worker);
	instance_set_state(instance, INSTANCE_RUNNING);
	ereport(LOG,
			(errmsg("instance \"%s\" started with %d threads",
					instance->name, worker->threads)));
}

static void
serve_term(Worker *worker, Call *call)
{
	EseInstance *instance = worker->instance;
	bool		stop = (call->request.grbit &
						(JET_bitTermStopBackup | JET_bitTermAbrupt)) != 0;
	FileProblem problem;
	int64		stopped;

	if (backup_refuse(worker, call, stop ? CALL_TERM_STOP : CALL_TERM))
		return;
	/* what would start again with the server is not stopped */
	if (!registry_set_enabled(instance, false, &problem))
	{
		answer_error(&call->answer, statefile_jet_error(&problem),
					 "the end of instance \"%s\" cannot be recorded",
					 instance->name);
		answer_detail(&call->answer, "%c%s.",
					  pg_toupper((unsigned char) problem.message[0]),
					  problem.message + 1);
		return;
	}
	if (worker->backup != NULL)
	{
		(void) stop_request(instance, 0, CAUSE_TERM,
							JET_errBackupAbortByServer,
							call->request.client.role_name,
							"the instance was terminated", &stopped);
		(void) backup_finish(worker, OUTCOME_ABORTED_BY_SERVER,
							 instance->backup.stop_error,
							 instance->backup.row.reason);
	}
	testpoint("term.start");
	worker->leaving = true;
}

static void
dispatch(Worker *worker, Call *call)
{
	switch (call->request.operation)
	{
		case OP_BEGIN:
			backup_begin(worker, call);
			break;
		case OP_ATTACH_INFO:
			backup_attach_info(worker, call);
			break;
		case OP_OPEN_FILE:
			openfile_open(worker, call);
			break;
		case OP_OPEN_STREAM:
			streamfile_open(worker, call);
			break;
		case OP_RESUME_STREAM:
			streamfile_resume(worker, call);
			break;
		case OP_CLOSE_FILE:
			openfile_close(worker, call);
			break;
		case OP_LOG_INFO:
			loglist_get(worker, call);
			break;
		case OP_UNREAD_FILES:
			unread_list(worker, call);
			break;
		case OP_END:
			backup_end(worker, call);
			break;
		case OP_TRUNCATE_LOG:
			loglist_truncate(worker, call);
			break;
		case OP_BACKUP:
			native_begin(worker, call);
			break;
		case OP_RESTORE:
		case OP_VERIFY:
			restore_begin(worker, call);
			break;
		case OP_TERM:
			serve_term(worker, call);
			break;
	}
}

/* What closes a handle is answered when its job has parked. */
static bool
is_deferred(const Call *call)
{
	return (call->request.operation == OP_CLOSE_FILE ||
			call->request.operation == OP_RESUME_STREAM) &&
		call->answer.error == 0 && call->answer.sqlstate[0] == '\0';
}

/*
 * What can only fail by itself: nothing of the backup has changed, and the
 * call can be repeated.  All others make the backup, or leave backup mode, and
 * cannot be taken back in the middle.
 */
static StepSubject
subject_of(const Call *call)
{
	switch (call->request.operation)
	{
		case OP_ATTACH_INFO:
		case OP_OPEN_FILE:
		case OP_OPEN_STREAM:
		case OP_RESUME_STREAM:
		case OP_CLOSE_FILE:
		case OP_TRUNCATE_LOG:
		case OP_UNREAD_FILES:
		case OP_BEGIN:			/* while another backup is open */
		case OP_BACKUP:
		case OP_RESTORE:
		case OP_VERIFY:
			return STEP_CALL;
		case OP_LOG_INFO:
		case OP_END:
		case OP_TERM:
			break;
	}
	return STEP_BACKUP;
}

static void
serve(Worker *worker, Call *call)
{
	EseInstance *instance = worker->instance;
	Call	   *before = worker->serving;

	shared_note_activity(instance);
	worker->serving = call;
	PG_TRY();
	{
		survive(worker, call, dispatch, subject_of(call));
	}
	PG_CATCH();
	{
		/* tell the caller before the worker goes */
		LWLockReleaseAll();
		(void) call_answer(instance, call);
		PG_RE_THROW();
	}
	PG_END_TRY();
	worker->serving = before;
	shared_note_activity(instance);
	if (!is_deferred(call))
		(void) call_answer(instance, call);
}

/* Term may stop the backup that is open; who asks for it waits till it ends. */
static bool
is_term_that_stops(const Call *call)
{
	return call->request.operation == OP_TERM &&
		(call->request.grbit & (JET_bitTermStopBackup | JET_bitTermAbrupt)) != 0;
}

void
worker_serve_meanwhile(Worker *worker)
{
	EseInstance *instance = worker->instance;
	Call	   *call;
	int64		stopped;

	backup_tick(worker);
	while (!path_is_unwanted(worker) && (call = call_next(instance)) != NULL)
	{
		/* it may have come after the end of what is in its way */
		if (path_is_unwanted(worker))
			call_put_back(instance, call);
		else if (!is_term_that_stops(call))
			serve(worker, call);
		else
		{
			(void) stop_request(instance, 0, CAUSE_TERM,
								JET_errBackupAbortByServer,
								call->request.client.role_name,
								"the instance was terminated", &stopped);
			call_put_back(instance, call);
		}
	}
}

/* A Begin whose session left before it saw the answer is undone. */
static void
undo_abandoned_begin(Worker *worker)
{
	int64		id;

	while (call_take_abandoned_begin(worker->instance, &id))
	{
		if (worker->backup != NULL && worker->backup->id == id)
			(void) backup_finish(worker, OUTCOME_ABORTED_BY_CALLER,
								 errBackupAbortByCaller,
								 "the session that began the backup left before it got the answer");
	}
}

static void
reload_settings(Worker *worker)
{
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
	eng_set_rate(worker->engine,
				 (uint64) worker->instance->params.backup_max_rate);
	eng_set_hold(worker->engine, testpoint_is_set("engine.read", "hold"));
	eng_set_hold_open(worker->engine, testpoint_is_set("engine.open", "hold"));
	testpoint_log_change(worker->instance->name);
}

/* All threads have returned: nothing is looked at any more. */
static void
empty_limbo(Worker *worker)
{
	if (worker->limbo->firstchild != NULL && eng_running(worker->engine) == 0)
		MemoryContextDeleteChildren(worker->limbo);
}

/* What goes on with the backup that is open. */
static void
pump(Worker *worker, Call *call)
{
	backup_pursue_stop(worker);
	undo_abandoned_begin(worker);
	openfile_pump(worker);
	native_pump(worker);
	restore_pump(worker);
	leftover_pump(worker);
}

/* Guards and timeouts, which look at other things as well. */
static void
tick(Worker *worker, Call *call)
{
	backup_tick(worker);
}

/* What is due, however many calls are queued. */
static void
keep_up(Worker *worker)
{
	reload_settings(worker);
	survive(worker, NULL, pump, STEP_BACKUP);
	survive(worker, NULL, tick, STEP_CALL);
}

/* One round: everything there is to do now. */
static void
work(Worker *worker)
{
	Call	   *call;

	keep_up(worker);
	while (!worker->leaving &&
		   (call = call_next(worker->instance)) != NULL)
	{
		serve(worker, call);
		if (!worker->leaving)
			keep_up(worker);
		CHECK_FOR_INTERRUPTS();
	}
	empty_limbo(worker);
	frame_sweep_zombies();
}

/* Wait for a latch, for the engine, or for the next tick. */
static void
wait_for_work(Worker *worker)
{
	long		timeout = TICK_MS;
	int			events;

	/* a stop that waits for a thread looks more often */
	if (worker->backup != NULL && worker->backup->engine_stopped &&
		!worker->backup->released)
		timeout = 5;
	else if (restore_waits_for_program(worker))
		timeout = PROGRAM_MS;
	else if (worker->leftovers != NULL)
		timeout = LEFTOVER_MS;
	events = WaitLatchOrSocket(MyLatch,
							   WL_LATCH_SET | WL_SOCKET_READABLE | WL_TIMEOUT |
							   WL_EXIT_ON_PM_DEATH,
							   eng_event_fd(worker->engine), timeout,
							   compat_wait_event("EseWorkerMain"));
	if (events & WL_LATCH_SET)
		ResetLatch(MyLatch);
	if (events & WL_SOCKET_READABLE)
		eng_drain_events(worker->engine);
	CHECK_FOR_INTERRUPTS();
}

/* What must not wait for the records that this worker writes. */
static void
look_after_stop(void)
{
	(void) backup_meet_stop(&worker_state);
}

/* Set up, then work until ese_term() lets the worker go. */
static void
run(Worker *worker, int32 id)
{
	MemoryContext context;

	context = AllocSetContextCreate(TopMemoryContext, "ese worker",
									ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	set_up(worker, id);
	aside_set_watch(look_after_stop);
	while (!worker->leaving)
	{
		work(worker);
		MemoryContextReset(context);
		if (!worker->leaving)
			wait_for_work(worker);
	}
}

void
ese_worker_main(Datum arg)
{
	Worker	   *worker = &worker_state;

	pqsignal(SIGTERM, die);
	pqsignal(SIGINT, handle_interrupt);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);

	/* threads allocate next to nothing, so they need no arenas of their own */
	mallopt(M_ARENA_MAX, 2);
	register_persistent_abort_backup_handler();
	PG_TRY();
	{
		run(worker, DatumGetInt32(arg));
	}
	PG_CATCH();
	{
		if (worker->instance != NULL)
			survive_note_death(worker);
		PG_RE_THROW();
	}
	PG_END_TRY();
	ereport(LOG,
			(errmsg("instance \"%s\" stopped", worker->instance->name)));
	proc_exit(0);
}
