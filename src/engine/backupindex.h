/*-------------------------------------------------------------------------
 *
 * backupindex.h
 *	  The backup index: what a directory that the server backs up to holds.
 *
 * It is replaced as the last step of every backup into the directory, so it
 * knows what nothing else tells: which link of the chain is the newest, and
 * which archives there are.  Format: "The backup index" in README.md.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_BACKUPINDEX_H
#define ESE_BACKUPINDEX_H

#include "logmanifest.h"

#define BACKUPINDEX_VERSION 1

/* Its name in a directory of archives, and in a data directory. */
#define BACKUPINDEX_PATH_TAR	"ese_backup"
#define BACKUPINDEX_PATH_PLAIN	"pg_wal/ese_backup"

/* A caller that reads one into memory refuses more. */
#define BACKUPINDEX_MAX_LENGTH (64 * 1024 * 1024)

/* Names of archives, with the NUL. */
#define BACKUPINDEX_NAME_SIZE 64

/* A backup in the directory. */
typedef struct IndexLink
{
	int64_t		backup_id;
	bool		incremental;
	uint32_t	timeline;
	uint64_t	start_lsn;
	uint64_t	end_lsn;
	char		checksum[DOCUMENT_CHECKSUM_SIZE];	/* of its log manifest,
													 * whose name follows from
													 * its id */
	char		archive[BACKUPINDEX_NAME_SIZE]; /* tar: where its logs are;
												 * else empty */
} IndexLink;

typedef struct IndexArchive
{
	char		name[BACKUPINDEX_NAME_SIZE];
	uint64_t	size;
	DigestValue digest;			/* of its bytes as they lie there, or none */
} IndexArchive;

/* All zero is an empty one; backupindex_clear() frees what it holds. */
typedef struct BackupIndex
{
	uint64_t	system_identifier;
	int64_t		instance_id;
	char		instance[LOGMANIFEST_NAME_SIZE];
	bool		tar;			/* else a data directory */
	bool		has_adding;
	IndexLink	adding;			/* being published: it does not count yet */
	char	  **damaged;		/* files with damaged pages; none: the backup
								 * is complete */
	uint32_t	damaged_count;
	IndexArchive *archives;		/* tar: all there are, but that of "adding" */
	uint32_t	archive_count;
	IndexLink  *links;			/* oldest first; the first one is full */
	uint32_t	link_count;
	char		checksum[DOCUMENT_CHECKSUM_SIZE];	/* its own */
} BackupIndex;

/* Append; false when memory is out. */
extern bool backupindex_add_damaged(BackupIndex *index, const char *path);
extern bool backupindex_add_archive(BackupIndex *index,
									const IndexArchive *archive);
extern bool backupindex_add_link(BackupIndex *index, const IndexLink *link);
extern void backupindex_clear(BackupIndex *index);

/* Append its bytes to an empty buffer, and set its checksum. */
extern bool backupindex_write(BackupIndex *index, ByteBuffer *bytes);

/*
 * Read one into an empty index.  False, *problem and an empty index when it is
 * damaged, none, or of another version.
 */
extern bool backupindex_read(BackupIndex *index, const char *bytes,
							 size_t length, DocumentProblem *problem);

/* NULL when there is none. */
extern const IndexArchive *backupindex_find_archive(const BackupIndex *index,
													const char *name);
extern const IndexLink *backupindex_newest(const BackupIndex *index);

#endif							/* ESE_BACKUPINDEX_H */
