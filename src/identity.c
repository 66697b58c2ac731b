/*-------------------------------------------------------------------------
 *
 * identity.c
 *	  Telling a data directory from its copies.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "access/xlog.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "port.h"

#include "identity.h"

#define TOKEN_FILE		"identity"
#define TOKEN_PATH		ESE_DIRECTORY "/" TOKEN_FILE
#define TOKEN_MAGIC		0x49455345	/* "ESEI" */
#define TOKEN_VERSION	1

#define MACHINE_FILE	"/etc/machine-id"

/* A handle holds at most so many bytes (MAX_HANDLE_SZ). */
#define HANDLE_BYTES	128

/*
 * Their handles are inode and generation (and on btrfs the subvolume), for
 * ever.  Others make theirs up when they are mounted.
 */
static bool
has_stable_handles(void)
{
	static const uint32 kinds[] = {
		0xEF53,					/* ext2, ext3, ext4 */
		0x58465342,				/* XFS */
		0x9123683E,				/* btrfs */
		0x2FC12FC1,				/* ZFS */
		0xF2F52010,				/* F2FS */
		0xCA451A4E,				/* bcachefs */
	};
	struct statfs st;

	if (statfs(TOKEN_PATH, &st) != 0)
		return false;
	for (int i = 0; i < lengthof(kinds); i++)
	{
		if ((uint32) st.f_type == kinds[i])
			return true;
	}
	return false;
}

static void
look_at_handle(Identity *here)
{
	union
	{
		struct file_handle handle;
		char		room[sizeof(struct file_handle) + HANDLE_BYTES];
	}			its;
	int			mount;
	int			length;

	here->handle[0] = '\0';
	its.handle.handle_bytes = HANDLE_BYTES;
	if (!has_stable_handles() ||
		name_to_handle_at(AT_FDCWD, TOKEN_PATH, &its.handle, &mount, 0) != 0)
		return;
	length = snprintf(here->handle, sizeof(here->handle), "%d:",
					  its.handle.handle_type);
	for (unsigned i = 0; i < its.handle.handle_bytes; i++)
		length += snprintf(here->handle + length,
						   sizeof(here->handle) - length, "%02x",
						   its.handle.f_handle[i]);
}

/* Its inode; false when it cannot be looked at. */
static bool
look_at_inode(Identity *here)
{
	struct statx st;

	if (statx(AT_FDCWD, TOKEN_PATH, 0, STATX_INO | STATX_BTIME, &st) != 0)
		return false;
	here->inode = (int64) st.stx_ino;
	here->born = (st.stx_mask & STATX_BTIME) == 0 ? 0 :
		st.stx_btime.tv_sec * INT64CONST(1000000000) + st.stx_btime.tv_nsec;
	look_at_handle(here);
	return true;
}

static int64
look_at_machine(void)
{
	char		id[64];
	int			fd = open(MACHINE_FILE, O_RDONLY | O_CLOEXEC);
	ssize_t		length;

	if (fd < 0)
		return 0;
	length = read(fd, id, sizeof(id));
	close(fd);
	/* an image that has not been started yet says "uninitialized" */
	if (length < 32)
		return 0;
	return (int64) hash_bytes_extended((unsigned char *) id, 32, 0);
}

static bool
read_token(int64 *token, FileProblem *problem)
{
	RecordReader reader;
	char	   *data;

	token[0] = token[1] = 0;
	switch (statefile_read(TOKEN_FILE, TOKEN_MAGIC, TOKEN_VERSION, &reader,
						   &data, problem))
	{
		case FILE_ABSENT:
			return true;
		case FILE_BAD:
			return false;
		case FILE_FOUND:
			break;
	}
	token[0] = record_get_int(&reader);
	token[1] = record_get_int(&reader);
	return statefile_read_done(TOKEN_FILE, &reader, data, problem);
}

static bool
write_token(const int64 *token, FileProblem *problem)
{
	ByteBuffer	record = {0};

	record_begin(&record);
	record_put_int(&record, token[0]);
	record_put_int(&record, token[1]);
	return statefile_write(TOKEN_FILE, &record, TOKEN_MAGIC, TOKEN_VERSION,
						   problem);
}

bool
identity_look(Identity *here, FileProblem *problem)
{
	memset(here, 0, sizeof(*here));
	here->system_identifier = (int64) GetSystemIdentifier();
	here->machine = look_at_machine();
	strlcpy(here->path, DataDir, sizeof(here->path));
	if (!read_token(here->token, problem))
		return false;
	if (!look_at_inode(here))
		here->token[0] = here->token[1] = 0;
	return true;
}

bool
identity_renew(Identity *here, FileProblem *problem)
{
	int64		token[2];

	if (!pg_strong_random(token, sizeof(token)))
	{
		problem->sys_errno = 0;
		problem->sqlerrcode = ERRCODE_INTERNAL_ERROR;
		problem->hint = NULL;
		strlcpy(problem->message, "there are no random numbers",
				sizeof(problem->message));
		return false;
	}
	return write_token(token, problem) && identity_look(here, problem);
}

/* Is it the same inode, as far as the file system tells? */
static bool
is_same_file(const Identity *a, const Identity *b)
{
	if (a->handle[0] != '\0' && b->handle[0] != '\0')
		return strcmp(a->handle, b->handle) == 0;
	return a->inode == b->inode &&
		(a->born == 0 || b->born == 0 || a->born == b->born);
}

/*
 * Does the original still lie where it lay, while this is another one?  With a
 * clone of the volume they have the same inode, on two devices.
 */
static bool
is_beside_original(const Identity *record, const Identity *here)
{
	char		path[MAXPGPATH + sizeof(TOKEN_PATH) + 1];
	struct stat original;
	struct stat mine;

	if (strcmp(record->path, here->path) == 0)
		return false;
	snprintf(path, sizeof(path), "%s/" TOKEN_PATH, record->path);
	return stat(path, &original) == 0 && stat(TOKEN_PATH, &mine) == 0 &&
		(int64) original.st_ino == record->inode &&
		original.st_dev != mine.st_dev;
}

const char *
identity_difference(const Identity *record, const Identity *here)
{
	if (record->system_identifier != here->system_identifier)
		return "they are another cluster's";
	if (here->token[0] == 0 && here->token[1] == 0)
		return "there is no file \"" TOKEN_PATH "\"";
	if (memcmp(record->token, here->token, sizeof(here->token)) != 0)
		return "file \"" TOKEN_PATH "\" is another directory's";
	if (!is_same_file(record, here))
		return "the files were copied, or have moved to another file system";
	if (record->machine != 0 && here->machine != 0 &&
		record->machine != here->machine)
		return "this is another machine, by \"" MACHINE_FILE "\"";
	if (is_beside_original(record, here))
		return "the original is still there, on another device";
	return NULL;
}

void
identity_put(ByteBuffer *record, const Identity *identity)
{
	record_put_int(record, identity->system_identifier);
	record_put_int(record, identity->token[0]);
	record_put_int(record, identity->token[1]);
	record_put_int(record, identity->inode);
	record_put_int(record, identity->born);
	record_put_string(record, identity->handle);
	record_put_int(record, identity->machine);
	record_put_string(record, identity->path);
}

void
identity_get(RecordReader *reader, Identity *identity)
{
	memset(identity, 0, sizeof(*identity));
	identity->system_identifier = record_get_int(reader);
	identity->token[0] = record_get_int(reader);
	identity->token[1] = record_get_int(reader);
	identity->inode = record_get_int(reader);
	identity->born = record_get_int(reader);
	record_get_string(reader, identity->handle, sizeof(identity->handle));
	identity->machine = record_get_int(reader);
	record_get_string(reader, identity->path, sizeof(identity->path));
}
