/*
 * Tests of the engine: threads fill rings, readers empty them.  Under
 * ThreadSanitizer these are also the proof that the ring protocol holds.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/engine.h"
#include "engine/jet.h"
#include "engine/page.h"
#include "tap.h"

#define HANDLES 24
#define FRAMES_EACH 2

static char *pool;
static EngRing rings[HANDLES];
static Engine *engine;

static void
nap(void)
{
	struct timespec pause = {.tv_nsec = 200000};

	nanosleep(&pause, NULL);
}

static void
open_engine(int threads)
{
	int			error = 0;

	pool = aligned_alloc(4096, (size_t) HANDLES * FRAMES_EACH * ENG_FRAME_SIZE);
	memset(rings, 0, sizeof(rings));
	engine = eng_open(threads, HANDLES, pool, &error);
	eng_begin(engine, UINT64_MAX, DIGEST_CRC32C);
}

static void
close_engine(void)
{
	ok(eng_close(engine, 10000), "all threads end");
	free(pool);
}

/* A file of random bytes; the name is removed at once. */
static int
make_file(size_t size, char **contents)
{
	char		name[] = "/tmp/ese_engine_test.XXXXXX";
	int			fd = mkstemp(name);
	unsigned	seed = (unsigned) size + 1;

	unlink(name);
	*contents = malloc(size + 1);
	for (size_t i = 0; i < size; i++)
		(*contents)[i] = (char) next_random(&seed);
	if (write(fd, *contents, size) != (ssize_t) size)
		abort();
	return fd;
}

static EngSource
from_file(int fd)
{
	EngSource	source = {.fd = fd};

	return source;
}

static EngSource
from_relation(int fd, VerifyMode verify)
{
	EngSource	source = {.fd = fd,.verify = verify,.tag = 5};

	return source;
}

static EngSource
from_memory(const char *memory)
{
	EngSource	source = {.fd = -1,.memory = memory};

	return source;
}

/* Open handle number i on a file. */
static void
open_handle(int i, EngSource source, uint64_t size, uint64_t base,
			const Digest *resume)
{
	uint32_t	slot[RING_MAX_FRAMES];
	int32_t		holder;

	for (uint32_t s = 0; s < FRAMES_EACH; s++)
		slot[s] = (uint32_t) i * FRAMES_EACH + s;
	if (!ring_claim(&rings[i], RING_CLAIM_OWNER, &holder) ||
		!eng_job_open(eng_job(engine, i), &rings[i], &source, resume))
		abort();
	ring_open(&rings[i], (uint32_t) i + 1, base, size, slot, FRAMES_EACH);
	eng_job_start(eng_job(engine, i));
}

static void
close_handle(int i)
{
	int32_t		holder;

	ring_close(&rings[i]);
	while (!eng_job_idle(eng_job(engine, i)))
		nap();
	eng_job_close(eng_job(engine, i));
	while (!ring_claim(&rings[i], RING_CLAIM_OWNER, &holder))
		nap();
	ring_free(&rings[i]);
}

/* Wait for a frame, playing the owner that starts parked jobs. */
static RingPoll
await_frame(int i, uint64_t frame)
{
	RingPoll	poll;

	while ((poll = ring_poll(&rings[i], frame)) == RING_WAIT)
	{
		if (eng_job_wants_lsn_limit(eng_job(engine, i)))
			eng_set_lsn_limit(engine, 1000);
		eng_job_start(eng_job(engine, i));
		nap();
	}
	return poll;
}

/* Read from a position to the end; false when something differs. */
static bool
read_rest(int i, uint64_t at, const char *contents)
{
	EngRing    *ring = &rings[i];

	while (at < ring->size)
	{
		uint64_t	frame = ring_frame_of(ring, at);
		uint64_t	end = ring_frame_end(ring, frame);

		if (ring_retire(ring, frame))
			eng_job_start(eng_job(engine, i));
		if (await_frame(i, frame) != RING_READY ||
			memcmp(ring_bytes(ring, pool, at), contents + at, end - at) != 0)
			return false;
		at = end;
		atomic_store(&ring->position, at);
	}
	return true;
}

static bool
digest_is(int i, uint64_t at, const char *contents)
{
	Digest		state;
	Digest		scratch;
	DigestValue value;
	uint32_t	crc = digest_crc32c(contents, at);
	bool		same;

	digest_init(&state, DIGEST_CRC32C);
	digest_init(&scratch, DIGEST_CRC32C);
	same = eng_job_digest(eng_job(engine, i), at, &state) &&
		digest_value(&state, &scratch, &value) &&
		memcmp(value.bytes, &crc, sizeof(crc)) == 0;
	digest_free(&state);
	digest_free(&scratch);
	return same;
}

static void
settle(int i)
{
	while (!eng_job_idle(eng_job(engine, i)))
		nap();
}

static void
test_sizes(void)
{
	static const size_t sizes[] = {0, 1, 8191, 8192, ENG_FRAME_SIZE - 1,
	ENG_FRAME_SIZE, ENG_FRAME_SIZE + 1, 5 * ENG_FRAME_SIZE + 77};

	open_engine(2);
	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++)
	{
		char	   *contents;
		int			fd = make_file(sizes[s], &contents);
		bool		good;

		open_handle(0, from_file(fd), sizes[s], 0, NULL);
		good = read_rest(0, 0, contents);
		settle(0);
		ok(good && digest_is(0, sizes[s], contents),
		   "a file of %zu bytes, and its digest", sizes[s]);
		close_handle(0);
		free(contents);
	}
	close_engine();
}

/* One reader of the parallel test. */
typedef struct Reader
{
	int			handle;
	const char *contents;
	bool		good;
} Reader;

static Reader
new_reader(int handle, const char *contents)
{
	Reader		reader = {handle, contents, false};

	return reader;
}

static void *
reader_main(void *arg)
{
	Reader	   *reader = arg;
	EngRing    *ring = &rings[reader->handle];
	uint64_t	at = 0;
	int32_t		holder;

	reader->good = ring_claim(ring, 100 + reader->handle, &holder);
	while (at < ring->size && reader->good)
	{
		uint64_t	frame = ring_frame_of(ring, at);
		uint64_t	end = ring_frame_end(ring, frame);
		RingPoll	poll;

		(void) ring_retire(ring, frame);
		while ((poll = ring_poll(ring, frame)) == RING_WAIT)
			nap();
		reader->good = poll == RING_READY &&
			memcmp(ring_bytes(ring, pool, at), reader->contents + at,
				   end - at) == 0;
		at = end;
	}
	ring_release(ring, 100 + reader->handle);
	return NULL;
}

/*
 * Many handles on two threads; one of them is never read and must not keep
 * the others from finishing.
 */
static void
test_many_handles(void)
{
	size_t		size = 6 * ENG_FRAME_SIZE + 12345;
	char	   *contents[HANDLES];
	Reader		readers[HANDLES];
	pthread_t	threads[HANDLES];
	int			live = HANDLES - 1;
	int			good = 0;

	open_engine(2);
	for (int i = 0; i < HANDLES; i++)
		open_handle(i, from_file(make_file(size, &contents[i])), size, 0, NULL);
	for (int i = 1; i < HANDLES; i++)
	{
		readers[i] = new_reader(i, contents[i]);
		pthread_create(&threads[i], NULL, reader_main, &readers[i]);
	}
	/* the owner's part: start what has room again */
	while (live > 0)
	{
		live = 0;
		for (int i = 1; i < HANDLES; i++)
		{
			EngRing    *ring = &rings[i];

			if (atomic_load(&ring->produced) * ENG_FRAME_SIZE >= ring->size)
				continue;
			live++;
			if (atomic_load(&ring->produced) - atomic_load(&ring->consumed) <
				ring->nframes)
				eng_job_start(eng_job(engine, i));
		}
		eng_drain_events(engine);
		nap();
	}
	for (int i = 1; i < HANDLES; i++)
	{
		pthread_join(threads[i], NULL);
		good += readers[i].good;
	}
	ok(good == HANDLES - 1, "%d readers, and one handle nobody reads", good);
	ok(atomic_load(&rings[0].produced) == FRAMES_EACH,
	   "the one that is not read has filled its ring and waits");
	for (int i = 0; i < HANDLES; i++)
	{
		close_handle(i);
		free(contents[i]);
	}
	close_engine();
}

/* Going back to a place the ring has lost, with the right digest after it. */
static void
test_rewind(void)
{
	size_t		size = 10 * ENG_FRAME_SIZE;
	uint64_t	mark = ENG_FRAME_SIZE + 3 * 8192;
	char	   *contents;
	int			fd = make_file(size, &contents);
	bool		good;

	open_engine(1);
	open_handle(0, from_file(fd), size, 0, NULL);
	good = await_frame(0, 1) == RING_READY;
	(void) ring_retire(&rings[0], 1);
	ring_request(&rings[0], RING_MARK, mark);
	while (ring_request_poll(&rings[0]) == RING_WAIT)
	{
		eng_job_start(eng_job(engine, 0));
		nap();
	}
	good = good && read_rest(0, mark, contents);
	ok(good && !ring_holds(&rings[0], mark), "read past the mark");

	/* the file changes: what is read again is what the digest is about */
	for (int i = 0; i < 100; i++)
		contents[mark + 8192 + (size_t) i] = 'x';
	if (pwrite(fd, contents + mark, 16384, (off_t) mark) != 16384)
		abort();
	ring_request(&rings[0], RING_REWIND, mark);
	while (ring_request_poll(&rings[0]) == RING_WAIT)
	{
		eng_job_start(eng_job(engine, 0));
		nap();
	}
	good = read_rest(0, mark, contents);
	settle(0);
	ok(good, "read again from the mark");
	ok(digest_is(0, size, contents), "the digest is that of the second read");
	close_handle(0);
	free(contents);
	close_engine();
}

/* Closing in the middle of a frame and going on there later. */
static void
test_resume(void)
{
	size_t		size = 3 * ENG_FRAME_SIZE + 5;
	uint64_t	at = ENG_FRAME_SIZE + 8192;
	char	   *contents;
	Digest		state;
	bool		good;

	open_engine(1);
	open_handle(0, from_file(make_file(size, &contents)), size, 0, NULL);
	good = await_frame(0, 1) == RING_READY;
	(void) ring_retire(&rings[0], 1);
	ring_close(&rings[0]);
	settle(0);
	digest_init(&state, DIGEST_CRC32C);
	good = good && eng_job_digest(eng_job(engine, 0), at, &state);
	close_handle(0);
	free(contents);

	open_handle(0, from_file(make_file(size, &contents)), size, at, &state);
	good = good && read_rest(0, at, contents);
	settle(0);
	ok(good && digest_is(0, size, contents), "a file read in two goes");
	digest_free(&state);
	close_handle(0);
	free(contents);
	close_engine();
}

static void
test_stop(void)
{
	size_t		size = 8 * ENG_FRAME_SIZE;
	char	   *contents;

	open_engine(2);
	eng_set_rate(engine, 4 * ENG_FRAME_SIZE);
	for (int i = 0; i < 4; i++)
	{
		open_handle(i, from_file(make_file(size, &contents)), size, 0, NULL);
		free(contents);
	}
	nap();
	eng_stop(engine);
	for (int ms = 0; eng_running(engine) > 0 && ms < 50000; ms++)
		nap();
	ok(eng_running(engine) == 0, "threads that wait for the rate limit stop");
	eng_job_start(eng_job(engine, 0));
	ok(eng_job_idle(eng_job(engine, 0)), "and nothing starts after that");
	for (int i = 0; i < 4; i++)
		close_handle(i);

	/* a thread in a system call comes back after the next backup has begun */
	eng_set_rate(engine, 0);
	eng_begin(engine, UINT64_MAX, DIGEST_CRC32C);
	eng_set_hold(engine, true);
	open_handle(0, from_file(make_file(size, &contents)), size, 0, NULL);
	while (eng_running(engine) == 0)
		nap();
	eng_stop(engine);
	ring_close(&rings[0]);
	eng_begin(engine, UINT64_MAX, DIGEST_CRC32C);
	ok(!eng_job_idle(eng_job(engine, 0)), "a stuck job is not idle");
	ok(!eng_close(engine, 10), "closing does not wait for it for ever");
	eng_set_hold(engine, false);
	settle(0);
	ok(atomic_load(&rings[0].produced) == 0, "it delivers nothing any more");
	free(contents);
	close_engine();
}

/* A relation file of good pages. */
static char *
make_pages(int pages, int *fd)
{
	char		name[] = "/tmp/ese_engine_test.XXXXXX";
	char	   *contents = aligned_alloc(4096, (size_t) pages * ENG_PAGE_SIZE);
	unsigned	seed = 9;

	*fd = mkstemp(name);
	unlink(name);
	for (int p = 0; p < pages; p++)
	{
		char	   *page = contents + (size_t) p * ENG_PAGE_SIZE;
		uint16_t	sum;

		for (int i = 0; i < ENG_PAGE_SIZE; i++)
			page[i] = (char) next_random(&seed);
		memset(page, 0, 8);
		page[14] = 1;
		sum = page_checksum(page, (uint32_t) p);
		memcpy(page + 8, &sum, 2);
	}
	if (write(*fd, contents, (size_t) pages * ENG_PAGE_SIZE) < 0)
		abort();
	return contents;
}

static void
damage(char *contents, int fd, int page)
{
	contents[(size_t) page * ENG_PAGE_SIZE + 5000] ^= 1;
	if (pwrite(fd, contents + (size_t) page * ENG_PAGE_SIZE, ENG_PAGE_SIZE,
			   (off_t) page * ENG_PAGE_SIZE) != ENG_PAGE_SIZE)
		abort();
}

static void
test_verification(void)
{
	EngFinding	finding;
	int			fd;
	char	   *contents = make_pages(100, &fd);
	int			findings = 0;

	open_engine(1);
	open_handle(0, from_relation(dup(fd), VERIFY_ERROR), 100 * ENG_PAGE_SIZE, 0, NULL);
	ok(read_rest(0, 0, contents), "good pages are read");
	close_handle(0);

	damage(contents, fd, 70);
	damage(contents, fd, 71);
	open_handle(0, from_relation(dup(fd), VERIFY_ERROR), 100 * ENG_PAGE_SIZE, 0, NULL);
	ok(!read_rest(0, 0, contents), "a damaged page ends the file");
	ok(atomic_load(&rings[0].state) == RING_FAILED &&
	   rings[0].error.jet == JET_errReadVerifyFailure &&
	   rings[0].error.block == 70, "with its block number");
	ok(atomic_load(&rings[0].position) == 2 * ENG_FRAME_SIZE,
	   "what came before it was delivered");
	close_handle(0);

	open_handle(0, from_relation(dup(fd), VERIFY_REPORT), 100 * ENG_PAGE_SIZE, 0, NULL);
	ok(read_rest(0, 0, contents), "or is delivered and reported");
	while (eng_next_finding(engine, &finding))
		findings += finding.tag == 5 && (finding.block == 70 || finding.block == 71);
	ok(findings == 2, "two findings");
	close_handle(0);

	/* a page of the future: the limit is asked for before judging it */
	contents[(size_t) 3 * ENG_PAGE_SIZE + 4] = 100; /* LSN 0/64 */
	damage(contents, fd, 3);
	eng_begin(engine, 50, DIGEST_CRC32C);
	eng_set_lsn_limit(engine, 60);
	open_handle(0, from_relation(dup(fd), VERIFY_ERROR), 60 * ENG_PAGE_SIZE, 0, NULL);
	ok(read_rest(0, 0, contents), "a page written since is good, once the limit is known");
	close_handle(0);
	contents[(size_t) 3 * ENG_PAGE_SIZE + 5] = 100; /* LSN 0/6464 */
	damage(contents, fd, 3);
	open_handle(0, from_relation(dup(fd), VERIFY_ERROR), 60 * ENG_PAGE_SIZE, 0, NULL);
	ok(!read_rest(0, 0, contents) && rings[0].error.block == 3,
	   "one beyond the newest WAL is not");
	close_handle(0);
	close_engine();
	free(contents);
	close(fd);
}

static void
test_errors(void)
{
	int			fd = open("/tmp", O_RDONLY | O_DIRECTORY);
	static const char memory[] = "in memory";
	char	   *contents;

	open_engine(1);
	open_handle(0, from_file(fd), 100, 0, NULL);
	ok(await_frame(0, 0) == RING_BROKEN &&
	   rings[0].error.jet == JET_errDiskIO && rings[0].error.sys_errno == EISDIR,
	   "a read error is kept with its errno");
	close_handle(0);

	open_handle(0, from_memory(memory), sizeof(memory), 0, NULL);
	ok(read_rest(0, 0, memory), "a file in memory");
	close_handle(0);

	/* truncated after it was opened: zeros, and they count */
	fd = make_file(10000, &contents);
	contents = realloc(contents, 400000);
	memset(contents + 10000, 0, 390000);
	open_handle(0, from_file(fd), 400000, 0, NULL);
	ok(read_rest(0, 0, contents), "what was cut off is read as zeros");
	settle(0);
	ok(digest_is(0, 400000, contents), "and digested as such");
	close_handle(0);
	free(contents);
	close_engine();
}

static void
test_claims(void)
{
	int32_t		holder;
	static const char memory[] = "x";

	open_engine(1);
	open_handle(0, from_memory(memory), 1, 0, NULL);
	ok(ring_claim(&rings[0], 7, &holder), "a claim");
	ok(!ring_claim(&rings[0], 8, &holder) && holder == 7,
	   "a second one is refused, and says who has it");
	ring_release(&rings[0], 8);
	ok(!ring_claim(&rings[0], 8, &holder), "only its holder gives it up");
	ring_release(&rings[0], 7);
	ok(ring_claim(&rings[0], 8, &holder), "then it is free");
	ring_release(&rings[0], 8);
	close_handle(0);
	close_engine();
}

int
main(void)
{
	test_sizes();
	test_many_handles();
	test_rewind();
	test_resume();
	test_verification();
	test_errors();
	test_claims();
	test_stop();
	return done_testing();
}
