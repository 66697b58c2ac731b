/*-------------------------------------------------------------------------
 *
 * publishing.c
 *	  Publishing a backup in a directory, and its index.
 *
 *-------------------------------------------------------------------------
 */
#include "publishing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Note what has failed; always false. */
static bool
fail(PublishingError *error, const char *what, const char *name)
{
	int			sys_errno = errno;

	memset(error, 0, sizeof(*error));
	error->what = what;
	error->sys_errno = sys_errno;
	snprintf(error->name, sizeof(error->name), "%s", name);
	return false;
}

static const char *
index_path(bool tar)
{
	return tar ? BACKUPINDEX_PATH_TAR : BACKUPINDEX_PATH_PLAIN;
}

/* ---- lists of names */

static bool
add_name(char ***names, uint32_t *count, const char *name)
{
	char	  **larger = realloc(*names, (*count + 1) * sizeof(char *));

	if (larger == NULL)
		return false;
	*names = larger;
	larger[*count] = strdup(name);
	if (larger[*count] == NULL)
		return false;
	(*count)++;
	return true;
}

static void
free_names(char **names, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		free(names[i]);
	free(names);
}

bool
publishing_add_name(Publishing *publishing, const char *name)
{
	return add_name(&publishing->names, &publishing->name_count, name);
}

bool
publishing_add_leftover(Publishing *publishing, const char *name)
{
	return add_name(&publishing->leftovers, &publishing->leftover_count,
					name);
}

void
publishing_free(Publishing *publishing)
{
	free_names(publishing->names, publishing->name_count);
	free_names(publishing->leftovers, publishing->leftover_count);
	backupindex_clear(&publishing->index);
	free(publishing);
}

/* ---- files */

static bool
write_all(int fd, const char *bytes, size_t length)
{
	while (length > 0)
	{
		ssize_t		n = write(fd, bytes, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		bytes += n;
		length -= (size_t) n;
	}
	return true;
}

/* Write a new file in place of one that was left, and make it durable. */
static bool
write_file(int directory, const char *name, unsigned mode,
		   const ByteBuffer *bytes, PublishingError *error)
{
	int			fd;
	bool		good;

	if (unlinkat(directory, name, 0) != 0 && errno != ENOENT)
		return fail(error, "remove file", name);
	fd = openat(directory, name,
				O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
				(mode_t) mode);
	if (fd < 0)
		return fail(error, "create file", name);
	good = write_all(fd, bytes->data, bytes->length) && fsync(fd) == 0;
	if (!good)
		(void) fail(error, "write file", name);
	if (close(fd) != 0 && good)
		good = fail(error, "write file", name);
	return good;
}

/* Make the entries of a directory durable. */
static bool
sync_directory(int directory, const char *name, PublishingError *error)
{
	int			fd = openat(directory, name,
							O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	bool		good = fd >= 0 && fsync(fd) == 0;

	if (!good)
		(void) fail(error, "sync directory", name);
	if (fd >= 0)
		close(fd);
	return good;
}

static bool
rename_file(int directory, const char *name, const char *suffix,
			PublishingError *error)
{
	char		from[DOCUMENT_MAX_PATH + 32];

	snprintf(from, sizeof(from), "%s%s", name, suffix);
	return renameat(directory, from, directory, name) == 0 ||
		fail(error, "rename file", from);
}

/* ---- the index */

/* Read a whole file of at most so many bytes; malloc'd. */
static char *
read_file(int directory, const char *name, size_t most, size_t *length,
		  PublishingError *error)
{
	int			fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC |
							O_NONBLOCK);
	struct stat st;
	char	   *bytes = NULL;
	size_t		done = 0;
	ssize_t		n = 1;

	if (fd < 0)
	{
		(void) fail(error, "open file", name);
		return NULL;
	}
	if (fstat(fd, &st) == 0 &&
		(!S_ISREG(st.st_mode) || (uint64_t) st.st_size > most))
		errno = EFBIG;
	else
		bytes = malloc((size_t) st.st_size + 1);
	while (bytes != NULL && done < (size_t) st.st_size && n > 0)
	{
		n = read(fd, bytes + done, (size_t) st.st_size - done);
		done += n > 0 ? (size_t) n : 0;
	}
	if (bytes == NULL || n < 0)
	{
		(void) fail(error, "read file", name);
		free(bytes);
		bytes = NULL;
	}
	close(fd);
	*length = done;
	return bytes;
}

bool
publishing_read_index(int directory, bool tar, BackupIndex *index,
					  PublishingError *error)
{
	const char *name = index_path(tar);
	size_t		length;
	char	   *bytes = read_file(directory, name, BACKUPINDEX_MAX_LENGTH,
								  &length, error);
	bool		good;

	memset(index, 0, sizeof(*index));
	if (bytes == NULL)
		return error->sys_errno == ENOENT;
	errno = 0;
	(void) fail(error, "use file", name);
	good = backupindex_read(index, bytes, length, &error->problem);
	free(bytes);
	if (good && index->tar != tar)
	{
		backupindex_clear(index);
		snprintf(error->problem.why, sizeof(error->problem.why),
				 "it belongs to a directory of another format");
		good = false;
	}
	return good;
}

bool
publishing_write_index(int directory, unsigned mode, const char *suffix,
					   BackupIndex *index, PublishingError *error)
{
	const char *name = index_path(index->tar);
	char		written[64];
	ByteBuffer	bytes = {0};
	bool		good;

	if (!backupindex_write(index, &bytes))
	{
		buffer_free(&bytes);
		errno = ENOMEM;
		return fail(error, "write file", name);
	}
	snprintf(written, sizeof(written), "%s%s", name, suffix);
	good = write_file(directory, written, mode, &bytes, error) &&
		rename_file(directory, name, suffix, error) &&
		sync_directory(directory, index->tar ? "." : "pg_wal", error);
	buffer_free(&bytes);
	return good;
}

/* ---- steps */

static bool
remove_leftovers(Publishing *publishing, PublishingError *error)
{
	for (uint32_t i = 0; i < publishing->leftover_count; i++)
	{
		const char *name = publishing->leftovers[i];

		if (unlinkat(publishing->directory, name, 0) != 0 && errno != ENOENT)
			return fail(error, "remove file", name);
	}
	return true;
}

static bool
sync_names(Publishing *publishing, PublishingError *error)
{
	int			directory = publishing->directory;

	return sync_directory(directory, ".", error) &&
		(publishing->index.tar ||
		 (sync_directory(directory, "pg_wal", error) &&
		  sync_directory(directory, "pg_wal/archive_status", error)));
}

/* The link counts from now on. */
static bool
finish(Publishing *publishing, PublishingError *error)
{
	BackupIndex *index = &publishing->index;

	if (!backupindex_add_link(index, &index->adding) ||
		(index->tar && !backupindex_add_archive(index, &publishing->archive)))
	{
		errno = ENOMEM;
		return fail(error, "write file", index_path(index->tar));
	}
	index->has_adding = false;
	return publishing_write_index(publishing->directory, publishing->mode,
								  publishing->suffix, index, error);
}

PublishingStep
publishing_step(Publishing *publishing, PublishingError *error)
{
	uint32_t	step = publishing->next++;
	bool		good;

	if (step == 0)
	{
		publishing->index.has_adding = true;
		good = publishing_write_index(publishing->directory,
									  publishing->mode, publishing->suffix,
									  &publishing->index, error);
	}
	else if (step <= publishing->name_count)
		good = rename_file(publishing->directory,
						   publishing->names[step - 1], publishing->suffix,
						   error);
	else
	{
		good = remove_leftovers(publishing, error) &&
			sync_names(publishing, error) && finish(publishing, error);
		return good ? PUBLISHING_DONE : PUBLISHING_FAILED;
	}
	return good ? PUBLISHING_MORE : PUBLISHING_FAILED;
}
