/*-------------------------------------------------------------------------
 *
 * queue.c
 *	  The common queue of files.
 *
 *-------------------------------------------------------------------------
 */
#include "queue.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct EngQueue
{
	pthread_mutex_t mutex;		/* protects 'next' and 'order' */
	FileEntry  *entries;
	uint32_t   *rank;			/* by index: its place in the order */
	LogAccount *account;
	uint32_t	count;
	uint32_t	next;			/* order[next..] is waiting, by rank */
	uint32_t	order[];
};

/* The place of each entry in the order; NULL when memory is out. */
static uint32_t *
make_ranks(const uint32_t *order, uint32_t count)
{
	uint32_t	largest = 0;
	uint32_t   *rank;

	for (uint32_t i = 0; i < count; i++)
		largest = order[i] > largest ? order[i] : largest;
	rank = malloc(((size_t) largest + 1) * sizeof(uint32_t));
	for (uint32_t i = 0; i < count && rank != NULL; i++)
		rank[order[i]] = i;
	return rank;
}

EngQueue *
eng_queue_new(FileEntry *entries, const uint32_t *order, uint32_t count)
{
	EngQueue   *queue = malloc(sizeof(EngQueue) + count * sizeof(uint32_t));

	if (queue == NULL)
		return NULL;
	queue->rank = make_ranks(order, count);
	if (queue->rank == NULL)
	{
		free(queue);
		return NULL;
	}
	pthread_mutex_init(&queue->mutex, NULL);
	queue->entries = entries;
	queue->account = NULL;
	queue->count = count;
	queue->next = 0;
	memcpy(queue->order, order, count * sizeof(uint32_t));
	return queue;
}

void
eng_queue_free(EngQueue *queue)
{
	pthread_mutex_destroy(&queue->mutex);
	free(queue->rank);
	free(queue);
}

void
eng_queue_set_account(EngQueue *queue, LogAccount *account)
{
	queue->account = account;
}

LogAccount *
eng_queue_account(const EngQueue *queue)
{
	return queue->account;
}

FileEntry *
eng_queue_entry(EngQueue *queue, uint32_t index)
{
	return &queue->entries[index];
}

uint32_t
eng_queue_waiting(EngQueue *queue)
{
	uint32_t	waiting;

	pthread_mutex_lock(&queue->mutex);
	waiting = queue->count - queue->next;
	pthread_mutex_unlock(&queue->mutex);
	return waiting;
}

bool
eng_queue_take(EngQueue *queue, uint32_t *index)
{
	bool		taken;

	pthread_mutex_lock(&queue->mutex);
	taken = queue->next < queue->count;
	if (taken)
	{
		*index = queue->order[queue->next++];
		queue->entries[*index].status = FILE_IN_STREAM;
	}
	pthread_mutex_unlock(&queue->mutex);
	return taken;
}

void
eng_queue_return(EngQueue *queue, uint32_t index)
{
	uint32_t	at;

	pthread_mutex_lock(&queue->mutex);
	at = --queue->next;
	while (at + 1 < queue->count &&
		   queue->rank[queue->order[at + 1]] < queue->rank[index])
	{
		queue->order[at] = queue->order[at + 1];
		at++;
	}
	queue->order[at] = index;
	queue->entries[index].status = FILE_UNREAD;
	pthread_mutex_unlock(&queue->mutex);
}
