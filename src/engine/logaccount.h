/*-------------------------------------------------------------------------
 *
 * logaccount.h
 *	  What the logs of a backup are, as they are read; and the log manifest
 *	  that says so.
 *
 * The manifest is a file of the backup that does not exist before somebody
 * reads it.  Its size is known from the start; its bytes are made by the
 * thread that reads it, of the digests of what has been read by then.  Logs
 * do not change any more, so those that nobody has read yet are read for that:
 * their digests are those of what will be delivered.
 *
 * Any thread may use an account at any time.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_LOGACCOUNT_H
#define ESE_LOGACCOUNT_H

#include "file.h"
#include "logmanifest.h"

typedef struct LogAccount LogAccount;

/* What a log manifest says but for its files. */
typedef struct LogFacts
{
	LogManifestHead head;
	ManifestWalRange *ranges;	/* newest first */
	uint32_t	range_count;
	DigestKind	digest;			/* of its files */
} LogFacts;

/*
 * An account of a list of logs and patch files, in which it stands for itself
 * (FileEntry.made).  Names and bytes of the entries must stay as they are.
 * NULL when memory is out.
 */
extern LogAccount *logaccount_new(const LogFacts *facts,
								  const FileEntry *entries, uint32_t count);

/* Nobody uses it any more. */
extern void logaccount_free(LogAccount *account);

/* How long the manifest is. */
extern uint64_t logaccount_size(const LogAccount *account);

/*
 * A file of the list was read: it is that long, and this is its digest.  False
 * when the account knows better.
 */
extern bool logaccount_note(LogAccount *account, uint32_t index,
							uint64_t size, const DigestValue *digest);

/* Before so many bytes are read: wait as long as it takes; false to give up. */
typedef bool (*LogAccountWait) (void *arg, size_t length);

/*
 * The bytes of the manifest, valid as long as the account.  NULL and *sys_errno
 * when a log cannot be read (ECANCELED: given up).
 */
extern const char *logaccount_make(LogAccount *account, LogAccountWait wait,
								   void *arg, int *sys_errno);

/*
 * The manifest's checksum, to checksum[DOCUMENT_CHECKSUM_SIZE]; false when it
 * has not been made.
 */
extern bool logaccount_checksum(LogAccount *account, char *checksum);

#endif							/* ESE_LOGACCOUNT_H */
