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
#include <sys/uio.h>

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

/* A message's type and length. */
#define HEADER_LENGTH	5

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

static bool
is_encrypted(const Port *port)
{
#ifdef ENABLE_GSS
	if (port->gss != NULL && port->gss->enc)
		return true;
#endif
	return port->ssl_in_use;
}

/*
 * As much of header and bytes as the socket takes now, in one call: a client
 * that is sent the header alone is woken for it alone.  Encryption has its own
 * ways; what is wrong with the connection shows when the rest is written.
 */
static size_t
send_together(const char *header, const char *bytes, size_t length)
{
	struct iovec parts[] = {
		{unconstify(char *, header), HEADER_LENGTH},
		{unconstify(char *, bytes), length},
	};
	struct msghdr message = {.msg_iov = parts,.msg_iovlen = lengthof(parts)};
	ssize_t		sent;

	if (is_encrypted(MyProcPort))
		return 0;
	sent = sendmsg(MyProcPort->sock, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	return sent < 0 ? 0 : (size_t) sent;
}

void
message_send(char type, const char *bytes, size_t length)
{
	char		header[HEADER_LENGTH];
	uint32		n = pg_hton32((uint32) length + 4);
	size_t		sent;

	if (pq_flush() != 0)
		ereport(FATAL,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("connection to client lost")));
	header[0] = type;
	memcpy(header + 1, &n, sizeof(n));
	sent = send_together(header, bytes, length);
	if (sent < HEADER_LENGTH)
	{
		write_all(header + sent, HEADER_LENGTH - sent);
		sent = HEADER_LENGTH;
	}
	write_all(bytes + sent - HEADER_LENGTH, length + HEADER_LENGTH - sent);
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
