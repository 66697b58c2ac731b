/*
 * Tests of streams: several carry every file once, what they write is a tar,
 * and what was not received goes back to the queue.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/stream.h"
#include "tap.h"

#define FILES		60
#define STREAMS		5
#define FRAMES_EACH 2

static FileEntry entries[FILES];
static uint32_t order[FILES];
static char names[FILES][400];
static EngRing rings[STREAMS];
static EngStream *streams[STREAMS];
static Engine *engine;
static EngQueue *queue;
static char *pool;
static char directory[] = "/tmp/ese_stream_test.XXXXXX";

static void
nap(void)
{
	struct timespec pause = {.tv_nsec = 200000};

	nanosleep(&pause, NULL);
}

/* Files of many sizes; one has a name that needs a pax header. */
static void
make_files(void)
{
	unsigned	seed = 1;

	if (mkdtemp(directory) == NULL || chdir(directory) != 0)
		abort();
	mkdir("in", 0700);
	mkdir("out", 0700);
	for (int i = 0; i < FILES; i++)
	{
		FileEntry  *entry = &entries[i];
		size_t		size = i % 7 == 0 ? 0 : next_random(&seed) % (900 * 1024);
		char	   *bytes = malloc(size + 1);
		int			fd;

		sprintf(names[i], "file%02d", i);
		if (i == 3)
			memset(names[i] + 6, 'x', 200);
		entry->name = names[i];
		entry->kind = i == 5 ? FILE_DIRECTORY : FILE_OTHER;
		order[i] = (uint32_t) i;
		if (i == 5)
		{
			free(bytes);
			continue;
		}
		for (size_t b = 0; b < size; b++)
			bytes[b] = (char) next_random(&seed);
		if (i == 8)
		{
			entry->contents = bytes;	/* from memory */
			entry->size = (int64_t) size;
		}
		if (chdir("in") != 0)
			abort();
		fd = open(names[i], O_WRONLY | O_CREAT | O_TRUNC, 0600);
		if (write(fd, bytes, size) != (ssize_t) size || close(fd) != 0 ||
			chdir("..") != 0)
			abort();
		if (i != 8)
			free(bytes);
	}
	/* one is gone by the time it is opened */
	entries[11].name = "never_there";
	unlink("in/file11");
}

static void
open_stream(int i)
{
	uint32_t	slot[RING_MAX_FRAMES];
	int32_t		holder;

	for (uint32_t s = 0; s < FRAMES_EACH; s++)
		slot[s] = (uint32_t) i * FRAMES_EACH + s;
	streams[i] = eng_stream_new(queue, VERIFY_OFF);
	if (!ring_claim(&rings[i], RING_CLAIM_OWNER, &holder) ||
		!eng_job_open_stream(eng_job(engine, i), &rings[i], streams[i]))
		abort();
	ring_open(&rings[i], (uint32_t) i + 1, 0, INT64_MAX, slot, FRAMES_EACH);
	eng_job_start(eng_job(engine, i));
}

static void
close_stream(int i)
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

/* Write a stream to a file, at most so many frames; returns the bytes. */
static uint64_t
copy_stream(int i, const char *name, int frames)
{
	EngRing    *ring = &rings[i];
	int			fd = open(name, O_WRONLY | O_CREAT | O_APPEND, 0600);
	uint64_t	bytes = 0;
	uint64_t	frame = 0;
	RingPoll	poll = RING_READY;

	for (; frames > 0; frames--, frame++)
	{
		uint32_t	length;
		char	   *data;

		if (ring_retire(ring, frame))
			eng_job_start(eng_job(engine, i));
		while ((poll = ring_poll(ring, frame)) == RING_WAIT)
		{
			eng_job_start(eng_job(engine, i));
			nap();
		}
		if (poll != RING_READY)
			break;
		data = ring_frame(ring, pool, frame, &length);
		if (write(fd, data, length) != (ssize_t) length)
			abort();
		bytes += length;
	}
	close(fd);
	return bytes;
}

static void *
stream_main(void *arg)
{
	int			i = *(int *) arg;
	char		name[64];

	sprintf(name, "../stream%d.tar", i);
	copy_stream(i, name, 1000000);
	return NULL;
}

static void
start(int threads)
{
	int			error = 0;

	memset(rings, 0, sizeof(rings));
	pool = aligned_alloc(4096, (size_t) STREAMS * FRAMES_EACH * ENG_FRAME_SIZE);
	engine = eng_open(threads, STREAMS, pool, &error);
	eng_begin(engine, UINT64_MAX, DIGEST_CRC32C);
	for (int i = 0; i < FILES; i++)
		entries[i].status = FILE_UNREAD;
	queue = eng_queue_new(entries, order, FILES);
}

static void
finish(void)
{
	eng_close(engine, 10000);
	eng_queue_free(queue);
	free(pool);
}

/* Does the extracted file equal the original? */
static bool
same(const char *name)
{
	char		command[1000];

	snprintf(command, sizeof(command), "cmp -s '%s/in/%.390s' '%s/out/%.390s'",
			 directory, name, directory, name);
	return system(command) == 0;
}

static void
check_contents(const char *what)
{
	int			wrong = 0;
	struct stat st;

	for (int i = 0; i < FILES; i++)
	{
		if (i == 5)
			wrong += stat("../out/file05", &st) != 0 || !S_ISDIR(st.st_mode);
		else if (i == 11)
			wrong += stat("../out/never_there", &st) == 0;
		else
			wrong += !same(names[i]);
	}
	ok(wrong == 0, "%s", what);
}

/* Several streams at once. */
static void
test_parallel(void)
{
	pthread_t	threads[STREAMS];
	int			numbers[STREAMS];
	uint32_t	carried = 0;
	int			missing = 0;

	start(2);
	for (int i = 0; i < STREAMS; i++)
		open_stream(i);
	for (int i = 0; i < STREAMS; i++)
	{
		numbers[i] = i;
		pthread_create(&threads[i], NULL, stream_main, &numbers[i]);
	}
	for (int i = 0; i < STREAMS; i++)
		pthread_join(threads[i], NULL);
	ok(eng_queue_waiting(queue) == 0, "the queue is empty");
	for (int i = 0; i < STREAMS; i++)
	{
		carried += streams[i]->member_count;
		for (uint32_t m = 0; m < streams[i]->member_count; m++)
			missing += streams[i]->members[m].outcome == MEMBER_MISSING;
		close_stream(i);
		eng_stream_free(streams[i]);
	}
	ok(carried == FILES, "every file was taken once");
	ok(missing == 1, "the one that is gone is known");
	ok(system("for s in ../stream*.tar; do tar -C ../out -xf $s || exit 1; done") == 0,
	   "tar extracts them all");
	check_contents("every file is as it was");
	finish();
}

/* A broken stream: cut at a member, the rest goes back and comes again. */
static void
test_resume(void)
{
	uint64_t	received;
	uint64_t	keep = 0;
	char		command[100];

	if (system("rm -rf ../out ../stream*.tar && mkdir ../out") != 0)
		abort();
	start(1);
	open_stream(0);
	received = copy_stream(0, "../stream0.tar", 7) - 1000;
	close_stream(0);
	for (int m = (int) streams[0]->member_count - 1; m >= 0; m--)
	{
		StreamMember *member = &streams[0]->members[m];

		if (member->end > received)
			eng_queue_return(queue, member->index);
		else if (member->end > keep)
			keep = member->end;
	}
	eng_stream_free(streams[0]);
	ok(keep > 0 && keep <= received && keep % TAR_BLOCK == 0,
	   "%llu of %llu bytes can be kept", (unsigned long long) keep,
	   (unsigned long long) received);
	sprintf(command, "truncate -s %llu ../stream0.tar", (unsigned long long) keep);
	if (system(command) != 0)
		abort();
	open_stream(1);
	copy_stream(1, "../stream0.tar", 1000000);
	close_stream(1);
	eng_stream_free(streams[1]);
	ok(system("tar -C ../out -xf ../stream0.tar") == 0, "tar extracts the two parts");
	check_contents("nothing is lost");
	finish();
}

static void
test_headers(void)
{
	char		header[TAR_MAX_HEADER];
	char		name[TAR_MAX_NAME];

	ok(tar_header(header, "base/5/1259", false, 0644, 0, 0, 0) == TAR_BLOCK,
	   "a header is one block");
	ok(memcmp(header + 257, "ustar\0" "00", 8) == 0, "of the ustar format");
	ok(tar_header(header, "x", false, UINT64_C(10) << 30, 0, 0, 0) == TAR_BLOCK &&
	   (unsigned char) header[124] == 0x80, "large sizes are in base 256");
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	ok(tar_header(header, name, true, 0, 0, 0, 0) <= TAR_MAX_HEADER,
	   "the longest name has room");
	ok(memcmp(header + TAR_BLOCK, "1035 path=nnn", 13) == 0,
	   "its pax record counts itself");
}

int
main(void)
{
	char		command[100];

	test_headers();
	make_files();
	if (chdir("in") != 0)
		abort();
	test_parallel();
	test_resume();
	free(entries[8].contents);
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	if (system(command) != 0)
		abort();
	return done_testing();
}
