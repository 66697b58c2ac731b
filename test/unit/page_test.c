/* Tests of page checksums and of the verdict on a page. */
#include <stdlib.h>
#include <string.h>

#include "engine/page.h"
#include "tap.h"

#define LSN_AT(high, low) (((uint64_t) (high) << 32) | (low))

static unsigned char page[ENG_PAGE_SIZE] __attribute__((aligned(32)));

static void
put_u16(int at, uint16_t value)
{
	memcpy(page + at, &value, 2);
}

static void
put_u32(int at, uint32_t value)
{
	memcpy(page + at, &value, 4);
}

/* A page as PostgreSQL would write it, with this LSN. */
static void
make_page(unsigned *seed, uint32_t block, uint32_t high, uint32_t low)
{
	for (int i = 0; i < ENG_PAGE_SIZE; i++)
		page[i] = (unsigned char) next_random(seed);
	put_u32(0, high);
	put_u32(4, low);
	put_u16(14, 4000);			/* pd_upper */
	put_u16(8, page_checksum_portable(page, block));
}

static void
test_implementations_agree(void)
{
	unsigned	seed = 1;
	int			differences = 0;
	int			depends = 0;

	for (int i = 0; i < 2000; i++)
	{
		uint16_t	sum;

		make_page(&seed, 7, 1, 1);
		sum = page_checksum_portable(page, (uint32_t) i);
		differences += page_checksum(page, (uint32_t) i) != sum;
		if (page_checksum_has_avx2())
			differences += page_checksum_avx2(page, (uint32_t) i) != sum;
		put_u16(8, (uint16_t) i);
		depends += page_checksum_portable(page, (uint32_t) i) != sum;
		depends += page_checksum(page, (uint32_t) i) != sum;
	}
	ok(differences == 0, "portable and AVX2 agree");
	ok(depends == 0, "the stored checksum does not matter");
}

/* Values of the server's own routine for the same bytes. */
static void
test_known_values(void)
{
	for (int i = 0; i < ENG_PAGE_SIZE; i++)
		page[i] = (unsigned char) (i * 7 + (i >> 8));
	ok(page_checksum_portable(page, 0) == 15923,
	   "block 0: %u", page_checksum_portable(page, 0));
	ok(page_checksum_portable(page, 131072) == 15925,
	   "block 131072: %u", page_checksum_portable(page, 131072));
}

static void
test_verdicts(void)
{
	unsigned	seed = 2;
	uint64_t	start = LSN_AT(1, 0x1000);
	uint64_t	limit = LSN_AT(1, 0x9000);

	make_page(&seed, 42, 1, 0x500);
	ok(page_verify(page, 42, start, limit) == PAGE_GOOD, "an old, good page");
	ok(page_verify(page, 43, start, limit) == PAGE_DAMAGED,
	   "the same page in another block");
	page[5000] ^= 1;
	ok(page_verify(page, 42, start, limit) == PAGE_DAMAGED, "one bit flipped");

	put_u32(4, 0x1000);
	ok(page_verify(page, 42, start, limit) == PAGE_GOOD,
	   "damaged, but written since the start");
	put_u32(4, 0x9000);
	ok(page_verify(page, 42, start, limit) == PAGE_GOOD, "at the limit");
	put_u32(4, 0x9001);
	ok(page_verify(page, 42, start, limit) == PAGE_AHEAD, "beyond the limit");

	memset(page, 0, sizeof(page));
	ok(page_verify(page, 0, start, limit) == PAGE_GOOD, "a new page");
	page[ENG_PAGE_SIZE - 1] = 1;
	ok(page_verify(page, 0, start, limit) == PAGE_DAMAGED,
	   "a new page that is not empty");
	page[ENG_PAGE_SIZE - 1] = 0;
	page[0] = 1;
	ok(page_verify(page, 0, start, limit) == PAGE_DAMAGED,
	   "a new page with an LSN");
}

int
main(void)
{
	test_implementations_agree();
	test_known_values();
	test_verdicts();
	return done_testing();
}
