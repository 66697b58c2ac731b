/*
 * Tests of the transition table.  Run with an argument it prints the table
 * for the README instead.
 */
#include <string.h>

#include "engine/jet.h"
#include "engine/protocol.h"
#include "tap.h"

/* Walk every pair and check what must hold whatever the table says. */
static void
test_all_pairs(void)
{
	int			bad_refusals = 0;
	int			stopped_reads = 0;
	int			reopened = 0;

	for (int phase = PHASE_NONE; phase <= PHASE_LOGS; phase++)
	{
		for (int stopped = 0; stopped <= (phase != PHASE_NONE); stopped++)
		{
			for (int open = 0; open <= 2 * (phase >= PHASE_DATABASES); open++)
			{
				ProtocolState state = {(BackupPhase) phase, stopped != 0, open};

				for (int c = 0; c < PROTOCOL_CALLS; c++)
				{
					ProtocolCall call = (ProtocolCall) c;
					int			result = protocol_check(&state, call);
					ProtocolState next = protocol_next(state, call);
					bool		reads = call == CALL_GET_ATTACH_INFO ||
						call == CALL_OPEN_ATTACHED || call == CALL_OPEN_LOG ||
						call == CALL_OPEN_OTHER || call == CALL_READ_FILE ||
						call == CALL_GET_LOG_INFO ||
						call == CALL_TRUNCATE_LOG;

					if (phase == PHASE_NONE && reads)
						bad_refusals += result != JET_errNoBackup;
					if (phase >= PHASE_DATABASES && stopped && reads)
						stopped_reads += result != JET_errBackupAbortByServer;
					if (result == JET_errSuccess && stopped &&
						next.phase != PHASE_NONE && !next.stopped)
						reopened++;
				}
			}
		}
	}
	ok(bad_refusals == 0, "without a backup every call that reads is -520");
	ok(stopped_reads == 0, "after a stop every call that reads is -801");
	ok(reopened == 0, "a stop is only left by the end of the backup");
}

static int
run(ProtocolState *state, ProtocolCall call)
{
	int			result = protocol_check(state, call);

	if (result == JET_errSuccess)
		*state = protocol_next(*state, call);
	return result;
}

/* The course of a good backup, and what is refused on the way. */
static void
test_course(void)
{
	ProtocolState s = {PHASE_NONE, false, 0};

	ok(run(&s, CALL_STOP) == 0 && !s.stopped,
	   "a stop without a backup leaves nothing behind");
	ok(run(&s, CALL_BEGIN) == 0 && s.phase == PHASE_STARTING, "Begin");
	ok(run(&s, CALL_GET_ATTACH_INFO) == JET_errNoBackup,
	   "while it starts no backup is open");
	s.phase = PHASE_DATABASES;
	ok(run(&s, CALL_BEGIN) == JET_errBackupInProgress, "a second Begin");
	ok(run(&s, CALL_OPEN_LOG) == JET_errDatabaseNotFound, "a log too early");
	ok(run(&s, CALL_READ_FILE) == JET_errInvalidParameter,
	   "reading without an open file");
	ok(run(&s, CALL_OPEN_ATTACHED) == 0 && run(&s, CALL_OPEN_ATTACHED) == 0 &&
	   s.open_files == 2, "two files open");
	ok(run(&s, CALL_GET_LOG_INFO) == JET_errInvalidBackupSequence,
	   "GetLogInfo with files open");
	ok(run(&s, CALL_CLOSE_FILE) == 0 && run(&s, CALL_CLOSE_FILE) == 0 &&
	   run(&s, CALL_CLOSE_FILE) == JET_errInvalidParameter, "closed, and once more");
	ok(run(&s, CALL_GET_LOG_INFO) == 0 && s.phase == PHASE_LOGS, "GetLogInfo");
	ok(run(&s, CALL_OPEN_ATTACHED) == JET_errInvalidBackupSequence,
	   "a data file in the logs phase is refused");
	ok(s.phase == PHASE_LOGS, "and costs nothing");
	ok(run(&s, CALL_OPEN_OTHER) == JET_errMissingFileToBackup, "a wrong log");
	ok(run(&s, CALL_TERM) == JET_errBackupInProgress, "Term with a backup open");
	ok(run(&s, CALL_STOP) == 0 && s.stopped, "Stop");
	ok(run(&s, CALL_STOP) == 0 && s.stopped, "Stop again");
	ok(run(&s, CALL_END_NORMAL) == 0 && s.phase == PHASE_NONE && !s.stopped,
	   "End");
	ok(run(&s, CALL_END_NORMAL) == JET_errNoBackup, "End again");
}

/* The table in Markdown. */
static void
print_table(void)
{
	static const ProtocolState columns[PROTOCOL_COLUMNS] = {
		[COLUMN_NONE] = {PHASE_NONE, false, 0},
		[COLUMN_STARTING] = {PHASE_STARTING, false, 0},
		[COLUMN_DATABASES] = {PHASE_DATABASES, false, 0},
		[COLUMN_DATABASES_OPEN] = {PHASE_DATABASES, false, 1},
		[COLUMN_LOGS] = {PHASE_LOGS, false, 0},
		[COLUMN_LOGS_OPEN] = {PHASE_LOGS, false, 1},
		[COLUMN_STOPPED] = {PHASE_DATABASES, true, 0},
		[COLUMN_STOPPED_OPEN] = {PHASE_DATABASES, true, 1},
	};

	printf("| call |");
	for (int i = 0; i < PROTOCOL_COLUMNS; i++)
		printf(" %s |", protocol_column_name((ProtocolColumn) i));
	printf("\n|---|");
	for (int i = 0; i < PROTOCOL_COLUMNS; i++)
		printf("---|");
	printf("\n");
	for (int c = 0; c < PROTOCOL_CALLS; c++)
	{
		printf("| %s |", protocol_call_name((ProtocolCall) c));
		for (int i = 0; i < PROTOCOL_COLUMNS; i++)
		{
			int			result = protocol_check(&columns[i], (ProtocolCall) c);

			if (result == 0)
				printf(" ok |");
			else
				printf(" %d |", result);
		}
		printf("\n");
	}
}

int
main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "--table") == 0)
	{
		print_table();
		return 0;
	}
	test_all_pairs();
	test_course();
	return done_testing();
}
