/*-------------------------------------------------------------------------
 *
 * logname.c
 *	  Names of the files that come with the logs of a backup.
 *
 *-------------------------------------------------------------------------
 */
#include "logname.h"

#include <stddef.h>
#include <string.h>

#include "logmanifest.h"

#define KB	UINT64_C(1024)
#define MB	(1024 * KB)
#define GB	(1024 * MB)

#define STATUS_SUFFIX ".done"

/* How long a file may be: of a name, or whose name begins and goes on so. */
typedef struct LogName
{
	const char *name;
	const char *characters;		/* of the rest; NULL: there is none */
	size_t		count;			/* how many of these; 0: some */
	const char *suffix;
	uint64_t	max_size;
} LogName;

static const char hex[] = "0123456789ABCDEF";

static const LogName log_names[] = {
	{"backup_label", NULL, 0, "", 64 * KB},
	{"tablespace_map.original", NULL, 0, "", 64 * MB},
	{"global/pg_control", NULL, 0, "", 8 * KB},
	{"backup_manifest", NULL, 0, "", 64 * GB},
	{LOGMANIFEST_PREFIX, "0123456789", 0, "", LOGMANIFEST_MAX_LENGTH},
	{"pg_wal/", hex, 24, "", GB},
	{"pg_wal/", hex, 8, ".history", 16 * MB},
	{"pg_wal/archive_status/", hex, 24, STATUS_SUFFIX, 0},
	{"pg_wal/archive_status/", hex, 8, ".history" STATUS_SUFFIX, 0},
};

static bool
fits(const LogName *name, const char *path)
{
	size_t		length = strlen(name->name);
	size_t		count;

	if (strncmp(path, name->name, length) != 0)
		return false;
	path += length;
	if (name->characters == NULL)
		return path[0] == '\0';
	count = strspn(path, name->characters);
	return count > 0 && (name->count == 0 || count == name->count) &&
		strcmp(path + count, name->suffix) == 0;
}

bool
logname_is_allowed(const char *path, uint64_t size)
{
	for (size_t i = 0; i < sizeof(log_names) / sizeof(log_names[0]); i++)
	{
		if (fits(&log_names[i], path))
			return size <= log_names[i].max_size;
	}
	return false;
}
