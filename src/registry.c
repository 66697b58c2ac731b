/*-------------------------------------------------------------------------
 *
 * registry.c
 *	  Loading and saving instance definitions.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/stat.h>

#include "access/xlog.h"
#include "miscadmin.h"

#include "registry.h"
#include "statefile.h"

#define STATE_FILE		"state"
#define STATE_MAGIC		0x53455345	/* "ESES" */
#define STATE_VERSION	1

/* What tells this data directory from a copy of it. */
typedef struct Identity
{
	int64		system_identifier;
	int64		device;
	int64		inode;
} Identity;

static void
get_identity(Identity *identity)
{
	struct stat st;

	if (stat(DataDir, &st) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not stat directory \"%s\": %m", DataDir)));
	identity->system_identifier = (int64) GetSystemIdentifier();
	identity->device = (int64) st.st_dev;
	identity->inode = (int64) st.st_ino;
}

static void
put_instance(ByteBuffer *record, const EseInstance *instance)
{
	record_put_int(record, instance->id);
	record_put_string(record, instance->name);
	record_put_string(record, instance->display_name);
	record_put_int(record, instance->enabled);
	record_put_int(record, param_count);
	for (int i = 0; i < param_count; i++)
	{
		record_put_string(record, param_name(param_at(i)));
		record_put_int(record, param_get(&instance->params, param_at(i)));
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
get_instance(RecordReader *reader, EseInstance *instance)
{
	instance->id = (int32) record_get_int(reader);
	record_get_string(reader, instance->name, sizeof(instance->name));
	record_get_string(reader, instance->display_name,
					  sizeof(instance->display_name));
	instance->enabled = record_get_int(reader) != 0;
	get_parameters(reader, &instance->params);
	if (instance->id <= 0)
		reader->bad = true;
}

/* Fill the slots from the record; the registry lock is held. */
static void
get_instances(RecordReader *reader, bool foreign)
{
	int64		count = record_get_int(reader);

	if (count > ese_shared->max_instances)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("there are more instances than ese.max_instances"),
				 errdetail("%lld instances are defined, and ese.max_instances is %d.",
						   (long long) count, ese_shared->max_instances),
				 errhint("Increase ese.max_instances and restart the server.")));
	for (int64 i = 0; i < count && !reader->bad; i++)
	{
		EseInstance *instance = instance_of_index(i);

		get_instance(reader, instance);
		if (foreign)
			instance->enabled = false;
	}
}

static void
forget_instances(void)
{
	for (int i = 0; i < ese_shared->max_instances; i++)
		instance_of_index(i)->id = 0;
}

/* Read the file; the registry lock is held exclusively. */
static void
load(void)
{
	RecordReader reader;
	Identity	here;
	Identity	there;
	char	   *data;
	bool		foreign;

	ese_shared->next_instance_id = 1;
	ese_shared->next_backup_id = 1;
	if (!statefile_read(STATE_FILE, STATE_MAGIC, STATE_VERSION, &reader, &data))
		return;

	get_identity(&here);
	there.system_identifier = record_get_int(&reader);
	there.device = record_get_int(&reader);
	there.inode = record_get_int(&reader);
	foreign = memcmp(&here, &there, sizeof(here)) != 0;
	ese_shared->next_instance_id = (int32) record_get_int(&reader);
	ese_shared->next_backup_id = record_get_int(&reader);
	get_instances(&reader, foreign);
	statefile_read_done(STATE_FILE, &reader);
	pfree(data);
	if (foreign)
		ereport(LOG,
				(errmsg("backup instances were defined in another data directory and are not started"),
				 errdetail("This data directory is a copy, or has been moved."),
				 errhint("Start the instances that are wanted here with ese_init().")));
}

void
registry_load(void)
{
	shared_check_loaded();
	LWLockAcquire(registry_lock(), LW_SHARED);
	if (ese_shared->loaded)
	{
		LWLockRelease(registry_lock());
		return;
	}
	LWLockRelease(registry_lock());

	LWLockAcquire(registry_lock(), LW_EXCLUSIVE);
	if (!ese_shared->loaded)
	{
		/* a half-read file leaves nothing; the next caller tries again */
		forget_instances();
		PG_TRY();
		{
			load();
		}
		PG_CATCH();
		{
			forget_instances();
			PG_RE_THROW();
		}
		PG_END_TRY();
		ese_shared->loaded = true;
	}
	LWLockRelease(registry_lock());
}

void
registry_save(void)
{
	ByteBuffer	record = {0};
	Identity	here;
	int			count = 0;

	get_identity(&here);
	for (int i = 0; i < ese_shared->max_instances; i++)
		count += instance_of_index(i)->id != 0;

	record_begin(&record);
	record_put_int(&record, here.system_identifier);
	record_put_int(&record, here.device);
	record_put_int(&record, here.inode);
	record_put_int(&record, ese_shared->next_instance_id);
	record_put_int(&record, ese_shared->next_backup_id);
	record_put_int(&record, count);
	for (int i = 0; i < ese_shared->max_instances; i++)
	{
		if (instance_of_index(i)->id != 0)
			put_instance(&record, instance_of_index(i));
	}
	statefile_write(STATE_FILE, &record, STATE_MAGIC, STATE_VERSION);
}

EseInstance *
registry_find(int32 id)
{
	EseInstance *found = NULL;

	registry_load();
	if (id <= 0)
		return NULL;
	LWLockAcquire(registry_lock(), LW_SHARED);
	for (int i = 0; i < ese_shared->max_instances && found == NULL; i++)
	{
		if (instance_of_index(i)->id == id)
			found = instance_of_index(i);
	}
	LWLockRelease(registry_lock());
	return found;
}

EseInstance *
registry_find_name(const char *name)
{
	EseInstance *found = NULL;

	registry_load();
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

int64
registry_next_backup_id(void)
{
	int64		id;

	LWLockAcquire(registry_lock(), LW_EXCLUSIVE);
	id = ese_shared->next_backup_id++;
	registry_save();
	LWLockRelease(registry_lock());
	return id;
}

void
registry_set_enabled(EseInstance *instance, bool enabled)
{
	LWLockAcquire(registry_lock(), LW_EXCLUSIVE);
	if (instance->enabled != enabled)
	{
		instance->enabled = enabled;
		registry_save();
	}
	LWLockRelease(registry_lock());
}
