/*-------------------------------------------------------------------------
 *
 * search.c
 *	  Tasks on a backup that is read: find it; read what lies in it.
 *
 *-------------------------------------------------------------------------
 */
#include "search.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "atomic.h"
#include "documentfile.h"
#include "jet.h"
#include "target.h"

/* More than 100 million files. */
#define MANIFEST_MAX_LENGTH UINT64_C(0x400000000)

static bool
has_manifest(const char *path)
{
	return target_has_file(path, "backup_manifest");
}

static bool
check_directory(const char *path, TargetError *error)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return target_fail_errno(error, "access", path);
	if (!S_ISDIR(st.st_mode))
		return target_fail(error, JET_errInvalidPath,
						   "\"%s\" is not a directory", path);
	return true;
}

/* Is one there, or in a directory of an atomic one? */
static bool
find_backup(Search *search, TargetError *error)
{
	char		found[PATH_SIZE];

	if (!check_directory(search->path, error))
		return false;
	if (target_has_file(search->path, TARGET_MARKER))
		return target_fail(error, JET_errRestoreOfNonBackupDatabase,
						   "the backup in \"%s\" is not complete", search->path);
	if (has_manifest(search->path) || target_has_file(search->path, "logs."))
		return true;
	if (!atomic_find(search->path, found))
		return target_fail(error, JET_errRestoreOfNonBackupDatabase,
						   "there is no backup in \"%s\"", search->path);
	strcpy(search->path, found);
	return true;
}

static bool
run_search(PathTask *task, TargetError *error)
{
	Search	   *search = (Search *) task;

	if (!find_backup(search, error))
		return false;
	search->tar = !has_manifest(search->path);
	search->directory = open(search->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return search->directory >= 0 ||
		target_fail_errno(error, "open directory", search->path);
}

static void
undo_search(PathTask *task)
{
	close(((Search *) task)->directory);
}

Search *
search_new(const char *path)
{
	Search	   *search = calloc(1, sizeof(Search));

	if (search == NULL)
		return NULL;
	search->task.run = run_search;
	search->task.undo = undo_search;
	snprintf(search->task.path, PATH_SIZE, "%s", path);
	snprintf(search->path, PATH_SIZE, "%s", path);
	search->directory = -1;
	return search;
}

/* The contents of an open file. */
static bool
read_bytes(FileReading *reading, int fd, TargetError *error)
{
	struct stat st;
	ssize_t		n = 1;

	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) ||
		(uint64_t) st.st_size > reading->most)
		return target_fail(error, JET_errReadVerifyFailure,
						   "\"%s\" in \"%s\" is no file of a backup",
						   reading->name, reading->task.path);
	reading->bytes = malloc((size_t) st.st_size + 1);
	if (reading->bytes == NULL)
		return target_fail(error, JET_errOutOfMemory, "memory is out");
	while (reading->length < (size_t) st.st_size && n > 0 && path_step())
	{
		n = read(fd, reading->bytes + reading->length,
				 (size_t) st.st_size - reading->length);
		reading->length += n > 0 ? (size_t) n : 0;
	}
	reading->bytes[reading->length] = '\0';
	return n >= 0 ||
		target_fail_in(error, "read file", reading->task.path, reading->name);
}

static bool
run_reading(PathTask *task, TargetError *error)
{
	FileReading *reading = (FileReading *) task;
	int			fd = openat(reading->directory, reading->name,
							O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	bool		good;

	if (fd < 0)
	{
		reading->absent = errno == ENOENT;
		return target_fail_in(error, "open file", task->path, reading->name);
	}
	good = read_bytes(reading, fd, error);
	close(fd);
	return good;
}

static void
release_reading(PathTask *task)
{
	free(((FileReading *) task)->bytes);
}

FileReading *
file_reading_new(int directory, const char *path, const char *name,
				 uint64_t most)
{
	FileReading *reading = calloc(1, sizeof(FileReading));

	if (reading == NULL)
		return NULL;
	reading->task.run = run_reading;
	reading->task.release = release_reading;
	snprintf(reading->task.path, PATH_SIZE, "%s", path);
	snprintf(reading->name, PATH_SIZE, "%s", name);
	reading->directory = directory;
	reading->most = most;
	return reading;
}

static bool
fail_to_load(int sys_errno, const DocumentProblem *problem, const char *path,
			 TargetError *error)
{
	if (sys_errno == 0)
		return target_fail(error, JET_errReadVerifyFailure,
						   "the backup manifest in \"%s\" is damaged (line %u): %s",
						   path, 0, problem->why);
	errno = sys_errno;
	(void) target_fail_errno(error, "read the backup manifest in", path);
	if (sys_errno == ENOENT)
		error->jet = JET_errFileNotFound;
	return false;
}

static bool
run_inventory_reading(PathTask *task, TargetError *error)
{
	InventoryReading *reading = (InventoryReading *) task;
	DocumentProblem problem;
	const char *why;
	uint32_t	line;
	size_t		length;
	int			sys_errno;
	char	   *bytes = document_load(reading->directory, "backup_manifest",
									  MANIFEST_MAX_LENGTH, &length, &sys_errno,
									  &problem);

	if (bytes == NULL)
		return fail_to_load(sys_errno, &problem, task->path, error);
	reading->inventory = inventory_read(bytes, length, &why, &line);
	free(bytes);
	return reading->inventory != NULL ||
		target_fail(error, JET_errReadVerifyFailure,
					"the backup manifest in \"%s\" is damaged (line %u): %s",
					task->path, line, why);
}

static void
release_inventory(PathTask *task)
{
	Inventory  *inventory = ((InventoryReading *) task)->inventory;

	if (inventory != NULL)
		inventory_free(inventory);
}

InventoryReading *
inventory_reading_new(int directory, const char *path)
{
	InventoryReading *reading = calloc(1, sizeof(InventoryReading));

	if (reading == NULL)
		return NULL;
	reading->task.run = run_inventory_reading;
	reading->task.release = release_inventory;
	snprintf(reading->task.path, PATH_SIZE, "%s", path);
	reading->directory = directory;
	return reading;
}

static bool
run_chain_reading(PathTask *task, TargetError *error)
{
	ChainReading *reading = (ChainReading *) task;
	ChainProblem problem;

	if (reading->manifests ?
		logchain_read_manifests(&reading->chain, reading->directory, &problem) :
		logchain_read_index(&reading->chain, reading->directory, reading->tar,
							&problem))
		return true;
	return target_fail(error, problem.jet, "%s", problem.why);
}

static void
release_chain(PathTask *task)
{
	logchain_clear(&((ChainReading *) task)->chain);
}

ChainReading *
chain_reading_new(int directory, const char *path)
{
	ChainReading *reading = calloc(1, sizeof(ChainReading));

	if (reading == NULL)
		return NULL;
	reading->task.run = run_chain_reading;
	reading->task.release = release_chain;
	snprintf(reading->task.path, PATH_SIZE, "%s", path);
	reading->directory = directory;
	return reading;
}
