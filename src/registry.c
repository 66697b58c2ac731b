/*-------------------------------------------------------------------------
 *
 * registry.c
 *	  Loading and saving instance definitions.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <dirent.h>
#include <sys/stat.h>

#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "registry.h"

#define STATE_FILE		"state"
#define STATE_MAGIC		0x53455345	/* "ESES" */
#define STATE_VERSION	2

/* It knew a directory by its device and inode, and no copies. */
#define STATE_OLDEST	1

/* What a change of the file is to be, beside what is in memory. */
typedef struct Change
{
	const EseInstance *instance;	/* NULL: none changes */
	const Definition *to;
	int32		next_instance_id;
	int64		next_backup_id;
} Change;

static void
put_definition(ByteBuffer *record, const Definition *definition)
{
	record_put_int(record, definition->id);
	record_put_string(record, definition->name);
	record_put_string(record, definition->display_name);
	record_put_int(record, definition->enabled);
	record_put_int(record, definition->copied_at);
	record_put_int(record, definition->chain_floor);
	record_put_int(record, param_count);
	for (int i = 0; i < param_count; i++)
	{
		record_put_string(record, param_name(param_at(i)));
		record_put_int(record, param_get(&definition->params, param_at(i)));
	}
}

/* Parameters go by name: one this version does not know is passed over. */
static void
get_parameters(RecordReader *reader, Parameters *params)
{
	int64		count = record_get_int(reader);

	param_defaults(params);
	for (int64 i = 0; i < count && !reader->bad; i++)
	{
		char		name[64];
		const ParamInfo *param;
		int64		value;

		record_get_string(reader, name, sizeof(name));
		value = record_get_int(reader);
		param = param_find(name);
		if (param != NULL && param_valid(param, value))
			param_set(params, param, value);
	}
}

static void
get_definition(RecordReader *reader, Definition *definition)
{
	definition->id = (int32) record_get_int(reader);
	record_get_string(reader, definition->name, sizeof(definition->name));
	record_get_string(reader, definition->display_name,
					  sizeof(definition->display_name));
	definition->enabled = record_get_int(reader) != 0;
	definition->copied_at = definition->chain_floor = 0;
	if (reader->version > STATE_OLDEST)
	{
		definition->copied_at = record_get_int(reader);
		definition->chain_floor = record_get_int(reader);
	}
	get_parameters(reader, &definition->params);
	if (definition->id <= 0)
		reader->bad = true;
}

void
registry_describe(EseInstance *instance, Definition *definition)
{
	definition->id = instance->id;
	strlcpy(definition->name, instance->name, sizeof(definition->name));
	strlcpy(definition->display_name, instance->display_name,
			sizeof(definition->display_name));
	definition->enabled = instance->enabled;
	definition->copied_at = instance->copied_at;
	definition->chain_floor = instance->chain_floor;
	definition->params = instance->params;
}

/* Make it so in memory; the id comes last. */
static void
publish(EseInstance *instance, const Definition *definition)
{
	LWLockAcquire(registry_lock(), LW_EXCLUSIVE);
	strlcpy(instance->name, definition->name, sizeof(instance->name));
	strlcpy(instance->display_name, definition->display_name,
			sizeof(instance->display_name));
	instance->enabled = definition->enabled;
	instance->copied_at = definition->copied_at;
	instance->chain_floor = definition->chain_floor;
	instance->params = definition->params;
	instance->id = definition->id;
	LWLockRelease(registry_lock());
}

/* Everything that is in memory, with the change. */
static void
put_all(ByteBuffer *record, const Change *change)
{
	int			count = 0;

	for (int i = 0; i < ese_shared->max_instances; i++)
	{
		EseInstance *instance = instance_of_index(i);

		count += (instance == change->instance ? change->to->id :
				  instance->id) != 0;
	}
	record_begin(record);
	identity_put(record, &ese_shared->identity);
	record_put_int(record, change->next_instance_id);
	record_put_int(record, change->next_backup_id);
	record_put_int(record, count);
	for (int i = 0; i < ese_shared->max_instances; i++)
	{
		EseInstance *instance = instance_of_index(i);
		Definition	definition;

		registry_describe(instance, &definition);
		if (instance == change->instance)
			definition = *change->to;
		if (definition.id != 0)
			put_definition(record, &definition);
	}
}

/*
 * Write the file; the record lock is held.  The flush of a directory may fail
 * when its new contents are there already: then they are written once more.
 */
static bool
save(const Change *change, FileProblem *problem)
{
	ByteBuffer	record = {0};

	/* a directory that has none yet, or a copy */
	if (ese_shared->identity.token[0] == 0 &&
		!identity_renew(&ese_shared->identity, problem))
		return false;
	/* what changes from here on makes it stale again */
	ese_shared->stale = false;
	put_all(&record, change);
	if (!statefile_write(STATE_FILE, &record, STATE_MAGIC, STATE_VERSION,
						 problem))
	{
		ese_shared->stale = true;
		return false;
	}
	ese_shared->next_instance_id = change->next_instance_id;
	ese_shared->next_backup_id = change->next_backup_id;
	return true;
}

/* No change: what is in memory. */
static Change
no_change(void)
{
	return (Change)
	{
		.next_instance_id = ese_shared->next_instance_id,
			.next_backup_id = ese_shared->next_backup_id
	};
}

void
registry_begin_change(void)
{
	(void) recordlock_acquire(&ese_shared->registry);
}

void
registry_end_change(void)
{
	recordlock_release(&ese_shared->registry);
}

bool
registry_change(EseInstance *instance, const Definition *to,
				FileProblem *problem)
{
	Change		change = no_change();

	change.instance = instance;
	change.to = to;
	change.next_instance_id = Max(change.next_instance_id, to->id + 1);
	if (!save(&change, problem))
		return false;
	publish(instance, to);
	return true;
}

/*
 * Without a file nothing says which ids were given out, but what lies beside
 * it does: histories of former instances keep theirs.
 */
static bool
pass_old_ids(FileProblem *problem)
{
	DIR		   *directory = opendir(ESE_DIRECTORY);
	struct dirent *entry;
	bool		good = true;

	if (directory == NULL)
		return true;
	while (good && (entry = readdir(directory)) != NULL)
	{
		int			id;
		int64		newest;

		if (sscanf(entry->d_name, "history.%d", &id) != 1 || id <= 0 ||
			id == PG_INT32_MAX || strstr(entry->d_name, ".tmp") != NULL)
			continue;
		good = history_newest_id(id, &newest, problem);
		ese_shared->next_instance_id = Max(ese_shared->next_instance_id, id + 1);
		ese_shared->next_backup_id = Max(ese_shared->next_backup_id, newest + 1);
	}
	closedir(directory);
	return good;
}

/* Fill the slots from the record. */
static bool
get_all(RecordReader *reader, FileProblem *problem)
{
	int64		count = record_get_int(reader);

	if (!reader->bad && count > ese_shared->max_instances)
	{
		problem->sys_errno = 0;
		problem->sqlerrcode = ERRCODE_CONFIGURATION_LIMIT_EXCEEDED;
		problem->hint = "Increase ese.max_instances and restart the server.";
		snprintf(problem->message, sizeof(problem->message),
				 "%lld instances are defined, and ese.max_instances is %d",
				 (long long) count, ese_shared->max_instances);
		return false;
	}
	for (int64 i = 0; i < count && !reader->bad; i++)
	{
		Definition	definition;

		get_definition(reader, &definition);
		if (!reader->bad)
			publish(instance_of_index(i), &definition);
	}
	return true;
}

static void
forget_all(void)
{
	for (int i = 0; i < ese_shared->max_instances; i++)
		instance_of_index(i)->id = 0;
}

/* In a copy nothing starts by itself, and no backup follows the original's. */
static void
break_all(void)
{
	for (int i = 0; i < ese_shared->max_instances; i++)
	{
		EseInstance *instance = instance_of_index(i);
		Definition	definition;

		if (instance->id == 0)
			continue;
		registry_describe(instance, &definition);
		definition.enabled = false;
		definition.copied_at = GetCurrentTimestamp();
		definition.chain_floor = ese_shared->next_backup_id;
		publish(instance, &definition);
	}
}

/* The device number of an old file says nothing; is the inode this one? */
static const char *
old_difference(int64 system_identifier, int64 inode)
{
	struct stat st;

	if (system_identifier != (int64) GetSystemIdentifier())
		return "they are another cluster's";
	return stat(DataDir, &st) == 0 && (int64) st.st_ino == inode ? NULL :
		"the files were copied, or have moved to another file system";
}

/*
 * Whose file is it?  *foreign says why it is not this directory's, or is NULL.
 * What is on record of it may have changed all the same.
 */
static bool
compare_identity(RecordReader *reader, const char **foreign, bool *changed,
				 FileProblem *problem)
{
	Identity   *here = &ese_shared->identity;
	Identity	record;

	if (!identity_look(here, problem))
		return false;
	if (reader->version == STATE_OLDEST)
	{
		int64		system_identifier = record_get_int(reader);

		(void) record_get_int(reader);
		*foreign = old_difference(system_identifier, record_get_int(reader));
		*changed = true;
		return true;
	}
	identity_get(reader, &record);
	*foreign = identity_difference(&record, here);
	*changed = memcmp(&record, here, sizeof(Identity)) != 0;
	return true;
}

/* Read the file; the record lock is held. */
static bool
load(const char **foreign, FileProblem *problem)
{
	RecordReader reader;
	char	   *data;
	bool		changed;
	bool		good;

	*foreign = NULL;
	ese_shared->next_instance_id = 1;
	ese_shared->next_backup_id = 1;
	memset(&ese_shared->identity, 0, sizeof(Identity));
	switch (statefile_read_since(STATE_FILE, STATE_MAGIC, STATE_OLDEST,
								 STATE_VERSION, &reader, &data, problem))
	{
		case FILE_ABSENT:
			return pass_old_ids(problem);
		case FILE_BAD:
			return false;
		case FILE_FOUND:
			break;
	}
	good = compare_identity(&reader, foreign, &changed, problem);
	ese_shared->next_instance_id = (int32) record_get_int(&reader);
	ese_shared->next_backup_id = record_get_int(&reader);
	good = good && get_all(&reader, problem);
	/* with what has gone wrong before, it was not read to its end */
	if (!good)
		pfree(data);
	if (!good || !statefile_read_done(STATE_FILE, &reader, data, problem))
		return false;
	if (*foreign != NULL)
	{
		break_all();
		memset(&ese_shared->identity, 0, sizeof(Identity));
	}
	ese_shared->stale = changed;
	return true;
}

/* Once for a copy, when it is noticed. */
static void
report_copy(const char *why)
{
	ereport(WARNING,
			(errmsg("backup instances were defined in another data directory and are not started"),
			 errdetail("This data directory is a copy, or has been moved: %s.  Incremental backups cannot follow the original's.",
					   why),
			 errhint("Start the instances that are wanted here with ese_init(), and take full backups.")));
}

bool
registry_try_load(FileProblem *problem)
{
	const char *foreign = NULL;
	bool		good = true;

	if (ese_shared->loaded)
		return true;
	registry_begin_change();
	if (!ese_shared->loaded)
	{
		/* a half-read file leaves nothing; the next caller tries again */
		good = load(&foreign, problem);
		if (!good)
			forget_all();
		ese_shared->loaded = good;
	}
	registry_end_change();
	if (foreign != NULL)
		report_copy(foreign);
	if (good)
		registry_settle();
	return good;
}

void
registry_load(void)
{
	FileProblem problem;

	shared_check_loaded();
	if (!registry_try_load(&problem))
		statefile_raise(&problem);
}

void
registry_settle(void)
{
	static bool reported = false;
	FileProblem problem;
	Change		change;
	bool		good = true;

	if (!ese_shared->stale)
		return;
	registry_begin_change();
	change = no_change();
	if (ese_shared->stale)
		good = save(&change, &problem);
	registry_end_change();
	if (!good && !reported)
		ereport(WARNING,
				(errmsg("%s", problem.message),
				 errdetail("File \"" ESE_DIRECTORY "/" STATE_FILE "\" is not up to date; it is written when that is possible.")));
	reported = !good;
}

EseInstance *
registry_slot(int32 id)
{
	for (int i = 0; id > 0 && i < ese_shared->max_instances; i++)
	{
		if (instance_of_index(i)->id == id)
			return instance_of_index(i);
	}
	return NULL;
}

EseInstance *
registry_find(int32 id)
{
	registry_load();
	return registry_slot(id);
}

EseInstance *
registry_slot_of_name(const char *name)
{
	EseInstance *found = NULL;

	LWLockAcquire(registry_lock(), LW_SHARED);
	for (int i = 0; i < ese_shared->max_instances && found == NULL; i++)
	{
		EseInstance *instance = instance_of_index(i);

		if (instance->id != 0 && strcmp(instance->name, name) == 0)
			found = instance;
	}
	LWLockRelease(registry_lock());
	return found;
}

EseInstance *
registry_find_name(const char *name)
{
	registry_load();
	return registry_slot_of_name(name);
}

int64
registry_next_backup_id(FileProblem *problem)
{
	Change		change;
	int64		id;

	registry_begin_change();
	change = no_change();
	id = change.next_backup_id++;
	if (!save(&change, problem))
		id = 0;
	registry_end_change();
	return id;
}

bool
registry_set_enabled(EseInstance *instance, bool enabled,
					 FileProblem *problem)
{
	Definition	definition;
	bool		good = true;

	registry_begin_change();
	registry_describe(instance, &definition);
	if (definition.enabled != enabled)
	{
		definition.enabled = enabled;
		good = registry_change(instance, &definition, problem);
	}
	registry_end_change();
	return good;
}

void
registry_force_disabled(EseInstance *instance)
{
	LWLockAcquire(registry_lock(), LW_EXCLUSIVE);
	if (instance->enabled)
	{
		instance->enabled = false;
		ese_shared->stale = true;
	}
	LWLockRelease(registry_lock());
}
