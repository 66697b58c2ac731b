/*-------------------------------------------------------------------------
 *
 * tar.h
 *	  Headers of tar members (POSIX ustar, and pax for long names).
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_TAR_H
#define ESE_TAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TAR_BLOCK		512

/* An archive ends with two blocks of zeros. */
#define TAR_END_LENGTH	(2 * TAR_BLOCK)

/* Names are at most MAXPGPATH long. */
#define TAR_MAX_NAME	1024
#define TAR_MAX_HEADER	(2 * TAR_BLOCK + 3 * TAR_BLOCK)

/*
 * Write the header of a file or directory; returns its length, a multiple of
 * TAR_BLOCK of at most TAR_MAX_HEADER.  A name may have any bytes.
 */
extern size_t tar_header(char *to, const char *name, bool directory,
						 uint64_t size, int64_t modified,
						 uint32_t uid, uint32_t gid);

/* Zeros that follow the contents. */
static inline size_t
tar_padding(uint64_t size)
{
	return (size_t) (-size % TAR_BLOCK);
}

#endif							/* ESE_TAR_H */
