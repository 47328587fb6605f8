#!/bin/bash
# small_fs: a small file system of its own, for full-disk, read-only, out-of-inodes and power-cut tests.
usage() { cat <<'H'
small_fs.sh make  MNT [--fs ext4|xfs|btrfs|tmpfs] [--size 64M] [--inodes N]   create and mount (image: MNT.img)
small_fs.sh fill  MNT [--leave BYTES]     take all space but BYTES (default 0) with MNT/.ballast
small_fs.sh inodes MNT [--leave N]        take all inodes but N with MNT/.inodes/ (ext4, tmpfs)
small_fs.sh free  MNT                     remove ballast and inode hogs
small_fs.sh ro|rw MNT                     remount read-only / read-write
small_fs.sh powercut MNT [flushlog]       cut the power: everything not synced is gone (ext4, xfs); mounted again
                                         after journal replay. flushlog: keep the journal written so far
small_fs.sh eio   MNT                     as powercut, but stay shut down: every access gives EIO until `remount`
small_fs.sh remount MNT                   unmount, fsck (ext4), mount again
small_fs.sh destroy MNT                   unmount and delete
small_fs.sh --selftest
Needs root, loop devices and mkfs. Exit 77: not possible here (skip the test).
powercut drops the caches of one file system, so programs with files open there see EIO and must be
killed first or right after; it keeps real ext4/xfs ordering. For every crash point use a recording block device.
H
}
set -u
die() { echo "small_fs: $*" >&2; exit 1; }
skip() { echo "small_fs: skip: $*" >&2; exit 77; }
bytes() { numfmt --from=iec "$1"; }
shutdown_fs() { # FS_IOC_SHUTDOWN; 1 = write the log first, 2 = drop it
  python3 - "$1" "$2" <<'P'
import fcntl, os, struct, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
fcntl.ioctl(fd, 0x8004587D, struct.pack("I", int(sys.argv[2])))
P
}
fstype() { stat -f -c %T "$1" | sed 's/ext2.ext3/ext4/'; }
unmount() { local i; for i in 1 2 3 4 5 6 7 8 9 10; do umount "$1" 2>/dev/null && return; sleep .1; done; umount -l "$1"; }
mountit() { mount -o loop "$1.img" "$1"; }
cmd=${1:-}; shift || true
case $cmd in -h|--help|"") usage; exit 0;; --selftest) ;; *) mnt=${1:-}; shift || true; [ -n "$mnt" ] || die "no MNT";; esac
fs=ext4 size=64M inodes= leave=0 flag=2
while [ $# -gt 0 ]; do case $1 in
  --fs) fs=$2; shift 2;; --size) size=$2; shift 2;; --inodes) inodes=$2; shift 2;; --leave) leave=$2; shift 2;;
  flushlog) flag=1; shift;; *) die "unknown: $1";; esac; done
case $cmd in
make)
  [ "$(id -u)" = 0 ] || skip "needs root"
  mkdir -p "$mnt"
  if [ $fs = tmpfs ]; then mount -t tmpfs -o size=$size${inodes:+,nr_inodes=$inodes} small_fs "$mnt" || skip "no tmpfs"; exit 0; fi
  [ -e /dev/loop-control ] || skip "no loop devices"
  command -v mkfs.$fs >/dev/null || skip "no mkfs.$fs"
  truncate -s "$(bytes $size)" "$mnt.img" || die "image"
  case $fs in
    ext4) mkfs.ext4 -q -F -m 0 ${inodes:+-N $inodes} "$mnt.img";; xfs) mkfs.xfs -q -f "$mnt.img";; btrfs) mkfs.btrfs -q -f "$mnt.img";;
  esac || die "mkfs.$fs (xfs wants 300M, btrfs 110M)"
  mountit "$mnt" || skip "cannot mount";;
fill)
  # rough first, then byte by byte: what is left is what the file system really gives
  fallocate -l "$(( $(stat -f -c '%a*%S' "$mnt") ))" "$mnt/.ballast" 2>/dev/null
  dd if=/dev/zero of="$mnt/.ballast" bs=64k oflag=append conv=notrunc status=none 2>/dev/null
  dd if=/dev/zero of="$mnt/.ballast" bs=512 oflag=append conv=notrunc status=none 2>/dev/null
  [ "$leave" = 0 ] || truncate -s -"$(bytes $leave)" "$mnt/.ballast"
  sync -f "$mnt" 2>/dev/null; stat -f -c '%a*%S' "$mnt" | { read -r e; echo "free $((e))"; };;
inodes)
  mkdir -p "$mnt/.inodes"; i=0
  while :; do : 2>/dev/null > "$mnt/.inodes/$i" || break; i=$((i+1)); [ $i -lt 200000 ] || break; done 2>/dev/null
  while [ "$leave" -gt 0 ] && [ $i -gt 0 ]; do i=$((i-1)); rm -f "$mnt/.inodes/$i"; leave=$((leave-1)); done
  echo "free inodes $(stat -f -c %d "$mnt")";;
free) rm -rf "$mnt/.ballast" "$mnt/.inodes";;
ro) mount -o remount,ro "$mnt";;
rw) mount -o remount,rw "$mnt";;
powercut)
  case $(fstype "$mnt") in ext4|xfs) ;; *) skip "no shutdown on $(fstype "$mnt")";; esac
  shutdown_fs "$mnt" $flag && unmount "$mnt" && mountit "$mnt";;
eio) shutdown_fs "$mnt" 2;;
remount) unmount "$mnt"; command -v e2fsck >/dev/null && file -b "$mnt.img" 2>/dev/null | grep -q ext4 && e2fsck -fy "$mnt.img" >/dev/null 2>&1; mountit "$mnt";;
destroy) mountpoint -q "$mnt" && unmount "$mnt"; rm -f "$mnt.img"; rmdir "$mnt" 2>/dev/null || true;;
--selftest)
  me=$(readlink -f "$0"); t=$(mktemp -d); m=$t/m
  trap 'bash "$me" destroy $m; rm -rf "$t"' EXIT
  bash "$me" make $m --size 32M --inodes 200 || exit $?
  bash "$me" fill $m >/dev/null; ! dd if=/dev/zero of=$m/x bs=4k count=1 2>/dev/null || die "fill left room"
  bash "$me" free $m; bash "$me" fill $m --leave 1M >/dev/null; dd if=/dev/zero of=$m/x bs=4k count=100 status=none || die "leave"
  bash "$me" free $m; rm $m/x; bash "$me" inodes $m >/dev/null; ! : 2>/dev/null > $m/y || die "inodes left"
  bash "$me" free $m; bash "$me" ro $m; ! touch $m/z 2>/dev/null || die "not ro"; bash "$me" rw $m
  echo kept > $m/kept; sync -f $m/kept; sync $m/kept $m; echo lost > $m/lost
  bash "$me" powercut $m || die powercut
  [ "$(cat $m/kept)" = kept ] && [ ! -s $m/lost ] || die "powercut: $(ls $m)"
  bash "$me" eio $m; ! ls $m/kept >/dev/null 2>&1 || ! cat $m/kept >/dev/null 2>&1 || ! touch $m/q 2>/dev/null || die eio
  bash "$me" remount $m; [ "$(cat $m/kept)" = kept ] || die remount
  echo "small_fs selftest ok";;
*) usage; exit 2;;
esac
