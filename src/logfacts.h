/*-------------------------------------------------------------------------
 *
 * logfacts.h
 *	  What the log manifest of a backup says, beside its files.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_LOGFACTS_H
#define ESE_LOGFACTS_H

#include "backup.h"
#include "engine/logmanifest.h"

/* The WAL of a backup, timeline by timeline, newest first; palloc'd. */
extern ManifestWalRange *logfacts_ranges(const CompatBackup *mode,
										 uint32 *count);

/*
 * Add the log manifest to the list of logs; it has no size yet.  Not when the
 * backup that this one follows has none: it was made before there were any.
 */
extern void logfacts_add_manifest(Worker *worker);

/* The list is complete, and sorted: begin to account for its files. */
extern void logfacts_open_account(Worker *worker);

/* The manifest has been made: note its checksum in the backup's row. */
extern void logfacts_note_checksum(Worker *worker);

#endif							/* ESE_LOGFACTS_H */
