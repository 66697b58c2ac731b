/*-------------------------------------------------------------------------
 *
 * relfile.h
 *	  Names of relation files: <number>[_<fork>][.<segment>].
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_RELFILE_H
#define ESE_RELFILE_H

#include <stdbool.h>
#include <stdint.h>

typedef enum RelFork
{
	FORK_MAIN,
	FORK_FSM,
	FORK_VM,
	FORK_INIT,
} RelFork;

typedef struct RelFile
{
	uint32_t	number;			/* relfilenode, never 0 */
	RelFork		fork;
	uint32_t	segment;		/* 0 for the first file of a fork */
} RelFile;

/*
 * Parse the last component of a path.  Only the spelling PostgreSQL itself
 * writes is accepted: no leading zeros, no sign, no segment 0.
 */
extern bool relfile_parse(const char *name, RelFile *file);

/* "main", "fsm", "vm", "init" */
extern const char *relfile_fork_name(RelFork fork);

/* Is this the file of a temporary relation: t<backend>_<number>...? */
extern bool relfile_is_temporary(const char *name);

#endif							/* ESE_RELFILE_H */
