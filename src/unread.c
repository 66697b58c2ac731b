/*-------------------------------------------------------------------------
 *
 * unread.c
 *	  The files that keep a backup from being good.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "backup.h"
#include "engine/jet.h"
#include "frame.h"
#include "unread.h"

/* Files that a reason names. */
#define NAMED_FILES 5

static const char *const state_names[] = {
	[UNREAD_NOT_READ] = "not read",
	[UNREAD_OPEN] = "open",
	[UNREAD_IN_STREAM] = "in a stream",
	[UNREAD_FAILED] = "failed",
	[UNREAD_DAMAGED] = "damaged",
};

/* A count of files, and the names of the first. */
typedef struct Naming
{
	int			count;
	char		names[ESE_MESSAGE_LENGTH];
} Naming;

const char *
unread_state_name(int32 state)
{
	return state >= 0 && state < lengthof(state_names) ? state_names[state] : NULL;
}

/* Does the file keep the backup from being good, and how? */
static bool
is_unread(const FileList *list, const FileEntry *entry, UnreadState *state)
{
	/* who reads files makes the directories himself */
	if (entry->kind == FILE_DIRECTORY && !list->streamed)
		return false;
	if (entry->failure_counted)
		*state = entry->bad_pages ? UNREAD_DAMAGED : UNREAD_FAILED;
	else if (entry->status == FILE_OPEN)
		*state = UNREAD_OPEN;
	else if (entry->status == FILE_IN_STREAM)
		*state = UNREAD_IN_STREAM;
	else if (entry->status == FILE_READ || entry->status == FILE_GONE)
		return false;
	else
		*state = UNREAD_NOT_READ;
	return true;
}

static void
add_name(Naming *naming, const char *name)
{
	size_t		used = strlen(naming->names);

	if (naming->count++ < NAMED_FILES)
		snprintf(naming->names + used, sizeof(naming->names) - used, "%s\"%s\"",
				 used > 0 ? ", " : "", name);
}

/* Which of them are to be named. */
typedef bool (*StateFilter) (UnreadState state);

static bool
is_failed(UnreadState state)
{
	return state == UNREAD_FAILED;
}

static bool
is_damaged(UnreadState state)
{
	return state == UNREAD_DAMAGED;
}

static bool
is_missing(UnreadState state)
{
	return state < UNREAD_FAILED;
}

static bool
is_any(UnreadState state)
{
	return true;
}

static void
name_files(Naming *naming, const FileList *list, StateFilter filter)
{
	for (int i = 0; i < list->count; i++)
	{
		const FileEntry *entry = &list->entries[i];
		UnreadState state;

		if (is_unread(list, entry, &state) && filter(state))
			add_name(naming, entry->name);
	}
}

/* "3 files <what>: "a", "b" and 1 more", behind what is there already */
static void
append_naming(const Naming *naming, const char *one, const char *many,
			  char *to, size_t size)
{
	size_t		used = strlen(to);
	char		more[32] = "";

	if (naming->count == 0)
		return;
	if (naming->count > NAMED_FILES)
		snprintf(more, sizeof(more), " and %d more", naming->count - NAMED_FILES);
	snprintf(to + used, size - used, "%s%d %s: %s%s", used > 0 ? "; " : "",
			 naming->count, naming->count == 1 ? one : many, naming->names, more);
}

static void
append_files(const Backup *backup, StateFilter filter, const char *one,
			 const char *many, char *to, size_t size)
{
	Naming		naming = {0};

	name_files(&naming, &backup->attach, filter);
	name_files(&naming, &backup->logs, filter);
	append_naming(&naming, one, many, to, size);
}

void
unread_describe_failed(const Backup *backup, char *to, size_t size)
{
	to[0] = '\0';
	append_files(backup, is_damaged, "file has damaged pages",
				 "files have damaged pages", to, size);
	append_files(backup, is_failed, "file could not be read",
				 "files could not be read", to, size);
}

void
unread_describe_missing(const Backup *backup, char *to, size_t size)
{
	to[0] = '\0';
	append_files(backup, is_missing, "file was not read to its end and closed",
				 "files were not read to their end and closed", to, size);
}

void
unread_describe_attached(const Backup *backup, char *to, size_t size)
{
	Naming		naming = {0};

	to[0] = '\0';
	name_files(&naming, &backup->attach, is_any);
	append_naming(&naming, "file of the attach list has not been read",
				  "files of the attach list have not been read", to, size);
}

/* What there is to list: of the open backup, or kept of the last one. */
static const FileList *
list_of(const Worker *worker, int which)
{
	if (worker->backup == NULL)
		return which == 0 ? &worker->unread : NULL;
	return which == 0 ? &worker->backup->attach :
		which == 1 ? &worker->backup->logs : NULL;
}

/* Fill the answer frame from the call's cursor on. */
static void
answer_page(Worker *worker, Call *call)
{
	char	   *frame = frame_address(worker->instance->answer_frame);
	int64		skip = call->request.number;
	int64		at = 0;
	int			used = 0;
	bool		full = false;
	const FileList *list;

	for (int which = 0; !full && (list = list_of(worker, which)) != NULL; which++)
	{
		for (int i = 0; !full && i < list->count; i++, at++)
		{
			UnreadState state;

			if (at < skip || !is_unread(list, &list->entries[i], &state))
				continue;
			if (!backup_put_entry(frame, &used, &list->entries[i], state))
			{
				full = true;
				break;
			}
		}
	}
	call->answer.page_length = used;
	call->answer.page_last = !full;
	call->answer.number = at;
}

void
unread_list(Worker *worker, Call *call)
{
	int64		backup = worker->backup ? worker->backup->id : worker->unread_backup;

	if (backup == 0 || (call->request.backup != 0 && call->request.backup != backup))
	{
		/* the session looks up how a backup that is named has ended */
		answer_error(&call->answer, JET_errNoBackup,
					 "no backup of instance \"%s\" is open",
					 worker->instance->name);
		return;
	}
	answer_page(worker, call);
	call->answer.backup = backup;
}

/* Copy the entries of a list that were not read. */
static void
keep_list(Worker *worker, const FileList *list)
{
	for (int i = 0; i < list->count; i++)
	{
		const FileEntry *entry = &list->entries[i];
		FileEntry  *kept;
		UnreadState state;

		if (!is_unread(list, entry, &state))
			continue;
		kept = filelist_add(&worker->unread, (FileKind) entry->kind, entry->name,
							entry->size);
		kept->status = entry->status;
		kept->failure_counted = entry->failure_counted;
		kept->bad_pages = entry->bad_pages;
	}
}

void
unread_forget(Worker *worker)
{
	MemoryContextReset(worker->unread_context);
	memset(&worker->unread, 0, sizeof(worker->unread));
	worker->unread_backup = 0;
}

void
unread_keep(Worker *worker)
{
	MemoryContext caller = MemoryContextSwitchTo(worker->unread_context);

	filelist_init(&worker->unread);
	worker->unread.streamed = true;
	keep_list(worker, &worker->backup->attach);
	keep_list(worker, &worker->backup->logs);
	worker->unread_backup = worker->backup->id;
	MemoryContextSwitchTo(caller);
}
