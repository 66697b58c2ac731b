/*-------------------------------------------------------------------------
 *
 * signature.c
 *	  What the SQL script must declare for the library to work.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_proc.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

#include "signature.h"

/* What is declared right is looked up once in a session. */
#define CHECKED_FUNCTIONS 64

typedef struct Signature
{
	const char *symbol;			/* of the C function */
	const char *declaration;	/* result, arguments, and columns of a record,
								 * by SQL's names */
} Signature;

/* The columns of views are compared as their rows are made: see rows.h. */
/* INDENT OFF */
static const Signature signatures[] = {
	{"ese_backup_handle_rows", "setof record()"},
	{"ese_backup_history_rows", "setof record()"},
	{"ese_backup_id", "bigint(integer)"},
	{"ese_backup_instance", "integer(integer,text,integer,boolean,text)"},
	{"ese_backup_progress_rows", "setof record()"},
	{"ese_begin_external_backup_instance", "integer(integer,integer,text)"},
	{"ese_check", "integer(integer)"},
	{"ese_check_instance", "setof record(integer) of text,boolean,text"},
	{"ese_checksum_failure_rows", "setof record()"},
	{"ese_close_file_instance", "integer(integer,integer)"},
	{"ese_constants", "setof record()"},
	{"ese_copy_stream", "void(integer,integer)"},
	{"ese_create_instance", "integer(text,text,boolean)"},
	{"ese_drop_instance", "integer(integer)"},
	{"ese_end_external_backup_instance", "integer(integer,integer,bigint)"},
	{"ese_error_name", "text(integer)"},
	{"ese_errors", "setof record()"},
	{"ese_get_attach_info_instance", "setof record(integer,bigint) of text,bigint,text,oid,oid"},
	{"ese_get_log_info_instance", "setof record(integer,bigint) of text,bigint,text,bigint"},
	{"ese_get_system_parameter", "text(integer,text)"},
	{"ese_get_truncate_log_info_instance", "setof record(integer,bigint) of text,bigint"},
	{"ese_grbit", "integer(text)"},
	{"ese_init", "integer(integer,boolean)"},
	{"ese_instance_id", "integer(text,boolean)"},
	{"ese_instance_rows", "setof record()"},
	{"ese_open_file_instance", "record(integer,text,bigint,bigint) of integer,bigint"},
	{"ese_open_stream_instance", "integer(integer,bigint)"},
	{"ese_read_file_instance", "bytea(integer,integer,integer,bigint)"},
	{"ese_read_stream_instance", "setof bytea(integer,integer,integer)"},
	{"ese_restore_instance", "integer(integer,text,text,timestamp with time zone,pg_lsn,text,text,jsonb,boolean)"},
	{"ese_resume_stream_instance", "record(integer,integer,bigint) of integer,bigint"},
	{"ese_set_system_parameter", "integer(integer,text,text)"},
	{"ese_stop_backup_instance", "integer(integer,boolean,bigint)"},
	{"ese_stream_buffers_rows", "setof record()"},
	{"ese_system_parameter_rows", "setof record()"},
	{"ese_term", "integer(integer,integer)"},
	{"ese_truncate_log_instance", "integer(integer,bigint)"},
	{"ese_unread_files", "setof record(integer,bigint) of text,bigint,text,text"},
	{"ese_verify_backup", "integer(integer,text,text)"},
	{"ese_wait_backup", "void(integer,bigint,interval)"},
};
/* INDENT ON */

static const char *
expected_of(const char *symbol)
{
	for (int i = 0; i < lengthof(signatures); i++)
	{
		if (strcmp(signatures[i].symbol, symbol) == 0)
			return signatures[i].declaration;
	}
	return NULL;
}

/* The columns of a function that has arguments. */
static void
append_columns(StringInfo declared, HeapTuple tuple)
{
	Oid		   *types;
	char	  **names;
	char	   *modes;
	int			count = get_func_arg_info(tuple, &types, &names, &modes);
	const char *separator = " of ";

	for (int i = 0; modes != NULL && i < count; i++)
	{
		if (modes[i] != PROARGMODE_OUT)
			continue;
		appendStringInfo(declared, "%s%s", separator, format_type_be(types[i]));
		separator = ",";
	}
}

/* How the function is declared, in the words of the table. */
static char *
declaration_of(HeapTuple tuple)
{
	Form_pg_proc proc = (Form_pg_proc) GETSTRUCT(tuple);
	StringInfoData declared;

	initStringInfo(&declared);
	appendStringInfo(&declared, "%s%s(", proc->proretset ? "setof " : "",
					 format_type_be(proc->prorettype));
	for (int i = 0; i < proc->pronargs; i++)
		appendStringInfo(&declared, "%s%s", i > 0 ? "," : "",
						 format_type_be(proc->proargtypes.values[i]));
	appendStringInfoChar(&declared, ')');
	if (proc->pronargs > 0)
		append_columns(&declared, tuple);
	return declared.data;
}

void
signature_refuse(const char *function, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
			 errmsg("function %s does not match the library of extension \"ese\"",
					function),
			 errdetail("%s", detail),
			 errhint("Run ALTER EXTENSION ese UPDATE; if the library was just updated, restart the server first.")));
}

static void
check_declaration(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc proc;
	char	   *declared;
	char	   *symbol;
	const char *expected;
	bool		isnull;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	symbol = TextDatumGetCString(SysCacheGetAttr(PROCOID, tuple,
												 Anum_pg_proc_prosrc, &isnull));

	expected = expected_of(symbol);
	declared = declaration_of(tuple);
	if (expected == NULL || strcmp(expected, declared) != 0)
		signature_refuse(NameStr(proc->proname),
						 psprintf("It is declared as %s, and the library expects %s.",
								  declared, expected ? expected : "none"));
	ReleaseSysCache(tuple);
	pfree(symbol);
	pfree(declared);
}

void
signature_check(FunctionCallInfo fcinfo)
{
	static Oid	checked[CHECKED_FUNCTIONS];
	Oid			function = fcinfo->flinfo->fn_oid;

	if (checked[function % CHECKED_FUNCTIONS] == function)
		return;
	check_declaration(function);
	checked[function % CHECKED_FUNCTIONS] = function;
}
