/*-------------------------------------------------------------------------
 *
 * restore.h
 *	  What a session tells the worker about a restore or a verification.
 *
 * The request's options are lines, each a key and its values with tabs
 * between them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_RESTORE_H
#define ESE_RESTORE_H

/* target <tab> recovery_target_lsn=0/3000028 */
#define OPTION_TARGET		"target"

/* moment <tab> when that is, as a TimestampTz: with a target time only */
#define OPTION_MOMENT		"moment"

/* tablespace <tab> 16385, or its former place <tab> its new place */
#define OPTION_TABLESPACE	"tablespace"

/* superuser <tab> name: a role that may check the restored databases */
#define OPTION_SUPERUSER	"superuser"

/* Depths of a verification. */
#define DEPTH_MANIFEST		"manifest"
#define DEPTH_RESTORE		"restore"

#endif							/* ESE_RESTORE_H */
