#!/bin/bash
# systemd.sh BUILD: installs into a staging directory and runs systemd_inside.sh on a booted systemd that has it. Needs root.
set -u
build=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
[ "$(id -u)" = 0 ] || { echo "SKIP the service on a booted systemd: needs root" && exit 77; }
stage=$(mktemp -d "${TMPDIR:-/tmp}/backupd-stage.XXXXXX")
trap 'rm -rf "$stage"' EXIT
DESTDIR=$stage meson install -C "$build" --no-rebuild --quiet || exit 1
"$here/../support/boot_systemd.sh" -i "$stage" -t 300 "${BACKUPD_TEST_ROOT:-/var/tmp/backupd-test-root}" "$here/systemd_inside.sh"
rc=$?
[ $rc != 125 ] || { echo "SKIP the service on a booted systemd: no container here" && exit 77; }
exit $rc
