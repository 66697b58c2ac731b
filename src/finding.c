/*-------------------------------------------------------------------------
 *
 * finding.c
 *	  Recording damaged pages.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "finding.h"

#define FINDING_MAGIC	0x46455345	/* "ESEF" */
#define FINDING_VERSION 1

#define MAX_FINDINGS	10000	/* kept for an instance, the newest */
#define MAX_OF_BACKUP	1000	/* recorded of one backup; more are counted */
#define MAX_LOGGED		100		/* logged of one backup */

#define NAME_LENGTH		32

/* Found, but not written yet: those of this worker's instance. */
static Finding *waiting;
static int	waiting_count;

static void
file_name(char *name, int32 instance_id)
{
	snprintf(name, NAME_LENGTH, "checksum_failures.%d", instance_id);
}

static void
get_finding(RecordReader *reader, Finding *finding)
{
	finding->backup_id = record_get_int(reader);
	finding->database = (Oid) record_get_int(reader);
	finding->tablespace = (Oid) record_get_int(reader);
	record_get_string(reader, finding->file_name, sizeof(finding->file_name));
	finding->block = (uint32) record_get_int(reader);
	finding->found_at = record_get_int(reader);
}

/* NULL when the file cannot be used; there is room for what waits. */
static Finding *
read_findings(int32 instance_id, int *count, FileProblem *problem)
{
	char		name[NAME_LENGTH];
	RecordReader reader;
	char	   *data;
	int64		rows = 0;
	Finding    *result;
	FileResult	there;

	*count = 0;
	file_name(name, instance_id);
	there = statefile_read(name, FINDING_MAGIC, FINDING_VERSION, &reader, &data,
						   problem);
	if (there == FILE_BAD)
		return NULL;
	if (there == FILE_FOUND)
		rows = record_get_int(&reader);
	if (rows < 0 || rows > MAX_FINDINGS)
	{
		reader.bad = true;
		rows = 0;
	}
	result = palloc_extended(sizeof(Finding) * (rows + waiting_count + 1),
							 MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM);
	if (result == NULL)
	{
		problem->sys_errno = ENOMEM;
		problem->hint = NULL;
		strlcpy(problem->message, "out of memory for damaged pages",
				sizeof(problem->message));
	}
	for (int64 i = 0; result != NULL && i < rows; i++)
		get_finding(&reader, &result[i]);
	if (there == FILE_FOUND &&
		!statefile_read_done(name, &reader, data, problem))
		return NULL;
	*count = (int) rows;
	return result;
}

Finding *
finding_read(int32 instance_id, int *count)
{
	FileProblem problem;
	Finding    *findings = read_findings(instance_id, count, &problem);

	if (findings == NULL)
		statefile_raise(&problem);
	return findings;
}

/* The record lock is held. */
static bool
write_findings(int32 instance_id, const Finding *findings, int count,
			   FileProblem *problem)
{
	ByteBuffer	record = {0};
	char		name[NAME_LENGTH];
	int			first = Max(0, count - MAX_FINDINGS);

	record_begin(&record);
	record_put_int(&record, count - first);
	for (int i = first; i < count; i++)
	{
		record_put_int(&record, findings[i].backup_id);
		record_put_int(&record, findings[i].database);
		record_put_int(&record, findings[i].tablespace);
		record_put_string(&record, findings[i].file_name);
		record_put_int(&record, findings[i].block);
		record_put_int(&record, findings[i].found_at);
	}
	file_name(name, instance_id);
	return statefile_write(name, &record, FINDING_MAGIC, FINDING_VERSION,
						   problem);
}

/* What is there of one backup: it is at the end. */
static int
count_of_backup(const Finding *findings, int count, int64 backup_id)
{
	int			of_backup = 0;

	while (of_backup < count &&
		   findings[count - 1 - of_backup].backup_id == backup_id)
		of_backup++;
	return of_backup;
}

/* A page that is read again is found again: once is enough. */
static bool
is_known(const Finding *findings, int count, const DamagedPage *page)
{
	for (int i = 0; i < count; i++)
	{
		if (findings[i].block == page->block &&
			strcmp(findings[i].file_name, page->entry->name) == 0)
			return true;
	}
	return false;
}

static void
count_and_log(EseInstance *instance, int64 backup_id, const DamagedPage *page)
{
	int64		failures;

	LWLockAcquire(instance_lock(instance), LW_EXCLUSIVE);
	failures = ++instance->backup.row.checksum_failures;
	LWLockRelease(instance_lock(instance));
	compat_report_checksum_failure(page->entry->database);
	if (failures <= MAX_LOGGED)
		ereport(WARNING,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("backup %lld of instance \"%s\": page verification failed in block %u of file \"%s\"",
						(long long) backup_id, instance->name, page->block,
						page->entry->name)));
}

/* Have it written. */
static void
let_wait(int64 backup_id, const DamagedPage *page)
{
	Finding    *finding;

	if (waiting == NULL)
		waiting = MemoryContextAlloc(TopMemoryContext,
									 sizeof(Finding) * MAX_OF_BACKUP);
	finding = &waiting[waiting_count++];
	memset(finding, 0, sizeof(*finding));
	finding->backup_id = backup_id;
	finding->database = page->entry->database;
	finding->tablespace = page->entry->tablespace;
	strlcpy(finding->file_name, page->entry->name, sizeof(finding->file_name));
	finding->block = page->block;
	finding->found_at = GetCurrentTimestamp();
}

/* Add what waits to the file; the record lock is held. */
static bool
write_waiting(EseInstance *instance, FileProblem *problem)
{
	int			count;
	Finding    *findings = read_findings(instance->id, &count, problem);
	bool		good;

	if (findings == NULL)
		return false;
	memcpy(&findings[count], waiting, sizeof(Finding) * waiting_count);
	good = write_findings(instance->id, findings, count + waiting_count,
						  problem);
	pfree(findings);
	return good;
}

void
finding_settle(EseInstance *instance)
{
	static bool reported = false;
	FileProblem problem;
	bool		good;

	if (waiting_count == 0)
		return;
	(void) recordlock_acquire(&instance->records);
	good = write_waiting(instance, &problem);
	recordlock_release(&instance->records);
	if (good)
		waiting_count = 0;
	else if (!reported)
		ereport(WARNING,
				(errmsg("the damaged pages of instance \"%s\" could not be recorded: %s",
						instance->name, problem.message),
				 errdetail("They are recorded when that is possible.")));
	reported = !good;
}

/* Those of a backup that are on disk, palloc'd; none when it cannot be read. */
static Finding *
known_of_backup(EseInstance *instance, int64 backup_id, int *count)
{
	FileProblem problem;
	Finding    *findings = read_findings(instance->id, count, &problem);
	int			before;

	if (findings == NULL)
		return NULL;
	before = *count;
	*count = count_of_backup(findings, before, backup_id);
	memmove(findings, findings + before - *count, sizeof(Finding) * *count);
	return findings;
}

void
finding_add(EseInstance *instance, int64 backup_id,
			const DamagedPage *pages, int count)
{
	int			known;
	Finding    *findings = known_of_backup(instance, backup_id, &known);

	for (int i = 0; i < count; i++)
	{
		if (is_known(findings, known, &pages[i]) ||
			is_known(waiting, waiting_count, &pages[i]))
			continue;
		count_and_log(instance, backup_id, &pages[i]);
		if (known + waiting_count < MAX_OF_BACKUP)
			let_wait(backup_id, &pages[i]);
	}
	if (findings != NULL)
		pfree(findings);
	finding_settle(instance);
}

void
finding_remove(int32 instance_id)
{
	char		name[NAME_LENGTH];

	file_name(name, instance_id);
	statefile_remove(name);
}
