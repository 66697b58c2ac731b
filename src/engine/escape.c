/*-------------------------------------------------------------------------
 *
 * escape.c
 *	  Escape strings.
 *
 *-------------------------------------------------------------------------
 */
#include "escape.h"

#include <stdio.h>
#include <string.h>

bool
escape_looks_escaped(const char *text)
{
	return text[0] == 'E' && text[1] == '\'';
}

size_t
escape_room(const char *bytes)
{
	return 4 * strlen(bytes) + sizeof("E''");
}

void
escape_encode(const char *bytes, char *text)
{
	char	   *to = text;

	*to++ = 'E';
	*to++ = '\'';
	for (const char *p = bytes; *p != '\0'; p++)
	{
		unsigned char c = (unsigned char) *p;

		if (c == '\'' || c == '\\')
		{
			*to++ = '\\';
			*to++ = *p;
		}
		else if (c >= ' ' && c < 0x7F)
			*to++ = *p;
		else
			to += sprintf(to, "\\x%02x", c);
	}
	*to++ = '\'';
	*to = '\0';
}

int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Decode what follows a backslash; returns its length, 0 when malformed. */
static int
decode_one(const char *p, char *byte)
{
	int			high;
	int			low;

	if (p[0] == '\'' || p[0] == '\\')
	{
		*byte = p[0];
		return 1;
	}
	if (p[0] != 'x')
		return 0;
	high = hex_digit(p[1]);
	low = high < 0 ? -1 : hex_digit(p[2]);
	if (low < 0 || (high == 0 && low == 0))
		return 0;
	*byte = (char) (high * 16 + low);
	return 3;
}

bool
escape_decode(const char *text, char *bytes)
{
	const char *p = text;

	if (!escape_looks_escaped(text))
		return false;
	for (p += 2; *p != '\0' && *p != '\''; p++, bytes++)
	{
		*bytes = *p;
		if (*p == '\\')
		{
			int			length = decode_one(p + 1, bytes);

			if (length == 0)
				return false;
			p += length;
		}
	}
	*bytes = '\0';
	return p[0] == '\'' && p[1] == '\0';
}
