/*-------------------------------------------------------------------------
 *
 * backup.h
 *	  The worker's side of a streaming backup.
 *
 * Only the worker's main thread uses what is declared here.  What others may
 * see of a backup is in the instance's slot (shared.h).
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_BACKUP_H
#define ESE_BACKUP_H

#include "compat.h"
#include "engine/backupindex.h"
#include "engine/closing.h"
#include "engine/engine.h"
#include "filelist.h"
#include "shared.h"

/* Places for handles whose jobs a closed backup left in a system call. */
#define SPARE_FILES 16

/* Seconds over which bytes_per_second is taken. */
#define RATE_SECONDS 10

/* What a native backup is doing. */
typedef enum NativeStage
{
	NATIVE_NONE,				/* it is no native backup */
	NATIVE_STARTING,			/* next: DATABASES */
	NATIVE_DATABASES,			/* next: LOGS */
	NATIVE_LOGS,				/* next: SYNC */
	NATIVE_SYNC,				/* next: the end */
	NATIVE_RESTORE,				/* it is no backup, but a restore or a
								 * verification: see restore.c */
} NativeStage;

/* How the files of a phase are read: the first Open decides. */
typedef enum ReadStyle
{
	STYLE_UNDECIDED,
	STYLE_FILES,
	STYLE_STREAMS,
} ReadStyle;

typedef struct Backup
{
	MemoryContext context;		/* everything below lives here */
	int64		id;
	CompatBackup mode;
	bool		in_backup_mode;
	bool		has_slot;
	bool		on_standby;		/* begun in recovery */
	TimestampTz logs_ended_at;	/* when its stop record was written */
	bool		logs_listed;
	bool		incremental;	/* logs only; holds the chain's slot */
	bool		truncated;		/* TruncateLog has passed its checks */
	XLogRecPtr	chain_end;		/* where the chain's slot goes, or invalid */
	NativeStage native;
	struct Restore *restore;	/* NATIVE_RESTORE */
	int64		files_settled;	/* native: done before this stage */
	int64		bytes_settled;
	FileList	attach;
	FileList	logs;
	LogAccount *account;		/* of the logs; NULL before they are listed */
	LogFollows	follows;		/* incremental: the newest link of the chain */
	char		manifest_checksum[DOCUMENT_CHECKSUM_SIZE];	/* of backup_manifest */
	IndexArchive log_archive;	/* native, tar: the one written last */
	ReadStyle	style;			/* of this phase */
	EngQueue   *queue;			/* of this phase's streams, or NULL */
	int			queue_count;	/* entries it was made of */
	int			queue_settled;	/* of these, what has been accounted for */
	char		slot_name[NAMEDATALEN];
	int			failed_files;
	int			first_failure;	/* JetErr of the first file that failed */
	bool		engine_stopped; /* a stop was passed on to the threads */
	int64		engine_stopped_at;	/* clock_us() */
	bool		released;		/* the aftermath of a stop is done */
	bool		recorded;		/* its final row is durable */
	int64		rate_samples[RATE_SECONDS + 1]; /* bytes done, by second */
	int			rate_count;
	int64		rate_sampled_at;	/* clock_us() */
} Backup;

/* The worker's side of a handle. */
typedef struct OpenFile
{
	EseHandle  *handle;			/* NULL: this place is free */
	uint32		number;
	FileEntry  *entry;			/* NULL for a stream */
	EngStream  *stream;			/* NULL for a file */
	bool		doomed;			/* its backup has ended */
	FileStatus	status_before;	/* of the entry, when it was opened */
	int64		size_before;
	int64		modified_before;
	uint32		resumed_from;	/* of a stream: the handle it goes on for, */
	int64		received;		/* what its client had of that, */
	int64		keep;			/* and how much of it counts */
	EngJob	   *job;			/* of this place; what is above is cleared */
	Call	   *closing;		/* the CloseFile that waits for the job */
	bool		claimed;		/* we hold the ring's claim */
} OpenFile;

typedef struct Worker
{
	EseInstance *instance;
	Engine	   *engine;
	int			threads;
	Backup	   *backup;			/* NULL when none is open */
	int			file_places;
	OpenFile   *files;			/* [file_places] */
	NativeJob  *native_jobs;	/* [threads] */
	MemoryContext unread_context;	/* of the two below */
	FileList	unread;			/* what was not read of the last backup */
	int64		unread_backup;	/* its id, or 0 */
	Target		target;			/* of the native backup that is open */
	Atomic		atomic;			/* the directory of atomic backups it is in */
	BackupIndex *index;			/* of its directory, malloc'd, or NULL */
	Call	   *serving;		/* the call that is being served, or NULL */
	PathTask   *task;			/* that it waits for, or NULL */
	PathTask   *stuck;			/* tasks of the open backup that hang */
	struct Leftover *leftovers; /* of backups that have ended */
	int64		guarded_at;		/* clock_us() when WAL was looked at last */
	bool		rows_open;		/* the history has rows of before that could
								 * not be closed yet */
	MemoryContext limbo;		/* what threads in system calls may still look
								 * at when these return */
	bool		leaving;		/* ese_term() was granted */
	bool		has_last_row;	/* of the backup that ends with the worker */
	HistoryRow	last_row;

	/* the error that ended a call or a backup last, or ends the worker */
	int			failure_number; /* JetErr, or 0 */
	char		failure[ESE_MESSAGE_LENGTH];
} Worker;

/* begin.c */
extern void backup_begin(Worker *worker, Call *call);

/* Begin's checks of server and options; true when it was refused. */
extern bool backup_refuse_begin(Worker *worker, Call *call);

/* The kind that a Begin asks for. */
extern BackupKind backup_kind_of(const Request *request);

/*
 * A backup, or a job like it, is open from now on, and can be stopped.  False
 * and the answer when it cannot be recorded: then it is not.
 */
extern bool backup_open(Worker *worker, Call *call, BackupKind kind);

/*
 * What follows that and the making of a target; false when it was stopped or
 * abandoned.
 */
extern bool backup_start(Worker *worker, Call *call);

/* It was: it ends, and the call is answered. */
extern void backup_undo_begin(Worker *worker, Call *call);

/* backup.c */
extern void backup_attach_info(Worker *worker, Call *call);
extern void backup_end(Worker *worker, Call *call);

/* Refuse a call the table does not allow now; true when it was refused. */
extern bool backup_refuse(Worker *worker, Call *call,
						  ProtocolCall protocol_call);

/* The end of the backup was broken off: it can be stopped again. */
extern void backup_reopen(EseInstance *instance);

/*
 * End what runs for a backup that was stopped; true when nothing runs any
 * more.  Raises nothing: it is also called while the worker waits for a disk.
 */
extern bool backup_meet_stop(Worker *worker);

/* Go on with a stop that was requested; call until backup->released. */
extern void backup_pursue_stop(Worker *worker);

/*
 * End the backup: release everything and write the final row.  "error" is 0
 * for a good one.  Returns it, or why a good backup is not one after all: its
 * end could not be recorded.
 */
extern int	backup_finish(Worker *worker, BackupOutcome outcome, int error,
						  const char *reason);

/* guard.c: once a second or so: guards, the idle timeout, the rate. */
extern void backup_tick(Worker *worker);

/*
 * guard.c: what is left of a backup whose worker is on its way out: before
 * core has left backup mode; after that; when its place is empty; and, when
 * nobody waits for this process any more, on disk.
 */
extern void backup_die_early(Worker *worker);
extern void backup_die_late(Worker *worker);
extern void backup_die_publish(Worker *worker);
extern void backup_die_last(Worker *worker);

/* guard.c: what a worker that left without a word had open is over. */
extern void backup_bury(EseInstance *instance);

/* Parts of backup_finish(), for a worker that is on its way out. */
extern void backup_complete_row(Worker *worker, BackupOutcome outcome,
								int error, const char *reason);
extern void backup_log_outcome(const HistoryRow *row);
extern void backup_publish_end(EseInstance *instance, uint64 lost_word);

/*
 * Make the row as it is now durable; sessions may be adding a stop to it.
 * False when that is not possible now.
 */
extern bool backup_record_row(EseInstance *instance, FileProblem *problem);

/* The same; one that cannot be recorded is kept until it can be. */
extern void backup_record_or_keep(EseInstance *instance);

/* Leave backup mode; what has been copied is void. */
extern void backup_leave_mode(Backup *backup);
extern void backup_drop_slot(Backup *backup);

/*
 * What a stop waits for begins: backup mode, threads.  False when one was
 * requested before: then nothing may begin.
 */
extern bool backup_set_out(Worker *worker);

/*
 * Backup mode is left and no thread runs, for as long as the worker lists and
 * writes what comes next: a stop has nothing to wait for until it sets out
 * again.
 */
extern void backup_rest(Worker *worker);

/* How far WAL has been written, or on a standby replayed. */
extern XLogRecPtr backup_current_lsn(void);

/* A file has failed for good; the first one is remembered for End. */
extern void backup_note_failure(Worker *worker, FileEntry *entry, int error);

/*
 * Is the backup good?  0, or the error that its end returns; the reason in
 * words.
 */
extern int	backup_judge(Worker *worker, char *reason, size_t size);

/*
 * A good backup: say what kind it is by what became of its logs, and how far
 * the chain's slot will go.  False when it counts as a copy for want of one.
 */
extern bool backup_settle_chain(Worker *worker);

/* The outcome that goes with an error. */
extern BackupOutcome backup_outcome_of(int error);

/*
 * Append an entry to the answer frame, of which "used" bytes are used; false
 * when it is full.
 */
extern bool backup_put_entry(char *frame, int *used, const FileEntry *entry,
							 int state);

/* Put a page of a list's entries, from the call's cursor on, in its answer. */
extern void backup_answer_page(Worker *worker, Call *call, FileList *list);

/* openfile.c */
extern void openfile_open(Worker *worker, Call *call);
extern void openfile_close(Worker *worker, Call *call);

/* Look at all handles: start jobs, wake readers, finish what closes. */
extern void openfile_pump(Worker *worker);

/* Take note of the damaged pages that threads have delivered. */
extern void openfile_take_findings(Worker *worker);

/* Close all handles of an ending backup. */
extern void openfile_close_all(Worker *worker);

/* A free place within max_open_files, or NULL when the call was refused. */
extern OpenFile *openfile_choose_place(Worker *worker, Call *call);

/* May this phase be read in this style?  True when the call was refused. */
extern bool openfile_refuse_style(Worker *worker, Call *call,
								  ReadStyle style);

/*
 * A handle for an opened job.  False and the answer when shared memory is
 * short; then the place is still free.
 */
extern bool openfile_take_handle(Worker *worker, Call *call, OpenFile *place);

/* Count one more open handle, and answer with it. */
extern void openfile_publish(Worker *worker, Call *call, OpenFile *place);

/* The open handle of a number, or NULL. */
extern OpenFile *openfile_find(Worker *worker, int32 number);

/*
 * The same, claimed: its position is final while nobody can read.  NULL when
 * refused.
 */
extern OpenFile *openfile_claim(Worker *worker, Call *call);
extern void openfile_release_claim(OpenFile *file);

/* Close a claimed handle; the call is answered when its job has parked. */
extern void openfile_begin_closing(OpenFile *file, Call *call);

/* A file counts as read; its digest is in the entry. */
extern void openfile_count_as_read(Worker *worker, FileEntry *entry);

/* A file that could not be opened for ENOENT, or failed: gone or failed? */
extern int	openfile_settle_missing(Worker *worker, FileEntry *entry,
									int sys_errno);

/* streamfile.c */

/* A list's files that are to be in a queue. */
typedef bool (*QueueFilter) (const FileEntry *entry);

/*
 * Make the queue of this phase, of all files or (filter) of some; false when
 * memory is out.
 */
extern bool streamfile_make_queue(Backup *backup, QueueFilter filter);

extern void streamfile_open(Worker *worker, Call *call);
extern void streamfile_resume(Worker *worker, Call *call);

/*
 * Account for what a job has taken: members that end within 'limit' bytes
 * count, the others go back to the queue, but one that is unreadable (or
 * NULL) has failed.  Returns where the last one that counts ends.
 */
extern uint64 streamfile_settle(Worker *worker, EngIntake *intake,
								uint64 limit, FileEntry *unreadable);

/* A limit for those that were read to their end. */
#define SETTLE_ALL (PG_UINT64_MAX - 1)

/* A stream that is being closed: is it read to its end? */
extern bool streamfile_is_complete(OpenFile *file);

/* The second half of streamfile_resume(), once the old stream has parked. */
extern void streamfile_finish_resume(Worker *worker, Call *call, uint64 keep);

/* Show in the slot how many files wait, and how many are in streams. */
extern void streamfile_publish(Worker *worker);

/* Forget the queue: the phase is over. */
extern void streamfile_drop_queue(Backup *backup);

/* loglist.c */
extern void loglist_get(Worker *worker, Call *call);
extern void loglist_truncate(Worker *worker, Call *call);

/* The same for a native backup, without an answer; false: it was stopped. */
extern bool loglist_roll(Worker *worker);

/* native.c */

extern void native_begin(Worker *worker, Call *call);

/* What a job that reads or writes files has failed with, in words. */
extern void native_describe_failure(const Worker *worker,
									const EngError *error, const char *name,
									char *to, size_t size);

/* Go on with a native backup: new limits, the next stage, its end. */
extern void native_pump(Worker *worker);

/* How much of it is done, for progress. */
extern void native_publish(Worker *worker);

/* Give back the jobs that have parked. */
extern void native_release_jobs(Worker *worker);

/*
 * A place for a job that writes to a directory (duplicated), its ring open;
 * NULL when descriptors are short, or the place is not free.
 */
extern NativeJob *native_take_place(Worker *worker, int index, int directory,
									const char *suffix);
extern void native_release_place(NativeJob *place);

/* Make the directories of a list in the target. */
extern bool native_make_directories(Worker *worker, FileList *list,
									TargetError *error);

/* The files of a directory that jobs write: pg_control comes last. */
extern bool native_is_for_writers(const FileEntry *entry);

/* Its threads have ended or been stopped: keep what was written, or not. */
extern void native_close(Worker *worker, bool keep);

/* The end of an atomic one: the former backup goes, if this one is good. */
extern void native_close_atomic(Worker *worker, bool good);

/* On the way out of the worker: nothing stays, unless something hangs. */
extern void native_close_at_exit(Worker *worker);

/* restore.c */
extern void restore_begin(Worker *worker, Call *call);

/* Go on with it. */
extern void restore_pump(Worker *worker);

/* How much of it is done, for progress. */
extern void restore_publish(Worker *worker);

/* Does it wait for a program, whose end nothing tells? */
extern bool restore_waits_for_program(const Worker *worker);

/* It was stopped: programs begin to end. */
extern void restore_interrupt(Worker *worker);

/*
 * It is over: end programs, close what is left, or leave its removal (closing
 * is not NULL) to that.
 */
extern void restore_close(Worker *worker, Closing *closing);

/* Does nothing of it stay? */
extern bool restore_is_scratch(const Worker *worker);

#endif							/* ESE_BACKUP_H */
