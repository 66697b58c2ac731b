/*-------------------------------------------------------------------------
 *
 * nativelogs.h
 *	  The log manifests and the index of a native backup's directory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_NATIVELOGS_H
#define ESE_NATIVELOGS_H

#include "backup.h"
#include "chain.h"

/* A new directory: it begins to be known what it holds. */
extern bool nativelogs_begin(Worker *worker, TargetError *error);

/*
 * An incremental backup goes to the directory of its chain: what its index
 * says must be what the history says.  False and *error if not.
 */
extern bool nativelogs_take_up(Worker *worker, const Chain *chain,
							   TargetError *error);

/* A job has written an archive; before its place is given back. */
extern bool nativelogs_note_archive(Worker *worker, const NativeJob *place);

/* A full backup is on disk, but for what makes it one: its index. */
extern bool nativelogs_complete(Worker *worker, TargetError *error);

/*
 * The logs of an incremental one are on disk: they become part of the full
 * one.  "archive" is NULL in a data directory.
 */
extern bool nativelogs_publish(Worker *worker, const char *archive,
							   TargetError *error);

/* The backup has ended. */
extern void nativelogs_forget(Worker *worker);

#endif							/* ESE_NATIVELOGS_H */
