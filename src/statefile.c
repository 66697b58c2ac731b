/*-------------------------------------------------------------------------
 *
 * statefile.c
 *	  Reading and replacing the files under ese/.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file_perm.h"
#include "storage/fd.h"

#include "aside.h"
#include "engine/jet.h"
#include "statefile.h"
#include "engine/target.h"

/* A name under ese/ with its suffix, and room for a digit or two. */
#define PATH_LENGTH 96

/* errno is what went wrong; false, for the caller to return. */
static bool
fail(FileProblem *problem, const char *what, const char *path)
{
	problem->sys_errno = errno;
	problem->sqlerrcode = 0;
	problem->hint = NULL;
	snprintf(problem->message, sizeof(problem->message),
			 "could not %s \"%s\": %m", what, path);
	return false;
}

/* Flush the names in a directory. */
static bool
sync_directory(const char *path, FileProblem *problem)
{
	int			fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool		good;

	if (fd < 0)
		return fail(problem, "open directory", path);
	/* some file systems know no flush of a directory */
	good = pg_fsync(fd) == 0 || errno == EBADF || errno == EINVAL ||
		fail(problem, "fsync directory", path);
	close(fd);
	return good;
}

/* Make ese/ itself, once. */
static bool
make_directory(FileProblem *problem)
{
	if (MakePGDirectory(ESE_DIRECTORY) == 0)
		return sync_directory(".", problem);
	return errno == EEXIST || fail(problem, "create directory", ESE_DIRECTORY);
}

/* All bytes; a short write without an error is a full disk. */
static bool
write_all(int fd, const char *data, size_t length)
{
	while (length > 0)
	{
		ssize_t		written;

		errno = ENOSPC;
		written = write(fd, data, length);
		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			return false;
		data += written;
		length -= (size_t) written;
	}
	return true;
}

/* Write a new file and flush it. */
static bool
write_file(const char *path, const ByteBuffer *record, FileProblem *problem)
{
	int			fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
						  pg_file_create_mode);
	bool		good;

	if (fd < 0)
		return fail(problem, "create file", path);
	good = write_all(fd, record->data, record->length) ||
		fail(problem, "write file", path);
	good = good && (pg_fsync(fd) == 0 || fail(problem, "fsync file", path));
	if (close(fd) != 0 && good)
		good = fail(problem, "close file", path);
	return good;
}

static bool
replace(const char *path, const ByteBuffer *record, FileProblem *problem)
{
	char		temporary[PATH_LENGTH];

	snprintf(temporary, sizeof(temporary), "%s.tmp", path);
	if (!make_directory(problem))
		return false;
	if (write_file(temporary, record, problem) &&
		(rename(temporary, path) == 0 ||
		 fail(problem, "rename file", temporary)))
		return sync_directory(ESE_DIRECTORY, problem);
	(void) unlink(temporary);
	return false;
}

/* What a thread needs to replace a file. */
typedef struct Replacing
{
	const char *path;
	const ByteBuffer *record;
	FileProblem *problem;
	bool		good;
} Replacing;

static void
do_replace(void *arg)
{
	Replacing  *replacing = arg;

	replacing->good = replace(replacing->path, replacing->record,
							  replacing->problem);
}

/* The same, while a stop of this worker's backup is met. */
static bool
replace_aside(const char *path, const ByteBuffer *record,
			  FileProblem *problem)
{
	Replacing	replacing = {path, record, problem};

	aside_run(do_replace, &replacing);
	return replacing.good;
}

bool
statefile_write(const char *name, ByteBuffer *record, uint32 magic,
				uint32 version, FileProblem *problem)
{
	char		path[PATH_LENGTH];
	bool		good;

	snprintf(path, sizeof(path), ESE_DIRECTORY "/%s", name);
	errno = ENOMEM;
	good = record_seal(record, magic, version) ?
		replace_aside(path, record, problem) : fail(problem, "write file", path);
	buffer_free(record);
	return good;
}

/* Its contents are not what they should be. */
static FileResult
refuse_contents(const char *path, RecordProblem why, FileProblem *problem)
{
	problem->sys_errno = 0;
	problem->sqlerrcode = ERRCODE_DATA_CORRUPTED;
	problem->hint = "Put back a good copy, or move the file away: what it recorded is lost then.";
	if (why == RECORD_WRONG_VERSION)
	{
		problem->sqlerrcode = ERRCODE_FEATURE_NOT_SUPPORTED;
		problem->hint = "Install the version of ese that wrote it; what it records is needed.";
	}
	snprintf(problem->message, sizeof(problem->message),
			 "cannot use file \"%s\": %s", path, record_problem_text(why));
	return FILE_BAD;
}

/* Read the whole file; NULL when that fails. */
static char *
read_file(int fd, const char *path, size_t *length, FileProblem *problem)
{
	struct stat st;
	char	   *data = NULL;
	ssize_t		got = 0;

	if (fstat(fd, &st) != 0)
		(void) fail(problem, "look at file", path);
	else if (st.st_size > RECORD_MAX_LENGTH + RECORD_HEADER_LENGTH)
		(void) refuse_contents(path, RECORD_WRONG_LENGTH, problem);
	else
	{
		data = palloc_extended(st.st_size + 1, MCXT_ALLOC_NO_OOM);
		errno = ENOMEM;
		while (data != NULL && *length < (size_t) st.st_size &&
			   (got = read(fd, data + *length, st.st_size - *length)) > 0)
			*length += (size_t) got;
		if (data == NULL || got < 0)
		{
			(void) fail(problem, "read file", path);
			if (data != NULL)
				pfree(data);
			data = NULL;
		}
	}
	return data;
}

FileResult
statefile_read_since(const char *name, uint32 magic, uint32 oldest,
					 uint32 version, RecordReader *reader, char **data,
					 FileProblem *problem)
{
	char		path[PATH_LENGTH];
	RecordProblem why;
	size_t		length = 0;
	int			fd;

	snprintf(path, sizeof(path), ESE_DIRECTORY "/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return FILE_ABSENT;
	if (fd < 0)
	{
		(void) fail(problem, "open file", path);
		return FILE_BAD;
	}
	*data = read_file(fd, path, &length, problem);
	close(fd);
	if (*data == NULL)
		return FILE_BAD;
	why = record_open_since(reader, *data, length, magic, oldest, version);
	if (why == RECORD_OK)
		return FILE_FOUND;
	pfree(*data);
	return refuse_contents(path, why, problem);
}

FileResult
statefile_read(const char *name, uint32 magic, uint32 version,
			   RecordReader *reader, char **data, FileProblem *problem)
{
	return statefile_read_since(name, magic, version, version, reader, data,
								problem);
}

bool
statefile_read_done(const char *name, RecordReader *reader, char *data,
					FileProblem *problem)
{
	char		path[PATH_LENGTH];

	pfree(data);
	if (record_done(reader))
		return true;
	snprintf(path, sizeof(path), ESE_DIRECTORY "/%s", name);
	(void) refuse_contents(path, RECORD_OK, problem);
	return false;
}

void
statefile_remove(const char *name)
{
	char		path[PATH_LENGTH];

	snprintf(path, sizeof(path), ESE_DIRECTORY "/%s", name);
	if (unlink(path) != 0 && errno != ENOENT)
		ereport(WARNING,
				(errcode_for_file_access(),
				 errmsg("could not remove file \"%s\": %m", path)));
}

void
statefile_raise(const FileProblem *problem)
{
	errno = problem->sys_errno;
	ereport(ERROR,
			(problem->sys_errno != 0 ? errcode_for_file_access() :
			 errcode(problem->sqlerrcode),
			 errmsg("%s", problem->message),
			 problem->hint ? errhint("%s", problem->hint) : 0));
	pg_unreachable();
}

int
statefile_jet_error(const FileProblem *problem)
{
	return problem->sys_errno != 0 ? target_jet_error(problem->sys_errno) :
		JET_errDiskIO;
}

char *
statefile_manifest_path(int32 instance_id)
{
	return psprintf("%s/manifest.%d", ESE_DIRECTORY, instance_id);
}

char *
statefile_private_link(int32 instance_id)
{
	return psprintf("%s/private.%d", ESE_DIRECTORY, instance_id);
}
