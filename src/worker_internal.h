/*-------------------------------------------------------------------------
 *
 * worker_internal.h
 *	  What the worker's main loop offers to the rest of the worker.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_WORKER_INTERNAL_H
#define ESE_WORKER_INTERNAL_H

#include "backup.h"

/* May SIGINT end what the worker does now (the start of a backup)? */
extern void worker_allow_interrupt(bool allow);

/* Have an engine with as many threads as the parameter says. */
extern void worker_prepare_engine(Worker *worker);

/* Start an engine, for which there is none. */
extern void worker_open_engine(Worker *worker);

/* Does a handle that is not yet closed belong to an engine? */
extern bool worker_has_files_of(Worker *worker, Engine *engine);

/*
 * Serve the calls that have come while the open backup, a native one, waits
 * for a path: all are refused, but one to terminate the instance may stop the
 * backup.
 */
extern void worker_serve_meanwhile(Worker *worker);

/* Show in pg_stat_activity what the worker is doing. */
extern void worker_show_activity(Worker *worker);

/* Is the server being shut down? */
extern bool worker_server_is_stopping(void);

#endif							/* ESE_WORKER_INTERNAL_H */
