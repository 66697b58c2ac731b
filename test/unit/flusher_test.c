/*
 * Tests of the flusher: what is written is made durable on the way, an error
 * of that fails the writer or the sync, and neither a stop nor the next backup
 * has to do with a flush that is under way.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/flusher.h"
#include "engine/jet.h"
#include "engine/job.h"
#include "engine/writer.h"
#include "tap.h"

#define FILE_SIZE (100 * 1024 * 1024)

static _Atomic int flushes;		/* since the last start() */
static _Atomic int flushed;		/* of all, those that have come to an end */
static _Atomic int flush_error;
static _Atomic bool hold_flushes;
static _Atomic bool is_held;

static FileEntry entry = {.name = "large",.kind = FILE_OTHER};
static EngTarget target = {.file_mode = 0600};
static Engine *engine;
static EngQueue *queue;
static EngWriter *writer;
static EngRing rings[2];

static void
nap(void)
{
	struct timespec pause = {.tv_nsec = 200000};

	nanosleep(&pause, NULL);
}

/* The engine's calls come here instead of to libc. */
int
fdatasync(int fd)
{
	int			error;

	(void) fd;
	atomic_fetch_add(&flushes, 1);
	while (atomic_load(&hold_flushes))
	{
		atomic_store(&is_held, true);
		nap();
	}
	error = atomic_load(&flush_error);
	atomic_fetch_add(&flushed, 1);
	errno = error;
	return error == 0 ? 0 : -1;
}

static EngJob *
open_job(int i)
{
	int32_t		holder;

	if (!ring_claim(&rings[i], RING_CLAIM_OWNER, &holder))
		abort();
	ring_open(&rings[i], (uint32_t) i + 1, 0, INT64_MAX);
	return eng_job(engine, i);
}

static void
start(void)
{
	uint32_t	first = 0;

	atomic_store(&flushes, 0);
	atomic_store(&is_held, false);
	unlink("out/large");
	eng_begin(engine, 0, DIGEST_NONE);
	queue = eng_queue_new(&entry, &first, 1);
	writer = eng_writer_new(queue, VERIFY_OFF, &target);
	if (!eng_job_open_writer(open_job(0), &rings[0], writer))
		abort();
	eng_job_start(eng_job(engine, 0));
}

/* As an owner does it, until the job has come to an end. */
static void
run(int i)
{
	EngJob	   *job = eng_job(engine, i);

	while (!atomic_load(&rings[i].finished) &&
		   atomic_load(&rings[i].state) == RING_OPEN)
	{
		nap();
		eng_job_start(job);
	}
	while (!eng_job_idle(job))
		nap();
}

static void
close_job(int i)
{
	ring_close(&rings[i]);
	while (!eng_job_idle(eng_job(engine, i)))
		nap();
	eng_job_close(eng_job(engine, i));
	ring_free(&rings[i]);
}

static void
finish(void)
{
	close_job(0);
	eng_writer_free(writer);
	eng_queue_free(queue);
}

static void
start_sync(void)
{
	if (!eng_job_open_sync(open_job(1), &rings[1], &target))
		abort();
	eng_job_start(eng_job(engine, 1));
}

static bool
is_failed(int i)
{
	return atomic_load(&rings[i].state) == RING_FAILED &&
		rings[i].error.jet == JET_errDiskIO && rings[i].error.writing &&
		rings[i].error.sys_errno == EIO;
}

static void
wait_until_held(void)
{
	while (!atomic_load(&is_held))
		nap();
}

static void
test_flushes(void)
{
	start();
	run(0);
	ok(atomic_load(&rings[0].finished) && atomic_load(&flushes) > 0,
	   "a large file is flushed while it is written");
	start_sync();
	run(1);
	ok(atomic_load(&rings[1].finished), "and synced at the end");
	close_job(1);
	finish();
}

static void
test_errors(void)
{
	/* the first flush is held until the whole file is written */
	atomic_store(&flush_error, EIO);
	atomic_store(&hold_flushes, true);
	start();
	run(0);
	ok(atomic_load(&rings[0].finished), "a writer does not wait for a flush");
	start_sync();
	for (int i = 0; i < 20; i++)
	{
		nap();
		eng_job_start(eng_job(engine, 1));
	}
	ok(!atomic_load(&rings[1].finished) &&
	   atomic_load(&rings[1].state) == RING_OPEN, "the sync waits for it");
	atomic_store(&hold_flushes, false);
	run(1);
	ok(is_failed(1), "and fails as it has failed");
	close_job(1);
	finish();

	/* now it has failed before the file is written */
	start();
	flusher_note(eng_flusher(engine), target.directory, FILE_SIZE);
	while (flusher_error(eng_flusher(engine)) == 0)
		nap();
	run(0);
	ok(is_failed(0), "a writer fails after a flush has failed");
	finish();

	atomic_store(&flush_error, 0);
	start();
	run(0);
	ok(atomic_load(&rings[0].finished), "the next backup begins without the error");
	finish();
}

static void
test_stop(void)
{
	int			before;

	atomic_store(&hold_flushes, true);
	start();
	wait_until_held();
	eng_stop(engine);
	while (!eng_job_idle(eng_job(engine, 0)))
		nap();
	ok(eng_running(engine) == 0, "a stop does not wait for a flush");
	finish();

	start();
	run(0);
	start_sync();
	run(1);
	ok(atomic_load(&rings[1].finished), "nor does the next backup");
	before = atomic_load(&flushed);
	atomic_store(&flush_error, EIO);
	atomic_store(&hold_flushes, false);
	while (atomic_load(&flushed) == before)
		nap();
	atomic_store(&flush_error, 0);
	/* it takes another one only when it is through with that */
	while (atomic_load(&flushes) == 0)
	{
		flusher_note(eng_flusher(engine), target.directory, FILE_SIZE);
		nap();
	}
	ok(flusher_error(eng_flusher(engine)) == 0, "its error is not theirs");
	close_job(1);
	finish();

	atomic_store(&hold_flushes, true);
	start();
	wait_until_held();
	eng_stop(engine);
	ok(!eng_close(engine, 10), "an engine does not end during a flush");
	atomic_store(&hold_flushes, false);
	ok(eng_close(engine, 5000), "but after it");
	eng_writer_free(writer);
	eng_queue_free(queue);
}

int
main(void)
{
	char		directory[] = "/tmp/ese_flusher_test.XXXXXX";
	char		command[100];
	int			failure = 0;
	int			fd;

	if (mkdtemp(directory) == NULL || chdir(directory) != 0 ||
		mkdir("out", 0700) != 0)
		abort();
	fd = open("large", O_WRONLY | O_CREAT, 0600);
	if (ftruncate(fd, FILE_SIZE) != 0 || close(fd) != 0)
		abort();
	target.directory = open("out", O_RDONLY | O_DIRECTORY);
	engine = eng_open(1, 2, NULL, &failure);
	if (engine == NULL)
		abort();

	test_flushes();
	test_errors();
	test_stop();

	close(target.directory);
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	if (chdir("/") != 0 || system(command) != 0)
		abort();
	return done_testing();
}
