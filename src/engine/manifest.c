/*-------------------------------------------------------------------------
 *
 * manifest.c
 *	  Writing a backup manifest.
 *
 *-------------------------------------------------------------------------
 */
#include "manifest.h"

#include <inttypes.h>
#include <string.h>

static void
append_hex(Manifest *manifest, const void *data, size_t length)
{
	const unsigned char *bytes = data;

	for (size_t i = 0; i < length; i++)
		buffer_format(&manifest->text, "%02x", bytes[i]);
}

/* The bytes a UTF-8 character has after its first one; -1 for a bad start. */
static int
utf8_following(unsigned char first)
{
	if (first < 0x80)
		return 0;
	if (first >= 0xC2 && first <= 0xDF)
		return 1;
	if (first >= 0xE0 && first <= 0xEF)
		return 2;
	if (first >= 0xF0 && first <= 0xF4)
		return 3;
	return -1;
}

bool
utf8_valid(const char *text)
{
	const unsigned char *p = (const unsigned char *) text;

	while (*p != '\0')
	{
		unsigned char first = *p++;
		int			following = utf8_following(first);

		if (following < 0)
			return false;
		/* overlong forms, surrogates, beyond U+10FFFF */
		if ((first == 0xE0 && *p < 0xA0) || (first == 0xED && *p > 0x9F) ||
			(first == 0xF0 && *p < 0x90) || (first == 0xF4 && *p > 0x8F))
			return false;
		for (; following > 0; following--, p++)
		{
			if ((*p & 0xC0) != 0x80)
				return false;
		}
	}
	return true;
}

static void
append_json_string(Manifest *manifest, const char *text)
{
	buffer_append(&manifest->text, "\"", 1);
	for (const char *p = text; *p != '\0'; p++)
	{
		if (*p == '"' || *p == '\\')
			buffer_format(&manifest->text, "\\%c", *p);
		else if ((unsigned char) *p < ' ')
			buffer_format(&manifest->text, "\\u%04x", (unsigned char) *p);
		else
			buffer_append(&manifest->text, p, 1);
	}
	buffer_append(&manifest->text, "\"", 1);
}

void
manifest_begin(Manifest *manifest, int version, uint64_t system_identifier)
{
	memset(manifest, 0, sizeof(*manifest));
	buffer_format(&manifest->text, "{ \"PostgreSQL-Backup-Manifest-Version\": %d,\n",
				  version);
	if (version >= 2)
		buffer_format(&manifest->text, "\"System-Identifier\": %" PRIu64 ",\n",
					  system_identifier);
	buffer_format(&manifest->text, "\"Files\": [");
	manifest->first = true;
}

/* The separator before the next element of a list. */
static void
next_element(Manifest *manifest)
{
	buffer_format(&manifest->text, manifest->first ? "\n" : ",\n");
	manifest->first = false;
}

void
manifest_add_file(Manifest *manifest, const char *path, uint64_t size,
				  time_t modified, const DigestValue *digest)
{
	const char *algorithm = digest_manifest_name(digest->kind);
	char		when[64];
	struct tm	tm;

	next_element(manifest);
	if (utf8_valid(path))
	{
		buffer_format(&manifest->text, "{ \"Path\": ");
		append_json_string(manifest, path);
	}
	else
	{
		buffer_format(&manifest->text, "{ \"Encoded-Path\": \"");
		append_hex(manifest, path, strlen(path));
		buffer_format(&manifest->text, "\"");
	}
	gmtime_r(&modified, &tm);
	strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S GMT", &tm);
	buffer_format(&manifest->text, ", \"Size\": %" PRIu64 ", \"Last-Modified\": \"%s\"",
				  size, when);
	if (algorithm)
	{
		buffer_format(&manifest->text,
					  ", \"Checksum-Algorithm\": \"%s\", \"Checksum\": \"",
					  algorithm);
		append_hex(manifest, digest->bytes, (size_t) digest->length);
		buffer_format(&manifest->text, "\"");
	}
	buffer_format(&manifest->text, " }");
}

void
manifest_end_files(Manifest *manifest)
{
	buffer_format(&manifest->text, "\n],\n\"WAL-Ranges\": [");
	manifest->first = true;
}

void
manifest_add_wal_range(Manifest *manifest, const ManifestWalRange *range)
{
	next_element(manifest);
	buffer_format(&manifest->text,
				  "{ \"Timeline\": %" PRIu32 ", \"Start-LSN\": \"%X/%X\", \"End-LSN\": \"%X/%X\" }",
				  range->timeline,
				  (unsigned) (range->start_lsn >> 32), (unsigned) range->start_lsn,
				  (unsigned) (range->end_lsn >> 32), (unsigned) range->end_lsn);
}

bool
manifest_finish(Manifest *manifest)
{
	Digest		sha;
	DigestValue value;
	Digest		scratch;
	bool		ok;

	buffer_format(&manifest->text, "\n],\n");
	if (manifest->text.failed)
		return false;
	ok = digest_init(&sha, DIGEST_SHA256);
	ok = digest_init(&scratch, DIGEST_SHA256) && ok;
	ok = ok && digest_update(&sha, manifest->text.data, manifest->text.length) &&
		digest_value(&sha, &scratch, &value);
	digest_free(&sha);
	digest_free(&scratch);
	if (!ok)
		return false;
	buffer_format(&manifest->text, "\"Manifest-Checksum\": \"");
	append_hex(manifest, value.bytes, (size_t) value.length);
	buffer_format(&manifest->text, "\"}\n");
	return !manifest->text.failed;
}

void
manifest_free(Manifest *manifest)
{
	buffer_free(&manifest->text);
}
