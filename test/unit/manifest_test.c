/* Tests of the manifest's text and of digests. */
#include <stdlib.h>
#include <string.h>

#include "engine/manifest.h"
#include "tap.h"

static char checksum[DOCUMENT_CHECKSUM_SIZE];

static void
test_digests(void)
{
	Digest		crc;
	Digest		copy;
	Digest		sha;
	Digest		scratch;
	DigestValue value;

	/* the check value of CRC-32C */
	ok(digest_crc32c("123456789", 9) == 0xE3069283, "CRC-32C of 123456789");
	digest_init(&crc, DIGEST_CRC32C);
	digest_init(&copy, DIGEST_CRC32C);
	digest_update(&crc, "1234", 4);
	digest_copy(&copy, &crc);
	digest_update(&crc, "xxxxx", 5);
	digest_update(&copy, "56789", 5);
	digest_value(&copy, &crc, &value);
	ok(value.length == 4 && memcmp(value.bytes, "\x83\x92\x06\xE3", 4) == 0,
	   "a copy goes on from the middle; bytes as in memory");

	digest_init(&sha, DIGEST_SHA256);
	digest_init(&scratch, DIGEST_SHA256);
	digest_update(&sha, "ab", 2);
	digest_value(&sha, &scratch, &value);
	digest_update(&sha, "c", 1);
	digest_value(&sha, &scratch, &value);
	ok(value.length == 32 &&
	   memcmp(value.bytes, "\xba\x78\x16\xbf\x8f\x01\xcf\xea", 8) == 0,
	   "SHA-256 of abc, looked at on the way");
	digest_free(&crc);
	digest_free(&copy);
	digest_free(&sha);
	digest_free(&scratch);
}

static bool
contains(const ByteBuffer *written, const char *text)
{
	return memmem(written->data, written->length, text, strlen(text)) != NULL;
}

/* A writer that keeps everything. */
static bool
collect(void *arg, const char *bytes, size_t length)
{
	buffer_append(arg, bytes, length);
	return true;
}

/* One that soon cannot write any more. */
static bool
refuse(void *arg, const char *bytes, size_t length)
{
	(void) bytes;
	(void) length;
	return ++* (int *) arg < 3;
}

/* A long one is written piece by piece; its checksum is of all of them. */
static void
test_pieces(void)
{
	ByteBuffer	written = {0};
	Manifest	manifest;
	DigestValue none = {DIGEST_NONE, 0, {0}};
	Digest		sha;
	Digest		scratch;
	DigestValue value;
	char		hex[2 * DIGEST_MAX_LENGTH + 1];
	char	   *end;
	int			calls = 0;

	manifest_begin(&manifest, 1, 0, collect, &written);
	for (int i = 0; i < 3000; i++)
		manifest_add_file(&manifest, "base/5/1259", (uint64_t) i, 0, &none);
	manifest_end_files(&manifest);
	ok(manifest_finish(&manifest, checksum) && manifest.size == written.length &&
	   manifest.bytes.room < 512 * 1024, "a long manifest is never in memory as a whole");
	end = memmem(written.data, written.length, "\"Manifest-Checksum", 18);
	digest_init(&sha, DIGEST_SHA256);
	digest_init(&scratch, DIGEST_SHA256);
	digest_update(&sha, written.data, (size_t) (end - written.data));
	digest_value(&sha, &scratch, &value);
	for (int i = 0; i < value.length; i++)
		sprintf(hex + 2 * i, "%02x", value.bytes[i]);
	ok(contains(&written, hex), "its checksum is that of everything before");
	digest_free(&sha);
	digest_free(&scratch);
	manifest_free(&manifest);
	buffer_free(&written);

	manifest_begin(&manifest, 1, 0, refuse, &calls);
	for (int i = 0; i < 3000; i++)
		manifest_add_file(&manifest, "base/5/1259", (uint64_t) i, 0, &none);
	manifest_end_files(&manifest);
	ok(!manifest_finish(&manifest, checksum), "a writer that fails is noticed");
	manifest_free(&manifest);
}

static void
test_text(void)
{
	ByteBuffer	written = {0};
	Manifest	manifest;
	DigestValue crc = {DIGEST_CRC32C, 4, {0xa1, 0xb2, 0xc3, 0xd4}};
	DigestValue none = {DIGEST_NONE, 0, {0}};
	ManifestWalRange newer = {2, 0x1000000028, 0x10000000FF};
	ManifestWalRange older = {1, 0x28, 0x1000000028};
	static const char head[] =
		"{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [\n"
		"{ \"Path\": \"base/1/1259\", \"Size\": 106496, "
		"\"Last-Modified\": \"2001-09-09 01:46:40 GMT\", "
		"\"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"a1b2c3d4\" },\n";

	manifest_begin(&manifest, 1, 0, collect, &written);
	manifest_add_file(&manifest, "base/1/1259", 106496, 1000000000, &crc);
	manifest_add_file(&manifest, "a\"b\\c\nd", 0, 0, &none);
	manifest_add_file(&manifest, "caf\xe9", 0, 0, &none);
	manifest_end_files(&manifest);
	manifest_add_wal_range(&manifest, &newer);
	manifest_add_wal_range(&manifest, &older);
	ok(manifest_finish(&manifest, checksum), "a manifest is written");
	ok(strncmp(written.data, head, sizeof(head) - 1) == 0,
	   "its beginning is right to the byte");
	ok(contains(&written, "\"Path\": \"a\\\"b\\\\c\\u000ad\""),
	   "special characters are escaped");
	ok(contains(&written, "\"Encoded-Path\": \"636166e9\""),
	   "what is not UTF-8 is hexadecimal");
	ok(contains(&written, "\n],\n\"WAL-Ranges\": [\n"
				"{ \"Timeline\": 2, \"Start-LSN\": \"10/28\", \"End-LSN\": \"10/FF\" },\n"
				"{ \"Timeline\": 1, \"Start-LSN\": \"0/28\", \"End-LSN\": \"10/28\" }\n],\n"
				"\"Manifest-Checksum\": \""), "the WAL ranges");
	ok(memcmp(written.data + written.length - 3, "\"}\n", 3) == 0,
	   "it ends as it must");
	manifest_free(&manifest);

	written.length = 0;
	manifest_begin(&manifest, 2, 12345678901234567890u, collect, &written);
	manifest_end_files(&manifest);
	ok(manifest_finish(&manifest, checksum), "another one");
	ok(contains(&written, "Version\": 2,\n\"System-Identifier\": 12345678901234567890,\n\"Files\""),
	   "version 2 has the system identifier");
	manifest_free(&manifest);
	buffer_free(&written);
}

static void
test_utf8(void)
{
	ok(utf8_valid("plain"), "ASCII");
	ok(utf8_valid("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\x98"),
	   "two, three and four bytes");
	ok(!utf8_valid("\xc0\x80"), "overlong");
	ok(!utf8_valid("\xe0\x80\x80"), "overlong, three bytes");
	ok(!utf8_valid("\xed\xa0\x80"), "a surrogate");
	ok(!utf8_valid("\xf4\x90\x80\x80"), "beyond the last");
	ok(!utf8_valid("\xe2\x82"), "cut short");
	ok(!utf8_valid("\x80"), "a continuation alone");
}

int
main(void)
{
	test_digests();
	test_text();
	test_pieces();
	test_utf8();
	return done_testing();
}
