/*-------------------------------------------------------------------------
 *
 * page.c
 *	  Page checksums, portable and with AVX2, and the verdict on a page.
 *
 *-------------------------------------------------------------------------
 */
#include "page.h"

#include <string.h>

#define COLUMNS		32
#define ROWS		(ENG_PAGE_SIZE / 4 / COLUMNS)
#define FNV_PRIME	16777619u

/* Offsets in the page header. */
#define PD_CHECKSUM 8
#define PD_UPPER	14

/* The word that holds pd_checksum (its low half) and pd_flags. */
#define CHECKSUM_WORD (PD_CHECKSUM / 4)
#define CHECKSUM_MASK 0xFFFF0000u

/* The start values of the columns: part of the on-disk format. */
static const uint32_t column_seed[COLUMNS]
__attribute__((aligned(32))) =
{
	0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A,
		0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C,
		0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA,
		0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB,
		0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE,
		0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4,
		0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E,
		0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756
};

/* Fold the columns and mix in the block number; never zero. */
static uint16_t
finish_checksum(const uint32_t *column, uint32_t block)
{
	uint32_t	sum = 0;

	for (int i = 0; i < COLUMNS; i++)
		sum ^= column[i];
	sum ^= block;
	return (uint16_t) (sum % 65535 + 1);
}

static inline uint32_t
mix(uint32_t column, uint32_t value)
{
	uint32_t	x = column ^ value;

	return (x * FNV_PRIME) ^ (x >> 17);
}

uint16_t
page_checksum_portable(const void *page, uint32_t block)
{
	const unsigned char *bytes = page;
	uint32_t	column[COLUMNS];
	uint32_t	row[COLUMNS];

	memcpy(column, column_seed, sizeof(column));
	for (int r = 0; r < ROWS; r++)
	{
		memcpy(row, bytes + r * sizeof(row), sizeof(row));
		if (r == 0)
			row[CHECKSUM_WORD] &= CHECKSUM_MASK;
		for (int i = 0; i < COLUMNS; i++)
			column[i] = mix(column[i], row[i]);
	}
	for (int round = 0; round < 2; round++)
	{
		for (int i = 0; i < COLUMNS; i++)
			column[i] = mix(column[i], 0);
	}
	return finish_checksum(column, block);
}

#if defined(__x86_64__)

#include <immintrin.h>

bool
page_checksum_has_avx2(void)
{
	return __builtin_cpu_supports("avx2");
}

__attribute__((target("avx2")))
static inline __m256i
mix_avx2(__m256i column, __m256i value)
{
	__m256i		x = _mm256_xor_si256(column, value);

	return _mm256_xor_si256(_mm256_mullo_epi32(x, _mm256_set1_epi32(FNV_PRIME)),
							_mm256_srli_epi32(x, 17));
}

__attribute__((target("avx2")))
uint16_t
page_checksum_avx2(const void *page, uint32_t block)
{
	const		__m256i *row = page;
	const		__m256i *seed = (const __m256i *) column_seed;
	const		__m256i no_checksum =
		_mm256_set_epi32(-1, -1, -1, -1, -1, (int) CHECKSUM_MASK, -1, -1);
	__m256i		c0 = seed[0];
	__m256i		c1 = seed[1];
	__m256i		c2 = seed[2];
	__m256i		c3 = seed[3];
	uint32_t	column[COLUMNS] __attribute__((aligned(32)));

	c0 = mix_avx2(c0, _mm256_and_si256(_mm256_loadu_si256(row), no_checksum));
	c1 = mix_avx2(c1, _mm256_loadu_si256(row + 1));
	c2 = mix_avx2(c2, _mm256_loadu_si256(row + 2));
	c3 = mix_avx2(c3, _mm256_loadu_si256(row + 3));
	for (int r = 1; r < ROWS; r++)
	{
		row += 4;
		c0 = mix_avx2(c0, _mm256_loadu_si256(row));
		c1 = mix_avx2(c1, _mm256_loadu_si256(row + 1));
		c2 = mix_avx2(c2, _mm256_loadu_si256(row + 2));
		c3 = mix_avx2(c3, _mm256_loadu_si256(row + 3));
	}
	for (int round = 0; round < 2; round++)
	{
		c0 = mix_avx2(c0, _mm256_setzero_si256());
		c1 = mix_avx2(c1, _mm256_setzero_si256());
		c2 = mix_avx2(c2, _mm256_setzero_si256());
		c3 = mix_avx2(c3, _mm256_setzero_si256());
	}
	_mm256_store_si256((__m256i *) column, c0);
	_mm256_store_si256((__m256i *) column + 1, c1);
	_mm256_store_si256((__m256i *) column + 2, c2);
	_mm256_store_si256((__m256i *) column + 3, c3);
	return finish_checksum(column, block);
}

#else							/* no AVX2 on this architecture */

bool
page_checksum_has_avx2(void)
{
	return false;
}

uint16_t
page_checksum_avx2(const void *page, uint32_t block)
{
	return page_checksum_portable(page, block);
}

#endif

uint16_t
page_checksum(const void *page, uint32_t block)
{
	/* cheap: the compiler's run-time keeps the answer in a variable */
	if (page_checksum_has_avx2())
		return page_checksum_avx2(page, block);
	return page_checksum_portable(page, block);
}

static uint16_t
get_u16(const unsigned char *p)
{
	uint16_t	v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* pd_lsn is stored as two words, the high one first. */
static uint64_t
page_lsn(const unsigned char *page)
{
	uint32_t	high;
	uint32_t	low;

	memcpy(&high, page, sizeof(high));
	memcpy(&low, page + 4, sizeof(low));
	return ((uint64_t) high << 32) | low;
}

static bool
all_zero(const unsigned char *page)
{
	return page[0] == 0 && memcmp(page, page + 1, ENG_PAGE_SIZE - 1) == 0;
}

PageVerdict
page_verify(const void *page, uint32_t block,
			uint64_t start_lsn, uint64_t lsn_limit)
{
	const unsigned char *bytes = page;
	uint64_t	lsn;

	/* "new" in PageIsNew()'s sense */
	if (get_u16(bytes + PD_UPPER) == 0)
		return all_zero(bytes) ? PAGE_GOOD : PAGE_DAMAGED;

	lsn = page_lsn(bytes);
	if (lsn >= start_lsn)
	{
		if (lsn <= lsn_limit)
			return PAGE_GOOD;
		return PAGE_AHEAD;
	}
	if (page_checksum(page, block) == get_u16(bytes + PD_CHECKSUM))
		return PAGE_GOOD;
	return PAGE_DAMAGED;
}
