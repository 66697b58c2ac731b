/*-------------------------------------------------------------------------
 *
 * queue.h
 *	  The files of a phase of a backup, to be taken by several threads.
 *
 * Who has finished a file takes the next one, so that together they carry
 * every file exactly once.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_QUEUE_H
#define ESE_QUEUE_H

#include "logaccount.h"

typedef struct EngQueue EngQueue;

/*
 * A queue over entries, in the given order (copied).  NULL when memory is
 * out.  Freed when nobody takes from it any more.
 */
extern EngQueue *eng_queue_new(FileEntry *entries, const uint32_t *order,
							   uint32_t count);
extern void eng_queue_free(EngQueue *queue);

/*
 * The account of the files in it, when they are logs; NULL otherwise.  To be
 * set before anybody takes one.
 */
extern void eng_queue_set_account(EngQueue *queue, LogAccount *account);
extern LogAccount *eng_queue_account(const EngQueue *queue);

/* The entry of an index. */
extern FileEntry *eng_queue_entry(EngQueue *queue, uint32_t index);

/* Files that nobody has taken. */
extern uint32_t eng_queue_waiting(EngQueue *queue);

/* The next file; false when none is waiting. */
extern bool eng_queue_take(EngQueue *queue, uint32_t *index);

/*
 * Give a file back: it is taken again before what comes behind it in the
 * queue's order, whoever gives back what, and when.  Several are best given
 * back from the last one on.
 */
extern void eng_queue_return(EngQueue *queue, uint32_t index);

#endif							/* ESE_QUEUE_H */
