/*
 * Tests of extracting archives: only what a stream has written, bit for bit, is
 * taken, and nothing of what a generous reader overlooks: an archive that ends
 * too early, however that came, what follows its end, padding, a second
 * archive, frames without checksums.  Of logs only what belongs to logs.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <lz4frame.h>
#include <zstd.h>

#include "engine/extract.h"
#include "engine/inventory.h"
#include "engine/jet.h"
#include "engine/logname.h"
#include "engine/stream.h"
#include "tap.h"

#define FILES	12
#define FLIPS	1500
#define ROOM	(8 * 1024 * 1024)

static char directory[] = "/tmp/ese_extract_test.XXXXXX";
static FileEntry entries[FILES + 1];
static char names[FILES + 1][200];
static char whole[ROOM];		/* an archive, as it was written */
static size_t whole_length;
static char bytes[ROOM];		/* and what was made of it */
static size_t length;
static DigestValue whole_digest;
static Engine *engine;
static Inventory *inventory;
static char *manifest_bytes;
static size_t manifest_length;

static void
make_file(int i, const char *name, size_t size)
{
	unsigned	seed = (unsigned) i;
	int			fd;

	snprintf(names[i], sizeof(names[i]), "%s", name);
	entries[i].name = names[i];
	entries[i].kind = FILE_OTHER;
	entries[i].size = (int64_t) size;
	for (size_t k = 0; k < size; k++)
		bytes[k] = (char) (k % 4096 < 2048 ? 0 : next_random(&seed) % 4 + 'a');
	fd = open(name, O_WRONLY | O_CREAT, 0600);
	if (fd < 0 || write(fd, bytes, size) != (ssize_t) size)
		abort();
	close(fd);
	digest_bytes(DIGEST_CRC32C, bytes, size, &entries[i].digest);
}

static void
make_files(void)
{
	char		name[200];

	mkdir("in", 0700);
	for (int i = 0; i < FILES; i++)
	{
		snprintf(name, sizeof(name), "in/file%d", i);
		if (i == 3)
			/* a name that needs a header of its own */
			snprintf(name, sizeof(name), "in/%0150d", i);
		make_file(i, name, i % 4 == 0 ? 0 : (size_t) i * 13001 + 7);
	}
	snprintf(names[FILES], sizeof(names[0]), "in");
	entries[FILES].name = names[FILES];
	entries[FILES].kind = FILE_DIRECTORY;
}

static bool
keep_manifest(void *arg, const char *from, size_t count)
{
	(void) arg;
	manifest_bytes = realloc(manifest_bytes, manifest_length + count);
	memcpy(manifest_bytes + manifest_length, from, count);
	manifest_length += count;
	return true;
}

static void
make_inventory(void)
{
	Manifest	manifest;
	ManifestWalRange range = {1, 0x1000028, 0x1000100};
	char		checksum[DOCUMENT_CHECKSUM_SIZE];
	const char *why;
	uint32_t	line;

	manifest_begin(&manifest, 1, 7, keep_manifest, NULL);
	for (int i = 0; i < FILES; i++)
		manifest_add_file(&manifest, entries[i].name, (uint64_t) entries[i].size,
						  (time_t) 1700000000, &entries[i].digest);
	manifest_end_files(&manifest);
	manifest_add_wal_range(&manifest, &range);
	(void) manifest_finish(&manifest, checksum);
	manifest_free(&manifest);
	inventory = inventory_read(manifest_bytes, manifest_length, &why, &line);
	ok(inventory != NULL, "an inventory");
}

static void
open_ring(EngRing *ring)
{
	int32_t		holder;

	memset(ring, 0, sizeof(*ring));
	(void) ring_claim(ring, RING_CLAIM_OWNER, &holder);
	ring_open(ring, 1, 0, INT64_MAX);
}

/* Run a job to its end: 0, or its JET error. */
static int
run_job(EngJob *job, EngRing *ring)
{
	struct timespec pause = {.tv_nsec = 100000};

	eng_job_start(job);
	while (!atomic_load(&ring->finished) &&
		   atomic_load(&ring->state) == RING_OPEN)
		nanosleep(&pause, NULL);
	while (!eng_job_idle(job))
		nanosleep(&pause, NULL);
	return atomic_load(&ring->state) == RING_FAILED ? ring->error.jet : 0;
}

/* Have a stream write some entries to a file; its bytes go to whole. */
static void
write_archive(const Compression *how, const char *name, int count)
{
	EngTarget	target = {.file_mode = 0600};
	uint32_t	order[FILES + 1];
	EngRing		ring;
	EngQueue   *queue;
	EngStream  *stream;
	int			fd;

	unlink(name);
	target.directory = open(".", O_RDONLY | O_DIRECTORY);
	for (int i = 0; i < count; i++)
		order[i] = (uint32_t) (i + FILES + 1 - count);
	queue = eng_queue_new(entries, order, (uint32_t) count);
	stream = eng_stream_new_file(queue, VERIFY_OFF, how, &target, name);
	open_ring(&ring);
	eng_job_open_stream(eng_job(engine, 0), &ring, stream);
	ok(run_job(eng_job(engine, 0), &ring) == 0, "%s: written", name);
	eng_job_close(eng_job(engine, 0));
	eng_stream_free(stream);
	eng_queue_free(queue);
	close(target.directory);
	fd = open(name, O_RDONLY);
	whole_length = (size_t) read(fd, whole, ROOM);
	close(fd);
	digest_bytes(DIGEST_CRC32C, whole, whole_length, &whole_digest);
}

static const char *last_why;

/* Compare what is in 'bytes' with the inventory: 0, or the JET error. */
static int
compare(const char *name, bool listed, bool of_logs)
{
	EngArchive	archive = {.name = name,.listed = listed,.size = whole_length,
	.digest = listed ? whole_digest : (DigestValue) {0},.of_logs = of_logs};
	EngExtract *work;
	EngRing		ring;
	int			fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	int			error;

	if (fd < 0 || write(fd, bytes, length) != (ssize_t) length)
		abort();
	close(fd);
	for (uint32_t i = 0; i < inventory->count; i++)
		atomic_store(&inventory->files[i].seen, false);
	work = eng_extract_new(AT_FDCWD, &archive, NULL, of_logs ? NULL : inventory,
						   ".late");
	open_ring(&ring);
	eng_job_open_extract(eng_job(engine, 0), &ring, work);
	error = run_job(eng_job(engine, 0), &ring);
	eng_job_close(eng_job(engine, 0));
	last_why = work->why;
	eng_extract_free(work);
	return error;
}

static void
take_whole(void)
{
	memcpy(bytes, whole, whole_length);
	length = whole_length;
}

static void
refused(const char *name, const char *what)
{
	int			error = compare(name, false, false);

	ok(error == JET_errReadVerifyFailure, "%s: %s: %d, %s", name, what, error,
	   last_why != NULL ? last_why : "a member");
}

/* Every bit, as far as there are not too many. */
static void
test_flips(const char *name, bool listed)
{
	unsigned	seed = 5;
	int			taken = 0;

	for (int i = 0; i < FLIPS; i++)
	{
		size_t		at = i < 700 ? (size_t) i * whole_length / 700 :
			i < 1100 ? (size_t) (i - 700) : whole_length - 1 - (size_t) (i - 1100);

		at %= whole_length;
		take_whole();
		bytes[at] ^= (char) (1 << next_random(&seed) % 8);
		if (compare(name, listed, false) != JET_errReadVerifyFailure)
		{
			printf("# byte %zu of %zu\n", at, whole_length);
			taken++;
		}
	}
	ok(taken == 0, "%s%s: %d flipped bits are found", name,
	   listed ? ", listed" : "", FLIPS);
}

static void
test_cuts(const char *name, bool listed)
{
	int			taken = 0;

	for (size_t i = 0; i < 300; i++)
	{
		take_whole();
		length = i < 200 && i * 16 < whole_length ? whole_length - 1 - i * 16 :
			i * whole_length / 300;
		taken += compare(name, listed, false) != JET_errReadVerifyFailure;
	}
	ok(taken == 0, "%s%s: cut anywhere", name, listed ? ", listed" : "");
}

/* Where frames begin: the magic number is unlikely elsewhere. */
static size_t
last_frame(const char *magic)
{
	for (size_t at = whole_length - 4; at > 0; at--)
	{
		if (memcmp(whole + at, magic, 4) == 0)
			return at;
	}
	return 0;
}

static void
append(const void *what, size_t count)
{
	memcpy(bytes + length, what, count);
	length += count;
}

static void
test_strange(const char *name, const Compression *how)
{
	static const char zeros[1024];
	static const char skippable[] = {0x50, 0x2A, 0x4D, 0x18, 1, 0, 0, 0, 'x'};

	take_whole();
	ok(compare(name, false, false) == 0, "%s: taken as it is", name);
	ok(inventory_first_unseen(inventory) == NULL, "%s: all of it", name);
	ok(compare(name, true, false) == 0, "%s: also where it is listed", name);
	append("x", 1);
	refused(name, "a byte more");
	take_whole();
	append(zeros, sizeof(zeros));
	refused(name, "zeros behind its end");
	take_whole();
	append(whole, whole_length);
	refused(name, "twice");
	length = 0;
	refused(name, "an empty file");
	if (how->kind == COMPRESS_NONE)
	{
		take_whole();
		length -= 512;
		refused(name, "half an end");
		take_whole();
		length -= 1024;
		refused(name, "no end");
		return;
	}
	take_whole();
	length = last_frame(how->kind == COMPRESS_ZSTD ? "\x28\xB5\x2F\xFD" :
						"\x04\x22\x4D\x18");
	ok(length > 0, "%s: several frames", name);
	refused(name, "without its last frame");
	take_whole();
	append(skippable, sizeof(skippable));
	refused(name, "a frame that is skipped");
}

/* Frames without checksums: as they were made once, and where none may be. */
static void
test_old_frames(void)
{
	Compression none = {COMPRESS_NONE, 0};
	LZ4F_preferences_t plain = {0};

	write_archive(&none, "o.tar", FILES + 1);
	length = ZSTD_compress(bytes, ROOM, whole, whole_length, 1);
	ok(compare("o.tar.zst", false, false) == 0, "zstd without checksums: an old backup");
	whole_length = length;
	digest_bytes(DIGEST_CRC32C, bytes, length, &whole_digest);
	ok(compare("o.tar.zst", true, false) == JET_errReadVerifyFailure,
	   "not where the archive is listed");
	write_archive(&none, "o.tar", FILES + 1);
	length = LZ4F_compressFrame(bytes, ROOM, whole, whole_length, &plain);
	ok(compare("o.tar.lz4", false, false) == 0, "lz4 without checksums: an old backup");
	whole_length = length;
	digest_bytes(DIGEST_CRC32C, bytes, length, &whole_digest);
	ok(compare("o.tar.lz4", true, false) == JET_errReadVerifyFailure,
	   "not where the archive is listed");
}

/* A file that is longer than listed is not even begun to be written. */
static void
test_sizes(void)
{
	Compression zstd = {COMPRESS_ZSTD, 1};
	EngArchive	archive = {.name = "large.tar.zst"};
	EngTarget	target = {.file_mode = 0600};
	EngExtract *work;
	EngRing		ring;
	struct stat st;
	char		path[220];

	unlink(names[1]);
	make_file(FILES, names[1], ROOM / 2);
	write_archive(&zstd, archive.name, 1);
	for (uint32_t i = 0; i < inventory->count; i++)
		atomic_store(&inventory->files[i].seen, false);
	mkdir("out", 0700);
	target.directory = open("out", O_RDONLY | O_DIRECTORY);
	work = eng_extract_new(AT_FDCWD, &archive, &target, inventory, ".late");
	open_ring(&ring);
	eng_job_open_extract(eng_job(engine, 0), &ring, work);
	ok(run_job(eng_job(engine, 0), &ring) == JET_errReadVerifyFailure,
	   "a member that is longer than listed");
	eng_job_close(eng_job(engine, 0));
	eng_extract_free(work);
	close(target.directory);
	snprintf(path, sizeof(path), "out/%s", names[FILES]);
	ok(stat(path, &st) != 0, "nothing of it is written");
}

/* An archive of one file that claims to be one of logs. */
static int
try_log(const char *name, size_t size)
{
	Compression none = {COMPRESS_NONE, 0};

	make_file(FILES, name, size);
	write_archive(&none, "one.tar", 1);
	take_whole();
	unlink(name);
	return compare("one.tar", false, true);
}

static void
test_logs(void)
{
	static const char *const good[] = {
		"backup_label", "tablespace_map.original", "backup_manifest",
		"pg_wal/ese_logs.17", "pg_wal/000000010000000000000001", "pg_wal/00000002.history",
	};
	static const char *const bad[] = {
		"evil.conf", "tablespace_map", "standby.signal", "recovery.signal", "postgresql.auto.conf",
		"pg_wal/evil", "pg_wal/000000010000000000000001.partial", "pg_wal/00000001000000000000000g",
		"pg_wal/ese_logs.", "pg_wal/ese_logs.1x", "pg_wal/archive_status/x.done", "base_1",
	};
	int			right = 0;

	mkdir("pg_wal", 0700);
	mkdir("pg_wal/archive_status", 0700);
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		right += try_log(good[i], 100) == 0;
	ok(right == sizeof(good) / sizeof(good[0]), "what belongs to logs");
	right = 0;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		right += try_log(bad[i], 0) == JET_errReadVerifyFailure;
	ok(right == sizeof(bad) / sizeof(bad[0]), "what does not");
	ok(try_log("pg_wal/archive_status/000000010000000000000001.done", 0) == 0 &&
	   try_log("pg_wal/archive_status/000000010000000000000001.done", 1) != 0,
	   "a status is empty");
	ok(try_log("backup_label", 70000) != 0, "a label is not long");
}

static void
test_way(const Compression *how, const char *name)
{
	write_archive(how, name, FILES + 1);
	test_strange(name, how);
	test_flips(name, true);
	test_cuts(name, true);
	test_cuts(name, false);
	/* compressed bytes may be different and mean the same */
	if (how->kind == COMPRESS_NONE)
		test_flips(name, false);
}

int
main(void)
{
	static const struct
	{
		Compression how;
		const char *name;
	}			ways[] = {
		{{COMPRESS_NONE, 0}, "a.tar"},
		{{COMPRESS_LZ4, 1}, "a.tar.lz4"},
		{{COMPRESS_LZ4, 9}, "b.tar.lz4"},
		{{COMPRESS_ZSTD, 1}, "a.tar.zst"},
		{{COMPRESS_ZSTD, 22}, "b.tar.zst"},
	};
	int			sys_errno = 0;
	char		command[100];

	if (mkdtemp(directory) == NULL || chdir(directory) != 0)
		abort();
	engine = eng_open(3, 1, NULL, &sys_errno);
	eng_begin(engine, 0, DIGEST_CRC32C);
	make_files();
	make_inventory();
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		test_way(&ways[i].how, ways[i].name);
	test_old_frames();
	test_sizes();
	test_logs();
	inventory_free(inventory);
	free(manifest_bytes);
	eng_close(engine, 1000);
	if (chdir("/") != 0)
		abort();
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	if (system(command) != 0)
		return 1;
	return done_testing();
}
