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

#define FRAME_LENGTH		(256 * 1024)

/*
 * From this level on zstd is so slow that it is given a frame in pieces, so
 * that a stop can come in between: of 64 KiB, of which it makes blocks of
 * 128 KiB.
 */
#define ZSTD_SLOW_LEVEL		5
#define SLOW_PIECE			(64 * 1024)

/* And from this one on it finds much more in longer frames. */
#define ZSTD_LONG_LEVEL		10
#define LONG_FRAME_LENGTH	(1024 * 1024)

struct Compressor
{
	Compression how;
	ZSTD_CCtx  *zstd;
	LZ4F_cctx  *lz4;
	LZ4F_preferences_t preferences;
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
	c->preferences.frameInfo.contentChecksumFlag = LZ4F_contentChecksumEnabled;
	c->preferences.compressionLevel = c->how.level;
	/* without this the library copies what it is given */
	c->preferences.autoFlush = 1;
	return !LZ4F_isError(LZ4F_createCompressionContext(&c->lz4, LZ4F_VERSION));
}

static bool
start_zstd(Compressor *c)
{
	c->zstd = ZSTD_createCCtx();
	return c->zstd != NULL &&
		!ZSTD_isError(ZSTD_CCtx_setParameter(c->zstd, ZSTD_c_compressionLevel,
											 c->how.level)) &&
		!ZSTD_isError(ZSTD_CCtx_setParameter(c->zstd, ZSTD_c_checksumFlag, 1));
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
compress_frame_length(const Compression *how)
{
	return how->kind == COMPRESS_ZSTD && how->level >= ZSTD_LONG_LEVEL ?
		LONG_FRAME_LENGTH : FRAME_LENGTH;
}

size_t
compressor_room(const Compressor *c)
{
	if (c->how.kind == COMPRESS_ZSTD)
		return ZSTD_compressBound(compress_frame_length(&c->how));
	return LZ4F_compressFrameBound(compress_frame_length(&c->how),
								   &c->preferences);
}

static bool
frame_lz4(Compressor *c, const char *from, size_t length, char *to,
		  size_t *made)
{
	size_t		room = compressor_room(c);
	size_t		n;

	n = LZ4F_compressBegin(c->lz4, to, room, &c->preferences);
	if (LZ4F_isError(n))
		return false;
	*made = n;
	n = LZ4F_compressUpdate(c->lz4, to + *made, room - *made, from, length,
							NULL);
	if (LZ4F_isError(n))
		return false;
	*made += n;
	n = LZ4F_compressEnd(c->lz4, to + *made, room - *made, NULL);
	if (LZ4F_isError(n))
		return false;
	*made += n;
	return true;
}

/* One call for the whole frame spares zstd to copy it. */
static bool
frame_zstd(Compressor *c, const char *from, size_t length, char *to,
		   size_t *made, bool (*go_on) (void *arg), void *arg)
{
	size_t		piece = c->how.level >= ZSTD_SLOW_LEVEL ? SLOW_PIECE : length;
	ZSTD_inBuffer in = {from, 0, 0};
	ZSTD_outBuffer out = {to, compressor_room(c), 0};
	size_t		left;

	if (ZSTD_isError(ZSTD_CCtx_reset(c->zstd, ZSTD_reset_session_only)) ||
		ZSTD_isError(ZSTD_CCtx_setPledgedSrcSize(c->zstd, length)))
		return false;
	do
	{
		in.size = length - in.size <= piece ? length : in.size + piece;
		if (!go_on(arg))
			return false;
		do
		{
			left = ZSTD_compressStream2(c->zstd, &out, &in,
										in.size == length ? ZSTD_e_end :
										ZSTD_e_continue);
			if (ZSTD_isError(left) || out.pos == out.size)
				return false;
		} while (in.pos < in.size || (in.size == length && left > 0));
	} while (in.size < length);
	*made = out.pos;
	return true;
}

bool
compressor_frame(Compressor *c, const char *from, size_t length, char *to,
				 size_t *made, bool (*go_on) (void *arg), void *arg)
{
	if (c->how.kind == COMPRESS_LZ4)
		return frame_lz4(c, from, length, to, made);
	return frame_zstd(c, from, length, to, made, go_on, arg);
}
