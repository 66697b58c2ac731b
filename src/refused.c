/*-------------------------------------------------------------------------
 *
 * refused.c
 *	  The history of backups that were refused.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "engine/jet.h"
#include "refused.h"
#include "registry.h"
#include "survive.h"

static void
fill_row(HistoryRow *row, EseInstance *instance, const Request *request,
		 const ErrorData *error)
{
	const Client *client = &request->client;

	row->instance_id = instance->id;
	strlcpy(row->name, instance->name, sizeof(row->name));
	strlcpy(row->label, request->text, sizeof(row->label));
	strlcpy(row->location, request->path, sizeof(row->location));
	row->kind = (request->grbit & JET_bitBackupIncremental) != 0 ?
		KIND_INCREMENTAL : KIND_FULL;
	row->status = OUTCOME_FAILED;
	row->error_number = survive_jet_error(error);
	strlcpy(row->reason, error->message ? error->message : "",
			sizeof(row->reason));
	row->begun_by_oid = client->role;
	strlcpy(row->begun_by, client->role_name, sizeof(row->begun_by));
	strlcpy(row->client_addr, client->address, sizeof(row->client_addr));
	strlcpy(row->application_name, client->application,
			sizeof(row->application_name));
	row->started_at = row->ended_at = GetCurrentTimestamp();
}

void
refused_record(EseInstance *instance, const Request *request)
{
	MemoryContext caller = MemoryContextSwitchTo(TopTransactionContext);
	ErrorData  *error = CopyErrorData();
	HistoryRow *row = palloc0(sizeof(HistoryRow));
	FileProblem problem;

	/* who only stopped to wait, by a cancel or a timeout, was not refused */
	if (error->sqlerrcode != ERRCODE_QUERY_CANCELED &&
		(row->backup_id = registry_next_backup_id(&problem)) != 0)
	{
		fill_row(row, instance, request, error);
		if (!history_record(instance, row, &problem))
			history_report_kept(instance, row, &problem);
	}
	MemoryContextSwitchTo(caller);
}
