/*-------------------------------------------------------------------------
 *
 * endpoint.c
 *	  The moment that a recovery has come to.
 *
 *-------------------------------------------------------------------------
 */
#include "endpoint.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "logchain.h"

/* Layout of WAL: pages, their headers, and what a record has at least. */
#define WAL_PAGE			8192
#define LONG_HEADER			40	/* of the first page of a segment */
#define SHORT_HEADER		24
#define RECORD_HEADER		24
#define MAX_RECORD			(1024 * 1024 * 1024)

/* A line of a history file: a timeline, where it was left, and why. */
static bool
read_line(EndPoint *end, const char *line)
{
	unsigned	timeline;
	unsigned	high;
	unsigned	low;
	int			length = 0;

	if (sscanf(line, "%u\t%X/%X%n", &timeline, &high, &low, &length) != 3 ||
		timeline == 0)
		return false;
	end->timeline = timeline;
	end->lsn = (uint64_t) high << 32 | low;
	line += length + (line[length] == '\t');
	if (strcmp(line, "no recovery target specified") == 0)
		line = "";
	snprintf(end->why, sizeof(end->why), "%s", line);
	return true;
}

/* The last line that is one counts. */
bool
endpoint_read_history(EndPoint *end, const char *bytes, size_t length)
{
	while (length > 0)
	{
		const char *newline = memchr(bytes, '\n', length);
		size_t		count = newline != NULL ? (size_t) (newline - bytes) : length;
		char		line[256];

		snprintf(line, sizeof(line), "%.*s", (int) count, bytes);
		end->known = read_line(end, line) || end->known;
		count += newline != NULL;
		bytes += count;
		length -= count;
	}
	return end->known;
}

/* What follows the last of these words in a text, or NULL. */
static const char *
find_behind(const char *log, const char *words)
{
	const char *found = NULL;

	while ((log = strstr(log, words)) != NULL)
	{
		log += strlen(words);
		found = log;
	}
	return found;
}

void
endpoint_read_log(EndPoint *end, const char *log)
{
	const char *record = find_behind(log, "redo done at ");
	const char *when = find_behind(log, "last completed transaction was at log time ");
	const char *timeline = find_behind(log, "selected new timeline ID: ");
	unsigned	high;
	unsigned	low;

	if (timeline != NULL)
		end->new_timeline = (uint32_t) strtoul(timeline, NULL, 10);
	if (record != NULL && sscanf(record, "%X/%X", &high, &low) == 2)
		end->last_record = (uint64_t) high << 32 | low;
	if (when != NULL)
		snprintf(end->last_time, sizeof(end->last_time), "%.*s",
				 (int) strcspn(when, "\n"), when);
}

/* The length of the header of a page, or 0 within one. */
static uint64_t
header_at(uint64_t lsn, uint32_t segment_size)
{
	if (lsn % WAL_PAGE != 0)
		return 0;
	return lsn % segment_size == 0 ? LONG_HEADER : SHORT_HEADER;
}

/* Where a record ends that begins there, with the headers in between. */
static uint64_t
end_of_record(uint64_t lsn, uint32_t length, uint32_t segment_size)
{
	while (length > 0)
	{
		uint64_t	room;

		lsn += header_at(lsn, segment_size);
		room = WAL_PAGE - lsn % WAL_PAGE;
		if (room > length)
			room = length;
		lsn += room;
		length -= (uint32_t) room;
	}
	return lsn;
}

/* The length that a record has by its first bytes; 0 when there is none. */
static uint32_t
read_record_length(const EndPoint *end, int directory, uint64_t lsn,
				   uint32_t segment_size)
{
	char		name[LOGCHAIN_NAME_SIZE];
	char		path[LOGCHAIN_NAME_SIZE + 8];
	uint32_t	length = 0;
	int			fd;

	logchain_segment_name(name, end->timeline, lsn / segment_size,
						  segment_size);
	snprintf(path, sizeof(path), "pg_wal/%s", name);
	fd = openat(directory, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return 0;
	if (pread(fd, &length, sizeof(length), (off_t) (lsn % segment_size)) !=
		sizeof(length))
		length = 0;
	close(fd);
	return length;
}

bool
endpoint_is_cut(const EndPoint *end, int directory, uint64_t lsn,
				uint32_t segment_size)
{
	uint64_t	begin = end->lsn + header_at(end->lsn, segment_size);
	uint32_t	length;

	/* only between segments is a record cut */
	if (lsn % segment_size != 0)
		return false;
	length = read_record_length(end, directory, begin, segment_size);
	return length >= RECORD_HEADER && length <= MAX_RECORD &&
		end_of_record(begin, length, segment_size) > lsn;
}
