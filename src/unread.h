/*-------------------------------------------------------------------------
 *
 * unread.h
 *	  The files that keep a backup from being good, by name.
 *
 * They are listed while the backup is open and, by the worker that ended it,
 * until the next one begins.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_UNREAD_H
#define ESE_UNREAD_H

#include "call.h"

struct Backup;
struct Worker;

/* What became of such a file: ListedFile.state. */
typedef enum UnreadState
{
	UNREAD_NOT_READ,			/* nobody has read it to its end and closed it */
	UNREAD_OPEN,				/* a handle has it */
	UNREAD_IN_STREAM,			/* a stream has it */
	UNREAD_FAILED,				/* it could not be read */
	UNREAD_DAMAGED,				/* it has damaged pages */
} UnreadState;

/* The word for it, as in the column "state". */
extern const char *unread_state_name(int32 state);

/* Answer ese_unread_files(). */
extern void unread_list(struct Worker *worker, Call *call);

/*
 * How many files have failed, how many wait to be read, and the first of them
 * by name: a reason for End.  Empty when there are none.
 */
extern void unread_describe_failed(const struct Backup *backup, char *to, size_t size);
extern void unread_describe_missing(const struct Backup *backup, char *to, size_t size);

/* The same for the attach list alone, whatever keeps a file from being read. */
extern void unread_describe_attached(const struct Backup *backup, char *to, size_t size);

/* Another backup begins: forget what was kept of the last one. */
extern void unread_forget(struct Worker *worker);

/* The backup ends: keep what was not read. */
extern void unread_keep(struct Worker *worker);

#endif							/* ESE_UNREAD_H */
