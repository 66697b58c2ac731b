/*-------------------------------------------------------------------------
 *
 * restoring.c
 *	  Tasks on the directories that a restore or a verification writes to.
 *
 *-------------------------------------------------------------------------
 */
#include "restoring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "jet.h"
#include "removal.h"

#define CONTROL_FILE "global/pg_control"

/* ---- the destination */

/* What a verification that was cut off has left goes. */
static bool
remove_stale_scratch(const char *path, TargetError *error)
{
	Target		stale = {.in_use = true,.made = true};

	if (access(path, F_OK) != 0 || !target_has_file(path, TARGET_MARKER))
		return true;
	snprintf(stale.path, sizeof(stale.path), "%s", path);
	stale.directory = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (stale.directory < 0)
		return target_fail_errno(error, "open directory", path);
	return target_remove(&stale, error);
}

static bool
make_target(PathTask *task, TargetError *error)
{
	RestoreTarget *making = (RestoreTarget *) task;

	if (making->scratch)
	{
		if (!remove_stale_scratch(task->path, error))
			return false;
	}
	else if (target_lies_in(task->path, making->source))
		return target_fail(error, JET_errInvalidPath,
						   "\"%s\" lies in the backup", task->path);
	return target_check(task->path, error) &&
		target_make(&making->target, task->path, making->what,
					making->instance_name, error);
}

static void
undo_target(PathTask *task)
{
	TargetError error;

	(void) target_remove(&((RestoreTarget *) task)->target, &error);
}

RestoreTarget *
restore_target_new(const char *path)
{
	RestoreTarget *making = calloc(1, sizeof(RestoreTarget));

	if (making == NULL)
		return NULL;
	making->task.run = make_target;
	making->task.undo = undo_target;
	snprintf(making->task.path, PATH_SIZE, "%s", path);
	return making;
}

/* ---- tablespaces */

static void
undo_space(PathTask *task)
{
	ClosingPlace *place = &((RestoreSpace *) task)->place;
	TargetError error;

	if (place->made)
		(void) removal_of_directory(place->directory, place->path, &error);
	close(place->directory);
}

static bool
open_place(ClosingPlace *place, TargetError *error)
{
	place->made = mkdir(place->path, target_settings.directory_mode) == 0;
	if (!place->made && errno != EEXIST)
		return target_fail_errno(error, "create directory", place->path);
	place->directory = open(place->path,
							O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (place->directory < 0)
		return target_fail_errno(error, "open directory", place->path);
	(void) fchmod(place->directory, target_settings.directory_mode);
	return true;
}

static bool
make_space(PathTask *task, TargetError *error)
{
	RestoreSpace *making = (RestoreSpace *) task;
	const char *path = making->place.path;
	char		link[64];

	if (!target_check(path, error))
		return false;
	if (target_lies_in(path, making->target.path) ||
		target_lies_in(path, making->source))
		return target_fail(error, JET_errInvalidPath,
						   "\"%s\", for tablespace %s, lies in the backup or in its destination",
						   path, making->oid);
	if (!open_place(&making->place, error))
		return false;
	snprintf(link, sizeof(link), "pg_tblspc/%s", making->oid);
	if (path_step() &&
		symlinkat(path, making->target.directory, link) == 0)
		return true;
	(void) target_fail_in(error, "create symbolic link", making->target.path, link);
	undo_space(task);
	return false;
}

RestoreSpace *
restore_space_new(const Target *target, const char *path, const char *oid)
{
	RestoreSpace *making = calloc(1, sizeof(RestoreSpace));

	if (making == NULL)
		return NULL;
	making->task.run = make_space;
	making->task.undo = undo_space;
	snprintf(making->task.path, PATH_SIZE, "%s", path);
	snprintf(making->place.path, PATH_SIZE, "%s", path);
	snprintf(making->oid, sizeof(making->oid), "%s", oid);
	making->target = *target;
	return making;
}

/* ---- the end */

static bool
put_control(RestoreCompletion *completion, TargetError *error)
{
	if (completion->control == NULL)
		return target_publish_file(&completion->target, CONTROL_FILE, error);
	return target_write_file(&completion->target, CONTROL_FILE,
							 completion->control, completion->control_length,
							 error);
}

static bool
complete(PathTask *task, TargetError *error)
{
	RestoreCompletion *completion = (RestoreCompletion *) task;
	int			directory = completion->target.directory;
	int			fd;

	if (!put_control(completion, error))
		return false;
	for (uint32_t i = 0; i < completion->unwanted_count && path_step(); i++)
		(void) unlinkat(directory, completion->unwanted[i], 0);
	if (!path_step())
		return target_fail(error, JET_errBackupAbortByServer, "stopped");
	/* a timeline of its own: the original may still write to the old one */
	fd = openat(directory, "recovery.signal",
				O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC,
				target_settings.file_mode);
	if (fd < 0)
		return target_fail_in(error, "create file", task->path, "recovery.signal");
	close(fd);
	return true;
}

static void
release_completion(PathTask *task)
{
	RestoreCompletion *completion = (RestoreCompletion *) task;

	for (uint32_t i = 0; i < completion->unwanted_count; i++)
		free(completion->unwanted[i]);
	free(completion->unwanted);
	free(completion->control);
}

RestoreCompletion *
restore_completion_new(const Target *target)
{
	RestoreCompletion *completion = calloc(1, sizeof(RestoreCompletion));

	if (completion == NULL)
		return NULL;
	completion->task.run = complete;
	completion->task.release = release_completion;
	snprintf(completion->task.path, PATH_SIZE, "%s", target->path);
	completion->target = *target;
	return completion;
}

bool
restore_completion_drop(RestoreCompletion *completion, const char *name)
{
	uint32_t	count = completion->unwanted_count;
	char	  **larger = realloc(completion->unwanted, (count + 1) * sizeof(char *));

	if (larger == NULL)
		return false;
	completion->unwanted = larger;
	larger[count] = strdup(name);
	if (larger[count] == NULL)
		return false;
	completion->unwanted_count = count + 1;
	return true;
}
