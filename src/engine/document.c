/*-------------------------------------------------------------------------
 *
 * document.c
 *	  Writing and reading JSON that ends with a checksum over itself.
 *
 *-------------------------------------------------------------------------
 */
#include "document.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "escape.h"

/* So much is written at once. */
#define WRITE_AT (64 * 1024)

/* No document of ours has more before its first list. */
#define MAX_HEAD (16 * 1024)

/* An element holds a path, perhaps in hexadecimal, and little else. */
#define MAX_LINE (16 * 1024)

#define CHECKSUM_KEY "\"Manifest-Checksum\": \""

/* ---- writing */

/* Add what has come together to the digest, and write it. */
static void
flush(Document *document, bool add_to_digest)
{
	ByteBuffer *bytes = &document->bytes;

	if (bytes->failed ||
		(add_to_digest &&
		 !digest_update(&document->digest, bytes->data, bytes->length)) ||
		!document->writer(document->arg, bytes->data, bytes->length))
		document->failed = true;
	document->size += bytes->length;
	bytes->length = 0;
}

static void
encode_hex(const void *data, size_t length, char *to)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *bytes = data;

	for (size_t i = 0; i < length; i++)
	{
		*to++ = digits[bytes[i] >> 4];
		*to++ = digits[bytes[i] & 15];
	}
}

static void
append_hex(Document *document, const void *data, size_t length)
{
	const char *bytes = data;

	for (size_t i = 0; i < length; i++)
	{
		char		pair[2];

		encode_hex(bytes + i, 1, pair);
		buffer_append(&document->bytes, pair, sizeof(pair));
	}
}

/* The bytes a UTF-8 character has after its first one; -1 for a bad start. */
static int
utf8_following(unsigned char first)
{
	if (first < 0x80)
		return 0;
	if (first >= 0xC2 && first <= 0xDF)
		return 1;
	if (first >= 0xE0 && first <= 0xEF)
		return 2;
	if (first >= 0xF0 && first <= 0xF4)
		return 3;
	return -1;
}

bool
utf8_valid(const char *string)
{
	const unsigned char *p = (const unsigned char *) string;

	while (*p != '\0')
	{
		unsigned char first = *p++;
		int			following = utf8_following(first);

		if (following < 0)
			return false;
		/* overlong forms, surrogates, beyond U+10FFFF */
		if ((first == 0xE0 && *p < 0xA0) || (first == 0xED && *p > 0x9F) ||
			(first == 0xF0 && *p < 0x90) || (first == 0xF4 && *p > 0x8F))
			return false;
		for (; following > 0; following--, p++)
		{
			if ((*p & 0xC0) != 0x80)
				return false;
		}
	}
	return true;
}

void
document_string(Document *document, const char *string)
{
	buffer_append(&document->bytes, "\"", 1);
	for (const char *p = string; *p != '\0'; p++)
	{
		size_t		plain = 0;

		while ((unsigned char) p[plain] >= ' ' && p[plain] != '"' &&
			   p[plain] != '\\')
			plain++;
		buffer_append(&document->bytes, p, plain);
		p += plain;
		if (*p == '\0')
			break;
		if (*p == '"' || *p == '\\')
			document_format(document, "\\%c", *p);
		else
			document_format(document, "\\u%04x", (unsigned char) *p);
	}
	buffer_append(&document->bytes, "\"", 1);
}

void
document_path(Document *document, const char *path)
{
	if (utf8_valid(path))
	{
		document_format(document, "\"Path\": ");
		document_string(document, path);
		return;
	}
	document_format(document, "\"Encoded-Path\": \"");
	append_hex(document, path, strlen(path));
	document_format(document, "\"");
}

void
document_digest(Document *document, const DigestValue *digest)
{
	const char *algorithm = digest_manifest_name((DigestKind) digest->kind);

	if (algorithm == NULL)
		return;
	document_format(document,
					", \"Checksum-Algorithm\": \"%s\", \"Checksum\": \"",
					algorithm);
	append_hex(document, digest->bytes, (size_t) digest->length);
	document_format(document, "\"");
}

void
document_begin(Document *document, DocumentWriter writer, void *arg)
{
	memset(document, 0, sizeof(*document));
	document->writer = writer;
	document->arg = arg;
	document->failed = !digest_init(&document->digest, DIGEST_SHA256);
}

void
document_begin_list(Document *document, const char *key)
{
	document_format(document, "\"%s\": [", key);
	document->first = true;
}

void
document_next_element(Document *document)
{
	document_format(document, document->first ? "\n" : ",\n");
	document->first = false;
}

void
document_end_list(Document *document)
{
	document_format(document, "\n],\n");
}

void
document_relieve(Document *document)
{
	if (document->bytes.length >= WRITE_AT)
		flush(document, true);
}

void
document_last_line(char *to, const DigestValue *digest)
{
	char		checksum[DOCUMENT_CHECKSUM_SIZE] = {0};

	encode_hex(digest->bytes, digest->length, checksum);
	snprintf(to, DOCUMENT_LAST_LINE + 1, CHECKSUM_KEY "%s\"}\n", checksum);
}

bool
document_finish(Document *document, char *checksum)
{
	DigestValue value;
	Digest		scratch;
	bool		ok;

	flush(document, true);
	ok = digest_init(&scratch, DIGEST_SHA256);
	ok = ok && digest_value(&document->digest, &scratch, &value);
	digest_free(&scratch);
	if (!ok || document->failed)
		return false;
	memset(checksum, 0, DOCUMENT_CHECKSUM_SIZE);
	encode_hex(value.bytes, value.length, checksum);
	document_format(document, CHECKSUM_KEY "%s\"}\n", checksum);
	flush(document, false);
	return !document->failed;
}

void
document_free(Document *document)
{
	buffer_free(&document->bytes);
	digest_free(&document->digest);
}

/* ---- reading */

void
document_open(DocumentReader *reader, const char *bytes, size_t length)
{
	memset(reader, 0, sizeof(*reader));
	reader->start = reader->at = bytes;
	reader->end = bytes + length;
}

bool
document_refuse(DocumentReader *reader, const char *why)
{
	if (reader->why == NULL)
		reader->why = why;
	return false;
}

bool
document_next_line(DocumentReader *reader, const char **line, size_t *length)
{
	const char *newline = memchr(reader->at, '\n',
								 (size_t) (reader->end - reader->at));

	if (newline == NULL)
		return document_refuse(reader, "it ends too early");
	*line = reader->at;
	*length = (size_t) (newline - reader->at);
	reader->at = newline + 1;
	reader->line++;
	return true;
}

bool
document_line_is(const char *line, size_t length, const char *wanted)
{
	return length == strlen(wanted) && memcmp(line, wanted, length) == 0;
}

bool
document_expect_line(DocumentReader *reader, const char *wanted)
{
	const char *line;
	size_t		length;

	return document_next_line(reader, &line, &length) &&
		(document_line_is(line, length, wanted) ||
		 document_refuse(reader, "a line is not what a server writes"));
}

/* Decode hexadecimal digits; false when they are none, or too many. */
static bool
decode_hex(const char *digits, size_t count, unsigned char *to, size_t room,
		   size_t *length)
{
	if (count % 2 != 0 || count / 2 > room)
		return false;
	for (size_t i = 0; i < count / 2; i++)
	{
		int			high = hex_digit(digits[2 * i]);
		int			low = hex_digit(digits[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		to[i] = (unsigned char) (high * 16 + low);
	}
	*length = count / 2;
	return true;
}

bool
document_read_list(DocumentReader *reader, ElementReader read_element,
				   void *arg)
{
	const char *line;
	size_t		length;

	while (document_next_line(reader, &line, &length))
	{
		json_t	   *element;
		bool		good;

		if (document_line_is(line, length, "],"))
			return true;
		if (length > MAX_LINE)
			return document_refuse(reader, "a line is too long");
		if (length > 0 && line[length - 1] == ',')
			length--;
		element = json_loadb(line, length, JSON_REJECT_DUPLICATES, NULL);
		if (element == NULL)
			return document_refuse(reader, "a line is not what a server writes");
		good = json_is_object(element) && read_element(reader, element, arg);
		json_decref(element);
		if (!good)
			return document_refuse(reader, "a line is not what a server writes");
	}
	return false;
}

/*
 * The last line holds the SHA-256 of all lines before it, in the digits that
 * we write: no bit of it may be another.
 */
bool
document_check_end(DocumentReader *reader, char *checksum)
{
	const char *last;
	size_t		length;
	size_t		before = (size_t) (reader->at - reader->start);
	DigestValue value;

	if (!document_next_line(reader, &last, &length))
		return false;
	if (reader->at != reader->end || length != strlen(CHECKSUM_KEY) + 64 + 2 ||
		memcmp(last, CHECKSUM_KEY, strlen(CHECKSUM_KEY)) != 0 ||
		memcmp(last + length - 2, "\"}", 2) != 0)
		return document_refuse(reader, "its own checksum is not there");
	if (!digest_bytes(DIGEST_SHA256, reader->start, before, &value))
		return document_refuse(reader, "memory is out");
	memset(checksum, 0, DOCUMENT_CHECKSUM_SIZE);
	encode_hex(value.bytes, value.length, checksum);
	return memcmp(last + strlen(CHECKSUM_KEY), checksum, 64) == 0 ||
		document_refuse(reader, "its own checksum is wrong");
}

/* Check the end while the reader stays where it is. */
static bool
check_end_first(DocumentReader *reader, char *checksum)
{
	DocumentReader last = *reader;
	size_t		length = (size_t) (reader->end - reader->at);
	const char *newline;

	if (length < 2 || reader->end[-1] != '\n' ||
		(newline = memrchr(reader->at, '\n', length - 1)) == NULL)
		return document_refuse(reader, "it ends too early");
	last.at = newline + 1;
	return document_check_end(&last, checksum) ||
		document_refuse(reader, last.why);
}

/* { "<key>": <version>, */
static bool
read_version(DocumentReader *reader, const char *key, int *version)
{
	const char *line;
	size_t		length;
	char		first[128];
	int			used = 0;
	char		format[128];

	if (!document_next_line(reader, &line, &length) || length >= sizeof(first))
		return false;
	memcpy(first, line, length);
	first[length] = '\0';
	snprintf(format, sizeof(format), "{ \"%s\": %%9d,%%n", key);
	return sscanf(first, format, version, &used) == 1 &&
		(size_t) used == length;
}

/*
 * Read all lines up to one that begins a list as an object.  The last of them
 * ends with a comma, where the object ends.
 */
static json_t *
read_head(DocumentReader *reader)
{
	const char *line = reader->at;
	size_t		length = 0;
	char	   *head;
	json_t	   *object;
	size_t		head_length;

	do
	{
		if (reader->at - reader->start > MAX_HEAD)
			return NULL;
		if (!document_next_line(reader, &line, &length))
			return NULL;
	} while (length < 3 || memcmp(line + length - 3, ": [", 3) != 0);
	reader->at = line;
	reader->line--;

	head_length = (size_t) (line - reader->start);
	if (head_length < 2 || memcmp(line - 2, ",\n", 2) != 0)
		return NULL;
	head = malloc(head_length);
	if (head == NULL)
		return NULL;
	memcpy(head, reader->start, head_length);
	head[head_length - 2] = '}';
	object = json_loadb(head, head_length - 1, JSON_REJECT_DUPLICATES, NULL);
	free(head);
	return object;
}

json_t *
document_open_ours(DocumentReader *reader, const char *bytes, size_t length,
				   const char *key, int version, const char *noun,
				   char *checksum, DocumentProblem *problem)
{
	int			found = 0;
	json_t	   *head = NULL;

	memset(problem, 0, sizeof(*problem));
	document_open(reader, bytes, length);
	if (!check_end_first(reader, checksum))
		snprintf(problem->why, sizeof(problem->why), "%s", reader->why);
	else if (!read_version(reader, key, &found))
		snprintf(problem->why, sizeof(problem->why), "it is no %s", noun);
	else if (found != version)
	{
		problem->unknown_version = true;
		snprintf(problem->why, sizeof(problem->why),
				 "version %d of the %s is not known: made by a newer ese",
				 found, noun);
	}
	else if ((head = read_head(reader)) == NULL)
	{
		problem->line = reader->line;
		snprintf(problem->why, sizeof(problem->why),
				 "its first lines are not what ese writes");
	}
	return head;
}

bool
document_get_int(const json_t *object, const char *key, int64_t from,
				 int64_t to, int64_t *value)
{
	const json_t *found = json_object_get(object, key);

	if (!json_is_integer(found))
		return false;
	*value = json_integer_value(found);
	return *value >= from && *value <= to;
}

/* A location as in "1/2A000060". */
bool
document_get_lsn(const json_t *object, const char *key, uint64_t *lsn)
{
	const char *string = json_string_value(json_object_get(object, key));
	unsigned	high;
	unsigned	low;
	int			length = 0;

	if (string == NULL ||
		strspn(string, "0123456789ABCDEFabcdef/") != strlen(string) ||
		sscanf(string, "%8x/%8x%n", &high, &low, &length) != 2 ||
		string[length] != '\0')
		return false;
	*lsn = (uint64_t) high << 32 | low;
	return true;
}

bool
document_get_checksum(const json_t *object, const char *key, char *checksum)
{
	return document_get_string(object, key, checksum,
							   DOCUMENT_CHECKSUM_SIZE) &&
		strlen(checksum) == DOCUMENT_CHECKSUM_SIZE - 1 &&
		strspn(checksum, "0123456789abcdef") == DOCUMENT_CHECKSUM_SIZE - 1;
}

bool
document_get_string(const json_t *object, const char *key, char *value,
					size_t size)
{
	const json_t *found = json_object_get(object, key);
	size_t		length = json_string_length(found);

	/* a NUL in the middle does not get through the parser */
	if (length == 0 || length >= size)
		return false;
	memcpy(value, json_string_value(found), length + 1);
	return true;
}

bool
document_get_big(const json_t *object, const char *key, uint64_t *value)
{
	const char *string = json_string_value(json_object_get(object, key));

	if (string == NULL || string[0] == '\0' || strlen(string) > 20 ||
		strspn(string, "0123456789") != strlen(string))
		return false;
	errno = 0;
	*value = strtoull(string, NULL, 10);
	return errno == 0;
}

char *
document_get_path(const json_t *object)
{
	const char *path = json_string_value(json_object_get(object, "Path"));
	const char *encoded = json_string_value(json_object_get(object,
															"Encoded-Path"));
	char	   *decoded;
	size_t		length;

	if ((path == NULL) == (encoded == NULL))
		return NULL;
	if (path != NULL)
		return strlen(path) < DOCUMENT_MAX_PATH ? strdup(path) : NULL;
	length = strlen(encoded) / 2;
	if (length >= DOCUMENT_MAX_PATH || (decoded = malloc(length + 1)) == NULL)
		return NULL;
	if (decode_hex(encoded, strlen(encoded), (unsigned char *) decoded, length,
				   &length) && memchr(decoded, '\0', length) == NULL)
	{
		decoded[length] = '\0';
		return decoded;
	}
	free(decoded);
	return NULL;
}

bool
document_get_digest(DocumentReader *reader, const json_t *object,
					DigestValue *digest)
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
		return document_refuse(reader, "a file has a checksum without its algorithm, or the other way round");
	if (strcmp(name, digest_manifest_name(DIGEST_CRC32C)) == 0)
		digest->kind = DIGEST_CRC32C;
	else if (strcmp(name, digest_manifest_name(DIGEST_SHA256)) == 0)
		digest->kind = DIGEST_SHA256;
	else
		return document_refuse(reader, "it has checksums of an algorithm that is not supported");
	if (!decode_hex(hex, strlen(hex), digest->bytes, sizeof(digest->bytes),
					&length) ||
		length != (digest->kind == DIGEST_CRC32C ? 4 : 32))
		return document_refuse(reader, "a checksum has the wrong length");
	digest->length = (uint8_t) length;
	return true;
}
