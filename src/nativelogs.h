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
#include "engine/destination.h"

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

/*
 * Everything is on disk, but for what makes it a backup: what becomes of the
 * index then.
 */
extern bool nativelogs_complete(Worker *worker, Completion *completion,
								TargetError *error);

/* The backup has ended. */
extern void nativelogs_forget(Worker *worker);

#endif							/* ESE_NATIVELOGS_H */
