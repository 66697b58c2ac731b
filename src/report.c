/*-------------------------------------------------------------------------
 *
 * report.c
 *	  JET errors as PostgreSQL errors, and the functions about them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "engine/jet.h"
#include "engine/options.h"
#include "report.h"
#include "rows.h"
#include "signature.h"

static int
sqlstate_of(const char *text)
{
	return MAKE_SQLSTATE(text[0], text[1], text[2], text[3], text[4]);
}

int
jet_errcode(int jet)
{
	char text[	6];

	if (!jet_sqlstate_text(jet, text))
		return errcode(ERRCODE_INTERNAL_ERROR);
	return errcode(sqlstate_of(text));
}

int
jet_errdetail(int jet, const char *facts)
{
	if (facts != NULL && facts[0] != '\0')
		return errdetail("%s (%d). %s", jet_error_name(jet), jet, facts);
	return errdetail("%s (%d).", jet_error_name(jet), jet);
}

void
report_answer(const Answer *answer)
{
	if (answer->warning[0] != '\0')
		ereport(WARNING,
				(answer->warning_error ? jet_errcode(answer->warning_error)
				 : errcode(ERRCODE_WARNING),
				 errmsg("%s", answer->warning),
				 answer->warning_error ? jet_errdetail(answer->warning_error,
													   answer->detail) : 0,
				 answer->hint[0] ? errhint("%s", answer->hint) : 0));
	if (answer->sqlstate[0] != '\0')
		ereport(ERROR,
				(errcode(sqlstate_of(answer->sqlstate)),
				 errmsg("%s", answer->message),
				 answer->detail[0] ? errdetail("%s", answer->detail) : 0,
				 answer->hint[0] ? errhint("%s", answer->hint) : 0));
	if (answer->error != JET_errSuccess)
		ereport(ERROR,
				(jet_errcode(answer->error),
				 errmsg("%s", answer->message),
				 jet_errdetail(answer->error, answer->detail),
				 answer->hint[0] ? errhint("%s", answer->hint) : 0));
}

void
report_stopped(const char *instance_name, int stop_error, const char *facts)
{
	ereport(ERROR,
			(jet_errcode(stop_error),
			 errmsg("the backup of instance \"%s\" was stopped by the server",
					instance_name),
			 jet_errdetail(stop_error, facts),
			 errhint("End the backup, then begin a new one.")));
}

bool
report_is_users_cancel(void)
{
	MemoryContext caller = MemoryContextSwitchTo(TopTransactionContext);
	ErrorData  *error = CopyErrorData();
	bool		cancel = error->sqlerrcode == ERRCODE_QUERY_CANCELED &&
		error->message_id != NULL &&
		strcmp(error->message_id, "canceling statement due to user request") == 0;

	FreeErrorData(error);
	MemoryContextSwitchTo(caller);
	return cancel;
}

PGDLLEXPORT Datum ese_error_name(PG_FUNCTION_ARGS);
PGDLLEXPORT Datum ese_grbit(PG_FUNCTION_ARGS);
PGDLLEXPORT Datum ese_check(PG_FUNCTION_ARGS);
PGDLLEXPORT Datum ese_errors(PG_FUNCTION_ARGS);
PGDLLEXPORT Datum ese_constants(PG_FUNCTION_ARGS);

PG_FUNCTION_INFO_V1(ese_error_name);
PG_FUNCTION_INFO_V1(ese_grbit);
PG_FUNCTION_INFO_V1(ese_check);
PG_FUNCTION_INFO_V1(ese_errors);
PG_FUNCTION_INFO_V1(ese_constants);

/* ese_error_name(number integer) → text; NULL for a number without a name */
Datum
ese_error_name(PG_FUNCTION_ARGS)
{
	const JetErrorInfo *info;

	signature_check(fcinfo);
	if (PG_ARGISNULL(0))
		refuse_parameter("the error number is null");
	info = jet_error_find(PG_GETARG_INT32(0));
	if (info == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(info->name));
}

/* ese_grbit(names text) → integer */
Datum
ese_grbit(PG_FUNCTION_ARGS)
{
	int32		value;
	const char *bad;
	int			bad_length;

	signature_check(fcinfo);
	if (PG_ARGISNULL(0))
		refuse_parameter("the names of the options are null");
	if (jet_grbit_parse(text_to_cstring(PG_GETARG_TEXT_PP(0)), &value,
						&bad, &bad_length) != 0)
		ereport(ERROR,
				(jet_errcode(JET_errInvalidParameter),
				 errmsg("\"%.*s\" is not the name of an option", bad_length, bad),
				 jet_errdetail(JET_errInvalidParameter, NULL),
				 errhint("Give names such as JET_bitBackupIncremental, joined by |; the view ese_constant lists them.")));
	PG_RETURN_INT32(value);
}

/* What the last End in this session has warned about, and whom. */
static struct
{
	Oid			role;
	int32		result;
	char		warning[ESE_MESSAGE_LENGTH];
	char		hint[ESE_MESSAGE_LENGTH];
}			last_end;

void
report_remember(const Answer *answer)
{
	last_end.role = GetUserId();
	last_end.result = answer->result;
	strlcpy(last_end.warning, answer->warning, sizeof(last_end.warning));
	strlcpy(last_end.hint, answer->hint, sizeof(last_end.hint));
}

/*
 * A driver raises errors, but its warnings go where nobody looks: the error
 * says what the warning said.  A pooled session may have served another role.
 */
static void
raise_result(int32 result)
{
	const JetErrorInfo *info = jet_error_find(result);
	bool		known = result == last_end.result &&
		GetUserId() == last_end.role && last_end.warning[0] != '\0';

	ereport(ERROR,
			(jet_errcode(result),
			 known ? errmsg("%s", last_end.warning) :
			 errmsg("%s", info ? info->meaning : "unknown JET error"),
			 jet_errdetail(result, NULL),
			 known && last_end.hint[0] ? errhint("%s", last_end.hint) : 0));
}

/* ese_check(result integer) → integer: raises a negative result */
Datum
ese_check(PG_FUNCTION_ARGS)
{
	int32		result;

	signature_check(fcinfo);
	if (PG_ARGISNULL(0))
		refuse_parameter("the result to check is null");
	result = PG_GETARG_INT32(0);
	if (result < 0)
		raise_result(result);
	PG_RETURN_INT32(result);
}

/* The rows of the view ese_error. */
Datum
ese_errors(PG_FUNCTION_ARGS)
{
	Row			row;

	rows_begin(&row, fcinfo);
	for (size_t i = 0; i < jet_error_count; i++)
	{
		const JetErrorInfo *e = &jet_errors[i];
		char		sqlstate[6];

		row_add_int32(&row, e->number);
		row_add_text(&row, e->name);
		row_add_text(&row, jet_sqlstate_text(e->number, sqlstate) ? sqlstate : NULL);
		row_add_text(&row, e->category);
		row_add_text(&row, e->meaning);
		row_add_bool(&row, e->backup_after != NULL);
		row_add_text(&row, e->backup_after);
		row_add_text(&row, e->retry);
		row_put(&row);
	}
	return (Datum) 0;
}

/* The rows of the view ese_constant. */
Datum
ese_constants(PG_FUNCTION_ARGS)
{
	char		functions[128];
	Row			row;

	rows_begin(&row, fcinfo);
	for (size_t i = 0; i < jet_constant_count; i++)
	{
		row_add_text(&row, jet_constants[i].name);
		row_add_int64(&row, jet_constants[i].value);
		row_add_text(&row, jet_constants[i].meaning);
		options_accepted_by(jet_constants[i].name, functions, sizeof(functions));
		row_add_text(&row, functions);
		row_put(&row);
	}
	return (Datum) 0;
}
