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
trap 'rm -rf "$copy"' EXIT
tar -C "$(dirname "$0")/.." --exclude=./.git --exclude='*.o' --exclude=./build \
	-cf - . | tar -C "$copy" -xf -
chown -R "$user" "$copy"
chmod 755 "$copy"
cd "$copy"
runuser -u "$user" -- env HOME="$copy" "$@"
