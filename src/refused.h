/*-------------------------------------------------------------------------
 *
 * refused.h
 *	  The history of backups that were refused.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_REFUSED_H
#define ESE_REFUSED_H

#include "shared.h"

/*
 * In a PG_CATCH: a backup nobody waits for was refused with this error.  Leave
 * a row, for whoever looks in the morning.  Nothing is raised.
 */
extern void refused_record(EseInstance *instance, const Request *request);

#endif							/* ESE_REFUSED_H */
