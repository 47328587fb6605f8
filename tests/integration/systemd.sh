#!/bin/bash
# systemd.sh BUILD [SCRIPT]: installs into a staging directory and runs systemd_inside.sh, systemd_people.sh and systemd_restarts.sh, each
# on a booted systemd that has it. Needs root.
set -u
build=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
[ "$(id -u)" = 0 ] || { echo "SKIP the service on a booted systemd: needs root" && exit 77; }
stage=$(mktemp -d "${TMPDIR:-/tmp}/backupd-stage.XXXXXX")
chmod 755 "$stage"  # becomes the root of the container
trap 'rm -rf "$stage"' EXIT
DESTDIR=$stage meson install -C "$build" --no-rebuild --quiet || exit 1
boot() { # SCRIPT [ARG...]
    [ -z "$only" ] || [ "$(basename "$1")" = "$only" ] || return 0
    "$here/../support/boot_systemd.sh" -i "$stage" ${bind[@]+"${bind[@]}"} -t 900 "${BACKUPD_TEST_ROOT:-/var/tmp/backupd-test-root}" "$@"
    local rc=$?
    [ $rc != 125 ] || { echo "SKIP the service on a booted systemd: no container here" && exit 77; }
    [ $rc = 0 ] || failed=1
}
only=${2:-}  # the script to run, if not all
failed=0 bind=() places=()
boot "$here/systemd_inside.sh"
boot "$here/systemd_people.sh"
# A disk of the container's own: its root is an overlay, which fanotify cannot watch.
disk=$stage-disk
mkdir "$disk"
trap 'umount -l "$disk" 2>/dev/null; rm -rf "$stage" "$disk" "$disk.img"' EXIT
if truncate -s 512M "$disk.img" && mkfs.ext4 -q -F "$disk.img" && mount -o loop "$disk.img" "$disk"; then
    bind=(-b "$disk:/srv/disk") places=(/srv/disk/files)
else
    echo "SKIP restarts with a set on ext4: no loop device here"
fi
boot "$here/systemd_restarts.sh" ${places[@]+"${places[@]}"}
exit $failed
