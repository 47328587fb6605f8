#!/bin/bash
# Boots a real systemd (PID 1, system bus, logind, journald) in a container of systemd-nspawn and runs a script in it.
# The host needs root, systemd-container, debootstrap (the first time) and overlayfs; it need not run systemd itself.
#
# boot_systemd.sh [-i STAGE]... [-b SRC[:DST]]... [-o OUT] [-t SECONDS] [-p PKG,PKG] [-s SUITE] [-1] [-v] ROOT SCRIPT [ARG...]
#   ROOT    a cached tree: built on first use, then only read; on a real file system; delete it to build it anew
#   SCRIPT  runs as root in the container once multi-user.target is up (in /test/out, copied to OUT at the end)
#   -i      a `meson install --destdir` tree laid over the root before the boot, so presets and tmpfiles take the first-boot path
#   -b      one more bind mount
#   -1      cgroup v1 controllers inside, where the host keeps its own there
#   -v      shows the console and, on failure, the journal
# Users alice and bob exist inside. Exit status: the script's; 125 cannot be set up here; 126 never reached the script; 124 timeout.
set -u
die() { echo "boot_systemd: $*" >&2; exit 125; }
pkgs=systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,libuv1,libzstd1,libleveldb1d,libssl3,libtomlplusplus3,acl,attr,libcap2-bin,procps,strace,python3-minimal,python3-dbus,polkitd
dests=() binds=() out='' tmo=120 suite='' v1='' verbose=''
while getopts i:b:o:t:p:s:1v o; do case $o in
  i) dests+=("$(realpath "$OPTARG")") ;; b) binds+=("--bind=$OPTARG") ;; o) out=$OPTARG ;;
  t) tmo=$OPTARG ;; p) pkgs+=,$OPTARG ;; s) suite=$OPTARG ;; 1) v1=1 ;; v) verbose=1 ;;
  *) exit 125 ;; esac; done
shift $((OPTIND - 1)); [ $# -ge 2 ] || die "usage: see the head of $0"
[ "$(id -u)" = 0 ] || die "needs root"
command -v systemd-nspawn >/dev/null || die "systemd-nspawn missing (package systemd-container)"
root=$(realpath -m "$1"); script=$(realpath "$2") || die "no script $2"; shift 2
[ -f "$script" ] || die "no script $script"

# ---- cached tree, built once under a lock, published by rename
mkdir -p "$(dirname "$root")"; exec 9>"$root.lock"; flock 9
# What is in it is written in it: a list that has grown builds it anew.
if [ "$(cat "$root/.backupd-test-ok" 2>/dev/null)" != "$pkgs" ]; then
  command -v debootstrap >/dev/null || die "debootstrap missing"
  suite=${suite:-$(. /etc/os-release; echo "${VERSION_CODENAME:-}")}
  mirror=$(apt-get indextargets --format '$(SITE)|$(RELEASE)|$(COMPONENT)' 'Created-By: Packages' |
           awk -F'|' -v s="$suite" '$2==s && $3=="main"{print $1; exit}')
  [ -n "$mirror" ] || die "no mirror for suite '$suite' in the apt configuration"
  echo "boot_systemd: building $root ($suite), once" >&2
  rm -rf "$root.new"
  debootstrap --variant=minbase --include="$pkgs" "$suite" "$root.new" "$mirror" \
    >"$root.log" 2>&1 || { tail -20 "$root.log" >&2; die "debootstrap failed, see $root.log"; }
  rm -f "$root.new"/var/cache/apt/archives/*.deb "$root.new/etc/machine-id"
  : >"$root.new/etc/machine-id"
  for u in alice bob; do chroot "$root.new" useradd -m -s /bin/bash $u; done   # unprivileged callers
  rm -rf "$root"; echo "$pkgs" >"$root.new/.backupd-test-ok"; mv "$root.new" "$root"
fi
flock -u 9; exec 9>&-

# ---- throw-away overlay in a private mount namespace: nothing is left when we die
work=$(mktemp -d "${TMPDIR:-/tmp}/nspawn.XXXXXX") || die mktemp
cg="backupd-test-$$"   # own cgroup per run: concurrent containers must not share a tree
cgmounts() { awk '$3 ~ /^cgroup2?$/ {print $2}' /proc/mounts; }
cleanup() {
  for m in $(cgmounts); do [ ! -d "$m/$cg" ] || for _ in 1 2 3 4 5; do
    find "$m/$cg" -depth -type d -exec rmdir {} + 2>/dev/null; [ -d "$m/$cg" ] || break; sleep .2; done; done
  rm -rf --one-file-system "$work"
}
trap cleanup EXIT; trap 'exit 130' INT TERM
mkdir -p "$work"/{mnt,kit/out}; install -m755 "$script" "$work/kit/script"
printf '%q ' "$@" >"$work/kit/args"
[ ${#dests[@]} -eq 0 ] || printf '%s\n' "${dests[@]}" >"$work/dests"
cat >"$work/kit/run" <<'R'
#!/bin/bash
cd /test/out; eval "set -- $(cat /test/args)"
export HOME=/root LC_ALL=C.UTF-8 PAGER= SYSTEMD_PAGER= SYSTEMD_COLORS=0
/test/script "$@" </dev/null >/test/log 2>&1; rc=$?
journalctl --no-pager -o short-precise -b >/test/journal 2>/dev/null
echo $rc >/test/rc.tmp; mv /test/rc.tmp /test/rc
systemctl --no-block --force poweroff
R
cat >"$work/kit/backupd-test.service" <<'U'
[Unit]
After=multi-user.target
[Service]
Type=exec
ExecStart=/bin/bash /test/run
StandardOutput=journal
TimeoutStopSec=5
U
cat >"$work/boot" <<'B'
set -e; w=$1 root=$2 name=$3 cg=$4; shift 4
for m in $(awk '$3 ~ /^cgroup2?$/ {print $2}' /proc/mounts); do
  mkdir "$m/$cg" 2>/dev/null || continue
  for f in cpuset.cpus cpuset.mems; do [ ! -e "$m/cpuset.sched_load_balance" ] || cat "$m/$f" >"$m/$cg/$f"; done
  echo $$ >"$m/$cg/cgroup.procs" || :
done
mount -t tmpfs -o mode=755 tmpfs "$w/mnt"; mkdir "$w/mnt"/{up,wk,root}
mount -t overlay -o "lowerdir=$root,upperdir=$w/mnt/up,workdir=$w/mnt/wk" overlay "$w/mnt/root"
r=$w/mnt/root
[ ! -e "$w/dests" ] || while read -r d; do cp -a --no-preserve=ownership "$d/." "$r/"; done <"$w/dests"
[ -e "$r/etc/hosts" ] || printf '%s\n' "127.0.0.1 localhost" "::1 localhost" >"$r/etc/hosts"
cp "$w/kit/backupd-test.service" "$r/etc/systemd/system/"
mkdir -p "$r/etc/systemd/system/multi-user.target.wants" "$r/test"
ln -sf ../backupd-test.service "$r/etc/systemd/system/multi-user.target.wants/backupd-test.service"
# A first boot, in which presets decide what runs: an empty file is none (machine-id(5)).
rm -f "$r/var/lib/dbus/machine-id"; echo uninitialized >"$r/etc/machine-id"
for u in systemd-firstboot.service apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer console-getty.service; do
  ln -sf /dev/null "$r/etc/systemd/system/$u"; done
exec systemd-nspawn -q -D "$r" -M "$name" --register=no --keep-unit --console=read-only \
  --system-call-filter="fanotify_init fanotify_mark name_to_handle_at open_by_handle_at" --resolv-conf=off --timezone=off --link-journal=no --private-network \
  --bind="$w/kit:/test" "$@" -b systemd.unit=multi-user.target
B
uni=1; [ -z "$v1" ] || uni=0
SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=$uni timeout -k 10 "$tmo" unshare -m --propagation private \
  bash "$work/boot" "$work" "$root" "bt$$" "$cg" ${binds[@]+"${binds[@]}"} </dev/null >"$work/console" 2>&1
brc=$?
[ -z "$verbose" ] || cat "$work/console" >&2
if [ -s "$work/kit/rc" ]; then rc=$(cat "$work/kit/rc"); cat "$work/kit/log"
elif [ $brc = 124 ] || [ $brc = 137 ]; then rc=124; cat "$work/kit/log" 2>/dev/null; echo "boot_systemd: timeout after ${tmo}s" >&2
else rc=126; tail -40 "$work/console" >&2; fi
if [ -n "$out" ]; then mkdir -p "$out"; cp -a "$work/kit/out/." "$out/"
  cp "$work/console" "$out/console.txt"; cp "$work/kit/journal" "$out/journal.txt" 2>/dev/null; fi
[ "$rc" = 0 ] || [ -z "$verbose" ] || tail -80 "$work/kit/journal" >&2 2>/dev/null
exit "$rc"
