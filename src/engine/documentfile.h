/*-------------------------------------------------------------------------
 *
 * documentfile.h
 *	  Reading documents from a directory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_DOCUMENTFILE_H
#define ESE_DOCUMENTFILE_H

#include "document.h"

/*
 * The bytes of a document, malloc'd.  Its checksum is looked at before it is
 * taken into memory, so a file that is none costs none, however long it is.
 * NULL when it cannot be read (*sys_errno, which is ENOENT when it is not
 * there), or (*sys_errno is 0) for what *problem says.
 */
extern char *document_load(int directory, const char *name, uint64_t max,
						   size_t *length, int *sys_errno,
						   DocumentProblem *problem);

#endif							/* ESE_DOCUMENTFILE_H */
