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

#include "engine/file.h"

typedef struct FileList
{
	FileEntry  *entries;
	int			count;
	int			room;
	char	   *names;			/* where the next names go */
	size_t		names_left;
	bool		streamed;		/* its directories travel in streams */
	const FileEntry *shown_last;	/* out of its order, when the list is
									 * shown; or NULL */
} FileList;

/* One entry of a long answer: in the answer frame, unaligned. */
typedef struct ListedFile
{
	int64		size;
	int64		generation;
	Oid			database;
	Oid			tablespace;
	int32		kind;
	int32		state;			/* UnreadState, in a list of such files */
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
