/*
 * Tests of streams and writers: several carry every file once, what they
 * write is a tar, compressed or not, or a directory, and what was not received
 * goes back to the queue.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/jet.h"
#include "engine/stream.h"
#include "engine/writer.h"
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

/* Every way to compress, and how it is undone. */
static const struct
{
	Compression how;
	const char *untar;
}			ways[] = {
	{{COMPRESS_NONE, 0}, "tar -C ../out -xf %s"},
	{{COMPRESS_LZ4, 1}, "lz4 -dcq %s | tar -C ../out -xf -"},
	{{COMPRESS_LZ4, 9}, "lz4 -dcq %s | tar -C ../out -xf -"},
	{{COMPRESS_ZSTD, 1}, "tar -C ../out --zstd -xf %s"},
	{{COMPRESS_ZSTD, 9}, "tar -C ../out --zstd -xf %s"},
};

#define WAYS (sizeof(ways) / sizeof(ways[0]))

static size_t way;				/* the one being tested */

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
			bytes[b] = (char) (i % 3 == 0 ? b / 1000 : next_random(&seed));
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
	streams[i] = eng_stream_new(queue, VERIFY_OFF, &ways[way].how);
	if (!ring_claim(&rings[i], RING_CLAIM_OWNER, &holder) ||
		!eng_job_open_stream(eng_job(engine, i), &rings[i], streams[i]))
		abort();
	ring_set_frames(&rings[i], slot, FRAMES_EACH);
	ring_open(&rings[i], (uint32_t) i + 1, 0, INT64_MAX);
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

/* Extract archives into a fresh ../out. */
static bool
untar(const char *archives)
{
	char		command[500];
	char		one[200];

	snprintf(one, sizeof(one), ways[way].untar, "$s");
	snprintf(command, sizeof(command),
			 "rm -rf ../out && mkdir ../out && for s in %s; do %s || exit 1; done",
			 archives, one);
	return system(command) == 0;
}

static void
remove_output(void)
{
	if (system("rm -rf ../out ../stream*.tar && mkdir ../out") != 0)
		abort();
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

	remove_output();
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
		carried += streams[i]->intake.member_count;
		for (uint32_t m = 0; m < streams[i]->intake.member_count; m++)
			missing += streams[i]->intake.members[m].outcome == MEMBER_MISSING;
		close_stream(i);
		eng_stream_free(streams[i]);
	}
	ok(carried == FILES, "every file was taken once");
	ok(missing == 1, "the one that is gone is known");
	ok(untar("../stream*.tar"), "tar extracts them all");
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

	remove_output();
	start(1);
	open_stream(0);
	received = copy_stream(0, "../stream0.tar", 7) - 1000;
	close_stream(0);
	for (int m = (int) streams[0]->intake.member_count - 1; m >= 0; m--)
	{
		EngMember  *member = &streams[0]->intake.members[m];

		if (member->end > received)
			eng_queue_return(queue, member->index);
		else if (member->end > keep)
			keep = member->end;
	}
	eng_stream_free(streams[0]);
	ok(keep > 0 && keep <= received && (way > 0 || keep % TAR_BLOCK == 0),
	   "%llu of %llu bytes can be kept", (unsigned long long) keep,
	   (unsigned long long) received);
	sprintf(command, "truncate -s %llu ../stream0.tar", (unsigned long long) keep);
	if (system(command) != 0)
		abort();
	open_stream(1);
	copy_stream(1, "../stream0.tar", 1000000);
	close_stream(1);
	eng_stream_free(streams[1]);
	ok(untar("../stream0.tar"), "tar extracts the two parts");
	check_contents("nothing is lost");
	finish();
}

/* Whoever gives files back when: they come again in their old order. */
static void
test_queue(void)
{
	static const uint32_t back[] = {3, 0, 7, 1, 5, 6, 2};
	uint32_t	index;
	bool		good = true;

	queue = eng_queue_new(entries, order, 8);
	for (uint32_t i = 0; i < 8; i++)
		good = eng_queue_take(queue, &index) && index == i && good;
	for (uint32_t i = 0; i < sizeof(back) / sizeof(back[0]); i++)
		eng_queue_return(queue, back[i]);
	for (uint32_t i = 0; i < 8; i++)
	{
		if (i != 4)
			good = eng_queue_take(queue, &index) && index == i && good;
	}
	ok(good && !eng_queue_take(queue, &index),
	   "files that were given back come in their old order");
	eng_queue_free(queue);
}

/* What closing a stream that is opening a file makes of that file. */
static void
test_close_while_opening(void)
{
	EngMember  *member;

	remove_output();
	start(1);
	eng_set_hold_open(engine, true);
	open_stream(0);
	while (eng_running(engine) == 0 || eng_queue_waiting(queue) == FILES)
		nap();
	ring_close(&rings[0]);
	eng_set_hold_open(engine, false);
	close_stream(0);
	member = &streams[0]->intake.members[0];
	ok(streams[0]->intake.member_count == 1 &&
	   member->outcome == MEMBER_SENT && member->end == UINT64_MAX &&
	   atomic_load(&streams[0]->intake.files_done) == 0,
	   "a file that was being opened is unfinished, and not unreadable");
	eng_queue_return(queue, member->index);
	eng_stream_free(streams[0]);
	open_stream(1);
	copy_stream(1, "../stream1.tar", 1000000);
	close_stream(1);
	eng_stream_free(streams[1]);
	ok(untar("../stream1.tar"), "tar extracts another stream");
	check_contents("it has carried that file too");
	finish();
}

/* Jobs that write: to a directory, or to files. */
static EngTarget target = {.file_mode = 0600};
static EngWriter *writers[STREAMS];

static bool
job_is_over(int i)
{
	return eng_job_idle(eng_job(engine, i)) &&
		(atomic_load(&rings[i].finished) ||
		 atomic_load(&rings[i].state) != RING_OPEN);
}

static void
open_ring(int i)
{
	int32_t		holder;

	if (!ring_claim(&rings[i], RING_CLAIM_OWNER, &holder))
		abort();
	ring_open(&rings[i], (uint32_t) i + 1, 0, INT64_MAX);
}

static void
start_writers(int count, bool archives)
{
	target.directory = open("../out", O_RDONLY | O_DIRECTORY);
	mkdir("../out/file05", 0700);
	for (int i = 0; i < count; i++)
	{
		char		name[32];
		bool		good;

		open_ring(i);
		sprintf(name, "data.%d.tar", i + 1);
		if (archives)
		{
			streams[i] = eng_stream_new_file(queue, VERIFY_OFF, &ways[way].how,
											 &target, name);
			good = eng_job_open_stream(eng_job(engine, i), &rings[i], streams[i]);
		}
		else
		{
			writers[i] = eng_writer_new(queue, VERIFY_OFF, &target);
			good = eng_job_open_writer(eng_job(engine, i), &rings[i], writers[i]);
		}
		if (!good)
			abort();
		eng_job_start(eng_job(engine, i));
	}
}

static void
close_writers(int count, bool archives)
{
	for (int i = 0; i < count; i++)
	{
		while (!job_is_over(i) && eng_queue_waiting(queue) > 0)
			nap();
		ring_close(&rings[i]);
		while (!eng_job_idle(eng_job(engine, i)))
			nap();
		eng_job_close(eng_job(engine, i));
		if (archives)
			eng_stream_free(streams[i]);
		else
			eng_writer_free(writers[i]);
	}
	close(target.directory);
}

static void
wait_for_writers(int count)
{
	for (int i = 0; i < count; i++)
	{
		while (!job_is_over(i))
			nap();
	}
}

static void
test_archives(void)
{
	struct stat st;

	remove_output();
	start(2);
	start_writers(STREAMS, true);
	wait_for_writers(STREAMS);
	close_writers(STREAMS, true);
	rmdir("../out/file05");
	ok(system("mv ../out/data.*.tar ..") == 0 && untar("../data.*.tar"),
	   "archives written by %d jobs", STREAMS);
	check_contents("hold every file");
	if (system("rm ../data.*.tar") != 0)
		abort();

	/* nothing is left in the queue: no archive is made */
	remove_output();
	start_writers(1, true);
	wait_for_writers(1);
	ok(stat("../out/data.1.tar", &st) != 0, "without files there is no archive");
	close_writers(1, true);
	finish();
}

static void
test_writers(void)
{
	EngTarget	sync_target;
	uint64_t	bytes = 0;

	/* the queue of writers has no directories; file06 is in it twice */
	remove_output();
	order[5] = order[6];
	start(2);
	order[5] = 5;
	start_writers(1, false);
	wait_for_writers(1);
	ok(atomic_load(&rings[0].state) == RING_FAILED &&
	   rings[0].error.jet == JET_errFileAccessDenied && rings[0].error.writing,
	   "a file that is there already is not written over");
	close_writers(1, false);
	finish();

	remove_output();
	start(2);
	eng_queue_free(queue);
	queue = eng_queue_new(entries, order + 6, FILES - 6);
	start_writers(3, false);
	wait_for_writers(3);
	for (int i = 0; i < 3; i++)
		bytes += atomic_load(&writers[i]->intake.bytes_done);
	ok(bytes == eng_bytes_read(engine), "progress is told");
	close_writers(3, false);
	eng_queue_free(queue);
	queue = eng_queue_new(entries, order, 5);
	start_writers(2, false);
	wait_for_writers(2);
	close_writers(2, false);
	check_contents("a directory written by several jobs");

	sync_target.directory = open("../out", O_RDONLY | O_DIRECTORY);
	open_ring(0);
	if (!eng_job_open_sync(eng_job(engine, 0), &rings[0], &sync_target))
		abort();
	eng_job_start(eng_job(engine, 0));
	wait_for_writers(1);
	ok(atomic_load(&rings[0].finished), "it can be synced");
	eng_job_close(eng_job(engine, 0));
	close(sync_target.directory);
	finish();
}

static void
test_full_disk(void)
{
	struct rlimit limit = {100 * 1024, RLIM_INFINITY};

	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &limit);
	for (int archives = 0; archives < 2; archives++)
	{
		remove_output();
		start(1);
		start_writers(1, archives);
		wait_for_writers(1);
		ok(atomic_load(&rings[0].state) == RING_FAILED &&
		   rings[0].error.jet == JET_errDiskFull && rings[0].error.writing,
		   "a full disk fails the job");
		close_writers(1, archives);
		finish();
	}
	limit.rlim_cur = RLIM_INFINITY;
	setrlimit(RLIMIT_FSIZE, &limit);
}

/*
 * A file that can be opened but not read: one of the kernel's own, which
 * says so for a device that has no speed.
 */
static void
test_unreadable(void)
{
	char		name[] = "/sys/class/net/lo/speed";
	FileEntry	broken = {.name = name,.kind = FILE_OTHER};
	uint32_t	first = 0;
	struct stat st;

	if (stat(name, &st) != 0 || st.st_size == 0)
	{
		ok(true, "# SKIP no file that cannot be read");
		return;
	}
	remove_output();
	start(1);
	eng_queue_free(queue);
	queue = eng_queue_new(&broken, &first, 1);
	start_writers(1, true);
	wait_for_writers(1);
	ok(atomic_load(&rings[0].state) == RING_FAILED &&
	   rings[0].error.jet == JET_errDiskIO && !rings[0].error.writing &&
	   rings[0].error.sys_errno != 0, "a file that cannot be read fails the job");
	close_writers(1, true);
	finish();
}

/* Stopped at some moment: every job parks, everything can be given back. */
static void
test_stop(void)
{
	unsigned	seed = 7;
	int			late = 0;

	for (int i = 0; i < 40; i++)
	{
		struct timespec pause = {.tv_nsec = next_random(&seed) % 5000000};

		remove_output();
		start(2);
		start_writers(3, i % 2);
		nanosleep(&pause, NULL);
		eng_stop(engine);
		for (int ms = 0; eng_running(engine) > 0 && ms < 5000; ms++)
			nap();
		late += eng_running(engine) > 0;
		for (int w = 0; w < 3; w++)
			ring_close(&rings[w]);
		for (int w = 0; w < 3; w++)
		{
			eng_job_close(eng_job(engine, w));
			if (i % 2)
				eng_stream_free(streams[w]);
			else
				eng_writer_free(writers[w]);
		}
		close(target.directory);
		finish();
	}
	ok(late == 0, "a stop ends all jobs");
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
	test_queue();
	for (way = 0; way < WAYS; way++)
	{
		printf("# %s, level %d\n", compress_name(ways[way].how.kind),
			   ways[way].how.level);
		test_parallel();
		test_resume();
		test_close_while_opening();
		test_archives();
		test_stop();
	}
	way = 0;
	test_writers();
	test_full_disk();
	test_unreadable();
	free(entries[8].contents);
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	if (system(command) != 0)
		abort();
	return done_testing();
}
