/*-------------------------------------------------------------------------
 *
 * inventory.c
 *	  Reading backup manifests.
 *
 *-------------------------------------------------------------------------
 */
#include "inventory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool
path_is_inside(const char *path)
{
	const char *part = path;

	if (path[0] == '\0' || path[0] == '/')
		return false;
	while (part != NULL)
	{
		size_t		length = strcspn(part, "/");

		if (length == 0 || (length == 1 && part[0] == '.') ||
			(length == 2 && part[0] == '.' && part[1] == '.'))
			return false;
		part = part[length] == '/' ? part + length + 1 : NULL;
	}
	return true;
}

static InventoryFile *
add_file(Inventory *inventory)
{
	if (inventory->count == inventory->room)
	{
		uint32_t	room = inventory->room * 2 + 1024;
		InventoryFile *files = realloc(inventory->files,
									   room * sizeof(InventoryFile));

		if (files == NULL)
			return NULL;
		inventory->files = files;
		inventory->room = room;
	}
	return memset(&inventory->files[inventory->count], 0,
				  sizeof(InventoryFile));
}

bool
inventory_add_file(DocumentReader *reader, const json_t *object, void *arg)
{
	Inventory  *inventory = arg;
	InventoryFile *file = add_file(inventory);
	int64_t		size;

	if (file == NULL)
		return document_refuse(reader, "memory is out");
	if (!document_get_int(object, "Size", 0, INT64_MAX, &size))
		return document_refuse(reader, "a file has no size");
	file->size = (uint64_t) size;
	if (!document_get_digest(reader, object, &file->digest))
		return false;
	if (inventory->count == 0)
		inventory->digest = (DigestKind) file->digest.kind;
	else if (inventory->digest != (DigestKind) file->digest.kind)
		return document_refuse(reader, "its files have checksums of several algorithms");
	file->path = document_get_path(object);
	if (file->path == NULL)
		return document_refuse(reader, "a file has no name");
	inventory->count++;
	return path_is_inside(file->path) ||
		document_refuse(reader, "the name of a file leads out of the backup");
}

bool
inventory_add_range(DocumentReader *reader, const json_t *object, void *arg)
{
	Inventory  *inventory = arg;
	ManifestWalRange *ranges = realloc(inventory->ranges,
									   (inventory->range_count + 1) *
									   sizeof(ManifestWalRange));
	ManifestWalRange *range;
	int64_t		timeline;

	if (ranges == NULL)
		return document_refuse(reader, "memory is out");
	inventory->ranges = ranges;
	range = &ranges[inventory->range_count];
	if (!document_get_int(object, "Timeline", 1, UINT32_MAX, &timeline) ||
		!document_get_lsn(object, "Start-LSN", &range->start_lsn) ||
		!document_get_lsn(object, "End-LSN", &range->end_lsn) ||
		range->end_lsn < range->start_lsn)
		return document_refuse(reader, "a WAL range is damaged");
	range->timeline = (uint32_t) timeline;
	inventory->range_count++;
	return true;
}

/* "System-Identifier": a number that JSON libraries take for too large. */
static bool
read_system_identifier(DocumentReader *reader, Inventory *inventory)
{
	static const char key[] = "\"System-Identifier\": ";
	const char *line;
	size_t		length;
	char		digits[32];
	char	   *rest;

	if (!document_next_line(reader, &line, &length))
		return false;
	if (length <= strlen(key) || length - strlen(key) >= sizeof(digits) ||
		memcmp(line, key, strlen(key)) != 0)
		return document_refuse(reader, "it has no system identifier");
	memcpy(digits, line + strlen(key), length - strlen(key));
	digits[length - strlen(key)] = '\0';
	errno = 0;
	inventory->system_identifier = strtoull(digits, &rest, 10);
	return (errno == 0 && rest != digits && strcmp(rest, ",") == 0) ||
		document_refuse(reader, "its system identifier is damaged");
}

static bool
read_head(DocumentReader *reader, Inventory *inventory)
{
	const char *line;
	size_t		length;

	if (!document_next_line(reader, &line, &length))
		return false;
	if (document_line_is(line, length, "{ \"PostgreSQL-Backup-Manifest-Version\": 2,"))
		return read_system_identifier(reader, inventory);
	return document_line_is(line, length, "{ \"PostgreSQL-Backup-Manifest-Version\": 1,") ||
		document_refuse(reader, "it is no manifest of version 1 or 2");
}

static int
compare_files(const void *a, const void *b)
{
	return strcmp(((const InventoryFile *) a)->path,
				  ((const InventoryFile *) b)->path);
}

bool
inventory_sort(DocumentReader *reader, Inventory *inventory)
{
	if (inventory->count > 0)
		qsort(inventory->files, inventory->count, sizeof(InventoryFile),
			  compare_files);
	for (uint32_t i = 1; i < inventory->count; i++)
	{
		if (compare_files(&inventory->files[i - 1], &inventory->files[i]) == 0)
			return document_refuse(reader, "a file is named twice");
	}
	return true;
}

Inventory *
inventory_read(const char *bytes, size_t length, const char **why,
			   uint32_t *line)
{
	Inventory  *inventory = calloc(1, sizeof(Inventory));
	DocumentReader reader;

	document_open(&reader, bytes, length);
	if (inventory == NULL)
		document_refuse(&reader, "memory is out");
	else if (read_head(&reader, inventory) &&
			 document_expect_line(&reader, "\"Files\": [") &&
			 document_read_list(&reader, inventory_add_file, inventory) &&
			 document_expect_line(&reader, "\"WAL-Ranges\": [") &&
			 document_read_list(&reader, inventory_add_range, inventory) &&
			 document_check_end(&reader, inventory->checksum))
	{
		reader.line = 0;
		if (inventory->range_count == 0)
			document_refuse(&reader, "it names no WAL");
		else if (inventory_sort(&reader, inventory))
			return inventory;
	}
	*why = reader.why;
	*line = reader.line;
	if (inventory != NULL)
		inventory_free(inventory);
	return NULL;
}

void
inventory_free(Inventory *inventory)
{
	for (uint32_t i = 0; i < inventory->count; i++)
		free(inventory->files[i].path);
	free(inventory->files);
	free(inventory->ranges);
	free(inventory);
}

InventoryFile *
inventory_find(const Inventory *inventory, const char *path)
{
	InventoryFile key = {.path = (char *) path};

	if (inventory->count == 0)
		return NULL;
	return bsearch(&key, inventory->files, inventory->count,
				   sizeof(InventoryFile), compare_files);
}

static bool
is_it(const InventoryFile *file, uint64_t size, const DigestValue *digest)
{
	return size == file->size &&
		(file->digest.kind == DIGEST_NONE ||
		 (digest->kind == file->digest.kind &&
		  memcmp(digest->bytes, file->digest.bytes, file->digest.length) == 0));
}

bool
inventory_matches(const InventoryFile *file, uint64_t size,
				  const DigestValue *digest)
{
	return is_it(file, size, digest) ||
		(file->or_else != NULL && is_it(file->or_else, size, digest));
}

/* Move a file, whose place is free then. */
static void
move_file(InventoryFile *to, const InventoryFile *from)
{
	memcpy((void *) to, (const void *) from, sizeof(*to));
}

/* Copy a file; false when memory is out. */
static bool
copy_file(InventoryFile *to, const InventoryFile *from)
{
	move_file(to, from);
	to->path = strdup(from->path);
	return to->path != NULL;
}

bool
inventory_merge(Inventory *inventory, const Inventory *others)
{
	size_t		room = (size_t) inventory->count + others->count;
	InventoryFile *files = malloc((room + 1) * sizeof(InventoryFile));
	uint32_t	count = 0;
	uint32_t	mine = 0;
	bool		good = files != NULL && room <= UINT32_MAX;

	for (uint32_t i = 0; good && i < others->count; i++)
	{
		const InventoryFile *file = &others->files[i];

		while (mine < inventory->count &&
			   compare_files(&inventory->files[mine], file) < 0)
			move_file(&files[count++], &inventory->files[mine++]);
		if (mine < inventory->count &&
			compare_files(&inventory->files[mine], file) == 0)
			continue;
		good = copy_file(&files[count++], file);
	}
	if (files == NULL)
		return false;
	while (mine < inventory->count)
		move_file(&files[count++], &inventory->files[mine++]);
	free(inventory->files);
	inventory->files = files;
	inventory->count = count;
	inventory->room = (uint32_t) room;
	return good;
}

const InventoryFile *
inventory_first_unseen(const Inventory *inventory)
{
	for (uint32_t i = 0; i < inventory->count; i++)
	{
		if (!atomic_load(&inventory->files[i].seen))
			return &inventory->files[i];
	}
	return NULL;
}
