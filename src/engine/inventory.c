/*-------------------------------------------------------------------------
 *
 * inventory.c
 *	  Reading backup manifests.
 *
 *-------------------------------------------------------------------------
 */
#include "inventory.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "escape.h"

/* The line being read, and what came of those before it. */
typedef struct Reader
{
	Inventory  *inventory;
	const char *at;
	const char *end;
	uint32_t	line;
	const char *why;			/* the first thing that was wrong */
} Reader;

static bool
refuse(Reader *reader, const char *why)
{
	if (reader->why == NULL)
		reader->why = why;
	return false;
}

/* The next line, without its end; false at the end of the manifest. */
static bool
next_line(Reader *reader, const char **line, size_t *length)
{
	const char *newline = memchr(reader->at, '\n',
								 (size_t) (reader->end - reader->at));

	if (newline == NULL)
		return refuse(reader, "it ends too early");
	*line = reader->at;
	*length = (size_t) (newline - reader->at);
	reader->at = newline + 1;
	reader->line++;
	return true;
}

static bool
line_is(const char *line, size_t length, const char *text)
{
	return length == strlen(text) && memcmp(line, text, length) == 0;
}

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

/* Decode hexadecimal text; false when it is none, or too long. */
static bool
decode_hex(const char *text, unsigned char *to, size_t room, size_t *length)
{
	size_t		digits = strlen(text);

	if (digits % 2 != 0 || digits / 2 > room)
		return false;
	for (size_t i = 0; i < digits / 2; i++)
	{
		int			high = hex_digit(text[2 * i]);
		int			low = hex_digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		to[i] = (unsigned char) (high * 16 + low);
	}
	*length = digits / 2;
	return true;
}

static bool
read_digest(Reader *reader, const json_t * object, DigestValue *digest)
{
	const char *name = json_string_value(json_object_get(object,
														 "Checksum-Algorithm"));
	const char *hex = json_string_value(json_object_get(object, "Checksum"));
	size_t		length = 0;

	digest->kind = DIGEST_NONE;
	digest->length = 0;
	if (name == NULL && hex == NULL)
		return true;
	if (name == NULL || hex == NULL)
		return refuse(reader, "a file has a checksum without its algorithm, or the other way round");
	if (strcmp(name, digest_manifest_name(DIGEST_CRC32C)) == 0)
		digest->kind = DIGEST_CRC32C;
	else if (strcmp(name, digest_manifest_name(DIGEST_SHA256)) == 0)
		digest->kind = DIGEST_SHA256;
	else
		return refuse(reader, "it has checksums of an algorithm that is not supported");
	if (!decode_hex(hex, digest->bytes, sizeof(digest->bytes), &length) ||
		length != (digest->kind == DIGEST_CRC32C ? 4 : 32))
		return refuse(reader, "a checksum has the wrong length");
	digest->length = (uint8_t) length;
	return true;
}

/* The name of a file: as text, or encoded where it is no UTF-8; malloc'd. */
static char *
read_path(const json_t * object)
{
	const char *path = json_string_value(json_object_get(object, "Path"));
	const char *encoded = json_string_value(json_object_get(object,
															"Encoded-Path"));
	char	   *decoded;
	size_t		length;

	if ((path == NULL) == (encoded == NULL))
		return NULL;
	if (path != NULL)
		return strdup(path);
	decoded = malloc(strlen(encoded) / 2 + 1);
	if (decoded != NULL &&
		decode_hex(encoded, (unsigned char *) decoded, strlen(encoded) / 2,
				   &length) && memchr(decoded, '\0', length) == NULL)
	{
		decoded[length] = '\0';
		return decoded;
	}
	free(decoded);
	return NULL;
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

static bool
read_file(Reader *reader, const json_t * object)
{
	Inventory  *inventory = reader->inventory;
	InventoryFile *file = add_file(inventory);
	const		json_t *size = json_object_get(object, "Size");

	if (file == NULL)
		return refuse(reader, "memory is out");
	if (!json_is_integer(size) || json_integer_value(size) < 0)
		return refuse(reader, "a file has no size");
	file->size = (uint64_t) json_integer_value(size);
	if (!read_digest(reader, object, &file->digest))
		return false;
	if (inventory->count == 0)
		inventory->digest = (DigestKind) file->digest.kind;
	else if (inventory->digest != (DigestKind) file->digest.kind)
		return refuse(reader, "its files have checksums of several algorithms");
	file->path = read_path(object);
	if (file->path == NULL)
		return refuse(reader, "a file has no name");
	inventory->count++;
	return path_is_inside(file->path) ||
		refuse(reader, "the name of a file leads out of the backup");
}

/* A location as in "1/2A000060". */
static bool
read_lsn(const json_t * value, uint64_t *lsn)
{
	const char *text = json_string_value(value);
	unsigned	high;
	unsigned	low;
	int			length = 0;

	if (text == NULL || strspn(text, "0123456789ABCDEFabcdef/") != strlen(text) ||
		sscanf(text, "%8x/%8x%n", &high, &low, &length) != 2 ||
		text[length] != '\0')
		return false;
	*lsn = (uint64_t) high << 32 | low;
	return true;
}

static bool
read_range(Reader *reader, const json_t * object)
{
	Inventory  *inventory = reader->inventory;
	const		json_t *timeline = json_object_get(object, "Timeline");
	ManifestWalRange *ranges = realloc(inventory->ranges,
									   (inventory->range_count + 1) *
									   sizeof(ManifestWalRange));
	ManifestWalRange *range;

	if (ranges == NULL)
		return refuse(reader, "memory is out");
	inventory->ranges = ranges;
	range = &ranges[inventory->range_count];
	if (!json_is_integer(timeline) || json_integer_value(timeline) < 1 ||
		json_integer_value(timeline) > UINT32_MAX ||
		!read_lsn(json_object_get(object, "Start-LSN"), &range->start_lsn) ||
		!read_lsn(json_object_get(object, "End-LSN"), &range->end_lsn) ||
		range->end_lsn < range->start_lsn)
		return refuse(reader, "a WAL range is damaged");
	range->timeline = (uint32_t) json_integer_value(timeline);
	inventory->range_count++;
	return true;
}

/* The lines of a list, up to the one that closes it. */
static bool
read_list(Reader *reader, bool (*read_element) (Reader *, const json_t *))
{
	const char *line;
	size_t		length;

	while (next_line(reader, &line, &length))
	{
		json_t	   *object;
		bool		good;

		if (line_is(line, length, "],"))
			return true;
		if (length > 0 && line[length - 1] == ',')
			length--;
		object = json_loadb(line, length, JSON_REJECT_DUPLICATES, NULL);
		if (object == NULL)
			return refuse(reader, "a line is not what a server writes");
		good = json_is_object(object) && read_element(reader, object);
		json_decref(object);
		if (!good)
			return refuse(reader, "a line is not what a server writes");
	}
	return false;
}

/* "System-Identifier": a number that JSON libraries take for too large. */
static bool
read_system_identifier(Reader *reader, const char *line, size_t length)
{
	static const char key[] = "\"System-Identifier\": ";
	char		digits[32];
	char	   *rest;

	if (length <= strlen(key) || length - strlen(key) >= sizeof(digits) ||
		memcmp(line, key, strlen(key)) != 0)
		return refuse(reader, "it has no system identifier");
	memcpy(digits, line + strlen(key), length - strlen(key));
	digits[length - strlen(key)] = '\0';
	errno = 0;
	reader->inventory->system_identifier = strtoull(digits, &rest, 10);
	return (errno == 0 && rest != digits && strcmp(rest, ",") == 0) ||
		refuse(reader, "its system identifier is damaged");
}

static bool
read_head(Reader *reader)
{
	const char *line;
	size_t		length;

	if (!next_line(reader, &line, &length))
		return false;
	if (line_is(line, length, "{ \"PostgreSQL-Backup-Manifest-Version\": 2,"))
		return next_line(reader, &line, &length) &&
			read_system_identifier(reader, line, length);
	return line_is(line, length, "{ \"PostgreSQL-Backup-Manifest-Version\": 1,") ||
		refuse(reader, "it is no manifest of version 1 or 2");
}

static bool
expect_line(Reader *reader, const char *text)
{
	const char *line;
	size_t		length;

	return next_line(reader, &line, &length) &&
		(line_is(line, length, text) ||
		 refuse(reader, "a line is not what a server writes"));
}

/*
 * The last line holds the SHA-256 of all lines before it.
 */
static bool
check_own_digest(Reader *reader, const char *bytes)
{
	static const char key[] = "\"Manifest-Checksum\": \"";
	const char *last;
	size_t		length;
	size_t		decoded;
	size_t		before = (size_t) (reader->at - bytes);
	char		hex[65];
	unsigned char wanted[32];
	DigestValue value;
	bool		good;

	if (!next_line(reader, &last, &length))
		return false;
	if (reader->at != reader->end || length != strlen(key) + 64 + 2 ||
		memcmp(last, key, strlen(key)) != 0 ||
		memcmp(last + length - 2, "\"}", 2) != 0)
		return refuse(reader, "its own checksum is not there");
	memcpy(hex, last + strlen(key), 64);
	hex[64] = '\0';
	good = decode_hex(hex, wanted, sizeof(wanted), &decoded) &&
		digest_bytes(DIGEST_SHA256, bytes, before, &value) &&
		memcmp(wanted, value.bytes, sizeof(wanted)) == 0;
	return good || refuse(reader, "its own checksum is wrong");
}

static int
compare_files(const void *a, const void *b)
{
	return strcmp(((const InventoryFile *) a)->path,
				  ((const InventoryFile *) b)->path);
}

static bool
sort_files(Reader *reader)
{
	Inventory  *inventory = reader->inventory;

	qsort(inventory->files, inventory->count, sizeof(InventoryFile),
		  compare_files);
	for (uint32_t i = 1; i < inventory->count; i++)
	{
		if (compare_files(&inventory->files[i - 1], &inventory->files[i]) == 0)
			return refuse(reader, "a file is named twice");
	}
	return true;
}

Inventory *
inventory_read(const char *bytes, size_t length, const char **why,
			   uint32_t *line)
{
	Reader		reader = {.at = bytes,.end = bytes + length};

	reader.inventory = calloc(1, sizeof(Inventory));
	if (reader.inventory == NULL)
		refuse(&reader, "memory is out");
	else if (read_head(&reader) &&
			 expect_line(&reader, "\"Files\": [") &&
			 read_list(&reader, read_file) &&
			 expect_line(&reader, "\"WAL-Ranges\": [") &&
			 read_list(&reader, read_range) &&
			 check_own_digest(&reader, bytes))
	{
		reader.line = 0;
		if (reader.inventory->range_count == 0)
			refuse(&reader, "it names no WAL");
		else if (sort_files(&reader))
			return reader.inventory;
	}
	*why = reader.why;
	*line = reader.line;
	if (reader.inventory != NULL)
		inventory_free(reader.inventory);
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

bool
inventory_matches(const InventoryFile *file, uint64_t size,
				  const DigestValue *digest)
{
	return size == file->size &&
		(file->digest.kind == DIGEST_NONE ||
		 (digest->kind == file->digest.kind &&
		  memcmp(digest->bytes, file->digest.bytes, file->digest.length) == 0));
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
