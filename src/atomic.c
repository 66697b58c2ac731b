/*-------------------------------------------------------------------------
 *
 * atomic.c
 *	  The directories of backups with JET_bitBackupAtomic.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file_perm.h"
#include "storage/fd.h"

#include "atomic.h"
#include "engine/jet.h"
#include "testpoint.h"

char *
atomic_place(const char *path, const char *name)
{
	return psprintf("%s/%s", path, name);
}

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

char *
atomic_find(const char *path)
{
	char	   *new = atomic_place(path, ATOMIC_NEW);
	char	   *old = atomic_place(path, ATOMIC_OLD);

	if (is_backup(new))
		return new;
	return is_backup(old) ? old : NULL;
}

/* May this be removed?  Only what a backup has made. */
static bool
check_ours(const char *place, TargetError *error)
{
	if (!exists(place) || is_backup(place) ||
		target_has_file(place, TARGET_MARKER))
		return true;
	if (rmdir(place) == 0)
		return true;
	return target_fail(error, JET_errBackupDirectoryNotEmpty,
					   "\"%s\" is no backup, and in the way of one", place);
}

/* Remove a directory with all that is in it. */
static bool
remove_place(const char *place, TargetError *error)
{
	if (!exists(place))
		return true;
	target_remove_contents(place);
	(void) unlink(psprintf("%s/%s", place, TARGET_MARKER));
	if (rmdir(place) != 0 && errno != ENOENT)
		return target_fail_errno(error, "remove directory", place);
	return true;
}

static bool
move(const char *path, const char *from, const char *to, TargetError *error)
{
	char	   *source = atomic_place(path, from);

	if (rename(source, atomic_place(path, to)) != 0)
		return target_fail_errno(error, "rename directory", source);
	return target_sync_directory(path, error);
}

/* Descriptor of P, which is locked; a worker writes one backup at a time. */
static int	locked = -1;

bool
atomic_lock(const char *path, TargetError *error)
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
	ReserveExternalFD();
	locked = fd;
	return true;
}

void
atomic_unlock(void)
{
	if (locked < 0)
		return;
	close(locked);
	locked = -1;
	ReleaseExternalFD();
}

bool
atomic_prepare(const char *path, bool *made, TargetError *error)
{
	char	   *temp = atomic_place(path, ATOMIC_TEMP);
	char	   *new = atomic_place(path, ATOMIC_NEW);
	char	   *old = atomic_place(path, ATOMIC_OLD);

	*made = mkdir(path, pg_dir_create_mode) == 0;
	if (!*made && errno != EEXIST)
		return target_fail_errno(error, "create directory", path);
	if (!atomic_lock(path, error) || !check_ours(temp, error) ||
		!check_ours(new, error) || !check_ours(old, error) ||
		!remove_place(temp, error))
		return false;
	if (!exists(new))
		return true;
	/* only with a complete new one the old one is needed no more */
	if (!is_backup(new))
		return remove_place(new, error);
	testpoint("atomic.remove");
	return remove_place(old, error) &&
		move(path, ATOMIC_NEW, ATOMIC_OLD, error);
}

bool
atomic_publish(const char *path, TargetError *error)
{
	testpoint("atomic.publish");
	return move(path, ATOMIC_TEMP, ATOMIC_NEW, error);
}

void
atomic_remove_old(const char *path)
{
	TargetError error;

	testpoint("atomic.published");
	if (!remove_place(atomic_place(path, ATOMIC_OLD), &error))
		ereport(LOG,
				(errmsg("could not remove the former backup in \"%s\"", path),
				 errdetail("%s.", error.text)));
}
