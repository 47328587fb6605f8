#!/bin/bash
# Runs as root inside of a container whose systemd has just booted with backupd and polkit installed: two people and the machine's backup.
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
wait_for() { # SECONDS COMMAND...
    local i limit=$1
    shift
    for i in $(seq $((limit * 10))); do "$@" >/dev/null 2>&1 && return 0 || sleep 0.1; done
    return 1
}
is() { [ "$1" = "$2" ] || { echo "is '$1', not '$2'" && return 1; }; }
ends() { # CODE WHO ARGS...: what WHO is told with that exit code
    local wanted=$1 who=$2 out rc=0
    shift 2
    out=$(as "$who" "$@" 2>&1) || rc=$?
    [ "$rc" = "$wanted" ] || { echo "exit $rc, not $wanted: $out" && return 1; }
}
as() { # WHO ARGS...
    local who=$1
    shift
    runuser -u "$who" -- backupctl --system "$@"
}
says() { # WORD WHO ARGS...
    local word=$1
    shift
    as "$@" 2>&1 | grep -q -- "$word"
}
silent() { ! says "$@"; }
said() { wait_for 5 bash -c "journalctl -b -u backupd.service -o cat | grep -q -- \"\$1\"" - "$1"; }

said_by() { wait_for 5 bash -c "journalctl -b -u \"\$1\" -o cat | grep -q -- \"\$2\"" - "$1" "$2"; }

promise "the service runs" wait_for 20 systemctl is-active backupd.service
promise "polkit knows our actions" bash -c 'pkaction | grep -q org.backupd1.browse'

for who in alice bob; do
    mkdir -p /home/$who/closed/deep /home/$who/open
    echo "words of $who" >/home/$who/letter
    echo "only for $who" >/home/$who/closed/secret-of-$who
    echo "deep of $who" >/home/$who/closed/deep/hidden-of-$who
    echo "public of $who" >/home/$who/open/public
    for i in $(seq 300); do echo "$i" >/home/$who/open/f$i; done
    chown -R $who: /home/$who
    chmod 755 /home/$who && chmod 700 /home/$who/closed && chmod 600 /home/$who/letter
done
setfacl -m u:bob:r /home/alice/letter
mkdir -p /var/lib/backupd/repositories
echo secret >/root/pw && chmod 600 /root/pw
backupctl -q repo init main /var/lib/backupd/repositories/main --password-file /root/pw || failed=1
backupctl -q set create homes --repo main /home && backupctl -q set create conf --repo main /etc/default || failed=1
backupctl -q run homes --wait && backupctl -q run conf --wait || failed=1

for who in alice bob; do
    other=$([ $who = alice ] && echo bob || echo alice)
    rm -r /home/$who/closed/deep /home/$who/letter
    promise "$who gets back a directory where it was" ends 0 $who restore /home/$who/closed/deep
    promise "with what was in it" is "$(cat /home/$who/closed/deep/hidden-of-$who)" "deep of $who"
    promise "owned by $who" is "$(stat -c %U:%G:%a /home/$who/closed/deep)" "$(stat -c %U:%G:%a /home/$who/open)"
    promise "$who gets back a file elsewhere" ends 0 $who restore /home/$who/letter --to /home/$who/back
    promise "as it was" is "$(stat -c %U:%G /home/$who/back/letter) $(cat /home/$who/back/letter)" "$who:$who words of $who"
    promise "$who looks at a file" says "only for $who" $who cat /home/$who/closed/secret-of-$who

    promise "$who sees that $other has a closed directory" says closed $who ls /home/$other
    promise "and may not list it: exit 4" ends 4 $who ls /home/$other/closed
    promise "nor restore it" ends 4 $who restore /home/$other/closed --to /home/$who/stolen
    promise "what is in it is not there: exit 5" ends 5 $who ls /home/$other/closed/secret-of-$other
    promise "not for cat" ends 5 $who cat /home/$other/closed/secret-of-$other
    promise "not for a restore" ends 5 $who restore /home/$other/closed/secret-of-$other --to /home/$who/stolen
    promise "not in history" ends 5 $who history /home/$other/closed/secret-of-$other
    promise "in the same words as what never was" is "$(as $who ls /home/$other/closed/secret-of-$other 2>&1)" "$(as $who ls /home/$other/closed/never-was 2>&1 | sed "s/never-was/secret-of-$other/")"
    promise "find does not name it" silent secret-of-$other $who find '*secret*'
    promise "find names $who's own" says secret-of-$who $who find '*secret*'
    promise "a listing of all does not name it" silent of-$other $who ls -R /home
    promise "nothing was made of the attempts" bash -c "! ls /home/$who/stolen/* 2>/dev/null"
    promise "the attempts are in the log" said "refused to uid $(id -u $who): RestoreTo"
    promise "whose names are not" bash -c "! journalctl -b -u backupd.service -o cat | grep -q secret-of-$other"
done
promise "what an ACL gave to bob he sees" says "words of alice" bob cat /home/alice/letter
promise "polkit's decisions are in the log" said "allowed by polkit"
promise "a backup is for who sits at the machine, or an administrator" ends 4 alice run homes --wait
promise "that is in the log" said "(start-backup): refused"
promise "a rule of the administrator's counts" bash -c '
    mkdir -p /etc/polkit-1/rules.d && cat >/etc/polkit-1/rules.d/10-backup.rules <<R
polkit.addRule(function(action, subject) {
    if (action.id == "org.backupd1.browse" && subject.user == "bob") return polkit.Result.NO;
    if (action.id == "org.backupd1.start-backup" && subject.user == "alice") return polkit.Result.YES;
});
R
    chmod 644 /etc/polkit-1/rules.d/10-backup.rules; systemctl restart polkit'
promise "bob may not look any more" wait_for 10 ends 4 bob ls /home/bob
promise "alice may back up" ends 0 alice run homes --wait

promise "each restore had a process of the service manager's" said_by 'backupd-restore@*' Started
promise "backupd itself may not become somebody else" bash -c 'c=$(systemctl show -P CapabilityBoundingSet backupd); [[ $c != *setuid* && $c != *setgid* ]]'
promise "who is not backupd gives no orders to the writer" is "$(stat -c %a:%U /run/backupd-restore.sock)" 600:root

# Where backupd itself opens the target, its writer finds it: to backupd all is read-only.
rm /home/alice/open/public
promise "over the bus alone, in place" runuser -u alice -- busctl --system call org.backupd1 /org/backupd1/restore org.backupd1.Restore RestoreInPlace \
    'ssaaya{sv}' homes latest 1 23 $(printf /home/alice/open/public | od -An -tu1) 0
promise "the file comes back" wait_for 10 bash -c '[ "$(cat /home/alice/open/public)" = "public of alice" ]'
promise "as hers" is "$(stat -c %U /home/alice/open/public)" alice

# A link where a directory is about to be written, again and again.
mkdir -p /srv/elsewhere && chmod 777 /srv/elsewhere
su alice -c 'mkdir -p ~/race; while [ ! -e /tmp/over ]; do for n in race/open race/alice; do
    mv ~/$n ~/$n.away && ln -s /srv/elsewhere ~/$n && rm ~/$n && mv ~/$n.away ~/$n; done; done' 2>/dev/null &
for i in 1 2 3 4 5; do as alice restore /home/alice/open --to /home/alice/race --on-conflict keep-both >/dev/null 2>&1; done
touch /tmp/over
wait
promise "files were written beside the race" bash -c 'ls /home/alice/race/open*/ | grep -q f1'
promise "a link that is planted in the target leads nowhere" is "$(ls -A /srv/elsewhere)" ""

# Whoever it writes for may stop the process: it does not keep a place, nor the job, nor backups waiting.
head -c 8000000 /dev/urandom >/home/alice/large && chown alice: /home/alice/large
backupctl -q run homes --wait || failed=1
backupctl -q set edit homes --download-rate 1MiB/s || failed=1
as alice restore /home/alice/large --to /home/alice/stopped --no-wait >/dev/null 2>&1 &
promise "the writer of a slow restore runs" wait_for 20 pgrep -u alice -x backupd-restore
promise "its owner may stop it" su alice -c 'kill -STOP $(pgrep -u alice -x backupd-restore)'
promise "it is ended then" wait_for 150 bash -c '! pgrep -x backupd-restore'
promise "and so is the job" wait_for 10 bash -c 'backupctl jobs | grep restore | head -1 | grep -q failed'
promise "no process of the service manager's stays" wait_for 10 bash -c '! systemctl list-units --no-legend "backupd-restore@*" | grep -q .'

systemctl stop polkit && systemctl mask --runtime polkit >/dev/null 2>&1
promise "without polkit nobody but root looks: exit 4" ends 4 alice ls /home/alice
promise "root does" backupctl -q ls /home/alice
promise "and all still see how the machine does" ends 0 alice status

[ $failed = 0 ] || { journalctl --no-pager -u backupd.service | tail -n 60; }
exit $failed
