/*-------------------------------------------------------------------------
 *
 * target.h
 *	  The directory that a native backup is written to.
 *
 * From the first moment to the last it holds a marker file, which says that
 * what lies beside it is no backup.  A directory that is given up is left as
 * it was found: absent or empty.
 *
 * All of this may hang: it belongs into a task (pathwork.h).
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_TARGET_H
#define ESE_TARGET_H

#include <stddef.h>
#include <sys/types.h>

#include "file.h"
#include "pathwork.h"

#define TARGET_MARKER "ese_backup_incomplete"

/*
 * An incremental backup adds to the directory of the full one, which is a
 * backup all the time: new files bear this suffix until all are there.
 */
#define TARGET_SUFFIX ".ese_new"

typedef struct Target
{
	bool		in_use;
	bool		tar;			/* archives, not a data directory */
	bool		reused;			/* it holds the full backup already */
	bool		made;			/* the directory was not there before */
	bool		linked;			/* pg_tblspc and its links have been made */
	mode_t		mode_before;	/* else: its mode then */
	int			directory;		/* descriptor */
	char		path[PATH_SIZE];
	char		parent_made[PATH_SIZE]; /* a directory above it that was not
										 * there before, or empty */
} Target;

/* What the server says about itself. */
typedef struct TargetSettings
{
	mode_t		directory_mode;
	mode_t		file_mode;
	uint64_t	system_identifier;
} TargetSettings;

extern TargetSettings target_settings;

/* The JET error of an errno that came from writing. */
extern int	target_jet_error(int sys_errno);

/* Fill in an error; always false. */
extern bool target_fail(TargetError *error, int jet, const char *format,...)
			__attribute__((format(printf, 3, 4)));

/* The same for errno: "could not <what> "<path>": ...". */
extern bool target_fail_errno(TargetError *error, const char *what,
							  const char *path);

/* The same for a name in a directory. */
extern bool target_fail_in(TargetError *error, const char *what,
						   const char *directory, const char *name);

/* Put a path together; false when it is too long. */
extern bool target_join(char *path, const char *directory, const char *name,
						TargetError *error);

/* The directory that holds a path, which is absolute. */
extern void target_parent(char *parent, const char *path);

/* Does a name end so? */
extern bool target_ends_with(const char *name, const char *suffix);

/* Does a path lie in a directory, or is it that, whatever both are called? */
extern bool target_lies_in(const char *path, const char *directory);

/* Is there a file whose name begins so? */
extern bool target_has_file(const char *path, const char *prefix);

/* Make a directory's entries durable. */
extern bool target_sync_directory(const char *path, TargetError *error);

/*
 * May a backup be written there?  Absolute, absent (its parent is there) or
 * an empty directory, not within the cluster.  False and *error if not.
 */
extern bool target_check(const char *path, TargetError *error);

/* The same, but what is in the directory does not matter. */
extern bool target_check_place(const char *path, TargetError *error);

/* Make it, with its marker, which says what is going on there. */
extern bool target_make(Target *target, const char *path, const char *what,
						const char *instance_name, TargetError *error);

/*
 * Take up the directory of the chain's full backup.  False and *error when it
 * is not that, or not of this cluster.
 */
extern bool target_reuse(Target *target, const char *path,
						 const char *chain_location, TargetError *error);

/*
 * Make the directories of a list, which is sorted by name, but for those that
 * are there (links to the places of tablespaces).
 */
extern bool target_make_directories(Target *target, const FileEntry *entries,
									int count, TargetError *error);

/*
 * The last steps, when everything else is on disk: a file that makes the
 * backup usable (NULL for none), and the end of the marker.
 */
extern bool target_complete(Target *target, const FileEntry *last,
							TargetError *error);

/*
 * The last step in a reused one, when everything else is on disk: the files
 * of a list, or (archive is not NULL) that one, get their own names.
 */
extern bool target_publish(Target *target, const FileEntry *entries, int count,
						   const char *archive, TargetError *error);

/* A file of this name is there, but has the suffix: that goes. */
extern bool target_publish_file(Target *target, const char *name,
								TargetError *error);

/*
 * What is going to be removed bears the marker first: a removal that is cut
 * off leaves nothing that looks like a backup.
 */
extern bool target_mark(int directory, const char *path, TargetError *error);

/* Write a small file and make it durable. */
extern bool target_write_file(Target *target, const char *name,
							  const char *bytes, size_t length,
							  TargetError *error);

/* Close it; and, to give it up, remove all that is in it. */
extern void target_close(Target *target);
extern bool target_remove(Target *target, TargetError *error);

#endif							/* ESE_TARGET_H */
