/* Tests of the parsers of file names, with random input. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/escape.h"
#include "engine/relfile.h"
#include "tap.h"

static void
expect(const char *name, bool good, uint32_t number, RelFork fork,
	   uint32_t segment)
{
	RelFile		file;
	bool		parsed = relfile_parse(name, &file);

	ok(parsed == good &&
	   (!good || (file.number == number && file.fork == fork &&
				  file.segment == segment)),
	   "\"%s\" is %sa relation file", name, good ? "" : "not ");
}

static void
test_names(void)
{
	expect("1259", true, 1259, FORK_MAIN, 0);
	expect("4294967295.131072", true, 4294967295u, FORK_MAIN, 131072);
	expect("16384_vm", true, 16384, FORK_VM, 0);
	expect("16384_fsm.1", true, 16384, FORK_FSM, 1);
	expect("16384_init", true, 16384, FORK_INIT, 0);
	expect("4294967296", false, 0, 0, 0);
	expect("01259", false, 0, 0, 0);
	expect("0", false, 0, 0, 0);
	expect("1259.0", false, 0, 0, 0);
	expect("1259.", false, 0, 0, 0);
	expect("1259_", false, 0, 0, 0);
	expect("1259_vmx", false, 0, 0, 0);
	expect("1259_vm.01", false, 0, 0, 0);
	expect("-1", false, 0, 0, 0);
	expect("", false, 0, 0, 0);
	expect("PG_VERSION", false, 0, 0, 0);
	expect("pg_filenode.map", false, 0, 0, 0);
	ok(relfile_is_temporary("t3_16384"), "a temporary relation");
	ok(relfile_is_temporary("t3_16384_fsm.2"), "its free space map");
	ok(!relfile_is_temporary("t3"), "t3 is none");
	ok(!relfile_is_temporary("16384"), "16384 is none");
}

/* What is accepted must be exactly what PostgreSQL would have written. */
static void
test_random_names(void)
{
	static const char letters[] = "0123456789_.vmfsinit-t";
	unsigned	seed = 3;
	int			wrong = 0;

	for (int i = 0; i < 300000; i++)
	{
		char		name[24];
		char		again[64];
		int			length = (int) (next_random(&seed) % 20);
		RelFile		file;

		for (int c = 0; c < length; c++)
			name[c] = letters[next_random(&seed) % (sizeof(letters) - 1)];
		name[length] = '\0';
		if (!relfile_parse(name, &file))
			continue;
		length = sprintf(again, "%u", file.number);
		if (file.fork != FORK_MAIN)
			length += sprintf(again + length, "_%s", relfile_fork_name(file.fork));
		if (file.segment > 0)
			sprintf(again + length, ".%u", file.segment);
		wrong += strcmp(name, again) != 0;
	}
	ok(wrong == 0, "random names that are accepted print as they were read");
}

static void
test_escapes(void)
{
	char text[	64];
	char		bytes[64];
	unsigned	seed = 4;
	int			wrong = 0;
	int			accepted = 0;

	escape_encode("caf\xe9 'x'\\\n", text);
	ok(strcmp(text, "E'caf\\xe9 \\'x\\'\\\\\\x0a'") == 0, "%s", text);
	ok(escape_decode(text, bytes) && strcmp(bytes, "caf\xe9 'x'\\\n") == 0,
	   "and back");
	ok(!escape_decode("E'abc", bytes), "no closing quote");
	ok(!escape_decode("E'abc'd", bytes), "something after it");
	ok(!escape_decode("E'\\x00'", bytes), "no NUL");
	ok(!escape_decode("E'\\x4'", bytes), "half a byte");
	ok(!escape_decode("E'\\", bytes), "a backslash at the end");
	ok(!escape_decode("abc", bytes), "no escape string at all");

	for (int i = 0; i < 300000; i++)
	{
		char		name[12];
		char		shown[64];
		int			length = (int) (next_random(&seed) % 11);

		for (int c = 0; c < length; c++)
			name[c] = (char) (1 + next_random(&seed) % 255);
		name[length] = '\0';
		escape_encode(name, shown);
		wrong += strlen(shown) + 1 > escape_room(name) ||
			!escape_decode(shown, bytes) || strcmp(bytes, name) != 0;
		/* and garbage must not hurt */
		if (length >= 2)
		{
			name[0] = 'E';
			name[1] = '\'';
			accepted += escape_decode(name, bytes);
		}
	}
	ok(wrong == 0, "random bytes survive");
	ok(accepted > 0, "some garbage is accepted");
}

int
main(void)
{
	test_names();
	test_random_names();
	test_escapes();
	return done_testing();
}
