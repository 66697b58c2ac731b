/*
 * Tests of work on paths that may hang: a task that is cancelled does nothing
 * more, tells that it is done, and is undone; a removal stays inside its
 * directory, whatever is put in its way.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/atomic.h"
#include "engine/closing.h"
#include "engine/destination.h"
#include "engine/jet.h"
#include "engine/removal.h"
#include "tap.h"

static char top[] = "/tmp/pathwork_test.XXXXXX";

/* What a task waits for, as for a disk. */
static _Atomic bool hangs;
static _Atomic bool is_hanging;

typedef struct Counting
{
	PathTask	task;
	int			done;
	bool		undone;
}			Counting;

static char *
in_top(const char *name)
{
	static char paths[8][256];
	static int	next;
	char	   *path = paths[next++ % 8];

	snprintf(path, sizeof(paths[0]), "%s/%s", top, name);
	return path;
}

static bool
exists(const char *name)
{
	struct stat st;

	return lstat(in_top(name), &st) == 0;
}

static void
touch(const char *name)
{
	close(open(in_top(name), O_WRONLY | O_CREAT, 0600));
}

static bool
count(PathTask *task, TargetError *error)
{
	Counting   *counting = (Counting *) task;

	while (path_step() && counting->done < 3)
	{
		counting->done++;
		path_point("counted");
		while (atomic_load(&hangs))
		{
			atomic_store(&is_hanging, true);
			usleep(1000);
		}
	}
	return counting->done == 3 ||
		target_fail(error, JET_errBackupAbortByServer, "stopped");
}

static void
uncount(PathTask *task)
{
	((Counting *) task)->undone = true;
}

static void
wait_for(PathTask *task)
{
	while (!path_is_done(task))
		usleep(1000);
}

static void
test_task(void)
{
	Counting	one = {.task = {.run = count}};
	Counting	two = {.task = {.run = count}};
	Counting	three = {.task = {.run = count,.has_points = true}};
	int			points = 0;

	ok(path_start(&one.task), "a task starts");
	wait_for(&one.task);
	ok(one.task.good && one.done == 3, "it comes to its end");
	ok(path_steps(&one.task) == 4, "its steps are counted");

	atomic_store(&hangs, true);
	ok(path_start(&two.task), "another one");
	while (!atomic_load(&is_hanging))
		usleep(1000);
	path_cancel(&two.task);
	usleep(10000);
	ok(!path_is_done(&two.task), "hangs, though it is cancelled");
	atomic_store(&hangs, false);
	wait_for(&two.task);
	ok(!two.task.good && two.done == 1, "and does nothing more when it returns");
	ok(two.task.error.jet == JET_errBackupAbortByServer, "which is its error");

	ok(path_start(&three.task), "one with points");
	while (!path_is_done(&three.task))
	{
		const char *point = path_waits_at(&three.task);

		if (point == NULL)
			continue;
		points += strcmp(point, "counted") == 0;
		path_go_on(&three.task);
	}
	ok(points == 3, "waits at each for the owner");
	ok(path_step() && !path_cancelled(), "outside of a task nothing is cancelled");
}

/* The task of a closing, run to its end. */
static bool
run_closing(Closing *closing)
{
	bool		good;

	if (!path_start(&closing->task))
		return false;
	wait_for(&closing->task);
	good = closing->task.good;
	closing_free(closing);
	return good;
}

static void
test_undo(void)
{
	Closing    *closing = closing_new();
	Counting   *good = calloc(1, sizeof(Counting));
	bool		needed;

	good->task.good = true;
	good->task.undo = uncount;
	ok(!closing_is_needed(closing), "a closing of nothing is not needed");
	closing->undone = &good->task;
	needed = closing_is_needed(closing);
	ok(needed && run_closing(closing), "one undoes tasks and frees them");
}

static void
test_removal(void)
{
	TargetError error;
	Target		target;
	int			fd;

	mkdir(in_top("other"), 0700);
	touch("other/precious");
	ok(target_make(&target, in_top("target"), "backup", "i", &error), "a target is made");
	mkdir(in_top("target/base"), 0700);
	touch("target/base/1");
	ok(symlink(in_top("other"), in_top("target/base/link")) == 0, "with a link to elsewhere");
	ok(rename(in_top("target"), in_top("moved")) == 0 &&
	   symlink(in_top("other"), in_top("target")) == 0, "and a link takes its place");
	ok(!target_remove(&target, &error), "its removal says that it has been moved");
	ok(exists("other/precious"), "what the links lead to stays");
	ok(!exists("moved/base") && exists("moved"), "what was written goes");

	ok(target_make(&target, in_top("second"), "backup", "i", &error), "another target");
	touch("second/file");
	unlink(in_top("second/" TARGET_MARKER));
	ok(target_remove(&target, &error) && !exists("second"), "is removed as a whole");

	mkdir(in_top("full"), 0700);
	touch("full/a");
	fd = open(in_top("full"), O_RDONLY | O_DIRECTORY);
	ok(removal_empty(fd, in_top("full"), "a", &error) && exists("full/a"), "one file is spared");
	ok(!removal_of_directory(fd, in_top("full"), &error) && error.jet == JET_errBackupDirectoryNotEmpty,
	   "a directory with files stays");
	close(fd);
}

static bool
run_destination(Destination *destination)
{
	if (!path_start(&destination->task))
		return false;
	wait_for(&destination->task);
	return destination->task.good;
}

static void
test_atomic(void)
{
	Destination *first = destination_new(in_top("atomic"));
	Destination *second = destination_new(in_top("atomic"));
	Closing    *closing = closing_new();

	first->atomic_kind = second->atomic_kind = true;
	ok(run_destination(first) && exists("atomic/temp/" TARGET_MARKER), "an atomic target is made");
	ok(!run_destination(second) && second->task.error.jet == JET_errFileAccessDenied,
	   "while it is there, there is no other: %s", second->task.error.text);
	free(second);
	/* as after a hang: it has been made, but nobody wants it */
	closing->undone = &first->task;
	ok(run_closing(closing), "it is undone");
	ok(!exists("atomic/temp") && !exists("atomic"), "and nothing of it stays");
}

int
main(void)
{
	char		command[64];

	if (mkdtemp(top) == NULL || chdir(top) != 0)
		return 1;
	/* as a data directory has it */
	mkdir("data", 0700);
	mkdir("data/pg_wal", 0700);
	mkdir("data/pg_tblspc", 0700);
	if (chdir("data") != 0)
		return 1;
	test_task();
	test_undo();
	test_removal();
	test_atomic();
	snprintf(command, sizeof(command), "rm -rf %s", top);
	return system(command) != 0 || done_testing();
}
