/*-------------------------------------------------------------------------
 *
 * pack.c
 *	  Compressing the slices of a stream.
 *
 *-------------------------------------------------------------------------
 */
#include "pack.h"

#include <stdlib.h>

Packer *
packer_new(const Compression *how)
{
	Packer	   *packer = calloc(1, sizeof(Packer));

	if (packer == NULL)
		return NULL;
	packer->how = *how;
	packer->slice_length = (uint32_t) compress_frame_length(how);
	return packer;
}

void
packer_free(Packer *packer)
{
	for (int i = 0; i < PACK_SLICES; i++)
	{
		PackSlice  *slice = &packer->slices[i];

		if (slice->compressor != NULL)
			compressor_free(slice->compressor);
		free(slice->raw);
		free(slice->packed);
	}
	free(packer);
}

static PackSlice *
slice_at(Packer *packer, uint64_t number)
{
	return &packer->slices[number % PACK_SLICES];
}

bool
packer_has_room(const Packer *packer)
{
	return packer->filled - packer->taken < PACK_SLICES;
}

bool
packer_is_empty(const Packer *packer)
{
	return packer->filled == packer->taken;
}

char *
packer_buffer(Packer *packer)
{
	PackSlice  *slice = slice_at(packer, packer->filled);

	if (!packer_has_room(packer))
		return NULL;
	if (slice->compressor == NULL)
		slice->compressor = compressor_new(&packer->how);
	if (slice->raw == NULL)
		slice->raw = malloc(packer->slice_length);
	if (slice->packed == NULL && slice->compressor != NULL)
		slice->packed = malloc(compressor_room(slice->compressor));
	return slice->packed != NULL ? slice->raw : NULL;
}

/* What a slice of a slow level asks for: has its job still a reason? */
typedef struct Wanted
{
	EngJob	   *job;
	EngShared  *shared;
} Wanted;

static bool
is_wanted(void *arg)
{
	Wanted	   *wanted = arg;

	return !job_is_unwanted(wanted->job, wanted->shared);
}

static void
pack(EngErrand *errand, EngShared *shared)
{
	PackSlice  *slice = (PackSlice *) errand;
	Wanted		wanted = {errand->job, shared};

	slice->failed = !compressor_frame(slice->compressor, slice->raw,
									  slice->length, slice->packed,
									  &slice->packed_length, is_wanted,
									  &wanted);
}

static void
pack_here(PackSlice *slice, EngShared *shared)
{
	pack(&slice->errand, shared);
	atomic_store(&slice->errand.done, true);
}

void
packer_add(Packer *packer, EngJob *job, EngShared *shared, uint32_t length,
		   uint32_t members)
{
	PackSlice  *slice = slice_at(packer, packer->filled++);

	slice->errand.run = pack;
	slice->errand.job = job;
	slice->length = length;
	slice->members = members;
	if (!eng_offer(&slice->errand))
		pack_here(slice, shared);
}

bool
packer_cut(Packer *packer, uint32_t members)
{
	if (packer_is_empty(packer))
		return false;
	slice_at(packer, packer->filled - 1)->members = members;
	return true;
}

PackSlice *
packer_oldest(Packer *packer)
{
	PackSlice  *slice = slice_at(packer, packer->taken);

	return !packer_is_empty(packer) && atomic_load(&slice->errand.done) ?
		slice : NULL;
}

void
packer_drop_oldest(Packer *packer)
{
	packer->taken++;
	packer->taken_at = 0;
}

bool
packer_help(Packer *packer, EngShared *shared)
{
	for (uint64_t i = packer->taken; i < packer->filled; i++)
	{
		PackSlice  *slice = slice_at(packer, i);

		if (!atomic_load(&slice->errand.done) &&
			eng_withdraw(&slice->errand))
		{
			pack_here(slice, shared);
			return true;
		}
	}
	return false;
}
