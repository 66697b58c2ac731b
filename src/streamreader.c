/*-------------------------------------------------------------------------
 *
 * streamreader.c
 *	  SQL functions of streams: open, read, copy, resume.
 *
 * ese_read_stream_instance() returns a frame a row; ese_copy_stream() sends
 * frames as COPY data straight from shared memory.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <malloc.h>

#include "fmgr.h"
#include "funcapi.h"
#include "libpq/libpq.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "storage/ipc.h"
#include "tcop/dest.h"
#include "tcop/tcopprot.h"

#include "client.h"
#include "compat.h"
#include "engine/jet.h"
#include "instance.h"
#include "message.h"
#include "privilege.h"
#include "reader.h"
#include "receipt.h"
#include "report.h"
#include "signature.h"
#include "stop.h"
#include "testpoint.h"
#include "worker.h"

PGDLLEXPORT Datum ese_open_stream_instance(PG_FUNCTION_ARGS);
PGDLLEXPORT Datum ese_read_stream_instance(PG_FUNCTION_ARGS);
PGDLLEXPORT Datum ese_copy_stream(PG_FUNCTION_ARGS);
PGDLLEXPORT Datum ese_resume_stream_instance(PG_FUNCTION_ARGS);

PG_FUNCTION_INFO_V1(ese_open_stream_instance);
PG_FUNCTION_INFO_V1(ese_read_stream_instance);
PG_FUNCTION_INFO_V1(ese_copy_stream);
PG_FUNCTION_INFO_V1(ese_resume_stream_instance);

/* ese_open_stream_instance(instance, backup) → integer */
Datum
ese_open_stream_instance(PG_FUNCTION_ARGS)
{
	EseInstance *instance = instance_get_running(fcinfo, 0);
	Request		request = {.operation = OP_OPEN_STREAM};
	Answer		answer;

	privilege_check_read();
	request.backup = client_backup_argument(fcinfo, 1);
	client_describe(&request.client);
	call_execute(instance, &request, &answer, NULL);
	PG_RETURN_INT32(answer.result);
}

/*
 * ese_resume_stream_instance(instance, handle, received, OUT new_handle,
 * OUT keep_bytes)
 */
Datum
ese_resume_stream_instance(PG_FUNCTION_ARGS)
{
	EseInstance *instance = instance_get_running(fcinfo, 0);
	Request		request = {.operation = OP_RESUME_STREAM};
	Answer		answer;

	privilege_check_read();
	if (PG_ARGISNULL(1))
		refuse_parameter("the handle is null");
	if (PG_ARGISNULL(2) || PG_GETARG_INT64(2) < 0)
		refuse_parameter("received must be 0 or more");
	request.handle = PG_GETARG_INT32(1);
	request.number = PG_GETARG_INT64(2);
	client_describe(&request.client);
	call_execute(instance, &request, &answer, NULL);

	return client_handle_row(fcinfo, &answer);
}

/*
 * Wait for the bytes that come next: the rest of the current frame, of at
 * most max_bytes.  False at the end.
 */
static bool
next_bytes(Reading *reading, uint32 max_bytes, char **bytes, uint32 *length)
{
	EngRing    *ring = &reading->handle->ring;
	uint32		frame_length;

	/* what the last call has delivered is given back now */
	if (ring_retire(ring, ring->frame_at))
		worker_wake(reading->instance);
	if (!reader_await(reading, false, ring->frame_at))
		return false;
	*bytes = ring_frame(ring, ese_frames, ring->frame_at, &frame_length) +
		ring->offset_at;
	*length = Min(frame_length - ring->offset_at, max_bytes);
	return true;
}

/* These bytes are delivered. */
static void
advance(Reading *reading, uint32 length)
{
	EngRing    *ring = &reading->handle->ring;
	uint32		frame_length;

	(void) ring_frame(ring, ese_frames, ring->frame_at, &frame_length);
	atomic_store(&ring->position, atomic_load(&ring->position) + length);
	atomic_store(&ring->sending, 0);
	ring->offset_at += length;
	if (ring->offset_at == frame_length)
	{
		ring->offset_at = 0;
		ring->frame_at++;
	}
	reader_touch(reading);
}

/* The next piece as a bytea, or NULL at the end; the claim is held. */
static bytea *
copy_next(Reading *reading, uint32 max_bytes)
{
	bytea	   *piece;
	char	   *bytes;
	uint32		length;

	if (!next_bytes(reading, max_bytes, &bytes, &length))
	{
		stop_check(reading->instance, reading->stop_word);
		return NULL;
	}
	piece = palloc(VARHDRSZ + length);
	SET_VARSIZE(piece, VARHDRSZ + length);
	memcpy(VARDATA(piece), bytes, length);
	testpoint("stream.copied");

	reader_check_end(reading);
	receipt_expect(reading->instance, reading->handle, SEND_ROWS);
	advance(reading, length);
	return piece;
}

static bytea *
read_row(FunctionCallInfo fcinfo, uint32 max_bytes)
{
	Reading		reading;
	bytea	   *piece;
	int32		number;

	reader_enter(&reading, fcinfo);
	number = PG_GETARG_INT32(1);
	reader_claim(&reading, number);
	PG_ENSURE_ERROR_CLEANUP(reader_release, PointerGetDatum(&reading));
	{
		reader_check_claim(&reading, number);
		if (!reading.handle->is_stream)
			refuse_parameter("handle %d is not that of a stream", number);
		reader_refuse_broken(&reading, number);
		piece = copy_next(&reading, max_bytes);
	}
	PG_END_ENSURE_ERROR_CLEANUP(reader_release, PointerGetDatum(&reading));
	reader_release(0, PointerGetDatum(&reading));
	return piece;
}

/* In FROM the whole set would be stored before the first row leaves. */
static void
refuse_from(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	if (rsinfo == NULL || !IsA(rsinfo, ReturnSetInfo))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-valued function called in context that cannot accept a set")));
	if (rsinfo->allowedModes & SFRM_Materialize_Preferred)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("ese_read_stream_instance cannot be used in FROM"),
				 errdetail("The whole stream would be stored on the server before the first row is sent."),
				 errhint("Call it in the SELECT list: COPY (SELECT ese_read_stream_instance(...)) TO STDOUT (FORMAT binary).")));
}

/*
 * Rows of 256 KiB are larger than what malloc() keeps by default: each copy
 * of one would be mapped, faulted in and unmapped again, which costs more
 * than everything else about it.  From the first stream on this process keeps
 * a few such blocks instead.
 */
static void
keep_large_blocks(void)
{
	static bool kept = false;

	if (kept)
		return;
	kept = true;
	(void) mallopt(M_MMAP_THRESHOLD, 32 * 1024 * 1024);
	(void) mallopt(M_TRIM_THRESHOLD, 128 * 1024 * 1024);
}

/* ese_read_stream_instance(instance, handle, max_bytes) → SETOF bytea */
Datum
ese_read_stream_instance(PG_FUNCTION_ARGS)
{
	FuncCallContext *context;
	int32		max_bytes;
	bytea	   *piece;

	signature_check(fcinfo);
	max_bytes = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT32(2);
	if (SRF_IS_FIRSTCALL())
	{
		refuse_from(fcinfo);
		reader_check_size(max_bytes);
		keep_large_blocks();
		message_prepare();
		context = SRF_FIRSTCALL_INIT();
	}
	context = SRF_PERCALL_SETUP();
	piece = read_row(fcinfo, (uint32) max_bytes);
	if (piece == NULL)
		SRF_RETURN_DONE(context);
	SRF_RETURN_NEXT(context, PointerGetDatum(piece));
}

/* COPY OUT, binary, without columns, as a base backup does it. */
static void
send_copy_begin(void)
{
	StringInfoData message;

	pq_beginmessage(&message, 'H');
	pq_sendbyte(&message, 1);
	pq_sendint16(&message, 0);
	pq_endmessage(&message);
}

/*
 * Bytes of a file's handle, a frame at a time.  Where the frame ends is known
 * when the ring is where the position is.
 */
static bool
next_file_bytes(Reading *reading, char **bytes, uint32 *length)
{
	EngRing    *ring = &reading->handle->ring;
	uint64		frame;

	/* what a session asked for that died meanwhile */
	(void) reader_await(reading, true, 0);

	reading->start = atomic_load(&ring->position);
	reading->length = Min(1, ring->size - reading->start);
	if (reading->length == 0)
		return false;
	reader_prepare(reading);
	frame = ring_frame_of(ring, reading->start);
	reading->length = ring_frame_end(ring, frame) - reading->start;
	(void) reader_await(reading, false, frame);
	*bytes = ring_bytes(ring, ese_frames, reading->start);
	*length = (uint32) reading->length;
	return true;
}

static void
advance_file(Reading *reading, uint32 length)
{
	EngRing    *ring = &reading->handle->ring;

	ring_delivered(ring, reading->start, length);
	atomic_store(&ring->sending, 0);
	reader_touch(reading);
}

/* Send everything that is left; the claim is held. */
static void
copy_out(Reading *reading)
{
	bool		is_stream = reading->handle->is_stream;
	char	   *bytes;
	uint32		length;

	message_prepare();
	send_copy_begin();
	while (is_stream ? next_bytes(reading, ENG_FRAME_SIZE, &bytes, &length) :
		   next_file_bytes(reading, &bytes, &length))
	{
		stop_check(reading->instance, reading->stop_word);
		testpoint("copy.frame");
		receipt_expect(reading->instance, reading->handle, SEND_COPY);
		atomic_store(&reading->handle->ring.sending, length);
		message_send('d', bytes, length);
		reader_check_end(reading);
		if (is_stream)
			advance(reading, length);
		else
			advance_file(reading, length);
		CHECK_FOR_INTERRUPTS();
	}
	stop_check(reading->instance, reading->stop_word);
	pq_putemptymessage('c');
}

/*
 * A COPY can be sent where a COMMIT could stand: by a CALL at top level, in a
 * procedure or a DO block; not by one in a transaction block or a function.
 */
static void
check_may_send(FunctionCallInfo fcinfo)
{
	if (!client_leave_snapshot(fcinfo, "ese_copy_stream") || whereToSendOutput != DestRemote)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("ese_copy_stream cannot be called in a transaction block, a function or a block with EXCEPTION"),
				 errhint("Send CALL ese_copy_stream(...) by itself over a connection that reads COPY data.")));
}

/* CALL ese_copy_stream(instance, handle) */
Datum
ese_copy_stream(PG_FUNCTION_ARGS)
{
	Reading		reading;
	int32		number;

	reader_enter(&reading, fcinfo);
	number = PG_GETARG_INT32(1);
	check_may_send(fcinfo);
	reader_claim(&reading, number);
	PG_ENSURE_ERROR_CLEANUP(reader_release, PointerGetDatum(&reading));
	{
		reader_check_claim(&reading, number);
		reader_refuse_broken(&reading, number);
		copy_out(&reading);
	}
	PG_END_ENSURE_ERROR_CLEANUP(reader_release, PointerGetDatum(&reading));
	reader_release(0, PointerGetDatum(&reading));
	PG_RETURN_VOID();
}
