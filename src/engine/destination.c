/*-------------------------------------------------------------------------
 *
 * destination.c
 *	  Finding, or making, the directory that a backup is written to; and what
 *	  makes it a backup in the end.
 *
 *-------------------------------------------------------------------------
 */
#include "destination.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "jet.h"

/* A full backup has a directory of its own. */
static bool
make_target(Destination *destination, const char *path, TargetError *error)
{
	if (!target_check(path, error) ||
		!target_make(&destination->target, path, "backup",
					 destination->instance_name, error))
		return false;
	destination->target.tar = destination->tar;
	return true;
}

/* An atomic one has it in the given one, and another name at the end. */
static bool
make_atomic_target(Destination *destination, TargetError *error)
{
	char		temp[PATH_SIZE];

	if (!target_join(temp, destination->path, ATOMIC_TEMP, error) ||
		!target_check_place(destination->path, error) ||
		!atomic_prepare(&destination->atomic, destination->path, error) ||
		!make_target(destination, temp, error))
		return false;
	if (destination->atomic.made)
		strcpy(destination->target.parent_made, destination->path);
	return true;
}

/*
 * An incremental one goes to where the full one is.  That of an atomic one may
 * have moved out of the way of another, which has failed.
 */
static bool
find_atomic_target(Destination *destination, char *path, TargetError *error)
{
	char		new[PATH_SIZE];
	char		found[PATH_SIZE];

	if (!target_join(new, destination->path, ATOMIC_NEW, error) ||
		!atomic_lock(&destination->atomic, destination->path, error))
		return false;
	if (strcmp(destination->chain_location, new) == 0 &&
		atomic_find(destination->path, found))
	{
		strcpy(destination->chain_location, found);
		strcpy(path, found);
	}
	return true;
}

static bool
take_up_target(Destination *destination, TargetError *error)
{
	char		path[PATH_SIZE];

	strcpy(path, destination->path);
	if (destination->atomic_kind &&
		!find_atomic_target(destination, path, error))
		return false;
	if (destination->chain_location[0] != '\0' && destination->elsewhere_id != 0)
		return target_fail(error, JET_errMissingFileToBackup,
						   "the logs of backup %lld are not in \"%s\": they were truncated when it was read over SQL",
						   destination->elsewhere_id,
						   destination->chain_location);
	return target_reuse(&destination->target, path,
						destination->chain_location, error);
}

static bool
find_target(PathTask *task, TargetError *error)
{
	Destination *destination = (Destination *) task;

	if (destination->incremental ? take_up_target(destination, error) :
		destination->atomic_kind ? make_atomic_target(destination, error) :
		make_target(destination, destination->path, error))
		return true;
	atomic_unlock(&destination->atomic);
	return false;
}

static void
undo_target(PathTask *task)
{
	Destination *destination = (Destination *) task;
	TargetError error;

	(void) target_remove(&destination->target, &error);
	atomic_unlock(&destination->atomic);
}

Destination *
destination_new(const char *path)
{
	Destination *destination = calloc(1, sizeof(Destination));

	if (destination == NULL)
		return NULL;
	destination->task.run = find_target;
	destination->task.undo = undo_target;
	snprintf(destination->task.path, PATH_SIZE, "%s", path);
	snprintf(destination->path, PATH_SIZE, "%s", path);
	destination->atomic.directory = -1;
	return destination;
}

static bool
make_directories(PathTask *task, TargetError *error)
{
	MakingDirectories *making = (MakingDirectories *) task;

	return target_make_directories(&making->target, making->entries,
								   making->count, error);
}

MakingDirectories *
making_directories_new(const Target *target, const FileEntry *entries, int count)
{
	MakingDirectories *making = calloc(1, sizeof(MakingDirectories));

	if (making == NULL)
		return NULL;
	making->task.run = make_directories;
	strcpy(making->task.path, target->path);
	making->target = *target;
	making->entries = entries;
	making->count = count;
	return making;
}

/* Put an error of directory operations in words; always false. */
static bool
fail(const char *path, const PublishingError *problem, TargetError *error)
{
	if (problem->sys_errno == 0)
		return target_fail(error, problem->problem.unknown_version ?
						   JET_errBadLogVersion : JET_errReadVerifyFailure,
						   "file \"%s\" in \"%s\" cannot be used: %s",
						   problem->name, path, problem->problem.why);
	errno = problem->sys_errno;
	return target_fail_in(error, problem->what, path, problem->name);
}

static void
free_index(BackupIndex *index)
{
	if (index != NULL)
		backupindex_clear(index);
	free(index);
}

static bool
read_index(PathTask *task, TargetError *error)
{
	IndexReading *reading = (IndexReading *) task;
	PublishingError problem;

	return publishing_read_index(reading->directory, reading->tar,
								 reading->index, &problem) ||
		fail(task->path, &problem, error);
}

static void
release_reading(PathTask *task)
{
	free_index(((IndexReading *) task)->index);
}

IndexReading *
index_reading_new(const Target *target)
{
	IndexReading *reading = calloc(1, sizeof(IndexReading));

	if (reading == NULL)
		return NULL;
	reading->task.run = read_index;
	reading->task.release = release_reading;
	strcpy(reading->task.path, target->path);
	reading->directory = target->directory;
	reading->tar = target->tar;
	reading->index = calloc(1, sizeof(BackupIndex));
	if (reading->index != NULL)
		return reading;
	free(reading);
	return NULL;
}

/* The files of an incremental backup get their names, and its link counts. */
static bool
publish_links(Completion *completion, TargetError *error)
{
	PublishingError problem;

	path_point("native.adding");
	for (;;)
	{
		if (!path_step())
			return target_fail(error, JET_errBackupAbortByServer, "stopped");
		switch (publishing_step(completion->publishing, &problem))
		{
			case PUBLISHING_DONE:
				return true;
			case PUBLISHING_MORE:
				path_point("native.publish");
				break;
			case PUBLISHING_FAILED:
				return fail(completion->task.path, &problem, error);
		}
	}
}

static bool
sync_above(Completion *completion, TargetError *error)
{
	char		parent[PATH_SIZE];

	target_parent(parent, completion->target.path);
	return target_sync_directory(parent, error);
}

static bool
publish_full(Completion *completion, TargetError *error)
{
	PublishingError problem;

	if (completion->index != NULL &&
		!publishing_write_index(completion->target.directory,
								target_settings.file_mode, TARGET_SUFFIX,
								completion->index, &problem))
		return fail(completion->task.path, &problem, error);
	return target_complete(&completion->target, completion->last, error) &&
		(!completion->sync_above || sync_above(completion, error)) &&
		(completion->atomic.directory < 0 ||
		 atomic_publish(&completion->atomic, error));
}

static bool
publish(PathTask *task, TargetError *error)
{
	Completion *completion = (Completion *) task;

	if (!completion->target.reused)
		return publish_full(completion, error);
	if (completion->publishing != NULL)
		return publish_links(completion, error);
	return target_publish(&completion->target, completion->logs,
						  completion->log_count,
						  completion->archive[0] != '\0' ?
						  completion->archive : NULL, error);
}

static void
release_completion(PathTask *task)
{
	Completion *completion = (Completion *) task;

	free_index(completion->index);
	if (completion->publishing != NULL)
		publishing_free(completion->publishing);
}

Completion *
completion_new(const Target *target, const Atomic *atomic)
{
	Completion *completion = calloc(1, sizeof(Completion));

	if (completion == NULL)
		return NULL;
	completion->task.run = publish;
	completion->task.release = release_completion;
	strcpy(completion->task.path, target->path);
	completion->target = *target;
	completion->atomic = *atomic;
	return completion;
}
