#!/bin/sh
# Install the Debian packages that building and testing needs, and those given
# as arguments, unless they are there already.  Needs root, or sudo, only when
# one is missing.
set -eu

packages="
	gcc libc6-dev make perl
	postgresql-15 postgresql-client-15 postgresql-server-dev-15
	libisal-dev libssl-dev libzstd-dev liblz4-dev libkrb5-dev
	libjansson-dev openssl
	libipc-run-perl libdbd-pg-perl
	procps zstd lz4 python3-psycopg2 python3-psycopg pgbouncer
"
# the sanitizers' run-time libraries come with gcc itself

missing=
for package in $packages "$@"; do
	case $(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null) in
		ii*) ;;
		*) missing="$missing $package" ;;
	esac
done
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo >/dev/null || {
		echo "setup: missing packages:$missing" >&2
		echo "setup: run as root, or install sudo" >&2
		exit 1
	}
	as_root=sudo
fi
echo "setup: installing$missing"
# the package would make and start a cluster nobody asked for
if [ ! -e /etc/postgresql-common/createcluster.conf ] && [ ! -e /etc/postgresql ]; then
	$as_root mkdir -p /etc/postgresql-common
	echo 'create_main_cluster = false' |
		$as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
fi
$as_root apt-get update -q
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -q -y \
	--no-install-recommends $missing
