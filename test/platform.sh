#!/bin/sh
# What the sources do not support is a build error that says so: a page size
# other than 8192, a big-endian machine.
set -eu
cd "$(dirname "$0")/.."

include="-Isrc -I$(pg_config --includedir-server)"

# Compile what comes from standard input.
compile()
{
	gcc -std=gnu11 -D_GNU_SOURCE $include -fsyntax-only -x c "$@" - 2>&1
}

refused()
{
	said=$1
	shift
	if out=$(compile "$@"); then
		echo "platform: compiles, and should say \"$said\"" >&2
		exit 1
	fi
	case $out in
		*"$said"*) ;;
		*) echo "platform: $* does not say \"$said\": $out" >&2; exit 1 ;;
	esac
}

server()
{
	printf '%s\n' '#include "postgres.h"' '#undef BLCKSZ' "#define BLCKSZ $1" '#include "compat.h"'
}

engine='#include "engine/page.h"'

server 8192 | compile
server 4096 | refused 'pages of 8192 bytes'
server 32768 | refused 'pages of 8192 bytes'
echo "$engine" | compile
echo "$engine" | refused 'little-endian machine' -U__BYTE_ORDER__ -D__BYTE_ORDER__=__ORDER_BIG_ENDIAN__
