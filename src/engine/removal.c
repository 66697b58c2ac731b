/*-------------------------------------------------------------------------
 *
 * removal.c
 *	  Removing directories, and nothing outside of them.
 *
 *-------------------------------------------------------------------------
 */
#include "removal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "jet.h"
#include "target.h"

/* What came of one pass. */
typedef struct Pass
{
	int			removed;
	int			left;
}			Pass;

static Pass remove_entries(int directory, const char *path, const char *spare,
						   int depth, TargetError *error);

/* A file system may pass over entries while others are removed. */
static bool
remove_all(int directory, const char *path, const char *spare, int depth,
		   TargetError *error)
{
	Pass		pass;

	do
		pass = remove_entries(directory, path, spare, depth, error);
	while (pass.removed > 0 && !path_cancelled());
	if (path_cancelled() && pass.left == 0)
		return target_fail(error, JET_errBackupAbortByServer, "stopped");
	return pass.left == 0;
}

static bool
remove_directory(int above, const char *name, const char *path, int depth,
				 TargetError *error)
{
	int			fd = openat(above, name,
							O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	bool		good;

	if (fd < 0)
		return target_fail_in(error, "open directory", path, name);
	good = depth < PATH_MAX_DEPTH ?
		remove_all(fd, path, NULL, depth + 1, error) :
		target_fail(error, JET_errInvalidPath,
					"directories in \"%s\" lie more than %d deep in each other",
					path, PATH_MAX_DEPTH);
	close(fd);
	if (!good)
		return false;
	return unlinkat(above, name, AT_REMOVEDIR) == 0 ||
		target_fail_in(error, "remove directory", path, name);
}

static bool
remove_entry(int directory, const char *name, const char *path, int depth,
			 TargetError *error)
{
	struct stat st;

	if (fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		S_ISDIR(st.st_mode))
		return remove_directory(directory, name, path, depth, error);
	return unlinkat(directory, name, 0) == 0 || errno == ENOENT ||
		target_fail_in(error, "remove", path, name);
}

/* Open a stream of its own on a directory. */
static DIR *
open_entries(int directory)
{
	int			fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR		   *entries = fd < 0 ? NULL : fdopendir(fd);

	if (entries == NULL && fd >= 0)
		close(fd);
	return entries;
}

/* One pass over a directory. */
static Pass
remove_entries(int directory, const char *path, const char *spare, int depth,
			   TargetError *error)
{
	DIR		   *entries = open_entries(directory);
	struct dirent *de;
	Pass		pass = {0};
	TargetError further;

	if (entries == NULL)
	{
		(void) target_fail_errno(error, "open directory", path);
		pass.left = 1;
		return pass;
	}
	while (path_step() && (de = readdir(entries)) != NULL)
	{
		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0 ||
			(spare != NULL && strcmp(de->d_name, spare) == 0))
			continue;
		if (remove_entry(directory, de->d_name, path, depth,
						 pass.left == 0 ? error : &further))
			pass.removed++;
		else
			pass.left++;
	}
	closedir(entries);
	return pass;
}

bool
removal_empty(int directory, const char *path, const char *spare,
			  TargetError *error)
{
	return remove_all(directory, path, spare, 0, error);
}

bool
removal_of_directory(int directory, const char *path, TargetError *error)
{
	char		parent[PATH_SIZE];
	const char *name = strrchr(path, '/') + 1;
	struct stat inside;
	struct stat outside;
	int			above;
	bool		good;

	target_parent(parent, path);
	above = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (above < 0)
		return target_fail_errno(error, "open directory", parent);
	if (fstatat(above, name, &outside, AT_SYMLINK_NOFOLLOW) != 0)
		good = errno == ENOENT || target_fail_errno(error, "access", path);
	else if (fstat(directory, &inside) != 0 ||
			 inside.st_dev != outside.st_dev ||
			 inside.st_ino != outside.st_ino)
		good = target_fail(error, JET_errInvalidPath,
						   "\"%s\" has been moved", path);
	else
		good = unlinkat(above, name, AT_REMOVEDIR) == 0 ||
			target_fail_errno(error, "remove directory", path);
	close(above);
	return good;
}
