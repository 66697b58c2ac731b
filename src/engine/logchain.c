/*-------------------------------------------------------------------------
 *
 * logchain.c
 *	  The logs of a backup and of its incrementals.
 *
 *-------------------------------------------------------------------------
 */
#include "logchain.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "documentfile.h"
#include "jet.h"

#define WAL_DIRECTORY "pg_wal"

/* How an LSN is shown. */
#define LSN_FORMAT "%X/%X"
#define LSN_ARGS(lsn) (unsigned) ((lsn) >> 32), (unsigned) (lsn)

/* Always false. */
static bool
__attribute__((format(printf, 3, 4)))
refuse(ChainProblem *problem, int jet, const char *format,...)
{
	va_list		args;

	problem->jet = jet;
	va_start(args, format);
	vsnprintf(problem->why, sizeof(problem->why), format, args);
	va_end(args);
	return false;
}

static bool
refuse_memory(ChainProblem *problem)
{
	return refuse(problem, JET_errOutOfMemory, "memory is out");
}

/* What was wrong with a document of this name. */
static bool
refuse_document(ChainProblem *problem, const char *name, int sys_errno,
				const DocumentProblem *document)
{
	if (sys_errno == ENOENT)
		return refuse(problem, JET_errFileNotFound,
					  "\"%s\" is missing in the backup", name);
	if (sys_errno != 0)
		return refuse(problem, sys_errno == ENOMEM ? JET_errOutOfMemory :
					  JET_errDiskIO, "could not read \"%s\": %s", name,
					  strerror(sys_errno));
	if (document->unknown_version)
		return refuse(problem, JET_errBadLogVersion, "\"%s\": %s", name,
					  document->why);
	return refuse(problem, JET_errReadVerifyFailure,
				  "\"%s\" is damaged (line %" PRIu32 "): %s", name,
				  document->line, document->why);
}

/* ---- reading */

bool
logchain_read_index(LogChain *chain, int directory, bool tar,
					ChainProblem *problem)
{
	const char *name = tar ? BACKUPINDEX_PATH_TAR : BACKUPINDEX_PATH_PLAIN;
	DocumentProblem document;
	size_t		length;
	int			sys_errno;
	char	   *bytes = document_load(directory, name, BACKUPINDEX_MAX_LENGTH,
									  &length, &sys_errno, &document);

	if (bytes == NULL && sys_errno == ENOENT)
		return true;
	chain->has_index = bytes != NULL &&
		backupindex_read(&chain->index, bytes, length, &document);
	free(bytes);
	if (!chain->has_index)
		return refuse_document(problem, name, sys_errno, &document);
	if (chain->index.tar != tar)
		return refuse(problem, JET_errReadVerifyFailure,
					  "\"%s\" is that of a backup in another format", name);
	return true;
}

static LogManifest *
read_manifest(int directory, int64_t backup_id, ChainProblem *problem)
{
	char		name[LOGMANIFEST_MAX_PATH];
	LogManifest *manifest = NULL;
	DocumentProblem document;
	size_t		length;
	int			sys_errno;
	char	   *bytes;

	logmanifest_path(name, backup_id);
	bytes = document_load(directory, name, LOGMANIFEST_MAX_LENGTH, &length,
						  &sys_errno, &document);
	if (bytes != NULL)
		manifest = logmanifest_read(bytes, length, &document);
	free(bytes);
	if (manifest == NULL)
		(void) refuse_document(problem, name, sys_errno, &document);
	else if (manifest->head.backup_id != backup_id)
	{
		(void) refuse(problem, JET_errReadVerifyFailure,
					  "\"%s\" is the manifest of another backup, %" PRId64, name,
					  manifest->head.backup_id);
		logmanifest_free(manifest);
		manifest = NULL;
	}
	return manifest;
}

/* Append to an array; false, and the manifest is freed, when memory is out. */
static bool
add_manifest(LogManifest ***array, uint32_t *count, LogManifest *manifest)
{
	LogManifest **larger = realloc(*array, (*count + 1) * sizeof(LogManifest *));

	if (larger == NULL)
	{
		logmanifest_free(manifest);
		return false;
	}
	*array = larger;
	larger[(*count)++] = manifest;
	return true;
}

/* Ids of backups, in order. */
typedef struct IdList
{
	int64_t    *ids;
	uint32_t	count;
} IdList;

static int
compare_ids(const void *a, const void *b)
{
	int64_t		first = *(const int64_t *) a;
	int64_t		second = *(const int64_t *) b;

	return first < second ? -1 : first > second;
}

static bool
add_id(IdList *list, int64_t id)
{
	int64_t    *larger = realloc(list->ids, (list->count + 1) * sizeof(int64_t));

	if (larger == NULL)
		return false;
	list->ids = larger;
	larger[list->count++] = id;
	return true;
}

/* Find all log manifests. */
static bool
find_manifests(int directory, IdList *list, ChainProblem *problem)
{
	int			fd = openat(directory, WAL_DIRECTORY,
							O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR		   *wal = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *de;
	bool		good = true;

	if (wal == NULL)
	{
		int			sys_errno = errno;

		if (fd >= 0)
			close(fd);
		return refuse(problem, sys_errno == ENOENT ? JET_errFileNotFound :
					  JET_errDiskIO, "could not open directory \"%s\": %s",
					  WAL_DIRECTORY, strerror(sys_errno));
	}
	while (good && (errno = 0, de = readdir(wal)) != NULL)
	{
		char		path[sizeof(WAL_DIRECTORY) + 256];
		int64_t		id;

		snprintf(path, sizeof(path), "%s/%s", WAL_DIRECTORY, de->d_name);
		if (logmanifest_is_path(path, &id))
			good = add_id(list, id) || refuse_memory(problem);
	}
	if (good && errno != 0)
		good = refuse(problem, JET_errDiskIO, "could not read directory \"%s\": %s",
					  WAL_DIRECTORY, strerror(errno));
	closedir(wal);
	if (list->count > 0)
		qsort(list->ids, list->count, sizeof(int64_t), compare_ids);
	return good;
}

/* Of an incremental that was cut off?  Such come after all links. */
static bool
is_leftover_id(const LogChain *chain, int64_t id)
{
	return chain->has_index && chain->index.has_adding &&
		id > backupindex_newest(&chain->index)->backup_id &&
		id <= chain->index.adding.backup_id;
}

/* One that cannot be read was not finished: nothing of it counts. */
static bool
read_leftover(LogChain *chain, int directory, int64_t id,
			  ChainProblem *problem)
{
	ChainProblem why;
	LogManifest *manifest = read_manifest(directory, id, &why);

	if (manifest == NULL)
		return why.jet != JET_errOutOfMemory || refuse_memory(problem);
	return add_manifest(&chain->leftovers, &chain->leftover_count, manifest) ||
		refuse_memory(problem);
}

static bool
read_link(LogChain *chain, int directory, int64_t id, ChainProblem *problem)
{
	LogManifest *manifest = read_manifest(directory, id, problem);

	if (manifest == NULL)
		return false;
	return add_manifest(&chain->links, &chain->count, manifest) ||
		refuse_memory(problem);
}

bool
logchain_read_manifests(LogChain *chain, int directory, ChainProblem *problem)
{
	IdList		found = {0};
	bool		good = find_manifests(directory, &found, problem);

	for (uint32_t i = 0; good && chain->has_index &&
		 i < chain->index.link_count; i++)
		good = read_link(chain, directory, chain->index.links[i].backup_id,
						 problem);
	for (uint32_t i = 0; good && i < found.count; i++)
	{
		if (!chain->has_index)
			good = read_link(chain, directory, found.ids[i], problem);
		else if (is_leftover_id(chain, found.ids[i]))
			good = read_leftover(chain, directory, found.ids[i], problem);
	}
	free(found.ids);
	return good;
}

void
logchain_clear(LogChain *chain)
{
	for (uint32_t i = 0; i < chain->count; i++)
		logmanifest_free(chain->links[i]);
	for (uint32_t i = 0; i < chain->leftover_count; i++)
		logmanifest_free(chain->leftovers[i]);
	free(chain->links);
	free(chain->leftovers);
	backupindex_clear(&chain->index);
	memset(chain, 0, sizeof(*chain));
}

/* ---- checking */

/* Is a manifest the one that the index means? */
static bool
check_with_index(const IndexLink *link, const LogManifest *manifest,
				 ChainProblem *problem)
{
	const LogManifestHead *head = &manifest->head;

	if (strcmp(link->checksum, manifest->checksum) == 0 &&
		link->incremental == head->incremental &&
		link->timeline == head->timeline &&
		link->start_lsn == head->start_lsn && link->end_lsn == head->end_lsn)
		return true;
	return refuse(problem, JET_errReadVerifyFailure,
				  "the log manifest of backup %" PRId64 " is not the one that the backup index names",
				  head->backup_id);
}

/* The first link belongs to the backup_manifest that lies there. */
static bool
check_first(const LogManifest *first, const Inventory *inventory,
			ChainProblem *problem)
{
	const LogManifestHead *head = &first->head;

	if (head->incremental)
		return refuse(problem, JET_errMissingFullBackup,
					  "the log manifest of the full backup is missing: the first one is that of backup %" PRId64 ", which follows backup %" PRId64,
					  head->backup_id, head->follows.backup_id);
	if (strcmp(head->backup_manifest, inventory->checksum) != 0)
		return refuse(problem, JET_errReadVerifyFailure,
					  "the log manifest of backup %" PRId64 " is that of another backup manifest",
					  head->backup_id);
	return true;
}

/* Is that what it says it follows? */
static bool
does_follow(const LogManifestHead *head, const LogManifest *before)
{
	const LogFollows *follows = &head->follows;

	return head->incremental &&
		follows->backup_id == before->head.backup_id &&
		follows->end_lsn == before->head.end_lsn &&
		strcmp(follows->checksum, before->checksum) == 0;
}

/*
 * It follows the one before it.  But nothing follows a differential, or what a
 * client has read of a backup that failed: the next one holds their logs again.
 */
static bool
check_follows(const LogChain *chain, uint32_t i, ChainProblem *problem)
{
	const LogManifestHead *head = &chain->links[i]->head;
	const LogFollows *follows = &head->follows;
	const LogManifest *before = chain->links[i - 1];
	uint32_t	followed = i;

	while (followed > 0 && !does_follow(head, chain->links[followed - 1]))
		followed--;
	for (uint32_t k = followed; followed > 0 && k < i; k++)
		chain->links[k]->superseded = true;
	if (followed > 0)
		return true;
	if (!head->incremental || follows->backup_id == before->head.backup_id)
		return refuse(problem, JET_errInvalidLogSequence,
					  "backup %" PRId64 " does not follow backup %" PRId64 " as it lies here",
					  head->backup_id, before->head.backup_id);
	return refuse(problem, JET_errInvalidLogSequence,
				  "backup %" PRId64 " follows backup %" PRId64 ", whose logs are missing: those before it are of backup %" PRId64,
				  head->backup_id, follows->backup_id,
				  before->head.backup_id);
}

void
logchain_segment_name(char *name, uint32_t timeline, uint64_t segment,
					  uint32_t segment_size)
{
	uint64_t	per_id = UINT64_C(0x100000000) / segment_size;

	snprintf(name, LOGCHAIN_NAME_SIZE, "%08" PRIX32 "%08" PRIX32 "%08" PRIX32,
			 timeline, (uint32_t) (segment / per_id),
			 (uint32_t) (segment % per_id));
}

/* Is a segment listed, of this timeline or of one that continues it? */
static bool
has_segment(const LogManifest *manifest, uint32_t newest_range,
			uint64_t segment)
{
	for (uint32_t i = 0; i <= newest_range; i++)
	{
		char		name[LOGCHAIN_NAME_SIZE];
		char		path[sizeof(WAL_DIRECTORY) + LOGCHAIN_NAME_SIZE];

		logchain_segment_name(name, manifest->files->ranges[i].timeline,
							  segment, manifest->head.segment_size);
		snprintf(path, sizeof(path), "%s/%s", WAL_DIRECTORY, name);
		if (inventory_find(manifest->files, path) != NULL)
			return true;
	}
	return false;
}

/* Every segment of its ranges is listed. */
static bool
check_segments(const LogManifest *manifest, ChainProblem *problem)
{
	uint32_t	size = manifest->head.segment_size;

	for (uint32_t i = 0; i < manifest->files->range_count; i++)
	{
		const ManifestWalRange *range = &manifest->files->ranges[i];

		for (uint64_t segment = range->start_lsn / size;
			 segment * size < range->end_lsn; segment++)
		{
			char		name[LOGCHAIN_NAME_SIZE];

			if (has_segment(manifest, i, segment))
				continue;
			logchain_segment_name(name, range->timeline, segment, size);
			return refuse(problem, JET_errMissingLogFile,
						  "WAL segment %s is not in the log manifest of backup %" PRId64 ", which needs it",
						  name, manifest->head.backup_id);
		}
	}
	return true;
}

static bool
check_link(const LogChain *chain, uint32_t i, uint64_t system_identifier,
		   ChainProblem *problem)
{
	const LogManifest *manifest = chain->links[i];

	if (manifest->head.system_identifier != system_identifier)
		return refuse(problem, JET_errGivenLogFileHasBadSignature,
					  "the log manifest of backup %" PRId64 " is one of another cluster",
					  manifest->head.backup_id);
	if (manifest->head.segment_size != chain->links[0]->head.segment_size)
		return refuse(problem, JET_errReadVerifyFailure,
					  "the WAL segments of backup %" PRId64 " have another size",
					  manifest->head.backup_id);
	return (!chain->has_index ||
			check_with_index(&chain->index.links[i], manifest, problem)) &&
		(i == 0 || check_follows(chain, i, problem)) &&
		check_segments(manifest, problem);
}

/*
 * Where the logs end.  A standby closes no segments, so its incrementals may
 * end before what they follow does.
 */
static void
set_end(LogChain *chain)
{
	const LogManifestHead *newest = &chain->links[chain->count - 1]->head;

	chain->timeline = newest->timeline;
	chain->segment_size = newest->segment_size;
	chain->end_lsn = 0;
	for (uint32_t i = 0; i < chain->count; i++)
	{
		const LogManifestHead *head = &chain->links[i]->head;

		if (head->timeline == chain->timeline &&
			head->end_lsn > chain->end_lsn)
			chain->end_lsn = head->end_lsn;
	}
}

bool
logchain_check(LogChain *chain, const Inventory *inventory,
			   uint64_t system_identifier, ChainProblem *problem)
{
	if (chain->count == 0)
		return true;
	if (!chain->has_index && chain->links[0]->head.indexed)
		return refuse(problem, JET_errFileNotFound,
					  "the backup index, \"%s\" or \"%s\", is missing in the backup",
					  BACKUPINDEX_PATH_PLAIN, BACKUPINDEX_PATH_TAR);
	if (chain->has_index &&
		chain->index.system_identifier != system_identifier)
		return refuse(problem, JET_errGivenLogFileHasBadSignature,
					  "the backup index is one of another cluster");
	if (!check_first(chain->links[0], inventory, problem))
		return false;
	for (uint32_t i = 0; i < chain->count; i++)
	{
		if (!check_link(chain, i, system_identifier, problem))
			return false;
	}
	set_end(chain);
	return true;
}

/* ---- what there is */

/* A file that both list must be the same for both. */
static bool
check_doubles(const LogManifest *manifest, const Inventory *inventory,
			  ChainProblem *problem)
{
	for (uint32_t i = 0; i < manifest->files->count; i++)
	{
		const InventoryFile *file = &manifest->files->files[i];
		const InventoryFile *other = inventory_find(inventory, file->path);

		if (other != NULL &&
			(other->size != file->size ||
			 (other->digest.kind == file->digest.kind &&
			  !inventory_matches(other, file->size, &file->digest))))
			return refuse(problem, JET_errReadVerifyFailure,
						  "\"%s\" is not the same in the backup manifest and in the log manifest of backup %" PRId64,
						  file->path, manifest->head.backup_id);
	}
	return true;
}

/* While it is published, a longer version takes the place of a segment. */
static void
allow_leftovers(const LogChain *chain, Inventory *inventory)
{
	for (uint32_t i = 0; i < chain->leftover_count; i++)
	{
		const Inventory *files = chain->leftovers[i]->files;

		for (uint32_t k = 0; k < files->count; k++)
		{
			InventoryFile *file = inventory_find(inventory, files->files[k].path);

			if (file != NULL)
				file->or_else = &files->files[k];
		}
	}
}

bool
logchain_complete(LogChain *chain, Inventory *inventory, ChainProblem *problem)
{
	if (chain->count > 0 &&
		!check_doubles(chain->links[0], inventory, problem))
		return false;
	for (uint32_t i = chain->count; i > 0; i--)
	{
		if (!inventory_merge(inventory, chain->links[i - 1]->files))
			return refuse_memory(problem);
	}
	allow_leftovers(chain, inventory);
	return true;
}

bool
logchain_is_part(const LogChain *chain, const char *path)
{
	int64_t		id;

	if (chain->has_index && !chain->index.tar &&
		strcmp(path, BACKUPINDEX_PATH_PLAIN) == 0)
		return true;
	if (!logmanifest_is_path(path, &id))
		return false;
	for (uint32_t i = 0; i < chain->count; i++)
	{
		if (chain->links[i]->head.backup_id == id)
			return true;
	}
	return false;
}

bool
logchain_is_leftover(const LogChain *chain, const char *path)
{
	int64_t		id;

	if (logmanifest_is_path(path, &id))
		return is_leftover_id(chain, id);
	for (uint32_t i = 0; i < chain->leftover_count; i++)
	{
		if (inventory_find(chain->leftovers[i]->files, path) != NULL)
			return true;
	}
	return false;
}

bool
logchain_is_leftover_archive(const LogChain *chain, const char *name)
{
	static const char prefix[] = "logs.";

	return strncmp(name, prefix, strlen(prefix)) == 0 &&
		is_leftover_id(chain, strtoll(name + strlen(prefix), NULL, 10));
}

bool
logchain_is_beyond(const LogChain *chain, const char *path, uint64_t *number)
{
	static const char prefix[] = WAL_DIRECTORY "/";
	uint64_t	next;
	unsigned	timeline;
	unsigned	high;
	unsigned	low;
	uint64_t	segment;
	char		again[LOGCHAIN_NAME_SIZE];

	if (chain->count == 0 || strncmp(path, prefix, strlen(prefix)) != 0 ||
		strlen(path) != strlen(prefix) + LOGCHAIN_NAME_SIZE - 1 ||
		sscanf(path + strlen(prefix), "%8X%8X%8X", &timeline, &high, &low) != 3)
		return false;
	segment = high * (UINT64_C(0x100000000) / chain->segment_size) + low;
	logchain_segment_name(again, timeline, segment, chain->segment_size);
	next = (chain->end_lsn + chain->segment_size - 1) / chain->segment_size;
	if (timeline != chain->timeline || segment < next ||
		strcmp(again, path + strlen(prefix)) != 0)
		return false;
	*number = segment - next;
	return true;
}

/* ---- ranges */

/* Add a range of a link to those before it. */
static void
add_range(const LogChain *chain, ManifestWalRange *ranges, uint32_t *count,
		  const ManifestWalRange *range)
{
	ManifestWalRange *last = *count > 0 ? &ranges[*count - 1] : NULL;
	uint64_t	in_segment = range->start_lsn % chain->segment_size;

	if (last != NULL && last->timeline == range->timeline)
	{
		if (range->end_lsn > last->end_lsn)
			last->end_lsn = range->end_lsn;
		return;
	}
	ranges[*count] = *range;
	if (last != NULL)
	{
		/* the newer timeline's segment has what the older one's had */
		ranges[*count].start_lsn -= in_segment;
		if (last->end_lsn > ranges[*count].start_lsn)
			last->end_lsn = ranges[*count].start_lsn;
	}
	(*count)++;
}

ManifestWalRange *
logchain_ranges(const LogChain *chain, uint32_t *count)
{
	size_t		room = 1;
	ManifestWalRange *ranges;
	uint32_t	used = 0;

	for (uint32_t i = 0; i < chain->count; i++)
		room += chain->links[i]->files->range_count;
	ranges = malloc(room * sizeof(ManifestWalRange));
	*count = 0;
	for (uint32_t i = 0; ranges != NULL && i < chain->count; i++)
	{
		const Inventory *files = chain->links[i]->files;

		for (uint32_t k = files->range_count;
			 k > 0 && !chain->links[i]->superseded; k--)
			add_range(chain, ranges, count, &files->ranges[k - 1]);
	}
	/* what is empty now, or was */
	for (uint32_t i = 0; i < *count; i++)
	{
		if (ranges[i].start_lsn < ranges[i].end_lsn)
			ranges[used++] = ranges[i];
	}
	*count = used;
	return ranges;
}
