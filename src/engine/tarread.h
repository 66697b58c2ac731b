/*-------------------------------------------------------------------------
 *
 * tarread.h
 *	  Reading headers of tar members: those that tar.c writes, no others.
 *
 * A header is written once more from what was read of it, and compared; so
 * there is no bit of it that may be different.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_TARREAD_H
#define ESE_TARREAD_H

#include "tar.h"

typedef struct TarMember
{
	char		name[TAR_MAX_NAME + 2]; /* of a directory without its slash */
	bool		directory;
	uint64_t	size;
} TarMember;

typedef enum TarHeader
{
	TAR_HEADER_PART,			/* more of it is needed */
	TAR_HEADER_MEMBER,
	TAR_HEADER_END,				/* a block of zeros: the end begins */
	TAR_HEADER_BAD,
} TarHeader;

/*
 * Look at the first bytes of a header, at least TAR_BLOCK of them.  *wanted is
 * its length, as far as these tell; TAR_MAX_HEADER at most.
 */
extern TarHeader tar_read_header(const char *bytes, size_t length,
								 size_t *wanted, TarMember *member);

/* Nothing but zeros? */
extern bool tar_is_zero(const char *bytes, size_t length);

#endif							/* ESE_TARREAD_H */
