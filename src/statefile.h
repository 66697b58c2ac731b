/*-------------------------------------------------------------------------
 *
 * statefile.h
 *	  Files under ese/ in the data directory, written so that a crash leaves
 *	  the old contents or the new.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_STATEFILE_H
#define ESE_STATEFILE_H

#include "engine/record.h"

#define ESE_DIRECTORY "ese"

/*
 * Seal the record and make it the contents of ese/<name>; frees the buffer,
 * also on ERROR.  The registry lock is held exclusively.
 */
extern void statefile_write(const char *name, ByteBuffer *record, uint32 magic,
							uint32 version);

/*
 * Read ese/<name> and open the record.  False when there is no such file.
 * *data is palloc'd and must live as long as the reader.  A damaged or
 * foreign file is an ERROR that says what is wrong and what to do.
 */
extern bool statefile_read(const char *name, uint32 magic, uint32 version,
						   RecordReader *reader, char **data);

/* ERROR unless the record was read exactly to its end. */
extern void statefile_read_done(const char *name, RecordReader *reader);

extern void statefile_remove(const char *name);

/* Where the manifest of an instance's open backup lies; palloc'd. */
extern char *statefile_manifest_path(int32 instance_id);

/* The link to the directory of an instance's private server; palloc'd. */
extern char *statefile_private_link(int32 instance_id);

#endif							/* ESE_STATEFILE_H */
