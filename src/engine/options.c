/*-------------------------------------------------------------------------
 *
 * options.c
 *	  Which option bits each call accepts.
 *
 *-------------------------------------------------------------------------
 */
#include "options.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "jet.h"

#define MAX_NAMES 8

/* A list of names in a buffer that may be too small for it. */
typedef struct Names
{
	char	   *to;
	size_t		size;
	const char *separator;
} Names;

typedef struct OptionName
{
	uint32_t	bits;
	const char *name;
	bool		accepted;
} OptionName;

typedef struct OptionSet
{
	const char *function;
	OptionName	names[MAX_NAMES];
} OptionSet;

#define ACCEPTED(name)	{(uint32_t) name, #name, true}
#define REFUSED(name)	{(uint32_t) name, #name, false}

#define BACKUP_BITS_NOBODY_ACCEPTS \
	REFUSED(JET_bitKeepOldLogs), \
	REFUSED(JET_bitBackupFullWithAllLogs), \
	REFUSED(JET_bitBackupSnapshot), \
	REFUSED(JET_bitBackupSurrogate), \
	REFUSED(JET_bitInternalCopy)

static const OptionSet sets[OPTION_CALLS] = {
	[OPTIONS_BEGIN] = {"ese_begin_external_backup_instance", {
			ACCEPTED(JET_bitBackupIncremental),
			REFUSED(JET_bitBackupAtomic),
			BACKUP_BITS_NOBODY_ACCEPTS,
	}},
	[OPTIONS_BACKUP] = {"ese_backup_instance", {
			ACCEPTED(JET_bitBackupIncremental),
			ACCEPTED(JET_bitBackupAtomic),
			BACKUP_BITS_NOBODY_ACCEPTS,
	}},
	[OPTIONS_END] = {"ese_end_external_backup_instance", {
			ACCEPTED(JET_bitBackupEndNormal),
			ACCEPTED(JET_bitBackupEndAbort),
			ACCEPTED(JET_bitBackupTruncateDone),
			REFUSED(JET_bitBackupNoDbHeaderUpdate),
	}},
	[OPTIONS_TERM] = {"ese_term", {
			ACCEPTED(JET_bitTermComplete),
			ACCEPTED(JET_bitTermAbrupt),
			ACCEPTED(JET_bitTermStopBackup),
			ACCEPTED(JET_bitTermDirty),
	}},
};

const char *
options_function(OptionCall call)
{
	return sets[call].function;
}

uint32_t
options_refused(OptionCall call, int32_t grbit)
{
	uint32_t	bits = (uint32_t) grbit;

	for (int i = 0; i < MAX_NAMES; i++)
	{
		if (sets[call].names[i].accepted)
			bits &= ~sets[call].names[i].bits;
	}
	return bits;
}

static void
add_name(Names *names, const char *name)
{
	size_t		used = strlen(names->to);

	snprintf(names->to + used, names->size - used, "%s%s",
			 used > 0 ? names->separator : "", name);
}

static Names
begin_names(char *to, size_t size, const char *separator)
{
	Names		names = {to, size, separator};

	to[0] = '\0';
	return names;
}

void
options_names(OptionCall call, uint32_t bits, char *to, size_t size)
{
	Names		names = begin_names(to, size, " | ");
	char		number[16];

	for (int i = 0; i < MAX_NAMES; i++)
	{
		const OptionName *option = &sets[call].names[i];

		if ((option->bits & bits) == 0)
			continue;
		add_name(&names, option->name);
		bits &= ~option->bits;
	}
	if (bits == 0)
		return;
	snprintf(number, sizeof(number), "0x%08x", bits);
	add_name(&names, number);
}

void
options_accepted(OptionCall call, char *to, size_t size)
{
	Names		names = begin_names(to, size, ", ");

	for (int i = 0; i < MAX_NAMES; i++)
	{
		if (sets[call].names[i].accepted)
			add_name(&names, sets[call].names[i].name);
	}
}

void
options_accepted_by(const char *name, char *to, size_t size)
{
	Names		names = begin_names(to, size, ", ");

	for (int call = 0; call < OPTION_CALLS; call++)
	{
		for (int i = 0; i < MAX_NAMES; i++)
		{
			const OptionName *option = &sets[call].names[i];

			if (option->accepted && strcmp(option->name, name) == 0)
				add_name(&names, sets[call].function);
		}
	}
}
