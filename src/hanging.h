/*-------------------------------------------------------------------------
 *
 * hanging.h
 *	  Where a thread of an instance hangs, for the sessions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_HANGING_H
#define ESE_HANGING_H

#include "shared.h"

/* The worker: it hangs there, or (empty) nowhere. */
extern void hanging_publish(EseInstance *instance, const char *path);

/* A session: a WARNING if any does, with the path for who may see it. */
extern void hanging_warn(EseInstance *instance);

#endif							/* ESE_HANGING_H */
