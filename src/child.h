/*-------------------------------------------------------------------------
 *
 * child.h
 *	  Programs that the worker runs: one at a time in a process group of its
 *	  own, with its output in a file.
 *
 * A program is started by posix_spawn(), because the worker has threads; it
 * inherits neither descriptors nor blocked signals.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_CHILD_H
#define ESE_CHILD_H

typedef struct Child
{
	pid_t		pid;			/* 0: none runs */
	bool		controlled;		/* it ends when its control is closed */
	int			control;		/* write end of its standard input, or -1 */
	int			status;			/* as of waitpid(), once it has ended */
} Child;

/*
 * Start a program; argv ends with NULL.  Its standard input is empty, or
 * ("controlled") a pipe whose other end is child->control: it ends when the
 * worker does, however that may be.  "options" (or NULL) are those of its
 * sessions with a server.  False and errno when it does not start.
 */
extern bool child_start(Child *child, char *const argv[], const char *output,
						bool controlled, const char *options);

/* Did it end by itself?  Then with which status; else -1. */
extern int	child_exit_status(const Child *child);

/* Does it still run?  Reaps it. */
extern bool child_runs(Child *child);

/* Did it end with status 0? */
extern bool child_succeeded(const Child *child);

/*
 * End a child: close its control, wait a little, then kill its group.
 */
extern void child_end(Child *child, int patience_ms);

#endif							/* ESE_CHILD_H */
