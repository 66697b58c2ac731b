/*-------------------------------------------------------------------------
 *
 * registry.h
 *	  The definitions of all instances, in shared memory and in ese/state.
 *
 * The file also keeps the next ids, so that none is ever given out twice,
 * and the identity of this data directory, so that a copy of it is recognised:
 * instances of a copy load stopped, and their chains are broken.
 *
 * A change is written first and made in memory when it is on disk, under the
 * registry's record lock: one that fails has changed nothing.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_REGISTRY_H
#define ESE_REGISTRY_H

#include "shared.h"

/* What is on record of an instance. */
typedef struct Definition
{
	int32		id;				/* 0: it does not exist */
	char		name[ESE_NAME_LENGTH];
	char		display_name[ESE_DISPLAY_LENGTH];
	bool		enabled;
	int64		copied_at;
	int64		chain_floor;
	Parameters	params;
} Definition;

/* Read ese/state, unless somebody has.  ERROR when it cannot be used. */
extern void registry_load(void);

/* The same, for the launcher, which goes on without. */
extern bool registry_try_load(FileProblem *problem);

/*
 * The slot of an id, or of a name, or NULL.  Loads the registry first.  A
 * slot stays what it is while its instance exists; who goes on with it after
 * a drop finds that out at its next look at the id.
 */
extern EseInstance *registry_find(int32 id);
extern EseInstance *registry_find_name(const char *name);

/* The same for who knows that the registry is loaded. */
extern EseInstance *registry_slot(int32 id);
extern EseInstance *registry_slot_of_name(const char *name);

/* Change definitions: begin, any number of changes, done. */
extern void registry_begin_change(void);
extern void registry_describe(EseInstance *instance, Definition *definition);
extern bool registry_change(EseInstance *instance, const Definition *to,
							FileProblem *problem);
extern void registry_end_change(void);

/* A new backup's id, durable; 0 when it cannot be. */
extern int64 registry_next_backup_id(FileProblem *problem);

/* Set and save whether the instance is to run. */
extern bool registry_set_enabled(EseInstance *instance, bool enabled,
								 FileProblem *problem);

/* It is not to run, in memory; registry_settle() saves that. */
extern void registry_force_disabled(EseInstance *instance);

/* Write ese/state again when it says something else than memory does. */
extern void registry_settle(void);

#endif							/* ESE_REGISTRY_H */
