/*-------------------------------------------------------------------------
 *
 * compress.h
 *	  Compressing bytes into a sequence of frames.
 *
 * A frame is complete in itself, and frames that follow one another are
 * read as one by zstd(1) and lz4(1): so a stream can be cut between two.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_COMPRESS_H
#define ESE_COMPRESS_H

#include <stdbool.h>
#include <stddef.h>

typedef enum CompressKind
{
	COMPRESS_NONE,
	COMPRESS_LZ4,
	COMPRESS_ZSTD,
} CompressKind;

/* How to compress: the kind, and its level. */
typedef struct Compression
{
	CompressKind kind;
	int			level;			/* within compress_levels() */
} Compression;

typedef struct Compressor Compressor;

/* The levels of a kind, and the one to be used when none is given. */
extern void compress_levels(CompressKind kind, int *lowest, int *highest,
							int *usual);

/* "lz4", ".lz4"; an empty suffix for none. */
extern const char *compress_name(CompressKind kind);
extern const char *compress_suffix(CompressKind kind);

/* NULL when memory is out. */
extern Compressor *compressor_new(const Compression *how);
extern void compressor_free(Compressor *compressor);

/*
 * Bytes that are best given to compressor_add() at once: it takes some
 * milliseconds.  And the most it makes of them.
 */
extern size_t compressor_slice(const Compressor *compressor);
extern size_t compressor_room(const Compressor *compressor);

/*
 * Compress at most a slice into room; "last" ends the frame.  False when the
 * library fails, which means that memory is out.
 */
extern bool compressor_add(Compressor *compressor, const char *from,
						   size_t length, bool last, char *to, size_t *made);

#endif							/* ESE_COMPRESS_H */
