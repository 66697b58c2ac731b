/*-------------------------------------------------------------------------
 *
 * history.h
 *	  The durable record of an instance's backups.
 *
 * One file for each instance, ese/history.<id>: the newest rows, a sealed
 * record (engine/record.h), replaced as a whole by writing a temporary file
 * and renaming it.  Written under the instance's record lock; who reads needs
 * no lock.
 *
 * The final row of a backup that cannot be written (the disk is full, say) is
 * kept in shared memory and written as soon as that is possible.  Until then
 * it is read from there, like any other.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_HISTORY_H
#define ESE_HISTORY_H

#include "access/xlogdefs.h"
#include "datatype/timestamp.h"

#include "call.h"
#include "engine/document.h"
#include "statefile.h"

struct EseInstance;

typedef enum BackupKind
{
	KIND_FULL,
	KIND_COPY,					/* full, but its logs were not truncated */
	KIND_INCREMENTAL,
	KIND_DIFFERENTIAL,			/* incremental, logs not truncated */
	KIND_RESTORE,
	KIND_VERIFY,
} BackupKind;

typedef enum BackupOutcome
{
	OUTCOME_RUNNING,			/* next: any */
	OUTCOME_STOPPED,			/* stopped, not ended; next: any below */
	OUTCOME_COMPLETED,
	OUTCOME_ABORTED_BY_CALLER,
	OUTCOME_ABORTED_BY_SERVER,
	OUTCOME_FAILED,
} BackupOutcome;

typedef enum StopCause
{
	CAUSE_NONE,
	CAUSE_USER,
	CAUSE_IDLE_TIMEOUT,
	CAUSE_WAL_LIMIT,
	CAUSE_TERM,
	CAUSE_SHUTDOWN,
	CAUSE_WORKER_EXIT,
	CAUSE_PROMOTION,
	CAUSE_DISK_SPACE,
} StopCause;

typedef struct HistoryRow
{
	int64		backup_id;
	int64		instance_id;
	char		name[64];
	char		label[MAXPGPATH];
	int64		kind;			/* BackupKind */
	int64		status;			/* BackupOutcome */
	int64		stop_cause;		/* StopCause */
	int64		error_number;	/* JetErr; 0 while running and when good */
	char		reason[ESE_MESSAGE_LENGTH];
	char		location[MAXPGPATH];
	int64		begun_by_oid;
	char		begun_by[NAMEDATALEN];
	char		client_addr[ESE_ADDRESS_LENGTH];
	char		application_name[NAMEDATALEN];
	int64		started_at;		/* TimestampTz; 0 for none, here and below */
	int64		ended_at;
	int64		stop_requested_at;
	char		stop_requested_by[NAMEDATALEN];
	int64		quiescent_at;
	int64		released_at;
	int64		start_lsn;
	int64		stop_lsn;
	int64		timeline;
	int64		files;
	int64		bytes;
	int64		wal_bytes;
	int64		checksum_failures;
	int64		verified_at;
	char		verified_depth[32];
	int64		truncated;		/* bool: WAL before its end is not kept */
	int64		warned;			/* bool: the reason of a good one is a warning */
	char		log_manifest[DOCUMENT_CHECKSUM_SIZE];	/* its checksum; empty
														 * for none */
} HistoryRow;

/* May incremental backups rest on this one? */
extern bool history_is_chain_base(const HistoryRow *row);

/*
 * Replace the row of this backup, or add it, and drop the oldest ones beyond
 * the instance's limit.  Durable when it returns true.  Never raises.
 */
extern bool history_record(struct EseInstance *instance, const HistoryRow *row,
						   FileProblem *problem);

/* It is not recorded yet, for this reason: keep it until it is. */
extern void history_keep(struct EseInstance *instance, const HistoryRow *row,
						 const FileProblem *problem);

/* The same for one that could not be recorded, which is said. */
extern void history_report_kept(struct EseInstance *instance,
								const HistoryRow *row,
								const FileProblem *problem);

/* Try again what is kept; true when nothing is (any more). */
extern bool history_settle(struct EseInstance *instance);

/*
 * All rows of an instance, oldest first, palloc'd.  An absent file is an
 * empty history; a torn or foreign one is an ERROR.
 */
extern HistoryRow *history_read(int32 instance_id, int *count);

/*
 * The row of a backup, or (0) the newest one; false when there is none.
 */
extern bool history_find(int32 instance_id, int64 backup_id, HistoryRow *row);

/* The largest backup id in a file; 0 when it is empty. */
extern bool history_newest_id(int32 instance_id, int64 *newest,
							  FileProblem *problem);

/*
 * What a crash left open is closed: rows that are running or stopped, except
 * that of this backup, get their final status.  False when that cannot be
 * written; ERROR when the history cannot be read.
 */
extern bool history_close_open_rows(struct EseInstance *instance, int64 except);

/*
 * What becomes of a stopped backup that nobody can end any more: who had
 * stopped it, has his receipt.
 */
extern BackupOutcome history_outcome_of_stop(int64 cause);

/* The final status of a row that was left open. */
extern void history_close_row(HistoryRow *row);

extern void history_remove(int32 instance_id);

/*
 * A backup was found good: note that with its row, in whichever instance, and
 * with those of the incrementals that were added to it.  It is recognised by
 * where its WAL begins; newest_id is the newest one that was there.
 */
extern void history_note_verified(XLogRecPtr start_lsn, int64 newest_id,
								  const char *depth);

extern const char *history_kind_name(int64 kind);

/* "backup", "restore", "verification" */
extern const char *history_noun(int64 kind);

/*
 * Who began it, and when: a sentence for everybody, so without the label of a
 * restore, which is a path.
 */
extern void history_describe_begin(const HistoryRow *row, char *to, size_t size);

extern const char *history_status_name(int64 status);
extern const char *history_cause_name(int64 cause); /* NULL for none */

#endif							/* ESE_HISTORY_H */
