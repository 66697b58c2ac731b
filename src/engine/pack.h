/*-------------------------------------------------------------------------
 *
 * pack.h
 *	  The compression of a stream, by its own thread and by idle ones.
 *
 * A stream fills slices, each of which becomes a compression frame.  When a
 * thread has nothing to do, a slice is left to it, and the stream goes on
 * with the next one; so the last large file of a backup does not keep a
 * single thread busy while the others look on.  Packed slices come out in
 * the order in which they were filled.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_PACK_H
#define ESE_PACK_H

#include "compress.h"
#include "job.h"

/* So many threads at most work for one stream. */
#define PACK_SLICES 8

typedef struct PackSlice
{
	EngErrand	errand;			/* first */
	Compressor *compressor;		/* these three are made when first needed */
	char	   *raw;
	char	   *packed;
	uint32_t	length;			/* of raw */
	uint32_t	members;		/* of the stream that end with it, if it is a
								 * place to cut; else 0 */
	size_t		packed_length;
	bool		failed;
} PackSlice;

typedef struct Packer
{
	Compression how;
	uint32_t	slice_length;	/* bytes a slice takes */
	uint64_t	filled;			/* slices that were handed over */
	uint64_t	taken;			/* of these, what was taken out */
	size_t		taken_at;		/* bytes of the next one that were taken */
	PackSlice	slices[PACK_SLICES];
} Packer;

/* NULL when memory is out. */
extern Packer *packer_new(const Compression *how);

/* Its job is idle. */
extern void packer_free(Packer *packer);

/*
 * Where the next slice is to be filled.  NULL when none is free
 * (packer_has_room() says so before), or memory is out.
 */
extern char *packer_buffer(Packer *packer);
extern bool packer_has_room(const Packer *packer);
extern bool packer_is_empty(const Packer *packer);

/* That slice is filled: pack it, or leave it to another thread. */
extern void packer_add(Packer *packer, EngJob *job, EngShared *shared,
					   uint32_t length, uint32_t members);

/*
 * The stream may be cut behind the slice that was added last, with which so
 * many members end.  False when it has been taken out already.
 */
extern bool packer_cut(Packer *packer, uint32_t members);

/* The oldest slice, if it has been packed; else NULL. */
extern PackSlice *packer_oldest(Packer *packer);
extern void packer_drop_oldest(Packer *packer);

/* Pack a slice that waits for another thread; false when none does. */
extern bool packer_help(Packer *packer, EngShared *shared);

#endif							/* ESE_PACK_H */
