/*-------------------------------------------------------------------------
 *
 * tar.c
 *	  Writing headers of tar members.
 *
 *-------------------------------------------------------------------------
 */
#include "tar.h"

#include <stdio.h>
#include <string.h>

/* A ustar header: offset and width of each field that is written. */
#define NAME_AT		0
#define NAME_WIDTH	100
#define MODE_AT		100
#define UID_AT		108
#define GID_AT		116
#define SIZE_AT		124
#define TIME_AT		136
#define CHECKSUM_AT 148
#define TYPE_AT		156
#define MAGIC_AT	257

/* The largest numbers that octal digits of these widths can tell. */
#define MAX_OCTAL_7		UINT64_C(07777777)
#define MAX_OCTAL_11	UINT64_C(077777777777)

/*
 * A number in octal, or, where that does not fit, in base 256 with the top
 * bit set, as GNU tar, star and PostgreSQL write it.
 */
static void
put_number(char *field, int width, uint64_t value)
{
	uint64_t	limit = width == 8 ? MAX_OCTAL_7 : MAX_OCTAL_11;

	if (value <= limit)
	{
		snprintf(field, (size_t) width, "%0*llo", width - 1,
				 (unsigned long long) value);
		return;
	}
	memset(field, 0, (size_t) width);
	for (int i = width - 1; i > 0 && value > 0; i--)
	{
		field[i] = (char) (value & 0xFF);
		value >>= 8;
	}
	field[0] = (char) 0x80;
}

static void
put_checksum(char *header)
{
	unsigned	sum = 0;

	memset(header + CHECKSUM_AT, ' ', 8);
	for (int i = 0; i < TAR_BLOCK; i++)
		sum += (unsigned char) header[i];
	snprintf(header + CHECKSUM_AT, 8, "%06o", sum);
	header[CHECKSUM_AT + 7] = ' ';
}

static void
put_block(char *header, const char *name, char type, unsigned mode,
		  uint64_t size, int64_t modified, uint32_t uid, uint32_t gid)
{
	memset(header, 0, TAR_BLOCK);
	strncpy(header + NAME_AT, name, NAME_WIDTH);
	put_number(header + MODE_AT, 8, mode);
	put_number(header + UID_AT, 8, uid);
	put_number(header + GID_AT, 8, gid);
	put_number(header + SIZE_AT, 12, size);
	put_number(header + TIME_AT, 12, modified > 0 ? (uint64_t) modified : 0);
	header[TYPE_AT] = type;
	memcpy(header + MAGIC_AT, "ustar\0" "00", 8);
	put_checksum(header);
}

/*
 * The pax record of a long name, "<length> path=<name>\n", where the length
 * counts its own digits.
 */
static size_t
pax_record(char *to, size_t room, const char *name)
{
	size_t		rest = strlen(" path=\n") + strlen(name);
	size_t		length = rest + 1;

	while (length != rest + (size_t) snprintf(NULL, 0, "%zu", length))
		length = rest + (size_t) snprintf(NULL, 0, "%zu", length);
	snprintf(to, room, "%zu path=%s\n", length, name);
	return length;
}

size_t
tar_header(char *to, const char *name, bool directory, uint64_t size,
		   int64_t modified, uint32_t uid, uint32_t gid)
{
	char		full[TAR_MAX_NAME + 2];
	size_t		used = 0;

	snprintf(full, sizeof(full), "%s%s", name, directory ? "/" : "");
	if (strlen(full) > NAME_WIDTH)
	{
		char		record[TAR_MAX_NAME + 32];
		size_t		length = pax_record(record, sizeof(record), full);

		put_block(to, "PaxHeader", 'x', 0600, length, modified, uid, gid);
		used = TAR_BLOCK;
		memcpy(to + used, record, length);
		memset(to + used + length, 0, tar_padding(length));
		used += length + tar_padding(length);
	}
	put_block(to + used, full, directory ? '5' : '0', directory ? 0700 : 0600,
			  directory ? 0 : size, modified, uid, gid);
	return used + TAR_BLOCK;
}
