/*-------------------------------------------------------------------------
 *
 * streamfile.c
 *	  The worker's side of streams: the queue, and what a stream has carried.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "storage/fd.h"

#include "backup.h"
#include "engine/jet.h"
#include "frame.h"

/* The list that the files of this phase are taken from. */
static FileList *
current_list(Backup *backup)
{
	return backup->logs_listed ? &backup->logs : &backup->attach;
}

static const FileEntry *sort_entries;

/*
 * Directories first, so that what lies in them has a place; then the largest
 * files, so that streams end together; without pg_control nothing can be
 * started, so it comes when nearly everything is there; the manifests last,
 * because they are promises about all others.
 */
static int
rank(const FileEntry *entry)
{
	if (entry->kind == FILE_DIRECTORY)
		return 0;
	if (entry->kind != FILE_PATCH)
		return 1;
	if (entry->made)
		return 4;
	if (strcmp(entry->name, "backup_manifest") == 0)
		return 3;
	return strcmp(entry->name, "global/pg_control") == 0 ? 2 : 1;
}

static int
compare_for_streams(const void *a, const void *b)
{
	const FileEntry *x = &sort_entries[*(const uint32 *) a];
	const FileEntry *y = &sort_entries[*(const uint32 *) b];

	if (rank(x) != rank(y))
		return rank(x) - rank(y);
	if (rank(x) == 1 && x->size != y->size)
		return x->size > y->size ? -1 : 1;
	/* entries lie in the order of their names */
	return x < y ? -1 : x > y;
}

/* The queue goes when the backup's memory goes. */
static void
free_queue(void *arg)
{
	eng_queue_free(arg);
}

bool
streamfile_make_queue(Backup *backup, QueueFilter filter)
{
	FileList   *list = current_list(backup);
	uint32	   *order = palloc_extended(sizeof(uint32) * (list->count + 1),
										MCXT_ALLOC_HUGE);
	MemoryContextCallback *callback;
	uint32		count = 0;

	for (int i = 0; i < list->count; i++)
	{
		if (filter == NULL || filter(&list->entries[i]))
			order[count++] = (uint32) i;
	}
	sort_entries = list->entries;
	qsort(order, count, sizeof(uint32), compare_for_streams);
	callback = MemoryContextAlloc(backup->context, sizeof(*callback));
	backup->queue = eng_queue_new(list->entries, order, count);
	pfree(order);
	if (backup->queue == NULL)
		return false;
	if (backup->logs_listed)
		eng_queue_set_account(backup->queue, backup->account);
	callback->func = free_queue;
	callback->arg = backup->queue;
	MemoryContextRegisterResetCallback(backup->context, callback);
	list->streamed = true;
	backup->queue_count = (int) count;
	backup->queue_settled = 0;
	return true;
}

void
streamfile_drop_queue(Backup *backup)
{
	backup->queue = NULL;
	backup->style = STYLE_UNDECIDED;
}

void
streamfile_publish(Worker *worker)
{
	BackupStatus *status = &worker->instance->backup;
	Backup	   *backup = worker->backup;
	int64		waiting;

	if (backup->queue == NULL)
		return;
	waiting = eng_queue_waiting(backup->queue);
	LWLockAcquire(instance_lock(worker->instance), LW_EXCLUSIVE);
	status->streaming = true;
	status->files_waiting = waiting;
	status->files_in_streams = backup->queue_count - waiting -
		backup->queue_settled;
	LWLockRelease(instance_lock(worker->instance));
}

/* Open a stream in a free place; the answer says when that fails. */
static void
start_stream(Worker *worker, Call *call, OpenFile *place)
{
	Backup	   *backup = worker->backup;
	bool		verify = DataChecksumsEnabled() && !backup->logs_listed &&
		worker->instance->params.verify_checksums != VERIFY_OFF;
	Compression how = param_compression(&worker->instance->params);

	if ((backup->queue == NULL && !streamfile_make_queue(backup, NULL)) ||
		!AcquireExternalFD())
	{
		answer_error(&call->answer, JET_errOutOfFileHandles,
					 "out of memory or file descriptors for one more stream");
		return;
	}
	if (!openfile_take_handle(worker, call, place))
	{
		ReleaseExternalFD();
		return;
	}
	place->handle->is_stream = true;
	/* a damaged page is delivered: the archive must go on behind it */
	place->stream = eng_stream_new(backup->queue,
								   verify ? VERIFY_REPORT : VERIFY_OFF, &how);
	if (place->stream == NULL ||
		!eng_job_open_stream(place->job, &place->handle->ring, place->stream))
	{
		if (place->stream != NULL)
			eng_stream_free(place->stream);
		place->stream = NULL;
		frame_put_handle(worker->instance, place->handle, true);
		place->handle = NULL;
		ReleaseExternalFD();
		answer_error(&call->answer, JET_errOutOfMemory,
					 "out of memory for one more stream");
		return;
	}
	ring_open(&place->handle->ring, place->number, 0, PG_INT64_MAX);
	openfile_publish(worker, call, place);
	streamfile_publish(worker);
}

void
streamfile_open(Worker *worker, Call *call)
{
	OpenFile   *place;

	if (backup_refuse(worker, call, CALL_OPEN_STREAM) ||
		openfile_refuse_style(worker, call, STYLE_STREAMS) ||
		(place = openfile_choose_place(worker, call)) == NULL)
		return;
	start_stream(worker, call, place);
}

/*
 * The most a client can have received: the frame that was being sent when the
 * connection broke may have arrived although it does not count as sent.
 */
static uint64
most_received(EngRing *ring)
{
	return atomic_load(&ring->position) + atomic_load(&ring->sending);
}

/*
 * The reply to the same call may have got lost: then it is given again.  It
 * could not be found out otherwise how much of the old stream counts.
 */
static bool
repeat_resume(Worker *worker, Call *call)
{
	for (int i = 0; i < worker->file_places; i++)
	{
		OpenFile   *file = &worker->files[i];

		if (file->handle == NULL || file->doomed || file->closing != NULL ||
			file->resumed_from == 0 ||
			file->resumed_from != (uint32) call->request.handle ||
			file->received != call->request.number)
			continue;
		call->answer.result = (int32) file->number;
		call->answer.number = file->keep;
		(void) call_answer(worker->instance, call);
		return true;
	}
	return false;
}

void
streamfile_resume(Worker *worker, Call *call)
{
	OpenFile   *file;
	uint64		most;

	if (backup_refuse(worker, call, CALL_READ_FILE) ||
		repeat_resume(worker, call) ||
		(file = openfile_claim(worker, call)) == NULL)
		return;
	most = most_received(&file->handle->ring);
	if (file->stream != NULL && (uint64) call->request.number <= most)
	{
		/* goes on when the job has parked */
		openfile_begin_closing(file, call);
		return;
	}
	if (file->stream == NULL)
		answer_error(&call->answer, JET_errInvalidParameter,
					 "handle %d is not that of a stream",
					 call->request.handle);
	else
		answer_error(&call->answer, JET_errInvalidParameter,
					 "only %llu bytes were sent of stream %d",
					 (unsigned long long) most, call->request.handle);
	openfile_release_claim(file);
}

void
streamfile_finish_resume(Worker *worker, Call *call, uint64 keep)
{
	OpenFile   *place = openfile_choose_place(worker, call);

	if (place != NULL)
		start_stream(worker, call, place);
	if (call->answer.error != 0)
	{
		/* what counts, counts: its client must know */
		answer_detail(&call->answer, "Of stream %d the first %llu bytes count: keep these, and open another stream for the rest.",
					  call->request.handle, (unsigned long long) keep);
		return;
	}
	place->resumed_from = (uint32) call->request.handle;
	place->received = call->request.number;
	place->keep = (int64) keep;
	call->answer.number = (int64) keep;
}

bool
streamfile_is_complete(OpenFile *file)
{
	EngRing    *ring = &file->handle->ring;

	return atomic_load(&ring->finished) != 0 &&
		ring->frame_at == atomic_load(&ring->produced);
}

/* A file that lies in the stream and was received counts. */
static void
count_member(Worker *worker, FileEntry *entry, int64 listed_size)
{
	BackupStatus *status = &worker->instance->backup;

	openfile_count_as_read(worker, entry);
	if (entry->damaged)
	{
		entry->status = FILE_FAILED;
		backup_note_failure(worker, entry, JET_errReadVerifyFailure);
	}
	LWLockAcquire(instance_lock(worker->instance), LW_EXCLUSIVE);
	if (entry->kind != FILE_DIRECTORY)
	{
		status->files_done++;
		status->bytes_closed += entry->size;
		status->bytes_total += entry->size - listed_size;
	}
	LWLockRelease(instance_lock(worker->instance));
}

uint64
streamfile_settle(Worker *worker, EngIntake *intake, uint64 limit,
				  FileEntry *unreadable)
{
	Backup	   *backup = worker->backup;
	FileEntry  *entries = current_list(backup)->entries;
	uint64		keep = 0;

	/* what goes back to the queue goes there from the last one on */
	for (int i = (int) intake->member_count - 1; i >= 0; i--)
	{
		EngMember  *member = &intake->members[i];
		FileEntry  *entry = &entries[member->index];

		if (member->end > limit && entry == unreadable)
		{
			entry->status = FILE_FAILED;
			entry->damaged = false;
			backup_note_failure(worker, entry, JET_errDiskIO);
			backup->queue_settled++;
			continue;
		}
		if (member->end > limit)
		{
			/* whoever takes it next judges it anew */
			entry->size = member->listed_size;
			entry->damaged = false;
			eng_queue_return(backup->queue, member->index);
			continue;
		}
		if (member->outcome == MEMBER_SENT)
		{
			count_member(worker, entry, member->listed_size);
			keep = Max(keep, member->end);
		}
		else
			(void) openfile_settle_missing(worker, entry, member->sys_errno);
		backup->queue_settled++;
	}
	streamfile_publish(worker);
	return keep;
}
