/*-------------------------------------------------------------------------
 *
 * unpack.c
 *	  Decompressing with libzstd and liblz4.
 *
 *-------------------------------------------------------------------------
 */
#include "unpack.h"

#include <lz4frame.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

/* The first bytes of a frame: its magic number, and a byte of flags. */
#define HEAD_LENGTH	5

/* A frame may look back so far: 8 MiB, which every decoder should allow. */
#define ZSTD_WINDOW_LOG	23

struct Unpacker
{
	CompressKind kind;
	bool		need_checksums;
	size_t		at;				/* bytes of the frame's head that were seen; 0
								 * between frames */
	ZSTD_DCtx  *zstd;
	LZ4F_dctx  *lz4;
};

CompressKind
compress_kind_of(const char *name)
{
	const char *end = strrchr(name, '.');

	for (CompressKind kind = COMPRESS_LZ4; end != NULL && kind <= COMPRESS_ZSTD; kind++)
	{
		if (strcmp(end, compress_suffix(kind)) == 0)
			return kind;
	}
	return COMPRESS_NONE;
}

Unpacker *
unpacker_new(CompressKind kind, bool need_checksums)
{
	Unpacker   *unpacker = calloc(1, sizeof(Unpacker));
	bool		good = unpacker != NULL;

	if (!good)
		return NULL;
	unpacker->kind = kind;
	unpacker->need_checksums = need_checksums;
	if (kind == COMPRESS_LZ4)
		good = !LZ4F_isError(LZ4F_createDecompressionContext(&unpacker->lz4,
															 LZ4F_VERSION));
	else if (kind == COMPRESS_ZSTD)
	{
		unpacker->zstd = ZSTD_createDCtx();
		good = unpacker->zstd != NULL &&
			!ZSTD_isError(ZSTD_DCtx_setParameter(unpacker->zstd,
												 ZSTD_d_windowLogMax,
												 ZSTD_WINDOW_LOG));
	}
	if (good)
		return unpacker;
	unpacker_free(unpacker);
	return NULL;
}

void
unpacker_free(Unpacker *unpacker)
{
	ZSTD_freeDCtx(unpacker->zstd);
	LZ4F_freeDecompressionContext(unpacker->lz4);
	free(unpacker);
}

bool
unpacker_is_between_frames(const Unpacker *unpacker)
{
	return unpacker->at == 0;
}

/* May a frame have this byte at this place of its head? */
static bool
check_head(const Unpacker *unpacker, size_t at, unsigned char byte,
		   const char **why)
{
	static const unsigned char lz4_magic[] = {0x04, 0x22, 0x4D, 0x18};
	static const unsigned char zstd_magic[] = {0x28, 0xB5, 0x2F, 0xFD};
	const unsigned char *magic = unpacker->kind == COMPRESS_LZ4 ?
		lz4_magic : zstd_magic;

	*why = "something that is no frame lies in it";
	if (at < HEAD_LENGTH - 1)
		return byte == magic[at];
	/* zstd(1) does not look at these bits: no dictionary, and two unused */
	if (unpacker->kind == COMPRESS_ZSTD && (byte & 0x1B) != 0)
		return false;
	*why = "a frame has no checksum";
	/* in both formats it is this bit */
	return !unpacker->need_checksums || (byte & 0x04) != 0;
}

bool
unpack(Unpacker *unpacker, const char *from, size_t length, size_t *used,
	   char *to, size_t room, size_t *made, const char **why)
{
	size_t		left;
	bool		failed;

	for (size_t i = 0; unpacker->at < HEAD_LENGTH && i < length; i++)
	{
		if (!check_head(unpacker, unpacker->at, (unsigned char) from[i], why))
			return false;
		unpacker->at++;
	}
	if (unpacker->kind == COMPRESS_LZ4)
	{
		*used = length;
		*made = room;
		left = LZ4F_decompress(unpacker->lz4, to, made, from, used, NULL);
		failed = LZ4F_isError(left);
	}
	else
	{
		ZSTD_inBuffer in = {from, length, 0};
		ZSTD_outBuffer out = {to, room, 0};

		left = ZSTD_decompressStream(unpacker->zstd, &out, &in);
		*used = in.pos;
		*made = out.pos;
		failed = ZSTD_isError(left);
	}
	*why = "a frame is damaged";
	if (!failed && left == 0)
		unpacker->at = 0;
	return !failed;
}
