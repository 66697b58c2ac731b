/*-------------------------------------------------------------------------
 *
 * client.c
 *	  SQL functions of a streaming backup that the worker serves.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"

#include "client.h"
#include "engine/jet.h"
#include "filelist.h"
#include "filename.h"
#include "instance.h"
#include "privilege.h"
#include "receipt.h"
#include "report.h"
#include "rows.h"
#include "unread.h"

PGDLLEXPORT Datum ese_begin_external_backup_instance(PG_FUNCTION_ARGS);
PGDLLEXPORT Datum ese_backup_id(PG_FUNCTION_ARGS);
PGDLLEXPORT Datum ese_get_attach_info_instance(PG_FUNCTION_ARGS);
PGDLLEXPORT Datum ese_open_file_instance(PG_FUNCTION_ARGS);
PGDLLEXPORT Datum ese_close_file_instance(PG_FUNCTION_ARGS);
PGDLLEXPORT Datum ese_get_log_info_instance(PG_FUNCTION_ARGS);
PGDLLEXPORT Datum ese_get_truncate_log_info_instance(PG_FUNCTION_ARGS);
PGDLLEXPORT Datum ese_unread_files(PG_FUNCTION_ARGS);
PGDLLEXPORT Datum ese_truncate_log_instance(PG_FUNCTION_ARGS);
PGDLLEXPORT Datum ese_end_external_backup_instance(PG_FUNCTION_ARGS);

PG_FUNCTION_INFO_V1(ese_begin_external_backup_instance);
PG_FUNCTION_INFO_V1(ese_backup_id);
PG_FUNCTION_INFO_V1(ese_get_attach_info_instance);
PG_FUNCTION_INFO_V1(ese_open_file_instance);
PG_FUNCTION_INFO_V1(ese_close_file_instance);
PG_FUNCTION_INFO_V1(ese_get_log_info_instance);
PG_FUNCTION_INFO_V1(ese_get_truncate_log_info_instance);
PG_FUNCTION_INFO_V1(ese_unread_files);
PG_FUNCTION_INFO_V1(ese_truncate_log_instance);
PG_FUNCTION_INFO_V1(ese_end_external_backup_instance);

/* The transaction's one snapshot is held to its end, whatever is popped. */
static void
refuse_isolation(const char *procedure)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("%s cannot be called at isolation level \"%s\"", procedure,
					XactIsoLevel == XACT_SERIALIZABLE ? "serializable" :
					"repeatable read"),
			 errdetail("Its snapshot would hold back VACUUM for as long as the call takes."),
			 errhint("SET default_transaction_isolation = 'read committed' before the call.")));
}

bool
client_leave_snapshot(FunctionCallInfo fcinfo, const char *procedure)
{
	CallContext *context = (CallContext *) fcinfo->context;

	if (context == NULL || !IsA(context, CallContext) || context->atomic)
		return false;
	if (IsolationUsesXactSnapshot())
		refuse_isolation(procedure);
	ForgetPortalSnapshots();
	InvalidateCatalogSnapshot();
	return true;
}

void
client_set_label(Request *request, FunctionCallInfo fcinfo, int arg)
{
	char	   *label = PG_ARGISNULL(arg) ? "ese" :
		text_to_cstring(PG_GETARG_TEXT_PP(arg));

	if (strlen(label) >= sizeof(request->text))
		refuse_parameter("the label is longer than %zu bytes",
						 sizeof(request->text) - 1);
	if (strpbrk(label, "\r\n") != NULL)
		refuse_parameter("the label contains a line break");
	strlcpy(request->text, label, sizeof(request->text));
}

int64
client_backup_argument(FunctionCallInfo fcinfo, int arg)
{
	int64		backup;

	if (PG_ARGISNULL(arg))
		return 0;
	backup = PG_GETARG_INT64(arg);
	if (backup <= 0)
		refuse_parameter("%lld is not the id of a backup", (long long) backup);
	return backup;
}

/* ese_begin_external_backup_instance(instance, grbit, label) → integer */
Datum
ese_begin_external_backup_instance(PG_FUNCTION_ARGS)
{
	EseInstance *instance = instance_get_running(fcinfo, 0);
	Request		request = {.operation = OP_BEGIN};
	Answer		answer;

	privilege_check_read();
	if (PG_ARGISNULL(1))
		refuse_parameter("the options are null");
	request.grbit = PG_GETARG_INT32(1);
	client_set_label(&request, fcinfo, 2);
	client_describe(&request.client);
	instance_refuse_starting(instance);
	call_execute(instance, &request, &answer, NULL);
	PG_RETURN_INT32(JET_errSuccess);
}

/* ese_backup_id(instance) → bigint; NULL when no backup is open */
Datum
ese_backup_id(PG_FUNCTION_ARGS)
{
	EseInstance *instance = instance_get(fcinfo, 0);
	int64		id = 0;

	LWLockAcquire(instance_lock(instance), LW_SHARED);
	if (instance->backup.protocol.phase >= PHASE_DATABASES)
		id = instance->backup.row.backup_id;
	LWLockRelease(instance_lock(instance));
	if (id == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(id);
}

/* Which of a list's entries are wanted, and the columns behind their names. */
typedef bool (*EntryFilter) (const ListedFile *file);
typedef void (*ColumnMaker) (const ListedFile *file, Row *row);

static bool
every_entry(const ListedFile *file)
{
	return true;
}

/* What TruncateLog gives up. */
static bool
is_log(const ListedFile *file)
{
	return file->kind == FILE_LOG;
}

static void
attach_columns(const ListedFile *file, Row *row)
{
	row_add_int64(row, file->size);
	row_add_text(row, filelist_kind_name((FileKind) file->kind));
	row_add_oid(row, file->database);
	row_add_oid(row, file->tablespace);
}

static void
log_columns(const ListedFile *file, Row *row)
{
	row_add_int64(row, file->size);
	row_add_text(row, filelist_kind_name((FileKind) file->kind));
	row_add_id(row, file->kind == FILE_LOG ? file->generation : 0);
}

static void
unread_columns(const ListedFile *file, Row *row)
{
	row_add_int64(row, file->size);
	row_add_text(row, filelist_kind_name((FileKind) file->kind));
	row_add_text(row, unread_state_name(file->state));
}

static void
truncate_columns(const ListedFile *file, Row *row)
{
	row_add_int64(row, file->generation);
}

/* The entry at this place of a page, with its name; false when it is none. */
static bool
next_entry(const char *at, const char *end, ListedFile *file)
{
	size_t		room = (size_t) (end - at);

	if (room < sizeof(*file))
		return false;
	memcpy(file, at, sizeof(*file));
	return file->name_length > 0 &&
		(size_t) file->name_length <= room - sizeof(*file) &&
		at[sizeof(*file) + file->name_length - 1] == '\0';
}

static void
put_page(Row *row, const char *page, int length, EntryFilter filter,
		 ColumnMaker add_columns)
{
	MemoryContext row_context = AllocSetContextCreate(CurrentMemoryContext,
													  "ese list row",
													  ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(row_context);
	const char *at = page;

	while (at < page + length)
	{
		ListedFile	file;

		if (!next_entry(at, page + length, &file))
			elog(ERROR, "the list of the backup's files is damaged");
		if (filter(&file))
		{
			row_add_text(row, filename_show(at + sizeof(file)));
			add_columns(&file, row);
			row_put(row);
		}
		MemoryContextReset(row_context);
		at += sizeof(file) + file.name_length;
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(row_context);
}

/*
 * Fetch a list page by page.  All pages must be of one backup: what Begin
 * starts in between is another list.
 */
static void
return_list(FunctionCallInfo fcinfo, CallOperation operation,
			EntryFilter filter, ColumnMaker add_columns)
{
	EseInstance *instance = instance_get_running(fcinfo, 0);
	Request		request = {.operation = operation};
	Answer		answer;
	char	   *page = NULL;
	Row			row;

	privilege_check_read();
	rows_begin(&row, fcinfo);
	client_describe(&request.client);
	request.backup = client_backup_argument(fcinfo, 1);
	do
	{
		call_execute(instance, &request, &answer, &page);
		if (answer.page_length > 0)
		{
			put_page(&row, page, answer.page_length, filter, add_columns);
			pfree(page);
		}
		request.number = answer.number;
		if (request.backup == 0)
			request.backup = answer.backup;
		CHECK_FOR_INTERRUPTS();
	} while (!answer.page_last);
}

/* ese_get_attach_info_instance(instance, backup) → SETOF record */
Datum
ese_get_attach_info_instance(PG_FUNCTION_ARGS)
{
	return_list(fcinfo, OP_ATTACH_INFO, every_entry, attach_columns);
	return (Datum) 0;
}

/* ese_get_log_info_instance(instance, backup) → SETOF record */
Datum
ese_get_log_info_instance(PG_FUNCTION_ARGS)
{
	return_list(fcinfo, OP_LOG_INFO, every_entry, log_columns);
	return (Datum) 0;
}

/* ese_get_truncate_log_info_instance(instance, backup) → SETOF record */
Datum
ese_get_truncate_log_info_instance(PG_FUNCTION_ARGS)
{
	return_list(fcinfo, OP_LOG_INFO, is_log, truncate_columns);
	return (Datum) 0;
}

/* ese_unread_files(instance, backup) → SETOF record */
Datum
ese_unread_files(PG_FUNCTION_ARGS)
{
	return_list(fcinfo, OP_UNREAD_FILES, every_entry, unread_columns);
	return (Datum) 0;
}

/* ese_truncate_log_instance(instance, backup) → integer */
Datum
ese_truncate_log_instance(PG_FUNCTION_ARGS)
{
	EseInstance *instance = instance_get_running(fcinfo, 0);
	Request		request = {.operation = OP_TRUNCATE_LOG};
	Answer		answer;

	privilege_check_read();
	request.backup = client_backup_argument(fcinfo, 1);
	client_describe(&request.client);
	call_execute(instance, &request, &answer, NULL);
	PG_RETURN_INT32(JET_errSuccess);
}

/* Fill in the name of the file to open. */
static void
set_file_name(Request *request, FunctionCallInfo fcinfo, int arg)
{
	char	   *name;

	if (PG_ARGISNULL(arg))
		refuse_parameter("the file name is null");
	name = filename_read(text_to_cstring(PG_GETARG_TEXT_PP(arg)));
	if (name == NULL)
		refuse_parameter("the file name is not a valid escape string");
	if (name[0] == '\0')
		refuse_parameter("the file name is empty");
	if (strlen(name) >= sizeof(request->text))
		ereport(ERROR,
				(jet_errcode(JET_errInvalidPath),
				 errmsg("the file name is longer than %zu bytes",
						sizeof(request->text) - 1),
				 jet_errdetail(JET_errInvalidPath, NULL)));
	strlcpy(request->text, name, sizeof(request->text));
}

Datum
client_handle_row(FunctionCallInfo fcinfo, const Answer *answer)
{
	Row			row;

	row_begin_single(&row, fcinfo);
	row_add_int32(&row, answer->result);
	row_add_int64(&row, answer->number);
	return row_single(&row);
}

/* ese_open_file_instance(instance, file_name, start_offset, backup) → record */
Datum
ese_open_file_instance(PG_FUNCTION_ARGS)
{
	EseInstance *instance = instance_get_running(fcinfo, 0);
	Request		request = {.operation = OP_OPEN_FILE};
	Answer		answer;

	privilege_check_read();
	set_file_name(&request, fcinfo, 1);
	if (PG_ARGISNULL(2) || PG_GETARG_INT64(2) < 0)
		refuse_parameter("start_offset must be 0 or more");
	request.number = PG_GETARG_INT64(2);
	request.backup = client_backup_argument(fcinfo, 3);
	client_describe(&request.client);
	call_execute(instance, &request, &answer, NULL);

	return client_handle_row(fcinfo, &answer);
}

/* ese_close_file_instance(instance, handle) → integer */
Datum
ese_close_file_instance(PG_FUNCTION_ARGS)
{
	EseInstance *instance = instance_get_running(fcinfo, 0);
	Request		request = {.operation = OP_CLOSE_FILE};
	Answer		answer;

	privilege_check_read();
	if (PG_ARGISNULL(1))
		refuse_parameter("the handle is null");
	request.handle = PG_GETARG_INT32(1);
	client_describe(&request.client);
	receipt_await(instance, request.handle);
	call_execute(instance, &request, &answer, NULL);
	PG_RETURN_INT32(JET_errSuccess);
}

/* ese_end_external_backup_instance(instance, grbit, backup) → integer */
Datum
ese_end_external_backup_instance(PG_FUNCTION_ARGS)
{
	EseInstance *instance = instance_get_running(fcinfo, 0);
	Request		request = {.operation = OP_END};
	Answer		answer;

	privilege_check_read();
	if (PG_ARGISNULL(1))
		refuse_parameter("the options are null");
	request.grbit = PG_GETARG_INT32(1);
	request.backup = client_backup_argument(fcinfo, 2);
	client_describe(&request.client);
	call_execute(instance, &request, &answer, NULL);
	report_remember(&answer);
	PG_RETURN_INT32(answer.result);
}
