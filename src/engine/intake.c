/*-------------------------------------------------------------------------
 *
 * intake.c
 *	  Taking files from the queue and reading them.
 *
 *-------------------------------------------------------------------------
 */
#include "intake.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "jet.h"
#include "page.h"

void
intake_init(EngIntake *intake, EngQueue *queue, VerifyMode verify)
{
	memset(intake, 0, sizeof(*intake));
	intake->queue = queue;
	intake->verify = verify;
	intake->directory = AT_FDCWD;
}

void
intake_free(EngIntake *intake)
{
	digest_free(&intake->digest);
	digest_free(&intake->scratch);
	free(intake->members);
}

/* Note what was taken; false when memory is out. */
static bool
add_member(EngIntake *intake)
{
	EngMember  *member;

	if (intake->member_count == intake->member_room)
	{
		/* growing by a quarter keeps little memory idle */
		uint32_t	room = intake->member_room + intake->member_room / 4 + 64;
		EngMember  *larger = realloc(intake->members,
									 room * sizeof(EngMember));

		if (larger == NULL)
			return false;
		intake->members = larger;
		intake->member_room = room;
	}
	member = &intake->members[intake->member_count++];
	memset(member, 0, sizeof(*member));
	member->index = intake->index;
	member->listed_size = eng_queue_entry(intake->queue, intake->index)->size;
	member->end = UINT64_MAX;
	return true;
}

/*
 * Open the file of an entry.  -1 and errno when that fails; -1 and 0 for what
 * is no file.
 */
static int
open_file(EngIntake *intake, FileEntry *entry, struct stat *st)
{
	int			sys_errno = 0;
	int			fd;

	errno = 0;
	if (entry->kind == FILE_DIRECTORY || entry->made ||
		file_memory(entry) != NULL)
		return -1;
	fd = openat(intake->directory, file_path(entry),
				O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return -1;
	if (fstat(fd, st) != 0)
		sys_errno = errno;
	else if (!S_ISREG(st->st_mode))
		sys_errno = EINVAL;
	if (sys_errno == 0)
		return fd;
	close(fd);
	errno = sys_errno;
	return -1;
}

/* What the job reads from now on. */
static void
set_source(EngJob *job, EngIntake *intake, FileEntry *entry, int fd,
		   const struct stat *st)
{
	job->source.fd = fd;
	job->source.memory = file_memory(entry);
	job->source.account = entry->made ? eng_queue_account(intake->queue) : NULL;
	job->source.zeros_from = entry->kind == FILE_LOG ? entry->zeros_from : 0;
	job->source.verify = VERIFY_OFF;
	if (fd < 0)
		return;
	entry->size = st->st_size;
	entry->modified = st->st_mtime;
	if (entry->kind == FILE_RELATION && entry->size % ENG_PAGE_SIZE == 0)
		job->source.verify = intake->verify;
	if (entry->kind == FILE_RELATION)
		job->source.first_block = entry->first_block;
	job->source.tag = intake->index;
}

/* open(2) failed: for want of something, or is it the file? */
static IntakeResult
skip_or_fail(EngJob *job, EngIntake *intake, int sys_errno)
{
	EngMember  *member = &intake->members[intake->member_count - 1];

	if (sys_errno == EMFILE || sys_errno == ENFILE || sys_errno == ENOMEM)
	{
		job_fail(job, sys_errno == ENOMEM ? JET_errOutOfMemory :
				 JET_errOutOfFileHandles, sys_errno, 0, 0);
		return INTAKE_FAILED;
	}
	member->sys_errno = sys_errno;
	member->outcome = sys_errno == ENOENT ? MEMBER_MISSING :
		MEMBER_UNREADABLE;
	atomic_fetch_add(&intake->files_done, 1);
	return INTAKE_SKIPPED;
}

/* What the open file must be, or NULL. */
static InventoryFile *
expected_file(const EngIntake *intake)
{
	return intake->expected != NULL ? intake->expected[intake->index] : NULL;
}

/* Has it the right size?  That is asked before any of it is written. */
static bool
has_expected_size(const EngIntake *intake, const FileEntry *entry)
{
	const InventoryFile *file = expected_file(intake);
	uint64_t	size = (uint64_t) entry->size;

	return file == NULL || file->size == size ||
		(file->or_else != NULL && file->or_else->size == size);
}

/* Begin to digest a file; false when memory is out. */
static bool
begin_digest(EngJob *job, EngIntake *intake)
{
	const InventoryFile *file = expected_file(intake);
	DigestKind	kind = file != NULL ? (DigestKind) file->digest.kind :
		DIGEST_NONE;

	if (intake->expected == NULL)
		return digest_reset(&job->digest);
	return digest_set_kind(&intake->digest, kind) &&
		digest_set_kind(&intake->scratch, kind);
}

IntakeResult
intake_next(EngJob *job, EngShared *shared, EngIntake *intake)
{
	FileEntry  *entry;
	struct stat st;
	int			sys_errno;
	int			fd;

	if (!eng_queue_take(intake->queue, &intake->index))
		return INTAKE_EMPTY;
	if (!add_member(intake))
	{
		eng_queue_return(intake->queue, intake->index);
		job_fail(job, JET_errOutOfMemory, 0, 0, 0);
		return INTAKE_FAILED;
	}
	entry = eng_queue_entry(intake->queue, intake->index);
	fd = open_file(intake, entry, &st);
	sys_errno = errno;
	job_hold_open(shared);

	/*
	 * That may have taken longer than its backup: then the entry is gone. Nor
	 * does our own stop say anything about the file, whatever became of the
	 * call.
	 */
	if (job_is_unwanted(job, shared))
	{
		if (fd >= 0)
			close(fd);
		return INTAKE_UNWANTED;
	}
	if (fd < 0 && sys_errno != 0)
		return skip_or_fail(job, intake, sys_errno);
	set_source(job, intake, entry, fd, &st);
	if (!begin_digest(job, intake))
	{
		job_fail(job, JET_errOutOfMemory, 0, 0, 0);
		return INTAKE_FAILED;
	}
	intake->entry = entry;
	intake->offset = 0;
	if (!has_expected_size(intake, entry))
	{
		job_fail(job, JET_errReadVerifyFailure, 0, 0, 0);
		return INTAKE_FAILED;
	}
	return INTAKE_FILE;
}

bool
intake_has_more(const EngIntake *intake)
{
	return intake->entry->kind != FILE_DIRECTORY &&
		intake->offset < (uint64_t) intake->entry->size;
}

JobOutcome
intake_read(EngJob *job, EngShared *shared, EngIntake *intake, char *to,
			uint32_t room, uint32_t *length)
{
	uint64_t	rest = (uint64_t) intake->entry->size - intake->offset;
	JobOutcome	outcome;

	*length = 0;
	if (!job->loaded)
	{
		intake->piece = rest < room ? (uint32_t) rest : room;
		if (job->source.verify != VERIFY_OFF)
			intake->piece -= intake->piece % ENG_PAGE_SIZE;
		if (intake->piece == 0)
			return JOB_MORE;
		outcome = job_load(job, shared, to, intake->piece, intake->offset);
		if (outcome != JOB_MORE)
			return outcome;
	}
	if (job->source.verify != VERIFY_OFF)
	{
		outcome = job_verify(job, shared, to, intake->piece, intake->offset);
		if (outcome != JOB_MORE)
			return outcome;
	}
	if (!digest_update(intake->expected != NULL ? &intake->digest :
					   &job->digest, to, intake->piece))
		return job_fail(job, JET_errOutOfMemory, 0, 0, intake->offset);
	job->loaded = false;
	intake->offset += intake->piece;
	atomic_fetch_add(&intake->bytes_done, intake->piece);
	*length = intake->piece;
	return JOB_MORE;
}

/* Is the file that was read what it must be? */
static bool
is_expected(EngIntake *intake)
{
	InventoryFile *file = expected_file(intake);

	if (file == NULL)
		return true;
	if (!inventory_matches(file, (uint64_t) intake->entry->size,
						   &intake->entry->digest))
		return false;
	atomic_store(&file->seen, true);
	return true;
}

/* Is a log what the log manifest says, if that was made before? */
static bool
is_as_noted(EngIntake *intake)
{
	LogAccount *account = eng_queue_account(intake->queue);

	return account == NULL ||
		logaccount_note(account, intake->index,
						(uint64_t) intake->entry->size,
						&intake->entry->digest);
}

JobOutcome
intake_finish(EngJob *job, EngIntake *intake)
{
	if (intake->expected != NULL ?
		!digest_value(&intake->digest, &intake->scratch, &intake->entry->digest) :
		!digest_value(&job->digest, &job->scratch, &intake->entry->digest))
		return job_fail(job, JET_errOutOfMemory, 0, 0, 0);
	if (!is_expected(intake))
		return job_fail(job, JET_errReadVerifyFailure, 0, 0, 0);
	if (!is_as_noted(intake))
		return job_fail(job, JET_errLogReadVerifyFailure, 0, 0, 0);
	if (job->source.fd >= 0)
		close(job->source.fd);
	job->source.fd = -1;
	if (intake->entry->kind != FILE_DIRECTORY)
		atomic_fetch_add(&intake->files_done, 1);
	intake->entry = NULL;
	return JOB_MORE;
}

void
intake_set_end(EngIntake *intake, uint32_t members, uint64_t end)
{
	while (intake->ended < members)
		intake->members[intake->ended++].end = end;
}
