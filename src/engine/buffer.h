/*-------------------------------------------------------------------------
 *
 * buffer.h
 *	  Bytes that grow by appending.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_BUFFER_H
#define ESE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

/* All zero is an empty buffer. */
typedef struct ByteBuffer
{
	char	   *data;			/* malloc'd, not NUL-terminated */
	size_t		length;
	size_t		room;
	bool		failed;			/* memory was out: the contents are void */
} ByteBuffer;

extern void buffer_append(ByteBuffer *buffer, const void *data, size_t length);

/* Append at most 511 bytes of formatted text. */
extern void buffer_format(ByteBuffer *buffer, const char *format,...)
			__attribute__((format(printf, 2, 3)));

/* Give the memory back; the buffer is empty again. */
extern void buffer_free(ByteBuffer *buffer);

#endif							/* ESE_BUFFER_H */
