/*-------------------------------------------------------------------------
 *
 * worker.h
 *	  The background worker of an instance.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_WORKER_H
#define ESE_WORKER_H

#include "shared.h"

struct BackgroundWorker;

/* launcher.c, at preload: what starts instances with the server. */
extern void launcher_register(void);

/* What all processes of this extension have in common. */
extern void worker_fill_registration(struct BackgroundWorker *registration,
									 const char *function, const char *name,
									 Datum arg);

/* Register the worker of an instance; false when no worker slot is free. */
extern bool worker_start(EseInstance *instance);

/* Have the worker look at its slot. */
extern void worker_wake(EseInstance *instance);

/*
 * End the wait of a Begin that is starting: a latch does not end the wait
 * for a checkpoint, a signal does.  No effect on a worker that does not.
 */
extern void worker_interrupt_begin(EseInstance *instance);

#endif							/* ESE_WORKER_H */
