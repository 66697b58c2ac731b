/*-------------------------------------------------------------------------
 *
 * finding.h
 *	  Damaged pages that backups have found: the view ese_checksum_failure.
 *
 * One file for each instance, ese/checksum_failures.<id>, written like the
 * history.  What cannot be written is kept by the worker and tried again.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_FINDING_H
#define ESE_FINDING_H

#include "filelist.h"
#include "shared.h"

typedef struct Finding
{
	int64		backup_id;
	Oid			database;
	Oid			tablespace;
	char		file_name[MAXPGPATH];
	uint32		block;
	TimestampTz found_at;
} Finding;

/* A damaged page as it was found; block is its number in the whole fork. */
typedef struct DamagedPage
{
	const FileEntry *entry;
	uint32		block;
} DamagedPage;

/* Record, log and count damaged pages; those known already are passed over. */
extern void finding_add(EseInstance *instance, int64 backup_id,
						const DamagedPage *pages, int count);

/* Write what could not be written before. */
extern void finding_settle(EseInstance *instance);

/* All findings of an instance, oldest first. */
extern Finding *finding_read(int32 instance_id, int *count);
extern void finding_remove(int32 instance_id);

#endif							/* ESE_FINDING_H */
