#!/bin/bash
# install.sh BUILD: `meson install` into a staging directory puts every file where it belongs, and what is installed is valid:
# units for systemd-analyze, bus policy and activation files, interfaces. Prints PASS, FAIL and SKIP lines.
set -u
build=$(cd "$1" && pwd)
stage=$(mktemp -d "${TMPDIR:-/tmp}/backupd-install.XXXXXX")
trap 'rm -rf "$stage"' EXIT
failed=0
verdict() { # NAME COMMAND...
    local name=$1 out
    shift
    if out=$("$@" 2>&1); then echo "PASS $name"; else
        echo "FAIL $name: $*" && printf '%s\n' "$out" | tail -n 15
        failed=1
    fi
}

verdict "meson install works into a staging directory" env DESTDIR="$stage" meson install -C "$build" --no-rebuild --quiet
prefix=$(meson introspect --buildoptions "$build" | python3 -c '
import json, sys
print(next(o["value"] for o in json.load(sys.stdin) if o["name"] == "prefix"))')
root=$stage$prefix

while read -r mode path; do
    verdict "installs $path" test "$(stat -c %a "$root/$path" 2>/dev/null)" = "$mode"
done <<'L'
755 libexec/backupd
755 libexec/backupd-restore
755 bin/backupctl
644 lib/systemd/system/backupd.service
644 lib/systemd/system/backupd-restore.socket
644 lib/systemd/system/backupd-restore@.service
644 lib/systemd/system/backupd-restore-root.socket
644 lib/systemd/system/backupd-restore-root@.service
644 lib/systemd/user/backupd.service
644 lib/systemd/system-preset/90-backupd.preset
644 lib/tmpfiles.d/backupd.conf
644 share/dbus-1/system.d/org.backupd1.conf
644 share/dbus-1/system-services/org.backupd1.service
644 share/dbus-1/services/org.backupd1.service
644 share/dbus-1/interfaces/org.backupd1.Manager.xml
644 share/dbus-1/interfaces/org.backupd1.Set.xml
644 share/dbus-1/interfaces/org.backupd1.Repository.xml
644 share/dbus-1/interfaces/org.backupd1.Job.xml
644 share/dbus-1/interfaces/org.backupd1.Restore.xml
644 share/polkit-1/actions/org.backupd1.policy
644 share/man/man1/backupctl.1
644 share/man/man8/backupd.8
644 share/man/man5/backupd.toml.5
L
known='^(libexec/backupd(-restore)?$|bin/backupctl|lib/systemd/|lib/tmpfiles.d/|share/(dbus-1|polkit-1|man|bash-completion|zsh|fish|doc)/)'
extra=$(cd "$root" && find . -type f | sed 's,^\./,,' | grep -vE "$known")
verdict "installs nothing else: $(echo "$extra" | tr '\n' ' ')" test -z "$extra"

verdict "the bus policy is well-formed" xmllint --noout --nonet --nowarning "$root"/share/dbus-1/system.d/*.conf
verdict "polkit's file is well-formed" xmllint --noout --nonet --nowarning "$root"/share/polkit-1/actions/*.policy
verdict "the interfaces keep the rules" python3 "$(dirname "$0")/../support/bus_interface.py" "$root"/share/dbus-1/interfaces/*.xml
if command -v systemd-analyze >/dev/null; then
    # verify resolves programs on the running system: point it at the staged ones
    mkdir -p "$stage/units/user"
    sed "s,=$prefix/,=$root/," "$root/lib/systemd/system/backupd.service" >"$stage/units/backupd.service"
    sed "s,=$prefix/,=$root/," "$root/lib/systemd/user/backupd.service" >"$stage/units/user/backupd.service"
    for writer in backupd-restore backupd-restore-root; do
        sed "s,=$prefix/,=$root/," "$root/lib/systemd/system/$writer@.service" >"$stage/units/$writer@.service"
        cp "$root/lib/systemd/system/$writer.socket" "$stage/units/"
        verdict "systemd accepts the units of $writer" env SYSTEMD_LOG_LEVEL=warning systemd-analyze verify --man=no "$stage/units/$writer.socket" "$stage/units/$writer@.service"
    done
    # Nothing may be read-only to it or hidden from it but what its own rights hide.
    verdict "exposure of the writer stays at or below 2.3" systemd-analyze security --offline=true --threshold=23 "$stage/units/backupd-restore@.service"
    verdict "exposure of root's writer stays at or below 4.1" systemd-analyze security --offline=true --threshold=41 "$stage/units/backupd-restore-root@.service"
    verdict "systemd accepts the system unit" env SYSTEMD_LOG_LEVEL=warning systemd-analyze verify --man=no "$stage/units/backupd.service"
    verdict "systemd accepts the user unit" env SYSTEMD_LOG_LEVEL=warning XDG_RUNTIME_DIR="$stage" systemd-analyze --user verify --man=no "$stage/units/user/backupd.service"
    # 3.7: a root process that reads everything, watches whole file systems (CAP_SYS_ADMIN) and sees which files others write to
    # (CAP_SYS_PTRACE); a sandbox line that gets lost raises this number
    verdict "exposure of the system unit stays at or below 3.7" systemd-analyze security --offline=true --threshold=37 "$stage/units/backupd.service"
else
    echo "SKIP systemd accepts the units: no systemd-analyze here"
fi
if command -v systemd-tmpfiles >/dev/null; then
    verdict "tmpfiles can be applied" systemd-tmpfiles --create --root="$stage" "$root/lib/tmpfiles.d/backupd.conf"
fi
exit $failed
