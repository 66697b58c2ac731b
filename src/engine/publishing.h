/*-------------------------------------------------------------------------
 *
 * publishing.h
 *	  A backup becomes part of a directory: its files get their names, and the
 *	  backup index says so.
 *
 * Directory operations alone, relative to a descriptor; errors are values.  A
 * thread that can be left alone with a hanging disk may run them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_PUBLISHING_H
#define ESE_PUBLISHING_H

#include "backupindex.h"

/* What failed. */
typedef struct PublishingError
{
	const char *what;			/* "rename file" */
	char		name[DOCUMENT_MAX_PATH + 32];
	int			sys_errno;		/* 0: the index is damaged, see problem */
	DocumentProblem problem;
} PublishingError;

/*
 * An incremental backup that is to be published.  Its files bear the suffix,
 * and are durable.  All memory is malloc'd and belongs to it.
 */
typedef struct Publishing
{
	int			directory;		/* not closed with it */
	unsigned	mode;			/* of the index */
	const char *suffix;
	BackupIndex index;			/* as it was, with the new link in "adding" */
	IndexArchive archive;		/* tar: of the new link */
	char	  **names;			/* of its files, in the order to rename them */
	uint32_t	name_count;
	char	  **leftovers;		/* of backups that were interrupted when they
								 * were published; they may be absent */
	uint32_t	leftover_count;
	uint32_t	next;			/* step */
} Publishing;

typedef enum PublishingStep
{
	PUBLISHING_FAILED,			/* what it has done stays: the next backup
								 * goes over it */
	PUBLISHING_MORE,
	PUBLISHING_DONE,
} PublishingStep;

/* Append a name; false when memory is out. */
extern bool publishing_add_name(Publishing *publishing, const char *name);
extern bool publishing_add_leftover(Publishing *publishing,
									const char *name);
extern void publishing_free(Publishing *publishing);

/*
 * Take the next step: the index that announces the link, one rename after the
 * other, the leftovers, the index that has the link.
 */
extern PublishingStep publishing_step(Publishing *publishing,
									  PublishingError *error);

/*
 * Read the index of a directory, which must be cleared later.  True when there
 * is none, too: then it has no links.  False and *error when it is damaged.
 */
extern bool publishing_read_index(int directory, bool tar,
								  BackupIndex *index,
								  PublishingError *error);

/* Replace it, durably, so that there is always one; also the first one. */
extern bool publishing_write_index(int directory, unsigned mode,
								   const char *suffix, BackupIndex *index,
								   PublishingError *error);

#endif							/* ESE_PUBLISHING_H */
