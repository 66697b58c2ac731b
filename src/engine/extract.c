/*-------------------------------------------------------------------------
 *
 * extract.c
 *	  Extracting archives with libarchive.
 *
 *-------------------------------------------------------------------------
 */
#include "extract.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "jet.h"

/* Bytes of members that one step extracts. */
#define STEP_LENGTH (1024 * 1024)

/* Members without contents, and small ones, that one step extracts. */
#define STEP_MEMBERS 16

#define DIRECTORY_MODE(file_mode) ((file_mode) & 040 ? 0750 : 0700)

/* A read call-back of libarchive. */
static la_ssize_t
read_piece(struct archive *archive, void *arg, const void **bytes)
{
	EngExtract *extract = arg;
	ssize_t		n;

	if (job_is_unwanted(extract->job, extract->shared))
	{
		archive_set_error(archive, ECANCELED, "unwanted");
		return ARCHIVE_FATAL;
	}
	eng_wait_until(extract->job->engine,
				   throttle_reserve(&extract->shared->throttle, ENG_FRAME_SIZE));
	do
		n = read(extract->fd, extract->piece, ENG_FRAME_SIZE);
	while (n < 0 && errno == EINTR);
	if (n < 0)
	{
		extract->read_errno = errno;
		archive_set_error(archive, errno, "read");
		return ARCHIVE_FATAL;
	}
	atomic_fetch_add(&extract->read_done, (uint64_t) n);
	*bytes = extract->piece;
	return n;
}

static bool
open_archive(EngExtract *extract)
{
	extract->archive = archive_read_new();
	if (extract->archive == NULL)
		return false;
	return archive_read_support_format_tar(extract->archive) == ARCHIVE_OK &&
		archive_read_support_filter_lz4(extract->archive) == ARCHIVE_OK &&
		archive_read_support_filter_zstd(extract->archive) == ARCHIVE_OK &&
		archive_read_set_read_callback(extract->archive, read_piece) == ARCHIVE_OK &&
		archive_read_set_callback_data(extract->archive, extract) == ARCHIVE_OK;
}

EngExtract *
eng_extract_new(int directory, const char *name, const EngTarget *target,
				const Inventory *inventory, const char *late_suffix)
{
	EngExtract *extract = calloc(1, sizeof(EngExtract));
	int			fd = openat(directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (extract == NULL || fd < 0)
	{
		free(extract);
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	extract->fd = fd;
	extract->target = target;
	extract->inventory = inventory;
	extract->late_suffix = late_suffix;
	sink_init(&extract->sink, target);
	extract->piece = malloc(ENG_FRAME_SIZE);
	if (extract->piece != NULL && open_archive(extract))
		return extract;
	eng_extract_free(extract);
	errno = ENOMEM;
	return NULL;
}

void
eng_extract_free(EngExtract *extract)
{
	if (extract->archive != NULL)
		(void) archive_read_free(extract->archive);
	sink_abandon(&extract->sink);
	close(extract->fd);
	free(extract->piece);
	free(extract);
}

/* It is not what it must be. */
static JobOutcome
fail_verify(EngExtract *extract)
{
	return job_fail(extract->job, JET_errReadVerifyFailure, 0, 0,
					extract->done);
}

/* libarchive has failed: was it a read, a stop, or what it has read? */
static JobOutcome
fail_archive(EngExtract *extract)
{
	if (job_is_unwanted(extract->job, extract->shared))
		return JOB_PARK;
	if (extract->read_errno != 0)
		return job_fail(extract->job, JET_errDiskIO, extract->read_errno, 0, 0);
	if (archive_errno(extract->archive) == ENOMEM)
		return job_fail(extract->job, JET_errOutOfMemory, 0, 0, 0);
	extract->name[0] = '\0';
	return fail_verify(extract);
}

/* Make a directory and those it lies in: archives come in any order. */
static JobOutcome
make_directories(EngExtract *extract, const char *path)
{
	char		part[sizeof(extract->name)];

	if (extract->target == NULL)
		return JOB_MORE;
	for (const char *slash = path; slash != NULL && slash[0] != '\0';)
	{
		slash = strchr(slash, '/');
		snprintf(part, sizeof(part), "%.*s",
				 slash != NULL ? (int) (slash - path) : (int) sizeof(part), path);
		if (mkdirat(extract->target->directory, part,
					DIRECTORY_MODE(extract->target->file_mode)) != 0 &&
			errno != EEXIST)
			return job_fail_write(extract->job, errno == ENOSPC || errno == EDQUOT ?
								  JET_errDiskFull : JET_errFileAccessDenied,
								  errno, 0);
		if (slash != NULL)
			slash++;
	}
	return JOB_MORE;
}

/* Make the file of a member, with the directories it lies in. */
static JobOutcome
open_target(EngExtract *extract)
{
	char		name[sizeof(extract->name) + 32];
	char		parent[sizeof(extract->name)];
	char	   *slash;
	JobOutcome	outcome = JOB_MORE;

	strcpy(parent, extract->name);
	slash = strrchr(parent, '/');
	if (slash != NULL && extract->target != NULL)
	{
		struct stat st;

		*slash = '\0';
		if (fstatat(extract->target->directory, parent, &st, 0) != 0)
			outcome = make_directories(extract, parent);
	}
	if (outcome != JOB_MORE)
		return outcome;
	snprintf(name, sizeof(name), "%s%s", extract->name,
			 strcmp(extract->name, CONTROL_FILE_NAME) == 0 ?
			 extract->late_suffix : "");
	return sink_open(extract->job, extract->shared, &extract->sink, name);
}

/* Of what is not in the manifest, only these belong to a backup. */
static bool
may_be_unlisted(const char *name)
{
	return strncmp(name, "pg_wal/", 7) == 0 ||
		strcmp(name, "backup_manifest") == 0;
}

/* Take up the next member. */
static JobOutcome
next_member(EngExtract *extract, bool *last)
{
	struct archive_entry *entry;
	const char *name;
	size_t		length;
	int			status = archive_read_next_header(extract->archive, &entry);

	*last = status == ARCHIVE_EOF;
	if (*last)
		return JOB_MORE;
	if (status != ARCHIVE_OK && status != ARCHIVE_WARN)
		return fail_archive(extract);
	name = archive_entry_pathname(entry);
	length = name != NULL ? strlen(name) : 0;
	if (length == 0 || length >= sizeof(extract->name))
		return fail_archive(extract);
	strcpy(extract->name, name);
	extract->done = 0;
	if (archive_entry_filetype(entry) == AE_IFDIR)
	{
		if (extract->name[length - 1] == '/')
			extract->name[length - 1] = '\0';
		if (!path_is_inside(extract->name))
			return fail_verify(extract);
		return make_directories(extract, extract->name);
	}
	if (archive_entry_filetype(entry) != AE_IFREG ||
		archive_entry_hardlink(entry) != NULL ||
		!path_is_inside(extract->name))
		return fail_verify(extract);
	extract->file = NULL;
	if (extract->inventory != NULL)
	{
		extract->file = inventory_find(extract->inventory, extract->name);
		if (extract->file == NULL ? !may_be_unlisted(extract->name) :
			atomic_load(&extract->file->seen))
			return fail_verify(extract);
	}
	if (!digest_reset(&extract->job->digest))
		return job_fail(extract->job, JET_errOutOfMemory, 0, 0, 0);
	extract->size = (uint64_t) archive_entry_size(entry);
	extract->open = true;
	return open_target(extract);
}

static JobOutcome
finish_member(EngExtract *extract)
{
	EngJob	   *job = extract->job;
	DigestValue value;

	extract->open = false;
	if (extract->done != extract->size)
		return fail_verify(extract);
	if (!digest_value(&job->digest, &job->scratch, &value))
		return job_fail(job, JET_errOutOfMemory, 0, 0, 0);
	if (extract->file != NULL)
	{
		if (!inventory_matches(extract->file, extract->done, &value))
			return fail_verify(extract);
		atomic_store(&extract->file->seen, true);
	}
	atomic_fetch_add(&extract->files_done, 1);
	return sink_close(job, extract->shared, &extract->sink);
}

/* The next block of the open member. */
static JobOutcome
extract_block(EngExtract *extract)
{
	const void *bytes;
	size_t		length;
	la_int64_t	offset;
	int			status = archive_read_data_block(extract->archive, &bytes,
												 &length, &offset);

	if (status == ARCHIVE_EOF)
		return finish_member(extract);
	if (status != ARCHIVE_OK)
		return fail_archive(extract);
	/* an archive of ours has no holes */
	if ((uint64_t) offset != extract->done)
		return fail_verify(extract);
	if (extract->inventory != NULL &&
		!digest_update(&extract->job->digest, bytes, length))
		return job_fail(extract->job, JET_errOutOfMemory, 0, 0, 0);
	extract->done += length;
	atomic_fetch_add(&extract->bytes_done, length);
	return sink_write(extract->job, extract->shared, &extract->sink, bytes,
					  length);
}

static JobOutcome
extract_step(EngJob *job, EngShared *shared)
{
	EngExtract *extract = job->task;
	uint64_t	until = atomic_load(&extract->bytes_done) + STEP_LENGTH;
	JobOutcome	outcome = JOB_MORE;
	bool		last = false;

	extract->job = job;
	extract->shared = shared;
	/* opening reads the beginning, so it is the job's as well */
	if (atomic_load(&extract->read_done) == 0 &&
		archive_read_open1(extract->archive) != ARCHIVE_OK)
		return fail_archive(extract);
	for (int members = 0; members < STEP_MEMBERS && outcome == JOB_MORE &&
		 atomic_load(&extract->bytes_done) < until; members += !extract->open)
	{
		if (job_is_unwanted(job, shared))
			return JOB_PARK;
		outcome = extract->open ? extract_block(extract) :
			next_member(extract, &last);
		if (last)
			return job_finish(job);
	}
	return outcome;
}

bool
eng_job_open_extract(EngJob *job, EngRing *ring, EngExtract *extract)
{
	return job_open_task(job, ring, extract_step, extract);
}
