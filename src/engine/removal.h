/*-------------------------------------------------------------------------
 *
 * removal.h
 *	  Removing directories, and nothing outside of them.
 *
 * Everything goes through descriptors, and links are not followed: whoever
 * may write to a directory above, and swaps what lies there, has nothing else
 * removed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_REMOVAL_H
#define ESE_REMOVAL_H

#include "pathwork.h"

/*
 * Remove all that lies in an open directory, but for a file of this name
 * (NULL for none).  What cannot be removed stays; false and *error for the
 * first of it.
 */
extern bool removal_empty(int directory, const char *path, const char *spare,
						  TargetError *error);

/* Remove an empty directory, if its path still leads to it. */
extern bool removal_of_directory(int directory, const char *path,
								 TargetError *error);

#endif							/* ESE_REMOVAL_H */
