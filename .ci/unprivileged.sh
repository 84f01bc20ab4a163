#!/usr/bin/env bash
# unprivileged.sh PROGRAM ARGUMENT…: runs a copy of the program as a user that owns nothing but an empty home.
set -euo pipefail
program=$1
shift

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
install -m 755 "$program" "$folder/program"
install -d -o 65534 -g 65534 "$folder/home"
cd "$folder/home"
HOME=$folder/home TMPDIR=$folder/home \
    setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs "$folder/program" "$@"
