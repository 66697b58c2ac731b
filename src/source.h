/*-------------------------------------------------------------------------
 *
 * source.h
 *	  A backup that is to be restored or verified: where it lies, what it is
 *	  made of, and whether its WAL is whole.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_SOURCE_H
#define ESE_SOURCE_H

#include "catalog/pg_control.h"

#include "engine/logchain.h"
#include "filelist.h"
#include "backup.h"

typedef struct Source
{
	char		path[MAXPGPATH];	/* of the backup itself */
	int			directory;		/* descriptor; -1: closed */
	bool		tar;			/* archives, not a data directory */
	List	   *log_archives;	/* their names, palloc'd */
	List	   *data_archives;
	LogChain	chain;			/* freed by source_close() */
	int			beyond;			/* segments behind the end of its logs, which
								 * nothing lists */
} Source;

/*
 * All of this waits for tasks (pathrun.h).
 *
 * Find the backup in a directory: there, or in "new" or "old" of an atomic
 * one.  False and *error when there is none, or it is not complete.
 */
extern bool source_find(Worker *worker, Source *source, const char *path,
						TargetError *error);
extern void source_close(Source *source);

/*
 * Read the manifest that lies in a directory; NULL and *error when it is
 * damaged.
 */
extern Inventory *source_read_inventory(Worker *worker, int directory,
										const char *path, TargetError *error);

/*
 * pg_control under its name and a suffix: PG_CONTROL_FILE_SIZE bytes,
 * palloc'd, of a server that this one can replace.  NULL and *error if not.
 */
extern char *source_read_control(Worker *worker, int directory,
								 const char *path, const char *suffix,
								 TargetError *error);

/*
 * List a data directory, that of the source or one in which its logs were
 * extracted: its directories, the files of the inventory, and what else belongs
 * to a backup.  False and *error when something is there that does not.
 */
extern bool source_list(Worker *worker, Source *source, int directory,
						const char *path, const Inventory *inventory, FileList *list,
						TargetError *error);

/* The log manifests below a directory: those that were written, in order? */
extern bool source_read_chain(Worker *worker, Source *source, int directory,
							  Inventory *inventory,
							  const ControlFileData *control,
							  TargetError *error);

/*
 * Is all WAL there that the backup needs, of this cluster, and no segment
 * missing up to the last one?
 */
extern bool source_check_wal(Worker *worker, int directory, const char *path,
							 const Inventory *inventory,
							 const ControlFileData *control,
							 TargetError *error);

/*
 * The contents of a small file, palloc'd and NUL-terminated; NULL and *error
 * (JET_errFileNotFound when it is not there) when it cannot be read.
 */
extern char *source_read_file(Worker *worker, int directory, const char *path,
							  const char *name, size_t *length,
							  TargetError *error);

#endif							/* ESE_SOURCE_H */
