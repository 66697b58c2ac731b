/*
 * Tests of accounts of logs, by several threads, and of publishing: what each
 * step leaves, and what is made of what was left.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/logaccount.h"
#include "engine/publishing.h"
#include "tap.h"

#define LOGS	30
#define THREADS 4
#define SIZE	(300 * 1024)
#define END		(100 * 1024)

static char directory[] = "/tmp/ese_logaccount_test.XXXXXX";
static FileEntry entries[LOGS + 2];
static char names[LOGS][64];
static DigestValue digests[LOGS];

/* ---- accounts */

static void
make_logs(void)
{
	char	   *bytes = malloc(SIZE);

	mkdir("pg_wal", 0700);
	for (int i = 0; i < LOGS; i++)
	{
		int			fd;

		snprintf(names[i], sizeof(names[i]), "pg_wal/%024X", i);
		memset(bytes, 'a' + i % 26, SIZE);
		fd = open(names[i], O_WRONLY | O_CREAT, 0600);
		if (fd < 0 || write(fd, bytes, SIZE) != SIZE)
			abort();
		close(fd);
		entries[i].name = names[i];
		entries[i].kind = FILE_LOG;
		entries[i].size = SIZE;
		/* the last one is delivered up to its middle */
		if (i == LOGS - 1)
		{
			entries[i].zeros_from = END;
			memset(bytes + END, 0, SIZE - END);
		}
		digest_bytes(DIGEST_SHA256, bytes, SIZE, &digests[i]);
	}
	entries[LOGS].name = "pg_wal/archive_status/x.done";
	entries[LOGS].kind = FILE_PATCH;
	entries[LOGS].contents = "";
	entries[LOGS + 1].name = "pg_wal/ese_logs.5";
	entries[LOGS + 1].kind = FILE_PATCH;
	entries[LOGS + 1].made = true;
	free(bytes);
}

static LogAccount *
new_account(void)
{
	static ManifestWalRange range = {1, 0x1000000, 0x2000000};
	LogFacts	facts = {
		.head = {
			.system_identifier = 7,
			.instance_id = 1,
			.instance = "main",
			.backup_id = 5,
			.started_at = "now",
			.timeline = 1,
			.segment_size = 1024 * 1024,
			.start_lsn = 0x1000000,
			.end_lsn = 0x2000000,
		},
		.ranges = &range,
		.range_count = 1,
		.digest = DIGEST_SHA256,
	};

	memset(facts.head.backup_manifest, 'b', DOCUMENT_CHECKSUM_SIZE - 1);
	return logaccount_new(&facts, entries, LOGS + 2);
}

static bool
wait_never(void *arg, size_t length)
{
	(void) length;
	/* so often */
	return arg == NULL || (*(int *) arg)-- > 0;
}

/* Is this the manifest of these logs? */
static bool
is_right(LogAccount *account, const char *bytes)
{
	DocumentProblem problem;
	char		checksum[DOCUMENT_CHECKSUM_SIZE];
	LogManifest *manifest = logmanifest_read(bytes, logaccount_size(account), &problem);
	int			right = 0;

	if (manifest == NULL)
		return false;
	for (int i = 0; i < LOGS; i++)
	{
		InventoryFile *file = inventory_find(manifest->files, names[i]);

		right += file != NULL && inventory_matches(file, SIZE, &digests[i]);
	}
	right += manifest->files->count == LOGS + 1;
	right += logaccount_checksum(account, checksum) &&
		strcmp(checksum, manifest->checksum) == 0;
	logmanifest_free(manifest);
	return right == LOGS + 2;
}

static void
test_account(void)
{
	LogAccount *account = new_account();
	char		checksum[DOCUMENT_CHECKSUM_SIZE];
	DigestValue wrong = digests[1];
	const char *bytes;
	int			sys_errno;
	int			turns = 5;

	ok(account != NULL && logaccount_size(account) > 0, "its size is known");
	ok(!logaccount_checksum(account, checksum), "its checksum is not");
	ok(logaccount_note(account, 0, SIZE, &digests[0]), "a log was read");
	ok(!logaccount_note(account, 1, SIZE - 1, &digests[1]), "of another size");
	bytes = logaccount_make(account, wait_never, &turns, &sys_errno);
	ok(bytes == NULL && sys_errno == ECANCELED, "making it was given up");
	bytes = logaccount_make(account, wait_never, NULL, &sys_errno);
	ok(bytes != NULL && is_right(account, bytes), "made, of what nobody has read as well");
	ok(logaccount_make(account, wait_never, NULL, &sys_errno) == bytes, "once");
	wrong.bytes[0] ^= 1;
	ok(!logaccount_note(account, 1, SIZE, &wrong), "a log that is another");
	ok(logaccount_note(account, 1, SIZE, &digests[1]), "one that is as it was");
	ok(logaccount_note(account, LOGS + 1, 12, &wrong), "itself it does not list");
	logaccount_free(account);
}

static void
test_missing(void)
{
	LogAccount *account = new_account();
	int			sys_errno;

	rename(names[3], "away");
	ok(logaccount_make(account, wait_never, NULL, &sys_errno) == NULL &&
	   sys_errno == ENOENT, "a log is missing");
	rename("away", names[3]);
	ok(logaccount_make(account, wait_never, NULL, &sys_errno) != NULL, "no more");
	logaccount_free(account);
}

/* Half of the threads read logs, the others the manifest. */
static void *
use_account(void *arg)
{
	static _Atomic int number;
	LogAccount *account = arg;
	int			own = atomic_fetch_add(&number, 1);
	int			sys_errno;
	bool		good = true;

	for (int i = 0; i < LOGS && own % 2 == 0; i++)
		good = logaccount_note(account, (uint32_t) i, SIZE, &digests[i]) && good;
	if (own % 2 == 1)
		good = logaccount_make(account, wait_never, NULL, &sys_errno) != NULL;
	return good ? arg : NULL;
}

static void
test_threads(void)
{
	LogAccount *account = new_account();
	pthread_t	threads[THREADS];
	int			good = 0;
	int			sys_errno;

	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, use_account, account);
	for (int i = 0; i < THREADS; i++)
	{
		void	   *result;

		pthread_join(threads[i], &result);
		good += result != NULL;
	}
	ok(good == THREADS, "several threads use it");
	ok(is_right(account, logaccount_make(account, wait_never, NULL, &sys_errno)), "and it is right");
	logaccount_free(account);
}

/* ---- publishing */

static void
touch(const char *name)
{
	int			fd = open(name, O_WRONLY | O_CREAT, 0600);

	if (fd < 0)
		abort();
	close(fd);
}

static IndexLink
link_of(int64_t id)
{
	IndexLink	link = {.backup_id = id,.incremental = id > 1,.timeline = 1};

	memset(link.checksum, 'c', DOCUMENT_CHECKSUM_SIZE - 1);
	return link;
}

/* Backup "id", which follows those of an index, ready to be published. */
static Publishing *
new_publishing(int target, int64_t id, const BackupIndex *index)
{
	Publishing *publishing = calloc(1, sizeof(Publishing));
	char		name[64];

	publishing->directory = target;
	publishing->mode = 0600;
	publishing->suffix = ".new";
	publishing->index = *index;
	publishing->index.adding = link_of(id);
	snprintf(name, sizeof(name), "pg_wal/ese_logs.%d", (int) id);
	if (!publishing_add_name(publishing, name) ||
		!publishing_add_name(publishing, "pg_wal/segment") ||
		!publishing_add_leftover(publishing, "pg_wal/ese_logs.2") ||
		!publishing_add_leftover(publishing, "pg_wal/never_there"))
		abort();
	strcat(name, ".new");
	touch(name);
	touch("pg_wal/segment.new");
	return publishing;
}

static int64_t
read_index(int target, BackupIndex *index)
{
	PublishingError error;

	if (!publishing_read_index(target, false, index, &error))
		return -1;
	return index->link_count == 0 ? 0 : backupindex_newest(index)->backup_id;
}

static void
test_publishing(void)
{
	int			target = open(".", O_RDONLY | O_DIRECTORY);
	BackupIndex index;
	IndexLink	full = link_of(1);
	PublishingError error;
	Publishing *publishing;

	mkdir("pg_wal/archive_status", 0700);
	ok(read_index(target, &index) == 0, "no index is none");
	index.instance_id = 1;
	index.system_identifier = 7;
	strcpy(index.instance, "main");
	if (!backupindex_add_link(&index, &full))
		abort();
	ok(publishing_write_index(target, 0600, ".new", &index, &error), "the first one");
	backupindex_clear(&index);

	/* cut off after the first rename */
	(void) read_index(target, &index);
	publishing = new_publishing(target, 2, &index);
	ok(publishing_step(publishing, &error) == PUBLISHING_MORE &&
	   read_index(target, &index) == 1 && index.has_adding &&
	   index.adding.backup_id == 2, "announced");
	backupindex_clear(&index);
	ok(publishing_step(publishing, &error) == PUBLISHING_MORE &&
	   access("pg_wal/ese_logs.2", F_OK) == 0 &&
	   access("pg_wal/segment", F_OK) != 0, "the manifest comes first");
	publishing_free(publishing);

	/* another takes its place, over an index that was half written */
	touch("pg_wal/ese_backup.new");
	(void) read_index(target, &index);
	publishing = new_publishing(target, 3, &index);
	while (publishing_step(publishing, &error) == PUBLISHING_MORE)
		;
	publishing_free(publishing);
	ok(read_index(target, &index) == 3 && index.link_count == 2 &&
	   !index.has_adding, "published");
	ok(access("pg_wal/ese_logs.2", F_OK) != 0 &&
	   access("pg_wal/ese_logs.3", F_OK) == 0 &&
	   access("pg_wal/segment", F_OK) == 0 &&
	   access("pg_wal/ese_backup.new", F_OK) != 0, "and nothing is left");

	/* what cannot be done is said */
	publishing = new_publishing(target, 4, &index);
	unlink("pg_wal/segment.new");
	while (publishing_step(publishing, &error) == PUBLISHING_MORE)
		;
	ok(error.sys_errno == ENOENT && strcmp(error.what, "rename file") == 0 &&
	   strcmp(error.name, "pg_wal/segment.new") == 0, "a file is missing");
	publishing_free(publishing);
	ok(!publishing_read_index(target, true, &index, &error) ||
	   index.link_count == 0, "archives have another index");
	truncate("pg_wal/ese_backup", 100);
	ok(!publishing_read_index(target, false, &index, &error) &&
	   error.sys_errno == 0 && error.problem.why[0] != '\0', "a damaged index");
	unlink("pg_wal/ese_backup");
	if (symlink("/etc/passwd", "pg_wal/ese_backup") != 0)
		abort();
	ok(!publishing_read_index(target, false, &index, &error) &&
	   error.sys_errno == ELOOP, "a link is none");
	close(target);
}

int
main(void)
{
	char		command[64];

	if (mkdtemp(directory) == NULL || chdir(directory) != 0)
		abort();
	make_logs();
	test_account();
	test_missing();
	test_threads();
	test_publishing();
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	if (chdir("/") != 0 || system(command) != 0)
		return 1;
	return done_testing();
}
