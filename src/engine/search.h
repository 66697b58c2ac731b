/*-------------------------------------------------------------------------
 *
 * search.h
 *	  Tasks on a backup that is read: find it; read what lies in it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_SEARCH_H
#define ESE_SEARCH_H

#include "inventory.h"
#include "logchain.h"
#include "pathwork.h"

/*
 * Find the backup in a directory: there, or in "new" or "old" of an atomic
 * one.
 */
typedef struct Search
{
	PathTask	task;
	char		path[PATH_SIZE];	/* given; then where it is */

	/* result */
	bool		tar;
	int			directory;		/* descriptor */
} Search;

extern Search *search_new(const char *path);

/* Read a file as a whole. */
typedef struct FileReading
{
	PathTask	task;
	int			directory;		/* stays open */
	char		name[PATH_SIZE];
	uint64_t	most;			/* a longer one is refused */

	/* result */
	bool		absent;
	char	   *bytes;			/* malloc'd, with a NUL behind them */
	size_t		length;
} FileReading;

extern FileReading *file_reading_new(int directory, const char *path,
									 const char *name, uint64_t most);

/* Read its manifest. */
typedef struct InventoryReading
{
	PathTask	task;
	int			directory;		/* stays open */
	Inventory  *inventory;		/* result; who takes it leaves NULL */
} InventoryReading;

extern InventoryReading *inventory_reading_new(int directory,
											   const char *path);

/* Read the index of a backup, or the manifests of its logs. */
typedef struct ChainReading
{
	PathTask	task;
	int			directory;		/* stays open */
	bool		tar;
	bool		manifests;		/* after the index */
	LogChain	chain;			/* who takes it clears its own */
} ChainReading;

extern ChainReading *chain_reading_new(int directory, const char *path);

#endif							/* ESE_SEARCH_H */
