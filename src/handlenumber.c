/*-------------------------------------------------------------------------
 *
 * handlenumber.c
 *	  Blocks of numbers for handles, and the file that says how many are used.
 *
 * The file is ese/handles.  One that is not there or cannot be used is no
 * reason to read no files: then numbers go on from the seconds since 2026, as
 * if one handle had been opened in each.  Nor is one that cannot be written,
 * on a full disk: that costs the promise over the next restart, not the backup.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>


#include "engine/record.h"
#include "handlenumber.h"
#include "shared.h"
#include "statefile.h"

#define NUMBER_FILE		"handles"
#define NUMBER_MAGIC	0x48455345	/* "ESEH" */
#define NUMBER_VERSION	1

/* A block is at least so large, and lets each place come around some times. */
#define BLOCK_LENGTH	16384
#define BLOCK_ROUNDS	4

/* 2026-01-01 */
#define EPOCH			INT64CONST(1767225600)

/* This worker's block; [next, end) is left. */
static uint32 next;
static uint32 end;

static uint32
block_length(void)
{
	return Max(BLOCK_LENGTH, BLOCK_ROUNDS * ese_shared->nhandles);
}

/* What the file says; 0 when it says nothing. */
static int64
read_file(void)
{
	char		data[RECORD_HEADER_LENGTH + 64];
	RecordReader reader;
	int64		number;
	ssize_t		length;
	int			fd = open(ESE_DIRECTORY "/" NUMBER_FILE, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	length = read(fd, data, sizeof(data));
	close(fd);
	if (length < 0 ||
		record_open(&reader, data, length, NUMBER_MAGIC,
					NUMBER_VERSION) != RECORD_OK)
		return 0;
	number = record_get_int(&reader);
	return record_done(&reader) && number > 0 && number <= PG_INT32_MAX ?
		number : 0;
}

/* Raises nothing. */
static void
write_file(int64 number)
{
	ByteBuffer	record = {0};
	FileProblem problem;

	record_begin(&record);
	record_put_int(&record, number);
	if (!statefile_write(NUMBER_FILE, &record, NUMBER_MAGIC, NUMBER_VERSION,
						 &problem))
		ereport(LOG,
				(errmsg("%s", problem.message),
				 errdetail("Numbers of handles may come again after a restart.")));
}

/* The first number that nobody has had; the lock is held. */
static int64
first_unused(void)
{
	int64		number = ese_shared->next_handle_number;

	if (number == 0)
		number = read_file();
	if (number == 0)
		number = ((int64) time(NULL) - EPOCH) % PG_INT32_MAX;
	/* after the last one comes the first again */
	return number > 0 && number + block_length() <= PG_INT32_MAX ? number : 1;
}

void
handlenumber_reserve(void)
{
	if (end - next >= (uint32) ese_shared->nhandles)
		return;
	(void) recordlock_acquire(&ese_shared->handle_numbers);
	next = (uint32) first_unused();
	end = next + block_length();
	ese_shared->next_handle_number = end;
	write_file(end);
	recordlock_release(&ese_shared->handle_numbers);
}

uint32
handlenumber_next(void)
{
	return next;
}

void
handlenumber_use(uint32 number)
{
	Assert(number >= next && number < end);
	next = number + 1;
}
