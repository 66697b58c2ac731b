/*-------------------------------------------------------------------------
 *
 * restorefiles.c
 *	  The files of a restore: what they must be, and the jobs that read them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file_perm.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/memutils.h"

#include "engine/jet.h"
#include "restore_internal.h"

/* A small file that did not go through a thread: is it what it must be? */
static bool
check_small(Restore *restore, const char *name, const char *bytes,
			size_t length, TargetError *error)
{
	InventoryFile *file = inventory_find(restore->inventory, name);
	DigestValue digest;

	if (file == NULL)
		return target_fail(error, JET_errReadVerifyFailure,
						   "\"%s\" is not in the manifest", name);
	if (!digest_bytes(restore->inventory->digest, bytes, length, &digest) ||
		!inventory_matches(file, length, &digest))
		return target_fail(error, JET_errReadVerifyFailure,
						   "\"%s\" does not match the manifest", name);
	file->seen = true;
	return true;
}

/*
 * What came with the logs, before the manifest was known, is compared now.
 */
static bool
check_extracted(Worker *worker, Restore *restore, TargetError *error)
{
	static const char *const names[] = {"backup_label", "tablespace_map.original"};

	for (int i = 0; i < lengthof(names); i++)
	{
		size_t		length;
		char	   *bytes = source_read_file(worker, worker->target.directory,
											 worker->target.path, names[i],
											 &length, error);

		if (bytes == NULL ? error->jet != JET_errFileNotFound :
			!check_small(restore, names[i], bytes, length, error))
			return false;
	}
	return true;
}

/* What must be known about a good one. */
static void
warn_about(Restore *restore)
{
	const Source *source = &restore->source;
	const LogChain *chain = &source->chain;

	if (chain->count == 0)
		restore_warn(restore, "its logs cannot be verified, because it was made before there were log manifests");
	if (chain->index.damaged_count > 0)
		restore_warn(restore, "pages of it were damaged when it was made, in %u file%s, first \"%s\"",
					 chain->index.damaged_count,
					 chain->index.damaged_count == 1 ? "" : "s",
					 chain->index.damaged[0]);
	if (source->beyond > 0)
		restore_warn(restore, "%d WAL segment%s behind the end of its logs, %X/%X, cannot be verified, because no manifest lists them",
					 source->beyond, source->beyond == 1 ? "" : "s",
					 LSN_FORMAT_ARGS(chain->end_lsn));
}

/* The WAL that is to be read in the end. */
static bool
set_ranges(Restore *restore, TargetError *error)
{
	ManifestWalRange *ranges;

	if (restore->source.chain.count == 0)
	{
		restore->ranges = restore->inventory->ranges;
		restore->range_count = restore->inventory->range_count;
		return true;
	}
	ranges = logchain_ranges(&restore->source.chain, &restore->range_count);
	if (ranges == NULL)
		return target_fail(error, JET_errOutOfMemory, "memory is out");
	restore->ranges = palloc(sizeof(ManifestWalRange) * (restore->range_count + 1));
	memcpy(restore->ranges, ranges,
		   sizeof(ManifestWalRange) * restore->range_count);
	free(ranges);
	return true;
}

/* The inventory goes when the restore's memory goes. */
static void
free_inventory(void *arg)
{
	inventory_free(arg);
}

/* Read the manifest and pg_control, and look at the WAL. */
static bool
read_contents(Worker *worker, Restore *restore, TargetError *error)
{
	bool		extracted = restore->source.tar;
	int			directory = extracted ? worker->target.directory :
		restore->source.directory;
	const char *path = extracted ? worker->target.path : restore->source.path;
	MemoryContextCallback *callback = palloc(sizeof(*callback));

	restore->inventory = source_read_inventory(worker, directory, path, error);
	if (restore->inventory == NULL)
		return false;
	callback->func = free_inventory;
	callback->arg = restore->inventory;
	MemoryContextRegisterResetCallback(worker->backup->context, callback);
	restore->control_file = source_read_control(worker, directory, path,
												extracted ? TARGET_SUFFIX : "",
												error);
	if (restore->control_file == NULL)
		return false;
	if (restore->inventory->system_identifier != 0 &&
		restore->inventory->system_identifier != restore_control(restore)->system_identifier)
		return target_fail(error, JET_errGivenLogFileHasBadSignature,
						   "the manifest in \"%s\" is one of another cluster", path);
	return check_small(restore, XLOG_CONTROL_FILE, restore->control_file,
					   PG_CONTROL_FILE_SIZE, error) &&
		source_read_chain(worker, &restore->source, directory, restore->inventory,
						  restore_control(restore), error) &&
		set_ranges(restore, error) && restore_check_target(restore, error) &&
		source_check_wal(worker, directory, path, restore->inventory,
						 restore_control(restore), error) &&
		(!extracted || check_extracted(worker, restore, error));
}

/* List a data directory, and what its files must be. */
static bool
list_files(Worker *worker, Restore *restore, int directory, const char *path,
		   TargetError *error)
{
	FileList   *list = &worker->backup->attach;

	if (!source_list(worker, &restore->source, directory, path, restore->inventory,
					 list, error))
		return false;
	restore->expected = palloc_extended(sizeof(InventoryFile *) * (list->count + 1),
										MCXT_ALLOC_HUGE);
	for (int i = 0; i < list->count; i++)
		restore->expected[i] = inventory_find(restore->inventory,
											  list->entries[i].name);
	if (streamfile_make_queue(worker->backup, native_is_for_writers))
		return true;
	return target_fail(error, JET_errOutOfMemory, "memory is out");
}

static void
publish_total(Worker *worker, Restore *restore)
{
	BackupStatus *status = &worker->instance->backup;
	FileList   *list = &worker->backup->attach;
	const LogChain *chain = &restore->source.chain;
	int64		files = restore->files_done;
	int64		bytes = restore->bytes_done;

	for (uint32 i = 0; restore->source.tar && i < restore->inventory->count; i++)
	{
		if (restore->inventory->files[i].seen)
			continue;
		files++;
		bytes += restore->inventory->files[i].size;
	}
	for (int i = 0; !restore->source.tar && i < list->count; i++)
	{
		if (!native_is_for_writers(&list->entries[i]))
			continue;
		files++;
		bytes += list->entries[i].size;
	}
	LWLockAcquire(instance_lock(worker->instance), LW_EXCLUSIVE);
	status->files_total = files;
	status->bytes_total = bytes;
	status->row.start_lsn = (int64)
		restore->inventory->ranges[restore->inventory->range_count - 1].start_lsn;
	status->row.stop_lsn = (int64) (chain->count > 0 ? chain->end_lsn :
									restore->inventory->ranges[0].end_lsn);
	status->row.timeline = chain->count > 0 ? chain->timeline :
		restore->inventory->ranges[0].timeline;
	LWLockRelease(instance_lock(worker->instance));
}

bool
restore_prepare_logs(Worker *worker, Restore *restore, TargetError *error)
{
	MemoryContext caller = MemoryContextSwitchTo(worker->backup->context);
	bool		good;

	good = read_contents(worker, restore, error) &&
		(restore->source.chain.count == 0 ||
		 list_files(worker, restore, worker->target.directory,
					worker->target.path, error));
	MemoryContextSwitchTo(caller);
	return good;
}

bool
restore_prepare_files(Worker *worker, Restore *restore, TargetError *error)
{
	MemoryContext caller = MemoryContextSwitchTo(worker->backup->context);
	bool		tar = restore->source.tar;
	bool		good;

	good = (tar || read_contents(worker, restore, error)) &&
		(!restore->recover || restore_make_places(worker, restore, error)) &&
		(tar || list_files(worker, restore, restore->source.directory,
						   restore->source.path, error)) &&
		(!restore->recover || tar ||
		 native_make_directories(worker, &worker->backup->attach, error));
	if (good)
	{
		warn_about(restore);
		publish_total(worker, restore);
	}
	MemoryContextSwitchTo(caller);
	return good;
}

/* Where what is read goes; NULL for nowhere. */
static const EngTarget *
write_to(Restore *restore, NativeJob *place)
{
	return restore->stage == RESTORE_LOGS ||
		(restore->recover && restore->stage == RESTORE_FILES) ?
		&place->target : NULL;
}

/* The job of the next archive. */
static bool
open_extract(Restore *restore, NativeJob *place, const char *name)
{
	const IndexArchive *listed =
		backupindex_find_archive(&restore->source.chain.index, name);
	EngArchive	archive = {
		.name = name,
		.listed = listed != NULL,
		.of_logs = restore->stage == RESTORE_LOGS,
	};

	if (listed != NULL)
	{
		archive.size = listed->size;
		archive.digest = listed->digest;
	}
	place->extract = eng_extract_new(restore->source.directory, &archive,
									 write_to(restore, place),
									 restore->inventory, TARGET_SUFFIX);
	return place->extract != NULL &&
		eng_job_open_extract(place->job, &place->ring, place->extract);
}

static bool
open_writer(Worker *worker, Restore *restore, NativeJob *place)
{
	place->writer = eng_writer_new(worker->backup->queue, VERIFY_OFF,
								   write_to(restore, place));
	if (place->writer == NULL)
		return false;
	place->writer->intake.directory = restore->stage == RESTORE_LOG_FILES ?
		worker->target.directory : restore->source.directory;
	place->writer->intake.expected = restore->expected;
	return eng_job_open_writer(place->job, &place->ring, place->writer);
}

/* How many jobs this stage has. */
static int
count_items(Worker *worker, Restore *restore)
{
	switch (restore->stage)
	{
		case RESTORE_LOGS:
			return list_length(restore->source.log_archives);
		case RESTORE_LOG_FILES:
			return restore->source.chain.count > 0 ? worker->threads : 0;
		case RESTORE_FILES:
			return restore->source.tar ?
				list_length(restore->source.data_archives) : worker->threads;
		case RESTORE_SYNC:
			return 1 + list_length(restore->places);
		default:
			return 0;
	}
}

/* Bind the next job of this stage to a place. */
static bool
open_item(Worker *worker, Restore *restore, NativeJob *place, int n)
{
	int			directory;

	switch (restore->stage)
	{
		case RESTORE_LOGS:
			return open_extract(restore, place,
								list_nth(restore->source.log_archives, n));
		case RESTORE_LOG_FILES:
			return open_writer(worker, restore, place);
		case RESTORE_FILES:
			return restore->source.tar ?
				open_extract(restore, place,
							 list_nth(restore->source.data_archives, n)) :
				open_writer(worker, restore, place);
		default:
			directory = restore_open_directory(worker, restore, n);
			if (directory < 0)
				return false;
			(void) dup3(directory, place->target.directory, O_CLOEXEC);
			close(directory);
			return eng_job_open_sync(place->job, &place->ring, &place->target);
	}
}

/*
 * How many jobs of this stage may run at once: of logs the newer ones take the
 * places of older ones, so they come one after the other.
 */
static int
count_places(Worker *worker, Restore *restore)
{
	return restore->stage == RESTORE_LOGS ? 1 : worker->threads;
}

/*
 * Start jobs in free places as long as there are any to start.  False when
 * one cannot be started.
 */
static bool
start_jobs(Worker *worker, Restore *restore)
{
	int			directory = worker->target.in_use ? worker->target.directory :
		restore->source.directory;

	for (int i = 0; i < count_places(worker, restore) &&
		 restore->next_item < count_items(worker, restore); i++)
	{
		NativeJob  *place;

		if (worker->native_jobs[i].in_use)
			continue;
		place = native_take_place(worker, i, directory, NULL);
		if (place == NULL)
			return restore->next_item > 0;
		place->target.read_soon = true;
		if (!open_item(worker, restore, place, restore->next_item++))
		{
			native_release_place(place);
			return false;
		}
		eng_job_start(place->job);
	}
	return true;
}

static void
progress_of(const NativeJob *place, int64 *files, int64 *bytes)
{
	if (place->extract != NULL)
	{
		*files += atomic_load(&place->extract->files_done);
		*bytes += atomic_load(&place->extract->bytes_done);
	}
	else if (place->writer != NULL)
	{
		*files += atomic_load(&place->writer->intake.files_done);
		*bytes += atomic_load(&place->writer->intake.bytes_done);
	}
}

void
restore_publish(Worker *worker)
{
	Restore    *restore = restore_of(worker);
	BackupStatus *status = &worker->instance->backup;
	int64		files = restore->files_done;
	int64		bytes = restore->bytes_done;

	for (int i = 0; i < worker->threads; i++)
	{
		if (worker->native_jobs[i].in_use)
			progress_of(&worker->native_jobs[i], &files, &bytes);
	}
	LWLockAcquire(instance_lock(worker->instance), LW_EXCLUSIVE);
	status->files_done = files;
	status->bytes_closed = bytes;
	LWLockRelease(instance_lock(worker->instance));
}

/* The name of what a job was at, or NULL. */
static const char *
name_of(const NativeJob *place)
{
	if (place->extract != NULL)
		return place->extract->member.name;
	if (place->writer != NULL && place->writer->intake.entry != NULL)
		return place->writer->intake.entry->name;
	return NULL;
}

static void
fail_job(Worker *worker, NativeJob *place)
{
	EngError	error = place->ring.error;
	const char *name = name_of(place);
	char		reason[ESE_MESSAGE_LENGTH];

	if (place->extract != NULL && place->extract->why != NULL)
		snprintf(reason, sizeof(reason), "archive \"%s\" of the backup is damaged: %s",
				 place->extract->archive.name, place->extract->why);
	else if (error.jet == JET_errReadVerifyFailure)
	{
		snprintf(reason, sizeof(reason), "\"%s\" does not match the manifest",
				 name);
		if (strncmp(name, XLOGDIR "/", strlen(XLOGDIR "/")) == 0)
			error.jet = JET_errLogFileCorrupt;
	}
	else
		native_describe_failure(worker, &error, name, reason, sizeof(reason));
	restore_fail(worker, error.jet, reason);
}

/* A file that was listed could not be opened; false: it has failed. */
static bool
check_members(Worker *worker, const NativeJob *place)
{
	const EngIntake *intake = &place->writer->intake;

	for (uint32 i = 0; i < intake->member_count; i++)
	{
		const EngMember *member = &intake->members[i];
		char		reason[ESE_MESSAGE_LENGTH];

		if (member->outcome == MEMBER_SENT)
			continue;
		snprintf(reason, sizeof(reason), "could not open \"%s\": %s",
				 worker->backup->attach.entries[member->index].name,
				 strerror(member->sys_errno));
		restore_fail(worker, member->outcome == MEMBER_MISSING ?
					 JET_errFileNotFound : JET_errFileAccessDenied, reason);
		return false;
	}
	return true;
}

bool
restore_pump_jobs(Worker *worker, Restore *restore)
{
	bool		running = false;

	for (int i = 0; i < worker->threads; i++)
	{
		NativeJob  *place = &worker->native_jobs[i];

		if (!place->in_use)
			continue;
		if (atomic_load(&place->ring.state) == RING_FAILED)
		{
			fail_job(worker, place);
			return false;
		}
		if (!atomic_load(&place->ring.finished) || !eng_job_idle(place->job))
		{
			running = true;
			/* a sync parks while something is being flushed */
			if (!atomic_load(&place->ring.finished))
				eng_job_start(place->job);
			continue;
		}
		if (place->writer != NULL && !check_members(worker, place))
			return false;
		progress_of(place, &restore->files_done, &restore->bytes_done);
		native_release_place(place);
	}
	if (!start_jobs(worker, restore))
	{
		restore_fail(worker, JET_errOutOfMemory,
					 "memory or file descriptors were too short for a thread");
		return false;
	}
	if (restore->next_item == 0 || running)
		return !running;
	for (int i = 0; i < worker->threads; i++)
		running = running || worker->native_jobs[i].in_use;
	return !running;
}
