/*-------------------------------------------------------------------------
 *
 * target.c
 *	  The directory that a native backup is written to.
 *
 *-------------------------------------------------------------------------
 */
#include "target.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "jet.h"
#include "removal.h"

/* The server's own files; its working directory is its data directory. */
#define CONTROL_FILE	"global/pg_control"
#define DATA_DIRECTORY	"."
#define WAL_DIRECTORY	"pg_wal"
#define TABLESPACES		"pg_tblspc"

TargetSettings target_settings = {0700, 0600, 0};

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

bool
target_fail_in(TargetError *error, const char *what, const char *directory,
			   const char *name)
{
	int			sys_errno = errno;

	return target_fail(error, target_jet_error(sys_errno),
					   "could not %s \"%s\" in \"%s\": %s", what, name,
					   directory, strerror(sys_errno));
}

bool
target_join(char *path, const char *directory, const char *name,
			TargetError *error)
{
	if (snprintf(path, PATH_SIZE, "%s/%s", directory, name) < PATH_SIZE)
		return true;
	return target_fail(error, JET_errInvalidPath,
					   "the path of \"%s\" in \"%s\" is too long", name, directory);
}

void
target_parent(char *parent, const char *path)
{
	const char *slash = strrchr(path, '/');
	size_t		length = slash == NULL ? 0 : (size_t) (slash - path);

	if (length == 0)
	{
		strcpy(parent, "/");
		return;
	}
	memmove(parent, path, length);
	parent[length] = '\0';
}

bool
target_ends_with(const char *name, const char *suffix)
{
	size_t		length = strlen(name);
	size_t		tail = strlen(suffix);

	return length >= tail && strcmp(name + length - tail, suffix) == 0;
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
	char		up[PATH_SIZE];

	if (!identify(directory, &outside))
		return false;
	snprintf(up, sizeof(up), "%s", path);
	for (;;)
	{
		if (identify(up, &inside) && inside.device == outside.device &&
			inside.inode == outside.inode)
			return true;
		if (strcmp(up, "/") == 0)
			return false;
		target_parent(up, up);
	}
}

/*
 * Does it lie in the data directory, its WAL or a tablespace?  The path is
 * resolved as far as it exists, so that no link hides where it leads.
 */
static bool
check_outside_cluster(const char *path, const char *resolved,
					  TargetError *error)
{
	DIR		   *directory = opendir(TABLESPACES);
	struct dirent *de;
	bool		inside = target_lies_in(resolved, DATA_DIRECTORY) ||
		target_lies_in(resolved, WAL_DIRECTORY);

	if (directory == NULL)
		return target_fail_errno(error, "open directory", TABLESPACES);
	while (!inside && (de = readdir(directory)) != NULL)
	{
		char		tablespace[PATH_SIZE];

		if (strspn(de->d_name, "0123456789") != strlen(de->d_name))
			continue;
		snprintf(tablespace, sizeof(tablespace), TABLESPACES "/%s", de->d_name);
		inside = target_lies_in(resolved, tablespace);
	}
	closedir(directory);
	return !inside ||
		target_fail(error, JET_errInvalidPath,
					"\"%s\" lies in the data directory or in a tablespace", path);
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
	directory = opendir(path);
	if (directory == NULL)
		return target_fail_errno(error, "open directory", path);
	while (good && (de = readdir(directory)) != NULL)
	{
		if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0)
			good = target_fail(error, JET_errBackupDirectoryNotEmpty,
							   "directory \"%s\" is not empty: it contains \"%s\"",
							   path, de->d_name);
	}
	closedir(directory);
	return good;
}

bool
target_check_place(const char *path, TargetError *error)
{
	char		parent[PATH_SIZE];
	char		resolved[PATH_MAX];
	struct stat st;

	snprintf(parent, sizeof(parent), "%s", path);
	if (stat(path, &st) != 0)
		target_parent(parent, path);
	if (realpath(parent, resolved) == NULL)
		return target_fail_errno(error, "access directory", parent);
	if (strlen(resolved) >= PATH_SIZE)
		return target_fail(error, JET_errInvalidPath, "path \"%s\" is too long", path);
	return check_outside_cluster(path, resolved, error);
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
							target_settings.file_mode);
	bool		good;

	if (fd < 0)
		return target_fail_in(error, "create file", target->path, name);
	errno = ENOSPC;				/* unless write() says something else */
	good = write(fd, bytes, length) == (ssize_t) length && fsync(fd) == 0;
	if (!good)
	{
		(void) target_fail_in(error, "write file", target->path, name);
		(void) unlinkat(target->directory, name, 0);
	}
	close(fd);
	return good;
}

/* What a task that is not wanted any more returns with. */
static bool
fail_unwanted(TargetError *error)
{
	return target_fail(error, JET_errBackupAbortByServer, "stopped");
}

/* Undo open_directory(). */
static void
give_up_directory(Target *target)
{
	TargetError error;

	if (target->made)
		(void) removal_of_directory(target->directory, target->path, &error);
	else
		(void) fchmod(target->directory, target->mode_before);
	target_close(target);
}

static bool
open_directory(Target *target, const char *path, TargetError *error)
{
	struct stat st;

	memset(target, 0, sizeof(*target));
	snprintf(target->path, sizeof(target->path), "%s", path);
	target->made = mkdir(path, target_settings.directory_mode) == 0;
	if (!target->made && errno != EEXIST)
		return target_fail_errno(error, "create directory", path);
	target->directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* the server starts only in a directory with the right mode */
	if (target->directory < 0 || fstat(target->directory, &st) != 0 ||
		fchmod(target->directory, target_settings.directory_mode) != 0)
	{
		(void) target_fail_errno(error, "open directory", path);
		if (target->directory >= 0)
			close(target->directory);
		if (target->made)
			rmdir(path);
		return false;
	}
	target->mode_before = st.st_mode & 07777;
	target->in_use = true;
	if (path_step())
		return true;
	give_up_directory(target);
	return fail_unwanted(error);
}

bool
target_make(Target *target, const char *path, const char *what,
			const char *instance_name, TargetError *error)
{
	char		words[512];

	snprintf(words, sizeof(words),
			 "A %s by instance \"%s\" was begun here and is not complete.\n"
			 "While this file is there, it is not a backup.\n",
			 what, instance_name);
	if (!open_directory(target, path, error))
		return false;
	/* who else has chosen this directory meanwhile, was first */
	if (!target_write_file(target, TARGET_MARKER, words, strlen(words), error))
	{
		give_up_directory(target);
		return false;
	}
	if (path_step())
		return true;
	(void) unlinkat(target->directory, TARGET_MARKER, 0);
	give_up_directory(target);
	return fail_unwanted(error);
}

/* Make the directory that holds a file durable. */
static bool
sync_parent(Target *target, const char *name, TargetError *error)
{
	const char *slash = strrchr(name, '/');
	char		parent[PATH_SIZE] = ".";
	int			fd;
	bool		good;

	if (slash != NULL)
		snprintf(parent, sizeof(parent), "%.*s", (int) (slash - name), name);
	fd = openat(target->directory, parent,
				O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	good = fd >= 0 && fsync(fd) == 0;
	if (!good)
		(void) target_fail_in(error, "sync directory", target->path, parent);
	if (fd >= 0)
		close(fd);
	return good;
}

/* Remove the files of a directory whose names end so. */
static void
remove_with_suffix(int directory, const char *suffix)
{
	DIR		   *entries = fdopendir(directory);
	struct dirent *de;

	if (entries == NULL)
	{
		close(directory);
		return;
	}
	while (path_step() && (de = readdir(entries)) != NULL)
	{
		if (target_ends_with(de->d_name, suffix))
			(void) unlinkat(dirfd(entries), de->d_name, 0);
	}
	closedir(entries);
}

/* Remove what an incremental backup that was cut off has left. */
static void
remove_unpublished(Target *target)
{
	static const char *const places[] = {".", "pg_wal", "pg_wal/archive_status"};

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
	{
		int			fd = openat(target->directory, places[i],
								O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

		if (fd >= 0)
			remove_with_suffix(fd, TARGET_SUFFIX);
	}
}

bool
target_has_file(const char *path, const char *prefix)
{
	DIR		   *directory = opendir(path);
	struct dirent *de;
	bool		found = false;

	while (directory != NULL && !found && (de = readdir(directory)) != NULL)
		found = strncmp(de->d_name, prefix, strlen(prefix)) == 0;
	if (directory != NULL)
		closedir(directory);
	return found;
}

/*
 * Is the data directory in a target one of this cluster?  pg_control begins
 * with its identifier.
 */
static bool
check_system_identifier(Target *target, TargetError *error)
{
	uint64_t	identifier;
	int			fd = openat(target->directory, CONTROL_FILE, O_RDONLY | O_CLOEXEC);
	bool		whole;

	if (fd < 0)
		return target_fail_in(error, "open file", target->path, CONTROL_FILE);
	whole = read(fd, &identifier, sizeof(identifier)) == sizeof(identifier);
	close(fd);
	if (whole && identifier == target_settings.system_identifier)
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
	snprintf(target->path, sizeof(target->path), "%s", path);
	target->in_use = target->reused = true;
	target->tar = target_has_file(path, "logs.tar");
	if (target_has_file(path, TARGET_MARKER))
		(void) target_fail(error, JET_errInvalidPath, "the backup in \"%s\" is not complete",
						   path);
	else if (!path_step())
		(void) fail_unwanted(error);
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
	char		written[PATH_SIZE + sizeof(TARGET_SUFFIX)];

	snprintf(written, sizeof(written), "%s%s", name, TARGET_SUFFIX);
	if (renameat(target->directory, written, target->directory, name) != 0)
		return target_fail_in(error, "rename file", target->path, written);
	return path_step() || fail_unwanted(error);
}

bool
target_publish(Target *target, const FileEntry *entries, int count,
			   const char *archive, TargetError *error)
{
	/* oldest first: whatever is cut off, what is there has no gap */
	for (int i = 0; i < count && archive == NULL; i++)
	{
		if (!target_publish_file(target, entries[i].name, error))
			return false;
		path_point("native.publish");
	}
	if (archive != NULL && count > 0 &&
		!target_publish_file(target, archive, error))
		return false;
	return sync_parent(target, TARGET_MARKER, error) &&
		(target->tar ||
		 (sync_parent(target, "pg_wal/x", error) &&
		  sync_parent(target, "pg_wal/archive_status/x", error)));
}

bool
target_make_directories(Target *target, const FileEntry *entries, int count,
						TargetError *error)
{
	for (int i = 0; i < count; i++)
	{
		if (!path_step())
			return fail_unwanted(error);
		if (entries[i].kind == FILE_DIRECTORY &&
			mkdirat(target->directory, entries[i].name,
					target_settings.directory_mode) != 0 &&
			!(errno == EEXIST && target->linked))
			return target_fail_in(error, "create directory", target->path,
								  entries[i].name);
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
	path_point("native.complete");
	if (!path_step())
		return fail_unwanted(error);
	if (unlinkat(target->directory, TARGET_MARKER, 0) != 0)
		return target_fail_in(error, "remove file", target->path, TARGET_MARKER);
	return sync_parent(target, TARGET_MARKER, error);
}

void
target_close(Target *target)
{
	if (target->in_use)
		close(target->directory);
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

bool
target_mark(int directory, const char *path, TargetError *error)
{
	int			fd = openat(directory, TARGET_MARKER,
							O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC,
							target_settings.file_mode);

	if (fd < 0)
		return target_fail_in(error, "create file", path, TARGET_MARKER);
	close(fd);
	return true;
}

bool
target_remove(Target *target, TargetError *error)
{
	bool		good = true;

	if (!target->in_use)
		return true;
	path_point("native.remove");
	if (target->reused)
		remove_unpublished(target);
	else
	{
		(void) target_mark(target->directory, target->path, error);
		good = removal_empty(target->directory, target->path, TARGET_MARKER, error);
		/* until now nothing here looks like a backup */
		if (good)
			(void) unlinkat(target->directory, TARGET_MARKER, 0);
		if (!target->made)
			(void) fchmod(target->directory, target->mode_before);
		else if (good)
			good = removal_of_directory(target->directory, target->path, error);
		if (target->parent_made[0] != '\0')
			(void) rmdir(target->parent_made);
	}
	target_close(target);
	return good;
}
