/*-------------------------------------------------------------------------
 *
 * page.h
 *	  Is this page of a relation what PostgreSQL wrote?
 *
 * The layout of a page header and the checksum are PostgreSQL's on-disk
 * format (src/include/storage/bufpage.h, checksum_impl.h): an FNV-1a hash
 * over 32 interleaved columns, so that it vectorises.  Unlike the server's
 * routine this one does not write to the page, so that it may look at
 * buffers others can see.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_PAGE_H
#define ESE_PAGE_H

#include <stdbool.h>
#include <stdint.h>

/* Pages, and whatever else is read from the cluster, are in host order. */
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "ese needs a little-endian machine"
#endif

/* The server's, as compat.h makes sure. */
#define ENG_PAGE_SIZE 8192

/* What page_verify() found. */
typedef enum PageVerdict
{
	PAGE_GOOD,					/* new and all zero, written since the backup
								 * began, or the checksum is right */
	PAGE_DAMAGED,				/* the checksum is wrong, or a page marked new
								 * holds something */
	PAGE_AHEAD,					/* its LSN lies beyond lsn_limit: ask again
								 * with a newer limit before calling it
								 * damaged */
} PageVerdict;

/*
 * The checksum of a page of ENG_PAGE_SIZE bytes, aligned to 4 bytes.  block
 * is the block's number in the whole fork (not in the segment file).
 */
extern uint16_t page_checksum(const void *page, uint32_t block);

/* The same by a given implementation; for tests and benchmarks. */
extern uint16_t page_checksum_portable(const void *page, uint32_t block);
extern bool page_checksum_has_avx2(void);
extern uint16_t page_checksum_avx2(const void *page, uint32_t block);

/*
 * Judge a page.  Pages with an LSN at or above start_lsn were written after
 * the backup began: WAL replay replaces them whole, torn or not, so that
 * their checksum says nothing; but an LSN above lsn_limit (a WAL position
 * read after the page was) is no LSN of this cluster.
 */
extern PageVerdict page_verify(const void *page, uint32_t block,
							   uint64_t start_lsn, uint64_t lsn_limit);

#endif							/* ESE_PAGE_H */
