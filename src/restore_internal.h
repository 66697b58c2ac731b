/*-------------------------------------------------------------------------
 *
 * restore_internal.h
 *	  A restore or a verification, in the worker.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_RESTORE_INTERNAL_H
#define ESE_RESTORE_INTERNAL_H

#include "access/xlog_internal.h"

#include "backup.h"
#include "engine/endpoint.h"
#include "privateserver.h"
#include "restore.h"
#include "source.h"

typedef enum RestoreStage
{
	RESTORE_LOGS,				/* archives of logs; next: LOG_FILES */
	RESTORE_LOG_FILES,			/* what was in them; next: FILES */
	RESTORE_FILES,				/* next: WAL or SYNC */
	RESTORE_WAL,				/* pg_waldump reads it; next: the end */
	RESTORE_SYNC,				/* next: RECOVERY */
	RESTORE_RECOVERY,			/* next: CHECK or SHUTDOWN */
	RESTORE_CHECK,				/* pg_amcheck; next: SHUTDOWN */
	RESTORE_SHUTDOWN,			/* next: the end */
} RestoreStage;

typedef struct Restore
{
	RestoreStage stage;
	bool		verify;			/* nothing stays */
	bool		recover;		/* it is restored, and recovered */
	char	   *depth;			/* of a verification */
	char	   *target;			/* "recovery_target_x=value", or empty */
	bool		has_moment;		/* the target is a time: */
	TimestampTz moment;
	char	   *superuser;		/* the role that verifies */
	List	   *wanted_places;	/* of WantedPlace */
	List	   *places;			/* of ClosingPlace: tablespaces */
	Source		source;
	Inventory  *inventory;		/* NULL: not read yet */
	InventoryFile **expected;	/* of the attach list */
	char	   *control_file;	/* PG_CONTROL_FILE_SIZE */
	int			next_item;		/* of this stage */
	uint32		next_range;		/* of these */
	int64		files_done;		/* by jobs that have ended */
	int64		bytes_done;
	ManifestWalRange *ranges;	/* that pg_waldump reads */
	uint32		range_count;
	EndPoint	end;			/* of recovery */
	char	   *moment_text;	/* the same in words, or empty */
	StringInfoData warnings;	/* what is to be said about a good one */
	PrivateServer server;
	Child		program;
} Restore;

/* Where the caller wants a tablespace. */
typedef struct WantedPlace
{
	char	   *key;			/* its OID, or its former place */
	char	   *path;
	bool		used;
} WantedPlace;

/* restore.c */

/* NULL when none is open. */
static inline Restore *
restore_of(const Worker *worker)
{
	return worker->backup != NULL ? worker->backup->restore : NULL;
}

static inline ControlFileData *
restore_control(Restore *restore)
{
	return (ControlFileData *) restore->control_file;
}

/* It has failed: it ends, and nothing of it stays. */
extern void restore_fail(Worker *worker, int jet, const char *reason);

/* Say this when it has ended well. */
extern void restore_warn(Restore *restore, const char *format,...) pg_attribute_printf(2, 3);

/* restoreend.c */

/* Can the target be reached, as far as that is known before recovery? */
extern bool restore_check_target(Restore *restore, TargetError *error);

/* Recovery has ended: where it had to?  False when it has failed. */
extern bool restore_judge_end(Worker *worker, Restore *restore);

/* The private server has ended, and should not have. */
extern void restore_fail_recovery(Worker *worker, Restore *restore);

/* restoreplace.c */

/*
 * Make the directory that is written, if any: the destination, or a scratch
 * one.  False and *error when it cannot be.
 */
extern bool restore_make_destination(Worker *worker, Restore *restore,
									 const Request *request,
									 TargetError *error);

/* Give all tablespaces of the backup places, and links to these. */
extern bool restore_make_places(Worker *worker, Restore *restore,
								TargetError *error);

/* Close them, or leave their removal (closing is not NULL) to that. */
extern void restore_close_places(Restore *restore, Closing *closing);

/* Open the n-th of the directories whose disks are to be synced. */
extern int	restore_open_directory(Worker *worker, Restore *restore, int n);

/* restorefiles.c */

/*
 * Archives: what was in those of logs is there now, and is to be compared with
 * their manifests.
 */
extern bool restore_prepare_logs(Worker *worker, Restore *restore,
								 TargetError *error);

/* Everything that must be known, and made, before files are read. */
extern bool restore_prepare_files(Worker *worker, Restore *restore,
								  TargetError *error);

/*
 * Look after the jobs of a stage.  True when all are done; false when some
 * run on, or it is over.
 */
extern bool restore_pump_jobs(Worker *worker, Restore *restore);

#endif							/* ESE_RESTORE_INTERNAL_H */
