/*-------------------------------------------------------------------------
 *
 * file.h
 *	  One file of a backup, and what became of it.
 *
 * Entries belong to the owner (the worker's main thread).  While an entry is
 * FILE_IN_STREAM its size, modified and digest belong to the thread that runs
 * the stream's job.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_FILE_H
#define ESE_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "digest.h"

typedef enum FileKind
{
	FILE_RELATION,
	FILE_OTHER,
	FILE_DIRECTORY,
	FILE_LOG,
	FILE_PATCH,
} FileKind;

typedef enum FileStatus
{
	FILE_UNREAD,				/* next: OPEN, IN_STREAM, GONE */
	FILE_OPEN,					/* a handle has it; next: any other */
	FILE_IN_STREAM,				/* a job took it from the queue; next: UNREAD,
								 * READ, GONE, FAILED */
	FILE_READ,					/* read to its end and closed; may be opened
								 * again */
	FILE_GONE,					/* was removed before it could be opened */
	FILE_FAILED,				/* damaged or unreadable; may be opened again */
} FileStatus;

/* Where a file was closed unfinished, its digest there, and how it was opened. */
typedef struct FileResume
{
	int64_t		position;
	Digest		digest;
	int64_t		size;
	int64_t		modified;
} FileResume;

/* There is one for each file of the cluster: every byte of it counts. */
typedef struct FileEntry
{
	char	   *name;
	int64_t		size;			/* as listed; while it is open and when it is
								 * read, as that reading found it */
	int64_t		modified;		/* seconds since 1970 */
	uint32_t	database;		/* OIDs; 0 where none */
	uint32_t	tablespace;
	uint8_t		kind;			/* FileKind */
	uint8_t		status;			/* FileStatus */
	bool		failure_counted:1;
	bool		damaged:1;		/* a stream has delivered a damaged page */
	bool		bad_pages:1;	/* what failed is its pages' checksums */
	bool		elsewhere:1;	/* patch file: contents is the path of a file
								 * that holds them */
	bool		made:1;			/* patch file: the log manifest, which is made
								 * when it is read (logaccount.h) */
	uint8_t		failure_errno;	/* why it could not be opened, or 0 */
	union
	{
		uint32_t	first_block;	/* relation: block number of its first
									 * page */
		uint32_t	zeros_from; /* log: what lies behind is read as zeros; 0:
								 * nothing */
	};
	int64_t		generation;		/* log: its segment number */
	char	   *contents;		/* patch file: its bytes */
	FileResume *resume;			/* or NULL */
	DigestValue digest;			/* of a file that was read */
} FileEntry;

/* The bytes of a file that exists only in memory; NULL for others. */
static inline const char *
file_memory(const FileEntry *entry)
{
	return entry->elsewhere ? NULL : entry->contents;
}

/* Where the others lie. */
static inline const char *
file_path(const FileEntry *entry)
{
	return entry->elsewhere ? entry->contents : entry->name;
}

#endif							/* ESE_FILE_H */
