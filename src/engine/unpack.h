/*-------------------------------------------------------------------------
 *
 * unpack.h
 *	  Decompressing the frames that compress.c makes.
 *
 * It is stricter than zstd(1) and lz4(1): a stream consists of whole frames
 * and ends behind one, none is to be skipped, and each carries a checksum of
 * its contents, if that is asked for.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_UNPACK_H
#define ESE_UNPACK_H

#include "compress.h"

typedef struct Unpacker Unpacker;

/* NULL when memory is out. */
extern Unpacker *unpacker_new(CompressKind kind, bool need_checksums);
extern void unpacker_free(Unpacker *unpacker);

/*
 * Decompress some of the bytes that follow: *used of them, which makes *made.
 * False when they are not what they must be: then *why is a phrase.
 */
extern bool unpack(Unpacker *unpacker, const char *from, size_t length,
				   size_t *used, char *to, size_t room, size_t *made,
				   const char **why);

/* May the stream end here? */
extern bool unpacker_is_between_frames(const Unpacker *unpacker);

/* By the end of a file's name. */
extern CompressKind compress_kind_of(const char *name);

#endif							/* ESE_UNPACK_H */
