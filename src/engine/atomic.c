/*-------------------------------------------------------------------------
 *
 * atomic.c
 *	  The directories of backups with JET_bitBackupAtomic.
 *
 *-------------------------------------------------------------------------
 */
#include "atomic.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "jet.h"
#include "removal.h"

static bool
exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

/* Does a directory hold a complete backup, as far as can be seen quickly? */
static bool
is_backup(const char *path)
{
	return exists(path) && !target_has_file(path, TARGET_MARKER) &&
		(target_has_file(path, "backup_manifest") ||
		 target_has_file(path, "logs.tar"));
}

bool
atomic_find(const char *path, char *found)
{
	static const char *const names[] = {ATOMIC_NEW, ATOMIC_OLD};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		if (snprintf(found, PATH_SIZE, "%s/%s", path, names[i]) < PATH_SIZE &&
			is_backup(found))
			return true;
	}
	return false;
}

/* May this be removed?  Only what a backup has made. */
static bool
check_ours(Atomic *atomic, const char *name, TargetError *error)
{
	char		place[PATH_SIZE];

	if (!target_join(place, atomic->path, name, error))
		return false;
	if (!exists(place) || is_backup(place) ||
		target_has_file(place, TARGET_MARKER))
		return true;
	if (unlinkat(atomic->directory, name, AT_REMOVEDIR) == 0)
		return true;
	return target_fail(error, JET_errBackupDirectoryNotEmpty,
					   "\"%s\" is no backup, and in the way of one", place);
}

/* Remove a directory with all that is in it; its marker goes last. */
static bool
remove_place(Atomic *atomic, const char *name, TargetError *error)
{
	int			fd = openat(atomic->directory, name,
							O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	bool		good;

	if (fd < 0)
		return errno == ENOENT ||
			target_fail_in(error, "open directory", atomic->path, name);
	good = target_mark(fd, atomic->path, error) &&
		removal_empty(fd, atomic->path, TARGET_MARKER, error);
	if (good)
		(void) unlinkat(fd, TARGET_MARKER, 0);
	close(fd);
	if (!good)
		return false;
	return unlinkat(atomic->directory, name, AT_REMOVEDIR) == 0 ||
		errno == ENOENT ||
		target_fail_in(error, "remove directory", atomic->path, name);
}

static bool
move(Atomic *atomic, const char *from, const char *to, TargetError *error)
{
	if (path_cancelled())
		return target_fail(error, JET_errBackupAbortByServer, "stopped");
	if (renameat(atomic->directory, from, atomic->directory, to) != 0)
		return target_fail_in(error, "rename directory", atomic->path, from);
	return fsync(atomic->directory) == 0 ||
		target_fail_errno(error, "sync directory", atomic->path);
}

bool
atomic_lock(Atomic *atomic, const char *path, TargetError *error)
{
	int			fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return target_fail_errno(error, "open directory", path);
	if (flock(fd, LOCK_EX | LOCK_NB) != 0)
	{
		if (errno == EWOULDBLOCK)
			(void) target_fail(error, JET_errFileAccessDenied,
							   "another backup is being written to \"%s\"", path);
		else
			(void) target_fail_errno(error, "lock directory", path);
		close(fd);
		return false;
	}
	atomic->directory = fd;
	snprintf(atomic->path, sizeof(atomic->path), "%s", path);
	return true;
}

void
atomic_unlock(Atomic *atomic)
{
	if (atomic->directory >= 0)
		close(atomic->directory);
	atomic->directory = -1;
}

/* The former backup goes out of the way, or what is none is removed. */
static bool
move_former(Atomic *atomic, TargetError *error)
{
	char		new[PATH_SIZE];

	if (!target_join(new, atomic->path, ATOMIC_NEW, error))
		return false;
	if (!exists(new))
		return true;
	/* only with a complete new one the old one is needed no more */
	if (!is_backup(new))
		return remove_place(atomic, ATOMIC_NEW, error);
	path_point("atomic.remove");
	return remove_place(atomic, ATOMIC_OLD, error) &&
		move(atomic, ATOMIC_NEW, ATOMIC_OLD, error);
}

bool
atomic_prepare(Atomic *atomic, const char *path, TargetError *error)
{
	atomic->made = mkdir(path, target_settings.directory_mode) == 0;
	if (!atomic->made && errno != EEXIST)
		return target_fail_errno(error, "create directory", path);
	if (!path_step())
	{
		if (atomic->made)
			(void) rmdir(path);
		return target_fail(error, JET_errBackupAbortByServer, "stopped");
	}
	return atomic_lock(atomic, path, error) &&
		check_ours(atomic, ATOMIC_TEMP, error) &&
		check_ours(atomic, ATOMIC_NEW, error) &&
		check_ours(atomic, ATOMIC_OLD, error) &&
		remove_place(atomic, ATOMIC_TEMP, error) &&
		move_former(atomic, error);
}

bool
atomic_publish(Atomic *atomic, TargetError *error)
{
	path_point("atomic.publish");
	if (!move(atomic, ATOMIC_TEMP, ATOMIC_NEW, error))
		return false;
	if (path_step())
		return true;
	/* it was stopped while this hung, and will be removed where it was */
	(void) renameat(atomic->directory, ATOMIC_NEW, atomic->directory, ATOMIC_TEMP);
	return target_fail(error, JET_errBackupAbortByServer, "stopped");
}

bool
atomic_remove_old(Atomic *atomic, TargetError *error)
{
	path_point("atomic.published");
	return remove_place(atomic, ATOMIC_OLD, error);
}
