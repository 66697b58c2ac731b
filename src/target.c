/*-------------------------------------------------------------------------
 *
 * target.c
 *	  The directory that a native backup is written to.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "catalog/pg_control.h"
#include "common/file_perm.h"
#include "common/string.h"
#include "miscadmin.h"
#include "storage/fd.h"

#include "engine/jet.h"
#include "target.h"
#include "testpoint.h"

int
target_jet_error(int sys_errno)
{
	switch (sys_errno)
	{
		case ENOSPC:
		case EDQUOT:
			return JET_errDiskFull;
		case ENOENT:
		case ENOTDIR:
		case ELOOP:
		case ENAMETOOLONG:
			return JET_errInvalidPath;
		case EEXIST:
		case ENOTEMPTY:
			return JET_errBackupDirectoryNotEmpty;
		case EACCES:
		case EPERM:
		case EROFS:
			return JET_errFileAccessDenied;
		default:
			return JET_errDiskIO;
	}
}

bool
target_fail(TargetError *error, int jet, const char *format,...)
{
	va_list		args;

	error->jet = jet;
	va_start(args, format);
	vsnprintf(error->text, sizeof(error->text), format, args);
	va_end(args);
	return false;
}

bool
target_fail_errno(TargetError *error, const char *what, const char *path)
{
	int			sys_errno = errno;

	return target_fail(error, target_jet_error(sys_errno),
					   "could not %s \"%s\": %s", what, path,
					   strerror(sys_errno));
}

/* What identifies a directory, whatever it is called. */
typedef struct DirectoryId
{
	dev_t		device;
	ino_t		inode;
} DirectoryId;

static bool
identify(const char *path, DirectoryId *id)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return false;
	id->device = st.st_dev;
	id->inode = st.st_ino;
	return true;
}

bool
target_lies_in(const char *path, const char *directory)
{
	DirectoryId inside;
	DirectoryId outside;
	char		up[MAXPGPATH];

	if (!identify(directory, &outside))
		return false;
	strlcpy(up, path, sizeof(up));
	for (;;)
	{
		if (identify(up, &inside) && inside.device == outside.device &&
			inside.inode == outside.inode)
			return true;
		if (strcmp(up, "/") == 0)
			return false;
		get_parent_directory(up);
		if (up[0] == '\0')
			strcpy(up, "/");
	}
}

/*
 * Does it lie in the data directory, its WAL or a tablespace?  The path is
 * resolved as far as it exists, so that no link hides where it leads.
 */
static bool
lies_in_cluster(const char *path)
{
	DIR		   *directory;
	struct dirent *de;
	bool		inside = target_lies_in(path, DataDir) || target_lies_in(path, "pg_wal");

	directory = AllocateDir("pg_tblspc");
	while (!inside && (de = ReadDir(directory, "pg_tblspc")) != NULL)
	{
		char		tablespace[MAXPGPATH];

		if (strspn(de->d_name, "0123456789") != strlen(de->d_name))
			continue;
		snprintf(tablespace, sizeof(tablespace), "pg_tblspc/%s", de->d_name);
		inside = target_lies_in(path, tablespace);
	}
	FreeDir(directory);
	return inside;
}

/* Is the directory there, and empty?  An absent one is as good. */
static bool
check_empty(const char *path, TargetError *error)
{
	struct dirent *de;
	struct stat st;
	DIR		   *directory;
	bool		good = true;

	if (stat(path, &st) != 0)
		return errno == ENOENT ? true : target_fail_errno(error, "access", path);
	if (!S_ISDIR(st.st_mode))
		return target_fail(error, JET_errInvalidPath, "\"%s\" is not a directory", path);
	directory = AllocateDir(path);
	if (directory == NULL)
		return target_fail_errno(error, "open directory", path);
	while (good && (de = ReadDir(directory, path)) != NULL)
	{
		if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0)
			good = target_fail(error, JET_errBackupDirectoryNotEmpty,
							   "directory \"%s\" is not empty: it contains \"%s\"",
							   path, de->d_name);
	}
	FreeDir(directory);
	return good;
}

bool
target_check_place(const char *path, TargetError *error)
{
	char		parent[MAXPGPATH];
	char		resolved[PATH_MAX];
	struct stat st;

	strlcpy(parent, path, sizeof(parent));
	if (stat(path, &st) != 0)
		get_parent_directory(parent);
	if (parent[0] == '\0')
		strcpy(parent, "/");
	if (realpath(parent, resolved) == NULL)
		return target_fail_errno(error, "access directory", parent);
	if (strlen(resolved) >= MAXPGPATH)
		return target_fail(error, JET_errInvalidPath, "path \"%s\" is too long", path);
	if (lies_in_cluster(resolved))
		return target_fail(error, JET_errInvalidPath,
						   "\"%s\" lies in the data directory or in a tablespace", path);
	return true;
}

bool
target_check(const char *path, TargetError *error)
{
	return target_check_place(path, error) && check_empty(path, error);
}

bool
target_write_file(Target *target, const char *name, const char *bytes, size_t length,
				  TargetError *error)
{
	int			fd = openat(target->directory, name,
							O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
							pg_file_create_mode);
	bool		good;

	if (fd < 0)
		return target_fail_errno(error, "create file", name);
	errno = ENOSPC;				/* unless write() says something else */
	good = write(fd, bytes, length) == (ssize_t) length && fsync(fd) == 0;
	if (!good)
		(void) target_fail_errno(error, "write file", name);
	close(fd);
	return good;
}

static bool
open_directory(Target *target, const char *path, TargetError *error)
{
	struct stat st;

	memset(target, 0, sizeof(*target));
	target->made = mkdir(path, pg_dir_create_mode) == 0;
	if (!target->made && errno != EEXIST)
		return target_fail_errno(error, "create directory", path);
	target->directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* the server starts only in a directory with the right mode */
	if (target->directory < 0 || fstat(target->directory, &st) != 0 ||
		fchmod(target->directory, pg_dir_create_mode) != 0)
	{
		(void) target_fail_errno(error, "open directory", path);
		if (target->directory >= 0)
			close(target->directory);
		if (target->made)
			rmdir(path);
		return false;
	}
	target->mode_before = st.st_mode & 07777;
	ReserveExternalFD();
	strlcpy(target->path, path, sizeof(target->path));
	target->in_use = true;
	return true;
}

bool
target_make(Target *target, const char *path, const char *what,
			const char *instance_name, TargetError *error)
{
	char	   *text = psprintf("A %s by instance \"%s\" was begun here and is not complete.\n"
								"While this file is there, it is not a backup.\n",
								what, instance_name);

	if (!open_directory(target, path, error))
		return false;
	/* who else has chosen this directory meanwhile, was first */
	if (target_write_file(target, TARGET_MARKER, text, strlen(text), error))
		return true;
	target_close(target);
	if (target->made)
		rmdir(path);
	else
		(void) chmod(path, target->mode_before);
	return false;
}

/* Make the directory that holds a file durable. */
static bool
sync_parent(Target *target, const char *name, TargetError *error)
{
	char		parent[MAXPGPATH];
	int			fd;
	bool		good;

	strlcpy(parent, name, sizeof(parent));
	get_parent_directory(parent);
	fd = openat(target->directory, parent[0] ? parent : ".",
				O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	good = fd >= 0 && fsync(fd) == 0;
	if (!good)
		(void) target_fail_errno(error, "sync directory of", name);
	if (fd >= 0)
		close(fd);
	return good;
}

/* Remove what an incremental backup that was cut off has left. */
static void
remove_unpublished(Target *target)
{
	static const char *const places[] = {".", "pg_wal", "pg_wal/archive_status"};

	for (int i = 0; i < lengthof(places); i++)
	{
		char		path[MAXPGPATH];
		DIR		   *directory;
		struct dirent *de;

		snprintf(path, sizeof(path), "%s/%s", target->path, places[i]);
		directory = AllocateDir(path);
		if (directory == NULL)
			continue;
		while ((de = ReadDirExtended(directory, path, LOG)) != NULL)
		{
			char		file[MAXPGPATH * 2];

			if (!pg_str_endswith(de->d_name, TARGET_SUFFIX))
				continue;
			snprintf(file, sizeof(file), "%s/%s", path, de->d_name);
			(void) unlink(file);
		}
		FreeDir(directory);
	}
}

bool
target_has_file(const char *path, const char *prefix)
{
	DIR		   *directory = AllocateDir(path);
	struct dirent *de;
	bool		found = false;

	while (!found && (de = ReadDirExtended(directory, path, LOG)) != NULL)
		found = strncmp(de->d_name, prefix, strlen(prefix)) == 0;
	FreeDir(directory);
	return found;
}

/* Is the data directory in a target one of this cluster? */
static bool
check_system_identifier(Target *target, TargetError *error)
{
	ControlFileData control;
	int			fd = openat(target->directory, XLOG_CONTROL_FILE,
							O_RDONLY | O_CLOEXEC);
	bool		whole;

	if (fd < 0)
		return target_fail_errno(error, "open file", XLOG_CONTROL_FILE);
	whole = read(fd, &control, sizeof(control)) == sizeof(control);
	close(fd);
	if (whole && control.system_identifier == GetSystemIdentifier())
		return true;
	return target_fail(error, JET_errGivenLogFileHasBadSignature,
					   "the backup in \"%s\" is one of another cluster", target->path);
}

bool
target_reuse(Target *target, const char *path, const char *chain_location,
			 TargetError *error)
{
	if (chain_location[0] == '\0')
		return target_fail(error, JET_errInvalidPath,
						   "the full backup of the chain was read over SQL; the server does not know where it is");
	if (strcmp(path, chain_location) != 0)
		return target_fail(error, JET_errInvalidPath,
						   "the full backup of the chain is in \"%s\"", chain_location);
	memset(target, 0, sizeof(*target));
	target->directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (target->directory < 0)
		return target_fail_errno(error, "open directory", path);
	ReserveExternalFD();
	strlcpy(target->path, path, sizeof(target->path));
	target->in_use = target->reused = true;
	target->tar = target_has_file(path, "logs.tar");
	if (target_has_file(path, TARGET_MARKER))
		(void) target_fail(error, JET_errInvalidPath, "the backup in \"%s\" is not complete",
						   path);
	else if (target->tar || check_system_identifier(target, error))
	{
		remove_unpublished(target);
		return true;
	}
	target_close(target);
	return false;
}

bool
target_publish_file(Target *target, const char *name, TargetError *error)
{
	char		written[MAXPGPATH + sizeof(TARGET_SUFFIX)];

	snprintf(written, sizeof(written), "%s%s", name, TARGET_SUFFIX);
	if (renameat(target->directory, written, target->directory, name) != 0)
		return target_fail_errno(error, "rename file", written);
	return true;
}

bool
target_publish(Target *target, const FileList *list, const char *archive,
			   TargetError *error)
{
	/* oldest first: whatever is cut off, what is there has no gap */
	for (int i = 0; i < list->count && archive == NULL; i++)
	{
		if (!target_publish_file(target, list->entries[i].name, error))
			return false;
		testpoint("native.publish");
	}
	if (archive != NULL && list->count > 0 &&
		!target_publish_file(target, archive, error))
		return false;
	return sync_parent(target, TARGET_MARKER, error) &&
		(target->tar ||
		 (sync_parent(target, "pg_wal/x", error) &&
		  sync_parent(target, "pg_wal/archive_status/x", error)));
}

bool
target_make_directories(Target *target, const FileList *list,
						TargetError *error)
{
	for (int i = 0; i < list->count; i++)
	{
		const FileEntry *entry = &list->entries[i];

		CHECK_FOR_INTERRUPTS();
		if (entry->kind == FILE_DIRECTORY &&
			mkdirat(target->directory, entry->name, pg_dir_create_mode) != 0 &&
			!(errno == EEXIST && target->linked))
			return target_fail_errno(error, "create directory", entry->name);
	}
	return true;
}

bool
target_complete(Target *target, const FileEntry *last, TargetError *error)
{
	if (last != NULL &&
		(!target_write_file(target, last->name, last->contents, last->size, error) ||
		 !sync_parent(target, last->name, error)))
		return false;
	testpoint("native.complete");
	if (unlinkat(target->directory, TARGET_MARKER, 0) != 0)
		return target_fail_errno(error, "remove file", TARGET_MARKER);
	return sync_parent(target, TARGET_MARKER, error);
}

void
target_close(Target *target)
{
	if (!target->in_use)
		return;
	close(target->directory);
	ReleaseExternalFD();
	target->in_use = false;
}

bool
target_sync_directory(const char *path, TargetError *error)
{
	int			fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool		good = fd >= 0 && fsync(fd) == 0;

	if (!good)
		(void) target_fail_errno(error, "sync directory", path);
	if (fd >= 0)
		close(fd);
	return good;
}

/*
 * One pass over a directory; returns how much of it was removed.  What
 * cannot be removed is reported.
 */
static int
remove_entries(const char *path)
{
	DIR		   *directory = AllocateDir(path);
	struct dirent *de;
	int			removed = 0;

	while ((de = ReadDirExtended(directory, path, LOG)) != NULL)
	{
		char		inside[MAXPGPATH];
		struct stat st;
		bool		good;

		CHECK_FOR_INTERRUPTS();
		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0 ||
			strcmp(de->d_name, TARGET_MARKER) == 0)
			continue;
		snprintf(inside, sizeof(inside), "%s/%s", path, de->d_name);
		if (lstat(inside, &st) == 0 && S_ISDIR(st.st_mode))
		{
			while (remove_entries(inside) > 0)
				;
			good = rmdir(inside) == 0;
		}
		else
			good = unlink(inside) == 0;
		if (good)
			removed++;
		else
			ereport(LOG,
					(errcode_for_file_access(),
					 errmsg("could not remove \"%s\": %m", inside)));
	}
	FreeDir(directory);
	return removed;
}

void
target_remove_contents(const char *path)
{
	/* a file system may pass over entries while others are removed */
	while (remove_entries(path) > 0)
		;
}

void
target_remove(Target *target)
{
	if (!target->in_use)
		return;
	testpoint("native.remove");
	if (target->reused)
	{
		remove_unpublished(target);
		target_close(target);
		return;
	}
	target_remove_contents(target->path);
	/* until now nothing here looks like a backup */
	(void) unlinkat(target->directory, TARGET_MARKER, 0);
	if (!target->made)
		(void) fchmod(target->directory, target->mode_before);
	else if (rmdir(target->path) != 0 && errno != ENOENT)
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not remove \"%s\": %m", target->path)));
	if (target->parent_made[0] != '\0')
		(void) rmdir(target->parent_made);
	target_close(target);
}
