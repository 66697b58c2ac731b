/*-------------------------------------------------------------------------
 *
 * jet.c
 *	  The tables of JET errors and constants, and look-ups in them.
 *
 *-------------------------------------------------------------------------
 */
#include "jet.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* The words of the columns backup_after and retry of ese_error. */
#define UNCHANGED	"unchanged"
#define STOPPED		"stopped, call End"
#define ENDED		"ended"
#define NO			"no"
#define SAME_CALL	"same call"
#define AFTER_END	"after End"
#define LATER		"later"
#define AFTER_FULL	"after a full"

const JetErrorInfo jet_errors[] = {
#define JET_CODE(name, number, category, meaning) \
	{#name, number, category, meaning, NULL, NULL},
#define JET_RAISED(name, number, category, meaning, after, retry) \
	{#name, number, category, meaning, after, retry},
#include "jet_error.def"
#undef JET_CODE
#undef JET_RAISED
};

const size_t jet_error_count = sizeof(jet_errors) / sizeof(jet_errors[0]);

const JetConstantInfo jet_constants[] = {
#define JET_CONSTANT(name, value, meaning) {#name, value, meaning},
#define JET_INTERNAL(scope, name, value, meaning) {#scope "." #name, value, meaning},
#include "jet_constant.def"
#undef JET_CONSTANT
#undef JET_INTERNAL
};

const size_t jet_constant_count =
sizeof(jet_constants) / sizeof(jet_constants[0]);

const JetErrorInfo *
jet_error_find(int number)
{
	for (size_t i = 0; i < jet_error_count; i++)
	{
		if (jet_errors[i].number == number)
			return &jet_errors[i];
	}
	return NULL;
}

const char *
jet_error_name(int number)
{
	const JetErrorInfo *info = jet_error_find(number);

	return info ? info->name : "JET_errUnknown";
}

int
jet_sqlstate_text(int number, char text[6])
{
	int			digits = number < 0 ? -number : number;

	if (digits > 9999)
		return 0;
	snprintf(text, 6, "J%04d", digits);
	return 1;
}

/* The bits of one name; 0 and false when it names no option bit. */
static int
find_bits(const char *name, int length, uint32_t *bits)
{
	for (size_t i = 0; i < jet_constant_count; i++)
	{
		const JetConstantInfo *c = &jet_constants[i];

		if (strncmp(c->name, "JET_bit", 7) == 0 &&
			strlen(c->name) == (size_t) length &&
			memcmp(c->name, name, length) == 0)
		{
			*bits = (uint32_t) c->value;
			return 1;
		}
	}
	return 0;
}

int
jet_grbit_parse(const char *text, int32_t *value,
				const char **bad, int *bad_length)
{
	uint32_t	all = 0;
	const char *p = text;

	for (;;)
	{
		const char *start;
		const char *end;
		uint32_t	bits;

		while (isspace((unsigned char) *p))
			p++;
		start = p;
		while (*p != '\0' && *p != '|')
			p++;
		end = p;
		while (end > start && isspace((unsigned char) end[-1]))
			end--;

		if (!find_bits(start, (int) (end - start), &bits))
		{
			*bad = start;
			*bad_length = (int) (end - start);
			return -1;
		}
		all |= bits;
		if (*p == '\0')
			break;
		p++;
	}
	memcpy(value, &all, sizeof(all));
	return 0;
}
