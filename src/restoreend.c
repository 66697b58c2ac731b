/*-------------------------------------------------------------------------
 *
 * restoreend.c
 *	  The moment that a restore is to come to, and the one it has come to.
 *
 * Recovery takes damage for the end of WAL.  So where it has ended is compared
 * with where the logs end, as these were written.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "engine/jet.h"
#include "restore_internal.h"

/* What all settings of targets begin with. */
#define TARGET_LSN "recovery_target_lsn="

/* The part of a setting behind "=". */
static const char *
target_value(const Restore *restore)
{
	return strchr(restore->target, '=') + 1;
}

static TimestampTz
timestamp_of_usecs(int64 since_1970)
{
	return since_1970 -
		(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
}

/*
 * When the data files were complete; for a backup without log manifests, when
 * the last checkpoint began that its pg_control knows.
 */
static TimestampTz
end_of_full(Restore *restore)
{
	const LogChain *chain = &restore->source.chain;

	if (chain->count > 0 && chain->links[0]->head.ended_at != 0)
		return timestamp_of_usecs(chain->links[0]->head.ended_at);
	return time_t_to_timestamptz(restore_control(restore)->checkPointCopy.time);
}

bool
restore_check_target(Restore *restore, TargetError *error)
{
	XLogRecPtr	end = restore->inventory->ranges[0].end_lsn;
	uint32		high;
	uint32		low;

	if (strncmp(restore->target, TARGET_LSN, strlen(TARGET_LSN)) == 0 &&
		sscanf(target_value(restore), "%X/%X", &high, &low) == 2 &&
		((XLogRecPtr) high << 32 | low) < end)
		return target_fail(error, JET_errStartingRestoreLogTooHigh,
						   "the target, %s, lies before the end of the full backup, %X/%X",
						   target_value(restore), LSN_FORMAT_ARGS(end));
	if (restore->has_moment && restore->moment < end_of_full(restore))
		return target_fail(error, JET_errStartingRestoreLogTooHigh,
						   "the target, %s, lies before the full backup, which was complete at %s",
						   target_value(restore),
						   timestamptz_to_str(end_of_full(restore)));
	return true;
}

/* Where has recovery come to? */
static void
find_end(Worker *worker, Restore *restore)
{
	EndPoint   *end = &restore->end;
	TargetError error;
	char		name[MAXPGPATH];
	char	   *bytes;
	size_t		length;

	memset(end, 0, sizeof(*end));
	endpoint_read_log(end, private_log(&restore->server));
	if (end->new_timeline == 0)
		return;
	TLHistoryFilePath(name, end->new_timeline);
	bytes = source_read_file(worker, worker->target.directory,
							 worker->target.path, name, &length, &error);
	if (bytes != NULL)
		(void) endpoint_read_history(end, bytes, length);
}

/* The moment in words. */
static char *
describe_end(const EndPoint *end)
{
	StringInfoData words;

	initStringInfo(&words);
	appendStringInfo(&words, "recovered to %X/%X on timeline %u",
					 LSN_FORMAT_ARGS(end->lsn), end->timeline);
	if (end->why[0] != '\0')
		appendStringInfo(&words, " (%s)", end->why);
	if (end->last_time[0] != '\0')
		appendStringInfo(&words, ", last transaction of %s", end->last_time);
	else
		appendStringInfoString(&words, ", no transaction since the full backup began");
	return words.data;
}

static void
publish_end(Worker *worker, const EndPoint *end)
{
	HistoryRow *row = &worker->instance->backup.row;

	LWLockAcquire(instance_lock(worker->instance), LW_EXCLUSIVE);
	row->stop_lsn = (int64) end->lsn;
	row->timeline = end->timeline;
	LWLockRelease(instance_lock(worker->instance));
}

/* Recovery has ended too early: say where. */
static void
fail_short(Worker *worker, const LogChain *chain, const EndPoint *end)
{
	char		name[LOGCHAIN_NAME_SIZE];

	logchain_segment_name(name, end->timeline, end->lsn / chain->segment_size,
						  chain->segment_size);
	restore_fail(worker, JET_errLogFileCorrupt,
				 psprintf("recovery has come to %X/%X on timeline %u only, in WAL segment %s, but the logs of the backup reach %X/%X on timeline %u: that segment is damaged, or what follows it does not belong to it",
						  LSN_FORMAT_ARGS(end->lsn), end->timeline, name,
						  LSN_FORMAT_ARGS(chain->end_lsn), chain->timeline));
}

bool
restore_judge_end(Worker *worker, Restore *restore)
{
	const LogChain *chain = &restore->source.chain;
	EndPoint   *end = &restore->end;

	find_end(worker, restore);
	if (!end->known)
	{
		restore_fail(worker, JET_errRedoAbruptEnded,
					 "recovery has begun no timeline: it cannot be told where it has ended");
		return false;
	}
	publish_end(worker, end);
	/* that a target was reached, the server has made sure */
	if (chain->count > 0 && restore->target[0] == '\0' &&
		(end->timeline != chain->timeline ||
		 (end->lsn < chain->end_lsn &&
		  !endpoint_is_cut(end, worker->target.directory, chain->end_lsn,
						   chain->segment_size))))
	{
		fail_short(worker, chain, end);
		return false;
	}
	restore->moment_text = MemoryContextStrdup(worker->backup->context,
											   describe_end(end));
	return true;
}

/* How far the logs reach, when a target lies behind that. */
static char *
describe_logs(Restore *restore)
{
	const LogChain *chain = &restore->source.chain;
	EndPoint	end = {0};
	XLogRecPtr	lsn;

	endpoint_read_log(&end, private_log(&restore->server));
	lsn = Max(chain->end_lsn, end.last_record);
	return psprintf("the logs of the backup reach %X/%X, and the last transaction in them is %s%s",
					LSN_FORMAT_ARGS(lsn), end.last_time[0] != '\0' ? "of " :
					"older than the full backup", end.last_time);
}

void
restore_fail_recovery(Worker *worker, Restore *restore)
{
	char	   *words = private_last_words(&restore->server);
	int			jet = JET_errRedoAbruptEnded;

	if (strstr(words, "before configured recovery target was reached") != NULL)
	{
		jet = JET_errEndingRestoreLogTooLow;
		words = psprintf("%s: %s", words, describe_logs(restore));
	}
	else if (strstr(words, "before end of online backup") != NULL)
		jet = JET_errEndingRestoreLogTooLow;
	else if (strstr(words, "stop point is before consistent recovery point") != NULL)
		jet = JET_errStartingRestoreLogTooHigh;
	else if (strstr(words, "could not locate required checkpoint record") != NULL ||
			 strstr(words, "could not find redo location") != NULL)
		jet = JET_errMissingLogFile;
	restore_fail(worker, jet, psprintf("recovery has failed: %s", words));
}
