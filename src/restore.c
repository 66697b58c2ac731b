/*-------------------------------------------------------------------------
 *
 * restore.c
 *	  Restoring and verifying a backup, in the worker.
 *
 * It goes through stages.  Threads copy or extract the files and compare them
 * with the manifest; then a private server recovers the copy.  Archives are
 * read in two goes, because the manifest lies in that of the logs.
 *
 * A verification is a restore that writes nothing (depth "manifest"), or one
 * that is removed again (depth "restore").
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog_internal.h"
#include "common/file_perm.h"
#include "common/string.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "storage/fd.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "backup.h"
#include "engine/jet.h"
#include "privateserver.h"
#include "restore.h"
#include "source.h"
#include "testpoint.h"
#include "worker_internal.h"

/* What a verification makes beside its source, and removes. */
#define SCRATCH_SUFFIX ".ese_verify"

typedef enum RestoreStage
{
	RESTORE_LOGS,				/* archives of logs; next: FILES */
	RESTORE_FILES,				/* next: WAL or SYNC */
	RESTORE_WAL,				/* pg_waldump reads it; next: the end */
	RESTORE_SYNC,				/* next: RECOVERY */
	RESTORE_RECOVERY,			/* next: CHECK or SHUTDOWN */
	RESTORE_CHECK,				/* pg_amcheck; next: SHUTDOWN */
	RESTORE_SHUTDOWN,			/* next: the end */
} RestoreStage;

typedef struct Restore
{
	RestoreStage stage;
	bool		verify;			/* nothing stays */
	bool		recover;		/* it is restored, and recovered */
	char	   *depth;			/* of a verification */
	char	   *target;			/* "recovery_target_x=value", or empty */
	char	   *superuser;		/* the role that verifies */
	List	   *wanted_places;	/* of WantedPlace */
	List	   *places;			/* of RestorePlace: tablespaces */
	Source		source;
	Inventory  *inventory;		/* NULL: not read yet */
	InventoryFile **expected;	/* of the attach list */
	char	   *control_file;	/* PG_CONTROL_FILE_SIZE */
	int			next_item;		/* of this stage */
	int			next_range;		/* of WAL */
	int64		files_done;		/* by jobs that have ended */
	int64		bytes_done;
	PrivateServer server;
	Child		program;
} Restore;

static Restore *
restore_of(const Worker *worker)
{
	return worker->backup != NULL ? worker->backup->restore : NULL;
}

static ControlFileData *
control_of(Restore *restore)
{
	return (ControlFileData *) restore->control_file;
}

/* It has failed: it ends, and nothing of it stays. */
static void
fail(Worker *worker, int jet, const char *reason)
{
	backup_finish(worker, OUTCOME_FAILED, jet, reason);
}

static void
fail_target(Worker *worker, const TargetError *error)
{
	fail(worker, error->jet, error->text);
}

/* ---- what is asked for */

/* Take up a line of the options: a key and its values. */
static void
read_option(Restore *restore, char *line)
{
	char	   *key = line;
	char	   *first = strchr(key, '\t');
	char	   *second;

	if (first == NULL)
		return;
	*first++ = '\0';
	second = strchr(first, '\t');
	if (second != NULL)
		*second++ = '\0';
	if (strcmp(key, OPTION_TARGET) == 0)
		restore->target = pstrdup(first);
	else if (strcmp(key, OPTION_SUPERUSER) == 0)
		restore->superuser = pstrdup(first);
	else if (strcmp(key, OPTION_TABLESPACE) == 0 && second != NULL)
	{
		WantedPlace *wanted = palloc0(sizeof(WantedPlace));

		wanted->key = pstrdup(first);
		wanted->path = pstrdup(second);
		restore->wanted_places = lappend(restore->wanted_places, wanted);
	}
}

static Restore *
create_restore(const Request *request)
{
	Restore    *restore = palloc0(sizeof(Restore));
	char	   *options = pstrdup(request->options);
	char	   *line;

	restore->source.directory = -1;
	restore->server.child.control = -1;
	restore->program.control = -1;
	restore->target = restore->superuser = "";
	restore->verify = request->operation == OP_VERIFY;
	restore->depth = restore->verify ? pstrdup(request->text) : "";
	restore->recover = !restore->verify ||
		strcmp(restore->depth, DEPTH_RESTORE) == 0;
	while ((line = strsep(&options, "\n")) != NULL)
		read_option(restore, line);
	return restore;
}

/* What a verification that was cut off has left goes. */
static bool
remove_stale_scratch(const char *path, TargetError *error)
{
	if (access(path, F_OK) != 0 || !target_has_file(path, TARGET_MARKER))
		return true;
	target_remove_contents(path);
	(void) unlink(psprintf("%s/%s", path, TARGET_MARKER));
	if (rmdir(path) != 0)
		return target_fail_errno(error, "remove directory", path);
	return true;
}

/* The directory that is written, if any: the destination, or a scratch one. */
static bool
make_destination(Worker *worker, Restore *restore, const Request *request,
				 TargetError *error)
{
	const char *path = request->path;
	char		scratch[MAXPGPATH];

	if (restore->verify)
	{
		if (!restore->recover && !restore->source.tar)
			return true;
		strlcpy(scratch, restore->source.path, sizeof(scratch) - sizeof(SCRATCH_SUFFIX));
		strlcat(scratch, SCRATCH_SUFFIX, sizeof(scratch));
		path = scratch;
		if (!remove_stale_scratch(path, error))
			return false;
	}
	else if (target_lies_in(path, restore->source.path))
		return target_fail(error, JET_errInvalidPath,
						   "\"%s\" lies in the backup", path);
	return target_check(path, error) &&
		target_make(&worker->target, path,
					restore->verify ? "verification" : "restore",
					worker->instance->name, error);
}

/* ---- reading what the backup is made of */

static bool
digest_of(const char *bytes, size_t length, DigestKind kind,
		  DigestValue *value)
{
	Digest		digest;
	Digest		scratch;
	bool		ok;

	ok = digest_init(&digest, kind);
	ok = digest_init(&scratch, kind) && ok;
	ok = ok && digest_update(&digest, bytes, length) &&
		digest_value(&digest, &scratch, value);
	digest_free(&digest);
	digest_free(&scratch);
	return ok;
}

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
	if (!digest_of(bytes, length, restore->inventory->digest, &digest) ||
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
		char	   *bytes = source_read_file(worker->target.directory,
											 names[i], &length);

		if (bytes != NULL && !check_small(restore, names[i], bytes, length, error))
			return false;
	}
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

	restore->inventory = source_read_inventory(directory, path, error);
	if (restore->inventory == NULL)
		return false;
	callback->func = free_inventory;
	callback->arg = restore->inventory;
	MemoryContextRegisterResetCallback(worker->backup->context, callback);
	restore->control_file = source_read_control(directory, path,
												extracted ? TARGET_SUFFIX : "",
												error);
	if (restore->control_file == NULL)
		return false;
	if (restore->inventory->system_identifier != 0 &&
		restore->inventory->system_identifier != control_of(restore)->system_identifier)
		return target_fail(error, JET_errGivenLogFileHasBadSignature,
						   "the manifest in \"%s\" is one of another cluster", path);
	return check_small(restore, XLOG_CONTROL_FILE, restore->control_file,
					   PG_CONTROL_FILE_SIZE, error) &&
		source_check_wal(psprintf("%s/%s", path, XLOGDIR), restore->inventory,
						 control_of(restore), error) &&
		(!extracted || check_extracted(worker, restore, error));
}

/* ---- tablespaces */

/* Take a path of the map apart: line breaks in it are escaped. */
static char *
unescape(const char *text)
{
	char	   *path = palloc(strlen(text) + 1);
	char	   *to = path;

	for (; *text != '\0'; text++)
	{
		if (*text == '\\' && text[1] != '\0')
			text++;
		*to++ = *text;
	}
	*to = '\0';
	return path;
}

/* Where a tablespace is to go. */
static char *
choose_place(Restore *restore, const char *destination, const char *oid,
			 const char *original)
{
	ListCell   *cell;

	foreach(cell, restore->wanted_places)
	{
		WantedPlace *wanted = lfirst(cell);

		if (strcmp(wanted->key, oid) == 0 || strcmp(wanted->key, original) == 0)
		{
			wanted->used = true;
			return wanted->path;
		}
	}
	return psprintf("%s.%s", destination, oid);
}

static bool
make_place(Worker *worker, Restore *restore, const char *oid,
		   const char *original, TargetError *error)
{
	RestorePlace *place = palloc0(sizeof(RestorePlace));
	char	   *link = psprintf("pg_tblspc/%s", oid);

	place->path = choose_place(restore, worker->target.path, oid, original);
	if (!target_check(place->path, error))
		return false;
	if (target_lies_in(place->path, worker->target.path) ||
		target_lies_in(place->path, restore->source.path))
		return target_fail(error, JET_errInvalidPath,
						   "\"%s\", for tablespace %s, lies in the backup or in its destination",
						   place->path, oid);
	place->made = mkdir(place->path, pg_dir_create_mode) == 0;
	if (!place->made && errno != EEXIST)
		return target_fail_errno(error, "create directory", place->path);
	restore->places = lappend(restore->places, place);
	(void) chmod(place->path, pg_dir_create_mode);
	if (symlinkat(place->path, worker->target.directory, link) != 0)
		return target_fail_errno(error, "create symbolic link", link);
	return true;
}

/* All tablespaces of the backup get places, and links to these. */
static bool
make_places(Worker *worker, Restore *restore, TargetError *error)
{
	size_t		length;
	int			directory = restore->source.tar ? worker->target.directory :
		restore->source.directory;
	char	   *map = source_read_file(directory, "tablespace_map.original",
									   &length);
	char	   *line;
	ListCell   *cell;

	if (mkdirat(worker->target.directory, "pg_tblspc", pg_dir_create_mode) != 0 &&
		errno != EEXIST)
		return target_fail_errno(error, "create directory", "pg_tblspc");
	while (map != NULL && (line = strsep(&map, "\n")) != NULL)
	{
		char	   *path = strchr(line, ' ');

		if (path == NULL)
			continue;
		*path++ = '\0';
		if (strspn(line, "0123456789") != strlen(line))
			return target_fail(error, JET_errReadVerifyFailure,
							   "\"tablespace_map.original\" of the backup is damaged");
		if (!make_place(worker, restore, line, unescape(path), error))
			return false;
	}
	foreach(cell, restore->wanted_places)
	{
		WantedPlace *wanted = lfirst(cell);

		if (!wanted->used)
			return target_fail(error, JET_errInvalidParameter,
							   "the backup has no tablespace \"%s\"", wanted->key);
	}
	return true;
}

/* Directories of a data directory; those of tablespaces are there already. */
static bool
make_directories(Worker *worker, TargetError *error)
{
	FileList   *list = &worker->backup->attach;

	for (int i = 0; i < list->count; i++)
	{
		const FileEntry *entry = &list->entries[i];

		CHECK_FOR_INTERRUPTS();
		if (entry->kind == FILE_DIRECTORY &&
			mkdirat(worker->target.directory, entry->name,
					pg_dir_create_mode) != 0 && errno != EEXIST)
			return target_fail_errno(error, "create directory", entry->name);
	}
	return true;
}

/* ---- stages with jobs */

/* What threads copy: pg_control comes last. */
static bool
is_for_writers(const FileEntry *entry)
{
	return entry->kind != FILE_DIRECTORY &&
		strcmp(entry->name, XLOG_CONTROL_FILE) != 0;
}

/* List a data directory, and what its files must be. */
static bool
list_files(Worker *worker, Restore *restore, TargetError *error)
{
	FileList   *list = &worker->backup->attach;

	if (!source_list(&restore->source, restore->inventory, list, error))
		return false;
	restore->expected = palloc_extended(sizeof(InventoryFile *) * (list->count + 1),
										MCXT_ALLOC_HUGE);
	for (int i = 0; i < list->count; i++)
		restore->expected[i] = inventory_find(restore->inventory,
											  list->entries[i].name);
	if (streamfile_make_queue(worker->backup, is_for_writers))
		return true;
	return target_fail(error, JET_errOutOfMemory, "memory is out");
}

static void
publish_total(Worker *worker, Restore *restore)
{
	BackupStatus *status = &worker->instance->backup;
	FileList   *list = &worker->backup->attach;
	int64		files = restore->files_done;
	int64		bytes = restore->bytes_done;

	for (uint32 i = 0; restore->source.tar && i < restore->inventory->count; i++)
	{
		if (restore->inventory->files[i].seen)
			continue;
		files++;
		bytes += restore->inventory->files[i].size;
	}
	for (int i = 0; i < list->count; i++)
	{
		if (!is_for_writers(&list->entries[i]))
			continue;
		files++;
		bytes += list->entries[i].size;
	}
	LWLockAcquire(instance_lock(worker->instance), LW_EXCLUSIVE);
	status->files_total = files;
	status->bytes_total = bytes;
	status->row.start_lsn = (int64)
		restore->inventory->ranges[restore->inventory->range_count - 1].start_lsn;
	status->row.stop_lsn = (int64) restore->inventory->ranges[0].end_lsn;
	status->row.timeline = restore->inventory->ranges[0].timeline;
	LWLockRelease(instance_lock(worker->instance));
}

/* Everything that must be known, and made, before files are read. */
static bool
prepare_files(Worker *worker, Restore *restore, TargetError *error)
{
	MemoryContext caller = MemoryContextSwitchTo(worker->backup->context);
	bool		good;

	good = read_contents(worker, restore, error) &&
		(!restore->recover || make_places(worker, restore, error)) &&
		(restore->source.tar || list_files(worker, restore, error)) &&
		(!restore->recover || restore->source.tar ||
		 make_directories(worker, error));
	if (good)
	{
		eng_begin(worker->engine, 0, restore->inventory->digest);
		publish_total(worker, restore);
	}
	MemoryContextSwitchTo(caller);
	return good;
}

/* Where what is read goes; NULL for nowhere. */
static const EngTarget *
write_to(Restore *restore, NativeJob *place)
{
	return restore->recover || restore->stage == RESTORE_LOGS ?
		&place->target : NULL;
}

/* The job of the next archive. */
static bool
open_extract(Restore *restore, NativeJob *place, const char *name)
{
	place->extract = eng_extract_new(restore->source.directory, name,
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
	place->writer->intake.directory = restore->source.directory;
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
		case RESTORE_FILES:
			return restore->source.tar ?
				list_length(restore->source.data_archives) : worker->threads;
		case RESTORE_SYNC:
			return 1 + list_length(restore->places);
		default:
			return 0;
	}
}

/* The directory whose disk the n-th sync is about. */
static int
open_sync_directory(Worker *worker, Restore *restore, int n)
{
	RestorePlace *place;

	if (n == 0)
		return fcntl(worker->target.directory, F_DUPFD_CLOEXEC, 0);
	place = list_nth(restore->places, n - 1);
	return open(place->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
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
		case RESTORE_FILES:
			return restore->source.tar ?
				open_extract(restore, place,
							 list_nth(restore->source.data_archives, n)) :
				open_writer(worker, restore, place);
		default:
			directory = open_sync_directory(worker, restore, n);
			if (directory < 0)
				return false;
			(void) dup3(directory, place->target.directory, O_CLOEXEC);
			close(directory);
			return eng_job_open_sync(place->job, &place->ring, &place->target);
	}
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

	for (int i = 0; i < worker->threads &&
		 restore->next_item < count_items(worker, restore); i++)
	{
		NativeJob  *place;

		if (worker->native_jobs[i].in_use)
			continue;
		place = native_take_place(worker, i, directory, NULL);
		if (place == NULL)
			return restore->next_item > 0;
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
		return place->extract->name[0] != '\0' ? place->extract->name : NULL;
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

	if (error.jet == JET_errReadVerifyFailure && name != NULL)
		snprintf(reason, sizeof(reason), "\"%s\" does not match the manifest",
				 name);
	else if (error.jet == JET_errReadVerifyFailure)
		snprintf(reason, sizeof(reason), "an archive of the backup is damaged");
	else
		snprintf(reason, sizeof(reason), "could not %s \"%s\"%s%s",
				 error.writing ? "write" : "read",
				 name != NULL ? name : "the files",
				 error.sys_errno != 0 ? ": " : "",
				 error.sys_errno != 0 ? strerror(error.sys_errno) : "");
	fail(worker, error.jet, reason);
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
		fail(worker, member->outcome == MEMBER_MISSING ?
			 JET_errFileNotFound : JET_errFileAccessDenied, reason);
		return false;
	}
	return true;
}

/*
 * Look after the jobs.  True when all of this stage are done; false when some
 * run on, or it is over.
 */
static bool
pump_jobs(Worker *worker, Restore *restore)
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
			continue;
		}
		if (place->writer != NULL && !check_members(worker, place))
			return false;
		progress_of(place, &restore->files_done, &restore->bytes_done);
		native_release_place(place);
	}
	if (!start_jobs(worker, restore))
	{
		fail(worker, JET_errOutOfMemory,
			 "memory or file descriptors were too short for a thread");
		return false;
	}
	if (restore->next_item == 0 || running)
		return !running;
	for (int i = 0; i < worker->threads; i++)
		running = running || worker->native_jobs[i].in_use;
	return !running;
}

/* ---- stages with programs */

/* It is good: it ends. */
static void
complete(Worker *worker, Restore *restore)
{
	TargetError error;
	char		parent[MAXPGPATH];

	if (restore->verify)
		history_note_verified((XLogRecPtr) worker->instance->backup.row.start_lsn,
							  restore->depth);
	else
	{
		strlcpy(parent, worker->target.path, sizeof(parent));
		get_parent_directory(parent);
		if (!target_complete(&worker->target, NULL, &error) ||
			!target_sync_directory(parent[0] ? parent : "/", &error))
		{
			fail_target(worker, &error);
			return;
		}
	}
	restore_publish(worker);
	backup_finish(worker, OUTCOME_COMPLETED, JET_errSuccess, "");
}

/* Read the next range of WAL with pg_waldump; false when all were read. */
static bool
start_waldump(Worker *worker, Restore *restore)
{
	const Inventory *inventory = restore->inventory;
	const ManifestWalRange *range = &inventory->ranges[restore->next_range];
	const char *path = restore->source.tar ? worker->target.path :
		restore->source.path;
	char	   *argv[] = {
		"pg_waldump", "--quiet",
		psprintf("--path=%s/%s", path, XLOGDIR),
		psprintf("--timeline=%u", range->timeline),
		psprintf("--start=%X/%X", LSN_FORMAT_ARGS(range->start_lsn)),
		psprintf("--end=%X/%X", LSN_FORMAT_ARGS(range->end_lsn)),
		NULL
	};

	if (restore->next_range == inventory->range_count)
		return false;
	restore->next_range++;
	if (!private_run(&restore->server, &restore->program, argv))
		fail(worker, JET_errOutOfMemory,
			 psprintf("could not run pg_waldump: %s", strerror(errno)));
	return true;
}

static bool
start_amcheck(Restore *restore)
{
	char	   *argv[] = {
		"pg_amcheck", "--all", "--install-missing", "--heapallindexed",
		psprintf("--host=%s", restore->server.home),
		psprintf("--username=%s", restore->superuser),
		"--port=" PRIVATE_PORT,
		NULL
	};

	return private_run(&restore->server, &restore->program, argv);
}

/* pg_control gets its place, and a server recovers what is there. */
static bool
start_recovery(Worker *worker, Restore *restore, TargetError *error)
{
	if (restore->source.tar ?
		!target_publish_file(&worker->target, CONTROL_FILE_NAME, error) :
		!target_write_file(&worker->target, CONTROL_FILE_NAME,
						   restore->control_file, PG_CONTROL_FILE_SIZE, error))
		return false;
	if (!private_start(&restore->server, worker->target.path,
					   control_of(restore), restore->target))
		return target_fail_errno(error, "start a server in",
								 worker->target.path);
	return true;
}

/* Which JET error is it that a recovery has ended so? */
static int
error_of_recovery(const char *words)
{
	if (strstr(words, "before configured recovery target was reached") != NULL ||
		strstr(words, "before end of online backup") != NULL)
		return JET_errEndingRestoreLogTooLow;
	if (strstr(words, "could not locate required checkpoint record") != NULL ||
		strstr(words, "could not find redo location") != NULL)
		return JET_errMissingLogFile;
	return JET_errRedoAbruptEnded;
}

static void
fail_recovery(Worker *worker, Restore *restore)
{
	char	   *words = private_last_words(&restore->server);

	fail(worker, error_of_recovery(words),
		 psprintf("recovery has failed: %s", words));
}

static void
enter_stage(Worker *worker, Restore *restore, RestoreStage stage)
{
	static const char *const points[] = {
		[RESTORE_LOGS] = "restore.logs",
		[RESTORE_FILES] = "restore.files",
		[RESTORE_WAL] = "restore.wal",
		[RESTORE_SYNC] = "restore.sync",
		[RESTORE_RECOVERY] = "restore.recovery",
		[RESTORE_CHECK] = "restore.check",
		[RESTORE_SHUTDOWN] = "restore.shutdown",
	};
	TargetError error;

	restore->stage = stage;
	restore->next_item = 0;
	testpoint(points[stage]);
	switch (stage)
	{
		case RESTORE_LOGS:
		case RESTORE_SYNC:
			break;
		case RESTORE_FILES:
			if (!prepare_files(worker, restore, &error))
				fail_target(worker, &error);
			break;
		case RESTORE_WAL:
			(void) start_waldump(worker, restore);
			break;
		case RESTORE_RECOVERY:
			LWLockAcquire(instance_lock(worker->instance), LW_EXCLUSIVE);
			worker->instance->backup.protocol.phase = PHASE_LOGS;
			worker->instance->backup.phase_started_at = GetCurrentTimestamp();
			LWLockRelease(instance_lock(worker->instance));
			worker_show_activity(worker);
			if (!start_recovery(worker, restore, &error))
				fail_target(worker, &error);
			break;
		case RESTORE_CHECK:
			if (!start_amcheck(restore))
				fail(worker, JET_errOutOfMemory, "could not run pg_amcheck");
			break;
		case RESTORE_SHUTDOWN:
			private_shut_down(&restore->server);
			break;
	}
}

/* All files have been read: is any missing? */
static void
finish_files(Worker *worker, Restore *restore)
{
	const InventoryFile *missing = inventory_first_unseen(restore->inventory);

	if (missing != NULL)
		fail(worker, JET_errFileNotFound,
			 psprintf("\"%s\" is missing in the backup", missing->path));
	else
		enter_stage(worker, restore,
					restore->recover ? RESTORE_SYNC : RESTORE_WAL);
}

/* Go on with what a program or server does. */
static void
pump_programs(Worker *worker, Restore *restore)
{
	switch (restore->stage)
	{
		case RESTORE_WAL:
			if (child_runs(&restore->program))
				return;
			if (!child_succeeded(&restore->program))
				fail(worker, JET_errLogFileCorrupt,
					 psprintf("its WAL is damaged: %s", private_output(&restore->server)));
			else if (!start_waldump(worker, restore))
				complete(worker, restore);
			break;
		case RESTORE_CHECK:
			if (child_runs(&restore->program))
				return;
			if (child_succeeded(&restore->program))
				enter_stage(worker, restore, RESTORE_SHUTDOWN);
			else
				fail(worker, JET_errReadVerifyFailure,
					 psprintf("pg_amcheck has found damage: %s",
							  private_output(&restore->server)));
			break;
		case RESTORE_RECOVERY:
			switch (private_state(&restore->server))
			{
				case PRIVATE_STARTING:
					break;
				case PRIVATE_READY:
					enter_stage(worker, restore, restore->verify ?
								RESTORE_CHECK : RESTORE_SHUTDOWN);
					break;
				case PRIVATE_ENDED:
					fail_recovery(worker, restore);
					break;
			}
			break;
		default:
			if (private_state(&restore->server) != PRIVATE_ENDED)
				return;
			if (child_succeeded(&restore->server.child))
				complete(worker, restore);
			else
				fail_recovery(worker, restore);
			break;
	}
}

/* ---- the whole */

bool
restore_waits_for_program(const Worker *worker)
{
	Restore    *restore = restore_of(worker);

	return restore != NULL && !worker->backup->engine_stopped &&
		(restore->stage == RESTORE_WAL || restore->stage >= RESTORE_RECOVERY);
}

void
restore_pump(Worker *worker)
{
	Restore    *restore = restore_of(worker);

	if (restore == NULL || worker->backup->engine_stopped)
		return;
	switch (restore->stage)
	{
		case RESTORE_LOGS:
			if (pump_jobs(worker, restore))
				enter_stage(worker, restore, RESTORE_FILES);
			break;
		case RESTORE_FILES:
			if (pump_jobs(worker, restore))
				finish_files(worker, restore);
			break;
		case RESTORE_SYNC:
			if (pump_jobs(worker, restore))
				enter_stage(worker, restore, RESTORE_RECOVERY);
			break;
		default:
			pump_programs(worker, restore);
			break;
	}
}

void
restore_interrupt(Worker *worker)
{
	Restore    *restore = restore_of(worker);

	if (restore == NULL)
		return;
	if (restore->program.pid != 0)
		kill(-restore->program.pid, SIGKILL);
	if (restore->server.child.control >= 0)
		close(restore->server.child.control);
	restore->server.child.control = -1;
}

/* What was written for a tablespace goes. */
static void
remove_places(Restore *restore)
{
	ListCell   *cell;

	foreach(cell, restore->places)
	{
		RestorePlace *place = lfirst(cell);

		target_remove_contents(place->path);
		if (place->made)
			(void) rmdir(place->path);
	}
}

void
restore_close(Worker *worker, bool keep)
{
	Restore    *restore = restore_of(worker);

	if (restore == NULL)
		return;
	child_end(&restore->program, 0);
	private_end(&restore->server);
	if (!keep || restore->verify)
		remove_places(restore);
	restore->places = NIL;
	if (restore->verify)
		target_remove(&worker->target);
	source_close(&restore->source);
}

/* The beginning is made: from now on it can be stopped. */
static void
publish_begun(Worker *worker)
{
	EseInstance *instance = worker->instance;
	BackupStatus *status = &instance->backup;

	worker->backup->on_standby = false;
	LWLockAcquire(instance_lock(instance), LW_EXCLUSIVE);
	status->protocol.phase = PHASE_DATABASES;
	LWLockRelease(instance_lock(instance));
	ereport(LOG,
			(errmsg("%s %lld of instance \"%s\" started: \"%s\"",
					history_noun(status->row.kind),
					(long long) status->row.backup_id, instance->name,
					status->row.location)));
}

/* Find the source and make the destination, or refuse. */
static bool
refuse_restore(Worker *worker, Restore *restore, Call *call)
{
	const Request *request = &call->request;
	const char *source = restore->verify ? request->path : request->text;
	TargetError error;

	if (backup_refuse(worker, call, CALL_BEGIN))
		return true;
	if (source_find(&restore->source, source, &error))
	{
		if (make_destination(worker, restore, request, &error) &&
			private_make_home(&restore->server, worker->instance->id))
			return false;
		if (worker->target.in_use)
			(void) target_fail_errno(&error, "create a directory in", "/tmp");
		private_end(&restore->server);
		target_remove(&worker->target);
		source_close(&restore->source);
	}
	answer_error(&call->answer, error.jet, "cannot %s the backup in \"%s\"",
				 restore->verify ? "verify" : "restore", source);
	answer_detail(&call->answer, "%c%s.",
				  pg_toupper((unsigned char) error.text[0]), error.text +1);
	return true;
}

void
restore_begin(Worker *worker, Call *call)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "ese restore",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	Restore    *restore = create_restore(&call->request);

	if (refuse_restore(worker, restore, call))
	{
		MemoryContextSwitchTo(caller);
		MemoryContextDelete(context);
		return;
	}
	MemoryContextSwitchTo(caller);
	backup_open(worker, &call->request,
				restore->verify ? KIND_VERIFY : KIND_RESTORE);
	MemoryContextSetParent(context, worker->backup->context);
	worker->backup->restore = restore;
	worker->backup->native = NATIVE_RESTORE;
	publish_begun(worker);
	call->answer.backup = worker->backup->id;
	eng_begin(worker->engine, 0, DIGEST_NONE);
	enter_stage(worker, restore,
				restore->source.tar ? RESTORE_LOGS : RESTORE_FILES);
}
