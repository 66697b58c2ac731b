/*
 * What reads bytes that others wrote, fed with bytes that nobody would write:
 * nothing reads or writes beyond its end (run it with SAN=address,undefined),
 * every loop ends, memory stays bounded, and what is accepted makes sense.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "engine/digest.h"
#include "engine/escape.h"
#include "engine/inventory.h"
#include "engine/logname.h"
#include "engine/relfile.h"
#include "engine/tarread.h"
#include "engine/unpack.h"
#include "tap.h"

#define ROUNDS 20000

static unsigned seed = 11;

/* Exactly as long as it is, so that ASan sees the end. */
static char *
exact(const char *bytes, size_t length)
{
	char	   *copy = malloc(length > 0 ? length : 1);

	if (copy == NULL)
		abort();
	memcpy(copy, bytes, length);
	return copy;
}

/* A string of up to so many characters out of these. */
static char *
random_string(const char *of, size_t most)
{
	char		string[256];
	size_t		length = next_random(&seed) % (most + 1);

	for (size_t i = 0; i < length; i++)
		string[i] = of[next_random(&seed) % strlen(of)];
	string[length] = '\0';
	return exact(string, length + 1);
}

/* ---- names */

static void
test_escape(void)
{
	int			right = 0;
	int			decoded = 0;

	for (int i = 0; i < ROUNDS; i++)
	{
		char		bytes[64];
		size_t		length = next_random(&seed) % sizeof(bytes);
		char	   *string;
		char	   *back;

		for (size_t k = 0; k < length; k++)
			bytes[k] = (char) (1 + next_random(&seed) % 255);
		bytes[length > 0 ? length - 1 : 0] = '\0';
		string = malloc(escape_room(bytes));
		escape_encode(bytes, string);
		back = malloc(strlen(string) + 1);
		right += escape_decode(string, back) && strcmp(back, bytes) == 0;
		free(string);
		free(back);

		string = random_string("E''\\\\xx0aF~", 20);
		back = malloc(strlen(string) + 1);
		decoded += escape_decode(string, back);
		free(string);
		free(back);
	}
	ok(right == ROUNDS, "escaped names come back as they were");
	ok(decoded < ROUNDS, "random ones are read without harm, %d make sense", decoded);
}

/* Only what would be written so is taken for a relation's file. */
static void
test_relation_names(void)
{
	int			taken = 0;
	int			wrong = 0;

	for (int i = 0; i < ROUNDS * 5; i++)
	{
		char	   *name = random_string("0123456789_.fsmvinit", 12);
		char		again[64];
		int			length;
		RelFile		file;

		if (relfile_parse(name, &file))
		{
			taken++;
			length = snprintf(again, sizeof(again), "%u", file.number);
			if (file.fork != FORK_MAIN)
				length += sprintf(again + length, "_%s", relfile_fork_name(file.fork));
			if (file.segment != 0)
				sprintf(again + length, ".%u", file.segment);
			wrong += strcmp(name, again) != 0;
		}
		(void) relfile_is_temporary(name);
		free(name);
	}
	ok(taken > 0 && wrong == 0, "names of relation files: %d are some", taken);
}

static void
test_log_names(void)
{
	static const char *const names[] = {
		"pg_wal/000000010000000000000001", "pg_wal/00000002.history", "pg_wal/archive_status/000000010000000000000001.done",
		"backup_label", "global/pg_control", "pg_wal/ese_logs.17", "backup_manifest",
	};
	static const char changes[] = "/.0Fx ";
	int			taken = 0;
	int			outside = 0;

	for (int i = 0; i < ROUNDS * 5; i++)
	{
		char		path[64];
		size_t		length;

		strcpy(path, names[next_random(&seed) % 7]);
		length = strlen(path);
		for (unsigned k = next_random(&seed) % 3; k > 0; k--)
			path[next_random(&seed) % (length + 1)] = changes[next_random(&seed) % 7];
		path[length] = '\0';
		if (logname_is_allowed(path, next_random(&seed) % 2 ? 1024 * 1024 : 8192))
		{
			taken++;
			outside += !path_is_inside(path);
		}
	}
	ok(taken > 0 && outside == 0, "names of logs: %d are some, and none leads out", taken);
}

/* ---- headers of archives */

static void
seal_header(char *header)
{
	unsigned	sum = 8 * ' ';
	char		digits[8];

	for (int i = 0; i < TAR_BLOCK; i++)
		sum += i >= 148 && i < 156 ? 0 : (unsigned char) header[i];
	snprintf(digits, sizeof(digits), "%06o", sum & 0777777);
	memcpy(header + 148, digits, 7);
	header[155] = ' ';
}

static void
test_tar_headers(void)
{
	int			taken = 0;
	int			wrong = 0;

	for (int i = 0; i < ROUNDS; i++)
	{
		char		header[TAR_MAX_HEADER];
		char	   *name = random_string("abc/\xC3\xA4\xFF .", i % 4 == 0 ? 200 : 30);
		size_t		length = tar_header(header, name[0] ? name : "a", i % 5 == 0,
										next_random(&seed), 1700000000, 0, 0);
		size_t		given;
		size_t		wanted = 0;
		char	   *bytes;
		TarMember	member;
		TarHeader	what;

		for (unsigned k = next_random(&seed) % 4; k > 0; k--)
			header[next_random(&seed) % length] = (char) next_random(&seed);
		if (i % 2 == 0)
			seal_header(header);
		given = next_random(&seed) % 3 == 0 ? TAR_BLOCK : length;
		bytes = exact(header, given);
		what = tar_read_header(bytes, given, &wanted, &member);
		wrong += wanted > TAR_MAX_HEADER;
		if (what == TAR_HEADER_MEMBER)
		{
			taken++;
			wrong += memchr(member.name, '\0', sizeof(member.name)) == NULL ||
				wanted > given || member.size > INT64_MAX;
		}
		free(bytes);
		free(name);
	}
	ok(taken > 0 && wrong == 0, "headers of archives: %d are some", taken);
}

/* ---- frames */

#define CONTENTS 20000

/*
 * Unpack all, in pieces of any length; false when it is refused, or when more
 * comes than there is room for.
 */
static bool
unpack_all(CompressKind kind, bool need_checksums, const char *bytes,
		   size_t length, char *to, size_t room, size_t *made)
{
	Unpacker   *unpacker = unpacker_new(kind, need_checksums);
	const char *why = NULL;
	size_t		at = 0;
	bool		good = unpacker != NULL;
	int			idle = 0;

	*made = 0;
	while (good && *made < room && idle < 2)
	{
		size_t		piece = next_random(&seed) % 100;
		size_t		here = 1 + next_random(&seed) % 4096;
		size_t		used = 0;
		size_t		some = 0;

		if (piece > length - at)
			piece = length - at;
		if (here > room - *made)
			here = room - *made;
		good = unpack(unpacker, bytes + at, piece, &used, to + *made, here,
					  &some, &why);
		if (used > piece || some > here)
			abort();
		at += used;
		*made += some;
		idle = used == 0 && some == 0 && at == length ? idle + 1 : 0;
	}
	good = good && at == length && unpacker_is_between_frames(unpacker);
	unpacker_free(unpacker);
	return good;
}

static bool
always(void *arg)
{
	(void) arg;
	return true;
}

/* Some bits of a frame, or where it ends. */
static size_t
change_frame(char *bytes, size_t length)
{
	size_t		within = next_random(&seed) % 2 && length > 16 ? 16 : length;

	for (unsigned k = next_random(&seed) % 3; k > 0; k--)
		bytes[next_random(&seed) % within] ^= (char) (1 << next_random(&seed) % 8);
	return next_random(&seed) % 3 == 0 ? 1 + next_random(&seed) % length : length;
}

static void
test_frames(const Compression *how)
{
	const char *name = compress_name(how->kind);
	Compressor *compressor = compressor_new(how);
	char	   *contents = malloc(CONTENTS);
	char	   *found = malloc(CONTENTS + 1);
	char	   *frame = malloc(compressor_room(compressor));
	size_t		packed = 0;
	size_t		made;
	int			taken = 0;
	int			wrong = 0;

	for (size_t i = 0; i < CONTENTS; i++)
		contents[i] = (char) ('a' + next_random(&seed) % 3);
	ok(compressor_frame(compressor, contents, CONTENTS, frame, &packed, always, NULL) &&
	   unpack_all(how->kind, true, frame, packed, found, CONTENTS + 1, &made) &&
	   made == CONTENTS && memcmp(found, contents, made) == 0,
	   "%s: a frame is read in pieces of any length", name);
	for (int i = 0; i < ROUNDS / 4; i++)
	{
		char	   *whole = exact(frame, packed);
		size_t		length = change_frame(whole, packed);
		char	   *bytes = exact(whole, length);

		if (unpack_all(how->kind, true, bytes, length, found, CONTENTS + 1, &made))
		{
			taken++;
			wrong += made != CONTENTS || memcmp(found, contents, made) != 0;
		}
		free(whole);
		free(bytes);
	}
	/* the same contents can be found in more than one way */
	ok(taken < ROUNDS / 8 && wrong == 0,
	   "%s: of %d changed ones, %d are taken, and have the same contents", name, ROUNDS / 4, taken);
	compressor_free(compressor);
	free(contents);
	free(found);
	free(frame);
}

static long
memory_used(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_maxrss;		/* kB */
}

/* A frame that says it must be looked back two gigabytes. */
static void
test_wide_window(void)
{
	static const char frame[] = "\x28\xB5\x2F\xFD\x04\xA8\x01\x00\x00\x99\xE9\xD8\x51";
	long		before = memory_used();
	char		to[16];
	size_t		made;

	ok(!unpack_all(COMPRESS_ZSTD, true, frame, sizeof(frame) - 1, to, sizeof(to), &made) &&
	   !unpack_all(COMPRESS_ZSTD, false, frame, sizeof(frame) - 1, to, sizeof(to), &made),
	   "a window of two gigabytes is refused");
	ok(memory_used() - before < 64 * 1024, "and no memory is taken for it");
}

/* ---- manifests: changed, with a right checksum */

/* Put the checksum of what stands before it; false when there is no place. */
static bool
seal_manifest(char *bytes, size_t length)
{
	static const char key[] = "\"Manifest-Checksum\": \"";
	DigestValue value;
	char	   *last;

	if (length < 100)
		return false;
	last = memmem(bytes + length - 100, 100, key, strlen(key));
	if (last == NULL || (size_t) (bytes + length - last) < strlen(key) + 64 ||
		!digest_bytes(DIGEST_SHA256, bytes, (size_t) (last - bytes), &value))
		return false;
	for (int i = 0; i < 32; i++)
	{
		static const char digits[] = "0123456789abcdef";

		last[strlen(key) + 2 * (size_t) i] = digits[value.bytes[i] >> 4];
		last[strlen(key) + 2 * (size_t) i + 1] = digits[value.bytes[i] & 15];
	}
	return true;
}

/* Replace some bytes by a word that a reader may not expect. */
static size_t
change_manifest(char *bytes, size_t length, size_t room)
{
	static const char *const words[] = {
		"", "0", "-1", "99999999999999999999", "1e400", "null", "{}", "[]", "\"", "\\u0000", "\\ud800", "../", "/",
		"\n", ",", "},\n{", "\"Path\": \"..\"", "\"Encoded-Path\": \"2e2e\"", "0/0", "FFFFFFFF/FFFFFFFF",
		"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "\"Size\": -5", "\xFF", "SHA256", "CRC32C",
	};
	const char *word = words[next_random(&seed) % (sizeof(words) / sizeof(words[0]))];
	size_t		at = next_random(&seed) % (length - 95);
	size_t		gone = next_random(&seed) % 12;

	if (gone > length - 95 - at)
		gone = length - 95 - at;
	if (length - gone + strlen(word) > room)
		return length;
	memmove(bytes + at + strlen(word), bytes + at + gone, length - at - gone);
	memcpy(bytes + at, word, strlen(word));
	return length - gone + strlen(word);
}

static bool
makes_sense(const Inventory *inventory)
{
	for (uint32_t i = 0; i < inventory->count; i++)
	{
		if (!path_is_inside(inventory->files[i].path) ||
			inventory->files[i].size > INT64_MAX ||
			(i > 0 && strcmp(inventory->files[i - 1].path, inventory->files[i].path) >= 0))
			return false;
	}
	for (uint32_t i = 0; i < inventory->range_count; i++)
	{
		if (inventory->ranges[i].start_lsn > inventory->ranges[i].end_lsn ||
			inventory->ranges[i].timeline == 0)
			return false;
	}
	return inventory->range_count > 0;
}

static void
test_manifests(void)
{
	static const char whole[] =
		"{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n"
		"\"Files\": [\n"
		"{ \"Path\": \"PG_VERSION\", \"Size\": 3, \"Last-Modified\": \"2026-01-01 00:00:00 GMT\", \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"fd0d1d4a\" },\n"
		"{ \"Encoded-Path\": \"626173652fff\", \"Size\": 8192, \"Last-Modified\": \"2026-01-01 00:00:00 GMT\", \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"00000000\" }\n"
		"],\n"
		"\"WAL-Ranges\": [\n"
		"{ \"Timeline\": 1, \"Start-LSN\": \"0/2000028\", \"End-LSN\": \"0/2000100\" }\n"
		"],\n"
		"\"Manifest-Checksum\": \"0000000000000000000000000000000000000000000000000000000000000000\"}\n";
	int			sealed = 0;
	int			taken = 0;
	int			senseless = 0;

	for (int i = 0; i < ROUNDS; i++)
	{
		char		bytes[sizeof(whole) + 256];
		size_t		length = sizeof(whole) - 1;
		const char *why;
		uint32_t	line;
		char	   *copy;
		Inventory  *inventory;

		memcpy(bytes, whole, sizeof(whole));
		for (unsigned k = next_random(&seed) % 4; k > 0; k--)
			length = change_manifest(bytes, length, sizeof(bytes));
		sealed += seal_manifest(bytes, length);
		copy = exact(bytes, length);
		inventory = inventory_read(copy, length, &why, &line);
		free(copy);
		if (inventory == NULL)
			continue;
		taken++;
		senseless += !makes_sense(inventory);
		inventory_free(inventory);
	}
	ok(sealed > ROUNDS / 2 && taken > ROUNDS / 10 && senseless == 0,
	   "%d sealed manifests: %d are taken, and make sense", sealed, taken);
}

int
main(void)
{
	static const Compression lz4 = {COMPRESS_LZ4, 1};
	static const Compression zstd = {COMPRESS_ZSTD, 1};

	test_escape();
	test_relation_names();
	test_log_names();
	test_tar_headers();
	test_frames(&lz4);
	test_frames(&zstd);
	test_wide_window();
	test_manifests();
	return done_testing();
}
