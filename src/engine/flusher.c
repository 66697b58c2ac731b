/*-------------------------------------------------------------------------
 *
 * flusher.c
 *	  A thread that makes durable what others write, while they go on.
 *
 *-------------------------------------------------------------------------
 */
#include "flusher.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "job.h"
#include "thread.h"

/* Small enough that little is left to do when the backup is complete. */
#define FLUSH_AFTER (32 * 1024 * 1024)

struct Flusher
{
	Engine	   *engine;
	pthread_t	thread;
	_Atomic uint64_t unflushed;
	_Atomic bool busy;			/* who sets it may set fd and flushing */
	_Atomic uint64_t backup;	/* how many backups have begun */
	_Atomic uint64_t flushing;	/* the backup whose file it is */
	_Atomic int error;			/* of this backup */

	pthread_mutex_t mutex;
	pthread_cond_t work;		/* fd or shutdown was set */
	pthread_cond_t ended;

	/* under mutex */
	int			fd;				/* waits to be flushed; -1: none */
	bool		shutdown;
	bool		has_ended;
};

static bool
is_of_this_backup(Flusher *flusher)
{
	return atomic_load(&flusher->flushing) == atomic_load(&flusher->backup);
}

/* Flush a file, and be free for the next. */
static void
flush(Flusher *flusher, int fd)
{
	if (fdatasync(fd) != 0 && is_of_this_backup(flusher))
		atomic_store(&flusher->error, errno);
	close(fd);
	atomic_store(&flusher->busy, false);
	eng_notify(flusher->engine);
}

static void *
flusher_main(void *arg)
{
	Flusher    *flusher = arg;

	pthread_mutex_lock(&flusher->mutex);
	while (!flusher->shutdown)
	{
		int			fd = flusher->fd;

		if (fd < 0)
		{
			pthread_cond_wait(&flusher->work, &flusher->mutex);
			continue;
		}
		flusher->fd = -1;
		pthread_mutex_unlock(&flusher->mutex);
		flush(flusher, fd);
		pthread_mutex_lock(&flusher->mutex);
	}
	flusher->has_ended = true;
	pthread_cond_signal(&flusher->ended);
	pthread_mutex_unlock(&flusher->mutex);
	return NULL;
}

static void
free_flusher(Flusher *flusher)
{
	pthread_cond_destroy(&flusher->work);
	pthread_cond_destroy(&flusher->ended);
	pthread_mutex_destroy(&flusher->mutex);
	free(flusher);
}

Flusher *
flusher_start(Engine *engine, int *sys_errno)
{
	Flusher    *flusher = calloc(1, sizeof(Flusher));

	if (flusher == NULL)
	{
		*sys_errno = ENOMEM;
		return NULL;
	}
	flusher->engine = engine;
	flusher->fd = -1;
	pthread_mutex_init(&flusher->mutex, NULL);
	thread_init_condition(&flusher->work);
	thread_init_condition(&flusher->ended);
	*sys_errno = thread_start(&flusher->thread, flusher_main, flusher);
	if (*sys_errno == 0)
		return flusher;
	free_flusher(flusher);
	return NULL;
}

bool
flusher_end(Flusher *flusher, const struct timespec *until)
{
	bool		has_ended;

	flusher_cancel(flusher);
	pthread_mutex_lock(&flusher->mutex);
	flusher->shutdown = true;
	pthread_cond_signal(&flusher->work);
	while (!flusher->has_ended &&
		   pthread_cond_timedwait(&flusher->ended, &flusher->mutex, until) == 0)
		;
	has_ended = flusher->has_ended;
	pthread_mutex_unlock(&flusher->mutex);
	if (!has_ended)
		return false;
	pthread_join(flusher->thread, NULL);
	free_flusher(flusher);
	return true;
}

void
flusher_note(Flusher *flusher, int fd, uint64_t bytes)
{
	uint64_t	unflushed = atomic_fetch_add(&flusher->unflushed, bytes) + bytes;
	int			mine;

	if (unflushed < FLUSH_AFTER || atomic_exchange(&flusher->busy, true))
		return;
	/* the writer may close its own before we have come to it */
	mine = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (mine < 0)
	{
		/* then the sync at the end does it */
		atomic_store(&flusher->busy, false);
		return;
	}
	atomic_store(&flusher->unflushed, 0);
	atomic_store(&flusher->flushing, atomic_load(&flusher->backup));
	pthread_mutex_lock(&flusher->mutex);
	flusher->fd = mine;
	pthread_cond_signal(&flusher->work);
	pthread_mutex_unlock(&flusher->mutex);
}

bool
flusher_is_busy(Flusher *flusher)
{
	return atomic_load(&flusher->busy) && is_of_this_backup(flusher);
}

int
flusher_error(Flusher *flusher)
{
	return atomic_load(&flusher->error);
}

void
flusher_begin(Flusher *flusher)
{
	atomic_fetch_add(&flusher->backup, 1);
	atomic_store(&flusher->unflushed, 0);
	atomic_store(&flusher->error, 0);
}

void
flusher_cancel(Flusher *flusher)
{
	int			fd;

	pthread_mutex_lock(&flusher->mutex);
	fd = flusher->fd;
	flusher->fd = -1;
	pthread_mutex_unlock(&flusher->mutex);
	if (fd < 0)
		return;
	close(fd);
	atomic_store(&flusher->busy, false);
}
