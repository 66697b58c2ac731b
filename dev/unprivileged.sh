#!/bin/sh
# Run a command in a copy of this tree that an unprivileged user owns: the
# server refuses to run as root.  As another user it runs right here.
#
#	dev/unprivileged.sh COMMAND [ARGUMENT ...]
set -eu

if [ "$(id -u)" -ne 0 ]; then
	exec "$@"
fi

user=postgres
copy=$(mktemp -d /tmp/ese.XXXXXX)
# what failed is kept to be looked at
trap 'status=$?; if [ $status -eq 0 ]; then rm -rf "$copy"; else echo "kept: $copy" >&2; fi' EXIT
tar -C "$(dirname "$0")/.." --exclude=./.git --exclude='*.o' --exclude=./build \
	-cf - . | tar -C "$copy" -xf -
chown -R "$user" "$copy"
chmod 755 "$copy"
cd "$copy"
runuser -u "$user" -- env HOME="$copy" "$@"
