/*-------------------------------------------------------------------------
 *
 * escape.h
 *	  Bytes as a printable escape string: E'base/caf\xe9'.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_ESCAPE_H
#define ESE_ESCAPE_H

#include <stdbool.h>
#include <stddef.h>

/* Does it begin with E' ? */
extern bool escape_looks_escaped(const char *text);

/* Bytes, with the NUL, that the escape string of these takes at most. */
extern size_t escape_room(const char *bytes);

/*
 * Write the escape string of these bytes: quote and backslash become \' and
 * \\, what is not printable ASCII becomes \xHH.
 */
extern void escape_encode(const char *bytes, char *text);

/*
 * The bytes of an escape string; needs as much room as the text.  False when
 * it is malformed or has something after its end; nothing can become a NUL.
 */
extern bool escape_decode(const char *text, char *bytes);

/* The value of a hexadecimal digit; -1 for another character. */
extern int	hex_digit(char c);

#endif							/* ESE_ESCAPE_H */
