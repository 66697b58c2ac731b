/*-------------------------------------------------------------------------
 *
 * finding.c
 *	  Recording damaged pages.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "compat.h"
#include "finding.h"
#include "statefile.h"

#define FINDING_MAGIC	0x46455345	/* "ESEF" */
#define FINDING_VERSION 1

#define MAX_FINDINGS	10000	/* kept for an instance, the newest */
#define MAX_OF_BACKUP	1000	/* recorded of one backup; more are counted */
#define MAX_LOGGED		100		/* logged of one backup */

static char *
file_name(int32 instance_id)
{
	return psprintf("checksum_failures.%d", instance_id);
}

Finding *
finding_read(int32 instance_id, int *count)
{
	char	   *name = file_name(instance_id);
	RecordReader reader;
	char	   *data;
	int64		rows;
	Finding    *result;

	*count = 0;
	if (!statefile_read(name, FINDING_MAGIC, FINDING_VERSION, &reader, &data))
		return palloc(sizeof(Finding));
	rows = record_get_int(&reader);
	if (rows < 0 || rows > MAX_FINDINGS)
	{
		reader.bad = true;
		rows = 0;
	}
	result = palloc_extended(sizeof(Finding) * (rows + 1), MCXT_ALLOC_HUGE);
	for (int64 i = 0; i < rows; i++)
	{
		result[i].backup_id = record_get_int(&reader);
		result[i].database = (Oid) record_get_int(&reader);
		result[i].tablespace = (Oid) record_get_int(&reader);
		record_get_string(&reader, result[i].file_name,
						  sizeof(result[i].file_name));
		result[i].block = (uint32) record_get_int(&reader);
		result[i].found_at = record_get_int(&reader);
	}
	statefile_read_done(name, &reader);
	pfree(data);
	*count = (int) rows;
	return result;
}

static void
write_findings(int32 instance_id, const Finding *findings, int count)
{
	ByteBuffer	record = {0};
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
	statefile_write(file_name(instance_id), &record, FINDING_MAGIC,
					FINDING_VERSION);
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

void
finding_add(EseInstance *instance, int64 backup_id,
			const DamagedPage *pages, int count)
{
	Finding    *findings;
	int			known;
	int			of_backup;
	int			total;

	LWLockAcquire(registry_lock(), LW_EXCLUSIVE);
	findings = finding_read(instance->id, &known);
	findings = repalloc_huge(findings, sizeof(Finding) * (known + count + 1));
	of_backup = count_of_backup(findings, known, backup_id);
	total = known;
	for (int i = 0; i < count; i++)
	{
		Finding    *finding = &findings[total];

		if (is_known(findings + known - of_backup,
					 of_backup + total - known, &pages[i]))
			continue;
		count_and_log(instance, backup_id, &pages[i]);
		if (of_backup + total - known >= MAX_OF_BACKUP)
			continue;
		memset(finding, 0, sizeof(*finding));
		finding->backup_id = backup_id;
		finding->database = pages[i].entry->database;
		finding->tablespace = pages[i].entry->tablespace;
		strlcpy(finding->file_name, pages[i].entry->name,
				sizeof(finding->file_name));
		finding->block = pages[i].block;
		finding->found_at = GetCurrentTimestamp();
		total++;
	}
	if (total > known)
		write_findings(instance->id, findings, total);
	LWLockRelease(registry_lock());
	pfree(findings);
}

void
finding_remove(int32 instance_id)
{
	statefile_remove(file_name(instance_id));
}
