/*-------------------------------------------------------------------------
 *
 * message.h
 *	  Sending large messages to the client without copying them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_MESSAGE_H
#define ESE_MESSAGE_H

/*
 * Make the session's connection ready for large messages: a larger socket
 * buffer, and messages that go to the socket from where they lie, whoever
 * sends them.  Lasts until the session ends; no effect without a client.
 */
extern void message_prepare(void);

/*
 * Send one message.  No error can cut it: it is sent, or the session ends.
 */
extern void message_send(char type, const char *bytes, size_t length);

#endif							/* ESE_MESSAGE_H */
