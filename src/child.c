/*-------------------------------------------------------------------------
 *
 * child.c
 *	  Running programs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"

/* How often the end of a child is looked for. */
#define STEP_US 5000

/* How long a child that was killed is waited for. */
#define KILL_MS 2000

/* What a child starts with: no blocked or ignored signals, its own group. */
static void
fill_attributes(posix_spawnattr_t * attributes)
{
	sigset_t	none;
	sigset_t	all;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_init(attributes);
	posix_spawnattr_setsigmask(attributes, &none);
	posix_spawnattr_setsigdefault(attributes, &all);
	posix_spawnattr_setpgroup(attributes, 0);
	posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK |
							 POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
}

static void
fill_actions(posix_spawn_file_actions_t * actions, int input, const char *output)
{
	posix_spawn_file_actions_init(actions);
	if (input >= 0)
		posix_spawn_file_actions_adddup2(actions, input, 0);
	else
		posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(actions, 1, output,
									 O_WRONLY | O_CREAT | O_APPEND, 0600);
	posix_spawn_file_actions_adddup2(actions, 1, 2);
	posix_spawn_file_actions_addclosefrom_np(actions, 3);
}

/*
 * The environment but for what tells libpq and servers where to go, and how.
 */
static char **
make_environment(const char *options)
{
	int			count = 0;
	int			kept = 0;
	char	  **environment;

	while (environ[count] != NULL)
		count++;
	environment = palloc(sizeof(char *) * (count + 2));
	for (int i = 0; i < count; i++)
	{
		if (strncmp(environ[i], "PG", 2) != 0)
			environment[kept++] = environ[i];
	}
	if (options != NULL)
		environment[kept++] = psprintf("PGOPTIONS=%s", options);
	environment[kept] = NULL;
	return environment;
}

bool
child_start(Child *child, char *const argv[], const char *output,
			bool controlled, const char *options)
{
	posix_spawnattr_t attributes;
	posix_spawn_file_actions_t actions;
	int			ends[2] = {-1, -1};
	int			error;

	memset(child, 0, sizeof(*child));
	child->control = -1;
	if (controlled && pipe2(ends, O_CLOEXEC) != 0)
		return false;
	fill_attributes(&attributes);
	fill_actions(&actions, ends[0], output);
	error = posix_spawn(&child->pid, argv[0], &actions, &attributes, argv,
						make_environment(options));
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	if (ends[0] >= 0)
		close(ends[0]);
	child->control = ends[1];
	child->controlled = controlled;
	if (error == 0)
		return true;
	child->pid = 0;
	if (ends[1] >= 0)
		close(ends[1]);
	child->control = -1;
	errno = error;
	return false;
}

bool
child_runs(Child *child)
{
	if (child->pid == 0)
		return false;
	switch (waitpid(child->pid, &child->status, WNOHANG))
	{
		case 0:
			return true;
		case -1:
			/* somebody else has reaped it: nothing says that it did well */
			child->status = -1;
			break;
		default:
			break;
	}
	child->pid = 0;
	if (child->control >= 0)
		close(child->control);
	child->control = -1;
	return false;
}

int
child_exit_status(const Child *child)
{
	return WIFEXITED(child->status) ? WEXITSTATUS(child->status) : -1;
}

bool
child_succeeded(const Child *child)
{
	return child_exit_status(child) == 0;
}

void
child_end(Child *child, int patience_ms)
{
	pid_t		group = child->pid;

	if (!child_runs(child))
		return;
	/* a signal would end who passes on the end of the control */
	if (!child->controlled)
		kill(-group, SIGTERM);
	else if (child->control >= 0)
		close(child->control);
	child->control = -1;
	for (int us = 0; child_runs(child) && us < patience_ms * 1000; us += STEP_US)
		pg_usleep(STEP_US);
	if (child->pid == 0)
		return;
	kill(-group, SIGKILL);
	/* inside a system call that does not return not even that helps */
	for (int us = 0; child_runs(child) && us < KILL_MS * 1000; us += STEP_US)
		pg_usleep(STEP_US);
}
