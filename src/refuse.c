/*-------------------------------------------------------------------------
 *
 * refuse.c
 *	  Answers to calls that cannot be served.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "backup.h"
#include "engine/jet.h"
#include "refuse.h"

/* Handles that are named one by one. */
#define NAMED_HANDLES 5

bool
refuse_options(Answer *answer, OptionCall call, int32 grbit)
{
	uint32		refused = options_refused(call, grbit);
	char		names[ESE_MESSAGE_LENGTH];

	if (refused == 0)
		return false;
	options_names(call, refused, names, sizeof(names));
	answer_error(answer, JET_errInvalidGrbit, "%s does not accept %s",
				 options_function(call), names);
	if (call == OPTIONS_BEGIN && (refused & JET_bitBackupAtomic))
	{
		answer_hint(answer, "Only ese_backup_instance() writes atomic backups.");
		return true;
	}
	options_accepted(call, names, sizeof(names));
	answer_hint(answer, "It accepts %s.", names);
	return true;
}

/* "1, 2 and 7 more" */
static void
name_handles(const Worker *worker, char *to, size_t size)
{
	int			count = 0;
	size_t		used = 0;

	to[0] = '\0';
	for (int i = 0; i < worker->file_places; i++)
	{
		const OpenFile *file = &worker->files[i];

		if (file->handle == NULL || file->doomed)
			continue;
		if (count++ < NAMED_HANDLES)
			used += snprintf(to + used, size - used, "%s%u",
							 used > 0 ? ", " : "", file->number);
	}
	if (count > NAMED_HANDLES)
		snprintf(to + used, size - used, " and %d more", count - NAMED_HANDLES);
}

void
refuse_sequence(Worker *worker, Call *call, ProtocolCall protocol_call)
{
	EseInstance *instance = worker->instance;
	BackupStatus *status = &instance->backup;
	Answer	   *answer = &call->answer;
	const char *phase = protocol_phase_name(status->protocol.phase);
	char		handles[128];

	if (protocol_call == CALL_OPEN_ATTACHED)
	{
		answer_error(answer, JET_errInvalidBackupSequence,
					 "file \"%s\" cannot be opened any more",
					 call->request.text);
		answer_detail(answer, "Backup %lld of instance \"%s\" is in its %s phase, and this is no log or patch file.",
					  (long long) status->row.backup_id, instance->name, phase);
		answer_hint(answer, "Files of the attach list are read before ese_get_log_info_instance(%d).",
					instance->id);
		return;
	}
	answer_error(answer, JET_errInvalidBackupSequence,
				 "%s cannot be called now",
				 protocol_function_name(protocol_call));
	if (status->protocol.phase == PHASE_DATABASES &&
		protocol_call == CALL_TRUNCATE_LOG)
	{
		answer_detail(answer, "Backup %lld of instance \"%s\" is in its %s phase.",
					  (long long) status->row.backup_id, instance->name, phase);
		answer_hint(answer, "Call ese_get_log_info_instance(%d), and read the files that it lists, first.",
					instance->id);
		return;
	}
	name_handles(worker, handles, sizeof(handles));
	answer_detail(answer, "Backup %lld of instance \"%s\" is in its %s phase, with open handles: %s.",
				  (long long) status->row.backup_id, instance->name, phase, handles);
	answer_hint(answer, "Close them with ese_close_file_instance() first; the view ese_backup_handle lists them.");
}
