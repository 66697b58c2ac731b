/*-------------------------------------------------------------------------
 *
 * logaccount.c
 *	  Gathering the digests of logs, and making the log manifest of them.
 *
 *-------------------------------------------------------------------------
 */
#include "logaccount.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* So much is read at once. */
#define READ_AT_ONCE (256 * 1024)

typedef struct LogFile
{
	const char *name;
	const char *memory;			/* its bytes, or NULL */
	const char *path;			/* else where they are */
	uint64_t	size;
	uint32_t	zeros_from;
	bool		listed;			/* not the manifest itself */
	bool		known;			/* its digest; under the mutex */
	DigestValue digest;
} LogFile;

struct LogAccount
{
	LogFacts	facts;
	uint64_t	size;
	uint32_t	count;
	LogFile    *files;

	pthread_mutex_t mutex;		/* protects what is below, and digests */
	ByteBuffer	bytes;			/* empty until it was made */
	char		checksum[DOCUMENT_CHECKSUM_SIZE];
};

/* A DocumentWriter that only counts. */
static bool
count_bytes(void *arg, const char *bytes, size_t length)
{
	(void) arg;
	(void) bytes;
	(void) length;
	return true;
}

/* Another, that keeps them. */
static bool
keep_bytes(void *arg, const char *bytes, size_t length)
{
	ByteBuffer *buffer = arg;

	buffer_append(buffer, bytes, length);
	return !buffer->failed;
}

/* Write the manifest with the digests there are. */
static bool
write_manifest(const LogAccount *account, DocumentWriter writer, void *arg,
			   char *checksum, uint64_t *size)
{
	Document	document;
	bool		good;

	logmanifest_begin(&document, &account->facts.head, writer, arg);
	for (uint32_t i = 0; i < account->facts.range_count; i++)
		logmanifest_add_range(&document, &account->facts.ranges[i]);
	logmanifest_end_ranges(&document);
	for (uint32_t i = 0; i < account->count; i++)
	{
		const LogFile *file = &account->files[i];

		if (file->listed)
			logmanifest_add_file(&document, file->name, file->size,
								 &file->digest);
	}
	good = logmanifest_finish(&document, checksum);
	*size = document.size;
	document_free(&document);
	return good;
}

/* What is to be read of an entry; its digest has its length already. */
static bool
take_entry(LogFile *file, const FileEntry *entry, DigestKind kind)
{
	file->name = entry->name;
	file->listed = !entry->made;
	if (entry->made)
		return true;
	file->memory = file_memory(entry);
	file->path = file_path(entry);
	file->size = (uint64_t) entry->size;
	if (entry->kind == FILE_LOG)
		file->zeros_from = entry->zeros_from;
	return digest_bytes(kind, "", 0, &file->digest);
}

LogAccount *
logaccount_new(const LogFacts *facts, const FileEntry *entries, uint32_t count)
{
	LogAccount *account = calloc(1, sizeof(LogAccount));
	char		checksum[DOCUMENT_CHECKSUM_SIZE];
	bool		good;

	if (account == NULL)
		return NULL;
	pthread_mutex_init(&account->mutex, NULL);
	account->facts = *facts;
	account->count = count;
	account->files = calloc(count + 1, sizeof(LogFile));
	account->facts.ranges = calloc(facts->range_count + 1,
								   sizeof(ManifestWalRange));
	good = account->files != NULL && account->facts.ranges != NULL;
	if (good)
		memcpy(account->facts.ranges, facts->ranges,
			   facts->range_count * sizeof(ManifestWalRange));
	for (uint32_t i = 0; i < count && good; i++)
		good = take_entry(&account->files[i], &entries[i], facts->digest);
	if (good && write_manifest(account, count_bytes, NULL, checksum,
							   &account->size))
		return account;
	logaccount_free(account);
	return NULL;
}

void
logaccount_free(LogAccount *account)
{
	pthread_mutex_destroy(&account->mutex);
	buffer_free(&account->bytes);
	free(account->facts.ranges);
	free(account->files);
	free(account);
}

uint64_t
logaccount_size(const LogAccount *account)
{
	return account->size;
}

static bool
same_digest(const DigestValue *a, const DigestValue *b)
{
	return a->kind == b->kind && a->length == b->length &&
		memcmp(a->bytes, b->bytes, a->length) == 0;
}

bool
logaccount_note(LogAccount *account, uint32_t index, uint64_t size,
				const DigestValue *digest)
{
	LogFile    *file = &account->files[index];
	bool		good;

	if (!file->listed)
		return true;
	if (size != file->size || digest->kind != file->digest.kind)
		return false;
	pthread_mutex_lock(&account->mutex);
	good = !file->known || same_digest(&file->digest, digest);
	file->digest = file->known ? file->digest : *digest;
	file->known = true;
	pthread_mutex_unlock(&account->mutex);
	return good;
}

static bool
is_known(LogAccount *account, const LogFile *file)
{
	bool		known;

	pthread_mutex_lock(&account->mutex);
	known = file->known;
	pthread_mutex_unlock(&account->mutex);
	return known;
}

/* A piece of a file as it is delivered; false and *sys_errno if not. */
static bool
read_piece(const LogFile *file, int fd, char *to, size_t length,
		   uint64_t offset, int *sys_errno)
{
	uint64_t	end = file->zeros_from > 0 ? file->zeros_from : file->size;
	size_t		wanted = offset >= end ? 0 :
		end - offset < length ? (size_t) (end - offset) : length;
	size_t		done = 0;

	while (done < wanted)
	{
		ssize_t		n = pread(fd, to + done, wanted - done,
							  (off_t) (offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
		{
			*sys_errno = errno;
			return false;
		}
		if (n == 0)
			break;
		done += (size_t) n;
	}
	memset(to + done, 0, length - done);
	return true;
}

/* Add a whole file to a digest; 0 or an errno. */
static int
digest_descriptor(const LogFile *file, int fd, LogAccountWait wait, void *arg,
				  Digest *digest)
{
	char	   *piece = malloc(READ_AT_ONCE);
	int			error = piece == NULL ? ENOMEM : 0;

	for (uint64_t at = 0; at < file->size && error == 0;)
	{
		uint64_t	rest = file->size - at;
		size_t		length = rest < READ_AT_ONCE ? (size_t) rest : READ_AT_ONCE;

		if (!wait(arg, length))
			error = ECANCELED;
		else if (read_piece(file, fd, piece, length, at, &error) &&
				 !digest_update(digest, piece, length))
			error = ENOMEM;
		at += length;
	}
	free(piece);
	return error;
}

static int
digest_file(const LogFile *file, DigestKind kind, LogAccountWait wait,
			void *arg, DigestValue *value)
{
	Digest		digest;
	Digest		scratch;
	int			fd;
	int			error = 0;

	if (file->memory != NULL)
		return digest_bytes(kind, file->memory, file->size, value) ? 0 : ENOMEM;
	fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return errno;
	if (!digest_init(&digest, kind) | !digest_init(&scratch, kind))
		error = ENOMEM;
	else
		error = digest_descriptor(file, fd, wait, arg, &digest);
	if (error == 0 && !digest_value(&digest, &scratch, value))
		error = ENOMEM;
	digest_free(&digest);
	digest_free(&scratch);
	close(fd);
	return error;
}

/* Read what nobody has read yet; 0 or an errno. */
static int
complete(LogAccount *account, LogAccountWait wait, void *arg)
{
	for (uint32_t i = 0; i < account->count; i++)
	{
		LogFile    *file = &account->files[i];
		DigestValue digest;
		int			error;

		if (!file->listed || is_known(account, file))
			continue;
		error = digest_file(file, account->facts.digest, wait, arg, &digest);
		if (error != 0)
			return error;
		if (!logaccount_note(account, i, file->size, &digest))
			return EIO;
	}
	return 0;
}

const char *
logaccount_make(LogAccount *account, LogAccountWait wait, void *arg,
				int *sys_errno)
{
	const char *bytes = NULL;
	uint64_t	size;

	*sys_errno = complete(account, wait, arg);
	if (*sys_errno != 0)
		return NULL;
	pthread_mutex_lock(&account->mutex);
	if (account->bytes.length == 0 &&
		!write_manifest(account, keep_bytes, &account->bytes,
						account->checksum, &size))
	{
		buffer_free(&account->bytes);
		*sys_errno = ENOMEM;
	}
	else
		bytes = account->bytes.data;
	pthread_mutex_unlock(&account->mutex);
	return bytes;
}

bool
logaccount_checksum(LogAccount *account, char *checksum)
{
	bool		made;

	pthread_mutex_lock(&account->mutex);
	made = account->bytes.length > 0;
	if (made)
		memcpy(checksum, account->checksum, DOCUMENT_CHECKSUM_SIZE);
	pthread_mutex_unlock(&account->mutex);
	return made;
}
