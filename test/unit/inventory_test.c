/*
 * Tests of reading manifests: what manifest.c writes is read back; whatever is
 * changed in it is found, and nothing makes the reader fall over.  And of
 * extracting: what a stream has written comes out as it was, and archives with
 * random bytes are refused.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/extract.h"
#include "engine/inventory.h"
#include "engine/jet.h"
#include "engine/stream.h"
#include "tap.h"

#define FILES		40
#define MUTATIONS	20000
#define BAD_ARCHIVES 300

static char directory[] = "/tmp/ese_inventory_test.XXXXXX";
static FileEntry entries[FILES];
static char names[FILES][64];
static char text[64 * 1024];
static size_t text_length;
static char checksum[DOCUMENT_CHECKSUM_SIZE];

static bool
keep_text(void *arg, const char *bytes, size_t length)
{
	(void) arg;
	if (text_length + length > sizeof(text))
		return false;
	memcpy(text +text_length, bytes, length);
	text_length += length;
	return true;
}

static void
write_manifest(int version)
{
	Manifest	manifest;
	ManifestWalRange range = {2, 0x16000028, UINT64_C(0x1FF000100)};

	text_length = 0;
	manifest_begin(&manifest, version, UINT64_C(18446744073709551557),
				   keep_text, NULL);
	for (int i = 0; i < FILES; i++)
		manifest_add_file(&manifest, entries[i].name, (uint64_t) entries[i].size,
						  (time_t) 1700000000, &entries[i].digest);
	manifest_end_files(&manifest);
	manifest_add_wal_range(&manifest, &range);
	ok(manifest_finish(&manifest, checksum), "version %d: written", version);
	manifest_free(&manifest);
}

static Inventory *
read_text(void)
{
	const char *why = NULL;
	uint32_t	line;

	return inventory_read(text, text_length, &why, &line);
}

static void
test_round_trip(int version)
{
	Inventory  *inventory;
	int			good = 0;

	write_manifest(version);
	inventory = read_text();
	ok(inventory != NULL, "version %d: read", version);
	if (inventory == NULL)
		return;
	for (int i = 0; i < FILES; i++)
	{
		InventoryFile *file = inventory_find(inventory, entries[i].name);

		good += file != NULL && file->size == (uint64_t) entries[i].size &&
			inventory_matches(file, file->size, &entries[i].digest) &&
			!inventory_matches(file, file->size + 1, &entries[i].digest);
	}
	ok(good == FILES, "version %d: all files", version);
	ok(inventory->range_count == 1 && inventory->ranges[0].timeline == 2 &&
	   inventory->ranges[0].start_lsn == 0x16000028 &&
	   inventory->ranges[0].end_lsn == UINT64_C(0x1FF000100),
	   "version %d: the WAL range", version);
	ok(inventory->system_identifier ==
	   (version == 2 ? UINT64_C(18446744073709551557) : 0),
	   "version %d: the system identifier", version);
	ok(strcmp(inventory->checksum, checksum) == 0, "version %d: its checksum", version);
	ok(inventory_find(inventory, "nothing") == NULL, "version %d: no other", version);
	ok(inventory_first_unseen(inventory) != NULL, "version %d: nothing is seen", version);
	inventory_free(inventory);
}

/* Every changed byte, and every cut, is found. */
static void
test_mutations(void)
{
	unsigned	seed = 7;
	int			accepted = 0;
	size_t		whole = text_length;

	for (int i = 0; i < MUTATIONS; i++)
	{
		size_t		at = next_random(&seed) % text_length;
		char		before = text[at];

		text[		at] = (char) (before ^ (1 + next_random(&seed) % 255));

		if (i % 3 == 0)
			text_length = next_random(&seed) % whole;
		accepted += read_text() != NULL;
		text[		at] = before;

		text_length = whole;
	}
	ok(accepted == 0, "%d changed manifests are refused", MUTATIONS);
}

static void
test_paths(void)
{
	static const char *const good[] = {"a", "a/b", "..a", "a..", "a/...", "base/1/2"};
	static const char *const bad[] = {"", "/", "/a", "..", "../a", "a/..", "a/../b", "a//b", "a/", "./a", "a/."};
	int			right = 0;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		right += path_is_inside(good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		right += !path_is_inside(bad[i]);
	ok(right == 17, "paths that lead outside");
}

/* ---- archives */

static void
make_files(void)
{
	unsigned	seed = 1;

	mkdir("in", 0700);
	for (int i = 0; i < FILES; i++)
	{
		size_t		size = i % 5 == 0 ? 0 : next_random(&seed) % (300 * 1024);
		char	   *bytes = malloc(size + 1);
		int			fd;

		snprintf(names[i], sizeof(names[i]), "in/file%02d%s", i,
				 i == 7 ? " \xC3\xA4" : i == 8 ? " \xFF" : "");
		entries[i].name = names[i];
		entries[i].kind = FILE_OTHER;
		entries[i].size = (int64_t) size;
		for (size_t k = 0; k < size; k++)
			bytes[k] = (char) (next_random(&seed) % 4 + 'a');
		fd = open(names[i], O_WRONLY | O_CREAT, 0600);
		if (fd < 0 || write(fd, bytes, size) != (ssize_t) size)
			abort();
		close(fd);
		digest_bytes(DIGEST_CRC32C, bytes, size, &entries[i].digest);
		free(bytes);
	}
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

static void
write_archive(Engine *engine, const EngTarget *target, const Compression *how,
			  const char *name)
{
	uint32_t	order[FILES];
	EngRing		ring;
	EngQueue   *queue;
	EngStream  *stream;

	for (uint32_t i = 0; i < FILES; i++)
		order[i] = i;
	queue = eng_queue_new(entries, order, FILES);
	stream = eng_stream_new_file(queue, VERIFY_OFF, how, target, name);
	open_ring(&ring);
	eng_job_open_stream(eng_job(engine, 0), &ring, stream);
	ok(run_job(eng_job(engine, 0), &ring) == 0, "%s: written", name);
	eng_job_close(eng_job(engine, 0));
	eng_stream_free(stream);
	eng_queue_free(queue);
}

/* Extract, or only compare: 0, or the JET error. */
static int
extract(Engine *engine, int from, const char *name, const EngTarget *target,
		const Inventory *inventory)
{
	EngArchive	archive = {.name = name};
	EngExtract *work = eng_extract_new(from, &archive, target, inventory,
									   ".late");
	EngRing		ring;
	int			error;

	if (work == NULL)
		abort();
	open_ring(&ring);
	eng_job_open_extract(eng_job(engine, 0), &ring, work);
	error = run_job(eng_job(engine, 0), &ring);
	eng_job_close(eng_job(engine, 0));
	eng_extract_free(work);
	return error;
}

static void
forget_seen(Inventory *inventory)
{
	for (uint32_t i = 0; i < inventory->count; i++)
		atomic_store(&inventory->files[i].seen, false);
}

/* An archive with some bytes changed, or cut: never taken for a whole one. */
static void
test_bad_archives(Engine *engine, int from, const char *name,
				  Inventory *inventory)
{
	unsigned	seed = 3;
	char		path[64];
	char	   *bytes;
	struct stat st;
	int			taken = 0;
	int			fd = openat(from, name, O_RDONLY);

	if (fd < 0 || fstat(fd, &st) != 0)
		abort();
	bytes = malloc((size_t) st.st_size);
	if (read(fd, bytes, (size_t) st.st_size) != st.st_size)
		abort();
	close(fd);
	snprintf(path, sizeof(path), "bad.%s", name);
	for (int i = 0; i < BAD_ARCHIVES; i++)
	{
		size_t		length = (size_t) st.st_size;
		int			error;

		if (i % 4 == 0)
			length = next_random(&seed) % length;
		for (int k = 0; k < 4 && i % 4 != 0; k++)
			bytes[next_random(&seed) % length] ^= (char) (1 << next_random(&seed) % 8);
		fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		if (fd < 0 || write(fd, bytes, length) != (ssize_t) length)
			abort();
		close(fd);
		fd = openat(from, name, O_RDONLY);
		if (fd < 0 || read(fd, bytes, (size_t) st.st_size) != st.st_size)
			abort();
		close(fd);
		forget_seen(inventory);
		error = extract(engine, AT_FDCWD, path, NULL, inventory);
		/* what is whole may lack no more than the end of the archive */
		taken += error == 0 && inventory_first_unseen(inventory) == NULL &&
			length + 2048 < (size_t) st.st_size;
	}
	unlink(path);
	free(bytes);
	ok(taken == 0, "%s: %d damaged ones", name, BAD_ARCHIVES);
}

static void
test_archives(void)
{
	static const struct
	{
		Compression how;
		const char *name;
	}			ways[] = {
		{{COMPRESS_NONE, 0}, "a.tar"},
		{{COMPRESS_LZ4, 1}, "a.tar.lz4"},
		{{COMPRESS_ZSTD, 1}, "a.tar.zst"},
		{{COMPRESS_ZSTD, 12}, "b.tar.zst"},
	};
	int			sys_errno = 0;
	Engine	   *engine = eng_open(3, 1, NULL, &sys_errno);
	EngTarget	out = {.file_mode = 0600};
	Inventory  *inventory;

	mkdir("out", 0700);
	out.directory = open("out", O_RDONLY | O_DIRECTORY);
	eng_begin(engine, 0, DIGEST_CRC32C);
	write_manifest(1);
	inventory = read_text();
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
	{
		EngTarget	again = {.file_mode = 0600};

		write_archive(engine, &out, &ways[i].how, ways[i].name);
		mkdir("again", 0700);
		again.directory = open("again", O_RDONLY | O_DIRECTORY);
		forget_seen(inventory);
		ok(extract(engine, out.directory, ways[i].name, &again, inventory) == 0,
		   "%s: extracted", ways[i].name);
		ok(inventory_first_unseen(inventory) == NULL, "%s: whole", ways[i].name);
		ok(system("diff -r in again/in") == 0, "%s: as it was", ways[i].name);
		ok(extract(engine, out.directory, ways[i].name, NULL, inventory) ==
		   JET_errReadVerifyFailure, "%s: no file may come twice", ways[i].name);
		close(again.directory);
		if (system("rm -rf again") != 0)
			abort();
		test_bad_archives(engine, out.directory, ways[i].name, inventory);
	}
	inventory_free(inventory);
	close(out.directory);
	eng_close(engine, 1000);
}

int
main(void)
{
	if (mkdtemp(directory) == NULL || chdir(directory) != 0)
		abort();
	make_files();
	test_round_trip(1);
	test_round_trip(2);
	test_mutations();
	test_paths();
	test_archives();
	if (chdir("/") != 0)
		abort();
	snprintf(text, sizeof(text), "rm -rf %s", directory);
	if (system(text) != 0)
		return 1;
	return done_testing();
}
