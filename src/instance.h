/*-------------------------------------------------------------------------
 *
 * instance.h
 *	  Instances as the SQL functions see them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_INSTANCE_H
#define ESE_INSTANCE_H

#include "shared.h"

/* The instance of an argument; J1003 when it is null or there is none. */
extern EseInstance *instance_get(FunctionCallInfo fcinfo, int arg);

/* ... that runs, or is about to again; else J1029. */
extern EseInstance *instance_get_running(FunctionCallInfo fcinfo, int arg);

/*
 * J0505 while another Begin waits for its checkpoint: the worker serves nobody
 * then, so say so at once instead of queueing behind it.
 */
extern void instance_refuse_starting(EseInstance *instance);

extern const char *instance_state_name(InstanceState state);

/* Set the state under the instance lock, and tell who waits. */
extern void instance_set_state(EseInstance *instance, InstanceState state);

#endif							/* ESE_INSTANCE_H */
