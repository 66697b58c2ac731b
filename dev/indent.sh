#!/bin/sh
# Format the C sources with pgindent, or check that they are formatted.
#
#	dev/indent.sh [--check]
#
# pgindent is not packaged: the tool is taken from PostgreSQL 17's source
# package in Debian, once, and kept under build/indent.
set -eu

cd "$(dirname "$0")/.."
tool=build/indent

fetch()
{
	mkdir -p $tool/apt/lists/partial
	key=/usr/share/keyrings/debian-archive-keyring.gpg
	echo "deb-src [signed-by=$key] http://deb.debian.org/debian trixie main" > $tool/apt/sources.list
	options="-o Dir::Etc::sourcelist=$PWD/$tool/apt/sources.list -o Dir::Etc::sourceparts=-
		-o Dir::State::lists=$PWD/$tool/apt/lists -o APT::Sandbox::User=root"
	apt-get -q $options update > $tool/apt/log
	(cd $tool && apt-get -q $options --download-only source postgresql-17 >> apt/log 2>&1)
	tar -C $tool --strip-components=1 --wildcards -xf $tool/postgresql-17_*.orig.tar.* \
		'*/src/tools/pg_bsd_indent' '*/src/tools/pgindent'
	rm -f $tool/postgresql-17_*
	server=$(pg_config --includedir-server)
	gcc -O2 -w -I"$server" -I"$(pg_config --includedir)/internal" $tool/src/tools/pg_bsd_indent/*.c \
		-o $tool/pg_bsd_indent -L"$(dirname "$(pg_config --pgxs)")/../.." -L"$(pg_config --pkglibdir)" \
		-lpgcommon -lpgport -lm
}

[ -x $tool/pg_bsd_indent ] || fetch
cat $tool/src/tools/pgindent/typedefs.list typedefs.list > $tool/typedefs.list
exec perl $tool/src/tools/pgindent/pgindent "$@" --indent=$tool/pg_bsd_indent \
	--typedefs=$tool/typedefs.list src/*.[ch] src/engine/*.[ch] test/unit/*.[ch]
