/*-------------------------------------------------------------------------
 *
 * protocol.h
 *	  The order of the calls of a streaming backup, as one table.
 *
 * The table is ESE's (transition table of its external backup) with the
 * differences that the SQL interface declares: many handles instead of one,
 * and a wrong name that costs the call instead of the backup.  It decides
 * about order alone; whether a handle, a name or a size is right is decided
 * where they are known.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_PROTOCOL_H
#define ESE_PROTOCOL_H

#include <stdbool.h>
#include <stdint.h>

typedef enum BackupPhase
{
	PHASE_NONE,					/* no backup; next: STARTING */
	PHASE_STARTING,				/* Begin waits for the checkpoint; next:
								 * DATABASES, or NONE when it fails */
	PHASE_DATABASES,			/* attach files may be read; next: LOGS */
	PHASE_LOGS,					/* logs and patch files may be read */
} BackupPhase;

/* Everything the order of calls depends on. */
typedef struct ProtocolState
{
	BackupPhase phase;
	bool		stopped;		/* only while phase is not NONE */
	int			open_files;
} ProtocolState;

typedef enum ProtocolCall
{
	CALL_BEGIN,
	CALL_GET_ATTACH_INFO,
	CALL_OPEN_ATTACHED,			/* OpenFile of a file of the attach list */
	CALL_OPEN_LOG,				/* OpenFile of a listed log or patch file */
	CALL_OPEN_OTHER,			/* OpenFile of any other name */
	CALL_OPEN_STREAM,
	CALL_READ_FILE,
	CALL_CLOSE_FILE,
	CALL_GET_LOG_INFO,
	CALL_TRUNCATE_LOG,
	CALL_END_NORMAL,
	CALL_END_ABORT,
	CALL_STOP,
	CALL_TERM,					/* without a bit that ends a backup */
	CALL_TERM_STOP,
} ProtocolCall;

#define PROTOCOL_CALLS (CALL_TERM_STOP + 1)

/* The columns of the table. */
typedef enum ProtocolColumn
{
	COLUMN_NONE,
	COLUMN_STARTING,
	COLUMN_DATABASES,
	COLUMN_DATABASES_OPEN,
	COLUMN_LOGS,
	COLUMN_LOGS_OPEN,
	COLUMN_STOPPED,
	COLUMN_STOPPED_OPEN,
} ProtocolColumn;

#define PROTOCOL_COLUMNS (COLUMN_STOPPED_OPEN + 1)

/*
 * May this call be made now?  Returns JET_errSuccess or the error with which
 * it is refused.  Changes nothing.
 */
extern int	protocol_check(const ProtocolState *state, ProtocolCall call);

/* The state after the call has succeeded. */
extern ProtocolState protocol_next(ProtocolState state, ProtocolCall call);

/* For the documentation and for messages. */
extern ProtocolColumn protocol_column(const ProtocolState *state);
extern const char *protocol_column_name(ProtocolColumn column);
extern const char *protocol_call_name(ProtocolCall call);
extern const char *protocol_function_name(ProtocolCall call);
extern const char *protocol_phase_name(BackupPhase phase);

#endif							/* ESE_PROTOCOL_H */
