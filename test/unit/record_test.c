/* Tests of sealed records, with damaged and random input. */
#include <stdlib.h>
#include <string.h>

#include "engine/record.h"
#include "tap.h"

#define MAGIC 0x12345678

static ByteBuffer
make_record(void)
{
	ByteBuffer	record = {0};

	record_begin(&record);
	record_put_int(&record, -42);
	record_put_string(&record, "hello");
	record_put_string(&record, "");
	record_put_int(&record, INT64_MAX);
	record_seal(&record, MAGIC, 3);
	return record;
}

static void
test_round_trip(void)
{
	ByteBuffer	record = make_record();
	RecordReader reader;
	char text[	6];

	ok(record_open(&reader, record.data, record.length, MAGIC, 3) == RECORD_OK,
	   "a record opens");
	ok(record_get_int(&reader) == -42, "a number");
	record_get_string(&reader, text, sizeof(text));
	ok(strcmp(text, "hello") == 0, "a string that just fits");
	ok(!record_done(&reader), "not at the end yet");
	record_get_string(&reader, text, sizeof(text));
	ok(text[0] == '\0', "an empty string");
	ok(record_get_int(&reader) == INT64_MAX, "the last number");
	ok(record_done(&reader), "at the end");
	ok(record_get_int(&reader) == 0 && reader.bad, "nothing beyond it");
	buffer_free(&record);
}

static void
test_refusals(void)
{
	ByteBuffer	record = make_record();
	RecordReader reader;
	char text[	5];
	int			accepted = 0;

	ok(record_open(&reader, record.data, 10, MAGIC, 3) == RECORD_TOO_SHORT,
	   "too short");
	ok(record_open(&reader, record.data, record.length, MAGIC +1, 3) ==
	   RECORD_WRONG_MAGIC, "foreign");
	ok(record_open(&reader, record.data, record.length, MAGIC, 4) ==
	   RECORD_WRONG_VERSION, "of another version");
	ok(record_open_since(&reader, record.data, record.length, MAGIC, 3, 4) ==
	   RECORD_OK && reader.version == 3, "an older version that is known");
	ok(record_open_since(&reader, record.data, record.length, MAGIC, 4, 5) ==
	   RECORD_WRONG_VERSION &&
	   record_open_since(&reader, record.data, record.length, MAGIC, 1, 2) ==
	   RECORD_WRONG_VERSION, "too old, and too new");
	ok(record_open(&reader, record.data, record.length - 1, MAGIC, 3) ==
	   RECORD_WRONG_LENGTH, "torn");
	for (size_t i = 0; i < record.length; i++)
	{
		record.data[i] ^= 0x40;
		/* the four bytes after the CRC mean nothing */
		if (i < 20 || i >= RECORD_HEADER_LENGTH)
			accepted += record_open(&reader, record.data, record.length,
									MAGIC, 3) == RECORD_OK;
		record.data[i] ^= 0x40;
	}
	ok(accepted == 0, "every flipped bit is found");
	(void) record_open(&reader, record.data, record.length, MAGIC, 3);
	record_get_int(&reader);
	record_get_string(&reader, text, sizeof(text));
	ok(reader.bad && text[0] == '\0', "a string that does not fit is bad");
	buffer_free(&record);
}

/* Random bodies behind a right seal: no read may leave the body. */
static void
test_random_bodies(void)
{
	unsigned	seed = 5;
	int			opened = 0;

	for (int i = 0; i < 50000; i++)
	{
		ByteBuffer	record = {0};
		RecordReader reader;
		char text[	16];
		char	   *exact;
		int			length = (int) (next_random(&seed) % 64);

		record_begin(&record);
		for (int b = 0; b < length; b++)
		{
			char		byte = next_random(&seed) % 3 ? 0 :
				(char) (next_random(&seed) % 20);

			buffer_append(&record, &byte, 1);
		}
		record_seal(&record, MAGIC, 3);
		/* exactly as long as it is, so that ASan sees the end */
		exact = malloc(record.length);
		memcpy(exact, record.data, record.length);
		opened += record_open(&reader, exact, record.length, MAGIC, 3) == RECORD_OK;
		for (int n = 0; n < 10; n++)
		{
			if (next_random(&seed) % 2)
				record_get_int(&reader);
			else
				record_get_string(&reader, text, sizeof(text));
		}
		free(exact);
		buffer_free(&record);
	}
	ok(opened == 50000, "random bodies are read without harm");
}

int
main(void)
{
	test_round_trip();
	test_refusals();
	test_random_bodies();
	return done_testing();
}
