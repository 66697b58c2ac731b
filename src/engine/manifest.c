/*-------------------------------------------------------------------------
 *
 * manifest.c
 *	  Writing a backup manifest.
 *
 *-------------------------------------------------------------------------
 */
#include "manifest.h"

#include <inttypes.h>

void
manifest_begin(Manifest *manifest, int version, uint64_t system_identifier,
			   ManifestWriter writer, void *arg)
{
	document_begin(manifest, writer, arg);
	document_format(manifest, "{ \"PostgreSQL-Backup-Manifest-Version\": %d,\n",
					version);
	if (version >= 2)
		document_format(manifest, "\"System-Identifier\": %" PRIu64 ",\n",
						system_identifier);
	document_begin_list(manifest, "Files");
}

void
manifest_add_file(Manifest *manifest, const char *path, uint64_t size,
				  time_t modified, const DigestValue *digest)
{
	char		when[64];
	struct tm	tm;

	document_next_element(manifest);
	document_format(manifest, "{ ");
	document_path(manifest, path);
	gmtime_r(&modified, &tm);
	strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S GMT", &tm);
	document_format(manifest, ", \"Size\": %" PRIu64 ", \"Last-Modified\": \"%s\"",
					size, when);
	document_digest(manifest, digest);
	document_format(manifest, " }");
	document_relieve(manifest);
}

void
manifest_end_files(Manifest *manifest)
{
	document_end_list(manifest);
	document_begin_list(manifest, "WAL-Ranges");
}

void
manifest_add_wal_range(Manifest *manifest, const ManifestWalRange *range)
{
	document_next_element(manifest);
	document_format(manifest,
					"{ \"Timeline\": %" PRIu32 ", \"Start-LSN\": \"%X/%X\", \"End-LSN\": \"%X/%X\" }",
					range->timeline,
					(unsigned) (range->start_lsn >> 32), (unsigned) range->start_lsn,
					(unsigned) (range->end_lsn >> 32), (unsigned) range->end_lsn);
}

bool
manifest_finish(Manifest *manifest, char *checksum)
{
	document_end_list(manifest);
	return document_finish(manifest, checksum);
}

void
manifest_free(Manifest *manifest)
{
	document_free(manifest);
}
