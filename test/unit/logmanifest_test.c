/*
 * Tests of log manifests and backup indexes: what is written is read back,
 * what is changed is refused, and what makes no sense is refused although its
 * checksum is right.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/backupindex.h"
#include "tap.h"

#define SEGMENT		(16 * 1024 * 1024)
#define SEGMENTS	20
#define MUTATIONS	20000

static char bytes[64 * 1024];
static size_t length;

static bool
keep_bytes(void *arg, const char *more, size_t count)
{
	(void) arg;
	if (length + count > sizeof(bytes))
		return false;
	memcpy(bytes + length, more, count);
	length += count;
	return true;
}

static void
fill_checksum(char *checksum, char digit)
{
	memset(checksum, digit, DOCUMENT_CHECKSUM_SIZE - 1);
	checksum[DOCUMENT_CHECKSUM_SIZE - 1] = '\0';
}

static LogManifestHead
head_of(bool incremental)
{
	LogManifestHead head = {
		.system_identifier = UINT64_C(18446744073709551557),
		.instance_id = 1,
		.instance = "main",
		.backup_id = 17,
		.incremental = incremental,
		.started_at = "2026-11-25 08:08:22 GMT",
		.indexed = !incremental,
		.ended_at = incremental ? 0 : INT64_C(1795594102000123),
		.timeline = 3,
		.segment_size = SEGMENT,
		.start_lsn = UINT64_C(0x1FE000000),
		.end_lsn = UINT64_C(0x203000160),
	};

	if (incremental)
	{
		head.follows.backup_id = 16;
		head.follows.end_lsn = UINT64_C(0x1FD000138);
		fill_checksum(head.follows.checksum, 'a');
	}
	else
		fill_checksum(head.backup_manifest, 'b');
	return head;
}

/* Write one into "bytes"; its checksum. */
static const char *
write_manifest(const LogManifestHead *head, DigestKind kind, bool real)
{
	static char checksum[DOCUMENT_CHECKSUM_SIZE];
	ManifestWalRange newer = {3, UINT64_C(0x200000000), head->end_lsn};
	ManifestWalRange older = {1, head->start_lsn, UINT64_C(0x200000000)};
	Document	document;

	length = 0;
	logmanifest_begin(&document, head, keep_bytes, NULL);
	logmanifest_add_range(&document, &newer);
	logmanifest_add_range(&document, &older);
	logmanifest_end_ranges(&document);
	for (int i = 0; i < SEGMENTS; i++)
	{
		DigestValue digest = {.kind = (uint8_t) kind};
		char		name[64];

		snprintf(name, sizeof(name), "pg_wal/%s%024X",
				 i % 2 ? "archive_status/" : "", i);
		digest_bytes(kind, name, real ? strlen(name) : 0, &digest);
		logmanifest_add_file(&document, name, SEGMENT, &digest);
	}
	ok(logmanifest_finish(&document, checksum) && document.size == length,
	   "written: %zu bytes", length);
	document_free(&document);
	return checksum;
}

static void
test_round_trip(bool incremental, DigestKind kind)
{
	LogManifestHead head = head_of(incremental);
	DocumentProblem problem;
	LogManifest *manifest;
	const char *checksum;
	size_t		size;

	(void) write_manifest(&head, kind, false);
	size = length;
	checksum = write_manifest(&head, kind, true);
	ok(size == length, "as long with whatever digests");
	manifest = logmanifest_read(bytes, length, &problem);
	if (!ok(manifest != NULL, "read"))
		return;
	ok(memcmp(&manifest->head, &head, sizeof(head)) == 0, "the head");
	ok(strcmp(manifest->checksum, checksum) == 0, "its checksum");
	ok(manifest->files->count == SEGMENTS && manifest->files->digest == kind &&
	   manifest->files->range_count == 2 &&
	   manifest->files->ranges[1].start_lsn == head.start_lsn,
	   "files and ranges");
	logmanifest_free(manifest);
}

/* Put in place of the first "from" another string, and seal again. */
static void
replace(const char *from, const char *to)
{
	char	   *at = memmem(bytes, length, from, strlen(from));
	static const char key[] = "\"Manifest-Checksum\": \"";
	size_t		end = (size_t) ((char *) memmem(bytes, length, key, strlen(key)) - bytes);
	DigestValue digest;

	if (at == NULL || at >= bytes + end)
		abort();
	memmove(at + strlen(to), at + strlen(from),
			length - (size_t) (at - bytes) - strlen(from));
	memcpy(at, to, strlen(to));
	length += strlen(to) - strlen(from);
	end += strlen(to) - strlen(from);
	digest_bytes(DIGEST_SHA256, bytes, end, &digest);
	for (int i = 0; i < digest.length; i++)
	{
		char		pair[3];

		snprintf(pair, sizeof(pair), "%02x", digest.bytes[i]);
		memcpy(bytes + end + strlen(key) + 2 * i, pair, 2);
	}
}

/* Seal whatever is there. */
static void
seal(void)
{
	replace("{", "{");
}

static void
refuses(bool incremental, const char *from, const char *to, const char *why)
{
	LogManifestHead head = head_of(incremental);
	DocumentProblem problem;
	LogManifest *manifest;

	(void) write_manifest(&head, DIGEST_CRC32C, true);
	replace(from, to);
	manifest = logmanifest_read(bytes, length, &problem);
	ok(manifest == NULL && strstr(problem.why, why) != NULL,
	   "%s instead of %s: %s", to, from, manifest ? "accepted" : problem.why);
	if (manifest != NULL)
		logmanifest_free(manifest);
}

static void
test_nonsense(void)
{
	static const char head[] = "its first lines";
	LogManifestHead extended = head_of(false);
	DocumentProblem problem;
	LogManifest *manifest;
	char		overlong[2048];

	refuses(false, "Version\": 1,", "Version\": 2,",
			"version 2 of the log manifest is not known: made by a newer ese");
	refuses(false, "Ese-Log", "Other", "it is no log manifest");
	refuses(false, "\"1844", "\"9844", head);
	refuses(false, "\"1844", "\"-1844", head);
	refuses(false, "\"Instance-Id\": 1", "\"Instance-Id\": 0", head);
	refuses(false, "\"Instance-Id\": 1", "\"Instance-Id\": 4294967297", head);
	refuses(false, "\"Instance-Id\": 1", "\"Instance-Id\": 1.5", head);
	refuses(false, "\"main\"", "\"\"", head);
	refuses(false, "\"main\"", "\"a\\u0000b\"", head);
	refuses(false, "\"main\"", "null", head);
	refuses(false, "Backup-Id\": 17", "Backup-Id\": -17", head);
	refuses(false, "Backup-Id\": 17", "Backup-Id\": 99999999999999999999", head);
	refuses(false, "\"full\"", "\"copy\"", head);
	refuses(false, "\"full\"", "\"incremental\"", head);
	refuses(false, "\"Follows\": null", "\"Follows\": {}", head);
	refuses(true, "Backup-Id\": 16", "Backup-Id\": 17", head);
	refuses(true, "\"Checksum\": \"aa", "\"Checksum\": \"AA", head);
	refuses(true, "1/FD000138", "1/FC000138", head);
	refuses(false, "\"Timeline\": 3", "\"Timeline\": 0", head);
	refuses(false, "\"Timeline\": 3", "\"Timeline\": 2", "its WAL ranges do not begin with its timeline");
	refuses(false, "\"Timeline\": 1", "\"Timeline\": 3", "its WAL ranges have a gap");
	refuses(false, "16777216", "16777217", head);
	refuses(false, "16777216", "524288", head);
	refuses(false, "\"Start-LSN\": \"1/FE", "\"Start-LSN\": \"9/FE", head);
	refuses(false, "\"Start-LSN\": \"1/FE", "\"Start-LSN\": \"1/FD", "its WAL ranges do not begin where it begins");
	refuses(false, "\"2/0\"", "\"2/1\"", "its WAL ranges have a gap");
	refuses(false, "\"2/0\"", "\"2/\"", "a WAL range is damaged");
	refuses(false, "bbbb\"", "bbb\"", head);
	refuses(false, "\"Kind\"", "\"Instance\"", head);
	refuses(false, "pg_wal/0", "../../0", "leads out of the backup");
	refuses(false, "pg_wal/0", "base/10", "does not come with logs");
	refuses(false, "pg_wal/000000000000000000000000", "pg_wal/ese_backup", "does not come with logs");
	refuses(false, "pg_wal/000000000000000000000000", "pg_wal/ese_logs.17", "does not come with logs");
	refuses(false, "pg_wal/000000000000000000000000", "pg_wal/000000000000000000000002", "a file is named twice");
	refuses(false, "\"Size\": 16777216", "\"Size\": -1", "a file has no size");
	refuses(false, "\"Checksum-Algorithm\": \"CRC32C\", ", "", "without its algorithm");
	refuses(false, "CRC32C", "MD5", "not supported");
	refuses(false, "\n],\n\"Manifest", "\n\"Manifest", "not what a server writes");
	memset(overlong, 'x', sizeof(overlong));
	overlong[sizeof(overlong) - 1] = '\0';
	memcpy(overlong, "pg_wal/", 7);
	refuses(false, "pg_wal/000000000000000000000000", overlong, "a file has no name");

	/* what a later version 1 may have more */
	(void) write_manifest(&extended, DIGEST_CRC32C, true);
	replace("\"Timeline\"", "\"Extra\": { \"a\": [1] },\n\"Timeline\"");
	manifest = logmanifest_read(bytes, length, &problem);
	ok(manifest != NULL, "a key that is not known is passed over");
	if (manifest != NULL)
		logmanifest_free(manifest);
}

static void
test_names(void)
{
	int64_t		id = 0;
	char		path[LOGMANIFEST_MAX_PATH];

	logmanifest_path(path, INT64_MAX);
	ok(strcmp(path, "pg_wal/ese_logs.9223372036854775807") == 0, "the longest name");
	ok(logmanifest_is_path("pg_wal/ese_logs.17", &id) && id == 17, "a name");
	ok(!logmanifest_is_path("pg_wal/ese_logs.", &id) &&
	   !logmanifest_is_path("pg_wal/ese_logs.0", &id) &&
	   !logmanifest_is_path("pg_wal/ese_logs.1x", &id) &&
	   !logmanifest_is_path("pg_wal/ese_logs.1.ese_new", &id) &&
	   !logmanifest_is_path("ese_logs.1", &id) &&
	   !logmanifest_is_path("pg_wal/ese_logs.99999999999999999999", &id),
	   "others");
	ok(logmanifest_may_follow(0x5000138, 0x6000000, 0x1000000) &&
	   logmanifest_may_follow(0x5000000, 0x5000000, 0x1000000) &&
	   logmanifest_may_follow(0x5000138, 0x5000000, 0x1000000) &&
	   !logmanifest_may_follow(0x5000138, 0x6000001, 0x1000000) &&
	   !logmanifest_may_follow(0x5000000, 0x6000000, 0x1000000),
	   "which logs follow which");
}

/* ---- the index */

static void
write_index(bool tar, bool adding)
{
	BackupIndex index = {
		.system_identifier = 7,
		.instance_id = 2,
		.instance = "main",
		.tar = tar,
		.has_adding = adding,
	};
	ByteBuffer	buffer = {0};

	for (int i = 0; i < 4; i++)
	{
		IndexLink	link = {.backup_id = 10 + i,.incremental = i > 0,.timeline = 1};
		IndexArchive archive = {.size = 100};

		link.start_lsn = (uint64_t) i << 24;
		link.end_lsn = (uint64_t) (i + 1) << 24;
		fill_checksum(link.checksum, 'c');
		if (tar)
			snprintf(link.archive, sizeof(link.archive), "logs.%d.tar", i);
		memcpy(archive.name, link.archive, sizeof(archive.name));
		digest_bytes(DIGEST_CRC32C, "x", 1, &archive.digest);
		if (i == 3)
			index.adding = link;
		else if (!backupindex_add_link(&index, &link) ||
				 (tar && !backupindex_add_archive(&index, &archive)))
			abort();
	}
	if (!tar && (!backupindex_add_damaged(&index, "base/1/2") ||
				 !backupindex_add_damaged(&index, "base/1/\xFF")))
		abort();
	ok(backupindex_write(&index, &buffer), "an index is written");
	memcpy(bytes, buffer.data, buffer.length);
	length = buffer.length;
	buffer_free(&buffer);
	backupindex_clear(&index);
}

static void
test_index(bool tar, bool adding)
{
	BackupIndex index;
	DocumentProblem problem;

	write_index(tar, adding);
	if (!ok(backupindex_read(&index, bytes, length, &problem), "and read"))
		return;
	ok(index.system_identifier == 7 && index.instance_id == 2 &&
	   strcmp(index.instance, "main") == 0 && index.tar == tar &&
	   index.has_adding == adding &&
	   index.adding.backup_id == (adding ? 13 : 0), "its values");
	ok(index.link_count == 3 && index.links[1].end_lsn == 0x2000000 &&
	   index.links[2].incremental &&
	   backupindex_newest(&index)->backup_id == 12, "its links");
	ok(index.archive_count == (tar ? 3 : 0) &&
	   (backupindex_find_archive(&index, "logs.2.tar") != NULL) == tar,
	   "its archives");
	ok(index.damaged_count == (tar ? 0 : 2) &&
	   (tar || strcmp(index.damaged[1], "base/1/\xFF") == 0),
	   "its damaged files");
	backupindex_clear(&index);
}

static void
index_refuses(bool tar, const char *from, const char *to, const char *why)
{
	BackupIndex index;
	DocumentProblem problem;
	bool		taken;

	write_index(tar, true);
	replace(from, to);
	taken = backupindex_read(&index, bytes, length, &problem);
	ok(!taken && strstr(problem.why, why) != NULL && index.links == NULL,
	   "index: %s instead of %s: %s", to, from, taken ? "accepted" : problem.why);
	if (taken)
		backupindex_clear(&index);
}

static void
test_index_nonsense(void)
{
	static const char head[] = "its first lines";

	index_refuses(true, "Version\": 1", "Version\": 12",
				  "version 12 of the backup index is not known: made by a newer ese");
	index_refuses(true, "\"tar\"", "\"zip\"", head);
	index_refuses(true, "\"tar\"", "\"plain\"", head);
	index_refuses(true, "\"complete\"", "\"damaged\"", "its state and its damaged files differ");
	index_refuses(false, "\"damaged\"", "\"complete\"", "its state and its damaged files differ");
	index_refuses(true, "\"logs.3.tar\"", "\"../logs\"", head);
	index_refuses(true, "\"logs.3.tar\"", "\"logs.2.tar\"", "does not follow the others");
	index_refuses(true, "\"Backup-Id\": 13", "\"Backup-Id\": 12", head);
	index_refuses(true, "\"Name\": \"logs.1.tar\"", "\"Name\": \"logs.0.tar\"", "an archive is named twice");
	index_refuses(true, "\"Name\": \"logs.1.tar\"", "\"Name\": \"logs.9.tar\"", "is not in its list");
	index_refuses(true, "\"Name\": \"logs.1.tar\"", "\"Name\": \"x/y\"", "an archive is damaged");
	index_refuses(true, "\"Size\": 100", "\"Size\": -100", "an archive is damaged");
	index_refuses(true, "\"Backup-Id\": 10, \"Kind\": \"full\"", "\"Backup-Id\": 10, \"Kind\": \"incremental\"", "its links are out of order");
	index_refuses(false, "\"Kind\": \"full\"", "\"Kind\": \"incremental\"", "its links are out of order");
	index_refuses(false, "base/1/2", "/etc", "the name of a damaged file is none");
	index_refuses(false, "ese_logs.11", "ese_logs.12", "a link is damaged");
}

/* ---- whatever is changed in a document */

static bool
read_any(bool is_index)
{
	BackupIndex index;
	DocumentProblem problem;
	LogManifest *manifest;

	if (is_index)
	{
		if (!backupindex_read(&index, bytes, length, &problem))
			return false;
		backupindex_clear(&index);
		return true;
	}
	manifest = logmanifest_read(bytes, length, &problem);
	if (manifest != NULL)
		logmanifest_free(manifest);
	return manifest != NULL;
}

static void
test_mutations(bool is_index)
{
	unsigned	seed = 7;
	int			accepted = 0;
	size_t		whole = length;

	for (int i = 0; i < MUTATIONS; i++)
	{
		size_t		at = next_random(&seed) % length;
		char		before = bytes[at];

		bytes[at] = (char) (before ^ (1 + next_random(&seed) % 255));
		if (i % 3 == 0)
			length = next_random(&seed) % whole;
		accepted += read_any(is_index);
		bytes[at] = before;
		length = whole;
	}
	ok(accepted == 0, "%d changed ones are refused", MUTATIONS);
}

/* The same, sealed again: refused or not, nothing falls over. */
static void
test_sealed_mutations(bool is_index)
{
	static char original[sizeof(bytes)];
	unsigned	seed = 11;
	int			accepted = 0;
	size_t		whole = length;

	memcpy(original, bytes, whole);
	for (int i = 0; i < MUTATIONS; i++)
	{
		for (unsigned k = next_random(&seed) % 4; k < 4; k++)
		{
			size_t		at = 1 + next_random(&seed) % (whole - 100);
			size_t		from = next_random(&seed) % (whole - 200);
			size_t		count = next_random(&seed) % 60;

			/* a byte, or a piece of another place */
			if (i % 2 == 0)
				bytes[at] ^= (char) (1 << next_random(&seed) % 8);
			else if (at + count < whole - 100)
				memcpy(bytes + at, original + from, count);
		}
		seal();
		accepted += read_any(is_index);
		memcpy(bytes, original, whole);
		length = whole;
	}
	ok(accepted < MUTATIONS, "%d sealed ones, %d make sense", MUTATIONS, accepted);
}

int
main(void)
{
	LogManifestHead head = head_of(true);

	for (int kind = DIGEST_NONE; kind <= DIGEST_SHA256; kind++)
	{
		test_round_trip(false, (DigestKind) kind);
		test_round_trip(true, (DigestKind) kind);
	}
	test_nonsense();
	test_names();
	for (int i = 0; i < 4; i++)
		test_index(i & 1, i & 2);
	test_index_nonsense();
	(void) write_manifest(&head, DIGEST_SHA256, true);
	test_mutations(false);
	test_sealed_mutations(false);
	write_index(true, true);
	test_mutations(true);
	test_sealed_mutations(true);
	return done_testing();
}
