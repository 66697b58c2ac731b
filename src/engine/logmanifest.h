/*-------------------------------------------------------------------------
 *
 * logmanifest.h
 *	  The log manifest: what the logs of a backup are, and what they follow.
 *
 * WAL has no checksum that tells its end from damage, so every backup names
 * its logs and where recovery must come to.  Format: "The log manifest" in
 * README.md.  What a reader does not know in a known version it passes over;
 * what it must know makes a new version.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_LOGMANIFEST_H
#define ESE_LOGMANIFEST_H

#include "inventory.h"

#define LOGMANIFEST_VERSION 1

/* pg_wal/ese_logs.<backup id> */
#define LOGMANIFEST_PREFIX	"pg_wal/ese_logs."
#define LOGMANIFEST_MAX_PATH 40

/* A caller that reads one into memory refuses more. */
#define LOGMANIFEST_MAX_LENGTH (256 * 1024 * 1024)

/* Instances' names, with the NUL. */
#define LOGMANIFEST_NAME_SIZE 64

/* The backup that an incremental one follows. */
typedef struct LogFollows
{
	int64_t		backup_id;		/* 0: it is a full backup, and follows none */
	uint64_t	end_lsn;
	char		checksum[DOCUMENT_CHECKSUM_SIZE];	/* of its log manifest */
} LogFollows;

typedef struct LogManifestHead
{
	uint64_t	system_identifier;
	int64_t		instance_id;
	char		instance[LOGMANIFEST_NAME_SIZE];
	int64_t		backup_id;
	bool		incremental;
	bool		indexed;		/* it lies in a directory with an index */
	char		started_at[40]; /* to show: "2026-11-25 08:08:22 GMT" */
	int64_t		ended_at;		/* of its logs, in microseconds since 1970; 0:
								 * not known */
	LogFollows	follows;
	uint32_t	timeline;		/* at the end */
	uint32_t	segment_size;	/* of WAL */
	uint64_t	start_lsn;		/* redo of a full one; where the chain's slot
								 * stood */
	uint64_t	end_lsn;		/* what recovery must reach */
	char		backup_manifest[DOCUMENT_CHECKSUM_SIZE];	/* full: checksum of
															 * backup_manifest */
} LogManifestHead;

/* ---- writing: begin, ranges (newest first), end_ranges, files, finish */

extern void logmanifest_begin(Document *document, const LogManifestHead *head,
							  DocumentWriter writer, void *arg);
extern void logmanifest_add_range(Document *document,
								  const ManifestWalRange *range);
extern void logmanifest_end_ranges(Document *document);
extern void logmanifest_add_file(Document *document, const char *path,
								 uint64_t size, const DigestValue *digest);

/*
 * Its own checksum goes to checksum[DOCUMENT_CHECKSUM_SIZE], and how long it
 * is is in document->size, which does not depend on what the digests are.
 * Then: document_free().
 */
extern bool logmanifest_finish(Document *document, char *checksum);

/* ---- reading */

typedef struct LogManifest
{
	LogManifestHead head;
	Inventory  *files;			/* sorted by path: each is below pg_wal, or
								 * one of those that come with logs */
	char		checksum[DOCUMENT_CHECKSUM_SIZE];	/* its own */
	bool		superseded;		/* a later one follows one before it */
} LogManifest;

/*
 * Read one.  NULL and *problem when it is damaged, none, or of another
 * version.  What comes back makes sense in itself: its ranges go from
 * end_lsn down to start_lsn without a gap, and files->ranges are these.
 */
extern LogManifest *logmanifest_read(const char *bytes, size_t length,
									 DocumentProblem *problem);
extern void logmanifest_free(LogManifest *manifest);

/*
 * May logs that begin here follow logs that end there?  Those of a primary
 * end within a segment whose rest is empty; those of a standby may overlap.
 */
extern bool logmanifest_may_follow(uint64_t end_lsn, uint64_t start_lsn,
								   uint32_t segment_size);

/* Its name: path[LOGMANIFEST_MAX_PATH]. */
extern void logmanifest_path(char *path, int64_t backup_id);

/* Is this the name of one?  Then of which backup. */
extern bool logmanifest_is_path(const char *path, int64_t *backup_id);

#endif							/* ESE_LOGMANIFEST_H */
