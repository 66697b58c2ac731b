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

/* So much text is written at once. */
#define WRITE_AT (64 * 1024)

/* Add what has come together to the digest, and write it. */
static void
flush(Manifest *manifest, bool add_to_digest)
{
	ByteBuffer *text = &manifest->text;

	if (text->failed ||
		(add_to_digest &&
		 !digest_update(&manifest->digest, text->data, text->length)) ||
		!manifest->writer(manifest->arg, text->data, text->length))
		manifest->failed = true;
	manifest->size += text->length;
	text	  ->length = 0;
}

static void
append_hex(Manifest *manifest, const void *data, size_t length)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *bytes = data;

	for (size_t i = 0; i < length; i++)
	{
		char		pair[2] = {digits[bytes[i] >> 4], digits[bytes[i] & 15]};

		buffer_append(&manifest->text, pair, sizeof(pair));
	}
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
		size_t		plain = 0;

		while ((unsigned char) p[plain] >= ' ' && p[plain] != '"' &&
			   p[plain] != '\\')
			plain++;
		buffer_append(&manifest->text, p, plain);
		p += plain;
		if (*p == '\0')
			break;
		if (*p == '"' || *p == '\\')
			buffer_format(&manifest->text, "\\%c", *p);
		else
			buffer_format(&manifest->text, "\\u%04x", (unsigned char) *p);
	}
	buffer_append(&manifest->text, "\"", 1);
}

void
manifest_begin(Manifest *manifest, int version, uint64_t system_identifier,
			   ManifestWriter writer, void *arg)
{
	memset(manifest, 0, sizeof(*manifest));
	manifest->writer = writer;
	manifest->arg = arg;
	manifest->failed = !digest_init(&manifest->digest, DIGEST_SHA256);
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
	const char *algorithm = digest_manifest_name((DigestKind) digest->kind);
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
	if (manifest->text.length >= WRITE_AT)
		flush(manifest, true);
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
	DigestValue value;
	Digest		scratch;
	bool		ok;

	buffer_format(&manifest->text, "\n],\n");
	flush(manifest, true);
	ok = digest_init(&scratch, DIGEST_SHA256);
	ok = ok && digest_value(&manifest->digest, &scratch, &value);
	digest_free(&scratch);
	if (!ok || manifest->failed)
		return false;
	buffer_format(&manifest->text, "\"Manifest-Checksum\": \"");
	append_hex(manifest, value.bytes, (size_t) value.length);
	buffer_format(&manifest->text, "\"}\n");
	flush(manifest, false);
	return !manifest->failed;
}

void
manifest_free(Manifest *manifest)
{
	buffer_free(&manifest->text);
	digest_free(&manifest->digest);
}
