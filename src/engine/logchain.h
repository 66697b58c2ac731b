/*-------------------------------------------------------------------------
 *
 * logchain.h
 *	  The logs of a backup and of its incrementals: are they those that were
 *	  written, one following the other?
 *
 * The backup index says which links there are and what is the checksum of each
 * one's log manifest; the manifests say what files there must be, and what each
 * link follows.  What a client has read over SQL has no index: there the
 * manifests that lie there are the chain.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_LOGCHAIN_H
#define ESE_LOGCHAIN_H

#include "backupindex.h"

/* Why a chain is refused. */
typedef struct ChainProblem
{
	int			jet;			/* JetErr */
	char		why[512];		/* a phrase */
} ChainProblem;

/* All zero is one of a backup without log manifests. */
typedef struct LogChain
{
	bool		has_index;
	BackupIndex index;
	LogManifest **links;		/* oldest first */
	uint32_t	count;
	LogManifest **leftovers;	/* of incrementals that were cut off */
	uint32_t	leftover_count;

	/* what recovery must come to, once it is checked */
	uint32_t	timeline;
	uint64_t	end_lsn;
	uint32_t	segment_size;
} LogChain;

/* Read the index of a backup; chain->has_index tells whether it has one. */
extern bool logchain_read_index(LogChain *chain, int directory, bool tar,
								ChainProblem *problem);

/* Then the log manifests, which lie below pg_wal in a directory. */
extern bool logchain_read_manifests(LogChain *chain, int directory,
									ChainProblem *problem);

/*
 * Does all of that fit together, with the backup's own manifest and with
 * pg_control's system identifier?
 */
extern bool logchain_check(LogChain *chain, const Inventory *inventory,
						   uint64_t system_identifier, ChainProblem *problem);

/*
 * From now on the inventory lists the logs as well: what the newest link says
 * of each.
 */
extern bool logchain_complete(LogChain *chain, Inventory *inventory,
							  ChainProblem *problem);
extern void logchain_clear(LogChain *chain);

/* Is a file below pg_wal, which nothing lists, a part of the chain itself? */
extern bool logchain_is_part(const LogChain *chain, const char *path);

/* Or one of an incremental backup that was cut off while it was published? */
extern bool logchain_is_leftover(const LogChain *chain, const char *path);
extern bool logchain_is_leftover_archive(const LogChain *chain,
										 const char *name);

/*
 * Is it a segment that may follow the end of the logs: of the same timeline,
 * and behind it?  Then which one is it, counted from the end on.
 */
extern bool logchain_is_beyond(const LogChain *chain, const char *path,
							   uint64_t *number);

/*
 * The WAL of all links, as ranges that pg_waldump can read one by one: an
 * older timeline up to the segment in which a newer one begins.  malloc'd,
 * oldest first; NULL when memory is out.
 */
extern ManifestWalRange *logchain_ranges(const LogChain *chain,
										 uint32_t *count);

/* A segment's name, with its NUL. */
#define LOGCHAIN_NAME_SIZE 25

extern void logchain_segment_name(char *name, uint32_t timeline,
								  uint64_t segment, uint32_t segment_size);

#endif							/* ESE_LOGCHAIN_H */
