/*-------------------------------------------------------------------------
 *
 * protocol.c
 *	  The transition table of a streaming backup.
 *
 *-------------------------------------------------------------------------
 */
#include "protocol.h"

#include "jet.h"

/* What a successful call does to the state. */
typedef enum Effect
{
	SAME,
	TO_STARTING,
	TO_LOGS,
	TO_NONE,
	TO_STOPPED,
	OPENED,
	CLOSED,
} Effect;

typedef struct Rule
{
	const char *name;
	Effect		effect;
	int			result[PROTOCOL_COLUMNS];
} Rule;

#define OK	JET_errSuccess
#define PAR JET_errInvalidParameter
#define BIP JET_errBackupInProgress
#define NOB JET_errNoBackup
#define SEQ JET_errInvalidBackupSequence
#define DNF JET_errDatabaseNotFound
#define MIS JET_errMissingFileToBackup
#define SRV JET_errBackupAbortByServer

/*
 * While a Begin is starting no backup is open yet: calls find none, another
 * Begin finds one in progress, and a stop ends the start.
 */
/* INDENT OFF */
static const Rule rules[PROTOCOL_CALLS] = {
	/*                                                  none starting databases +open logs +open stopped +open */
	[CALL_BEGIN] =           {"Begin",           TO_STARTING, {OK,  BIP, BIP, BIP, BIP, BIP, BIP, BIP}},
	[CALL_GET_ATTACH_INFO] = {"GetAttachInfo",          SAME, {NOB, NOB, OK,  OK,  OK,  OK,  SRV, SRV}},
	[CALL_OPEN_ATTACHED] =   {"OpenFile, attached",   OPENED, {NOB, NOB, OK,  OK,  SEQ, SEQ, SRV, SRV}},
	[CALL_OPEN_LOG] =        {"OpenFile, log",        OPENED, {NOB, NOB, DNF, DNF, OK,  OK,  SRV, SRV}},
	[CALL_OPEN_OTHER] =      {"OpenFile, other",        SAME, {NOB, NOB, DNF, DNF, MIS, MIS, SRV, SRV}},
	[CALL_OPEN_STREAM] =     {"OpenStream",           OPENED, {NOB, NOB, OK,  OK,  OK,  OK,  SRV, SRV}},
	[CALL_READ_FILE] =       {"ReadFile",               SAME, {NOB, NOB, PAR, OK,  PAR, OK,  SRV, SRV}},
	[CALL_CLOSE_FILE] =      {"CloseFile",            CLOSED, {NOB, NOB, PAR, OK,  PAR, OK,  PAR, OK}},
	[CALL_GET_LOG_INFO] =    {"GetLogInfo",          TO_LOGS, {NOB, NOB, OK,  SEQ, OK,  SEQ, SRV, SRV}},
	[CALL_TRUNCATE_LOG] =    {"TruncateLog",            SAME, {NOB, NOB, SEQ, SEQ, OK,  SEQ, SRV, SRV}},
	[CALL_END_NORMAL] =      {"End(Normal)",         TO_NONE, {NOB, NOB, OK,  OK,  OK,  OK,  OK,  OK}},
	[CALL_END_ABORT] =       {"End(Abort)",          TO_NONE, {NOB, NOB, OK,  OK,  OK,  OK,  OK,  OK}},
	[CALL_STOP] =            {"Stop",             TO_STOPPED, {OK,  OK,  OK,  OK,  OK,  OK,  OK,  OK}},
	[CALL_TERM] =            {"Term",                TO_NONE, {OK,  BIP, BIP, BIP, BIP, BIP, BIP, BIP}},
	[CALL_TERM_STOP] =       {"Term(StopBackup)",    TO_NONE, {OK,  OK,  OK,  OK,  OK,  OK,  OK,  OK}},
};
/* INDENT ON */

/* The SQL functions, for messages. */
static const char *const function_names[PROTOCOL_CALLS] = {
	[CALL_BEGIN] = "ese_begin_external_backup_instance",
	[CALL_GET_ATTACH_INFO] = "ese_get_attach_info_instance",
	[CALL_OPEN_ATTACHED] = "ese_open_file_instance",
	[CALL_OPEN_LOG] = "ese_open_file_instance",
	[CALL_OPEN_OTHER] = "ese_open_file_instance",
	[CALL_OPEN_STREAM] = "ese_open_stream_instance",
	[CALL_READ_FILE] = "ese_read_file_instance",
	[CALL_CLOSE_FILE] = "ese_close_file_instance",
	[CALL_GET_LOG_INFO] = "ese_get_log_info_instance",
	[CALL_TRUNCATE_LOG] = "ese_truncate_log_instance",
	[CALL_END_NORMAL] = "ese_end_external_backup_instance",
	[CALL_END_ABORT] = "ese_end_external_backup_instance",
	[CALL_STOP] = "ese_stop_backup_instance",
	[CALL_TERM] = "ese_term",
	[CALL_TERM_STOP] = "ese_term",
};

static const char *const column_names[PROTOCOL_COLUMNS] = {
	[COLUMN_NONE] = "none",
	[COLUMN_STARTING] = "starting",
	[COLUMN_DATABASES] = "databases",
	[COLUMN_DATABASES_OPEN] = "databases, file open",
	[COLUMN_LOGS] = "logs",
	[COLUMN_LOGS_OPEN] = "logs, file open",
	[COLUMN_STOPPED] = "stopped",
	[COLUMN_STOPPED_OPEN] = "stopped, file open",
};

static const char *const phase_names[] = {
	[PHASE_NONE] = "none",
	[PHASE_STARTING] = "starting",
	[PHASE_DATABASES] = "databases",
	[PHASE_LOGS] = "logs",
};

ProtocolColumn
protocol_column(const ProtocolState *state)
{
	bool		open = state->open_files > 0;

	if (state->phase == PHASE_NONE)
		return COLUMN_NONE;
	if (state->phase == PHASE_STARTING)
		return COLUMN_STARTING;
	if (state->stopped)
		return open ? COLUMN_STOPPED_OPEN : COLUMN_STOPPED;
	if (state->phase == PHASE_DATABASES)
		return open ? COLUMN_DATABASES_OPEN : COLUMN_DATABASES;
	return open ? COLUMN_LOGS_OPEN : COLUMN_LOGS;
}

int
protocol_check(const ProtocolState *state, ProtocolCall call)
{
	return rules[call].result[protocol_column(state)];
}

ProtocolState
protocol_next(ProtocolState state, ProtocolCall call)
{
	static const ProtocolState none = {.phase = PHASE_NONE};

	switch (rules[call].effect)
	{
		case SAME:
			break;
		case TO_STARTING:
			state = none;
			state.phase = PHASE_STARTING;
			break;
		case TO_LOGS:
			state.phase = PHASE_LOGS;
			break;
		case TO_NONE:
			return none;
		case TO_STOPPED:
			state.stopped = state.phase != PHASE_NONE;
			break;
		case OPENED:
			state.open_files++;
			break;
		case CLOSED:
			state.open_files--;
			break;
	}
	return state;
}

const char *
protocol_column_name(ProtocolColumn column)
{
	return column_names[column];
}

const char *
protocol_call_name(ProtocolCall call)
{
	return rules[call].name;
}

const char *
protocol_function_name(ProtocolCall call)
{
	return function_names[call];
}

const char *
protocol_phase_name(BackupPhase phase)
{
	return phase_names[phase];
}
