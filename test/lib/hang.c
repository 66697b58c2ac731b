/*
 * Preloaded into a server: a disk that hangs.  While there is a file
 * $ESE_TEST_HANG/<call> that holds the path of a directory, no thread gets
 * through that system call (of those below) on what lies there.  While one
 * waits there is a file with the suffix ".waiting".
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The path by which a directory's entry is known. */
static void
resolve(int directory, const char *path, char *resolved)
{
	char		link[64];
	ssize_t		length = 0;

	if (path[0] != '/' && directory != AT_FDCWD)
	{
		snprintf(link, sizeof(link), "/proc/self/fd/%d", directory);
		length = syscall(SYS_readlinkat, AT_FDCWD, link, resolved, PATH_MAX - 1);
		if (length < 0)
			length = 0;
		resolved[length++] = '/';
	}
	snprintf(resolved + length, PATH_MAX, "%s", path);
}

static int
read_gate(const char *name, char *directory)
{
	int			fd = (int) syscall(SYS_openat, AT_FDCWD, name, O_RDONLY | O_CLOEXEC);
	ssize_t		length = -1;

	if (fd < 0)
		return 0;
	length = syscall(SYS_read, fd, directory, PATH_MAX - 1);
	syscall(SYS_close, fd);
	directory[length > 0 ? length : 0] = '\0';
	return length > 0;
}

static void
gate(const char *call, int at, const char *path)
{
	const char *gates = getenv("ESE_TEST_HANG");
	char		name[PATH_MAX];
	char		waiting[PATH_MAX + 16];
	char		directory[PATH_MAX];
	char		resolved[2 * PATH_MAX];
	int			waited = 0;

	if (gates == NULL)
		return;
	snprintf(name, sizeof(name), "%s/%s", gates, call);
	if (!read_gate(name, directory))
		return;
	resolve(at, path, resolved);
	if (strncmp(resolved, directory, strlen(directory)) != 0)
		return;
	snprintf(waiting, sizeof(waiting), "%s.waiting", name);
	for (; read_gate(name, directory); waited = 1)
	{
		syscall(SYS_close, syscall(SYS_openat, AT_FDCWD, waiting, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
		usleep(5000);
	}
	if (waited)
		syscall(SYS_unlink, waiting);
}

#define REAL(type, name, ...) \
	static type (*real) (__VA_ARGS__); \
	if (real == NULL) \
		real = (type (*) (__VA_ARGS__)) dlsym(RTLD_NEXT, #name)

#define OPEN(name) \
int name(const char *path, int flags, ...) \
{ \
	va_list		args; \
	mode_t		mode; \
	REAL(int, name, const char *, int, ...); \
	va_start(args, flags); \
	mode = va_arg(args, mode_t); \
	va_end(args); \
	gate("open", AT_FDCWD, path); \
	return real(path, flags, mode); \
}
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
int name(int at, const char *path, int flags, ...) \
{ \
	va_list		args; \
	mode_t		mode; \
	REAL(int, name, int, const char *, int, ...); \
	va_start(args, flags); \
	mode = va_arg(args, mode_t); \
	va_end(args); \
	gate("open", at, path); \
	return real(at, path, flags, mode); \
}
OPENAT(openat)
OPENAT(openat64)

void *
opendir(const char *path)
{
	REAL(void *, opendir, const char *);
	gate("open", AT_FDCWD, path);
	return real(path);
}

#define STAT(name) \
int name(const char *path, struct stat *st) \
{ \
	REAL(int, name, const char *, struct stat *); \
	gate("stat", AT_FDCWD, path); \
	return real(path, st); \
}
STAT(stat)
STAT(lstat)

int
fstatat(int at, const char *path, struct stat *st, int flags)
{
	REAL(int, fstatat, int, const char *, struct stat *, int);
	gate("stat", at, path);
	return real(at, path, st, flags);
}

int
access(const char *path, int mode)
{
	REAL(int, access, const char *, int);
	gate("stat", AT_FDCWD, path);
	return real(path, mode);
}

int
mkdir(const char *path, mode_t mode)
{
	REAL(int, mkdir, const char *, mode_t);
	gate("mkdir", AT_FDCWD, path);
	return real(path, mode);
}

int
mkdirat(int at, const char *path, mode_t mode)
{
	REAL(int, mkdirat, int, const char *, mode_t);
	gate("mkdir", at, path);
	return real(at, path, mode);
}

int
unlink(const char *path)
{
	REAL(int, unlink, const char *);
	gate("unlink", AT_FDCWD, path);
	return real(path);
}

int
rmdir(const char *path)
{
	REAL(int, rmdir, const char *);
	gate("unlink", AT_FDCWD, path);
	return real(path);
}

int
unlinkat(int at, const char *path, int flags)
{
	REAL(int, unlinkat, int, const char *, int);
	gate("unlink", at, path);
	return real(at, path, flags);
}

int
rename(const char *from, const char *to)
{
	REAL(int, rename, const char *, const char *);
	gate("rename", AT_FDCWD, from);
	return real(from, to);
}

int
renameat(int at, const char *from, int at_to, const char *to)
{
	REAL(int, renameat, int, const char *, int, const char *);
	gate("rename", at, from);
	return real(at, from, at_to, to);
}

/* Calls on descriptors of files. */
static void
gate_fd(const char *call, int fd)
{
	char		link[64];
	char		path[PATH_MAX];
	ssize_t		length;

	if (getenv("ESE_TEST_HANG") == NULL)
		return;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof(path) - 1);
	if (length <= 0)
		return;
	path[length] = '\0';
	gate(call, AT_FDCWD, path);
}

/* Is the disk full of which $ESE_TEST_HANG/full holds the path? */
static int
is_full(int fd)
{
	char		name[PATH_MAX];
	char		directory[PATH_MAX];
	char		path[PATH_MAX];
	ssize_t		length;

	if (getenv("ESE_TEST_HANG") == NULL)
		return 0;
	snprintf(name, sizeof(name), "%s/full", getenv("ESE_TEST_HANG"));
	if (!read_gate(name, directory))
		return 0;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	length = syscall(SYS_readlinkat, AT_FDCWD, name, path, sizeof(path) - 1);
	if (length <= 0)
		return 0;
	path[length] = '\0';
	return strncmp(path, directory, strlen(directory)) == 0;
}

int
fsync(int fd)
{
	REAL(int, fsync, int);
	gate_fd("fsync", fd);
	return real(fd);
}

int
syncfs(int fd)
{
	REAL(int, syncfs, int);
	gate_fd("fsync", fd);
	return real(fd);
}

ssize_t
write(int fd, const void *bytes, size_t length)
{
	REAL(ssize_t, write, int, const void *, size_t);
	gate_fd("write", fd);
	if (is_full(fd))
	{
		errno = ENOSPC;
		return -1;
	}
	return real(fd, bytes, length);
}
