/*-------------------------------------------------------------------------
 *
 * pathwork.h
 *	  Work on paths that may hang: one thread a task.
 *
 * A system call on a disk that is frozen, or on a network that is gone, does
 * not return, and nothing can end it.  So whatever is done to a path that is
 * not the server's own is done by a thread, while the owner waits as long as
 * it wants to.  A task whose result nobody wants any more is cancelled: its
 * thread does nothing more when the call it is in returns, but for undoing
 * what it has just made.
 *
 * The owner keeps a task until it is done.  What runs in it asks now and then
 * whether it is still wanted (path_cancelled()) and shows that it gets on
 * (path_step()).  Outside of a task these do nothing.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_PATHWORK_H
#define ESE_PATHWORK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Room for a path, as the server has it (MAXPGPATH). */
#define PATH_SIZE 1024

/* So deep directories may lie in each other: the stack of a thread is small. */
#define PATH_MAX_DEPTH 100

/* Why something about a path failed. */
typedef struct TargetError
{
	int			jet;			/* JetErr */
	char text[	512];
} TargetError;

typedef struct PathTask PathTask;

/* First in what a task works on, which is zero to begin with. */
struct PathTask
{
	/* the owner's, before path_start() */
	bool		(*run) (PathTask *task, TargetError *error);
	char		path[PATH_SIZE];	/* what it works on, for messages */
	bool		has_points;		/* stop at path_point() for the owner */

	/* the task's; the owner's when it is done */
	bool		good;			/* what run() has returned */
	TargetError error;			/* if it is not */

	PathTask   *next;			/* the owner's */

	/*
	 * Undo what it has brought about: for who has its memory when it is done
	 * and wanted no more.  It may hang as well.  NULL: nothing.
	 */
	void		(*undo) (PathTask *task);

	/* What it holds is freed; NULL: nothing but itself. */
	void		(*release) (PathTask *task);

	/* internal */
	pthread_t	thread;
	_Atomic bool done;
	_Atomic bool cancelled;
	_Atomic uint64_t steps;
	const char *_Atomic point;
};

/*
 * Readable when a task is done, or waits at a point; path_drain() makes it
 * quiet.  -1 and errno when it could not be made.
 */
extern int	path_event_fd(void);
extern void path_drain(void);

/* Owner: false and errno when there is no thread for it. */
extern bool path_start(PathTask *task);

/*
 * Is it over?  Then good and error are valid, and the memory is the owner's
 * again.
 */
extern bool path_is_done(PathTask *task);

/* Owner: free it; nothing for NULL. */
extern void path_free(PathTask *task);

/* It is not wanted any more. */
extern void path_cancel(PathTask *task);

/* Changes as long as it gets on. */
extern uint64_t path_steps(PathTask *task);

/* The point at which it waits, or NULL; and let it go on. */
extern const char *path_waits_at(PathTask *task);
extern void path_go_on(PathTask *task);

/* In a task: is it unwanted? */
extern bool path_cancelled(void);

/* In a task: something has been done.  False when it is unwanted. */
extern bool path_step(void);

/* In a task: a place where tests fail or wait; the owner does that. */
extern void path_point(const char *name);

#endif							/* ESE_PATHWORK_H */
