/*-------------------------------------------------------------------------
 *
 * compress.h
 *	  Compressing bytes into frames.
 *
 * A frame is complete in itself, with a checksum of its contents, and frames that follow one another are read
 * as one by zstd(1) and lz4(1): so a stream can be cut between two, and
 * several threads can make the frames of one stream.
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

/*
 * How many bytes a frame holds: few enough to lie in a core's cache, or, at
 * levels that look far back, more.
 */
extern size_t compress_frame_length(const Compression *how);

/* NULL when memory is out. */
extern Compressor *compressor_new(const Compression *how);
extern void compressor_free(Compressor *compressor);

/* The most that compressor_frame() makes of a whole frame. */
extern size_t compressor_room(const Compressor *compressor);

/*
 * Make a frame of at most compress_frame_length() bytes.  Where that takes
 * more than some milliseconds, go_on() is asked in between.  False when it
 * said no, or when the library fails, which means that memory is out.
 */
extern bool compressor_frame(Compressor *compressor, const char *from,
							 size_t length, char *to, size_t *made,
							 bool (*go_on) (void *arg), void *arg);

#endif							/* ESE_COMPRESS_H */
