#!/bin/bash
# Runs as root inside of a container whose systemd has just booted with backupd installed.
set -u
failed=0
promise() { # NAME COMMAND...
    local name=$1 out
    shift
    if out=$("$@" 2>&1); then echo "PASS $name"; else
        printf 'FAIL %s: %s\n%s\n' "$name" "$*" "$out"
        failed=1
    fi
}
prop() { systemctl show -P "$1" backupd.service; }
wait_for() { # SECONDS COMMAND...
    local i limit=$1
    shift
    for i in $(seq $((limit * 10))); do "$@" >/dev/null 2>&1 && return 0 || sleep 0.1; done
    return 1
}
is() { [ "$1" = "$2" ] || { echo "is '$1', not '$2'" && return 1; }; }

promise "the preset enabled the service and it is running after boot" wait_for 20 systemctl is-active backupd.service
promise "it told systemd that it is ready" is "$(prop SubState)" running
promise "tmpfiles made the configuration directory for root alone" is "$(stat -c %a:%U /etc/backupd)" 700:root
promise "the state directory is for root alone" is "$(stat -c %a:%U /var/lib/backupd)" 700:root
promise "root asks for its status" backupctl status
promise "nobody may ask for plain status too" su alice -c 'backupctl --system status'

mkdir -p /root/docs /home/alice/d && echo one >/root/docs/a && echo private >/home/alice/d/p && chown -R alice: /home/alice/d && chmod 700 /home/alice
mknod /root/docs/dev c 1 3 && chmod u+s /root/docs/a && chown bob /root/docs/a && chmod 4755 /root/docs/a
setfattr -n trusted.t -v x /root/docs/a && setcap cap_net_raw+ep /root/docs/a 2>/dev/null
mkdir -p /var/lib/backupd/repositories
echo secret >/root/pw && chmod 600 /root/pw
promise "a repository below the state directory" backupctl repo init main /var/lib/backupd/repositories/main --password-file /root/pw
promise "a set" backupctl set create sys --repo main /root/docs /home /usr/lib/systemd /dev/null
promise "root runs a backup" backupctl run sys --wait
promise "a restore gives back owner, setuid, devices and trusted attributes" bash -c '
    backupctl restore /root/docs --to /root/out &&
    [ "$(stat -c %a:%U /root/out/docs/a)" = 4755:bob ] && [ -c /root/out/docs/dev ] &&
    getfattr -n trusted.t --only-values /root/out/docs/a | grep -q x'

code() { "$@" >/dev/null 2>&1; echo $?; }
refused() { out=$("$@" 2>&1) && { echo "was allowed: $out" && return 1; }; [ -n "$out" ]; }
promise "alice may not start a backup of the system's set" refused su alice -c 'backupctl --system run sys --wait'
promise "alice may not list what was closed to her" refused su alice -c 'backupctl --system ls /root'
promise "what lies in there is not there for her" is "$(code su alice -c 'backupctl --system ls /root/docs')" 5
promise "alice may not restore it" refused su alice -c 'backupctl --system restore /root/docs --to /home/alice/out'
promise "alice may not configure" refused su alice -c 'backupctl --system set create x --repo main /home'
promise "and is told so by exit code 4" is "$(code su alice -c 'backupctl --system ls /root')" 4

pid=$(prop MainPID)
echo 'paths = [' >/etc/backupd/sets.d/broken.toml
promise "a reload with a broken file fails" refused systemctl reload backupd.service
rm /etc/backupd/sets.d/broken.toml
promise "a reload works" systemctl reload backupd.service
kill -HUP "$pid"
sleep 0.5
promise "SIGHUP does not end it" is "$(prop MainPID)" "$pid"
promise "and it still answers" backupctl status

kill -9 "$pid"
promise "kill -9: systemd starts it again" wait_for 15 bash -c "[ \$(systemctl show -P MainPID backupd) != 0 ] && [ \$(systemctl show -P MainPID backupd) != $pid ] && systemctl is-active backupd"
promise "with everything that it knew" wait_for 10 bash -c 'backupctl revisions sys | grep -q .'

mkdir -p /run/systemd/system/backupd.service.d
printf '[Service]\nWatchdogSec=2s\n' >/run/systemd/system/backupd.service.d/fast.conf
systemctl daemon-reload && systemctl restart backupd.service
pid=$(prop MainPID)
sleep 5
promise "it feeds the watchdog: the same process after two periods" is "$(prop MainPID)" "$pid"
kill -STOP "$pid"
promise "a hung daemon is killed by the watchdog and started again" wait_for 20 bash -c "m=\$(systemctl show -P MainPID backupd); [ \$m != 0 ] && [ \$m != $pid ] && systemctl is-active backupd"

begin=$(date +%s)
promise "systemctl stop ends it" systemctl stop backupd.service
promise "within ten seconds" test $(($(date +%s) - begin)) -lt 10
promise "cleanly" is "$(prop Result)/$(prop ExecMainStatus)" success/0
promise "a stopped, enabled daemon is started by a question on the bus" backupctl --system status
promise "and is active then" systemctl is-active backupd.service
systemctl disable --now backupd.service 2>/dev/null
promise "a disabled one is not" refused backupctl --system status

loginctl enable-linger alice
wait_for 10 systemctl -M alice@ --user is-active default.target
promise "alice has a daemon of her own" systemctl -M alice@ --user start backupd.service
as_alice="XDG_RUNTIME_DIR=/run/user/$(id -u alice) DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/$(id -u alice)/bus"
promise "she protects and restores her own files" su alice -c "export $as_alice; cd ~ && echo pw >pw && chmod 600 pw &&
    backupctl --user repo init mine /home/alice/repo --password-file pw && backupctl --user set create d --repo mine /home/alice/d &&
    backupctl --user run d --wait && backupctl --user restore /home/alice/d --to /home/alice/out && cmp d/p out/d/p"
promise "without --user backupctl finds her daemon" su alice -c "export $as_alice; backupctl revisions d"

[ $failed = 0 ] || { journalctl --no-pager -u backupd.service | tail -n 40; }
exit $failed
