/*-------------------------------------------------------------------------
 *
 * compress.c
 *	  Compressing with libzstd and liblz4.
 *
 *-------------------------------------------------------------------------
 */
#include "compress.h"

#include <lz4frame.h>
#include <lz4hc.h>
#include <stdlib.h>
#include <zstd.h>

/* zstd compresses blocks of 128 KiB whatever it is given. */
#define ZSTD_SLICE	(64 * 1024)

/* A block of lz4: larger ones do not compress better. */
#define LZ4_SLICE	(256 * 1024)

struct Compressor
{
	Compression how;
	ZSTD_CCtx  *zstd;
	LZ4F_cctx  *lz4;
	LZ4F_preferences_t preferences;
	bool		begun;			/* a frame of lz4 is open */
};

void
compress_levels(CompressKind kind, int *lowest, int *highest, int *usual)
{
	switch (kind)
	{
		case COMPRESS_NONE:
			*lowest = *highest = *usual = 0;
			break;
		case COMPRESS_LZ4:
			*lowest = 1;
			*highest = LZ4HC_CLEVEL_MAX;
			*usual = 1;
			break;
		case COMPRESS_ZSTD:
			*lowest = 1;
			*highest = ZSTD_maxCLevel();
			*usual = ZSTD_CLEVEL_DEFAULT;
			break;
	}
}

const char *
compress_name(CompressKind kind)
{
	static const char *const names[] = {"none", "lz4", "zstd"};

	return names[kind];
}

const char *
compress_suffix(CompressKind kind)
{
	static const char *const suffixes[] = {"", ".lz4", ".zst"};

	return suffixes[kind];
}

static bool
start_lz4(Compressor *c)
{
	c->preferences.frameInfo.blockSizeID = LZ4F_max256KB;
	c->preferences.frameInfo.blockMode = LZ4F_blockIndependent;
	c->preferences.compressionLevel = c->how.level;
	/* nothing stays behind in the library: what goes in comes out */
	c->preferences.autoFlush = 1;
	return !LZ4F_isError(LZ4F_createCompressionContext(&c->lz4, LZ4F_VERSION));
}

static bool
start_zstd(Compressor *c)
{
	c->zstd = ZSTD_createCCtx();
	return c->zstd != NULL &&
		!ZSTD_isError(ZSTD_CCtx_setParameter(c->zstd, ZSTD_c_compressionLevel,
											 c->how.level));
}

Compressor *
compressor_new(const Compression *how)
{
	Compressor *c = calloc(1, sizeof(Compressor));

	if (c == NULL)
		return NULL;
	c->how = *how;
	if (how->kind == COMPRESS_LZ4 ? start_lz4(c) : start_zstd(c))
		return c;
	compressor_free(c);
	return NULL;
}

void
compressor_free(Compressor *c)
{
	ZSTD_freeCCtx(c->zstd);
	LZ4F_freeCompressionContext(c->lz4);
	free(c);
}

size_t
compressor_slice(const Compressor *c)
{
	return c->how.kind == COMPRESS_LZ4 ? LZ4_SLICE : ZSTD_SLICE;
}

size_t
compressor_room(const Compressor *c)
{
	/* what zstd has kept of earlier slices may come as well: one block */
	if (c->how.kind == COMPRESS_ZSTD)
		return ZSTD_compressBound(ZSTD_SLICE) + ZSTD_CStreamOutSize();
	return LZ4F_HEADER_SIZE_MAX + LZ4F_compressBound(LZ4_SLICE, &c->preferences);
}

static bool
add_lz4(Compressor *c, const char *from, size_t length, bool last, char *to,
		size_t *made)
{
	size_t		room = compressor_room(c);
	size_t		n;

	*made = 0;
	if (!c->begun)
	{
		n = LZ4F_compressBegin(c->lz4, to, room, &c->preferences);
		if (LZ4F_isError(n))
			return false;
		*made = n;
		c->begun = true;
	}
	n = LZ4F_compressUpdate(c->lz4, to + *made, room - *made, from, length,
							NULL);
	if (LZ4F_isError(n))
		return false;
	*made += n;
	if (!last)
		return true;
	n = LZ4F_compressEnd(c->lz4, to + *made, room - *made, NULL);
	if (LZ4F_isError(n))
		return false;
	*made += n;
	c->begun = false;
	return true;
}

static bool
add_zstd(Compressor *c, const char *from, size_t length, bool last, char *to,
		 size_t *made)
{
	ZSTD_inBuffer in = {from, length, 0};
	ZSTD_outBuffer out = {to, compressor_room(c), 0};
	size_t		left;

	do
	{
		left = ZSTD_compressStream2(c->zstd, &out, &in,
									last ? ZSTD_e_end : ZSTD_e_continue);
		if (ZSTD_isError(left) || out.pos == out.size)
			return false;
	} while (in.pos < in.size || (last && left > 0));
	*made = out.pos;
	return true;
}

bool
compressor_add(Compressor *c, const char *from, size_t length, bool last,
			   char *to, size_t *made)
{
	if (c->how.kind == COMPRESS_LZ4)
		return add_lz4(c, from, length, last, to, made);
	return add_zstd(c, from, length, last, to, made);
}
