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

char *
filename_show(const char *name)
{
	char	   *shown;

	if (!escape_looks_escaped(name) &&
		pg_verifymbstr(name, strlen(name), true))
		return pstrdup(name);
	shown = palloc(escape_room(name));
	escape_encode(name, shown);
	return shown;
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
