/*-------------------------------------------------------------------------
 *
 * tarread.c
 *	  Reading headers of tar members.
 *
 *-------------------------------------------------------------------------
 */
#include "tarread.h"

#include <stdio.h>
#include <string.h>

/* A ustar header: what is read of it. */
#define NAME_WIDTH	100
#define UID_AT		108
#define GID_AT		116
#define SIZE_AT		124
#define TIME_AT		136
#define TYPE_AT		156

#define TYPE_DIRECTORY	'5'
#define TYPE_EXTENDED	'x'

bool
tar_is_zero(const char *bytes, size_t length)
{
	return length == 0 ||
		(bytes[0] == '\0' && memcmp(bytes, bytes + 1, length - 1) == 0);
}

/*
 * A number as tar.c puts it: octal digits, or base 256.  Of anything else
 * something comes out that is not written so.
 */
static uint64_t
get_number(const char *field, int width)
{
	bool		binary = (field[0] & 0x80) != 0;
	uint64_t	value = 0;

	for (int i = binary; i < width - !binary; i++)
		value = binary ? value << 8 | (unsigned char) field[i] :
			value << 3 | (uint64_t) (field[i] - '0');
	return value;
}

/* The name in a pax record, "<length> path=<name>\n"; false when it is none. */
static bool
get_long_name(const char *record, size_t length, char *name)
{
	const char *path = memchr(record, '=', length);
	size_t		at = path != NULL ? (size_t) (path - record) + 1 : length;

	if (at >= length || length - at - 1 > TAR_MAX_NAME + 1)
		return false;
	memcpy(name, path + 1, length - at - 1);
	name[length - at - 1] = '\0';
	return true;
}

/* Would tar.c write this header for that member? */
static bool
is_as_written(const char *bytes, size_t length, const char *block,
			  const TarMember *member)
{
	char		again[TAR_MAX_HEADER];

	return strlen(member->name) <= TAR_MAX_NAME &&
		tar_header(again, member->name, member->directory, member->size,
				   (int64_t) get_number(block + TIME_AT, 12),
				   (uint32_t) get_number(block + UID_AT, 8),
				   (uint32_t) get_number(block + GID_AT, 8)) == length &&
		memcmp(again, bytes, length) == 0;
}

TarHeader
tar_read_header(const char *bytes, size_t length, size_t *wanted,
				TarMember *member)
{
	bool		extended = bytes[TYPE_AT] == TYPE_EXTENDED;
	const char *block;
	size_t		end;

	*wanted = TAR_BLOCK;
	if (tar_is_zero(bytes, TAR_BLOCK))
		return TAR_HEADER_END;
	if (extended)
	{
		uint64_t	record = get_number(bytes + SIZE_AT, 12);

		if (record == 0 || record > TAR_MAX_HEADER - 2 * TAR_BLOCK)
			return TAR_HEADER_BAD;
		*wanted = 2 * TAR_BLOCK + (size_t) record + tar_padding(record);
		if (length < *wanted)
			return TAR_HEADER_PART;
		if (!get_long_name(bytes + TAR_BLOCK, (size_t) record, member->name))
			return TAR_HEADER_BAD;
	}
	else
		snprintf(member->name, sizeof(member->name), "%.*s", NAME_WIDTH, bytes);
	block = bytes + *wanted - TAR_BLOCK;
	member->directory = block[TYPE_AT] == TYPE_DIRECTORY;
	member->size = member->directory ? 0 : get_number(block + SIZE_AT, 12);
	end = strlen(member->name);
	if (member->directory && end > 0 && member->name[end - 1] == '/')
		member->name[end - 1] = '\0';
	return is_as_written(bytes, *wanted, block, member) ?
		TAR_HEADER_MEMBER : TAR_HEADER_BAD;
}
