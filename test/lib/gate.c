/*
 * Preloaded into a server: while the file $ESE_TEST_GATE is there, no thread
 * but the main one gets through fdatasync().  While one waits there is a file
 * with the suffix ".waiting".
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int
fdatasync(int fd)
{
	int			(*real) (int) = (int (*) (int)) dlsym(RTLD_NEXT, "fdatasync");
	const char *gate = getenv("ESE_TEST_GATE");
	char		waiting[4096];

	if (gate != NULL && gettid() != getpid())
	{
		snprintf(waiting, sizeof(waiting), "%s.waiting", gate);
		while (access(gate, F_OK) == 0)
		{
			close(open(waiting, O_WRONLY | O_CREAT, 0600));
			usleep(10000);
		}
		unlink(waiting);
	}
	return real(fd);
}
