/*-------------------------------------------------------------------------
 *
 * client.h
 *	  Checks that the functions of a backup have in common.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_CLIENT_H
#define ESE_CLIENT_H

#include "call.h"

/*
 * In a CALL outside a transaction block: give up the snapshot, which would
 * hold back VACUUM for as long as the call takes.  False elsewhere; an ERROR
 * at an isolation level that keeps it.
 */
extern bool client_leave_snapshot(FunctionCallInfo fcinfo,
								  const char *procedure);

/* Fill in the label of a backup that is to begin. */
extern void client_set_label(Request *request, FunctionCallInfo fcinfo,
							 int arg);

/* The argument "backup": 0 when it is not given. */
extern int64 client_backup_argument(FunctionCallInfo fcinfo, int arg);

/* The row (handle, size or number of bytes) of an answer. */
extern Datum client_handle_row(FunctionCallInfo fcinfo, const Answer *answer);

#endif							/* ESE_CLIENT_H */
