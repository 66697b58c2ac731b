/*-------------------------------------------------------------------------
 *
 * manifest.h
 *	  The backup manifest, as pg_verifybackup reads it.
 *
 * Format: "Backup Manifest Format" in PostgreSQL's documentation.  Version 1
 * (PostgreSQL 15 and 16) or 2 (17 on, with the system identifier).
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_MANIFEST_H
#define ESE_MANIFEST_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "document.h"

typedef DocumentWriter ManifestWriter;
typedef Document Manifest;

typedef struct ManifestWalRange
{
	uint32_t	timeline;
	uint64_t	start_lsn;
	uint64_t	end_lsn;
} ManifestWalRange;

extern void manifest_begin(Manifest *manifest, int version,
						   uint64_t system_identifier,
						   ManifestWriter writer, void *arg);

/* A file: path as in the data directory, any bytes but NUL. */
extern void manifest_add_file(Manifest *manifest, const char *path,
							  uint64_t size, time_t modified,
							  const DigestValue *digest);

/* Then the WAL needed, newest timeline first. */
extern void manifest_end_files(Manifest *manifest);
extern void manifest_add_wal_range(Manifest *manifest,
								   const ManifestWalRange *range);

/*
 * End the ranges, add the manifest's own checksum, also to
 * checksum[DOCUMENT_CHECKSUM_SIZE], and write the rest.  False when the writer
 * failed or memory was out on the way.
 */
extern bool manifest_finish(Manifest *manifest, char *checksum);
extern void manifest_free(Manifest *manifest);

#endif							/* ESE_MANIFEST_H */
