/*-------------------------------------------------------------------------
 *
 * privateserver.c
 *	  A server of our own on a restored data directory.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "common/string.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "storage/fd.h"
#include "utils/pidfile.h"

#include "privateserver.h"
#include "statefile.h"

#define HOME_PREFIX		"/tmp/ese_restore."
#define LOG_NAME		"log"
#define OUTPUT_NAME		"output"
#define CONFIG_NAME		"postgresql.conf"
#define HBA_NAME		"pg_hba.conf"

/* A server that is told to end at once may take so long. */
#define END_MS			5000

/* So much of a line of a program's output goes into a message. */
#define OUTPUT_LENGTH	300

/* Enough of the log to find its last words in. */
#define LOG_TAIL		16384

/*
 * Run the server until its standard input says how to end it, or is closed
 * (then the worker is gone, and it ends at once).  A shell starts it deaf to
 * these signals, so one that comes too early has to be repeated.
 */
static char supervisor[] =
"exec 3<&0 </dev/null\n"
"\"$@\" 3<&- & server=$!\n"
"(read how <&3; while kill -s ${how:-QUIT} $server; do sleep 0.1; done) 2>/dev/null & reader=$!\n"
"wait $server; status=$?\n"
"kill $reader 2>/dev/null\n"
"exit $status\n";

/* What the restored configuration must not decide. */
static const char *const settings[] = {
	"listen_addresses=",
	"port=" PRIVATE_PORT,
	"ssl=off",
	"external_pid_file=",
	"logging_collector=off",
	"log_destination=stderr",
	"lc_messages=C",
	"log_min_messages=warning",
	"log_error_verbosity=default",
	"log_line_prefix=",
	"log_statement=none",
	"log_duration=off",
	"log_min_duration_statement=-1",
	"log_connections=off",
	"log_disconnections=off",
	"log_timezone=GMT",
	"timezone=GMT",
	"shared_preload_libraries=",
	"session_preload_libraries=",
	"local_preload_libraries=",
	"archive_mode=off",
	"archive_command=",
	"wal_level=replica",
	"max_wal_senders=0",
	"max_logical_replication_workers=0",
	"primary_conninfo=",
	"synchronous_standby_names=",
	"autovacuum=off",
	"hot_standby=off",
	"fsync=on",
	"recovery_init_sync_method=syncfs",
	"recovery_min_apply_delay=0",
	"restore_command=false",
	"archive_cleanup_command=",
	"recovery_end_command=",
	"recovery_target_timeline=latest",
	"recovery_target_action=promote",
	"recovery_target_inclusive=on",
	/* only one of these may be set, so the one that is comes after them */
	"recovery_target=",
	"recovery_target_lsn=",
	"recovery_target_name=",
	"recovery_target_time=",
	"recovery_target_xid=",
};

/*
 * What its databases and roles must not decide: what a session may do and for
 * how long, whose triggers fire, and what it says about damage.
 */
static const char session_options[] =
"-c session_replication_role=replica -c role=none"
" -c session_preload_libraries= -c local_preload_libraries="
" -c default_transaction_read_only=off -c default_transaction_isolation=read\\ committed"
" -c default_transaction_deferrable=off"
" -c statement_timeout=0 -c lock_timeout=0"
" -c idle_in_transaction_session_timeout=0 -c idle_session_timeout=0"
" -c default_tablespace= -c temp_tablespaces= -c default_table_access_method=heap"
" -c client_min_messages=warning -c lc_messages=C"
" -c zero_damaged_pages=off -c ignore_checksum_failure=off"
" -c ignore_system_indexes=off -c row_security=off -c jit=off";

char *
private_file(const PrivateServer *server, const char *name)
{
	return psprintf("%s/%s", server->home, name);
}

static bool
write_file(const char *path, const char *text)
{
	int			fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	bool		good;

	if (fd < 0)
		return false;
	errno = ENOSPC;				/* unless write() says something else */
	good = write(fd, text, strlen(text)) == (ssize_t) strlen(text);
	close(fd);
	return good;
}

bool
private_make_home(PrivateServer *server, int32 instance_id)
{
	server->instance_id = instance_id;
	/* the name tells whose it is, among the servers of a machine */
	snprintf(server->home, sizeof(server->home), HOME_PREFIX "%llu.XXXXXX",
			 (unsigned long long) GetSystemIdentifier());
	if (mkdtemp(server->home) == NULL)
	{
		server->home[0] = '\0';
		return false;
	}
	(void) unlink(statefile_private_link(instance_id));
	return symlink(server->home, statefile_private_link(instance_id)) == 0 &&
		write_file(private_file(server, CONFIG_NAME), "") &&
		write_file(private_file(server, HBA_NAME), "local all all trust\n");
}

/* Append "-c", "setting". */
static List *
add_setting(List *args, char *setting)
{
	return lappend(lappend(args, "-c"), setting);
}

/* All arguments of the supervisor. */
static char **
make_arguments(PrivateServer *server, const ControlFileData *control,
			   const char *target)
{
	List	   *args = NIL;
	char	  **argv;
	int			n = 0;
	ListCell   *cell;

	args = lappend(args, "/bin/sh");
	args = lappend(args, "-c");
	args = lappend(args, supervisor);
	args = lappend(args, "ese");
	args = lappend(args, my_exec_path);
	args = lappend(args, "-D");
	args = lappend(args, server->data);
	args = add_setting(args, psprintf("config_file=%s", private_file(server, CONFIG_NAME)));
	args = add_setting(args, psprintf("hba_file=%s", private_file(server, HBA_NAME)));
	args = add_setting(args, "ident_file=/dev/null");
	args = add_setting(args, psprintf("unix_socket_directories=%s", server->home));
	for (int i = 0; i < lengthof(settings); i++)
		args = add_setting(args, unconstify(char *, settings[i]));
	/* recovery has to hold all transactions that were prepared */
	args = add_setting(args, psprintf("max_prepared_transactions=%d",
									  control->max_prepared_xacts));
	if (target[0] != '\0')
		args = add_setting(args, unconstify(char *, target));
	argv = palloc(sizeof(char *) * (list_length(args) + 1));
	foreach(cell, args)
		argv[n++] = lfirst(cell);
	argv[n] = NULL;
	return argv;
}

bool
private_start(PrivateServer *server, const char *data,
			  const ControlFileData *control, const char *target)
{
	strlcpy(server->data, data, sizeof(server->data));
	return child_start(&server->child, make_arguments(server, control, target),
					   private_file(server, LOG_NAME), true, NULL);
}

bool
private_is_ready(const char *pidfile)
{
	return strstr(pidfile, PM_STATUS_READY) != NULL;
}

void
private_shut_down(PrivateServer *server)
{
	static const char fast[] = "INT\n";

	(void) !write(server->child.control, fast, strlen(fast));
}

char *
private_output(const PrivateServer *server)
{
	int			fd = open(private_file(server, OUTPUT_NAME), O_RDONLY | O_CLOEXEC);
	char	   *text = palloc(OUTPUT_LENGTH + 1);
	ssize_t		length = -1;

	if (fd >= 0)
	{
		length = read(fd, text, OUTPUT_LENGTH);
		close(fd);
	}
	text[		Max(length, 0)] = '\0';
	text[		strcspn(text, "\n")] = '\0';
	return text;
}

/* The last of these words in a text, or NULL. */
static char *
find_last(char *text, const char *word)
{
	char	   *found = NULL;
	char	   *at = text;

	while ((at = strstr(at, word)) != NULL)
		found = at++;
	return found;
}

char *
private_log(const PrivateServer *server)
{
	int			fd = open(private_file(server, LOG_NAME), O_RDONLY | O_CLOEXEC);
	char	   *log = palloc0(LOG_TAIL + 1);
	off_t		end;

	if (fd < 0)
		return log;
	end = lseek(fd, 0, SEEK_END);
	if (pread(fd, log, LOG_TAIL, Max(0, end - LOG_TAIL)) < 0)
		log[0] = '\0';
	close(fd);
	return log;
}

char *
private_last_words(const PrivateServer *server)
{
	char	   *log = private_log(server);
	char	   *found;

	found = find_last(log, "FATAL:  ");
	if (found == NULL)
		found = find_last(log, "PANIC:  ");
	if (found == NULL)
		return "its log does not say why";
	found += strlen("FATAL:  ");
	found[strcspn(found, "\n")] = '\0';
	return found;
}

/* The private directory holds nothing but files. */
static void
remove_home(PrivateServer *server)
{
	DIR		   *directory = AllocateDir(server->home);
	struct dirent *de;

	while (directory != NULL &&
		   (de = ReadDirExtended(directory, server->home, LOG)) != NULL)
	{
		if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0)
			(void) unlink(private_file(server, de->d_name));
	}
	if (directory != NULL)
		FreeDir(directory);
	(void) rmdir(server->home);
	(void) unlink(statefile_private_link(server->instance_id));
	server->home[0] = '\0';
}

void
private_remove_stale(int32 instance_id)
{
	PrivateServer server = {.instance_id = instance_id};
	ssize_t		length = readlink(statefile_private_link(instance_id),
								  server.home, sizeof(server.home) - 1);

	if (length <= 0)
		return;
	server.home[length] = '\0';
	if (strncmp(server.home, HOME_PREFIX, strlen(HOME_PREFIX)) == 0)
		remove_home(&server);
}

void
private_end(PrivateServer *server)
{
	child_end(&server->child, END_MS);
	if (server->home[0] != '\0')
		remove_home(server);
}

/* Where one of the server's other programs is. */
static char *
program_path(const char *name)
{
	char		path[MAXPGPATH];

	strlcpy(path, my_exec_path, sizeof(path));
	get_parent_directory(path);
	return psprintf("%s/%s", path, name);
}

char *
private_missing_check(void)
{
	char		share[MAXPGPATH];

	get_share_path(my_exec_path, share);
	if (access(psprintf("%s/extension/amcheck.control", share), R_OK) != 0)
		return "the extension amcheck";
	if (access(program_path("pg_amcheck"), X_OK) != 0)
		return "the program pg_amcheck";
	return NULL;
}

bool
private_run(PrivateServer *server, Child *child, char *argv[])
{
	argv[0] = program_path(argv[0]);
	return child_start(child, argv, private_file(server, OUTPUT_NAME), false,
					   session_options);
}
