/*-------------------------------------------------------------------------
 *
 * identity.h
 *	  Is this the data directory that a record was made in, or a copy?
 *
 * What a copy of the files cannot have is the inode of a file that is never
 * replaced, ese/identity: its number, its generation and the time of its
 * birth, which nobody can set.  A restart or a move within its file system
 * changes none of them.  Device numbers do change over reboots, and say
 * nothing.  A clone of the whole volume does have all of these; it is
 * recognised by the machine it is used on, or by its original, when that still
 * lies where it lay.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_IDENTITY_H
#define ESE_IDENTITY_H

#include "statefile.h"

/* "type:" and the bytes in hexadecimal */
#define IDENTITY_HANDLE_LENGTH 272

typedef struct Identity
{
	int64		system_identifier;
	int64		token[2];		/* random, the contents of ese/identity; 0
								 * when there is none */
	int64		inode;			/* of that file */
	int64		born;			/* ns; 0: the file system does not tell */
	char		handle[IDENTITY_HANDLE_LENGTH]; /* inode and generation;
												 * empty: not told, or not
												 * stable */
	int64		machine;		/* hash of /etc/machine-id; 0: there is none */
	char		path[MAXPGPATH];	/* of the data directory */
} Identity;

/* What this data directory is. */
extern bool identity_look(Identity *here, FileProblem *problem);

/* Give it an identity of its own: a new ese/identity. */
extern bool identity_renew(Identity *here, FileProblem *problem);

/*
 * Why is this not the directory of the record?  A clause; NULL when it is.
 */
extern const char *identity_difference(const Identity *record,
									   const Identity *here);

extern void identity_put(ByteBuffer *record, const Identity *identity);
extern void identity_get(RecordReader *reader, Identity *identity);

#endif							/* ESE_IDENTITY_H */
