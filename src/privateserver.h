/*-------------------------------------------------------------------------
 *
 * privateserver.h
 *	  A server of our own on a restored data directory: it recovers it, and
 *	  nobody else can connect.
 *
 * It is this server's program, in a directory that only its user may enter,
 * which holds its socket, configuration and log; archiving, replication,
 * libraries and whatever else the restored configuration asks for are off.
 * It ends when the worker does.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_PRIVATESERVER_H
#define ESE_PRIVATESERVER_H

#include "catalog/pg_control.h"

#include "child.h"
#include "shared.h"

/* Names the socket: nobody else has one in that directory. */
#define PRIVATE_PORT "5432"

typedef enum PrivateServerState
{
	PRIVATE_STARTING,
	PRIVATE_READY,				/* it has recovered, and accepts connections */
	PRIVATE_ENDED,
} PrivateServerState;

typedef struct PrivateServer
{
	Child		child;
	char		home[MAXPGPATH];	/* the private directory; empty for none */
	int32		instance_id;
	char		data[MAXPGPATH];
} PrivateServer;

/*
 * Make the private directory.  A link under ese/ leads to it, so that it is
 * found again after a crash.  False and errno when that fails.
 */
extern bool private_make_home(PrivateServer *server, int32 instance_id);

/* Remove what a crash has left of an instance's private directory. */
extern void private_remove_stale(int32 instance_id);

/* A file in it, palloc'd. */
extern char *private_file(const PrivateServer *server, const char *name);

/*
 * Start the server on a data directory that is ready for recovery, to recover all WAL that is there or
 * (target is not empty) up to "setting=value".  control is its pg_control.
 */
extern bool private_start(PrivateServer *server, const char *data,
						  const ControlFileData *control, const char *target);

/* Does the file of its pid say that it accepts connections? */
extern bool private_is_ready(const char *pidfile);

/* Have it write a checkpoint and end. */
extern void private_shut_down(PrivateServer *server);

/* The end of what it has logged, palloc'd. */
extern char *private_log(const PrivateServer *server);

/* What it said last that explains its end, palloc'd. */
extern char *private_last_words(const PrivateServer *server);

/* End it at once, if it runs, and remove the private directory. */
extern void private_end(PrivateServer *server);

/*
 * What is not installed of what checks databases, palloc'd; NULL when all is
 * there.
 */
extern char *private_missing_check(void);

/*
 * Run one of the server's other programs there; argv[0] is its name.  What the
 * original's roles and databases set is not in force in its sessions.
 */
extern bool private_run(PrivateServer *server, Child *child, char *argv[]);

/* The first line that such a program has printed, palloc'd. */
extern char *private_output(const PrivateServer *server);

#endif							/* ESE_PRIVATESERVER_H */
