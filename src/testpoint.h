/*-------------------------------------------------------------------------
 *
 * testpoint.h
 *	  Named places at which a test can make this extension fail or wait.
 *
 * The setting ese.test_points (superusers only, not shown) holds a list such
 * as "begin.start=error, read.copied=wait".  A process that comes to a named
 * place raises an error of the server's internals ("error") or one that could
 * be foreseen ("fail"), exits ("fatal"), or waits until the setting no longer
 * names the place ("wait").  The setting is re-read there, so that a test changes it with ALTER
 * SYSTEM and pg_reload_conf().
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_TESTPOINT_H
#define ESE_TESTPOINT_H

extern char *ese_test_points;

extern void testpoint_define_setting(void);
extern void testpoint_reached(const char *name);

/* Log that this worker has seen the setting change: a test waits for it. */
extern void testpoint_log_change(const char *instance_name);

/* Does the setting name this place with this action? */
extern bool testpoint_is_set(const char *name, const char *action);

/* Costs a test of one byte where nobody tests. */
static inline void
testpoint(const char *name)
{
	if (ese_test_points[0] != '\0')
		testpoint_reached(name);
}

#endif							/* ESE_TESTPOINT_H */
