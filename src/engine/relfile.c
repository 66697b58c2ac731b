/*-------------------------------------------------------------------------
 *
 * relfile.c
 *	  Parsing the names of relation files.
 *
 *-------------------------------------------------------------------------
 */
#include "relfile.h"

#include <string.h>

static const char *const fork_names[] = {
	[FORK_MAIN] = "main",
	[FORK_FSM] = "fsm",
	[FORK_VM] = "vm",
	[FORK_INIT] = "init",
};

/* A decimal number from 1 to 2^32 - 1 without leading zeros. */
static bool
parse_number(const char **p, uint32_t *value)
{
	uint64_t	v = 0;

	if (**p < '1' || **p > '9')
		return false;
	while (**p >= '0' && **p <= '9')
	{
		v = v * 10 + (uint64_t) (**p - '0');
		if (v > UINT32_MAX)
			return false;
		(*p)++;
	}
	*value = (uint32_t) v;
	return true;
}

bool
relfile_parse(const char *name, RelFile *file)
{
	const char *p = name;

	file->fork = FORK_MAIN;
	file->segment = 0;
	if (!parse_number(&p, &file->number))
		return false;

	if (*p == '_')
	{
		bool		found = false;

		p++;
		for (int f = FORK_FSM; f <= FORK_INIT && !found; f++)
		{
			size_t		length = strlen(fork_names[f]);

			if (strncmp(p, fork_names[f], length) == 0)
			{
				file->fork = (RelFork) f;
				p += length;
				found = true;
			}
		}
		if (!found)
			return false;
	}
	if (*p == '.')
	{
		p++;
		if (!parse_number(&p, &file->segment))
			return false;
	}
	return *p == '\0';
}

const char *
relfile_fork_name(RelFork fork)
{
	return fork_names[fork];
}

bool
relfile_is_temporary(const char *name)
{
	const char *p = name;
	uint32_t	backend;
	RelFile		file;

	if (*p++ != 't' || !parse_number(&p, &backend) || *p++ != '_')
		return false;
	return relfile_parse(p, &file);
}
