/*-------------------------------------------------------------------------
 *
 * buffer.c
 *	  Bytes that grow by appending.
 *
 *-------------------------------------------------------------------------
 */
#include "buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
buffer_append(ByteBuffer *buffer, const void *data, size_t length)
{
	if (buffer->failed || length == 0)
		return;
	if (length > buffer->room - buffer->length)
	{
		size_t		room = (buffer->length + length) * 2;
		char	   *larger = realloc(buffer->data, room);

		if (larger == NULL)
		{
			buffer->failed = true;
			return;
		}
		buffer->data = larger;
		buffer->room = room;
	}
	memcpy(buffer->data + buffer->length, data, length);
	buffer->length += length;
}

void
buffer_format(ByteBuffer *buffer, const char *format,...)
{
	char text[	512];
	va_list		args;
	int			length;

	va_start(args, format);
	length = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (length < 0 || length >= (int) sizeof(text))
		buffer->failed = true;
	else
		buffer_append(buffer, text, (size_t) length);
}

void
buffer_free(ByteBuffer *buffer)
{
	free(buffer->data);
	memset(buffer, 0, sizeof(*buffer));
}
