/*-------------------------------------------------------------------------
 *
 * engine.h
 *	  The threaded side of an instance: reads files into rings.
 *
 * An engine is a fixed set of threads, a queue of jobs, and an eventfd by
 * which it tells its owner that something happened.  The owner is the one
 * thread that calls the functions below (in the server: the worker's main
 * thread); the engine's threads call nothing but libc, pthreads and the
 * digest libraries.
 *
 * A job fills the ring of one open file.  It runs a piece at a time (read,
 * verify the pages, add to the digest: one frame), then goes to the end of
 * the queue, so that a few threads serve many handles evenly.  When it cannot
 * go on (its ring is full, it has finished or failed, the engine is stopped)
 * it parks, and runs again when the owner starts it.
 *
 * Errors are values: a failed job leaves an EngError in its ring.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_ENGINE_H
#define ESE_ENGINE_H

#include "digest.h"
#include "logaccount.h"
#include "ring.h"
#include "throttle.h"

#define ENG_MAX_THREADS 64

/* What to do about damaged pages. */
typedef enum VerifyMode
{
	VERIFY_OFF,
	VERIFY_REPORT,				/* deliver the page, leave a finding */
	VERIFY_ERROR,				/* fail the job */
} VerifyMode;

/* What a job reads. */
typedef struct EngSource
{
	int			fd;				/* owned by the job from eng_job_open() on; -1
								 * to read from memory */
	const char *memory;			/* stays valid until the job is closed */
	LogAccount *account;		/* makes "memory" before it is first read; or
								 * NULL */
	uint32_t	zeros_from;		/* what lies behind is read as zeros; 0:
								 * nothing */
	VerifyMode	verify;			/* OFF unless these are relation pages */
	uint32_t	first_block;	/* block number of the file's first page */
	uint32_t	tag;			/* copied into findings */
} EngSource;

/* A damaged page that was delivered (VERIFY_REPORT). */
typedef struct EngFinding
{
	uint32_t	tag;
	uint32_t	block;
} EngFinding;

typedef struct Engine Engine;
typedef struct EngJob EngJob;

/*
 * Start an engine with room for 'jobs' jobs whose rings' frames lie in
 * 'pool'.  All signals are blocked in its threads.  NULL and *sys_errno when
 * memory or threads are short.
 */
extern Engine *eng_open(int threads, int jobs, char *pool, int *sys_errno);

/*
 * End all threads, waiting at most timeout_ms for those that are inside a
 * system call.  True when all have ended; then the memory is freed.  False
 * leaves the rest to the end of the process.
 */
extern bool eng_close(Engine *engine, int timeout_ms);

/* Readable when something happened; eng_drain_events() makes it quiet. */
extern int	eng_event_fd(const Engine *engine);
extern void eng_drain_events(Engine *engine);

/* The oldest finding that was not taken yet. */
extern bool eng_next_finding(Engine *engine, EngFinding *finding);

/*
 * Before the first job of a backup: its start LSN, the digest of its files,
 * and an end to a former stop.
 */
extern void eng_begin(Engine *engine, uint64_t start_lsn, DigestKind digest);

/*
 * No thread begins another read; those inside one park when they come back.
 * eng_running() says how many have not yet.
 */
extern void eng_stop(Engine *engine);
extern int	eng_running(Engine *engine);

/* A WAL position: pages with LSNs beyond it are looked at again. */
extern void eng_set_lsn_limit(Engine *engine, uint64_t lsn);

/* Bytes per second over all threads; 0 for no limit. */
extern void eng_set_rate(Engine *engine, uint64_t rate);

/* Bytes read so far in this backup (reading something twice counts twice). */
extern uint64_t eng_bytes_read(const Engine *engine);

/* Job number 'index', from 0 to jobs - 1. */
extern EngJob *eng_job(Engine *engine, int index);

/* Is it one of this engine's? */
extern bool eng_owns(const Engine *engine, const EngJob *job);

/*
 * Bind a job to an opened ring and a source.  'resume', if not NULL, is the
 * digest state to go on from.  False when memory is out; the fd is closed.
 */
extern bool eng_job_open(EngJob *job, EngRing *ring, const EngSource *source,
						 const Digest *resume);

/* Let the job run (again); no effect while it does. */
extern void eng_job_start(EngJob *job);

/* Nobody runs it and it is not queued. */
extern bool eng_job_idle(EngJob *job);

/* It parked because a page's LSN is beyond the limit. */
extern bool eng_job_wants_lsn_limit(EngJob *job);

/*
 * The digest of the bytes before 'position' as they were delivered; *state is
 * made by the caller with digest_init().  False when memory is out, or the
 * position is neither in the ring nor marked.  The job must be idle.
 */
extern bool eng_job_digest(EngJob *job, uint64_t position, Digest *state);

/*
 * End an idle job: closes the fd, keeps the memory for the next one.  True
 * when there was an fd.
 */
extern bool eng_job_close(EngJob *job);

/*
 * For tests: while *hold is not zero threads sleep where a read would begin,
 * deaf to stop, as in a system call that does not return.
 */
extern void eng_set_hold(Engine *engine, bool hold);

/* The same where a job of a stream or a directory has opened a file. */
extern void eng_set_hold_open(Engine *engine, bool hold);

#endif							/* ESE_ENGINE_H */
