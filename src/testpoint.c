/*-------------------------------------------------------------------------
 *
 * testpoint.c
 *	  Failing and waiting at named places, for tests.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/wait_event.h"

#include "testpoint.h"

#define LOOK_EVERY_MS 10

char	   *ese_test_points = "";

void
testpoint_define_setting(void)
{
	DefineCustomStringVariable("ese.test_points",
							   "Places at which to fail or wait, for tests.",
							   NULL, &ese_test_points, "", PGC_SUSET,
							   GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE,
							   NULL, NULL, NULL);
}

bool
testpoint_is_set(const char *name, const char *action)
{
	char		item[128];
	const char *at;
	size_t		length;

	length = snprintf(item, sizeof(item), "%s=%s", name, action);
	at = strstr(ese_test_points, item);
	return at != NULL &&
		(at == ese_test_points || at[-1] == ' ' || at[-1] == ',') &&
		(at[length] == '\0' || at[length] == ',' || at[length] == ' ');
}

void
testpoint_reached(const char *name)
{
	if (testpoint_is_set(name, "error"))
		ereport(ERROR, (errmsg("error injected at test point \"%s\"", name)));
	if (testpoint_is_set(name, "fail"))
		ereport(ERROR,
				(errcode(ERRCODE_DISK_FULL),
				 errmsg("failure injected at test point \"%s\"", name)));
	if (testpoint_is_set(name, "fatal"))
		ereport(FATAL, (errmsg("exit injected at test point \"%s\"", name)));
	if (testpoint_is_set(name, "wait"))
		ereport(LOG, (errmsg("waiting at test point \"%s\"", name)));
	while (testpoint_is_set(name, "wait"))
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 LOOK_EVERY_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
	}
}

void
testpoint_log_change(const char *instance_name)
{
	static char seen[256];

	if (strncmp(seen, ese_test_points, sizeof(seen) - 1) == 0)
		return;
	strlcpy(seen, ese_test_points, sizeof(seen));
	ereport(LOG,
			(errmsg("instance \"%s\": test points are now \"%s\"",
					instance_name, ese_test_points)));
}
