/*-------------------------------------------------------------------------
 *
 * extract.c
 *	  Extracting archives: those that streams write, bit for bit.
 *
 * A general reader of archives is generous: it takes one that ends too early,
 * overlooks what follows its end, and does not look at padding.  Here each
 * bit has to be what a stream would have written.
 *
 *-------------------------------------------------------------------------
 */
#include "extract.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "jet.h"
#include "logname.h"

/* Bytes of members that one step extracts. */
#define STEP_LENGTH (1024 * 1024)

/* Members without contents, and small ones, that one step extracts. */
#define STEP_MEMBERS 16

#define DIRECTORY_MODE(file_mode) ((file_mode) & 040 ? 0750 : 0700)

static bool
make_buffers(EngExtract *extract)
{
	CompressKind kind = compress_kind_of(extract->archive.name);

	extract->raw = malloc(ENG_FRAME_SIZE);
	if (kind != COMPRESS_NONE)
	{
		extract->unpacker = unpacker_new(kind, extract->archive.listed);
		extract->unpacked = malloc(ENG_FRAME_SIZE);
		if (extract->unpacker == NULL || extract->unpacked == NULL)
			return false;
	}
	return extract->raw != NULL &&
		digest_init(&extract->digest, DIGEST_NONE) &&
		digest_init(&extract->scratch, DIGEST_NONE) &&
		digest_init(&extract->raw_digest, (DigestKind) extract->archive.digest.kind);
}

EngExtract *
eng_extract_new(int directory, const EngArchive *archive,
				const EngTarget *target, const Inventory *inventory,
				const char *late_suffix)
{
	EngExtract *extract = calloc(1, sizeof(EngExtract));

	if (extract == NULL)
		return NULL;
	sink_init(&extract->sink, target);
	extract->archive = *archive;
	extract->target = target;
	extract->inventory = inventory;
	extract->late_suffix = late_suffix;
	extract->directory = directory;
	extract->fd = -1;
	if (make_buffers(extract))
		return extract;
	eng_extract_free(extract);
	return NULL;
}

void
eng_extract_free(EngExtract *extract)
{
	int			sys_errno = errno;

	sink_abandon(&extract->sink);
	if (extract->unpacker != NULL)
		unpacker_free(extract->unpacker);
	digest_free(&extract->raw_digest);
	digest_free(&extract->digest);
	digest_free(&extract->scratch);
	for (uint32_t i = 0; i < extract->name_count; i++)
		free(extract->names[i]);
	free(extract->names);
	free(extract->unpacked);
	free(extract->raw);
	if (extract->fd >= 0)
		close(extract->fd);
	free(extract);
	errno = sys_errno;
}

/* A member is not what it must be. */
static JobOutcome
fail_member(EngExtract *extract)
{
	return job_fail(extract->job, JET_errReadVerifyFailure, 0, 0,
					extract->done);
}

static JobOutcome
fail_archive(EngExtract *extract, const char *why)
{
	extract->why = why;
	return job_fail(extract->job, JET_errReadVerifyFailure, 0, 0, 0);
}

static JobOutcome
fail_memory(EngExtract *extract)
{
	return job_fail(extract->job, JET_errOutOfMemory, 0, 0, 0);
}

/* ---- the bytes of the tar */

/* Before the first byte: open it.  A file, and as long as it must be? */
static JobOutcome
open_file(EngExtract *extract)
{
	struct stat st;

	extract->fd = openat(extract->directory, extract->archive.name,
						 O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (job_is_unwanted(extract->job, extract->shared))
		return JOB_PARK;
	if (extract->fd < 0 || fstat(extract->fd, &st) != 0)
		return job_fail(extract->job, JET_errDiskIO, errno, 0, 0);
	if (!S_ISREG(st.st_mode))
		return fail_archive(extract, "it is no file");
	if (extract->archive.listed &&
		(uint64_t) st.st_size != extract->archive.size)
		return fail_archive(extract, "it has the wrong size");
	return JOB_MORE;
}

/* Read the next piece of the file; an empty one at its end. */
static JobOutcome
read_raw(EngExtract *extract)
{
	EngJob	   *job = extract->job;
	ssize_t		n;

	eng_wait_until(job->engine,
				   throttle_reserve(&extract->shared->throttle, ENG_FRAME_SIZE));
	do
		n = read(extract->fd, extract->raw, ENG_FRAME_SIZE);
	while (n < 0 && errno == EINTR);
	if (job_is_unwanted(job, extract->shared))
		return JOB_PARK;
	if (n < 0)
		return job_fail(job, JET_errDiskIO, errno, 0, 0);
	if (!digest_update(&extract->raw_digest, extract->raw, (size_t) n))
		return fail_memory(extract);
	atomic_fetch_add(&extract->read_done, (uint64_t) n);
	extract->raw_at = 0;
	extract->raw_length = (size_t) n;
	extract->raw_ended = n == 0;
	return JOB_MORE;
}

/* Make the next bytes of the tar from what was read. */
static JobOutcome
unpack_raw(EngExtract *extract)
{
	size_t		used;
	const char *why;

	if (!unpack(extract->unpacker, extract->raw + extract->raw_at,
				extract->raw_length - extract->raw_at, &used,
				extract->unpacked, ENG_FRAME_SIZE, &extract->left, &why))
		return fail_archive(extract, why);
	extract->raw_at += used;
	extract->at = extract->unpacked;
	if (extract->raw_ended && extract->left == 0)
		return fail_archive(extract, "it ends too early");
	return JOB_MORE;
}

/* Have at least a byte of the tar, unless there is none left. */
static JobOutcome
fill(EngExtract *extract, bool *ended)
{
	JobOutcome	outcome = JOB_MORE;

	*ended = false;
	while (outcome == JOB_MORE && extract->left == 0 && !*ended)
	{
		if (extract->raw_at == extract->raw_length && !extract->raw_ended)
			outcome = read_raw(extract);
		else if (extract->unpacker == NULL)
		{
			extract->at = extract->raw + extract->raw_at;
			extract->left = extract->raw_length - extract->raw_at;
			extract->raw_at = extract->raw_length;
			*ended = extract->left == 0 && extract->raw_ended;
		}
		else if (extract->raw_ended &&
				 unpacker_is_between_frames(extract->unpacker))
			*ended = true;
		else
			outcome = unpack_raw(extract);
	}
	return outcome;
}

static void
skip(EngExtract *extract, size_t length)
{
	extract->at += length;
	extract->left -= length;
}

/* ---- members */

/* Make a directory and those it lies in: archives come in any order. */
static JobOutcome
make_directories(EngExtract *extract, const char *path)
{
	char		part[TAR_MAX_NAME + 2];

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
	char		name[TAR_MAX_NAME + 32];
	char		parent[TAR_MAX_NAME + 2];
	char	   *slash;
	JobOutcome	outcome = JOB_MORE;

	strcpy(parent, extract->member.name);
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
	snprintf(name, sizeof(name), "%s%s", extract->member.name,
			 strcmp(extract->member.name, CONTROL_FILE_NAME) == 0 ?
			 extract->late_suffix : "");
	/* a standby's last segment comes again, longer, with the next logs */
	if (extract->archive.of_logs && extract->target != NULL)
		(void) unlinkat(extract->target->directory, name, 0);
	return sink_open(extract->job, extract->shared, &extract->sink, name);
}

/* May this member be here, as long as it is?  Nothing was written yet. */
static bool
is_expected(EngExtract *extract)
{
	const TarMember *member = &extract->member;

	extract->file = NULL;
	if (!path_is_inside(member->name))
		return false;
	if (extract->archive.of_logs)
		return !member->directory &&
			logname_is_allowed(member->name, member->size);
	if (member->directory)
		return true;
	extract->file = inventory_find(extract->inventory, member->name);
	return extract->file != NULL && !atomic_load(&extract->file->seen) &&
		extract->file->size == member->size;
}

/* Of which kind is the digest of the open member? */
static DigestKind
digest_kind(const EngExtract *extract)
{
	return extract->file != NULL ? (DigestKind) extract->file->digest.kind :
		DIGEST_NONE;
}

static JobOutcome
begin_member(EngExtract *extract)
{
	extract->header_length = 0;
	extract->done = 0;
	if (!is_expected(extract))
		return fail_member(extract);
	if (extract->member.directory)
		return make_directories(extract, extract->member.name);
	if (!digest_set_kind(&extract->digest, digest_kind(extract)) ||
		!digest_set_kind(&extract->scratch, digest_kind(extract)))
		return fail_memory(extract);
	extract->open = true;
	return open_target(extract);
}

/* Take up a part of the next header; when it is whole, the member. */
static JobOutcome
read_header(EngExtract *extract)
{
	size_t		wanted = TAR_BLOCK;
	size_t		length;

	if (extract->header_length >= TAR_BLOCK)
		(void) tar_read_header(extract->header, extract->header_length,
							   &wanted, &extract->member);
	length = wanted - extract->header_length;
	if (length > extract->left)
		length = extract->left;
	memcpy(extract->header + extract->header_length, extract->at, length);
	skip(extract, length);
	extract->header_length += length;
	if (extract->header_length < wanted)
		return JOB_MORE;
	switch (tar_read_header(extract->header, extract->header_length, &wanted,
							&extract->member))
	{
		case TAR_HEADER_PART:
			return JOB_MORE;
		case TAR_HEADER_MEMBER:
			return begin_member(extract);
		case TAR_HEADER_END:
			extract->ending = true;
			extract->zeros = TAR_END_LENGTH - TAR_BLOCK;
			return JOB_MORE;
		case TAR_HEADER_BAD:
			break;
	}
	return fail_archive(extract, "the header of a member is not what ese writes");
}

/* Note the name of what came with the logs; false when memory is out. */
static bool
add_name(EngExtract *extract)
{
	if (extract->name_count == extract->name_room)
	{
		uint32_t	room = extract->name_room * 2 + 64;
		char	  **larger = realloc(extract->names, room * sizeof(char *));

		if (larger == NULL)
			return false;
		extract->names = larger;
		extract->name_room = room;
	}
	extract->names[extract->name_count] = strdup(extract->member.name);
	return extract->names[extract->name_count++] != NULL;
}

static JobOutcome
finish_member(EngExtract *extract)
{
	DigestValue value;

	extract->open = false;
	extract->zeros = tar_padding(extract->done);
	if (!digest_value(&extract->digest, &extract->scratch, &value) ||
		(extract->archive.of_logs && !add_name(extract)))
		return fail_memory(extract);
	if (extract->file != NULL)
	{
		if (!inventory_matches(extract->file, extract->done, &value))
			return fail_member(extract);
		atomic_store(&extract->file->seen, true);
	}
	atomic_fetch_add(&extract->files_done, 1);
	return sink_close(extract->job, extract->shared, &extract->sink);
}

/* The next piece of the open member. */
static JobOutcome
extract_piece(EngExtract *extract)
{
	uint64_t	rest = extract->member.size - extract->done;
	size_t		length = rest < extract->left ? (size_t) rest : extract->left;
	const char *bytes = extract->at;

	if (!digest_update(&extract->digest, bytes, length))
		return fail_memory(extract);
	skip(extract, length);
	extract->done += length;
	atomic_fetch_add(&extract->bytes_done, length);
	return sink_write(extract->job, extract->shared, &extract->sink, bytes,
					  length);
}

static JobOutcome
skip_zeros(EngExtract *extract)
{
	size_t		length = extract->zeros < extract->left ? extract->zeros :
		extract->left;

	if (!tar_is_zero(extract->at, length))
		return fail_archive(extract, "something lies where there must be nothing but zeros");
	skip(extract, length);
	extract->zeros -= length;
	return JOB_MORE;
}

/* ---- the end */

static int
compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

static JobOutcome
finish(EngExtract *extract)
{
	DigestValue value;

	if (!extract->ending || extract->zeros > 0)
		return fail_archive(extract, "it ends too early");
	if (!digest_set_kind(&extract->scratch, extract->raw_digest.kind) ||
		!digest_value(&extract->raw_digest, &extract->scratch, &value))
		return fail_memory(extract);
	if (extract->archive.listed &&
		memcmp(value.bytes, extract->archive.digest.bytes, value.length) != 0)
		return fail_archive(extract, "its checksum is wrong");
	if (extract->name_count > 0)
		qsort(extract->names, extract->name_count, sizeof(char *),
			  compare_names);
	for (uint32_t i = 1; i < extract->name_count; i++)
	{
		if (strcmp(extract->names[i - 1], extract->names[i]) == 0)
			return fail_archive(extract, "a file lies in it twice");
	}
	return job_finish(extract->job);
}

/* Go on with what comes next; *ended when it was the last. */
static JobOutcome
advance(EngExtract *extract, bool *ended)
{
	JobOutcome	outcome;

	*ended = false;
	if (extract->open && extract->done == extract->member.size)
		return finish_member(extract);
	outcome = fill(extract, ended);
	if (outcome != JOB_MORE)
		return outcome;
	if (*ended)
		return finish(extract);
	if (extract->open)
		return extract_piece(extract);
	if (extract->zeros > 0)
		return skip_zeros(extract);
	if (extract->ending)
		return fail_archive(extract, "something follows its end");
	return read_header(extract);
}

static JobOutcome
extract_step(EngJob *job, EngShared *shared)
{
	EngExtract *extract = job->task;
	uint64_t	until = atomic_load(&extract->bytes_done) + STEP_LENGTH;
	JobOutcome	outcome = JOB_MORE;
	bool		ended = false;

	extract->job = job;
	extract->shared = shared;
	if (extract->fd < 0)
		outcome = open_file(extract);
	for (int members = 0; members < STEP_MEMBERS && outcome == JOB_MORE &&
		 atomic_load(&extract->bytes_done) < until; members += !extract->open)
	{
		if (job_is_unwanted(job, shared))
			return JOB_PARK;
		outcome = advance(extract, &ended);
	}
	return outcome;
}

bool
eng_job_open_extract(EngJob *job, EngRing *ring, EngExtract *extract)
{
	return job_open_task(job, ring, extract_step, extract);
}
