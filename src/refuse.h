/*-------------------------------------------------------------------------
 *
 * refuse.h
 *	  Answers to calls that cannot be served: what is wrong, and what next.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_REFUSE_H
#define ESE_REFUSE_H

#include "call.h"
#include "engine/options.h"
#include "engine/protocol.h"

struct Worker;

/*
 * Does the call accept all of these option bits?  True when it was refused:
 * the answer names those that it does not.
 */
extern bool refuse_options(Answer *answer, OptionCall call, int32 grbit);

/* A call in the wrong phase, or with handles open (J0521). */
extern void refuse_sequence(struct Worker *worker, Call *call,
							ProtocolCall protocol_call);

#endif							/* ESE_REFUSE_H */
