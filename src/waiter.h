/*-------------------------------------------------------------------------
 *
 * waiter.h
 *	  A session that waits for what the worker does alone.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_WAITER_H
#define ESE_WAITER_H

#include "fmgr.h"

#include "shared.h"

/* A path of the server: absolute, canonical, and not too long. */
extern char *waiter_path(char *path);
extern char *waiter_path_argument(FunctionCallInfo fcinfo, int arg);

/*
 * Have the worker begin it; then wait until it has ended, and raise its
 * error.
 */
extern void waiter_execute(EseInstance *instance, const Request *request,
						   bool wait);

#endif							/* ESE_WAITER_H */
