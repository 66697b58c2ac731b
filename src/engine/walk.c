/*-------------------------------------------------------------------------
 *
 * walk.c
 *	  A task that lists what lies in a directory.
 *
 *-------------------------------------------------------------------------
 */
#include "walk.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "jet.h"
#include "target.h"

static bool walk_directory(Walk *walk, const char *name, TargetError *error);

static bool
fail_for_memory(TargetError *error)
{
	return target_fail(error, JET_errOutOfMemory, "memory is out");
}

/* The next entry, which is zero; NULL when memory is out. */
static WalkEntry *
add_entry(Walk *walk, const char *name)
{
	WalkEntry  *entry;

	if (walk->count == walk->room)
	{
		uint32_t	room = walk->room * 2 + 256;
		WalkEntry  *larger = realloc(walk->entries, room * sizeof(WalkEntry));

		if (larger == NULL)
			return NULL;
		walk->entries = larger;
		walk->room = room;
	}
	entry = &walk->entries[walk->count];
	memset(entry, 0, sizeof(*entry));
	entry->name = strdup(name);
	if (entry->name == NULL)
		return NULL;
	walk->count++;
	return entry;
}

/* What a file that is shorter lacks is zero. */
static bool
read_head(Walk *walk, WalkEntry *entry, TargetError *error)
{
	int			fd = openat(walk->directory, entry->name,
							O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	bool		good;

	if (fd < 0)
		return target_fail_in(error, "open file", walk->task.path, entry->name);
	entry->head = calloc(1, walk->head_length);
	good = entry->head != NULL && read(fd, entry->head, walk->head_length) >= 0;
	if (!good)
		(void) target_fail_in(error, "read file", walk->task.path, entry->name);
	close(fd);
	return good;
}

/* Take up one entry, and what lies in it. */
static bool
take_entry(Walk *walk, const char *name, TargetError *error)
{
	WalkEntry  *entry;
	struct stat st;

	if (fstatat(walk->directory, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return target_fail_in(error, "access", walk->task.path, name);
	entry = add_entry(walk, name);
	if (entry == NULL)
		return fail_for_memory(error);
	entry->size = st.st_size;
	entry->mode = st.st_mode;
	if (S_ISREG(st.st_mode) && walk->head_length > 0)
		return read_head(walk, entry, error);
	return !S_ISDIR(st.st_mode) || !walk->deep ||
		walk_directory(walk, name, error);
}

static bool
walk_entries(Walk *walk, DIR *entries, const char *name, TargetError *error)
{
	struct dirent *de;

	while (path_step() && (de = readdir(entries)) != NULL)
	{
		char		inside[PATH_SIZE];

		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
			continue;
		if (snprintf(inside, sizeof(inside), "%s%s%s", name,
					 name[0] != '\0' ? "/" : "", de->d_name) >= PATH_SIZE)
			return target_fail(error, JET_errInvalidPath,
							   "the path of \"%s\" in \"%s\" is too long",
							   de->d_name, walk->task.path);
		if (!take_entry(walk, inside, error))
			return false;
	}
	return !path_cancelled() ||
		target_fail(error, JET_errBackupAbortByServer, "stopped");
}

static bool
walk_directory(Walk *walk, const char *name, TargetError *error)
{
	int			fd = openat(walk->directory, name[0] != '\0' ? name : ".",
							O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR		   *entries = fd < 0 ? NULL : fdopendir(fd);
	bool		good;

	if (entries == NULL)
	{
		(void) target_fail_in(error, "open directory", walk->task.path, name);
		if (fd >= 0)
			close(fd);
		return false;
	}
	walk->depth++;
	good = walk->depth <= PATH_MAX_DEPTH ?
		walk_entries(walk, entries, name, error) :
		target_fail(error, JET_errInvalidPath,
					"directories in \"%s\" lie more than %d deep in each other",
					walk->task.path, PATH_MAX_DEPTH);
	walk->depth--;
	closedir(entries);
	return good;
}

static bool
run_walk(PathTask *task, TargetError *error)
{
	Walk	   *walk = (Walk *) task;

	return walk_directory(walk, walk->below, error);
}

static void
release_walk(PathTask *task)
{
	Walk	   *walk = (Walk *) task;

	for (uint32_t i = 0; i < walk->count; i++)
	{
		free(walk->entries[i].name);
		free(walk->entries[i].head);
	}
	free(walk->entries);
}

Walk *
walk_new(int directory, const char *path, const char *below)
{
	Walk	   *walk = calloc(1, sizeof(Walk));

	if (walk == NULL)
		return NULL;
	walk->task.run = run_walk;
	walk->task.release = release_walk;
	snprintf(walk->task.path, PATH_SIZE, "%s", path);
	walk->directory = directory;
	walk->below = below;
	return walk;
}
