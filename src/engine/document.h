/*-------------------------------------------------------------------------
 *
 * document.h
 *	  JSON that ends with a checksum over itself, as backup manifests do.
 *
 * Lists have one element a line, and the last line holds the SHA-256 of all
 * lines before it:
 *
 *		{ "Some-Version": 1,
 *		"Key": "value",
 *		"List": [
 *		{ "Path": "a", "Size": 1 },
 *		{ "Path": "b", "Size": 2 }
 *		],
 *		"Manifest-Checksum": "..."}
 *
 * So a document can be written and read a line at a time.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_DOCUMENT_H
#define ESE_DOCUMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"
#include "digest.h"

/* Of Jansson, whose header knows names that the server's know too. */
typedef struct json_t json_t;

/* Paths in documents are shorter: as long as a server's. */
#define DOCUMENT_MAX_PATH 1024

/* A document's checksum as text, with its NUL. */
#define DOCUMENT_CHECKSUM_SIZE 65

/* ---- writing */

/* Takes bytes of the document, in order; false when it cannot. */
typedef bool (*DocumentWriter) (void *arg, const char *bytes, size_t length);

/* Only a piece of it is ever in memory. */
typedef struct Document
{
	ByteBuffer	bytes;			/* not yet written */
	bool		first;			/* no element of the current list yet */
	bool		failed;			/* the writer, or memory, has failed */
	Digest		digest;			/* of everything written */
	uint64_t	size;			/* bytes written */
	DocumentWriter writer;
	void	   *arg;
} Document;

extern void document_begin(Document *document, DocumentWriter writer,
						   void *arg);

/* Append at most 511 bytes of formatted text. */
#define document_format(document, ...) \
	buffer_format(&(document)->bytes, __VA_ARGS__)

/* A string in quotes, escaped. */
extern void document_string(Document *document, const char *string);

/* "Path": "..." of any bytes but NUL; "Encoded-Path" if they are no UTF-8. */
extern void document_path(Document *document, const char *path);

/* , "Checksum-Algorithm": "...", "Checksum": "..."; nothing when there is none */
extern void document_digest(Document *document, const DigestValue *digest);

/* "Key": [ and what ends it. */
extern void document_begin_list(Document *document, const char *key);
extern void document_end_list(Document *document);

/* What stands before each element of a list. */
extern void document_next_element(Document *document);

/* Between elements: write what has come together, if it is much. */
extern void document_relieve(Document *document);

/*
 * Add the checksum, also as text to checksum[DOCUMENT_CHECKSUM_SIZE], and
 * write the rest.  False when the writer failed or memory was out on the way.
 */
extern bool document_finish(Document *document, char *checksum);
extern void document_free(Document *document);

/* The last line of a document with this checksum: to[DOCUMENT_LAST_LINE + 1]. */
#define DOCUMENT_LAST_LINE 89

extern void document_last_line(char *to, const DigestValue *digest);

/* Is this valid UTF-8 (no surrogates, nothing overlong, at most U+10FFFF)? */
extern bool utf8_valid(const char *string);

/* ---- reading */

/* Why a document is refused. */
typedef struct DocumentProblem
{
	uint32_t	line;			/* that it is about; 0 for the whole */
	bool		unknown_version;	/* it is a newer version's */
	char		why[160];		/* a phrase: "its own checksum is wrong" */
} DocumentProblem;

/* The lines of a document. */
typedef struct DocumentReader
{
	const char *start;
	const char *at;				/* the next line */
	const char *end;
	uint32_t	line;
	const char *why;			/* the first thing that was wrong, or NULL */
} DocumentReader;

extern void document_open(DocumentReader *reader, const char *bytes,
						  size_t length);

/* Note what is wrong; always false. */
extern bool document_refuse(DocumentReader *reader, const char *why);

/* The next line, without its end; false at the end of the document. */
extern bool document_next_line(DocumentReader *reader, const char **line,
							   size_t *length);
extern bool document_line_is(const char *line, size_t length,
							 const char *wanted);
extern bool document_expect_line(DocumentReader *reader, const char *wanted);

/* Reads one element of a list; false, and refused, when it is damaged. */
typedef bool (*ElementReader) (DocumentReader *reader, const json_t *element,
							   void *arg);

/* The lines of a list, up to the one that closes it. */
extern bool document_read_list(DocumentReader *reader,
							   ElementReader read_element, void *arg);

/*
 * The rest must be one line with the SHA-256 of all before it, which goes to
 * checksum[DOCUMENT_CHECKSUM_SIZE].
 */
extern bool document_check_end(DocumentReader *reader, char *checksum);

/*
 * For documents of ours, whose first line is { "<key>": <version>, in every
 * version.  Look at the checksum, then at the version, then read all lines up
 * to the first list as one object.  NULL, and *problem, when one of these is
 * not as it must be; else the reader stands before the list.
 */
extern json_t *document_open_ours(DocumentReader *reader, const char *bytes,
								  size_t length, const char *key, int version,
								  const char *noun, char *checksum,
								  DocumentProblem *problem);

/* Values of an object, each in its range; false when it is not that. */
extern bool document_get_int(const json_t *object, const char *key,
							 int64_t from, int64_t to, int64_t *value);
extern bool document_get_lsn(const json_t *object, const char *key,
							 uint64_t *lsn);
extern bool document_get_checksum(const json_t *object, const char *key,
								  char *checksum);

/* A non-empty string that fits into value[size]. */
extern bool document_get_string(const json_t *object, const char *key,
								char *value, size_t size);

/* A number as a string of digits: JSON libraries take some for too large. */
extern bool document_get_big(const json_t *object, const char *key,
							 uint64_t *value);

/* The path of an element, malloc'd; NULL when there is none. */
extern char *document_get_path(const json_t *object);

/* Its digest; kind is DIGEST_NONE when it has none. */
extern bool document_get_digest(DocumentReader *reader, const json_t *object,
								DigestValue *digest);

#endif							/* ESE_DOCUMENT_H */
