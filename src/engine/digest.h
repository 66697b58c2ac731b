/*-------------------------------------------------------------------------
 *
 * digest.h
 *	  The running checksum of a file, as the backup manifest wants it.
 *
 * A digest can be copied in the middle of a file, so that reading can go
 * back to a place it has passed and go on from there.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_DIGEST_H
#define ESE_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum DigestKind
{
	DIGEST_NONE,
	DIGEST_CRC32C,
	DIGEST_SHA256,
} DigestKind;

#define DIGEST_MAX_LENGTH 32

typedef struct Digest
{
	DigestKind	kind;
	uint32_t	crc;			/* DIGEST_CRC32C */
	struct evp_md_ctx_st *sha;	/* DIGEST_SHA256; owned */
} Digest;

/* The finished value, as bytes in the order the manifest prints them. */
typedef struct DigestValue
{
	uint8_t		kind;			/* DigestKind */
	uint8_t		length;
	unsigned char bytes[DIGEST_MAX_LENGTH];
} DigestValue;

/* Make a digest; false when memory is out.  Every digest is freed once. */
extern bool digest_init(Digest *digest, DigestKind kind);
extern void digest_free(Digest *digest);

/* Make it one of this kind, before its first byte. */
extern bool digest_set_kind(Digest *digest, DigestKind kind);

/* Back to the state before the first byte. */
extern bool digest_reset(Digest *digest);
extern bool digest_update(Digest *digest, const void *data, size_t length);

/* Make *to, of the same kind, equal to *from. */
extern bool digest_copy(Digest *to, const Digest *from);

/* The value so far; the digest may be updated further. */
extern bool digest_value(const Digest *digest, Digest *scratch,
						 DigestValue *value);

/* The value of one piece of memory; false when memory is out. */
extern bool digest_bytes(DigestKind kind, const void *data, size_t length,
						 DigestValue *value);

/* The manifest's name of a kind: "CRC32C", "SHA256"; NULL for none. */
extern const char *digest_manifest_name(DigestKind kind);

/* CRC-32C of one piece of memory, for our own files. */
extern uint32_t digest_crc32c(const void *data, size_t length);

#endif							/* ESE_DIGEST_H */
