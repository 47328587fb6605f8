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

# ---- The fence: backupd writes into its own folders, and whoever is to write elsewhere is another process.
outside() { nsenter -t "$(prop MainPID)" -m "$@"; } # in the view of the file systems that backupd has
promise "the service is behind ProtectSystem=strict" is "$(prop ProtectSystem)/$(prop ProtectHome)" strict/read-only
promise "without the rights that only writing needs" bash -c 'c=$(systemctl show -P CapabilityBoundingSet backupd); for no in chown fsetid setfcap mknod setuid setgid net_; do [[ $c != *cap_$no* ]] || { echo "$no in $c"; exit 1; }; done'
for place in /etc /root /home/alice /usr /srv /tmp /var/lib /etc/default; do
    promise "backupd cannot write to $place" bash -c "! nsenter -t $(prop MainPID) -m touch $place/.written 2>/dev/null && [ ! -e $place/.written ]"
done
for place in /etc/backupd /var/lib/backupd /run/backupd /var/cache/backupd; do
    promise "backupd can write to $place" outside bash -c "touch $place/.written && rm $place/.written"
done
promise "the writers of root are backupd's alone to ask" is "$(stat -c %a:%U /run/backupd-restore-root.sock)" 600:root

restored() { # DIRECTORY: a is as it was
    [ "$(stat -c %a:%U "$1/a")" = 4755:bob ] && [ -c "$1/dev" ] && [ "$(stat -c %t:%T "$1/dev")" = 1:3 ] &&
        getfattr -n trusted.t --only-values "$1/a" | grep -q x && getcap "$1/a" | grep -q net_raw && getfacl -c "$1/a" | grep -q user:alice:r
}
setfacl -m u:alice:r /root/docs/a && chmod 4755 /root/docs/a && setcap cap_net_raw+ep /root/docs/a && setfattr -n trusted.t -v x /root/docs/a
mkdir -p /root/docs/sub && echo two >/root/docs/sub/b && chown alice: /root/docs/sub && chmod 2750 /root/docs/sub
backupctl -q run sys --wait || failed=1
rm -r /root/docs
promise "root gets a directory back where it was" backupctl restore /root/docs
promise "with setuid, capabilities, lists of rights, devices and trusted attributes" restored /root/docs
promise "and what is alice's is alice's" is "$(stat -c %a:%U:%G /root/docs/sub)" 2750:alice:alice
promise "somewhere else as well, looked at again" backupctl restore /root/docs --to /srv/out --verify
promise "as it was" restored /srv/out/docs

echo changed >/root/docs/sub/b && chmod 600 /root/docs/a
promise "what differs is not overwritten: exit 7" is "$(backupctl restore /root/docs >/dev/null 2>&1; echo $?)" 7
promise "until root says so" backupctl restore /root/docs --on-conflict replace --yes
promise "all is as in the revision" is "$(cat /root/docs/sub/b)" two
promise "and again with its rights" restored /root/docs
last=$(backupctl --json jobs | python3 -c 'import json, sys; print(json.loads(sys.stdin.read().splitlines()[-1])["jobs"][0]["id"])')
promise "the restore is taken back" backupctl undo "$last" --yes
promise "to the bytes and modes before it" bash -c '[ "$(cat /root/docs/sub/b)" = changed ] && [ "$(stat -c %a /root/docs/a)" = 600 ]'
# Not on the root, which is an overlay: its files are on other devices than its directories, and so are never removed.
mkdir -p /srv/memory && mount -t tmpfs tmpfs /srv/memory && mkdir -p /srv/memory/d/e && echo old >/srv/memory/d/e/f
backupctl -q set create memory --repo main /srv/memory/d --no-automatic && backupctl -q run memory --wait || failed=1
echo new >/srv/memory/d/e/new && chown alice: /srv/memory/d/e/new && mv /srv/memory/d/e/f /srv/memory/d/e/moved
promise "what is new is removed where root says so" backupctl restore /srv/memory/d --on-conflict replace --delete --yes
promise "and is gone" is "$(cd /srv/memory/d/e && echo *)" f
last=$(backupctl --json jobs | python3 -c 'import json, sys; print(json.loads(sys.stdin.read().splitlines()[-1])["jobs"][0]["id"])')
promise "it is taken back" backupctl undo "$last" --yes
promise "with all that was removed" is "$(cd /srv/memory/d/e && echo *) $(stat -c %U /srv/memory/d/e/new)" "moved new alice"
promise "into a place where backupd cannot write: /etc" bash -c 'cp -a /etc/default /root/default.before && backupctl -q set create conf --repo main /etc/default && backupctl -q run conf --wait &&
    rm -r /etc/default && backupctl restore /etc/default && diff -r /etc/default /root/default.before'
promise "keep-both" bash -c 'echo mine >/root/docs/sub/b && backupctl restore /root/docs/sub/b --on-conflict keep-both && [ "$(cat /root/docs/sub/b)" = mine ] && grep -qx two /root/docs/sub/b*'

head -c 12000000 /dev/urandom >/srv/large && backupctl -q set create large --repo main /srv/large && backupctl -q run large --wait || failed=1
backupctl -q set edit large --download-rate 1MiB/s || failed=1
mv /srv/large /srv/large.before
backupctl restore /srv/large --no-wait >/dev/null || failed=1
promise "a process of the service manager's writes it" wait_for 10 pgrep -x backupd-restore
writer=$(pgrep -x backupd-restore)
promise "which sees the file systems as the machine does" is "$(readlink "/proc/$writer/ns/mnt")" "$(readlink /proc/1/ns/mnt)"
promise "with system calls that are filtered, and none but local sockets" bash -c "grep -q 'Seccomp:.2' /proc/$writer/status && systemctl show -P RestrictAddressFamilies 'backupd-restore-root@*' | grep -qx AF_UNIX"
sleep 3 # some of it is written by now
kill -9 "$(prop MainPID)"
promise "backupd is killed in the midst of it: its writer ends" wait_for 10 bash -c '! pgrep -x backupd-restore'
promise "and leaves what is unfinished under another name" bash -c '[ ! -e /srv/large ] && ls -A /srv | grep -q "^\.backupd-.*\.tmp$"'
wait_for 15 systemctl is-active backupd.service
promise "a minute later it goes on by itself" wait_for 120 cmp /srv/large /srv/large.before
promise "with what it had fetched" bash -c 'wait_for() { :; }; for i in $(seq 100); do backupctl --json jobs | grep -q "\"trigger\": *\"resume\".*complete\|complete.*resume" && exit 0; sleep 0.1; done; backupctl --json jobs; exit 1'
promise "and nothing is left over" bash -c '! ls -A /srv | grep "^\.backupd-"'

promise "a drill gives back and looks at metadata, too" bash -c 'backupctl drill sys && ! backupctl log "$(backupctl --json jobs | python3 -c "import json, sys; print(json.loads(sys.stdin.read().splitlines()[-1])[\"jobs\"][0][\"id\"])")" | grep -i "could not be tried"'
promise "and leaves nothing behind" bash -c '! find /var/lib/backupd/drills -mindepth 1 2>/dev/null | grep .'

# Watches are tried by files that backupd itself could not make.
asked=$(systemctl show -P NAccepted backupd-restore-root.socket)
printf '[tracking]\ncanary-period = "1s"\n' >>/etc/backupd/backupd.toml && systemctl restart backupd.service
promise "a watch is tried by root's writer" wait_for 20 bash -c "[ \$(systemctl show -P NAccepted backupd-restore-root.socket) -gt $((asked + 2)) ]"
sleep 6
promise "and lives" bash -c '! journalctl -b -u backupd.service -o cat | grep "a change of our own was not seen"'
promise "without a trace" is "$(cd /srv/memory/d/e && echo .[!.]* *)" ".[!.]* moved new"
sed -i '/tracking/d;/canary/d' /etc/backupd/backupd.toml && systemctl restart backupd.service

# File systems that are mounted while it runs, below what is read-only to it and in its place.
mkdir -p /home/late /srv/late
mount -t tmpfs tmpfs /home/late && echo late >/home/late/f && mount -t tmpfs tmpfs /srv/late && echo late >/srv/late/f
promise "what is mounted later is seen" outside cat /home/late/f /srv/late/f
umount /home/late
promise "and seen no more" outside test ! -e /home/late/f
mv /home/alice /home/bob /srv/ && mount -t tmpfs tmpfs /home && mv /srv/alice /srv/bob /home/
promise "in place of all of /home as well" outside cat /home/alice/d/p
backupctl -q set create moved --repo main /home /srv/late --no-automatic && backupctl -q run moved --wait
promise "and backed up" bash -c 'backupctl cat /home/alice/d/p --set moved | grep -q private && backupctl cat /srv/late/f --set moved | grep -q late'
cp -a /home/alice /home/bob /srv/ && umount /home && cp -a /srv/alice /srv/bob /home/

# Commands of the administrator's are not behind the fence.
cat >/usr/local/bin/dump <<'H'
#!/bin/sh
mkdir -p /srv/dumps && echo "dump of $BACKUPD_SET: $1" >/srv/dumps/d && mkdir -p /srv/snapshot && mount -t tmpfs tmpfs /srv/snapshot && echo frozen >/srv/snapshot/f
cat /proc/self/cgroup >/srv/dumps/cgroup
echo "replace /srv/live=/srv/snapshot"
H
printf '#!/bin/sh\numount /srv/snapshot; echo "$BACKUPD_OUTCOME" >/srv/dumps/after; exit 3\n' >/usr/local/bin/after
chmod 755 /usr/local/bin/dump /usr/local/bin/after
mkdir -p /srv/live /srv/dumps && echo running >/srv/live/f
backupctl -q set create hooked --repo main /srv/live /srv/dumps --no-automatic || failed=1
printf '[hooks]\nbefore = ["/usr/local/bin/dump", "$HOME and %%n"]\nafter = ["/usr/local/bin/after"]\n' >>/etc/backupd/sets.d/hooked.toml
backupctl config reload || failed=1
promise "a run with commands" backupctl run hooked --wait
promise "the one before it has written a dump, with its words as they are" is "$(cat /srv/dumps/d)" 'dump of hooked: $HOME and %n'
promise "the snapshot that it mounted was read in place of what is live" bash -c 'backupctl cat /srv/live/f --set hooked | grep -qx frozen'
promise "the one behind it learned how it went" is "$(cat /srv/dumps/after)" complete
promise "its failure is told with its status" bash -c 'backupctl log "$(backupctl --json jobs | python3 -c "import json, sys; print(next(j for j in json.loads(sys.stdin.read().splitlines()[-1])[\"jobs\"] if j[\"kind\"] == \"backup\")[\"id\"])")" | grep -q "status 3"'
promise "each ran as a service of its own" grep -q backupd-command- /srv/dumps/cgroup
printf '#!/bin/sh\nsleep 300 & sleep 300\n' >/usr/local/bin/dump
backupctl run hooked >/dev/null 2>&1 &
promise "one that hangs runs" wait_for 10 bash -c 'systemctl list-units --no-legend "backupd-command-*" | grep -q .'
backupctl cancel "$(backupctl --json jobs | python3 -c 'import json, sys; print(json.loads(sys.stdin.read().splitlines()[-1])["jobs"][0]["id"])')" >/dev/null 2>&1
promise "and is killed with the run, and all that it started" wait_for 15 bash -c '! systemctl list-units --no-legend "backupd-command-*" | grep -q . && ! pgrep -x sleep'

hangs() { systemctl list-units --no-legend 'backupd-command-*' | grep -q .; }
rm -f /srv/dumps/after
backupctl run hooked >/dev/null 2>&1 &
promise "one that hangs again" wait_for 10 hangs
kill -9 "$(prop MainPID)"
promise "is killed by the next daemon when this one is" wait_for 20 bash -c '! systemctl list-units --no-legend "backupd-command-*" | grep -q .'
wait_for 15 systemctl is-active backupd.service
printf '#!/bin/sh\ntouch /srv/dumps/begun\n' >/usr/local/bin/dump
head -c 20000000 /dev/urandom >/srv/live/slow && backupctl -q set edit hooked --upload-rate 1MiB/s || failed=1
backupctl run hooked >/dev/null 2>&1 &
promise "a run behind a command has begun" wait_for 10 test -e /srv/dumps/begun
sleep 2
promise "the service is stopped in the midst of it" systemctl stop backupd.service
promise "no command is left" bash -c '! systemctl list-units --no-legend "backupd-command-*" | grep -q .'
promise "and the one behind the run has run" test -s /srv/dumps/after
systemctl reset-failed backupd.service
systemctl start backupd.service

# A repository elsewhere.
out=$(backupctl repo init else /srv/backup --password-file /root/pw 2>&1); rc=$?
promise "a repository elsewhere is refused" test $rc -ne 0
promise "with the commands that let backupd write there" bash -c 'grep -q ReadWritePaths <<<"$1"' - "$out"
command=${out#*write there: }
promise "which do" bash -c "$command"
wait_for 15 systemctl is-active backupd.service
promise "now it is made" backupctl repo init else /srv/backup --password-file /root/pw
promise "and holds a backup" bash -c 'backupctl -q set create there --repo else /etc/default --no-automatic && backupctl run there --wait'
rm -r /etc/systemd/system/backupd.service.d && systemctl daemon-reload && systemctl restart backupd.service
promise "without them a backup says so" bash -c 'echo x >>/etc/default/locale; out=$(backupctl run there --wait 2>&1); [ $? != 0 ] && grep -q ReadWritePaths <<<"$out" || { echo "$out"; exit 1; }'
promise "and repo add does, too" bash -c 'out=$(backupctl repo add again /srv/backup --password-file /root/pw 2>&1); [ $? != 0 ] && grep -q ReadWritePaths <<<"$out" || { echo "$out"; exit 1; }'
printf '[metrics]\ntextfile = "/srv/metrics/b.prom"\n' >>/etc/backupd/backupd.toml && mkdir -p /srv/metrics && backupctl config reload
promise "so does the file of metrics" wait_for 10 bash -c 'journalctl -b -u backupd.service -o cat | grep "cannot write the metrics" | grep -q ReadWritePaths'
sed -i '/metrics/d;/textfile/d' /etc/backupd/backupd.toml && backupctl config reload
systemctl reset-failed backupd.service

code() { "$@" >/dev/null 2>&1; echo $?; }
refused() { out=$("$@" 2>&1) && { echo "was allowed: $out" && return 1; }; [ -n "$out" ]; }
promise "alice may not start a backup of the system's set" refused su alice -c 'backupctl --system run sys --wait'
promise "alice may not list what was closed to her" refused su alice -c 'backupctl --system ls /root'
promise "what lies in there is not there for her" is "$(code su alice -c 'backupctl --system ls /root/docs')" 5
promise "alice may not restore it" refused su alice -c 'backupctl --system restore /root/docs --to /home/alice/out'
promise "alice may not configure" refused su alice -c 'backupctl --system set create x --repo main /home'
promise "and is told so by exit code 4" is "$(code su alice -c 'backupctl --system ls /root --set sys')" 4

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
