/*-------------------------------------------------------------------------
 *
 * statefile.h
 *	  Files under ese/ in the data directory, written so that a crash leaves
 *	  the old contents or the new.
 *
 * What goes wrong is a value here: a record is also written where nothing may
 * raise, on the way out of a worker.  Who can raise uses statefile_raise().
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_STATEFILE_H
#define ESE_STATEFILE_H

#include "call.h"
#include "engine/record.h"

#define ESE_DIRECTORY "ese"

/* Why a file could not be read or written. */
typedef struct FileProblem
{
	int			sys_errno;		/* 0: it is no error of the system */
	int			sqlerrcode;		/* then this */
	const char *hint;			/* or NULL */
	char		message[ESE_MESSAGE_LENGTH];	/* names the file and the
												 * reason */
} FileProblem;

typedef enum FileResult
{
	FILE_FOUND,
	FILE_ABSENT,
	FILE_BAD,					/* the problem says why */
} FileResult;

/*
 * Seal the record and make it the contents of ese/<name>; frees the buffer.
 * The file's lock is held (recordlock.h).  After a failure the old contents
 * are there, but for a flush of the directory that has failed: then they may
 * be the new ones.
 */
extern bool statefile_write(const char *name, ByteBuffer *record, uint32 magic,
							uint32 version, FileProblem *problem);

/*
 * Read ese/<name> and open the record.  *data is palloc'd and must live as
 * long as the reader.
 */
extern FileResult statefile_read(const char *name, uint32 magic,
								 uint32 version, RecordReader *reader,
								 char **data, FileProblem *problem);

/* The same for a file that may be of an older version, from this one on. */
extern FileResult statefile_read_since(const char *name, uint32 magic,
									   uint32 oldest, uint32 version,
									   RecordReader *reader, char **data,
									   FileProblem *problem);

/* Was the record read exactly to its end?  Frees its data. */
extern bool statefile_read_done(const char *name, RecordReader *reader,
								char *data, FileProblem *problem);

/* Without an error when the file cannot be removed. */
extern void statefile_remove(const char *name);

/* ERROR */
extern void statefile_raise(const FileProblem *problem) pg_attribute_noreturn();

/* The JET error that goes with it. */
extern int	statefile_jet_error(const FileProblem *problem);

/* Where the manifest of an instance's open backup lies; palloc'd. */
extern char *statefile_manifest_path(int32 instance_id);

/* The link to the directory of an instance's private server; palloc'd. */
extern char *statefile_private_link(int32 instance_id);

#endif							/* ESE_STATEFILE_H */
