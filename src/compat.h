/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  What differs between PostgreSQL 15 and later: the only place with tests
 *	  of PG_VERSION_NUM.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_COMPAT_H
#define ESE_COMPAT_H

#include "access/xlog.h"
#if PG_VERSION_NUM >= 160000
#include "access/xlogbackup.h"
#endif
#include "miscadmin.h"
#include "pgstat.h"
#include "replication/slot.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/wait_event.h"

#include "engine/page.h"

#if PG_VERSION_NUM < 150000
#error "ese needs PostgreSQL 15 or later"
#endif

#if BLCKSZ != ENG_PAGE_SIZE
#error "ese needs a server that was built with pages of 8192 bytes (--with-blocksize=8)"
#endif

/* The version of the backup manifest that this server's tools read. */
#if PG_VERSION_NUM >= 170000
#define COMPAT_MANIFEST_VERSION 2
#else
#define COMPAT_MANIFEST_VERSION 1
#endif

/* Backup mode: what do_pg_backup_start() left for do_pg_backup_stop(). */
typedef struct CompatBackup
{
	XLogRecPtr	start_lsn;
	TimeLineID	start_timeline;
	XLogRecPtr	stop_lsn;
	TimeLineID	stop_timeline;
	char	   *label_file;		/* contents of backup_label */
	StringInfo	tablespace_map;
#if PG_VERSION_NUM >= 160000
	BackupState *state;
#endif
} CompatBackup;

/* Allocates in the current memory context, which must outlive the backup. */
static inline void
compat_backup_start(CompatBackup *backup, const char *label, bool fast)
{
	backup->tablespace_map = makeStringInfo();
#if PG_VERSION_NUM >= 160000
	backup->state = palloc0(sizeof(BackupState));
	do_pg_backup_start(label, fast, NULL, backup->state,
					   backup->tablespace_map);
	backup->start_lsn = backup->state->startpoint;
	backup->start_timeline = backup->state->starttli;
#else
	{
		StringInfo	label_file = makeStringInfo();

		backup->start_lsn = do_pg_backup_start(label, fast,
											   &backup->start_timeline,
											   label_file, NULL,
											   backup->tablespace_map);
		backup->label_file = label_file->data;
	}
#endif
}

static inline void
compat_backup_stop(CompatBackup *backup)
{
#if PG_VERSION_NUM >= 160000
	do_pg_backup_stop(backup->state, false);
	backup->stop_lsn = backup->state->stoppoint;
	backup->stop_timeline = backup->state->stoptli;
	backup->label_file = build_backup_content(backup->state, false);
#else
	/* the label is parsed back, and parsing does not change it */
	backup->stop_lsn = do_pg_backup_stop(backup->label_file, false,
										 &backup->stop_timeline);
#endif
}

/* Up to 15 the argument asks for a warning, later it means "while starting". */
static inline void
compat_backup_abort(void)
{
	do_pg_abort_backup(0, BoolGetDatum(false));
}

static inline void
compat_create_slot(const char *name, ReplicationSlotPersistency persistency)
{
#if PG_VERSION_NUM >= 170000
	ReplicationSlotCreate(name, false, persistency, false, false, false);
#else
	ReplicationSlotCreate(name, false, persistency, false);
#endif
}

/* Hold a slot that nobody else holds. */
static inline void
compat_acquire_slot(const char *name)
{
#if PG_VERSION_NUM >= 180000
	ReplicationSlotAcquire(name, true, true);
#else
	ReplicationSlotAcquire(name, true);
#endif
}

/* Has the slot this process holds lost its WAL? */
static inline bool
compat_slot_is_lost(ReplicationSlot *slot)
{
	bool		lost;

	SpinLockAcquire(&slot->mutex);
#if PG_VERSION_NUM >= 160000
	lost = slot->data.invalidated != RS_INVAL_NONE;
#else
	lost = slot->data.invalidated_at != InvalidXLogRecPtr;
#endif
	SpinLockRelease(&slot->mutex);
	return lost;
}

/* What a session or the worker waits for, in pg_stat_activity. */
static inline uint32
compat_wait_event(const char *name)
{
#if PG_VERSION_NUM >= 170000
	return WaitEventExtensionNew(name);
#else
	(void) name;
	return PG_WAIT_EXTENSION;
#endif
}

/* Count a damaged page in pg_stat_database. */
static inline void
compat_report_checksum_failure(Oid database)
{
#if PG_VERSION_NUM >= 180000
	pgstat_prepare_report_checksum_failure(database);
#endif
	pgstat_report_checksum_failures_in_db(database, 1);
}

/* From 17 on large messages are not cut into pieces of 8 kB any more. */
#define COMPAT_CUTS_MESSAGES (PG_VERSION_NUM < 170000)

/* The number by which another process finds our PGPROC. */
static inline int
compat_my_proc_number(void)
{
#if PG_VERSION_NUM >= 170000
	return MyProcNumber;
#else
	return MyProc->pgprocno;
#endif
}

static inline PGPROC *
compat_proc(int proc_number)
{
	return &ProcGlobal->allProcs[proc_number];
}

static inline Latch *
compat_proc_latch(int proc_number)
{
	return &compat_proc(proc_number)->procLatch;
}

#endif							/* ESE_COMPAT_H */
