/*-------------------------------------------------------------------------
 *
 * job.h
 *	  A job: fills the ring of one open file, a frame at a time.
 *
 * Internal to the engine.  pool.c decides when a job runs; job.c is what it
 * does when it runs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_JOB_H
#define ESE_JOB_H

#include "engine.h"
#include "flusher.h"

typedef enum JobSchedule
{
	JOB_IDLE,					/* parked; next: QUEUED */
	JOB_QUEUED,					/* next: RUNNING, or IDLE when stopped */
	JOB_RUNNING,				/* next: QUEUED or IDLE */
} JobSchedule;

/* What a step says about the next one. */
typedef enum JobOutcome
{
	JOB_MORE,
	JOB_PARK,
} JobOutcome;

/* What the threads of an engine share, and what jobs may use. */
typedef struct EngShared
{
	char	   *pool;
	_Atomic bool stopping;
	_Atomic bool hold;
	_Atomic bool hold_open;
	_Atomic uint64_t lsn_limit;
	_Atomic uint64_t lsn_limit_epoch;	/* changes after each new limit */
	_Atomic uint64_t bytes_read;
	_Atomic uint64_t start_lsn;
	DigestKind	digest_kind;	/* owner only */
	Throttle	throttle;
} EngShared;

/*
 * A part of a job that another thread may do, while the job goes on.  When it
 * is done the job is started, if it has parked.
 */
typedef struct EngErrand EngErrand;
struct EngErrand
{
	void		(*run) (EngErrand *errand, EngShared *shared);
	EngJob	   *job;
	_Atomic bool done;
	EngErrand  *next;			/* under the engine's mutex */
};

/* One piece of work. */
typedef JobOutcome (*JobStep) (EngJob *job, EngShared *shared);

struct EngJob
{
	Engine	   *engine;
	EngRing    *ring;
	EngSource	source;
	JobStep		step;
	void	   *task;			/* the step's; NULL for a file */

	/* under the engine's mutex */
	JobSchedule schedule;
	bool		again;			/* start it once more when it parks */
	EngJob	   *next;			/* in the queue */
	int			errands;		/* of it that wait or run; it is not idle
								 * before */

	/* by the running thread; by the owner while idle */
	Digest		digest;			/* of all bytes before frame 'produced' */
	bool		digest_broken;	/* it is of more, or nothing: memory was out */
	Digest		at_frame[RING_MAX_FRAMES];	/* digest before each frame */
	Digest		mark[RING_MARKS];	/* digest before each mark of the ring */
	Digest		scratch;
	bool		loaded;			/* the next frame is read, not yet verified */
	uint32_t	verified;		/* pages of it that are */
	uint64_t	asked_epoch;	/* lsn_limit_epoch when it began to want one */
	_Atomic bool wants_lsn_limit;
};

extern bool job_init(EngJob *job, DigestKind kind);
extern void job_free(EngJob *job);

/* Run one step, or serve the reader's request. */
extern JobOutcome job_step(EngJob *job, EngShared *shared);

/* eng_job_digest(), for who has the frames at hand. */
extern bool job_digest_at(EngJob *job, const EngShared *shared,
						  uint64_t position, Digest *state);

/*
 * Bind a job to a ring and a task: its step runs until it parks.  False when
 * memory is out.
 */
extern bool job_open_task(EngJob *job, EngRing *ring, JobStep step,
						  void *task);

/* The step that fills a ring with the bytes of a file. */
extern JobOutcome job_fill_frame(EngJob *job, EngShared *shared);

/* What steps have in common. */
extern bool job_is_unwanted(EngJob *job, EngShared *shared);

/* Where an open(2) that does not return would be, for tests. */
extern void job_hold_open(EngShared *shared);

extern JobOutcome job_fail(EngJob *job, int jet, int sys_errno,
						   uint32_t block, uint64_t offset);
extern JobOutcome job_fail_write(EngJob *job, int jet, int sys_errno,
								 uint64_t offset);
extern JobOutcome job_finish(EngJob *job);
extern JobOutcome job_park_until_room(EngJob *job);
extern JobOutcome job_load(EngJob *job, EngShared *shared, char *to,
						   size_t length, uint64_t offset);
extern JobOutcome job_verify(EngJob *job, EngShared *shared, char *pages,
							 size_t length, uint64_t offset);

/*
 * Provided by pool.c: tell the owner; keep a finding and tell the owner
 * (false: no room now).
 */
extern void eng_notify(Engine *engine);
extern bool eng_add_finding(Engine *engine, uint32_t tag, uint32_t block);

/* What its threads share. */
extern EngShared *eng_shared(Engine *engine);

/* No other job waits for a thread. */
extern bool eng_has_nothing_else(Engine *engine);

/*
 * Give an errand to a thread that has nothing to do, or that helps and will
 * have nothing to do; false when there is none.  And take it back, unless a
 * thread has it.
 */
extern bool eng_offer(EngErrand *errand);
extern bool eng_withdraw(EngErrand *errand);

/* What makes durable what jobs write. */
extern Flusher *eng_flusher(Engine *engine);

/* Sleep until 'until' or until the engine is stopped. */
extern void eng_wait_until(Engine *engine, uint64_t until);

#endif							/* ESE_JOB_H */
