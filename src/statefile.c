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

#include "statefile.h"

static char *
path_of(const char *name)
{
	return psprintf(ESE_DIRECTORY "/%s", name);
}

/* Make ese/ itself, once. */
static void
make_directory(void)
{
	if (MakePGDirectory(ESE_DIRECTORY) == 0)
		fsync_fname(".", true);
	else if (errno != EEXIST)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create directory \"%s\": %m",
						ESE_DIRECTORY)));
}

/* Write all bytes to a new file and flush it. */
static void
write_file(const char *path, const char *data, size_t length)
{
	int			fd;

	fd = OpenTransientFile(path, O_WRONLY | O_CREAT | O_TRUNC | PG_BINARY);
	if (fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create file \"%s\": %m", path)));
	errno = 0;
	if (write(fd, data, length) != (ssize_t) length)
	{
		/* a short write without an error is a full disk */
		if (errno == 0)
			errno = ENOSPC;
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not write file \"%s\": %m", path)));
	}
	if (pg_fsync(fd) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not fsync file \"%s\": %m", path)));
	if (CloseTransientFile(fd) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not close file \"%s\": %m", path)));
}

void
statefile_write(const char *name, ByteBuffer *record, uint32 magic,
				uint32 version)
{
	char	   *path = path_of(name);
	char	   *temporary = psprintf("%s.tmp", path);

	if (!record_seal(record, magic, version))
	{
		buffer_free(record);
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory while writing file \"%s\"", path)));
	}

	PG_TRY();
	{
		make_directory();
		write_file(temporary, record->data, record->length);
		(void) durable_rename(temporary, path, ERROR);
	}
	PG_FINALLY();
	{
		buffer_free(record);
	}
	PG_END_TRY();
	pfree(temporary);
	pfree(path);
}

static void
report_damage(const char *path, RecordProblem problem)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("cannot use file \"%s\": %s", path,
					record_problem_text(problem)),
			 errhint("Move the file away (what it recorded is lost then) or put back a good copy.")));
}

bool
statefile_read(const char *name, uint32 magic, uint32 version,
			   RecordReader *reader, char **data)
{
	char	   *path = path_of(name);
	struct stat st;
	RecordProblem problem;
	ssize_t		got;
	int			fd;

	fd = OpenTransientFile(path, O_RDONLY | PG_BINARY);
	if (fd < 0 && errno == ENOENT)
		return false;
	if (fd < 0 || fstat(fd, &st) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\": %m", path)));
	if (st.st_size > RECORD_MAX_LENGTH + RECORD_HEADER_LENGTH)
		report_damage(path, RECORD_WRONG_LENGTH);

	*data = palloc(st.st_size + 1);
	got = read(fd, *data, st.st_size);
	if (got < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read file \"%s\": %m", path)));
	CloseTransientFile(fd);

	problem = record_open(reader, *data, got, magic, version);
	if (problem != RECORD_OK)
		report_damage(path, problem);
	pfree(path);
	return true;
}

void
statefile_read_done(const char *name, RecordReader *reader)
{
	if (!record_done(reader))
		report_damage(path_of(name), RECORD_OK);
}

void
statefile_remove(const char *name)
{
	char	   *path = path_of(name);

	if (unlink(path) != 0 && errno != ENOENT)
		ereport(WARNING,
				(errcode_for_file_access(),
				 errmsg("could not remove file \"%s\": %m", path)));
	pfree(path);
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
