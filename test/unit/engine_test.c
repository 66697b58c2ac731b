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
	ring_set_frames(&rings[i], slot, FRAMES_EACH);
	ring_open(&rings[i], (uint32_t) i + 1, base, size);
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

/* Wait for the answer to a request, playing the owner. */
static void
await_answer(int i)
{
	while (ring_request_poll(&rings[i]) == RING_WAIT)
	{
		eng_job_start(eng_job(engine, i));
		nap();
	}
}

static void
ask(int i, RingRequest request, RingMark mark, uint64_t position)
{
	ring_request(&rings[i], request, mark, position);
	await_answer(i);
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
	RingMark	which;

	open_engine(1);
	open_handle(0, from_file(fd), size, 0, NULL);
	good = await_frame(0, 1) == RING_READY;
	(void) ring_retire(&rings[0], 1);
	ask(0, RING_MARK, RING_MARK_PIECE, mark);
	good = good && read_rest(0, mark, contents);
	ok(good && !ring_holds(&rings[0], mark) &&
	   ring_find(&rings[0], mark, &which) == RING_MARKED &&
	   which == RING_MARK_PIECE, "read past the mark");

	/* the file changes: what is read again is what the digest is about */
	for (int i = 0; i < 100; i++)
		contents[mark + 8192 + (size_t) i] = 'x';
	if (pwrite(fd, contents + mark, 16384, (off_t) mark) != 16384)
		abort();
	ask(0, RING_REWIND, RING_MARK_PIECE, mark);
	good = read_rest(0, mark, contents);
	settle(0);
	ok(good, "read again from the mark");
	ok(digest_is(0, size, contents), "the digest is that of the second read");

	/* what was not marked, is not gone back to; the job does not fail of it */
	ask(0, RING_MARK, RING_MARK_PIECE, 0);
	ok(ring_find(&rings[0], 0, &which) == RING_LOST,
	   "a place the ring does not hold is not marked");
	ask(0, RING_REWIND, RING_MARK_PIECE, 0);
	ok(atomic_load(&rings[0].state) == RING_OPEN &&
	   digest_is(0, size, contents), "and there is no way back to it");
	close_handle(0);
	free(contents);
	close_engine();
}

/* Frames that are not there yet cannot be given back. */
static void
test_retire(void)
{
	size_t		size = 10 * ENG_FRAME_SIZE;
	char	   *contents;

	open_engine(1);
	open_handle(0, from_file(make_file(size, &contents)), size, 0, NULL);
	settle(0);
	(void) ring_retire(&rings[0], 9);
	ok(atomic_load(&rings[0].consumed) == FRAMES_EACH,
	   "no more is given back than was produced");
	eng_job_start(eng_job(engine, 0));
	ok(await_frame(0, FRAMES_EACH) == RING_READY, "and the job goes on");
	close_handle(0);
	free(contents);
	close_engine();
}

/* A client that is interrupted anywhere, and what it has received. */
typedef struct Client
{
	int			handle;
	unsigned	seed;
	uint64_t	size;
	char	   *piece;
	char	   *copy;
} Client;

static bool
interrupted(Client *client)
{
	return next_random(&client->seed) % 6 == 0;
}

/* One call that reads a piece, as reader.c does it; it may end anywhere. */
static void
read_piece(Client *client, uint64_t start, uint64_t length)
{
	EngRing    *ring = &rings[client->handle];
	RingReady	ready;
	bool		large;
	int			asked = 0;

	await_answer(client->handle);
	while ((ready = ring_prepare(ring, start, length)) == RING_ASKED)
	{
		/* position, start, and there: more would go on for ever */
		if (++asked > 3 || interrupted(client))
			break;
		await_answer(client->handle);
	}
	if (ready == RING_ASKED && asked <= 3)
		return;
	if (ready == RING_CANNOT || asked > 3)
		abort();
	large = ring_is_large(ring, start, length);
	(void) ring_retire(ring, ring_frame_of(ring, start));
	for (uint64_t at = start; at < start + length;)
	{
		uint64_t	frame = ring_frame_of(ring, at);
		uint64_t	end = ring_frame_end(ring, frame);

		if (end > start + length)
			end = start + length;
		if (large)
			(void) ring_retire(ring, frame);
		if (interrupted(client))
			return;
		if (await_frame(client->handle, frame) != RING_READY)
			abort();
		memcpy(client->piece + (at - start), ring_bytes(ring, pool, at),
			   end - at);
		at = end;
	}
	memcpy(client->copy + start, client->piece, length);
	ring_delivered(ring, start, length);
}

/* The next piece, or the previous one again, of any length. */
static void
read_some(Client *client)
{
	static const uint64_t pages[] = {1, 20, 70, 70, 100, 160};
	EngRing    *ring = &rings[client->handle];
	uint64_t	start;
	uint64_t	length = pages[next_random(&client->seed) % 6] * 8192;
	RingMark	mark;

	await_answer(client->handle);
	start = atomic_load(&ring->position);
	if (ring->piece_valid && next_random(&client->seed) % 3 == 0 &&
		ring_find(ring, ring->piece_start, &mark) != RING_LOST)
		start = ring->piece_start;
	if (length > client->size - start)
		length = client->size - start;
	if (length > 0)
		read_piece(client, start, length);
}

/* Somebody writes to the file that is read. */
static void
change_file(Client *client, int fd)
{
	for (int i = 0; i < 20; i++)
	{
		char		byte = (char) next_random(&client->seed);
		off_t		at = next_random(&client->seed) %
			(unsigned) client->size;

		if (pwrite(fd, &byte, 1, at) != 1)
			abort();
	}
}

/*
 * Pieces larger than the ring, interrupted anywhere, while the file changes:
 * at any time the digest is that of what was delivered, and it is never wrong
 * where to go on.
 */
static void
test_interrupted(void)
{
	Client		client = {.seed = 20261125,.size = 12 * ENG_FRAME_SIZE + 77};
	char	   *contents;
	int			fd = make_file(client.size, &contents);
	int			wrong = 0;
	int			lost = 0;
	int			ends = 0;

	client.piece = malloc(client.size);
	client.copy = malloc(client.size);
	open_engine(2);
	for (int round = 0; round < 60; round++)
	{
		Digest		state;
		uint64_t	base = 0;
		EngRing    *ring = &rings[0];
		RingMark	mark;

		/* closed after some calls, and gone on with */
		do
		{
			bool		resumed = base > 0;

			open_handle(0, from_file(dup(fd)), client.size, base,
						resumed ? &state : NULL);
			if (resumed)
				digest_free(&state);
			for (int n = next_random(&client.seed) % 12; n >= 0; n--)
			{
				read_some(&client);
				change_file(&client, fd);
				await_answer(0);
				lost += ring_find(ring, atomic_load(&ring->position),
								  &mark) == RING_LOST;
			}
			ring_close(ring);
			settle(0);
			base = atomic_load(&ring->position);
			digest_init(&state, DIGEST_CRC32C);
			wrong += !digest_is(0, base, client.copy) ||
				!eng_job_digest(eng_job(engine, 0), base, &state);
			close_handle(0);
		} while (base > 0 && base < client.size && round % 2 == 0);
		ends += base == client.size;
		digest_free(&state);
	}
	ok(wrong == 0, "the digest is that of what was delivered: %d are not",
	   wrong);
	ok(lost == 0, "the position is in the ring or marked: %d times not", lost);
	ok(ends > 10, "%d files were read to their end", ends);
	close_engine();
	free(client.piece);
	free(client.copy);
	free(contents);
	close(fd);
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

/*
 * A stop while a page that seems damaged is looked at again: that says nothing
 * about the page, which may just have been written.
 */
static void
test_stop_while_looking(void)
{
	EngFinding	finding;
	int			fd;
	char	   *contents = make_pages(4, &fd);
	int			booked = 0;

	damage(contents, fd, 2);
	for (int try = 0; try < 20; try++)
	{
		open_engine(1);
		open_handle(0, from_relation(dup(fd), try % 2 ? VERIFY_REPORT : VERIFY_ERROR),
					4 * ENG_PAGE_SIZE, 0, NULL);
		while (eng_bytes_read(engine) == 0)
			;
		for (int i = 0; i < 10; i++)
			nap();
		if (try % 4 < 2)
			eng_stop(engine);
		ring_close(&rings[0]);
		settle(0);
		booked += rings[0].error.jet != 0 ||
			eng_next_finding(engine, &finding);
		close_handle(0);
		if (!eng_close(engine, 10000))
			abort();
		free(pool);
	}
	/* a test that came late has found the looking done */
	ok(booked < 10, "a page that was looked at when the job was stopped, is not booked as damaged: %d of 20 are",
	   booked);
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
	test_retire();
	test_interrupted();
	test_resume();
	test_verification();
	test_stop_while_looking();
	test_errors();
	test_claims();
	test_stop();
	return done_testing();
}
