/*-------------------------------------------------------------------------
 *
 * shared.h
 *	  What lies in shared memory, and who may touch it.
 *
 * Words: an "instance" is a named backup engine: its definition on disk, a
 * slot here, and from ese_init() to ese_term() one background worker (the
 * "worker").  A "session" is a backend that calls the SQL functions.  A
 * "handle" is an open file of a backup; its "ring" holds frames of it.
 *
 * Locks, in the order in which they may be taken:
 *
 *	record locks		writing files under ese/; see recordlock.h
 *	registry lock		slots coming and going: id, name, parameters
 *	instance lock		one for each slot: its calls, its backup's description
 *	frame lock			which frame and which handle belongs to whom
 *
 * No LWLock is held while waiting for anything, a disk included.  A record
 * lock is held for as long as its file is being written; reads, stops, closes
 * and views take none.
 *
 * Fields that are read without a lock are atomics; see their comments.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_SHARED_H
#define ESE_SHARED_H

#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"

#include "call.h"
#include "engine/protocol.h"
#include "engine/ring.h"
#include "history.h"
#include "identity.h"
#include "param.h"
#include "recordlock.h"

#define ESE_MAX_INSTANCES		128
#define ESE_MAX_OPEN_FILES		1024
#define ESE_CALL_SLOTS			32
#define ESE_UNRECORDED			4
#define ESE_NAME_LENGTH			51	/* 50 characters and the NUL */
#define ESE_DISPLAY_LENGTH		256

typedef enum InstanceState
{
	INSTANCE_STOPPED,			/* no worker; next: INITIALIZING */
	INSTANCE_INITIALIZING,		/* a worker is being started, for the first
								 * time or again; next: RUNNING, STOPPED */
	INSTANCE_RUNNING,			/* the worker takes calls; next: TERMINATING,
								 * FAILED */
	INSTANCE_TERMINATING,		/* the worker is on its way out; next: STOPPED */
	INSTANCE_FAILED,			/* the worker died and comes back within a
								 * second or so; next: RUNNING, STOPPED */
} InstanceState;

/* Bits of the stop word, beside the backup's id. */
#define STOP_WORD_STOPPED	UINT64CONST(1)	/* readers fail, with the slot's
											 * stop error */
#define STOP_WORD_BITS		1

/* The backup that is open, or the one that was open last. */
typedef struct BackupStatus
{
	ProtocolState protocol;		/* open_files counts handles */
	HistoryRow	row;			/* what will be, or was, its history row */
	TimestampTz phase_started_at;
	bool		quiescent;		/* no thread runs for it and backup mode is
								 * left, or nothing has begun: a stop has
								 * nothing to wait for */
	bool		ending;			/* its outcome is fixed: a stop comes too late */
	int			stop_error;		/* what calls get after a stop: JetErr */
	int64		stop_monotonic; /* row.stop_requested_at by a clock that
								 * nobody sets */
	int64		files_total;
	int64		files_done;
	int64		files_in_streams;
	int64		files_waiting;	/* in the queue of the streams */
	bool		streaming;		/* this phase is read by streams */
	int64		bytes_total;
	int64		bytes_closed;	/* of files that are not open any more */
	int64		bytes_per_second;
} BackupStatus;

typedef struct EseInstance
{
	/*
	 * The definition, as it is on disk.  The registry's record lock and the
	 * registry lock to change; who needs more of it than a word at once,
	 * takes the latter.  The id is set last, and read first.
	 */
	_Atomic int32 id;			/* 0: the slot is free */
	char		name[ESE_NAME_LENGTH];
	char		display_name[ESE_DISPLAY_LENGTH];
	bool		enabled;		/* ese_init() was called and no ese_term() */
	int64		copied_at;		/* TimestampTz: when the data directory was
								 * found to be a copy; 0: it never was */
	int64		chain_floor;	/* full backups with smaller ids are those of
								 * the original */
	Parameters	params;

	/* index of this slot; constant */
	int			index;

	/* claimed by a worker by compare-and-swap; 0 when there is none */
	pg_atomic_uint32 worker_pid;

	/*
	 * The stop word: the open backup's id and STOP_WORD_ bits; id 0 when none
	 * is open.  Changed by the worker, but STOP_WORD_STOPPED is added by
	 * anyone.  A reader looks at it before and after it copies.
	 */
	pg_atomic_uint64 stop_word;

	/*
	 * The last sign of life of a client: clock_us(), for backup_idle_timeout,
	 * and the time of day, to be shown.
	 */
	pg_atomic_uint64 last_activity;
	pg_atomic_uint64 last_call_at;

	/* who may write its history and its findings */
	RecordLock	records;

	/* instance lock */
	InstanceState state;
	int			worker_proc_number;
	char		failure[ESE_MESSAGE_LENGTH];	/* why the worker died */
	BackupStatus backup;
	int			unrecorded_count;
	HistoryRow	unrecorded[ESE_UNRECORDED]; /* final rows that are not on disk
											 * yet, oldest first */
	char		unrecorded_why[ESE_MESSAGE_LENGTH];
	char		hanging[MAXPGPATH]; /* where a thread of a backup that has
									 * ended hangs, or empty */
	uint64		next_ticket;
	int			answer_owner;	/* call that owns the answer frame, or -1 */
	Call		calls[ESE_CALL_SLOTS];

	/* for long answers; valid while reserved_handles is not 0 */
	uint32		answer_frame;

	/* frame lock */
	int			reserved_handles;	/* max_open_files at ese_init(), or 0 */

	/* broadcast after every change that a session may wait for */
	ConditionVariable changed;
} EseInstance;

/* A handle.  Its place in memory is a handle's for ever. */
typedef struct EseHandle
{
	EngRing		ring;

	/* frame lock */
	int32		instance_id;	/* 0: free */
	bool		zombie;			/* closed, but a session holds the claim */

	/* written by the worker before the ring is opened */
	int64		backup_id;
	bool		is_stream;
	char		file_name[MAXPGPATH];	/* empty for a stream */
	char		opened_by[NAMEDATALEN];
	TimestampTz opened_at;

	/* written by who holds the claim; whole words, so readable by anyone */
	pg_atomic_uint32 reader_proc_number;
	pg_atomic_uint64 last_read_at;

	/* who owes the receipt for what was sent; see receipt.h */
	pg_atomic_uint64 receipt;
	pg_atomic_uint64 piece_receipt; /* of a piece without at_offset */
} EseHandle;

typedef struct EseShared
{
	/* who may read and write ese/state */
	RecordLock	registry;

	/* the registry's record lock to change */
	_Atomic bool loaded;		/* ese/state has been read */
	_Atomic bool stale;			/* it says something else than this memory */
	bool		launched;		/* the instances that start with the server
								 * have been started */
	int32		next_instance_id;
	int64		next_backup_id;
	Identity	identity;		/* of this data directory */

	/* constant */
	int			max_instances;
	int			nframes;
	int			nhandles;

	/* who may write ese/handles: workers that open a file */
	RecordLock	handle_numbers;
	int64		next_handle_number; /* that no worker has; 0: not read yet */

	/* frame lock */
	int			free_frames;
	int			promised_frames;	/* reserved, but not taken yet */
	int			zombies;		/* may be read without the lock, as a hint */

	EseInstance instances[FLEXIBLE_ARRAY_MEMBER];
} EseShared;

extern EseShared *ese_shared;
extern EseHandle *ese_handles;	/* [nhandles] */
extern char *ese_frames;		/* nframes * ENG_FRAME_SIZE, page-aligned */
extern bool *ese_frame_used;	/* [nframes], frame lock */

extern LWLock *registry_lock(void);
extern LWLock *frame_lock(void);
extern LWLock *instance_lock(EseInstance *instance);

/* Hooks, set by _PG_init. */
extern void shared_request(void);
extern void shared_startup(void);

/* A client has shown that it is there. */
extern void shared_note_activity(EseInstance *instance);

/* Refuse to go on when the library was not preloaded. */
extern void shared_check_loaded(void);

#define instance_of_index(i) (&ese_shared->instances[i])

#endif							/* ESE_SHARED_H */
