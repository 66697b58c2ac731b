/*-------------------------------------------------------------------------
 *
 * ese.c
 *	  Loading the extension: settings, shared memory, the launcher.
 *
 * The rooms of this house:
 *
 *	instance, param, registry	instances and their definitions on disk
 *	launcher					starts them, looks after those that are stopped
 *	shared, frame, call			shared memory: slots, frames, requests
 *	client, reader, stop,		what sessions do: the SQL functions
 *	streamreader, waiter,
 *	restoreclient, message,
 *	check, privilege
 *	worker, begin, backup,		what the worker of an instance does
 *	refuse, unread,
 *	guard, filelist, openfile,
 *	streamfile, loglist,
 *	native, target, atomic,
 *	chain
 *	restore, restorefiles,		restoring and verifying, in the worker
 *	restoreplace, restoreend,
 *	source, privateserver,
 *	child
 *	history, finding,			durable records under ese/, and whose they are
 *	statefile, recordlock,
 *	identity
 *	report, view, rows			errors; the views; rows of functions
 *	signature					do script and library match?
 *	engine/						the threads, free of PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/guc.h"

#include "ese.h"
#include "shared.h"
#include "testpoint.h"
#include "worker.h"

PG_MODULE_MAGIC;

int			ese_max_instances = 16;
int			ese_stream_buffers_kb = 65536;

static shmem_request_hook_type previous_request_hook;
static shmem_startup_hook_type previous_startup_hook;

PGDLLEXPORT void _PG_init(void);

static void
request_shared_memory(void)
{
	if (previous_request_hook)
		previous_request_hook();
	shared_request();
}

static void
start_up_shared_memory(void)
{
	if (previous_startup_hook)
		previous_startup_hook();
	shared_startup();
}

static void
define_settings(void)
{
	DefineCustomIntVariable("ese.max_instances",
							"Maximum number of backup instances.",
							NULL, &ese_max_instances,
							16, 1, ESE_MAX_INSTANCES, PGC_POSTMASTER, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("ese.stream_buffers",
							"Shared memory for file contents on their way to readers.",
							"Each open file needs 512 kB; more is used for read-ahead.",
							&ese_stream_buffers_kb,
							65536, 2048, MAX_KILOBYTES / 2, PGC_POSTMASTER,
							GUC_UNIT_KB, NULL, NULL, NULL);
}

void
_PG_init(void)
{
	testpoint_define_setting();
	if (!process_shared_preload_libraries_in_progress)
		return;					/* every function says so */

	define_settings();
	MarkGUCPrefixReserved("ese");
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = request_shared_memory;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = start_up_shared_memory;
	launcher_register();
}
