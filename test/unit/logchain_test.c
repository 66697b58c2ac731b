/*
 * Tests of the chain of log manifests, in directories that are made here: what
 * was written is accepted; a link that is missing, exchanged, foreign, or of a
 * newer version, a gap, and files that were left by an incremental that was cut
 * off are seen as what they are.  And of where a recovery has ended.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/endpoint.h"
#include "engine/jet.h"
#include "engine/logchain.h"
#include "tap.h"

#define SEGMENT		(1024 * 1024)
#define SYSTEM		UINT64_C(7000000000000000001)
#define LINKS		3

static char directory[] = "/tmp/ese_logchain_test.XXXXXX";
static int	fd;
static ByteBuffer bytes;
static LogManifestHead heads[LINKS + 1];
static char checksums[LINKS + 1][DOCUMENT_CHECKSUM_SIZE];
static BackupIndex index_of_all;
static Inventory inventory;
static ChainProblem problem;

static bool
keep(void *arg, const char *more, size_t count)
{
	(void) arg;
	buffer_append(&bytes, more, count);
	return true;
}

static void
write_file(const char *name, const void *contents, size_t length)
{
	int			file = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (file < 0 || write(file, contents, length) != (ssize_t) length)
		abort();
	close(file);
}

/* The log manifest of a link: segments from its start to its end. */
static void
write_manifest(int i, uint64_t skipped)
{
	const LogManifestHead *head = &heads[i];
	Document	document;
	ManifestWalRange range = {head->timeline, head->start_lsn, head->end_lsn};
	char		path[LOGMANIFEST_MAX_PATH];

	buffer_free(&bytes);
	logmanifest_begin(&document, head, keep, NULL);
	logmanifest_add_range(&document, &range);
	logmanifest_end_ranges(&document);
	for (uint64_t at = head->start_lsn / SEGMENT; at * SEGMENT < head->end_lsn; at++)
	{
		DigestValue digest;
		char		name[LOGCHAIN_NAME_SIZE];
		char		file[64];

		if (at == skipped)
			continue;
		digest_bytes(DIGEST_CRC32C, &i, sizeof(i), &digest);
		logchain_segment_name(name, head->timeline, at, SEGMENT);
		snprintf(file, sizeof(file), "pg_wal/%s", name);
		logmanifest_add_file(&document, file, SEGMENT, &digest);
	}
	if (!logmanifest_finish(&document, checksums[i]))
		abort();
	document_free(&document);
	logmanifest_path(path, head->backup_id);
	write_file(path, bytes.data, bytes.length);
}

static void
set_head(int i)
{
	LogManifestHead *head = &heads[i];

	memset(head, 0, sizeof(*head));
	head->system_identifier = SYSTEM;
	head->instance_id = 1;
	strcpy(head->instance, "main");
	head->backup_id = 10 + i;
	head->indexed = true;
	head->incremental = i > 0;
	strcpy(head->started_at, "2026-11-25 08:08:22 GMT");
	head->timeline = 1;
	head->segment_size = SEGMENT;
	head->start_lsn = (uint64_t) (4 + 2 * i) * SEGMENT + (i == 0 ? 40 : 0);
	head->end_lsn = (uint64_t) (5 + 2 * i) * SEGMENT + 4096;
	if (i == 0)
	{
		memset(head->backup_manifest, 'c', DOCUMENT_CHECKSUM_SIZE - 1);
		return;
	}
	head->follows.backup_id = heads[i - 1].backup_id;
	head->follows.end_lsn = heads[i - 1].end_lsn;
	strcpy(head->follows.checksum, checksums[i - 1]);
}

static IndexLink
link_of(int i)
{
	IndexLink	link = {.backup_id = heads[i].backup_id,
		.incremental = heads[i].incremental,.timeline = heads[i].timeline,
	.start_lsn = heads[i].start_lsn,.end_lsn = heads[i].end_lsn};

	strcpy(link.checksum, checksums[i]);
	return link;
}

static void
write_index(int links, int adding)
{
	backupindex_clear(&index_of_all);
	index_of_all.system_identifier = SYSTEM;
	index_of_all.instance_id = 1;
	strcpy(index_of_all.instance, "main");
	for (int i = 0; i < links; i++)
	{
		IndexLink	link = link_of(i);

		backupindex_add_link(&index_of_all, &link);
	}
	index_of_all.has_adding = adding > 0;
	if (adding > 0)
		index_of_all.adding = link_of(adding);
	buffer_free(&bytes);
	if (!backupindex_write(&index_of_all, &bytes))
		abort();
	write_file(BACKUPINDEX_PATH_PLAIN, bytes.data, bytes.length);
}

/* A sound directory. */
static void
write_all(void)
{
	if (system("rm -rf pg_wal && mkdir pg_wal") != 0)
		abort();
	for (int i = 0; i <= LINKS; i++)
	{
		set_head(i);
		if (i < LINKS)
			write_manifest(i, 0);
	}
	write_index(LINKS, 0);
}

/* 0, or the JET error. */
static int
check(LogChain *chain)
{
	memset(chain, 0, sizeof(*chain));
	memset(&problem, 0, sizeof(problem));
	return logchain_read_index(chain, fd, false, &problem) &&
		logchain_read_manifests(chain, fd, &problem) &&
		logchain_check(chain, &inventory, SYSTEM, &problem) ? 0 : problem.jet;
}

static void
checks_to(int wanted, const char *name)
{
	LogChain	chain;
	int			got = check(&chain);

	ok(got == wanted, "%s: %d %s", name, got, problem.why);
	logchain_clear(&chain);
}

static void
test_sound(void)
{
	LogChain	chain;
	Inventory	all = {0};
	ManifestWalRange *ranges;
	uint32_t	count;
	uint64_t	number;

	write_all();
	ok(check(&chain) == 0 && chain.has_index && chain.count == LINKS, "a sound one");
	ok(chain.timeline == 1 && chain.end_lsn == heads[LINKS - 1].end_lsn, "and its end");
	ok(logchain_complete(&chain, &all, &problem) && all.count == 6, "six segments");
	ok(inventory_find(&all, "pg_wal/000000010000000000000009") != NULL, "the last one");
	ranges = logchain_ranges(&chain, &count);
	ok(count == 1 && ranges[0].start_lsn == heads[0].start_lsn &&
	   ranges[0].end_lsn == chain.end_lsn, "one range");
	free(ranges);
	ok(logchain_is_part(&chain, "pg_wal/ese_logs.11") &&
	   logchain_is_part(&chain, BACKUPINDEX_PATH_PLAIN) &&
	   !logchain_is_part(&chain, "pg_wal/ese_logs.13") &&
	   !logchain_is_part(&chain, "pg_wal/ese_logs.1"), "parts of it");
	ok(logchain_is_beyond(&chain, "pg_wal/00000001000000000000000A", &number) && number == 0 &&
	   logchain_is_beyond(&chain, "pg_wal/00000001000000000000000C", &number) && number == 2 &&
	   !logchain_is_beyond(&chain, "pg_wal/000000010000000000000009", &number) &&
	   !logchain_is_beyond(&chain, "pg_wal/00000002000000000000000A", &number) &&
	   !logchain_is_beyond(&chain, "pg_wal/00000001000000000000000a", &number) &&
	   !logchain_is_beyond(&chain, "pg_wal/00000001000000000000000A.partial", &number) &&
	   !logchain_is_beyond(&chain, "pg_wal/000000010000FFFF0000FFFF", &number),
	   "segments behind its end");
	for (uint32_t i = 0; i < all.count; i++)
		free(all.files[i].path);
	free(all.files);
	logchain_clear(&chain);
}

static void
test_bad(void)
{
	write_all();
	unlink("pg_wal/ese_logs.11");
	checks_to(JET_errFileNotFound, "a link's manifest is missing");
	write_all();
	unlink(BACKUPINDEX_PATH_PLAIN);
	checks_to(JET_errFileNotFound, "the index is missing");
	write_all();
	write_index(LINKS - 1, 0);
	checks_to(0, "an index of an older state: the newer link counts as a strange file");
	write_all();
	heads[1].start_lsn += SEGMENT;
	write_manifest(1, 0);
	checks_to(JET_errReadVerifyFailure, "another manifest in its place");
	write_index(LINKS, 0);
	checks_to(JET_errReadVerifyFailure, "a gap");
	write_all();
	strcpy(heads[2].follows.checksum, checksums[0]);
	write_manifest(2, 0);
	write_index(LINKS, 0);
	checks_to(JET_errInvalidLogSequence, "it follows another one's bytes");
	write_all();
	heads[2].follows.backup_id = 5;
	write_manifest(2, 0);
	write_index(LINKS, 0);
	checks_to(JET_errInvalidLogSequence, "it follows another one");
	write_all();
	write_manifest(2, 8);
	write_index(LINKS, 0);
	checks_to(JET_errMissingLogFile, "a segment is not listed");
	write_all();
	heads[2].system_identifier++;
	write_manifest(2, 0);
	write_index(LINKS, 0);
	checks_to(JET_errGivenLogFileHasBadSignature, "of another cluster");
	write_all();
	memset(heads[0].backup_manifest, 'd', DOCUMENT_CHECKSUM_SIZE - 1);
	write_manifest(0, 0);
	write_index(LINKS, 0);
	checks_to(JET_errReadVerifyFailure, "of another backup manifest");
	write_all();
	rename("pg_wal/ese_logs.10", "pg_wal/x");
	rename("pg_wal/ese_logs.11", "pg_wal/ese_logs.10");
	rename("pg_wal/x", "pg_wal/ese_logs.11");
	checks_to(JET_errReadVerifyFailure, "exchanged");
	write_all();
	write_file("pg_wal/ese_logs.12", "x", 1);
	checks_to(JET_errReadVerifyFailure, "too short");
	write_all();
	if (truncate("pg_wal/ese_logs.12", 200L * 1024 * 1024) != 0)
		abort();
	checks_to(JET_errReadVerifyFailure, "long and empty");
	write_all();
	if (truncate(BACKUPINDEX_PATH_PLAIN, 1L << 40) != 0)
		abort();
	checks_to(JET_errReadVerifyFailure, "an index without end");
}

/* As a client keeps them: no index. */
static void
test_client(void)
{
	LogChain	chain;

	write_all();
	unlink(BACKUPINDEX_PATH_PLAIN);
	for (int i = 0; i < LINKS; i++)
	{
		set_head(i);
		heads[i].indexed = false;
		write_manifest(i, 0);
	}
	ok(check(&chain) == 0 && !chain.has_index && chain.count == LINKS, "a client's");
	logchain_clear(&chain);
	unlink("pg_wal/ese_logs.11");
	checks_to(JET_errInvalidLogSequence, "a link between is missing");
	unlink("pg_wal/ese_logs.10");
	checks_to(JET_errMissingFullBackup, "the first one is missing");
	unlink("pg_wal/ese_logs.12");
	ok(check(&chain) == 0 && chain.count == 0, "none: an old backup");
	logchain_clear(&chain);
}

/* An incremental that was cut off while it was published. */
static void
test_leftovers(void)
{
	LogChain	chain;
	Inventory	all = {0};

	write_all();
	/* it has a longer version of the last segment */
	set_head(LINKS);
	heads[LINKS].start_lsn = 9 * SEGMENT;
	write_manifest(LINKS, 0);
	checks_to(0, "a manifest that nothing names does not count");
	write_index(LINKS, LINKS);
	ok(check(&chain) == 0 && chain.count == LINKS && chain.leftover_count == 1,
	   "one is being added");
	ok(chain.end_lsn == heads[LINKS - 1].end_lsn, "it is not the end");
	ok(logchain_is_leftover(&chain, "pg_wal/ese_logs.13") &&
	   logchain_is_leftover(&chain, "pg_wal/00000001000000000000000A") &&
	   !logchain_is_leftover(&chain, "pg_wal/00000001000000000000000F") &&
	   !logchain_is_leftover(&chain, "pg_wal/ese_logs.14"), "what it has left");
	ok(logchain_is_leftover_archive(&chain, "logs.13.tar.zst") &&
	   !logchain_is_leftover_archive(&chain, "logs.12.tar.zst") &&
	   !logchain_is_leftover_archive(&chain, "logs.tar"), "or an archive");
	if (ok(logchain_complete(&chain, &all, &problem) && all.count == 6, "six segments"))
	{
		InventoryFile *file = inventory_find(&all, "pg_wal/000000010000000000000009");
		DigestValue digest;
		int			before = LINKS - 1;
		int			after = LINKS;
		bool		both;

		digest_bytes(DIGEST_CRC32C, &before, sizeof(before), &digest);
		both = inventory_matches(file, SEGMENT, &digest);
		digest_bytes(DIGEST_CRC32C, &after, sizeof(after), &digest);
		ok(both && inventory_matches(file, SEGMENT, &digest), "a segment may be either version");
	}
	for (uint32_t i = 0; i < all.count; i++)
		free(all.files[i].path);
	free(all.files);
	logchain_clear(&chain);
}

/* A standby closes no segments: an incremental may end before the full. */
static void
test_standby(void)
{
	LogChain	chain;

	write_all();
	heads[1].start_lsn = 5 * SEGMENT;
	heads[1].end_lsn = 5 * SEGMENT;
	write_manifest(1, 0);
	write_index(2, 0);
	unlink("pg_wal/ese_logs.12");
	ok(check(&chain) == 0 && chain.end_lsn == heads[0].end_lsn, "the end is that of the full");
	logchain_clear(&chain);
}

/* Timelines: the older one up to the segment in which the newer one begins. */
static void
test_timelines(void)
{
	LogChain	chain;
	ManifestWalRange *ranges;
	uint32_t	count;

	write_all();
	heads[1].timeline = 2;
	heads[1].start_lsn = 5 * SEGMENT;
	write_manifest(1, 0);
	write_index(2, 0);
	unlink("pg_wal/ese_logs.12");
	ok(check(&chain) == 0 && chain.timeline == 2, "a newer timeline");
	ranges = logchain_ranges(&chain, &count);
	ok(count == 2 && ranges[0].timeline == 1 && ranges[0].end_lsn == 5 * SEGMENT &&
	   ranges[1].timeline == 2 && ranges[1].start_lsn == 5 * SEGMENT, "two ranges");
	free(ranges);
	logchain_clear(&chain);
}

/* ---- where a recovery has ended */

static void
test_end(void)
{
	static const char history[] = "1\t0/3000000\tno recovery target specified\n\n2\t1/5000060\tafter transaction 745\n";
	static const char log[] =
		"LOG:  redo done at 0/1 system usage: x\nLOG:  last completed transaction was at log time 1\n"
		"LOG:  redo done at 1/5000028 system usage: x\nLOG:  selected new timeline ID: 3\n"
		"LOG:  last completed transaction was at log time 2026-11-25 08:08:22.5+00\nFATAL:  x\n";
	EndPoint	end = {0};

	ok(endpoint_read_history(&end, history, strlen(history)) && end.timeline == 2 &&
	   end.lsn == UINT64_C(0x105000060) && strcmp(end.why, "after transaction 745") == 0, "a history");
	endpoint_read_log(&end, log);
	ok(end.last_record == UINT64_C(0x105000028) && end.new_timeline == 3 &&
	   strcmp(end.last_time, "2026-11-25 08:08:22.5+00") == 0, "a log");
	memset(&end, 0, sizeof(end));
	ok(!endpoint_read_history(&end, "x\n# 1\n", 6), "none");
	endpoint_read_log(&end, "nothing");
	ok(end.last_record == 0 && end.last_time[0] == '\0', "none");
}

/* A record of a length at a place of segment 5; is what follows it cut? */
static bool
is_cut(uint64_t at, uint32_t record, uint64_t end_lsn)
{
	static char segment[SEGMENT];
	EndPoint	end = {.known = true,.timeline = 1,.lsn = 5 * SEGMENT + at};
	uint64_t	begin = at % 8192 != 0 ? at : at + (at == 0 ? 40 : 24);

	memset(segment, 0, sizeof(segment));
	memcpy(segment + begin, &record, sizeof(record));
	write_file("pg_wal/000000010000000000000005", segment, sizeof(segment));
	return endpoint_is_cut(&end, fd, end_lsn, SEGMENT);
}

static void
test_cut(void)
{
	uint64_t	end = 6 * SEGMENT;

	ok(is_cut(SEGMENT - 64, 100, end), "a record that goes on in the next segment");
	ok(!is_cut(SEGMENT - 64, 64, end), "one that ends with it");
	ok(!is_cut(SEGMENT - 64, 0, end), "none");
	ok(!is_cut(SEGMENT - 64, 8, end), "nothing that is one");
	ok(!is_cut(SEGMENT - 64, 0xFFFFFFF0, end), "nothing that is one");
	ok(is_cut(SEGMENT - 8192, 8192 - 24 + 1, end), "from a page's beginning on");
	ok(!is_cut(SEGMENT - 8192, 8192 - 24, end), "one that fills that page");
	ok(is_cut(0, 1024 * 1024 - 40 - 127 * 24 + 1, end), "over many pages");
	ok(!is_cut(0, 1024 * 1024 - 40 - 127 * 24, end), "one that fills them");
	ok(!is_cut(SEGMENT - 64, 100, end - 8), "within a segment nothing is cut");
}

int
main(void)
{
	char		command[100];

	if (mkdtemp(directory) == NULL || chdir(directory) != 0)
		abort();
	fd = open(".", O_RDONLY | O_DIRECTORY);
	memset(inventory.checksum, 'c', DOCUMENT_CHECKSUM_SIZE - 1);
	test_sound();
	test_bad();
	test_client();
	test_leftovers();
	test_standby();
	test_timelines();
	test_end();
	test_cut();
	backupindex_clear(&index_of_all);
	buffer_free(&bytes);
	if (chdir("/") != 0)
		abort();
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	if (system(command) != 0)
		return 1;
	return done_testing();
}
