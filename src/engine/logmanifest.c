/*-------------------------------------------------------------------------
 *
 * logmanifest.c
 *	  Writing and reading log manifests.
 *
 *-------------------------------------------------------------------------
 */
#include "logmanifest.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backupindex.h"

#define VERSION_KEY "Ese-Log-Manifest-Version"
#define NOUN "log manifest"

static const char kind_full[] = "full";
static const char kind_incremental[] = "incremental";

void
logmanifest_path(char *path, int64_t backup_id)
{
	snprintf(path, LOGMANIFEST_MAX_PATH, "%s%" PRId64, LOGMANIFEST_PREFIX,
			 backup_id);
}

bool
logmanifest_is_path(const char *path, int64_t *backup_id)
{
	const char *digits = path + strlen(LOGMANIFEST_PREFIX);
	size_t		count;

	if (strncmp(path, LOGMANIFEST_PREFIX, strlen(LOGMANIFEST_PREFIX)) != 0)
		return false;
	count = strspn(digits, "0123456789");
	if (count == 0 || count > 18 || digits[count] != '\0' || digits[0] == '0')
		return false;
	*backup_id = strtoll(digits, NULL, 10);
	return true;
}

bool
logmanifest_may_follow(uint64_t end_lsn, uint64_t start_lsn,
					   uint32_t segment_size)
{
	uint64_t	rest = end_lsn % segment_size;

	return start_lsn <= end_lsn ||
		(rest > 0 && start_lsn - end_lsn <= segment_size - rest);
}

/* ---- writing */

static void
append_lsn(Document *document, const char *key, uint64_t lsn)
{
	document_format(document, "\"%s\": \"%X/%X\"", key,
					(unsigned) (lsn >> 32), (unsigned) lsn);
}

/* "Ended-At": "2026-11-25 08:08:22.123456 GMT", if it is known */
static void
append_time(Document *document, int64_t ended_at)
{
	time_t		seconds = (time_t) (ended_at / 1000000);
	struct tm	tm;
	char		when[40];

	if (ended_at == 0)
		return;
	gmtime_r(&seconds, &tm);
	strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
	document_format(document, "\"Ended-At\": \"%s.%06d GMT\",\n", when,
					(int) (ended_at % 1000000));
}

static void
append_follows(Document *document, const LogFollows *follows)
{
	document_format(document, "\"Follows\": ");
	if (follows->backup_id == 0)
	{
		document_format(document, "null,\n");
		return;
	}
	document_format(document, "{ \"Backup-Id\": %" PRId64 ", ",
					follows->backup_id);
	append_lsn(document, "End-LSN", follows->end_lsn);
	document_format(document, ", \"Checksum\": \"%s\" },\n", follows->checksum);
}

void
logmanifest_begin(Document *document, const LogManifestHead *head,
				  DocumentWriter writer, void *arg)
{
	document_begin(document, writer, arg);
	document_format(document, "{ \"%s\": %d,\n", VERSION_KEY,
					LOGMANIFEST_VERSION);
	document_format(document, "\"System-Identifier\": \"%" PRIu64 "\",\n",
					head->system_identifier);
	document_format(document, "\"Instance-Id\": %" PRId64 ",\n\"Instance\": ",
					head->instance_id);
	document_string(document, head->instance);
	document_format(document, ",\n\"Backup-Id\": %" PRId64 ",\n\"Kind\": \"%s\",\n\"Started-At\": ",
					head->backup_id,
					head->incremental ? kind_incremental : kind_full);
	document_string(document, head->started_at);
	document_format(document, ",\n");
	append_time(document, head->ended_at);
	document_format(document, "\"Indexed\": %s,\n",
					head->indexed ? "true" : "false");
	append_follows(document, &head->follows);
	document_format(document, "\"Timeline\": %" PRIu32 ",\n\"WAL-Segment-Size\": %" PRIu32 ",\n",
					head->timeline, head->segment_size);
	append_lsn(document, "Start-LSN", head->start_lsn);
	document_format(document, ",\n");
	append_lsn(document, "End-LSN", head->end_lsn);
	document_format(document, ",\n\"Backup-Manifest-Checksum\": ");
	if (head->incremental)
		document_format(document, "null,\n");
	else
		document_format(document, "\"%s\",\n", head->backup_manifest);
	document_begin_list(document, "WAL-Ranges");
}

void
logmanifest_add_range(Document *document, const ManifestWalRange *range)
{
	manifest_add_wal_range(document, range);
}

void
logmanifest_end_ranges(Document *document)
{
	document_end_list(document);
	document_begin_list(document, "Files");
}

void
logmanifest_add_file(Document *document, const char *path, uint64_t size,
					 const DigestValue *digest)
{
	document_next_element(document);
	document_format(document, "{ ");
	document_path(document, path);
	document_format(document, ", \"Size\": %" PRIu64, size);
	document_digest(document, digest);
	document_format(document, " }");
	document_relieve(document);
}

bool
logmanifest_finish(Document *document, char *checksum)
{
	document_end_list(document);
	return document_finish(document, checksum);
}

/* ---- reading */

static bool
read_kind(const json_t *object, LogManifestHead *head)
{
	char		kind[16];

	if (!document_get_string(object, "Kind", kind, sizeof(kind)))
		return false;
	head->incremental = strcmp(kind, kind_incremental) == 0;
	return head->incremental || strcmp(kind, kind_full) == 0;
}

/* Only an incremental backup follows another one, which came before it. */
static bool
read_follows(const json_t *object, LogManifestHead *head)
{
	const json_t *follows = json_object_get(object, "Follows");

	if (!head->incremental)
		return json_is_null(follows);
	return json_is_object(follows) &&
		document_get_int(follows, "Backup-Id", 1, head->backup_id - 1,
						 &head->follows.backup_id) &&
		document_get_lsn(follows, "End-LSN", &head->follows.end_lsn) &&
		document_get_checksum(follows, "Checksum", head->follows.checksum);
}

/* When its logs ended, if it says so. */
static bool
read_time(const json_t *object, LogManifestHead *head)
{
	static const char key[] = "Ended-At";
	struct tm	tm = {0};
	char		when[40];
	int			microseconds;
	int			length = 0;

	if (json_object_get(object, key) == NULL)
		return true;
	if (!document_get_string(object, key, when, sizeof(when)) ||
		sscanf(when, "%4d-%2d-%2d %2d:%2d:%2d.%6d GMT%n", &tm.tm_year, &tm.tm_mon,
			   &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec,
			   &microseconds, &length) != 7 || when[length] != '\0' ||
		tm.tm_year < 1970 || microseconds < 0)
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon--;
	head->ended_at = (int64_t) timegm(&tm) * 1000000 + microseconds;
	return true;
}

/* Only a full backup has a backup_manifest. */
static bool
read_backup_manifest(const json_t *object, LogManifestHead *head)
{
	static const char key[] = "Backup-Manifest-Checksum";

	if (head->incremental)
		return json_is_null(json_object_get(object, key));
	return document_get_checksum(object, key, head->backup_manifest);
}

/* A power of two from 1 MB to 1 GB, as servers allow. */
static bool
is_segment_size(int64_t size)
{
	return size >= 1024 * 1024 && size <= 1024 * 1024 * 1024 &&
		(size & (size - 1)) == 0;
}

static bool
read_position(const json_t *object, LogManifestHead *head)
{
	int64_t		timeline;
	int64_t		segment_size;

	if (!document_get_int(object, "Timeline", 1, UINT32_MAX, &timeline) ||
		!document_get_int(object, "WAL-Segment-Size", 1, UINT32_MAX,
						  &segment_size) ||
		!is_segment_size(segment_size))
		return false;
	head->timeline = (uint32_t) timeline;
	head->segment_size = (uint32_t) segment_size;
	return document_get_lsn(object, "Start-LSN", &head->start_lsn) &&
		document_get_lsn(object, "End-LSN", &head->end_lsn) &&
		head->start_lsn <= head->end_lsn &&
		(!head->incremental ||
		 logmanifest_may_follow(head->follows.end_lsn, head->start_lsn,
								head->segment_size));
}

static bool
read_values(const json_t *object, LogManifestHead *head)
{
	head->indexed = json_is_true(json_object_get(object, "Indexed"));
	return document_get_big(object, "System-Identifier",
							&head->system_identifier) &&
		document_get_int(object, "Instance-Id", 1, INT32_MAX,
						 &head->instance_id) &&
		document_get_string(object, "Instance", head->instance,
							sizeof(head->instance)) &&
		document_get_int(object, "Backup-Id", 1, INT64_MAX,
						 &head->backup_id) &&
		read_kind(object, head) &&
		document_get_string(object, "Started-At", head->started_at,
							sizeof(head->started_at)) &&
		read_time(object, head) &&
		read_follows(object, head) &&
		read_position(object, head) &&
		read_backup_manifest(object, head);
}

/* The ranges lie end to end, from the end of the logs to their start. */
static bool
check_ranges(DocumentReader *reader, const LogManifest *manifest)
{
	const Inventory *files = manifest->files;
	uint64_t	end = manifest->head.end_lsn;

	if (files->range_count == 0 ||
		files->ranges[0].timeline != manifest->head.timeline)
		return document_refuse(reader, "its WAL ranges do not begin with its timeline");
	for (uint32_t i = 0; i < files->range_count; i++)
	{
		const ManifestWalRange *range = &files->ranges[i];

		if (range->end_lsn != end ||
			(i > 0 && range->timeline >= files->ranges[i - 1].timeline))
			return document_refuse(reader, "its WAL ranges have a gap");
		end = range->start_lsn;
	}
	return end == manifest->head.start_lsn ||
		document_refuse(reader, "its WAL ranges do not begin where it begins");
}

/* Nothing else comes with logs. */
static bool
comes_with_logs(const char *path)
{
	static const char *const names[] = {
		"backup_label", "backup_manifest", "global/pg_control",
		"tablespace_map.original",
	};
	int64_t		id;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		if (strcmp(path, names[i]) == 0)
			return true;
	}
	return strncmp(path, "pg_wal/", 7) == 0 &&
		strcmp(path, BACKUPINDEX_PATH_PLAIN) != 0 &&
		!logmanifest_is_path(path, &id);
}

static bool
check_files(DocumentReader *reader, const Inventory *files)
{
	for (uint32_t i = 0; i < files->count; i++)
	{
		if (!comes_with_logs(files->files[i].path))
			return document_refuse(reader, "it lists a file that does not come with logs");
	}
	return true;
}

static bool
read_body(DocumentReader *reader, const json_t *object, LogManifest *manifest)
{
	char		checksum[DOCUMENT_CHECKSUM_SIZE];
	Inventory  *files = manifest->files;

	if (!read_values(object, &manifest->head))
		return document_refuse(reader, "its first lines are not what ese writes");
	if (!document_expect_line(reader, "\"WAL-Ranges\": [") ||
		!document_read_list(reader, inventory_add_range, files) ||
		!document_expect_line(reader, "\"Files\": [") ||
		!document_read_list(reader, inventory_add_file, files) ||
		!document_check_end(reader, checksum))
		return false;
	reader->line = 0;
	files->system_identifier = manifest->head.system_identifier;
	memcpy(files->checksum, checksum, sizeof(checksum));
	return inventory_sort(reader, files) &&
		check_ranges(reader, manifest) && check_files(reader, files);
}

LogManifest *
logmanifest_read(const char *bytes, size_t length, DocumentProblem *problem)
{
	LogManifest *manifest = calloc(1, sizeof(LogManifest));
	DocumentReader reader;
	json_t	   *object;
	bool		good;

	memset(problem, 0, sizeof(*problem));
	if (manifest == NULL ||
		(manifest->files = calloc(1, sizeof(Inventory))) == NULL)
	{
		snprintf(problem->why, sizeof(problem->why), "memory is out");
		free(manifest);
		return NULL;
	}
	object = document_open_ours(&reader, bytes, length, VERSION_KEY,
								LOGMANIFEST_VERSION, NOUN, manifest->checksum,
								problem);
	if (object == NULL)
	{
		logmanifest_free(manifest);
		return NULL;
	}
	good = read_body(&reader, object, manifest);
	json_decref(object);
	if (good)
		return manifest;
	problem->line = reader.line;
	snprintf(problem->why, sizeof(problem->why), "%s", reader.why);
	logmanifest_free(manifest);
	return NULL;
}

void
logmanifest_free(LogManifest *manifest)
{
	inventory_free(manifest->files);
	free(manifest);
}
