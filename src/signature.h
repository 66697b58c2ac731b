/*-------------------------------------------------------------------------
 *
 * signature.h
 *	  Does the SQL script match the library?
 *
 * A function that was declared by another version of the script would read
 * arguments that are not there, or return what nobody expects, and so bring
 * down the server.  Each SQL function checks its declaration before it looks
 * at an argument; what rows.h makes checks its columns.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_SIGNATURE_H
#define ESE_SIGNATURE_H

#include "fmgr.h"

/* Raise an error unless the function is declared as the library expects. */
extern void signature_check(FunctionCallInfo fcinfo);

/* Refuse a function that is declared otherwise. */
extern void signature_refuse(const char *function, const char *detail) pg_attribute_noreturn();

#endif							/* ESE_SIGNATURE_H */
