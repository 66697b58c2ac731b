/*-------------------------------------------------------------------------
 *
 * openfile.c
 *	  The worker's side of open handles.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlogrecovery.h"
#include "pgstat.h"
#include "storage/fd.h"
#include "utils/timestamp.h"

#include "backup.h"
#include "engine/jet.h"
#include "engine/page.h"
#include "finding.h"
#include "frame.h"
#include "receipt.h"
#include "testpoint.h"

/* The engine holds at most so many. */
#define FINDINGS_AT_ONCE 256

/* Which list does a call's file belong to, and may it be opened now? */
static FileEntry *
choose_entry(Worker *worker, Call *call)
{
	Backup	   *backup = worker->backup;
	const char *name = call->request.text;
	ProtocolCall protocol_call = CALL_OPEN_OTHER;
	FileEntry  *entry = NULL;

	if (backup != NULL)
	{
		entry = filelist_find(&backup->attach, name);
		if (entry != NULL)
			protocol_call = CALL_OPEN_ATTACHED;
		else if (backup->logs_listed &&
				 (entry = filelist_find(&backup->logs, name)) != NULL)
			protocol_call = CALL_OPEN_LOG;
	}
	if (backup_refuse(worker, call, protocol_call))
		return NULL;
	return entry;
}

OpenFile *
openfile_choose_place(Worker *worker, Call *call)
{
	EseInstance *instance = worker->instance;
	OpenFile   *place = NULL;

	for (int i = 0; i < worker->file_places && place == NULL; i++)
	{
		if (worker->files[i].handle == NULL)
			place = &worker->files[i];
	}
	if (place == NULL ||
		instance->backup.protocol.open_files >= instance->params.max_open_files)
	{
		answer_error(&call->answer, JET_errOutOfMemory,
					 "cannot open more than %lld files of the backup at once",
					 (long long) instance->params.max_open_files);
		answer_hint(&call->answer, "Close a handle, or increase the parameter max_open_files while the instance is stopped.");
		return NULL;
	}
	/* the engine that it had last may have been set aside */
	place->job = eng_job(worker->engine, place - worker->files);
	return place;
}

/* Can this entry be opened at this offset?  False when refused. */
static bool
check_entry(FileEntry *entry, Call *call)
{
	int64		offset = call->request.number;

	if (entry->kind == FILE_DIRECTORY)
		answer_error(&call->answer, JET_errFileInvalidType,
					 "\"%s\" is a directory", entry->name);
	else if (entry->status == FILE_OPEN)
		answer_error(&call->answer, JET_errFileAccessDenied,
					 "file \"%s\" is open on another handle", entry->name);
	else if (offset != 0 &&
			 (entry->resume == NULL || offset != entry->resume->position))
	{
		answer_error(&call->answer, JET_errInvalidParameter,
					 "cannot open file \"%s\" at offset %lld", entry->name,
					 (long long) offset);
		if (entry->resume != NULL)
			answer_detail(&call->answer, "It was last closed at %lld.",
						  (long long) entry->resume->position);
		else
			answer_detail(&call->answer, "It was not closed before its end, so it must be read from 0.");
	}
	else
		return true;
	return false;
}

bool
openfile_refuse_style(Worker *worker, Call *call, ReadStyle style)
{
	Backup	   *backup = worker->backup;

	if (backup->style == STYLE_UNDECIDED || backup->style == style)
	{
		backup->style = style;
		return false;
	}
	answer_error(&call->answer, JET_errInvalidBackupSequence,
				 "cannot open a %s of the backup of instance \"%s\" now",
				 style == STYLE_STREAMS ? "stream" : "file",
				 worker->instance->name);
	answer_detail(&call->answer, "The files of this phase are read %s.",
				  style == STYLE_STREAMS ? "one by one" : "by streams");
	return true;
}

/* The JET error of a file that could not be opened. */
static int
open_error(const FileEntry *entry, int sys_errno)
{
	if (sys_errno == EMFILE || sys_errno == ENFILE)
		return JET_errOutOfFileHandles;
	if (sys_errno == ENOMEM)
		return JET_errOutOfMemory;
	if (sys_errno != ENOENT)
		return JET_errFileAccessDenied;
	return entry->kind == FILE_LOG ? JET_errMissingFileToBackup :
		JET_errInvalidPath;
}

/*
 * Is an error one of the file?  What we were short of, or have stopped
 * ourselves, says nothing about it: it is as it was before.
 */
static bool
is_of_file(int error)
{
	return error != JET_errOutOfFileHandles && error != JET_errOutOfMemory;
}

/* Change what counts as done, and as there to do. */
static void
add_progress(Worker *worker, int files, int64 bytes_closed, int64 bytes_total)
{
	BackupStatus *status = &worker->instance->backup;

	LWLockAcquire(instance_lock(worker->instance), LW_EXCLUSIVE);
	status->files_done += files;
	status->bytes_closed += bytes_closed;
	status->bytes_total += bytes_total;
	LWLockRelease(instance_lock(worker->instance));
}

/* A file has failed, even if it had been read before. */
static void
fail_entry(Worker *worker, FileEntry *entry, FileStatus status_before,
		   int error)
{
	entry->status = FILE_FAILED;
	backup_note_failure(worker, entry, error);
	if (status_before == FILE_READ)
		add_progress(worker, -1, -entry->size, 0);
}

int
openfile_settle_missing(Worker *worker, FileEntry *entry, int sys_errno)
{
	int			error;

	if (sys_errno == ENOENT && entry->kind != FILE_LOG &&
		filelist_is_gone(entry))
	{
		if (entry->status == FILE_UNREAD || entry->status == FILE_IN_STREAM)
			add_progress(worker, 1, 0, -entry->size);
		entry->status = FILE_GONE;
		return JET_errFileNotFound;
	}
	error = open_error(entry, sys_errno);
	if (is_of_file(error))
	{
		entry->failure_errno = (uint8_t) sys_errno;
		fail_entry(worker, entry, entry->status, error);
	}
	return error;
}

/* open(2) failed: is the file gone, or is something wrong? */
static void
answer_open_error(Worker *worker, Call *call, FileEntry *entry, int sys_errno)
{
	int			error = openfile_settle_missing(worker, entry, sys_errno);

	if (error == JET_errFileNotFound)
	{
		answer_error(&call->answer, error,
					 "file \"%s\" has been removed since the backup began",
					 entry->name);
		answer_hint(&call->answer, "Leave it out of the backup; it counts as done.");
		return;
	}
	if (error == JET_errOutOfFileHandles)
		answer_hint(&call->answer, "Increase max_files_per_process, of which a third is for files like this one.");
	answer_error(&call->answer, error, "could not open file \"%s\": %s",
				 entry->name, strerror(sys_errno));
}

/* An entry's size and time, as a reading of the file found them. */
static void
set_measure(Worker *worker, FileEntry *entry, int64 size, int64 modified)
{
	add_progress(worker, 0, 0, size - entry->size);
	entry->size = size;
	entry->modified = modified;
}

/*
 * Open the file of an entry; sets its size and time.  -1 and the answer when
 * that fails.  A patch file has no descriptor: -1 and no error.
 */
static int
open_source(Worker *worker, Call *call, FileEntry *entry)
{
	FileResume *resume = call->request.number > 0 ? entry->resume : NULL;
	struct stat st;
	int			error = 0;
	int			fd;

	if (entry->made || file_memory(entry) != NULL)
		return -1;
	if (!AcquireExternalFD())
	{
		answer_open_error(worker, call, entry, EMFILE);
		return -1;
	}
	/* a FIFO put in place of a file must not hang the worker */
	fd = open(file_path(entry), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) != 0)
		error = errno;
	else if (!S_ISREG(st.st_mode))
		error = EINVAL;
	if (error != 0)
	{
		if (fd >= 0)
			close(fd);
		ReleaseExternalFD();
		answer_open_error(worker, call, entry, error);
		return -1;
	}
	/* a file read in two goes keeps the size of the first */
	if (resume != NULL)
		set_measure(worker, entry, resume->size, resume->modified);
	else
		set_measure(worker, entry, st.st_size, st.st_mtime);
	return fd;
}

/* The pages of which files are verified. */
static VerifyMode
verify_mode(Worker *worker, const FileEntry *entry)
{
	if (entry->kind != FILE_RELATION || !DataChecksumsEnabled())
		return VERIFY_OFF;
	if (entry->size % ENG_PAGE_SIZE != 0)
	{
		ereport(WARNING,
				(errmsg("checksums of file \"%s\" are not verified: its size %lld is no multiple of the page size",
						entry->name, (long long) entry->size)));
		return VERIFY_OFF;
	}
	return (VerifyMode) worker->instance->params.verify_checksums;
}

/* Who keeps the frames that are missing? */
static void
detail_zombies(Answer *answer)
{
	int			count;
	int32	   *pids = frame_zombie_readers(&count);
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < count; i++)
		appendStringInfo(&list, "%s%d", i > 0 ? ", " : "", pids[i]);
	answer_detail(answer, "Sessions are still reading handles that were closed. Their process IDs: %s.",
				  list.data);
	answer_hint(answer, "End those whose clients hang with pg_terminate_backend().");
}

bool
openfile_take_handle(Worker *worker, Call *call, OpenFile *place)
{
	EseHandle  *handle = frame_take_handle(worker->instance, &place->number);

	if (handle == NULL)
	{
		answer_error(&call->answer, JET_errOutOfMemory,
					 "out of shared memory for one more open file");
		detail_zombies(&call->answer);
		return false;
	}
	/* what a session sees of it */
	handle->backup_id = worker->backup->id;
	handle->is_stream = false;
	handle->file_name[0] = '\0';
	strlcpy(handle->opened_by, call->request.client.role_name,
			sizeof(handle->opened_by));
	handle->opened_at = GetCurrentTimestamp();
	pg_atomic_write_u64(&handle->last_read_at, 0);
	receipt_forget(handle);

	place->handle = handle;
	place->entry = NULL;
	place->stream = NULL;
	place->doomed = false;
	place->closing = NULL;
	place->claimed = false;
	return true;
}

void
openfile_publish(Worker *worker, Call *call, OpenFile *place)
{
	BackupStatus *status = &worker->instance->backup;

	LWLockAcquire(instance_lock(worker->instance), LW_EXCLUSIVE);
	status->protocol = protocol_next(status->protocol, CALL_OPEN_STREAM);
	LWLockRelease(instance_lock(worker->instance));
	call->answer.result = (int32) place->number;
	eng_job_start(place->job);
}

/* eng_job_open(), or its failure. */
static bool
open_job(OpenFile *place, const EngSource *source, const Digest *resume)
{
	if (!testpoint_is_set("open.job", "fail"))
		return eng_job_open(place->job, &place->handle->ring, source, resume);
	if (source->fd >= 0)
		close(source->fd);
	return false;
}

/* Bind place, ring and job together; false and the answer when that fails. */
static bool
start_reading(Worker *worker, Call *call, OpenFile *place, FileEntry *entry,
			  int fd)
{
	uint64		base = (uint64) call->request.number;
	EngSource	source = {
		.fd = fd,
		.memory = file_memory(entry),
		.account = entry->made ? worker->backup->account : NULL,
		.zeros_from = entry->kind == FILE_LOG ? entry->zeros_from : 0,
		.verify = verify_mode(worker, entry),
		.first_block = entry->first_block,
		.tag = (uint32) (entry - worker->backup->attach.entries),
	};

	if (!openfile_take_handle(worker, call, place))
	{
		if (fd >= 0)
			close(fd);
		return false;
	}
	strlcpy(place->handle->file_name, entry->name,
			sizeof(place->handle->file_name));
	if (!open_job(place, &source, base > 0 ? &entry->resume->digest : NULL))
	{
		frame_put_handle(worker->instance, place->handle, true);
		place->handle = NULL;
		answer_error(&call->answer, JET_errOutOfMemory,
					 "out of memory for one more open file");
		return false;
	}
	ring_open(&place->handle->ring, place->number, base, (uint64) entry->size);
	place->entry = entry;
	place->status_before = entry->status;
	entry->status = FILE_OPEN;
	return true;
}

void
openfile_open(Worker *worker, Call *call)
{
	FileEntry  *entry = choose_entry(worker, call);
	OpenFile   *place;
	int64		size;
	int64		modified;
	int			fd;

	if (entry == NULL || !check_entry(entry, call) ||
		openfile_refuse_style(worker, call, STYLE_FILES) ||
		(place = openfile_choose_place(worker, call)) == NULL)
		return;
	testpoint("open.start");
	size = entry->size;
	modified = entry->modified;
	fd = open_source(worker, call, entry);
	if (call->answer.error != 0)
		return;
	if (!start_reading(worker, call, place, entry, fd))
	{
		if (fd >= 0)
			ReleaseExternalFD();
		set_measure(worker, entry, size, modified);
		return;
	}
	place->size_before = size;
	place->modified_before = modified;
	openfile_publish(worker, call, place);
	call->answer.number = entry->size;
	ereport(DEBUG1,
			(errmsg_internal("instance \"%s\": opened \"%s\", %lld bytes",
							 worker->instance->name, entry->name,
							 (long long) entry->size)));
}

OpenFile *
openfile_find(Worker *worker, int32 number)
{
	for (int i = 0; i < worker->file_places; i++)
	{
		OpenFile   *file = &worker->files[i];

		if (file->handle != NULL && !file->doomed &&
			file->number == (uint32) number)
			return file;
	}
	return NULL;
}

OpenFile *
openfile_claim(Worker *worker, Call *call)
{
	OpenFile   *file = openfile_find(worker, call->request.handle);
	int32		holder;

	if (file == NULL || file->claimed ||
		atomic_load(&file->handle->ring.state) == RING_CLOSING)
	{
		answer_error(&call->answer, JET_errInvalidParameter,
					 "handle %d is not open", call->request.handle);
		return NULL;
	}
	if (!ring_claim(&file->handle->ring, RING_CLAIM_OWNER, &holder))
	{
		answer_error(&call->answer, JET_errInvalidParameter,
					 "handle %d is being read by the session with process ID %d",
					 call->request.handle, holder);
		return NULL;
	}
	file->claimed = true;
	return file;
}

void
openfile_release_claim(OpenFile *file)
{
	file->claimed = false;
	ring_release(&file->handle->ring, RING_CLAIM_OWNER);
}

void
openfile_begin_closing(OpenFile *file, Call *call)
{
	file->closing = call;
	ring_close(&file->handle->ring);
}

void
openfile_close(Worker *worker, Call *call)
{
	OpenFile   *file;

	if (backup_refuse(worker, call, CALL_CLOSE_FILE))
		return;
	file = openfile_claim(worker, call);
	if (file != NULL)
		openfile_begin_closing(file, call);
}

/* Forget what was kept for going on with a file. */
static void
drop_resume(FileEntry *entry)
{
	if (entry->resume == NULL)
		return;
	digest_free(&entry->resume->digest);
	free(entry->resume);
	entry->resume = NULL;
}

/*
 * A file closed before its end: keep the digest, so that reading can go on
 * there later.  Without it (memory was out), it must be read from the start.
 */
static void
keep_resume(OpenFile *file, uint64 position)
{
	FileEntry  *entry = file->entry;
	FileResume *resume;

	drop_resume(entry);
	if (position == 0)
		return;
	resume = calloc(1, sizeof(FileResume));
	if (resume == NULL)
		return;
	resume->position = (int64) position;
	resume->size = entry->size;
	resume->modified = entry->modified;
	entry->resume = resume;
	if (!digest_init(&resume->digest, entry->digest.kind) ||
		!eng_job_digest(file->job, position, &resume->digest))
		drop_resume(entry);
}

void
openfile_count_as_read(Worker *worker, FileEntry *entry)
{
	entry->status = FILE_READ;
	if (entry->failure_counted)
	{
		entry->failure_counted = false;
		entry->bad_pages = false;
		worker->backup->failed_files--;
	}
}

/* The digest of what was delivered; false when it cannot be had. */
static bool
digest_of_delivered(OpenFile *file, DigestValue *value)
{
	DigestKind	kind = file->entry->digest.kind;
	Digest		state = {0};
	Digest		scratch = {0};
	bool		good;

	*value = file->entry->digest;
	good = digest_init(&state, kind) && digest_init(&scratch, kind) &&
		eng_job_digest(file->job, (uint64) file->entry->size, &state) &&
		digest_value(&state, &scratch, value);
	digest_free(&state);
	digest_free(&scratch);
	return good;
}

/* A log was read: is it what the log manifest says, if that was read before? */
static bool
is_as_noted(Worker *worker, const FileEntry *entry)
{
	Backup	   *backup = worker->backup;

	return !backup->logs_listed || backup->account == NULL ||
		entry < backup->logs.entries ||
		entry >= backup->logs.entries + backup->logs.count ||
		logaccount_note(backup->account,
						(uint32) (entry - backup->logs.entries),
						(uint64) entry->size, &entry->digest);
}

/* Read to its end and closed: the receipt that makes a file count. */
static void
finish_file(Worker *worker, OpenFile *file, const DigestValue *digest)
{
	FileEntry  *entry = file->entry;

	entry->digest = *digest;
	drop_resume(entry);
	if (!is_as_noted(worker, entry))
	{
		fail_entry(worker, entry, file->status_before,
				   JET_errLogReadVerifyFailure);
		return;
	}
	openfile_count_as_read(worker, entry);
	if (file->status_before == FILE_READ)
		add_progress(worker, 0, entry->size - file->size_before, 0);
	else
		add_progress(worker, 1, entry->size, 0);
}

/*
 * This reading does not count.  A complete one of before still does, with what
 * it found.
 */
static void
keep_former_reading(Worker *worker, OpenFile *file)
{
	file->entry->status = file->status_before;
	if (file->status_before == FILE_READ)
		set_measure(worker, file->entry, file->size_before,
					file->modified_before);
}

/* The job has given up. */
static void
settle_error(Worker *worker, OpenFile *file, const EngError *error)
{
	FileEntry  *entry = file->entry;

	drop_resume(entry);
	keep_former_reading(worker, file);
	if (!is_of_file(error->jet))
		return;
	fail_entry(worker, entry, file->status_before, error->jet);
	if (error->jet == JET_errReadVerifyFailure)
	{
		DamagedPage page = {entry, error->block};

		finding_add(worker->instance, worker->backup->id, &page, 1);
	}
}

/* Tell who closes a handle why it does not count. */
static void
warn_not_read(OpenFile *file, const char *why)
{
	if (file->closing != NULL)
		answer_warning(&file->closing->answer, 0,
					   "%s %u does not count as read: %s",
					   file->stream != NULL ? "stream" : "the file of handle",
					   file->number, why);
}

/* Did its client die before it had all that was sent?  Then it is told so. */
static bool
is_lost(OpenFile *file)
{
	if (!receipt_is_lost(file->handle))
		return false;
	warn_not_read(file, "the session that read it ended without a sign that its client had received everything");
	return true;
}

/* What reading has come to, once the job is idle and nobody reads. */
static void
settle_entry(Worker *worker, OpenFile *file)
{
	EngRing    *ring = &file->handle->ring;
	FileEntry  *entry = file->entry;
	uint64		position = atomic_load(&ring->position);
	DigestValue digest;

	entry->digest.kind =
		(DigestKind) worker->instance->params.manifest_checksums;
	if (ring->error.jet != 0 && file->closing == NULL)
		settle_error(worker, file, &ring->error);
	else if (is_lost(file))
	{
		/* the position is the client's only if it names it */
		keep_resume(file, position);
		keep_former_reading(worker, file);
	}
	else if (position == (uint64) entry->size &&
			 digest_of_delivered(file, &digest))
		finish_file(worker, file, &digest);
	else
	{
		if (position == (uint64) entry->size)
			warn_not_read(file, "memory was out for its checksum");
		keep_resume(file, position);
		keep_former_reading(worker, file);
		ereport(DEBUG1,
				(errmsg_internal("instance \"%s\": closed \"%s\" after %llu of %lld bytes",
								 worker->instance->name, entry->name,
								 (unsigned long long) position,
								 (long long) entry->size)));
	}
}

/* Give back what a handle has; its job is idle. */
static void
release_place(Worker *worker, OpenFile *file)
{
	BackupStatus *status = &worker->instance->backup;
	bool		had_fd = eng_job_close(file->job);

	/* a stream has the right to one descriptor all the time */
	if (had_fd || file->stream != NULL)
		ReleaseExternalFD();
	if (!file->doomed)
	{
		LWLockAcquire(instance_lock(worker->instance), LW_EXCLUSIVE);
		status->protocol = protocol_next(status->protocol, CALL_CLOSE_FILE);
		LWLockRelease(instance_lock(worker->instance));
	}
	if (file->stream != NULL)
		eng_stream_free(file->stream);
	frame_put_handle(worker->instance, file->handle, file->claimed);
	memset(file, 0, offsetof(OpenFile, job));
	file->closing = NULL;
	file->claimed = false;
}

void
openfile_take_findings(Worker *worker)
{
	DamagedPage pages[FINDINGS_AT_ONCE];
	EngFinding	finding;
	int			count = 0;

	while (count < lengthof(pages) &&
		   eng_next_finding(worker->engine, &finding))
	{
		if (worker->backup == NULL ||
			finding.tag >= (uint32) worker->backup->attach.count)
			continue;
		/* a file in a stream is not good when it should have failed */
		worker->backup->attach.entries[finding.tag].damaged =
			worker->instance->params.verify_checksums == VERIFY_ERROR;
		pages[count].entry = &worker->backup->attach.entries[finding.tag];
		pages[count].block = finding.block;
		count++;
	}
	if (count > 0)
		finding_add(worker->instance, worker->backup->id, pages, count);
}

/* What the bytes of a stream that is closed, or given up, have come to. */
static uint64
settle_stream(Worker *worker, OpenFile *file)
{
	EngIntake  *intake = &file->stream->intake;
	Call	   *call = file->closing;
	FileEntry  *unreadable = NULL;
	uint64		limit = 0;

	/* damaged pages may have been found up to the end */
	openfile_take_findings(worker);
	/* a file that cannot be read would end every other stream as well */
	if (file->handle->ring.error.jet == JET_errDiskIO)
		unreadable = intake->entry;
	if (call != NULL && call->request.operation == OP_RESUME_STREAM)
		limit = (uint64) call->request.number;
	else if (call != NULL && !is_lost(file) && streamfile_is_complete(file))
		limit = SETTLE_ALL;
	return streamfile_settle(worker, intake, limit, unreadable);
}

/* A closing handle whose job has parked. */
static void
finish_closing(Worker *worker, OpenFile *file)
{
	Call	   *call = file->closing;
	uint64		keep = 0;

	if (!file->doomed && file->stream != NULL)
		keep = settle_stream(worker, file);
	else if (!file->doomed)
		settle_entry(worker, file);
	release_place(worker, file);
	if (call != NULL && call->request.operation == OP_RESUME_STREAM)
		streamfile_finish_resume(worker, call, keep);
	if (call != NULL)
		call_answer(worker->instance, call);
}

/* Is there something for a parked job to do? */
static bool
has_work(EngRing *ring)
{
	if (atomic_load(&ring->request) != RING_NO_REQUEST)
		return true;
	if (atomic_load(&ring->finished))
		return false;
	return ring_has_room(ring) && atomic_load(&ring->base) +
		atomic_load(&ring->produced) * ENG_FRAME_SIZE < ring->size;
}

static void
pump_file(Worker *worker, OpenFile *file)
{
	EngRing    *ring = &file->handle->ring;

	if (file->doomed || atomic_load(&ring->state) == RING_CLOSING)
	{
		if (eng_job_idle(file->job))
			finish_closing(worker, file);
		return;
	}
	if (atomic_load(&ring->state) == RING_OPEN && has_work(ring) &&
		!worker->backup->engine_stopped)
	{
		if (eng_job_wants_lsn_limit(file->job))
			eng_set_lsn_limit(worker->engine, backup_current_lsn());
		/* also one that is just about to park: it would not see the room */
		eng_job_start(file->job);
	}
	if (atomic_load(&ring->reader_waiting) == RING_BY_OWNER &&
		atomic_load(&ring->claim) > 0)
		SetLatch(compat_proc_latch(pg_atomic_read_u32(&file->handle->reader_proc_number)));
}

void
openfile_pump(Worker *worker)
{
	openfile_take_findings(worker);
	for (int i = 0; i < worker->file_places; i++)
	{
		if (worker->files[i].handle != NULL)
			pump_file(worker, &worker->files[i]);
	}
	if (worker->backup != NULL)
		streamfile_publish(worker);
}

void
openfile_close_all(Worker *worker)
{
	for (int i = 0; i < worker->file_places; i++)
	{
		OpenFile   *file = &worker->files[i];
		Call	   *call = file->closing;

		if (file->handle == NULL)
			continue;
		ring_close(&file->handle->ring);
		if (file->entry != NULL)
			drop_resume(file->entry);
		file->entry = NULL;
		file->doomed = true;
		file->closing = NULL;
		if (call != NULL)
		{
			/* what it was to make count, counts no more */
			answer_error(&call->answer, JET_errNoBackup,
						 "the backup of instance \"%s\" ended before handle %u was closed",
						 worker->instance->name, file->number);
			call_answer(worker->instance, call);
		}
		/* a job inside a system call is waited for by openfile_pump() */
		if (eng_job_idle(file->job))
			finish_closing(worker, file);
	}
}
