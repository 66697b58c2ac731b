/*-------------------------------------------------------------------------
 *
 * record.h
 *	  The bytes of the files under ese/: a sealed sequence of values.
 *
 * A file is a header {magic, version, length, CRC-32C} and a body in which
 * numbers (little-endian, 8 bytes) and strings (length and bytes) follow one
 * another.  Reading never goes beyond the body: after the first value that
 * does not fit, every further one reads as zero and 'bad' is set, so that
 * the caller needs to look once, at the end.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_RECORD_H
#define ESE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"

#define RECORD_HEADER_LENGTH 24
#define RECORD_MAX_LENGTH (64 * 1024 * 1024)

typedef struct RecordReader
{
	const char *next;
	const char *end;
	uint32_t	version;		/* that it was written in */
	bool		bad;
} RecordReader;

/* Why a file is refused. */
typedef enum RecordProblem
{
	RECORD_OK,
	RECORD_TOO_SHORT,
	RECORD_WRONG_MAGIC,
	RECORD_WRONG_VERSION,
	RECORD_WRONG_LENGTH,
	RECORD_WRONG_CRC,
} RecordProblem;

/* Write into an empty buffer: the header is filled in by record_seal(). */
extern void record_begin(ByteBuffer *buffer);
extern void record_put_int(ByteBuffer *buffer, int64_t value);
extern void record_put_string(ByteBuffer *buffer, const char *text);

/* False when memory was out on the way. */
extern bool record_seal(ByteBuffer *buffer, uint32_t magic, uint32_t version);

/* Check the seal and begin to read. */
extern RecordProblem record_open(RecordReader *reader, const char *data,
								 size_t length, uint32_t magic,
								 uint32_t version);

/* The same for a record that may be of an older version, from this one on. */
extern RecordProblem record_open_since(RecordReader *reader, const char *data,
									   size_t length, uint32_t magic,
									   uint32_t oldest, uint32_t version);
extern int64_t record_get_int(RecordReader *reader);

/*
 * Copy a string into text[size].  One that does not fit, or that holds a NUL,
 * is bad.
 */
extern void record_get_string(RecordReader *reader, char *text, size_t size);

/* Everything was read, and nothing was bad. */
extern bool record_done(const RecordReader *reader);

/* A clause for a message: "its checksum is wrong". */
extern const char *record_problem_text(RecordProblem problem);

#endif							/* ESE_RECORD_H */
