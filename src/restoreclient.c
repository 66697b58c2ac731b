/*-------------------------------------------------------------------------
 *
 * restoreclient.c
 *	  SQL functions that restore and verify backups.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlogdefs.h"
#include "catalog/pg_authid.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

#include "client.h"
#include "engine/jet.h"
#include "instance.h"
#include "privilege.h"
#include "report.h"
#include "restore.h"
#include "waiter.h"

PGDLLEXPORT Datum ese_restore_instance(PG_FUNCTION_ARGS);
PGDLLEXPORT Datum ese_verify_backup(PG_FUNCTION_ARGS);

PG_FUNCTION_INFO_V1(ese_restore_instance);
PG_FUNCTION_INFO_V1(ese_verify_backup);

/* The length of a restore point's name: MAXFNAMELEN of the server. */
#define MAX_TARGET_LENGTH 63

static void
add_option(Request *request, const char *line)
{
	if (strlcat(request->options, line, sizeof(request->options)) >=
		sizeof(request->options))
		refuse_parameter("the tablespace map is longer than %zu bytes",
						 sizeof(request->options) - 1);
}

/* A target that is given as text. */
static char *
target_text(FunctionCallInfo fcinfo, int arg, const char *what)
{
	char	   *value = text_to_cstring(PG_GETARG_TEXT_PP(arg));

	if (value[0] == '\0' || strlen(value) > MAX_TARGET_LENGTH ||
		strpbrk(value, "\r\n\t") != NULL)
		refuse_parameter("the target %s is empty, longer than %d bytes, or contains a line break",
						 what, MAX_TARGET_LENGTH);
	return value;
}

/* The setting that tells how far to recover; at most one argument is given. */
static void
set_target(Request *request, FunctionCallInfo fcinfo)
{
	char	   *setting = NULL;
	int			given = 0;

	for (int arg = 3; arg <= 6; arg++)
		given += !PG_ARGISNULL(arg);
	if (given > 1)
		refuse_parameter("more than one recovery target is given");
	if (!PG_ARGISNULL(3))
	{
		TimestampTz time = PG_GETARG_TIMESTAMPTZ(3);

		if (TIMESTAMP_NOT_FINITE(time))
			refuse_parameter("the target time is infinite");
		setting = psprintf("recovery_target_time=%s", timestamptz_to_str(time));
		add_option(request, psprintf("%s\t" INT64_FORMAT "\n", OPTION_MOMENT,
									 time));
	}
	else if (!PG_ARGISNULL(4))
		setting = psprintf("recovery_target_lsn=%X/%X",
						   LSN_FORMAT_ARGS(PG_GETARG_LSN(4)));
	else if (!PG_ARGISNULL(5))
	{
		char	   *xid = target_text(fcinfo, 5, "xid");

		if (strspn(xid, "0123456789") != strlen(xid))
			refuse_parameter("the target xid \"%s\" is not a number", xid);
		setting = psprintf("recovery_target_xid=%s", xid);
	}
	else if (!PG_ARGISNULL(6))
		setting = psprintf("recovery_target_name=%s",
						   target_text(fcinfo, 6, "name"));
	if (setting != NULL)
		add_option(request, psprintf("%s\t%s\n", OPTION_TARGET, setting));
}

static char *
jsonb_text(const JsonbValue *value)
{
	if (value->type != jbvString)
		refuse_parameter("the tablespace map has a value that is not a string");
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/* An object: OIDs or former places, and where they are to be. */
static void
set_tablespace_map(Request *request, FunctionCallInfo fcinfo, int arg)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	value;
	Jsonb	   *map;
	char	   *key = NULL;

	if (PG_ARGISNULL(arg))
		return;
	map = PG_GETARG_JSONB_P(arg);
	if (!JB_ROOT_IS_OBJECT(map))
		refuse_parameter("the tablespace map is not a JSON object");
	iterator = JsonbIteratorInit(&map->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			key = jsonb_text(&value);
		else if (token == WJB_VALUE)
		{
			if (strpbrk(key, "\r\n\t") != NULL)
				refuse_parameter("a key of the tablespace map contains a line break or a tab");
			add_option(request, psprintf("%s\t%s\t%s\n", OPTION_TABLESPACE, key,
										 waiter_path(jsonb_text(&value))));
		}
	}
}

/*
 * ese_restore_instance(instance, source, destination, target_time, target_lsn,
 * target_xid, target_name, tablespace_map, wait) → integer
 */
Datum
ese_restore_instance(PG_FUNCTION_ARGS)
{
	EseInstance *instance = instance_get_running(fcinfo, 0);
	Request		request = {.operation = OP_RESTORE};

	privilege_check_read_files();
	privilege_check_write_files();
	strlcpy(request.text, waiter_path_argument(fcinfo, 1), sizeof(request.text));
	strlcpy(request.path, waiter_path_argument(fcinfo, 2), sizeof(request.path));
	set_target(&request, fcinfo);
	set_tablespace_map(&request, fcinfo, 7);
	client_describe(&request.client);
	waiter_execute(instance, &request, PG_ARGISNULL(8) || PG_GETARG_BOOL(8));
	PG_RETURN_INT32(JET_errSuccess);
}

/* ese_verify_backup(instance, source, depth) → integer */
Datum
ese_verify_backup(PG_FUNCTION_ARGS)
{
	EseInstance *instance = instance_get_running(fcinfo, 0);
	Request		request = {.operation = OP_VERIFY};
	char	   *depth;

	privilege_check_read_files();
	privilege_check_write_files();
	strlcpy(request.path, waiter_path_argument(fcinfo, 1), sizeof(request.path));
	if (PG_ARGISNULL(2))
		refuse_parameter("the depth is null");
	depth = text_to_cstring(PG_GETARG_TEXT_PP(2));
	if (strcmp(depth, DEPTH_MANIFEST) != 0 && strcmp(depth, DEPTH_RESTORE) != 0)
		refuse_parameter("the depth \"%s\" is neither \"%s\" nor \"%s\"", depth,
						 DEPTH_MANIFEST, DEPTH_RESTORE);
	strlcpy(request.text, depth, sizeof(request.text));
	/* who owned the cluster when it was made, owns the restored one */
	add_option(&request, psprintf("%s\t%s\n", OPTION_SUPERUSER,
								  GetUserNameFromId(BOOTSTRAP_SUPERUSERID, false)));
	client_describe(&request.client);
	waiter_execute(instance, &request, true);
	PG_RETURN_INT32(JET_errSuccess);
}
