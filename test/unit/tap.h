/*-------------------------------------------------------------------------
 *
 * tap.h
 *	  The few functions a C test needs to speak TAP.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_TAP_H
#define ESE_TAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

static int	tap_count;
static int	tap_failed;

__attribute__((format(printf, 2, 3), unused))
static bool
ok(bool good, const char *format,...)
{
	va_list		args;

	printf("%sok %d - ", good ? "" : "not ", ++tap_count);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
	tap_failed += !good;
	return good;
}

/* To be returned from main(). */
__attribute__((unused))
static int
done_testing(void)
{
	printf("1..%d\n", tap_count);
	return tap_failed > 0;
}

/* A small random generator, the same everywhere. */
__attribute__((unused))
static unsigned
next_random(unsigned *state)
{
	*state = *state * 1664525u + 1013904223u;
	return *state >> 8;
}

#endif							/* ESE_TAP_H */
