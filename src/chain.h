/*-------------------------------------------------------------------------
 *
 * chain.h
 *	  What incremental backups rest on: the last truncating full backup, and
 *	  the replication slot that keeps WAL from one backup to the next.
 *
 * The slot is persistent and physical, "ese_<name of the instance>".  A good
 * backup whose logs were truncated moves it to the end of its logs; the first
 * full one makes it.  Only with circular_log = off.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_CHAIN_H
#define ESE_CHAIN_H

#include "access/xlogdefs.h"

#include "engine/logmanifest.h"
#include "shared.h"

typedef enum ChainState
{
	CHAIN_NONE,					/* no full backup was truncated */
	CHAIN_OK,
	CHAIN_BROKEN,				/* the slot is gone, or has lost its WAL, or
								 * all of it is that of the original */
} ChainState;

typedef struct Chain
{
	ChainState	state;
	bool		copied;			/* the data directory is a copy: its backups
								 * are the original's */
	bool		has_slot;
	bool		moved;			/* the slot gave up WAL that nobody has read */
	int			active_pid;		/* who holds the slot, or 0 */
	XLogRecPtr	restart_lsn;	/* WAL is there from here on */
	int64		backup_id;		/* the full backup; 0 for none */
	char		location[MAXPGPATH];
	int64		elsewhere_id;	/* an incremental one whose logs are not
								 * there; 0 for none */
	LogFollows	newest;			/* the newest link; its checksum is empty when
								 * it has no log manifest */
} Chain;

extern const char *chain_state_name(ChainState state);

/* palloc'd */
extern char *chain_slot_name(const EseInstance *instance);

/* Look at slot and history. */
extern void chain_look(const EseInstance *instance, Chain *chain);

/* Bytes of WAL that its slot keeps; 0 when there is none. */
extern int64 chain_wal_retained(const Chain *chain);

/*
 * The incrementals that began to be published after the chain's newest link,
 * but have not completed; palloc'd, without end_lsn.
 */
extern LogFollows *chain_unfinished(const EseInstance *instance, int *count);

/*
 * Could the slot be moved, or made?  Not when there is none yet and
 * max_replication_slots are in use.
 */
extern bool chain_can_advance(const EseInstance *instance);

/*
 * Worker: WAL before this is in backups.  To be called when that is on
 * record: a slot that lags behind keeps too much, one that has hurried ahead
 * would lose something.
 */
extern void chain_advance(const EseInstance *instance, XLogRecPtr to);

/*
 * Give up the chain: its slot is dropped, if it is this chain's and nobody
 * holds it.
 */
extern void chain_drop(const EseInstance *instance);

/*
 * The name of the slot, if it exists and the records say that the instance
 * has made one; NULL otherwise: one that merely bears the name is somebody
 * else's.  palloc'd.
 */
extern char *chain_own_slot(const EseInstance *instance);

/* ERROR when somebody holds this slot. */
extern void chain_refuse_active(const char *slot);

/* Why incremental backups cannot follow a broken chain: a sentence, palloc'd. */
extern char *chain_describe_break(const EseInstance *instance,
								  const Chain *chain);

#endif							/* ESE_CHAIN_H */
