/*-------------------------------------------------------------------------
 *
 * logname.h
 *	  Names of the files that come with the logs of a backup.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_LOGNAME_H
#define ESE_LOGNAME_H

#include <stdbool.h>
#include <stdint.h>

/*
 * May a file of this name and length be in an archive of logs?  It is asked
 * before anything that lists these files is known, and before one is written.
 */
extern bool logname_is_allowed(const char *path, uint64_t size);

#endif							/* ESE_LOGNAME_H */
