/*-------------------------------------------------------------------------
 *
 * pool.c
 *	  The threads of an engine, their queue, and the engine's public face.
 *
 * One mutex protects the queue, the schedule of every job, errands and the
 * findings.
 * It is held for a few instructions at a time and never across a system call
 * other than the condition variables' own.
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "flusher.h"
#include "job.h"
#include "thread.h"

#define NS_PER_MS		UINT64_C(1000000)

/* A thread that waits for the rate limit looks about this often. */
#define MAX_NAP_NS		(20 * NS_PER_MS)

#define MAX_FINDINGS	256

struct Engine
{
	EngShared	shared;
	int			event_fd;
	_Atomic bool event_pending;

	pthread_mutex_t mutex;
	pthread_cond_t work;		/* the queue is not empty, or shutdown */
	pthread_cond_t quit;		/* stopping or shutdown was set */
	pthread_cond_t ended;		/* a thread ended */

	/* under mutex */
	EngJob	   *queue_head;
	EngJob	   *queue_tail;
	EngErrand  *errands;		/* that wait for a thread, oldest first */
	int			waiting;		/* how many these are */
	int			idle;			/* threads that wait for work */
	int			helping;		/* threads that run an errand */
	int			running;		/* jobs inside job_step(), and errands */
	int			live;			/* threads that have not ended */
	bool		shutdown;
	EngFinding	findings[MAX_FINDINGS];
	uint32_t	findings_in;	/* counters, modulo MAX_FINDINGS */
	uint32_t	findings_out;

	Flusher    *flusher;		/* NULL when it could not be started */
	int			nthreads;
	pthread_t	threads[ENG_MAX_THREADS];
	int			njobs;
	EngJob		jobs[];
};

/* Append a job to the queue; the mutex is held. */
static void
enqueue(Engine *engine, EngJob *job)
{
	job->schedule = JOB_QUEUED;
	job->next = NULL;
	if (engine->queue_tail)
		engine->queue_tail->next = job;
	else
		engine->queue_head = job;
	engine->queue_tail = job;
	pthread_cond_signal(&engine->work);
}

static EngJob *
dequeue(Engine *engine)
{
	EngJob	   *job = engine->queue_head;

	engine->queue_head = job->next;
	if (engine->queue_head == NULL)
		engine->queue_tail = NULL;
	return job;
}

/* Take an errand off the list; false when it is not there. */
static bool
take_errand(Engine *engine, EngErrand *errand)
{
	EngErrand **link = &engine->errands;

	while (*link != NULL && *link != errand)
		link = &(*link)->next;
	if (*link == NULL)
		return false;
	*link = errand->next;
	engine->waiting--;
	return true;
}

/* The owner may wait for the end of this: of a stop, or of a job. */
static void
notify_of_end(Engine *engine, EngJob *job)
{
	if (atomic_load(&engine->shared.stopping) ||
		atomic_load(&job->ring->state) != RING_OPEN ||
		atomic_load(&job->ring->finished))
		eng_notify(engine);
}

/* Run an errand; the mutex is held before and after. */
static void
run_errand(Engine *engine, EngErrand *errand)
{
	EngJob	   *job = errand->job;

	(void) take_errand(engine, errand);
	engine->helping++;
	engine->running++;
	pthread_mutex_unlock(&engine->mutex);

	errand->run(errand, &engine->shared);

	pthread_mutex_lock(&engine->mutex);
	engine->running--;
	engine->helping--;
	job->errands--;
	atomic_store(&errand->done, true);
	/* its job may have parked to wait for that */
	if (job->schedule == JOB_IDLE && !atomic_load(&engine->shared.stopping) &&
		atomic_load(&job->ring->state) == RING_OPEN)
		enqueue(engine, job);
	else
	{
		job->again = true;
		notify_of_end(engine, job);
	}
}

/* Run one step of one job; the mutex is held before and after. */
static void
run_step(Engine *engine, EngJob *job)
{
	JobOutcome	outcome;

	job->schedule = JOB_RUNNING;
	job->again = false;
	engine->running++;
	pthread_mutex_unlock(&engine->mutex);

	outcome = job_step(job, &engine->shared);

	pthread_mutex_lock(&engine->mutex);
	engine->running--;
	if ((outcome == JOB_MORE || job->again) &&
		!atomic_load(&engine->shared.stopping))
		enqueue(engine, job);
	else
	{
		job->schedule = JOB_IDLE;
		notify_of_end(engine, job);
	}
}

static void *
thread_main(void *arg)
{
	Engine	   *engine = arg;

	pthread_mutex_lock(&engine->mutex);
	for (;;)
	{
		while (engine->queue_head == NULL && engine->errands == NULL &&
			   !engine->shutdown)
		{
			engine->idle++;
			pthread_cond_wait(&engine->work, &engine->mutex);
			engine->idle--;
		}
		if (engine->shutdown)
			break;
		if (engine->errands != NULL)
			run_errand(engine, engine->errands);
		else
			run_step(engine, dequeue(engine));
	}
	engine->live--;
	pthread_cond_signal(&engine->ended);
	pthread_mutex_unlock(&engine->mutex);
	return NULL;
}

/* Returns 0 or an errno. */
static int
start_threads(Engine *engine, int threads)
{
	int			failure = 0;

	engine->flusher = flusher_start(engine, &failure);
	while (engine->nthreads < threads && failure == 0)
	{
		failure = thread_start(&engine->threads[engine->nthreads],
							   thread_main, engine);
		if (failure == 0)
		{
			engine->nthreads++;
			pthread_mutex_lock(&engine->mutex);
			engine->live++;
			pthread_mutex_unlock(&engine->mutex);
		}
	}
	return failure;
}

static void
free_engine(Engine *engine)
{
	for (int i = 0; i < engine->njobs; i++)
		job_free(&engine->jobs[i]);
	if (engine->event_fd >= 0)
		close(engine->event_fd);
	pthread_cond_destroy(&engine->work);
	pthread_cond_destroy(&engine->quit);
	pthread_cond_destroy(&engine->ended);
	pthread_mutex_destroy(&engine->mutex);
	free(engine);
}

Engine *
eng_open(int threads, int jobs, char *pool, int *sys_errno)
{
	Engine	   *engine;

	engine = calloc(1, sizeof(Engine) + (size_t) jobs * sizeof(EngJob));
	if (engine == NULL)
	{
		*sys_errno = ENOMEM;
		return NULL;
	}
	engine->shared.pool = pool;
	engine->njobs = jobs;
	for (int i = 0; i < jobs; i++)
		engine->jobs[i].engine = engine;
	pthread_mutex_init(&engine->mutex, NULL);
	thread_init_condition(&engine->work);
	thread_init_condition(&engine->quit);
	thread_init_condition(&engine->ended);

	engine->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (engine->event_fd < 0)
		*sys_errno = errno;
	else
		*sys_errno = start_threads(engine, threads);
	if (*sys_errno != 0)
	{
		eng_close(engine, 1000);
		return NULL;
	}
	return engine;
}

bool
eng_close(Engine *engine, int timeout_ms)
{
	struct timespec until = thread_timespec(throttle_now() +
											(uint64_t) timeout_ms * NS_PER_MS);
	bool		all_ended;

	eng_stop(engine);
	pthread_mutex_lock(&engine->mutex);
	engine->shutdown = true;
	pthread_cond_broadcast(&engine->work);
	while (engine->live > 0 &&
		   pthread_cond_timedwait(&engine->ended, &engine->mutex, &until) == 0)
		;
	all_ended = engine->live == 0;
	pthread_mutex_unlock(&engine->mutex);
	/* the threads may use the flusher up to their end */
	if (!all_ended ||
		(engine->flusher != NULL && !flusher_end(engine->flusher, &until)))
		return false;

	for (int i = 0; i < engine->nthreads; i++)
		pthread_join(engine->threads[i], NULL);
	free_engine(engine);
	return true;
}

int
eng_event_fd(const Engine *engine)
{
	return engine->event_fd;
}

void
eng_notify(Engine *engine)
{
	const uint64_t one = 1;

	/* the counter of an eventfd cannot overflow with one event pending */
	if (!atomic_exchange(&engine->event_pending, true))
		(void) !write(engine->event_fd, &one, sizeof(one));
}

void
eng_drain_events(Engine *engine)
{
	uint64_t	count;

	(void) !read(engine->event_fd, &count, sizeof(count));
	atomic_store(&engine->event_pending, false);
}

bool
eng_has_nothing_else(Engine *engine)
{
	bool		nothing;

	pthread_mutex_lock(&engine->mutex);
	nothing = engine->queue_head == NULL && engine->errands == NULL &&
		!engine->shutdown && !atomic_load(&engine->shared.stopping);
	pthread_mutex_unlock(&engine->mutex);
	return nothing;
}

bool
eng_offer(EngErrand *errand)
{
	Engine	   *engine = errand->job->engine;
	EngErrand **end = &engine->errands;
	bool		taken;

	pthread_mutex_lock(&engine->mutex);
	/* who helps finds the next one there, and need not be woken for it */
	taken = engine->idle + engine->helping > engine->waiting &&
		!engine->shutdown &&
		!atomic_load(&engine->shared.stopping);
	if (taken)
	{
		atomic_store(&errand->done, false);
		errand->job->errands++;
		while (*end != NULL)
			end = &(*end)->next;
		errand->next = NULL;
		*end = errand;
		engine->waiting++;
		pthread_cond_signal(&engine->work);
	}
	pthread_mutex_unlock(&engine->mutex);
	return taken;
}

bool
eng_withdraw(EngErrand *errand)
{
	Engine	   *engine = errand->job->engine;
	bool		withdrawn;

	pthread_mutex_lock(&engine->mutex);
	withdrawn = take_errand(engine, errand);
	if (withdrawn)
		errand->job->errands--;
	pthread_mutex_unlock(&engine->mutex);
	return withdrawn;
}

bool
eng_add_finding(Engine *engine, uint32_t tag, uint32_t block)
{
	bool		room;

	pthread_mutex_lock(&engine->mutex);
	room = engine->findings_in - engine->findings_out < MAX_FINDINGS;
	if (room)
	{
		EngFinding *finding =
			&engine->findings[engine->findings_in++ % MAX_FINDINGS];

		finding->tag = tag;
		finding->block = block;
	}
	pthread_mutex_unlock(&engine->mutex);
	eng_notify(engine);
	return room;
}

bool
eng_next_finding(Engine *engine, EngFinding *finding)
{
	bool		found;

	pthread_mutex_lock(&engine->mutex);
	found = engine->findings_in != engine->findings_out;
	if (found)
		*finding = engine->findings[engine->findings_out++ % MAX_FINDINGS];
	pthread_mutex_unlock(&engine->mutex);
	return found;
}

void
eng_begin(Engine *engine, uint64_t start_lsn, DigestKind digest)
{
	atomic_store(&engine->shared.start_lsn, start_lsn);
	engine->shared.digest_kind = digest;
	atomic_store(&engine->shared.bytes_read, 0);
	flusher_begin(engine->flusher);
	atomic_store(&engine->shared.stopping, false);
}

void
eng_stop(Engine *engine)
{
	pthread_mutex_lock(&engine->mutex);
	atomic_store(&engine->shared.stopping, true);
	while (engine->queue_head != NULL)
		dequeue(engine)->schedule = JOB_IDLE;
	while (engine->errands != NULL)
	{
		engine->errands->job->errands--;
		(void) take_errand(engine, engine->errands);
	}
	pthread_cond_broadcast(&engine->quit);
	pthread_mutex_unlock(&engine->mutex);
	if (engine->flusher != NULL)
		flusher_cancel(engine->flusher);
}

int
eng_running(Engine *engine)
{
	int			running;

	pthread_mutex_lock(&engine->mutex);
	running = engine->running;
	pthread_mutex_unlock(&engine->mutex);
	return running;
}

void
eng_set_lsn_limit(Engine *engine, uint64_t lsn)
{
	atomic_store(&engine->shared.lsn_limit, lsn);
	atomic_fetch_add(&engine->shared.lsn_limit_epoch, 1);
}

void
eng_set_rate(Engine *engine, uint64_t rate)
{
	if (atomic_exchange(&engine->shared.throttle.rate, rate) != rate)
		atomic_store(&engine->shared.throttle.next, 0);
}

void
eng_wait_until(Engine *engine, uint64_t until)
{
	uint64_t	rate = atomic_load(&engine->shared.throttle.rate);
	uint64_t	now = throttle_now();

	if (until <= now)
		return;
	pthread_mutex_lock(&engine->mutex);
	while (until > now && !engine->shutdown &&
		   !atomic_load(&engine->shared.stopping) &&
		   atomic_load(&engine->shared.throttle.rate) == rate)
	{
		uint64_t	nap = until - now < MAX_NAP_NS ? until - now : MAX_NAP_NS;
		struct timespec wake = thread_timespec(now + nap);

		pthread_cond_timedwait(&engine->quit, &engine->mutex, &wake);
		now = throttle_now();
	}
	pthread_mutex_unlock(&engine->mutex);
}

EngShared *
eng_shared(Engine *engine)
{
	return &engine->shared;
}

Flusher *
eng_flusher(Engine *engine)
{
	return engine->flusher;
}

uint64_t
eng_bytes_read(const Engine *engine)
{
	return atomic_load(&engine->shared.bytes_read);
}

void
eng_set_hold(Engine *engine, bool hold)
{
	atomic_store(&engine->shared.hold, hold);
}

void
eng_set_hold_open(Engine *engine, bool hold)
{
	atomic_store(&engine->shared.hold_open, hold);
}

EngJob *
eng_job(Engine *engine, int index)
{
	return &engine->jobs[index];
}

bool
eng_owns(const Engine *engine, const EngJob *job)
{
	return job->engine == engine;
}

bool
eng_job_open(EngJob *job, EngRing *ring, const EngSource *source,
			 const Digest *resume)
{
	DigestKind	kind = job->engine->shared.digest_kind;
	bool		ok;

	/* the digests' memory is kept from one file to the next */
	if (job->digest.kind != kind || kind == DIGEST_NONE)
		job_free(job);
	ok = (job->digest.kind == kind && digest_reset(&job->digest)) ||
		job_init(job, kind);
	if (ok && resume)
		ok = digest_copy(&job->digest, resume);
	if (!ok)
	{
		job_free(job);
		job->digest.kind = DIGEST_NONE;
		if (source->fd >= 0)
			close(source->fd);
		return false;
	}
	job->ring = ring;
	job->source = *source;
	job->step = job_fill_frame;
	job->task = NULL;
	job->loaded = false;
	job->verified = 0;
	job->digest_broken = false;
	atomic_store(&job->wants_lsn_limit, false);
	return true;
}

bool
job_open_task(EngJob *job, EngRing *ring, JobStep step, void *task)
{
	EngSource	nothing = {.fd = -1};

	if (!eng_job_open(job, ring, &nothing, NULL))
		return false;
	job->step = step;
	job->task = task;
	return true;
}

void
eng_job_start(EngJob *job)
{
	Engine	   *engine = job->engine;

	pthread_mutex_lock(&engine->mutex);
	if (job->schedule == JOB_IDLE && !atomic_load(&engine->shared.stopping))
		enqueue(engine, job);
	else
		job->again = true;
	pthread_mutex_unlock(&engine->mutex);
}

bool
eng_job_idle(EngJob *job)
{
	bool		idle;

	pthread_mutex_lock(&job->engine->mutex);
	idle = job->schedule == JOB_IDLE && job->errands == 0;
	pthread_mutex_unlock(&job->engine->mutex);
	return idle;
}

bool
eng_job_wants_lsn_limit(EngJob *job)
{
	return atomic_load(&job->wants_lsn_limit);
}

bool
eng_job_digest(EngJob *job, uint64_t position, Digest *state)
{
	return job_digest_at(job, &job->engine->shared, position, state);
}

bool
eng_job_close(EngJob *job)
{
	bool		had_fd = job->source.fd >= 0;

	if (had_fd)
		close(job->source.fd);
	job->source.fd = -1;
	job->source.memory = NULL;
	job->source.account = NULL;
	job->task = NULL;
	return had_fd;
}
