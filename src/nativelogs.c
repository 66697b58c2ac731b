/*-------------------------------------------------------------------------
 *
 * nativelogs.c
 *	  The log manifests and the index of a native backup's directory.
 *
 * A directory has an index if its full backup has a log manifest; those made
 * before there were any go on without.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "common/file_perm.h"

#include "engine/jet.h"
#include "logfacts.h"
#include "nativelogs.h"
#include "pathrun.h"
#include "worker_internal.h"

static bool
fail_for_memory(TargetError *error)
{
	return target_fail(error, JET_errOutOfMemory, "memory is out");
}

bool
nativelogs_begin(Worker *worker, TargetError *error)
{
	BackupIndex *index = calloc(1, sizeof(BackupIndex));

	if (index == NULL)
		return fail_for_memory(error);
	index->system_identifier = GetSystemIdentifier();
	index->instance_id = worker->instance->id;
	strlcpy(index->instance, worker->instance->name, sizeof(index->instance));
	index->tar = worker->target.tar;
	worker->index = index;
	return true;
}

/* Was this link left by a backup that was interrupted while publishing? */
static bool
is_leftover(const EseInstance *instance, const IndexLink *link)
{
	int			count;
	LogFollows *unfinished = chain_unfinished(instance, &count);
	bool		found = false;

	for (int i = 0; i < count && !found; i++)
		found = unfinished[i].backup_id == link->backup_id &&
			strcmp(unfinished[i].checksum, link->checksum) == 0;
	pfree(unfinished);
	return found;
}

/* Forget an archive that a link brought along. */
static void
drop_archive(BackupIndex *index, const char *name)
{
	for (uint32 i = 0; i < index->archive_count; i++)
	{
		if (strcmp(index->archives[i].name, name) == 0)
		{
			index->archives[i] = index->archives[--index->archive_count];
			return;
		}
	}
}

/*
 * Take off the index what was published, or began to be, by backups that
 * never were on record as complete.  What is left ends with the chain's newest
 * link.
 */
static bool
cut_to_chain(Worker *worker, const Chain *chain, TargetError *error)
{
	BackupIndex *index = worker->index;
	const IndexLink *newest;
	bool		known = !index->has_adding ||
		is_leftover(worker->instance, &index->adding);

	while ((newest = backupindex_newest(index)) != NULL &&
		   newest->backup_id > chain->newest.backup_id &&
		   is_leftover(worker->instance, newest))
	{
		drop_archive(index, newest->archive);
		index->link_count--;
	}
	index->has_adding = false;
	if (known && newest != NULL &&
		newest->backup_id == chain->newest.backup_id &&
		strcmp(newest->checksum, chain->newest.checksum) == 0)
		return true;
	return target_fail(error, JET_errGivenLogFileIsNotContiguous,
					   "the newest backup in \"%s\" is not backup %lld, which this one follows",
					   worker->target.path, (long long) chain->newest.backup_id);
}

static bool
check_index(Worker *worker, const Chain *chain, TargetError *error)
{
	BackupIndex *index = worker->index;
	const char *path = worker->target.path;

	if (index->link_count == 0)
	{
		if (chain->newest.checksum[0] == '\0')
			return true;
		return target_fail(error, JET_errMissingFileToBackup,
						   "the backup index in \"%s\" is missing", path);
	}
	if (index->system_identifier != GetSystemIdentifier() ||
		index->instance_id != worker->instance->id)
		return target_fail(error, JET_errGivenLogFileHasBadSignature,
						   "the backup in \"%s\" is not one of instance \"%s\" of this cluster",
						   path, worker->instance->name);
	return cut_to_chain(worker, chain, error);
}

bool
nativelogs_take_up(Worker *worker, const Chain *chain, TargetError *error)
{
	IndexReading *reading = index_reading_new(&worker->target);
	PathTask   *task = (PathTask *) reading;
	bool		good = path_run(worker, &task, error);

	if (good)
	{
		worker->index = reading->index;
		reading->index = NULL;
	}
	path_free(task);
	if (!good || !check_index(worker, chain, error))
		return false;
	/* none, and none wanted */
	if (worker->index->link_count == 0)
		nativelogs_forget(worker);
	return true;
}

bool
nativelogs_note_archive(Worker *worker, const NativeJob *place)
{
	Backup	   *backup = worker->backup;
	IndexArchive archive = {{0}};

	if (place->stream == NULL || worker->index == NULL ||
		!eng_stream_file(place->stream, &archive.size, &archive.digest))
		return true;
	strlcpy(archive.name, place->stream->name, sizeof(archive.name));
	if (worker->instance->params.manifest_checksums == DIGEST_NONE)
		archive.digest.kind = DIGEST_NONE;
	backup->log_archive = archive;
	return backup->incremental ||
		backupindex_add_archive(worker->index, &archive);
}

/* This backup as a link of the index. */
static IndexLink
own_link(Worker *worker)
{
	Backup	   *backup = worker->backup;
	uint32		count;
	IndexLink	link = {
		.backup_id = backup->id,
		.incremental = backup->incremental,
		.start_lsn = backup->mode.start_lsn,
		.end_lsn = backup->mode.stop_lsn,
		.timeline = logfacts_ranges(&backup->mode, &count)->timeline,
	};

	(void) logaccount_checksum(backup->account, link.checksum);
	if (worker->index->tar)
		strlcpy(link.archive, backup->log_archive.name, sizeof(link.archive));
	return link;
}

static bool
add_damaged(Worker *worker)
{
	FileList   *list = &worker->backup->attach;
	bool		good = true;

	for (int i = 0; i < list->count && good; i++)
	{
		FileEntry  *entry = &list->entries[i];

		if (entry->status == FILE_FAILED && entry->damaged)
			good = backupindex_add_damaged(worker->index, entry->name);
	}
	return good;
}

/* The index of a full one, as it is written in the end. */
static bool
complete_full(Worker *worker, Completion *completion, TargetError *error)
{
	IndexLink	link = own_link(worker);

	logfacts_note_checksum(worker);
	if (!backupindex_add_link(worker->index, &link) || !add_damaged(worker))
		return fail_for_memory(error);
	completion->index = worker->index;
	worker->index = NULL;
	return true;
}

/* Names in the order in which they are published: the log manifest first. */
static bool
add_names(Publishing *publishing, const FileList *logs, const char *archive)
{
	bool		good;

	if (archive != NULL)
		return publishing_add_name(publishing, archive);
	good = publishing_add_name(publishing, logs->shown_last->name);
	/* then oldest first: whatever is cut off, what is there has no gap */
	for (int i = 0; i < logs->count && good; i++)
		good = &logs->entries[i] == logs->shown_last ||
			publishing_add_name(publishing, logs->entries[i].name);
	return good;
}

/* What backups that were interrupted may have published of their own. */
static bool
add_leftovers(Worker *worker, Publishing *publishing)
{
	static const char *const suffixes[] = {"", ".lz4", ".zst"};
	int			count;
	LogFollows *unfinished = chain_unfinished(worker->instance, &count);
	bool		good = true;

	for (int i = 0; i < count && good; i++)
	{
		int64		id = unfinished[i].backup_id;
		char		name[BACKUPINDEX_NAME_SIZE];

		if (id == worker->backup->id)
			continue;
		if (!worker->index->tar)
		{
			logmanifest_path(name, id);
			good = publishing_add_leftover(publishing, name);
		}
		for (int k = 0; worker->index->tar && k < lengthof(suffixes) && good; k++)
		{
			snprintf(name, sizeof(name), "logs.%lld.tar%s", (long long) id,
					 suffixes[k]);
			good = publishing_add_leftover(publishing, name);
		}
	}
	pfree(unfinished);
	return good;
}

/* Everything that publishing needs; NULL when memory is out. */
static Publishing *
prepare(Worker *worker, const char *archive)
{
	Backup	   *backup = worker->backup;
	Publishing *publishing = calloc(1, sizeof(Publishing));

	if (publishing == NULL)
		return NULL;
	publishing->directory = worker->target.directory;
	publishing->mode = pg_file_create_mode;
	publishing->suffix = TARGET_SUFFIX;
	publishing->archive = backup->log_archive;
	if (!add_names(publishing, &backup->logs, archive) ||
		!add_leftovers(worker, publishing))
	{
		publishing_free(publishing);
		return NULL;
	}
	publishing->index = *worker->index;
	publishing->index.adding = own_link(worker);
	memset(worker->index, 0, sizeof(*worker->index));
	return publishing;
}

static bool
complete_incremental(Worker *worker, Completion *completion,
					 TargetError *error)
{
	FileProblem unrecorded;

	completion->publishing = prepare(worker, completion->archive[0] != '\0' ?
									 completion->archive : NULL);
	if (completion->publishing == NULL)
		return fail_for_memory(error);
	/* after a crash this is how it is known whose the new link is */
	logfacts_note_checksum(worker);
	return backup_record_row(worker->instance, &unrecorded) ||
		target_fail(error, statefile_jet_error(&unrecorded),
					"the backup could not be recorded: %s",
					unrecorded.message);
}

bool
nativelogs_complete(Worker *worker, Completion *completion, TargetError *error)
{
	return worker->backup->incremental ?
		complete_incremental(worker, completion, error) :
		complete_full(worker, completion, error);
}

void
nativelogs_forget(Worker *worker)
{
	if (worker->index == NULL)
		return;
	backupindex_clear(worker->index);
	free(worker->index);
	worker->index = NULL;
}
