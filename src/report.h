/*-------------------------------------------------------------------------
 *
 * report.h
 *	  JET errors as PostgreSQL errors.
 *
 * SQLSTATE 'J' and four digits; DETAIL begins with the name and the number.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_REPORT_H
#define ESE_REPORT_H

#include "call.h"

/* For use inside ereport(), beside errmsg(). */
extern int	jet_errcode(int jet);

/* errdetail(): "JET_errX (-n).", and further facts unless NULL. */
extern int	jet_errdetail(int jet, const char *facts);

/* Raise what the worker answered, if it is an error; and its warning. */
extern void report_answer(const Answer *answer);

/*
 * Remember the result of an End in this session: ese_check() raises it with
 * what End has warned about.
 */
extern void report_remember(const Answer *answer);

/* The message of a stop error: what every call gets after a stop. */
extern void report_stopped(const char *instance_name, int stop_error,
						   const char *facts) pg_attribute_noreturn();

/*
 * In a PG_CATCH: was it the user who cancelled, and not a timeout or a
 * conflict with recovery?
 */
extern bool report_is_users_cancel(void);

/* Refuse an argument. */
#define refuse_parameter(...) \
	ereport(ERROR, (jet_errcode(JET_errInvalidParameter), \
					errmsg(__VA_ARGS__), \
					jet_errdetail(JET_errInvalidParameter, NULL)))

#endif							/* ESE_REPORT_H */
