/*-------------------------------------------------------------------------
 *
 * hanging.c
 *	  Where a thread of an instance hangs, for the sessions.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "hanging.h"
#include "privilege.h"

void
hanging_publish(EseInstance *instance, const char *path)
{
	LWLockAcquire(instance_lock(instance), LW_EXCLUSIVE);
	strlcpy(instance->hanging, path, sizeof(instance->hanging));
	LWLockRelease(instance_lock(instance));
}

void
hanging_warn(EseInstance *instance)
{
	char		path[MAXPGPATH];
	Oid			begun_by;

	LWLockAcquire(instance_lock(instance), LW_SHARED);
	strlcpy(path, instance->hanging, sizeof(path));
	begun_by = instance->backup.row.begun_by_oid;
	LWLockRelease(instance_lock(instance));
	if (path[0] == '\0')
		return;
	ereport(WARNING,
			(privilege_to_see(begun_by) ?
			 errmsg("a thread of instance \"%s\" hangs in \"%s\"",
					instance->name, path) :
			 errmsg("a thread of instance \"%s\" hangs", instance->name),
			 errdetail("A system call on that path does not return. What is left there is removed when it does."),
			 errhint("The server cannot be shut down before that: see to the disk or network behind the path.")));
}
