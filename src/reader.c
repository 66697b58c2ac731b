/*-------------------------------------------------------------------------
 *
 * reader.c
 *	  ese_read_file_instance(): bytes of an open file, straight from shared
 *	  memory.
 *
 * The worker is not asked.  A piece stays in the ring until the next one is
 * requested, so that it can be had again when the reply got lost; one that is
 * larger than the ring is read again from the file, after the job was told to
 * remember the digest at its start (RING_MARK, RING_REWIND).
 *
 * A call may be ended at any wait: by a cancel, a time-out, the loss of its
 * connection.  What it has delivered is what ring_delivered() was told, and
 * the next call, whichever it is, finds its way by ring_find().
 *
 * Order of memory: what a reader shares with the thread that fills the ring
 * is in ring.h.  With the worker and with who stops the backup it shares
 * PostgreSQL's atomics, which order nothing by themselves:
 * - reader_proc_number is written before the ring's reader_waiting (and with
 *   the claim held), and read after these: who finds a reader waiting wakes
 *   that one, or nobody who minds.
 * - The stop word is read after reader_waiting was set, and set before that is
 *   looked at (both with full barriers): a stop that finds nobody to wake is
 *   seen by stop_check() before the reader sleeps.
 * - reader_check_end() has a barrier between the copy and the stop word.
 * - last_read_at and last_activity are single words about nothing else.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "libpq/libpq-be.h"
#include "libpq/libpq.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/pquery.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "engine/jet.h"
#include "engine/page.h"
#include "engine/relfile.h"
#include "frame.h"
#include "instance.h"
#include "privilege.h"
#include "reader.h"
#include "receipt.h"
#include "report.h"
#include "stop.h"
#include "testpoint.h"
#include "worker.h"

#define MAX_PIECE	(16 * 1024 * 1024)
#define WAIT_STEP_MS 1000

PGDLLEXPORT Datum ese_read_file_instance(PG_FUNCTION_ARGS);

PG_FUNCTION_INFO_V1(ese_read_file_instance);

void
reader_release(int code, Datum arg)
{
	Reading    *reading = (Reading *) DatumGetPointer(arg);
	EngRing    *ring = &reading->handle->ring;

	ring_release(ring, MyProcPid);
	/* a closed handle may wait for just that */
	if (atomic_load(&ring->state) == RING_CLOSING)
		worker_wake(reading->instance);
}

/* Sleep until something happens to the ring, or to the backup. */
static void
wait_for_ring(Reading *reading)
{
	int			events;

	/* one that came before our latch could be found set no latch */
	stop_check(reading->instance, reading->stop_word);
	events = WaitLatch(MyLatch,
					   WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					   WAIT_STEP_MS, compat_wait_event("EseRead"));
	if (events & WL_LATCH_SET)
		ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	stop_check(reading->instance, reading->stop_word);
}

static void
refuse_closed_handle(int32 number)
{
	ereport(ERROR,
			(jet_errcode(JET_errInvalidParameter),
			 errmsg("handle %d is not open", number),
			 jet_errdetail(JET_errInvalidParameter, NULL),
			 errhint("The view ese_backup_handle lists the open handles.")));
}

/*
 * The job failed: raise its error, naming relation and block, and close the
 * file.  The backup stays open.
 */
static void
raise_job_error(Reading *reading)
{
	EngError	error = reading->handle->ring.error;
	const char *file = reading->handle->file_name;
	const char *slash = strrchr(file, '/');
	RelFile		relation;

	ring_close(&reading->handle->ring);
	worker_wake(reading->instance);
	errno = error.sys_errno;
	if (error.jet == JET_errReadVerifyFailure &&
		relfile_parse(slash ? slash + 1 : file, &relation))
		ereport(ERROR,
				(jet_errcode(error.jet),
				 errmsg("page verification failed in block %u of file \"%s\"",
						error.block, file),
				 jet_errdetail(error.jet,
							   psprintf("Relation file number %u, fork %s.",
										relation.number,
										relfile_fork_name(relation.fork))),
				 errhint("The file was closed; open it again to try once more, or set verify_checksums to report.")));
	if (reading->handle->is_stream)
		ereport(ERROR,
				(jet_errcode(error.jet),
				 error.sys_errno ?
				 errmsg("could not read a file of the stream: %m") :
				 errmsg("the stream could not go on"),
				 jet_errdetail(error.jet, "The stream was closed, and its files are back in the queue; the server log names the file."),
				 errhint("Throw its bytes away and open another stream.")));
	ereport(ERROR,
			(jet_errcode(error.jet),
			 error.sys_errno ?
			 errmsg("could not read file \"%s\" at offset %llu: %m", file,
					(unsigned long long) error.offset) :
			 errmsg("could not read file \"%s\" at offset %llu", file,
					(unsigned long long) error.offset),
			 jet_errdetail(error.jet, "The file was closed.")));
}

bool
reader_await(Reading *reading, bool request, uint64 frame)
{
	EngRing    *ring = &reading->handle->ring;

	if (!request)
		ring_linger(ring, frame);
	for (;;)
	{
		switch (request ? ring_request_poll(ring) : ring_poll(ring, frame))
		{
			case RING_READY:
				return true;
			case RING_END:
				return false;
			case RING_WAIT:
				/* the job parked, and what was given back woke nobody yet */
				if (ring_wake_job(ring))
					worker_wake(reading->instance);
				wait_for_ring(reading);
				break;
			case RING_BROKEN:
				raise_job_error(reading);
				break;
			case RING_GONE:
				stop_check(reading->instance, reading->stop_word);
				refuse_closed_handle(atomic_load(&ring->ident));
				break;
		}
	}
}

static void
refuse_offset(Reading *reading, uint64 offset)
{
	EngRing    *ring = &reading->handle->ring;
	char	   *previous = "";
	RingMark	mark;

	if (ring->piece_valid &&
		ring_find(ring, ring->piece_start, &mark) != RING_LOST)
		previous = psprintf(", and the previous piece began at %llu",
							(unsigned long long) ring->piece_start);
	ereport(ERROR,
			(jet_errcode(JET_errInvalidParameter),
			 errmsg("cannot read file \"%s\" at offset %llu",
					reading->handle->file_name,
					(unsigned long long) offset),
			 jet_errdetail(JET_errInvalidParameter,
						   psprintf("The position is %llu%s.",
									(unsigned long long) atomic_load(&ring->position),
									previous))));
}

/* Which piece is wanted?  The next one, or the previous one again. */
static void
choose_piece(Reading *reading, uint64 max_bytes, bool has_offset,
			 uint64 at_offset)
{
	EngRing    *ring = &reading->handle->ring;
	RingMark	mark;

	/* what a session asked for that died meanwhile */
	(void) reader_await(reading, true, 0);

	reading->start = atomic_load(&ring->position);
	if (has_offset && at_offset != reading->start)
	{
		/* it is gone once the next one was asked for */
		if (!ring->piece_valid || at_offset != ring->piece_start ||
			ring_find(ring, at_offset, &mark) == RING_LOST)
			refuse_offset(reading, at_offset);
		reading->start = at_offset;
	}
	reading->length = Min(max_bytes, ring->size - reading->start);
}

void
reader_prepare(Reading *reading)
{
	EngRing    *ring = &reading->handle->ring;
	RingReady	ready;

	while ((ready = ring_prepare(ring, reading->start,
								 reading->length)) == RING_ASKED)
	{
		worker_wake(reading->instance);
		(void) reader_await(reading, true, 0);
	}
	if (ready == RING_CANNOT)
		refuse_offset(reading, reading->start);
	reading->large = ring_is_large(ring, reading->start, reading->length);
	if (ring_retire(ring, ring_frame_of(ring, reading->start)))
		worker_wake(reading->instance);
}

/* Copy the piece, frame after frame as they come. */
static void
copy_piece(Reading *reading, char *to)
{
	EngRing    *ring = &reading->handle->ring;
	uint64		at = reading->start;
	uint64		end = reading->start + reading->length;

	while (at < end)
	{
		uint64		frame = ring_frame_of(ring, at);
		uint64		stop = Min(ring_frame_end(ring, frame), end);

		if (reading->large && ring_retire(ring, frame))
			worker_wake(reading->instance);
		(void) reader_await(reading, false, frame);
		reader_touch(reading);
		memcpy(to, ring_bytes(ring, ese_frames, at), stop - at);
		to += stop - at;
		at = stop;
		testpoint("read.frame");
	}
}

void
reader_check_end(Reading *reading)
{
	pg_memory_barrier();
	stop_check(reading->instance, reading->stop_word);
}

/*
 * A request may be served when its client has gone, and has even gone on in
 * another session: then it moves the position under it, or asks for the
 * previous piece, of which the client has another reading.
 */
static void
refuse_for_nobody(void)
{
	if (MyProcPort != NULL && !pq_check_connection())
		ereport(FATAL,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("connection to client lost")));
}

/* The whole read, with the claim held. */
static bytea *
read_piece(Reading *reading, uint64 max_bytes, bool has_offset,
		   uint64 at_offset)
{
	EngRing    *ring = &reading->handle->ring;
	bytea	   *piece;

	choose_piece(reading, max_bytes, has_offset, at_offset);
	if (has_offset)
		receipt_forget(reading->handle);
	piece = palloc(VARHDRSZ + reading->length);
	SET_VARSIZE(piece, VARHDRSZ + reading->length);
	testpoint("read.claimed");
	if (reading->length > 0)
	{
		reader_prepare(reading);
		copy_piece(reading, VARDATA(piece));
	}
	testpoint("read.copied");

	reader_check_end(reading);
	refuse_for_nobody();
	/* a client that does not count takes what comes next for what it lost */
	if (reading->length > 0 && !has_offset)
		receipt_expect(reading->instance, reading->handle, SEND_PIECE);
	if (reading->length > 0)
		ring_delivered(ring, reading->start, reading->length);
	reader_touch(reading);
	return piece;
}

/*
 * EXPLAIN ANALYZE runs the statement, and drops what it returns: the bytes
 * would count as read, and nobody would have them.
 */
static void
refuse_explain(void)
{
	if (ActivePortal != NULL && ActivePortal->commandTag == CMDTAG_EXPLAIN)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot read a backup in EXPLAIN ANALYZE"),
				 errdetail("What was read would be lost, and would count as received.")));
}

void
reader_enter(Reading *reading, FunctionCallInfo fcinfo)
{
	refuse_explain();
	receipt_prepare();
	reading->instance = instance_get_running(fcinfo, 0);
	privilege_check_read();
	reading->stop_word = pg_atomic_read_u64(&reading->instance->stop_word);
	stop_check(reading->instance, reading->stop_word);
	if (PG_ARGISNULL(1))
		refuse_parameter("the handle is null");
}

void
reader_check_size(int32 max_bytes)
{
	if (max_bytes < ENG_PAGE_SIZE || max_bytes > MAX_PIECE ||
		max_bytes % ENG_PAGE_SIZE != 0)
		refuse_parameter("max_bytes must be a multiple of %d from %d to %d",
						 ENG_PAGE_SIZE, ENG_PAGE_SIZE, MAX_PIECE);
}

void
reader_claim(Reading *reading, int32 number)
{
	int32		holder;

	reading->handle = frame_find_handle(reading->instance, number);
	if (reading->handle == NULL)
		refuse_closed_handle(number);
	if (!ring_claim(&reading->handle->ring, MyProcPid, &holder))
	{
		if (holder == RING_CLAIM_OWNER)
			refuse_closed_handle(number);
		refuse_parameter("handle %d is being read by the session with process ID %d",
						 number, holder);
	}
}

void
reader_check_claim(Reading *reading, int32 number)
{
	if (atomic_load(&reading->handle->ring.ident) != (uint32) number)
		refuse_closed_handle(number);
	pg_atomic_write_u32(&reading->handle->reader_proc_number,
						compat_my_proc_number());
	reader_touch(reading);
}

void
reader_refuse_broken(Reading *reading, int32 number)
{
	bool		is_stream = reading->handle->is_stream;

	if (!receipt_is_lost(reading->handle))
		return;
	ereport(ERROR,
			(jet_errcode(JET_errInvalidParameter),
			 errmsg("handle %d cannot be read on", number),
			 jet_errdetail(JET_errInvalidParameter, "The session or statement that read it ended without a sign that its client had received everything."),
			 is_stream ?
			 errhint("Go on with ese_resume_stream_instance(), or close it and throw its bytes away.") :
			 errhint("Say with at_offset what you have, or close it and read the file again.")));
}

void
reader_touch(Reading *reading)
{
	pg_atomic_write_u64(&reading->handle->last_read_at,
						GetCurrentTimestamp());
	shared_note_activity(reading->instance);
}

/* ese_read_file_instance(instance, handle, max_bytes, at_offset) → bytea */
Datum
ese_read_file_instance(PG_FUNCTION_ARGS)
{
	Reading		reading;
	int32		number;
	int32		max_bytes;
	bool		has_offset;
	int64		at_offset;
	bytea	   *piece;

	reader_enter(&reading, fcinfo);
	number = PG_GETARG_INT32(1);
	max_bytes = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT32(2);
	has_offset = !PG_ARGISNULL(3);
	at_offset = has_offset ? PG_GETARG_INT64(3) : 0;
	reader_check_size(max_bytes);
	if (has_offset && at_offset < 0)
		refuse_parameter("at_offset must not be negative");

	testpoint("read.start");
	reader_claim(&reading, number);
	PG_ENSURE_ERROR_CLEANUP(reader_release, PointerGetDatum(&reading));
	{
		reader_check_claim(&reading, number);
		if (reading.handle->is_stream)
			refuse_parameter("handle %d is that of a stream: use ese_read_stream_instance or ese_copy_stream",
							 number);
		if (!has_offset)
			reader_refuse_broken(&reading, number);
		piece = read_piece(&reading, max_bytes, has_offset,
						   (uint64) at_offset);
	}
	PG_END_ENSURE_ERROR_CLEANUP(reader_release, PointerGetDatum(&reading));
	reader_release(0, PointerGetDatum(&reading));
	PG_RETURN_BYTEA_P(piece);
}
