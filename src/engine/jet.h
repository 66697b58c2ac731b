/*-------------------------------------------------------------------------
 *
 * jet.h
 *	  JET error numbers, option bits and what is known about each.
 *
 * ESE's names and numbers, unchanged.  Everything here is made from the two
 * lists jet_error.def and jet_constant.def.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_JET_H
#define ESE_JET_H

#include <stddef.h>
#include <stdint.h>

/* JET_errSuccess, JET_errBackupAbortByServer, ... */
typedef enum JetErr
{
#define JET_CODE(name, number, category, meaning) name = (number),
#define JET_RAISED(name, number, category, meaning, after, retry) name = (number),
#include "jet_error.def"
#undef JET_CODE
#undef JET_RAISED
} JetErr;

/* JET_bitBackupEndNormal, JET_bitTermStopBackup, ... */
enum JetConstant
{
#define JET_CONSTANT(name, value, meaning) name = (value),
#define JET_INTERNAL(scope, name, value, meaning)
#include "jet_constant.def"
#undef JET_CONSTANT
#undef JET_INTERNAL
};

/* What one row of the view ese_error says. */
typedef struct JetErrorInfo
{
	const char *name;
	int			number;
	const char *category;
	const char *meaning;
	const char *backup_after;	/* NULL when this extension never raises it */
	const char *retry;			/* likewise */
} JetErrorInfo;

typedef struct JetConstantInfo
{
	const char *name;			/* "scope.name" for ESE's internal ones */
	int64_t		value;
	const char *meaning;
} JetConstantInfo;

extern const JetErrorInfo jet_errors[];
extern const size_t jet_error_count;
extern const JetConstantInfo jet_constants[];
extern const size_t jet_constant_count;

/* The entry of a number, or NULL. */
extern const JetErrorInfo *jet_error_find(int number);

/* The name of a number; "JET_errUnknown" when it has none.  Never NULL. */
extern const char *jet_error_name(int number);

/*
 * The SQLSTATE of an error number: 'J' and four digits, NUL-terminated.
 * Returns 0 when the number has no four digits (ESE's client range).
 */
extern int	jet_sqlstate_text(int number, char text[6]);

/*
 * The value of an expression of option names joined by '|' ("A | B"), as
 * ese_grbit() takes it.  Bit 31 comes out as a negative number.  On failure
 * returns -1 and sets *bad and *bad_length to the part that is no name.
 */
extern int	jet_grbit_parse(const char *text, int32_t *value,
							const char **bad, int *bad_length);

#endif							/* ESE_JET_H */
