/* Tests of the lists of JET errors and constants. */
#include <string.h>

#include "engine/jet.h"
#include "tap.h"

static void
test_errors(void)
{
	char text[	6];
	int			doubles = 0;
	int			incomplete = 0;

	ok(jet_error_count == 263, "all %zu errors are there", jet_error_count);
	for (size_t i = 0; i < jet_error_count; i++)
	{
		for (size_t j = 0; j < i; j++)
			doubles += jet_errors[i].number == jet_errors[j].number;
		incomplete += (jet_errors[i].backup_after == NULL) !=
			(jet_errors[i].retry == NULL);
	}
	ok(doubles == 0, "no number stands for two errors");
	ok(incomplete == 0, "what is raised says what follows");
	ok(JET_errBackupAbortByServer == -801, "the enum is made from the list");
	ok(strcmp(jet_error_name(-801), "JET_errBackupAbortByServer") == 0,
	   "the name of -801");
	ok(strcmp(jet_error_name(-4242), "JET_errUnknown") == 0,
	   "a number without a name");
	ok(jet_sqlstate_text(-801, text) && strcmp(text, "J0801") == 0,
	   "SQLSTATE of -801");
	ok(jet_sqlstate_text(-1003, text) && strcmp(text, "J1003") == 0,
	   "SQLSTATE of -1003");
	ok(!jet_sqlstate_text(-10001, text), "five digits have no SQLSTATE");
}

static int32_t
grbit(const char *text, bool *good)
{
	int32_t		value = 0;
	const char *bad;
	int			length;

	*good = jet_grbit_parse(text, &value, &bad, &length) == 0;
	return value;
}

static void
test_grbits(void)
{
	bool		good;

	ok(jet_constant_count == 184, "all %zu constants are there",
	   jet_constant_count);
	ok(grbit("JET_bitBackupIncremental|JET_bitBackupAtomic", &good) == 5 && good,
	   "two names");
	ok(grbit("  JET_bitBackupEndNormal ", &good) == 1 && good, "white space");
	ok(grbit("JET_bitStopServiceResume", &good) == INT32_MIN && good,
	   "bit 31 is negative");
	grbit("", &good);
	ok(!good, "an empty text is no name");
	grbit("JET_bitBackupAtomic|", &good);
	ok(!good, "nothing after the bar");
	grbit("JET_paramCircularLog", &good);
	ok(!good, "a parameter is no option");
	grbit("JET_bitBackup", &good);
	ok(!good, "part of a name is no name");
}

int
main(void)
{
	test_errors();
	test_grbits();
	return done_testing();
}
