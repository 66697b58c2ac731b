/*-------------------------------------------------------------------------
 *
 * backupindex.c
 *	  Writing and reading backup indexes.
 *
 *-------------------------------------------------------------------------
 */
#include "backupindex.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VERSION_KEY "Ese-Backup-Index-Version"
#define NOUN "backup index"

static const char format_tar[] = "tar";
static const char format_plain[] = "plain";
static const char state_complete[] = "complete";
static const char state_damaged[] = "damaged";
static const char kind_full[] = "full";
static const char kind_incremental[] = "incremental";

/* Make room for one more element of a size; NULL when memory is out. */
static void *
grow(void *array, uint32_t count, size_t size)
{
	/* powers of two, so that count alone tells how much room there is */
	if ((count & (count - 1)) != 0)
		return array;
	return realloc(array, (count == 0 ? 1 : (size_t) count * 2) * size);
}

bool
backupindex_add_damaged(BackupIndex *index, const char *path)
{
	char	   *copy = strdup(path);
	char	  **damaged = grow(index->damaged, index->damaged_count,
							   sizeof(char *));

	if (damaged != NULL)
		index->damaged = damaged;
	if (damaged == NULL || copy == NULL)
	{
		free(copy);
		return false;
	}
	damaged[index->damaged_count++] = copy;
	return true;
}

bool
backupindex_add_archive(BackupIndex *index, const IndexArchive *archive)
{
	IndexArchive *archives = grow(index->archives, index->archive_count,
								  sizeof(IndexArchive));

	if (archives == NULL)
		return false;
	index->archives = archives;
	archives[index->archive_count++] = *archive;
	return true;
}

bool
backupindex_add_link(BackupIndex *index, const IndexLink *link)
{
	IndexLink  *links = grow(index->links, index->link_count,
							 sizeof(IndexLink));

	if (links == NULL)
		return false;
	index->links = links;
	links[index->link_count++] = *link;
	return true;
}

void
backupindex_clear(BackupIndex *index)
{
	for (uint32_t i = 0; i < index->damaged_count; i++)
		free(index->damaged[i]);
	free(index->damaged);
	free(index->archives);
	free(index->links);
	memset(index, 0, sizeof(*index));
}

const IndexArchive *
backupindex_find_archive(const BackupIndex *index, const char *name)
{
	for (uint32_t i = 0; i < index->archive_count; i++)
	{
		if (strcmp(index->archives[i].name, name) == 0)
			return &index->archives[i];
	}
	return NULL;
}

const IndexLink *
backupindex_newest(const BackupIndex *index)
{
	return index->link_count == 0 ? NULL : &index->links[index->link_count - 1];
}

/* ---- writing */

static void
append_link(Document *document, const IndexLink *link)
{
	char		path[LOGMANIFEST_MAX_PATH];

	logmanifest_path(path, link->backup_id);
	document_format(document, "{ \"Backup-Id\": %" PRId64 ", \"Kind\": \"%s\", \"Timeline\": %" PRIu32 ", ",
					link->backup_id,
					link->incremental ? kind_incremental : kind_full,
					link->timeline);
	document_format(document, "\"Start-LSN\": \"%X/%X\", \"End-LSN\": \"%X/%X\", ",
					(unsigned) (link->start_lsn >> 32), (unsigned) link->start_lsn,
					(unsigned) (link->end_lsn >> 32), (unsigned) link->end_lsn);
	document_format(document, "\"Log-Manifest\": \"%s\", \"Checksum\": \"%s\"",
					path, link->checksum);
	if (link->archive[0] != '\0')
		document_format(document, ", \"Archive\": \"%s\"", link->archive);
	document_format(document, " }");
}

static void
append_damaged(Document *document, const BackupIndex *index)
{
	document_begin_list(document, "Damaged");
	for (uint32_t i = 0; i < index->damaged_count; i++)
	{
		document_next_element(document);
		document_format(document, "{ ");
		document_path(document, index->damaged[i]);
		document_format(document, " }");
	}
	document_end_list(document);
}

static void
append_archives(Document *document, const BackupIndex *index)
{
	document_begin_list(document, "Archives");
	for (uint32_t i = 0; i < index->archive_count; i++)
	{
		const IndexArchive *archive = &index->archives[i];

		document_next_element(document);
		document_format(document, "{ \"Name\": \"%s\", \"Size\": %" PRIu64,
						archive->name, archive->size);
		document_digest(document, &archive->digest);
		document_format(document, " }");
	}
	document_end_list(document);
}

/* A DocumentWriter; arg is a ByteBuffer. */
static bool
keep_bytes(void *arg, const char *bytes, size_t length)
{
	ByteBuffer *buffer = arg;

	buffer_append(buffer, bytes, length);
	return !buffer->failed;
}

bool
backupindex_write(BackupIndex *index, ByteBuffer *bytes)
{
	Document	document;
	bool		good;

	document_begin(&document, keep_bytes, bytes);
	document_format(&document, "{ \"%s\": %d,\n", VERSION_KEY,
					BACKUPINDEX_VERSION);
	document_format(&document, "\"System-Identifier\": \"%" PRIu64 "\",\n",
					index->system_identifier);
	document_format(&document, "\"Instance-Id\": %" PRId64 ",\n\"Instance\": ",
					index->instance_id);
	document_string(&document, index->instance);
	document_format(&document, ",\n\"Format\": \"%s\",\n\"State\": \"%s\",\n\"Adding\": ",
					index->tar ? format_tar : format_plain,
					index->damaged_count > 0 ? state_damaged : state_complete);
	if (index->has_adding)
		append_link(&document, &index->adding);
	else
		document_format(&document, "null");
	document_format(&document, ",\n");
	append_damaged(&document, index);
	append_archives(&document, index);
	document_begin_list(&document, "Links");
	for (uint32_t i = 0; i < index->link_count; i++)
	{
		document_next_element(&document);
		append_link(&document, &index->links[i]);
	}
	document_end_list(&document);
	good = document_finish(&document, index->checksum);
	document_free(&document);
	return good;
}

/* ---- reading */

/* The name of an archive: of a file in the directory itself. */
static bool
get_archive_name(const json_t *object, const char *key, char *name)
{
	return document_get_string(object, key, name, BACKUPINDEX_NAME_SIZE) &&
		path_is_inside(name) && strchr(name, '/') == NULL;
}

static bool
get_link(const json_t *object, bool tar, IndexLink *link)
{
	char		wanted[LOGMANIFEST_MAX_PATH];
	char		found[LOGMANIFEST_MAX_PATH];
	char		kind[16];
	int64_t		timeline;

	memset(link, 0, sizeof(*link));
	if (!document_get_int(object, "Backup-Id", 1, INT64_MAX,
						  &link->backup_id) ||
		!document_get_string(object, "Kind", kind, sizeof(kind)) ||
		!document_get_int(object, "Timeline", 1, UINT32_MAX, &timeline) ||
		!document_get_lsn(object, "Start-LSN", &link->start_lsn) ||
		!document_get_lsn(object, "End-LSN", &link->end_lsn) ||
		link->start_lsn > link->end_lsn ||
		!document_get_string(object, "Log-Manifest", found, sizeof(found)) ||
		!document_get_checksum(object, "Checksum", link->checksum))
		return false;
	link->timeline = (uint32_t) timeline;
	link->incremental = strcmp(kind, kind_incremental) == 0;
	logmanifest_path(wanted, link->backup_id);
	if (strcmp(found, wanted) != 0 ||
		(!link->incremental && strcmp(kind, kind_full) != 0))
		return false;
	return tar ? get_archive_name(object, "Archive", link->archive) :
		json_object_get(object, "Archive") == NULL;
}

/* An ElementReader, as those below; arg is the index. */
static bool
read_damaged(DocumentReader *reader, const json_t *object, void *arg)
{
	char	   *path = document_get_path(object);
	bool		good;

	if (path == NULL || !path_is_inside(path))
	{
		free(path);
		return document_refuse(reader, "the name of a damaged file is none");
	}
	good = backupindex_add_damaged(arg, path);
	free(path);
	return good || document_refuse(reader, "memory is out");
}

static bool
read_archive(DocumentReader *reader, const json_t *object, void *arg)
{
	BackupIndex *index = arg;
	IndexArchive archive;
	int64_t		size;

	if (!get_archive_name(object, "Name", archive.name) ||
		!document_get_int(object, "Size", 0, INT64_MAX, &size))
		return document_refuse(reader, "an archive is damaged");
	archive.size = (uint64_t) size;
	if (!document_get_digest(reader, object, &archive.digest))
		return false;
	/* there are few: one for each thread, and one for each backup */
	if (backupindex_find_archive(index, archive.name) != NULL)
		return document_refuse(reader, "an archive is named twice");
	return backupindex_add_archive(index, &archive) ||
		document_refuse(reader, "memory is out");
}

static bool
read_link(DocumentReader *reader, const json_t *object, void *arg)
{
	BackupIndex *index = arg;
	const IndexLink *before = backupindex_newest(index);
	IndexLink	link;

	if (!get_link(object, index->tar, &link))
		return document_refuse(reader, "a link is damaged");
	if (link.incremental != (before != NULL) ||
		(before != NULL && link.backup_id <= before->backup_id))
		return document_refuse(reader, "its links are out of order");
	return backupindex_add_link(index, &link) ||
		document_refuse(reader, "memory is out");
}

/* One of two words; true in *value for the first one. */
static bool
get_choice(const json_t *object, const char *key, const char *first,
		   const char *second, bool *value)
{
	char		word[16];

	if (!document_get_string(object, key, word, sizeof(word)))
		return false;
	*value = strcmp(word, first) == 0;
	return *value || strcmp(word, second) == 0;
}

static bool
read_values(const json_t *object, BackupIndex *index, bool *damaged)
{
	const json_t *adding = json_object_get(object, "Adding");

	if (!document_get_big(object, "System-Identifier",
						  &index->system_identifier) ||
		!document_get_int(object, "Instance-Id", 1, INT32_MAX,
						  &index->instance_id) ||
		!document_get_string(object, "Instance", index->instance,
							 sizeof(index->instance)) ||
		!get_choice(object, "Format", format_tar, format_plain, &index->tar) ||
		!get_choice(object, "State", state_damaged, state_complete, damaged))
		return false;
	index->has_adding = !json_is_null(adding);
	return !index->has_adding ||
		(json_is_object(adding) && get_link(adding, index->tar, &index->adding));
}

/* Do the parts fit together? */
static bool
check_whole(DocumentReader *reader, const BackupIndex *index, bool damaged)
{
	const IndexLink *newest = backupindex_newest(index);

	reader->line = 0;
	if (newest == NULL)
		return document_refuse(reader, "it names no backup");
	if (damaged != (index->damaged_count > 0))
		return document_refuse(reader, "its state and its damaged files differ");
	if (!index->tar && index->archive_count > 0)
		return document_refuse(reader, "it names archives in a data directory");
	for (uint32_t i = 0; index->tar && i < index->link_count; i++)
	{
		if (backupindex_find_archive(index, index->links[i].archive) == NULL)
			return document_refuse(reader, "a link's archive is not in its list");
	}
	if (index->has_adding &&
		(!index->adding.incremental ||
		 index->adding.backup_id <= newest->backup_id ||
		 (index->tar &&
		  backupindex_find_archive(index, index->adding.archive) != NULL)))
		return document_refuse(reader, "the link that is being added does not follow the others");
	return true;
}

static bool
read_body(DocumentReader *reader, const json_t *object, BackupIndex *index)
{
	char		checksum[DOCUMENT_CHECKSUM_SIZE];
	bool		damaged = false;

	if (!read_values(object, index, &damaged))
		return document_refuse(reader, "its first lines are not what ese writes");
	return document_expect_line(reader, "\"Damaged\": [") &&
		document_read_list(reader, read_damaged, index) &&
		document_expect_line(reader, "\"Archives\": [") &&
		document_read_list(reader, read_archive, index) &&
		document_expect_line(reader, "\"Links\": [") &&
		document_read_list(reader, read_link, index) &&
		document_check_end(reader, checksum) &&
		check_whole(reader, index, damaged);
}

bool
backupindex_read(BackupIndex *index, const char *bytes, size_t length,
				 DocumentProblem *problem)
{
	DocumentReader reader;
	json_t	   *object;
	bool		good;

	memset(index, 0, sizeof(*index));
	object = document_open_ours(&reader, bytes, length, VERSION_KEY,
								BACKUPINDEX_VERSION, NOUN, index->checksum,
								problem);
	if (object == NULL)
		return false;
	good = read_body(&reader, object, index);
	json_decref(object);
	if (good)
		return true;
	problem->line = reader.line;
	snprintf(problem->why, sizeof(problem->why), "%s", reader.why);
	backupindex_clear(index);
	return false;
}
