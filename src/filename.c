/*-------------------------------------------------------------------------
 *
 * filename.c
 *	  File names to text and back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

#include "engine/escape.h"
#include "filename.h"

static char *
escape(const char *bytes)
{
	char	   *text = palloc(escape_room(bytes));

	escape_encode(bytes, text);
	return text;
}

char *
filename_text(const char *text)
{
	return pg_verifymbstr(text, strlen(text), true) ? pstrdup(text) :
		escape(text);
}

char *
filename_show(const char *name)
{
	return escape_looks_escaped(name) ? escape(name) : filename_text(name);
}

char *
filename_read(const char *text)
{
	char	   *name;

	if (!escape_looks_escaped(text))
		return pstrdup(text);
	name = palloc(strlen(text) + 1);
	return escape_decode(text, name) ? name : NULL;
}
