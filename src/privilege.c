/*-------------------------------------------------------------------------
 *
 * privilege.c
 *	  Who may do what, and see what.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "utils/acl.h"

#include "privilege.h"

static bool
has_role(Oid role)
{
	return superuser() || has_privs_of_role(GetUserId(), role);
}

bool
privilege_to_read(void)
{
	return privilege_to_read_files() || has_rolreplication(GetUserId());
}

bool
privilege_to_read_files(void)
{
	return has_role(ROLE_PG_READ_SERVER_FILES);
}

bool
privilege_to_write_files(void)
{
	return has_role(ROLE_PG_WRITE_SERVER_FILES);
}

bool
privilege_to_monitor(void)
{
	return has_role(ROLE_PG_MONITOR);
}

bool
privilege_to_see(Oid begun_by)
{
	return begun_by == GetUserId() || privilege_to_monitor();
}

void
privilege_check_read(void)
{
	if (!privilege_to_read())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to read a backup"),
				 errdetail("A backup holds the contents of all databases."),
				 errhint("Grant pg_read_server_files to the role, or give it the REPLICATION attribute.")));
}

void
privilege_check_read_files(void)
{
	if (!privilege_to_read_files())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to read files on the server"),
				 errhint("Grant pg_read_server_files to the role.")));
}

void
privilege_check_write_files(void)
{
	if (!privilege_to_write_files())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to write files on the server"),
				 errhint("Grant pg_write_server_files to the role.")));
}
