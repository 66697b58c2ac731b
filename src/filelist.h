/*-------------------------------------------------------------------------
 *
 * filelist.h
 *	  What a backup consists of: a list of files, and what became of each.
 *
 * The attach list is made once, right after the start of backup mode; the
 * list of logs and patch files at the first GetLogInfo.  Names are relative
 * to the data directory.  Lists are sorted by name.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_FILELIST_H
#define ESE_FILELIST_H

#include "access/xlogdefs.h"
#include "lib/stringinfo.h"
#include "nodes/pg_list.h"

#include "engine/digest.h"

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
	FILE_UNREAD,				/* next: OPEN, GONE */
	FILE_OPEN,					/* a handle has it; next: any other */
	FILE_READ,					/* read to its end and closed; may be opened
								 * again */
	FILE_GONE,					/* was removed before it could be opened */
	FILE_FAILED,				/* damaged or unreadable; may be opened again */
} FileStatus;

typedef struct FileEntry
{
	char	   *name;
	int64		size;			/* as listed; from the first open on, as
								 * opened */
	pg_time_t	modified;
	Oid			database;		/* InvalidOid where none */
	Oid			tablespace;
	uint8		kind;			/* FileKind */
	uint8		status;			/* FileStatus */
	bool		failure_counted;
	uint32		first_block;	/* relation: block number of the first page */
	int64		generation;		/* log: its segment number */
	char	   *contents;		/* patch file: its bytes */
	DigestValue digest;			/* of a file that was read */
	int64		resume_position;	/* where it was closed unfinished, or 0 */
	Digest	   *resume;			/* the digest there */
} FileEntry;

typedef struct FileList
{
	FileEntry  *entries;
	int			count;
	int			room;
} FileList;

/* One entry of a long answer: in the answer frame, unaligned. */
typedef struct ListedFile
{
	int64		size;
	int64		generation;
	Oid			database;
	Oid			tablespace;
	int32		kind;
	int32		name_length;	/* of the name that follows, with its NUL */
} ListedFile;

extern void filelist_init(FileList *list);

/* Append an entry; the name is copied. */
extern FileEntry *filelist_add(FileList *list, FileKind kind,
							   const char *name, int64 size);
extern void filelist_sort(FileList *list);

/* The entry of a name in a sorted list, or NULL. */
extern FileEntry *filelist_find(FileList *list, const char *name);

/* The name of a kind, as in the column "kind". */
extern const char *filelist_kind_name(FileKind kind);

/*
 * List the data directory, with the tablespaces of this map.  Memory of the
 * current context.  ERROR when something cannot be read.
 */
extern void filelist_scan(FileList *list, const char *tablespace_map,
						  bool from_standby);

/*
 * A file that could not be opened for ENOENT: was it removed (true), or is
 * what it lies in missing as well (false: a lost mount, say)?
 */
extern bool filelist_is_gone(const FileEntry *entry);

#endif							/* ESE_FILELIST_H */
