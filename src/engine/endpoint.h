/*-------------------------------------------------------------------------
 *
 * endpoint.h
 *	  The moment that a recovery has come to.
 *
 * A recovery that ends well begins a timeline, whose history file tells where.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_ENDPOINT_H
#define ESE_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct EndPoint
{
	bool		known;			/* the next three are */
	uint32_t	timeline;
	uint64_t	lsn;			/* the end of the last record that was
								 * replayed */
	char		why[128];		/* "after transaction 745"; empty: the logs
								 * were at their end */
	uint32_t	new_timeline;	/* the one that was begun; 0: not known */
	uint64_t	last_record;	/* where it begins; 0: not known */
	char		last_time[48];	/* of the last transaction that was replayed;
								 * empty: none was */
} EndPoint;

/* What the history file of the timeline says that it has begun. */
extern bool endpoint_read_history(EndPoint *end, const char *bytes,
								  size_t length);

/* What its server's log (NUL-terminated) says. */
extern void endpoint_read_log(EndPoint *end, const char *log);

/*
 * Does the record that follows an end reach beyond an LSN, or up to it?  Then
 * the logs, which end there, have no more whole records.  "directory" has
 * them below pg_wal.
 */
extern bool endpoint_is_cut(const EndPoint *end, int directory, uint64_t lsn,
							uint32_t segment_size);

#endif							/* ESE_ENDPOINT_H */
