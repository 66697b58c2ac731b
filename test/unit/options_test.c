/* Tests of the option bits that calls accept. */
#include <string.h>

#include "engine/jet.h"
#include "engine/options.h"
#include "tap.h"

static void
test_refused(void)
{
	ok(options_refused(OPTIONS_BEGIN, JET_bitBackupIncremental) == 0,
	   "Begin accepts Incremental");
	ok(options_refused(OPTIONS_BEGIN, 5) == JET_bitBackupAtomic,
	   "and not Atomic");
	ok(options_refused(OPTIONS_BACKUP, 5) == 0, "a native backup does");
	ok(options_refused(OPTIONS_END, 64 | 1) == 64, "End refuses what it does not know");
	ok(options_refused(OPTIONS_END, INT32_MIN) == 0x80000000, "bit 31 as well");
	ok(options_refused(OPTIONS_TERM, 15) == 0, "Term accepts all of its bits");
}

static void
test_names(void)
{
	char		to[256];

	options_names(OPTIONS_BEGIN, 4 | 0x40, to, sizeof(to));
	ok(strcmp(to, "JET_bitBackupAtomic | JET_bitInternalCopy") == 0, "two names: %s", to);
	options_names(OPTIONS_END, 4 | 0x200, to, sizeof(to));
	ok(strcmp(to, "JET_bitBackupNoDbHeaderUpdate | 0x00000004") == 0,
	   "a name and a number: %s", to);
	options_names(OPTIONS_TERM, 4, to, sizeof(to));
	ok(strcmp(to, "JET_bitTermStopBackup") == 0, "the same bit of another call: %s", to);
	options_names(OPTIONS_BEGIN, 0xffff, to, 10);
	ok(strcmp(to, "JET_bitBa") == 0, "a small buffer is kept to");
	options_accepted(OPTIONS_END, to, sizeof(to));
	ok(strcmp(to, "JET_bitBackupEndNormal, JET_bitBackupEndAbort, JET_bitBackupTruncateDone") == 0,
	   "what End accepts: %s", to);
	options_accepted_by("JET_bitBackupIncremental", to, sizeof(to));
	ok(strcmp(to, "ese_begin_external_backup_instance, ese_backup_instance") == 0,
	   "who accepts Incremental: %s", to);
	options_accepted_by("JET_bitInternalCopy", to, sizeof(to));
	ok(to[0] == '\0', "who accepts InternalCopy: nobody");
}

/* Every name is one of ESE's, with the value that the list has. */
static void
test_constants(void)
{
	int			accepted = 0;

	for (size_t i = 0; i < jet_constant_count; i++)
	{
		char		to[256];

		options_accepted_by(jet_constants[i].name, to, sizeof(to));
		accepted += to[0] != '\0';
	}
	ok(accepted == 9, "%d constants are accepted by a call", accepted);
}

int
main(void)
{
	test_refused();
	test_names();
	test_constants();
	return done_testing();
}
