/*-------------------------------------------------------------------------
 *
 * documentfile.c
 *	  Reading documents from a directory.
 *
 *-------------------------------------------------------------------------
 */
#include "documentfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE (256 * 1024)

/* Always NULL. */
static char *
fail(int *sys_errno, int error)
{
	*sys_errno = error;
	return NULL;
}

/* Always false. */
static bool
refuse(DocumentProblem *problem, const char *why)
{
	snprintf(problem->why, sizeof(problem->why), "%s", why);
	return false;
}

/* Read exactly so many bytes; false and errno (0 at the end of the file). */
static bool
read_fully(int fd, char *to, size_t length, uint64_t at)
{
	while (length > 0)
	{
		ssize_t		n = pread(fd, to, length, (off_t) at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
		{
			errno = n < 0 ? errno : 0;
			return false;
		}
		to += n;
		at += (uint64_t) n;
		length -= (size_t) n;
	}
	return true;
}

/* The SHA-256 of the first bytes of a file, a piece at a time. */
static bool
digest_file(int fd, uint64_t length, DigestValue *value, int *sys_errno)
{
	char	   *piece = malloc(PIECE);
	Digest		digest;
	Digest		scratch;
	bool		good = digest_init(&digest, DIGEST_SHA256);

	good = digest_init(&scratch, DIGEST_SHA256) && good && piece != NULL;
	*sys_errno = good ? 0 : ENOMEM;
	for (uint64_t at = 0; good && at < length; at += PIECE)
	{
		size_t		part = length - at < PIECE ? (size_t) (length - at) : PIECE;

		good = read_fully(fd, piece, part, at);
		*sys_errno = good ? 0 : errno;
		good = good && digest_update(&digest, piece, part);
	}
	good = good && digest_value(&digest, &scratch, value);
	digest_free(&digest);
	digest_free(&scratch);
	free(piece);
	return good;
}

/* Does the last line hold the checksum of all others? */
static bool
check_checksum(int fd, uint64_t length, int *sys_errno,
			   DocumentProblem *problem)
{
	char		last[DOCUMENT_LAST_LINE + 1];
	char		wanted[DOCUMENT_LAST_LINE + 1];
	DigestValue value;

	*sys_errno = 0;
	if (length < DOCUMENT_LAST_LINE)
		return refuse(problem, "it ends too early");
	if (!read_fully(fd, last, DOCUMENT_LAST_LINE, length - DOCUMENT_LAST_LINE))
		*sys_errno = errno;
	else if (digest_file(fd, length - DOCUMENT_LAST_LINE, &value, sys_errno))
	{
		document_last_line(wanted, &value);
		if (memcmp(last, wanted, DOCUMENT_LAST_LINE) == 0)
			return true;
	}
	return refuse(problem, "its own checksum is wrong, or not there");
}

static char *
load(int fd, uint64_t max, size_t *length, int *sys_errno,
	 DocumentProblem *problem)
{
	struct stat st;
	char	   *bytes;

	if (fstat(fd, &st) != 0)
		return fail(sys_errno, errno);
	*sys_errno = 0;
	if (!S_ISREG(st.st_mode))
		(void) refuse(problem, "it is no file");
	else if ((uint64_t) st.st_size > max)
		(void) refuse(problem, "it is too long");
	if (problem->why[0] != '\0' ||
		!check_checksum(fd, (uint64_t) st.st_size, sys_errno, problem))
		return NULL;
	*length = (size_t) st.st_size;
	bytes = malloc(*length);
	if (bytes == NULL)
		return fail(sys_errno, ENOMEM);
	if (read_fully(fd, bytes, *length, 0))
		return bytes;
	*sys_errno = errno;
	(void) refuse(problem, "it has become shorter");
	free(bytes);
	return NULL;
}

char *
document_load(int directory, const char *name, uint64_t max, size_t *length,
			  int *sys_errno, DocumentProblem *problem)
{
	int			fd = openat(directory, name,
							O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	char	   *bytes;

	memset(problem, 0, sizeof(*problem));
	if (fd < 0)
		return fail(sys_errno, errno);
	bytes = load(fd, max, length, sys_errno, problem);
	close(fd);
	return bytes;
}
