/*-------------------------------------------------------------------------
 *
 * message.c
 *	  Sending large messages to the client without copying them.
 *
 * libpq's buffer is 8 kB, and up to PostgreSQL 16 every message goes through
 * it piece by piece: for a frame of 256 KiB that is 32 copies and 32 calls.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/socket.h>

#include "libpq/libpq-be.h"
#include "libpq/libpq.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "tcop/dest.h"
#include "tcop/tcopprot.h"

#include "compat.h"
#include "message.h"

/* Messages of so many bytes go past libpq's buffer. */
#define LARGE_MESSAGE	(64 * 1024)

/* A socket that takes a few frames at once spares both sides some waits. */
#define SOCKET_BUFFER	(1024 * 1024)

static const PQcommMethods *former_methods;

/*
 * Write all bytes to the socket; libpq's buffer is empty.  Interrupts that
 * may end a session do.
 */
static void
write_all(const char *bytes, size_t length)
{
	while (length > 0)
	{
		ssize_t		written = secure_write(MyProcPort,
										   unconstify(char *, bytes), length);

		if (written <= 0 && errno != EINTR)
			ereport(FATAL,
					(errcode(ERRCODE_CONNECTION_FAILURE),
					 errmsg("connection to client lost")));
		if (written > 0)
		{
			bytes += written;
			length -= written;
		}
	}
}

void
message_send(char type, const char *bytes, size_t length)
{
	char		header[5];
	uint32		n = pg_hton32((uint32) length + 4);

	if (pq_flush() != 0)
		ereport(FATAL,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("connection to client lost")));
	header[0] = type;
	memcpy(header + 1, &n, sizeof(n));
	write_all(header, sizeof(header));
	write_all(bytes, length);
}

static int
put_message(char type, const char *bytes, size_t length)
{
	if (length < LARGE_MESSAGE)
		return former_methods->putmessage(type, bytes, length);
	message_send(type, bytes, length);
	return 0;
}

void
message_prepare(void)
{
	static PQcommMethods methods;
	int			size = SOCKET_BUFFER;

	if (MyProcPort == NULL || former_methods != NULL ||
		whereToSendOutput != DestRemote)
		return;
	/* where the system allows less, so be it */
	(void) setsockopt(MyProcPort->sock, SOL_SOCKET, SO_SNDBUF, &size,
					  sizeof(size));
	former_methods = PqCommMethods;
	methods = *PqCommMethods;
	if (COMPAT_CUTS_MESSAGES)
		methods.putmessage = put_message;
	PqCommMethods = &methods;
}
