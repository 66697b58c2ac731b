/*-------------------------------------------------------------------------
 *
 * privilege.h
 *	  Who may do what, beside EXECUTE on the function, and who may see what.
 *
 * The rights are those of the current user, so that a SECURITY DEFINER
 * function can grant less than all of them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_PRIVILEGE_H
#define ESE_PRIVILEGE_H

/*
 * May the current user read a backup?  Whoever reads one reads everything,
 * and its End, TruncateLog and receipts decide what others may rely on: every
 * call from Begin to End asks, but a stop does not.
 */
extern bool privilege_to_read(void);

/* The same for files of the server, by path. */
extern bool privilege_to_read_files(void);
extern bool privilege_to_write_files(void);

/*
 * Raise 42501 unless so.  Whoever has the server write files may overwrite
 * what it trusts.
 */
extern void privilege_check_read(void);
extern void privilege_check_read_files(void);
extern void privilege_check_write_files(void);

/* May the current user see what is private about all backups? */
extern bool privilege_to_monitor(void);

/* ... about one that was begun by this role? */
extern bool privilege_to_see(Oid begun_by);

#endif							/* ESE_PRIVILEGE_H */
