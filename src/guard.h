/*-------------------------------------------------------------------------
 *
 * guard.h
 *	  What looks after the WAL that a chain keeps.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_GUARD_H
#define ESE_GUARD_H

#include "shared.h"

/*
 * Give up the chain when it keeps more WAL than the parameters allow, or when
 * it is that of the original of a copied data directory.  Called by the worker
 * while there is one, else by the launcher.
 */
extern void guard_chain(EseInstance *instance);

#endif							/* ESE_GUARD_H */
