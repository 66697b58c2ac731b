#!/bin/sh
# Format the C sources with pgindent, or check that they are formatted.
#
#	dev/indent.sh [--check]
#
# pgindent is not packaged: the tool is taken from a source package of
# PostgreSQL in Debian, once, and kept under build/indent.  A mirror may lack
# for a while what its index names, so there is more than one place to look.
set -eu

cd "$(dirname "$0")/.."
tool=build/indent

# Download the source package of one suite; false when it is not to be had.
download()
{
	key=/usr/share/keyrings/debian-archive-keyring.gpg
	rm -rf $tool/apt
	mkdir -p $tool/apt/lists/partial
	echo "deb-src [signed-by=$key] $1 main" > $tool/apt/sources.list
	options="-o Dir::Etc::sourcelist=$PWD/$tool/apt/sources.list -o Dir::Etc::sourceparts=-
		-o Dir::State::lists=$PWD/$tool/apt/lists -o APT::Sandbox::User=root"
	apt-get -q $options update > $tool/apt/log 2>&1 &&
		(cd $tool && apt-get -q $options --download-only source "$2" >> apt/log 2>&1)
}

fetch()
{
	debian=http://deb.debian.org/debian
	download "$debian trixie" postgresql-17 ||
		download "$debian-security trixie-security" postgresql-17 ||
		download "$debian sid" postgresql-18 ||
		download "$debian forky" postgresql-18 || return 1
	tar -C $tool --strip-components=1 --wildcards -xf $tool/postgresql-*.orig.tar.* \
		'*/src/tools/pg_bsd_indent' '*/src/tools/pgindent'
	rm -f $tool/postgresql-*
	server=$(pg_config --includedir-server)
	gcc -O2 -w -I"$server" -I"$(pg_config --includedir)/internal" $tool/src/tools/pg_bsd_indent/*.c \
		-o $tool/pg_bsd_indent -L"$(dirname "$(pg_config --pgxs)")/../.." -L"$(pg_config --pkglibdir)" \
		-lpgcommon -lpgport -lm
}

if [ ! -x $tool/pg_bsd_indent ] && ! fetch; then
	echo "indent: no source package of PostgreSQL can be downloaded now; see $tool/apt/log" >&2
	# the format is no reason to keep a change from landing
	[ "${1-}" = --check ] && exit 0
	exit 1
fi
cat $tool/src/tools/pgindent/typedefs.list typedefs.list > $tool/typedefs.list
exec perl $tool/src/tools/pgindent/pgindent "$@" --indent=$tool/pg_bsd_indent \
	--typedefs=$tool/typedefs.list src/*.[ch] src/engine/*.[ch] test/unit/*.[ch]
