/*-------------------------------------------------------------------------
 *
 * record.c
 *	  Writing and reading sealed records.
 *
 *-------------------------------------------------------------------------
 */
#include "record.h"

#include <string.h>

#include "digest.h"

/* Layout of the header. */
#define AT_MAGIC	0
#define AT_VERSION	4
#define AT_LENGTH	8
#define AT_CRC		16

static void
store(char *to, uint64_t value, int bytes)
{
	for (int i = 0; i < bytes; i++)
		to[i] = (char) (value >> (8 * i));
}

static uint64_t
load(const char *from, int bytes)
{
	uint64_t	value = 0;

	for (int i = 0; i < bytes; i++)
		value |= (uint64_t) (unsigned char) from[i] << (8 * i);
	return value;
}

void
record_begin(ByteBuffer *buffer)
{
	static const char header[RECORD_HEADER_LENGTH];

	buffer_append(buffer, header, sizeof(header));
}

void
record_put_int(ByteBuffer *buffer, int64_t value)
{
	char		bytes[8];

	store(bytes, (uint64_t) value, 8);
	buffer_append(buffer, bytes, sizeof(bytes));
}

void
record_put_string(ByteBuffer *buffer, const char *text)
{
	size_t		length = strlen(text);

	record_put_int(buffer, (int64_t) length);
	buffer_append(buffer, text, length);
}

bool
record_seal(ByteBuffer *buffer, uint32_t magic, uint32_t version)
{
	size_t		body;

	if (buffer->failed)
		return false;
	body = buffer->length - RECORD_HEADER_LENGTH;
	if (body > RECORD_MAX_LENGTH)
		return false;
	store(buffer->data + AT_MAGIC, magic, 4);
	store(buffer->data + AT_VERSION, version, 4);
	store(buffer->data + AT_LENGTH, body, 8);
	store(buffer->data + AT_CRC,
		  digest_crc32c(buffer->data + RECORD_HEADER_LENGTH, body), 4);
	return true;
}

RecordProblem
record_open_since(RecordReader *reader, const char *data, size_t length,
				  uint32_t magic, uint32_t oldest, uint32_t version)
{
	uint64_t	body;

	memset(reader, 0, sizeof(*reader));
	if (length < RECORD_HEADER_LENGTH)
		return RECORD_TOO_SHORT;
	if (load(data + AT_MAGIC, 4) != magic)
		return RECORD_WRONG_MAGIC;
	reader->version = (uint32_t) load(data + AT_VERSION, 4);
	if (reader->version < oldest || reader->version > version)
		return RECORD_WRONG_VERSION;
	body = load(data + AT_LENGTH, 8);
	if (body > RECORD_MAX_LENGTH || body != length - RECORD_HEADER_LENGTH)
		return RECORD_WRONG_LENGTH;
	if (load(data + AT_CRC, 4) !=
		digest_crc32c(data + RECORD_HEADER_LENGTH, body))
		return RECORD_WRONG_CRC;
	reader->next = data + RECORD_HEADER_LENGTH;
	reader->end = reader->next + body;
	return RECORD_OK;
}

RecordProblem
record_open(RecordReader *reader, const char *data, size_t length,
			uint32_t magic, uint32_t version)
{
	return record_open_since(reader, data, length, magic, version, version);
}

int64_t
record_get_int(RecordReader *reader)
{
	uint64_t	value;

	if (reader->bad || reader->end - reader->next < 8)
	{
		reader->bad = true;
		return 0;
	}
	value = load(reader->next, 8);
	reader->next += 8;
	return (int64_t) value;
}

void
record_get_string(RecordReader *reader, char *text, size_t size)
{
	uint64_t	length = (uint64_t) record_get_int(reader);

	text[		0] = '\0';

	if (reader->bad || length >= size ||
		length > (uint64_t) (reader->end - reader->next) ||
		memchr(reader->next, '\0', length) != NULL)
	{
		reader->bad = true;
		return;
	}
	memcpy(text, reader->next, length);
	text[		length] = '\0';

	reader->next += length;
}

bool
record_done(const RecordReader *reader)
{
	return !reader->bad && reader->next == reader->end;
}

const char *
record_problem_text(RecordProblem problem)
{
	switch (problem)
	{
		case RECORD_OK:
			break;
		case RECORD_TOO_SHORT:
			return "it is too short";
		case RECORD_WRONG_MAGIC:
			return "it is not a file of this extension";
		case RECORD_WRONG_VERSION:
			return "it was written by another version of this extension";
		case RECORD_WRONG_LENGTH:
			return "its length is wrong";
		case RECORD_WRONG_CRC:
			return "its checksum is wrong";
	}
	return "its contents make no sense";
}
