/*
 * Preloaded into a server: a disk, a clock and a machine that do what a test
 * wants.
 *
 * $ESE_TEST_DISK is a file.  Its first word says which system call fails, its
 * second one with which error number, its third one is part of the names of
 * the files under ese/ that are meant: "write 28 history".  With the number 0
 * the call does not come to an end before the file changes; while one waits
 * there is a file with the suffix ".waiting".
 *
 * $ESE_TEST_CLOCK is a file with seconds that are added to the time of day;
 * $ESE_TEST_MACHINE is read instead of /etc/machine-id.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#define REAL(type, name) ((type) dlsym(RTLD_NEXT, name))

typedef int (*open_function) (const char *, int, ...);

/* Read a small file; an absent one is empty. */
static void
get(const char *path, char *text, size_t size)
{
	int			fd = path ? REAL(open_function, "open") (path, O_RDONLY) : -1;
	ssize_t		length = fd >= 0 ? read(fd, text, size - 1) : -1;

	text[length > 0 ? length : 0] = '\0';
	if (fd >= 0)
		close(fd);
}

/* What is to become of this call?  An error number, or 0. */
static int
fate(const char *call, const char *path)
{
	char		order[128];
	char		file[128];
	char		name[32] = "";
	char		part[64] = "";
	int			error = 0;

	for (;;)
	{
		get(getenv("ESE_TEST_DISK"), order, sizeof(order));
		if (strncmp(path, "ese/", 4) != 0 ||
			sscanf(order, "%31s %d %63s", name, &error, part) < 2 ||
			strcmp(name, call) != 0 || strstr(path, part) == NULL)
		{
			error = 0;
			break;
		}
		if (error != 0)
			break;
		snprintf(file, sizeof(file), "%s.waiting", getenv("ESE_TEST_DISK"));
		close(REAL(open_function, "open") (file, O_WRONLY | O_CREAT, 0600));
		usleep(10000);
	}
	return error;
}

/* Of a descriptor; only files under ese/ have relative names that matter. */
static int
fate_of(const char *call, int fd)
{
	char		link[64];
	char		path[4096];
	char	   *ese;
	ssize_t		length;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	length = readlink(link, path, sizeof(path) - 1);
	if (length <= 0)
		return 0;
	path[length] = '\0';
	ese = strstr(path, "/ese/");
	return ese ? fate(call, ese + 1) : 0;
}

static int
open_it(const char *function, const char *path, int flags, mode_t mode)
{
	int			error = flags & O_CREAT ? fate("open", path) : 0;

	if (error != 0)
	{
		errno = error;
		return -1;
	}
	if (strcmp(path, "/etc/machine-id") == 0 && getenv("ESE_TEST_MACHINE"))
		path = getenv("ESE_TEST_MACHINE");
	return REAL(open_function, function) (path, flags, mode);
}

#define OPEN(name) \
int \
name(const char *path, int flags, ...) \
{ \
	va_list		args; \
	mode_t		mode; \
 \
	va_start(args, flags); \
	mode = flags & O_CREAT ? va_arg(args, mode_t) : 0; \
	va_end(args); \
	return open_it(#name, path, flags, mode); \
}

OPEN(open)
OPEN(open64)

ssize_t
write(int fd, const void *data, size_t length)
{
	int			error = fate_of("write", fd);

	if (error == 0)
		return REAL(ssize_t (*) (int, const void *, size_t), "write") (fd, data, length);
	errno = error;
	return -1;
}

int
fsync(int fd)
{
	int			error = fate_of("fsync", fd);

	if (error == 0)
		return REAL(int (*) (int), "fsync") (fd);
	errno = error;
	return -1;
}

int
rename(const char *from, const char *to)
{
	int			error = fate("rename", to);

	if (error == 0)
		return REAL(int (*) (const char *, const char *), "rename") (from, to);
	errno = error;
	return -1;
}

int
gettimeofday(struct timeval *now, void *zone)
{
	char		seconds[32];
	int			result = REAL(int (*) (struct timeval *, void *), "gettimeofday") (now, zone);

	get(getenv("ESE_TEST_CLOCK"), seconds, sizeof(seconds));
	now->tv_sec += atol(seconds);
	return result;
}
