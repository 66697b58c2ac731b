/*-------------------------------------------------------------------------
 *
 * survive.h
 *	  Errors that end a call or a backup, but not the worker.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_SURVIVE_H
#define ESE_SURVIVE_H

#include "backup.h"

/* A step of the worker, on behalf of a call or (NULL) on its own. */
typedef void (*WorkerStep) (Worker *worker, Call *call);

/* What an error of the step says about the backup that is open. */
typedef enum StepSubject
{
	STEP_BACKUP,				/* it cannot go on */
	STEP_CALL,					/* nothing: only the call has failed */
} StepSubject;

/*
 * Run a step.  An error that could be foreseen is the answer of its call, and
 * ends the backup it is about with that reason and number; the worker goes
 * on.  Another one is answered and kept likewise, and raised again.
 */
extern void survive(Worker *worker, Call *call, WorkerStep step,
					StepSubject subject);

/*
 * In a PG_CATCH: the worker ends of this error.  Keep why: ese_init(), the
 * view ese_instance and the history say it.
 */
extern void survive_note_death(Worker *worker);

/* The JET error that PostgreSQL's error is. */
extern int	survive_jet_error(const ErrorData *error);

/*
 * What the abort of a transaction would do for an error, but for the
 * replication slot that the backup holds.
 */
extern void survive_clean_up(void);

#endif							/* ESE_SURVIVE_H */
