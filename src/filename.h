/*-------------------------------------------------------------------------
 *
 * filename.h
 *	  Names of files as SQL text.
 *
 * A file name is any bytes; text must be valid in the database's encoding.
 * A name that is not is shown as an escape string, E'...', with \xHH for
 * each byte that is not plain ASCII, and is accepted in that form.  So is a
 * valid name that itself looks like an escape string.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_FILENAME_H
#define ESE_FILENAME_H

/* The name to show, palloc'd. */
extern char *filename_show(const char *name);

/*
 * The name that a shown one stands for, palloc'd.  NULL for something that
 * begins like an escape string and is none.
 */
extern char *filename_read(const char *text);

/*
 * Any text that may come from a database with another encoding: as it is
 * where it is valid here, else as an escape string.  palloc'd.
 */
extern char *filename_text(const char *text);

#endif							/* ESE_FILENAME_H */
