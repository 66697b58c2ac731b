/*-------------------------------------------------------------------------
 *
 * options.h
 *	  Which option bits each call accepts.
 *
 * One bit means other things to other calls, so names of bits make sense for
 * a call only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_OPTIONS_H
#define ESE_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

typedef enum OptionCall
{
	OPTIONS_BEGIN,
	OPTIONS_BACKUP,
	OPTIONS_END,
	OPTIONS_TERM,
} OptionCall;

#define OPTION_CALLS (OPTIONS_TERM + 1)

/* The SQL function. */
extern const char *options_function(OptionCall call);

/* The bits that it does not accept. */
extern uint32_t options_refused(OptionCall call, int32_t grbit);

/*
 * The names of bits, joined by " | ": as ESE calls them in this call, whether
 * it accepts them or not; what has no name is a hexadecimal number.
 */
extern void options_names(OptionCall call, uint32_t bits, char *to,
						  size_t size);

/* The names of the bits that it accepts. */
extern void options_accepted(OptionCall call, char *to, size_t size);

/*
 * The functions that accept a constant of this name, joined by ", "; empty
 * when none does.
 */
extern void options_accepted_by(const char *name, char *to, size_t size);

#endif							/* ESE_OPTIONS_H */
