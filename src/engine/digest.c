/*-------------------------------------------------------------------------
 *
 * digest.c
 *	  CRC-32C by ISA-L, SHA-256 by libcrypto.
 *
 *-------------------------------------------------------------------------
 */
#include "digest.h"

#include <isa-l/crc.h>
#include <limits.h>
#include <openssl/evp.h>
#include <string.h>

#define CRC_START 0xFFFFFFFFu

bool
digest_init(Digest *digest, DigestKind kind)
{
	digest->kind = kind;
	digest->sha = NULL;
	if (kind == DIGEST_SHA256)
	{
		digest->sha = EVP_MD_CTX_new();
		if (digest->sha == NULL)
			return false;
	}
	return digest_reset(digest);
}

void
digest_free(Digest *digest)
{
	EVP_MD_CTX_free(digest->sha);
	digest->sha = NULL;
}

bool
digest_set_kind(Digest *digest, DigestKind kind)
{
	if (digest->kind == kind)
		return digest_reset(digest);
	digest_free(digest);
	return digest_init(digest, kind);
}

bool
digest_reset(Digest *digest)
{
	digest->crc = CRC_START;
	if (digest->kind == DIGEST_SHA256)
		return EVP_DigestInit_ex(digest->sha, EVP_sha256(), NULL) == 1;
	return true;
}

/* ISA-L takes an int for the length. */
static uint32_t
crc32c_update(uint32_t crc, const void *data, size_t length)
{
	const unsigned char *p = data;

	while (length > 0)
	{
		int			part = length > INT_MAX ? INT_MAX : (int) length;

		crc = crc32_iscsi((unsigned char *) p, part, crc);
		p += part;
		length -= (size_t) part;
	}
	return crc;
}

bool
digest_update(Digest *digest, const void *data, size_t length)
{
	switch (digest->kind)
	{
		case DIGEST_NONE:
			break;
		case DIGEST_CRC32C:
			digest->crc = crc32c_update(digest->crc, data, length);
			break;
		case DIGEST_SHA256:
			return EVP_DigestUpdate(digest->sha, data, length) == 1;
	}
	return true;
}

bool
digest_copy(Digest *to, const Digest *from)
{
	to->crc = from->crc;
	if (from->kind == DIGEST_SHA256)
		return EVP_MD_CTX_copy_ex(to->sha, from->sha) == 1;
	return true;
}

bool
digest_value(const Digest *digest, Digest *scratch, DigestValue *value)
{
	uint32_t	crc;
	unsigned int length;

	value->kind = digest->kind;
	value->length = 0;
	switch (digest->kind)
	{
		case DIGEST_NONE:
			break;
		case DIGEST_CRC32C:
			/* the bytes of the number as they lie in memory, as core does */
			crc = ~digest->crc;
			memcpy(value->bytes, &crc, sizeof(crc));
			value->length = sizeof(crc);
			break;
		case DIGEST_SHA256:
			if (!digest_copy(scratch, digest) ||
				EVP_DigestFinal_ex(scratch->sha, value->bytes, &length) != 1)
				return false;
			value->length = (int) length;
			break;
	}
	return true;
}

bool
digest_bytes(DigestKind kind, const void *data, size_t length,
			 DigestValue *value)
{
	Digest		digest;
	Digest		scratch;
	bool		ok;

	ok = digest_init(&digest, kind);
	ok = digest_init(&scratch, kind) && ok;
	ok = ok && digest_update(&digest, data, length) &&
		digest_value(&digest, &scratch, value);
	digest_free(&digest);
	digest_free(&scratch);
	return ok;
}

const char *
digest_manifest_name(DigestKind kind)
{
	switch (kind)
	{
		case DIGEST_NONE:
			break;
		case DIGEST_CRC32C:
			return "CRC32C";
		case DIGEST_SHA256:
			return "SHA256";
	}
	return NULL;
}

uint32_t
digest_crc32c(const void *data, size_t length)
{
	return ~crc32c_update(CRC_START, data, length);
}
