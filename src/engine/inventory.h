/*-------------------------------------------------------------------------
 *
 * inventory.h
 *	  What a backup must consist of: its manifest, read.
 *
 * The layout is the one that servers write (and manifest.c): one file or WAL
 * range a line.  Anything else is refused.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_INVENTORY_H
#define ESE_INVENTORY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "digest.h"
#include "manifest.h"

typedef struct InventoryFile
{
	char	   *path;			/* relative, without "..": safe to make */
	uint64_t	size;
	DigestValue digest;
	_Atomic bool seen;			/* it was found, and is what it must be */
	const struct InventoryFile *or_else;	/* what it may be as well, or NULL */
} InventoryFile;

typedef struct Inventory
{
	InventoryFile *files;		/* sorted by path */
	uint32_t	count;
	uint32_t	room;
	ManifestWalRange *ranges;	/* newest timeline first; at least one */
	uint32_t	range_count;
	DigestKind	digest;			/* of all files */
	uint64_t	system_identifier;	/* 0 in version 1 */
	char		checksum[DOCUMENT_CHECKSUM_SIZE];	/* its own */
} Inventory;

/*
 * Read a manifest.  NULL when it is damaged, or none: then *why is a phrase,
 * and *line the line it is about (0 for the whole).
 */
extern Inventory *inventory_read(const char *bytes, size_t length,
								 const char **why, uint32_t *line);
extern void inventory_free(Inventory *inventory);

/* NULL when there is no such file. */
extern InventoryFile *inventory_find(const Inventory *inventory,
									 const char *path);

/* A file of this size and digest was found: is it what it must be? */
extern bool inventory_matches(const InventoryFile *file, uint64_t size,
							  const DigestValue *digest);

/*
 * Add the files of another one, as copies, but for those that are in it
 * already.  False when memory is out.
 */
extern bool inventory_merge(Inventory *inventory, const Inventory *others);

/* The first file that was not seen, or NULL. */
extern const InventoryFile *inventory_first_unseen(const Inventory *inventory);

/*
 * Parts of reading, for other documents that list files and WAL: an element
 * of each list (arg is the inventory), and the order by path in the end, where
 * no path may come twice.
 */
extern bool inventory_add_file(DocumentReader *reader, const json_t *object,
							   void *arg);
extern bool inventory_add_range(DocumentReader *reader, const json_t *object,
								void *arg);
extern bool inventory_sort(DocumentReader *reader, Inventory *inventory);

/* A path that cannot lead out of the directory it is relative to. */
extern bool path_is_inside(const char *path);

#endif							/* ESE_INVENTORY_H */
