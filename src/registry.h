/*-------------------------------------------------------------------------
 *
 * registry.h
 *	  The definitions of all instances, in shared memory and in ese/state.
 *
 * The file also keeps the next ids, so that none is ever given out twice,
 * and what identifies this data directory (system identifier, device and
 * inode), so that a copy of it is recognised: instances of a copy load
 * stopped.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_REGISTRY_H
#define ESE_REGISTRY_H

#include "shared.h"

/* Read ese/state, unless somebody has. */
extern void registry_load(void);

/* Write ese/state.  The registry lock is held exclusively. */
extern void registry_save(void);

/*
 * The slot of an id, or of a name, or NULL.  Loads the registry first.  A
 * slot stays what it is while its instance exists; who goes on with it after
 * a drop finds that out at its next look at the id.
 */
extern EseInstance *registry_find(int32 id);
extern EseInstance *registry_find_name(const char *name);

/* A new backup's id, durable. */
extern int64 registry_next_backup_id(void);

/* Set and save whether the instance is to run. */
extern void registry_set_enabled(EseInstance *instance, bool enabled);

#endif							/* ESE_REGISTRY_H */
