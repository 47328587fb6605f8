#!/bin/bash
# Runs as root inside of a container whose systemd has just booted with backupd installed: what happens to files while the service
# restarts, is stopped, or is killed, on each of the mounts named (PLACE:watched from the outside, or one of our own in memory).
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
    "$@"
}
prop() { systemctl show -P "$1" backupd.service; }
is() { [ "$1" = "$2" ] || { echo "is '$1', not '$2'" && return 1; }; }
# FIELD of the set in backupctl's JSON
state() { backupctl --json status "$set" -v | python3 -c 'import json, sys
s = json.load(sys.stdin)["sets"][0]
print({**s, **s["tracking_counts"]}[sys.argv[1]])' "$1"; }
live() { is "$(state tracking)" live; }
stored() { [ "$(prop NFileDescriptorStore)" = "$1" ] || { echo "the service manager keeps $(prop NFileDescriptorStore) descriptors, not $1"; return 1; }; }
said() { journalctl -u backupd.service -o cat | grep -c -- "$1"; }
# What the newest revision gives back is what lies there.
same() {
    rm -rf "/root/out-$set"
    backupctl -q restore "$place" --to "/root/out-$set" && diff -r --no-dereference "$place" "/root/out-$set/$(basename "$place")"
}
pending() { backupctl --json queue "$set" --top 100000 | grep -qF -- "$1" || { echo "no $1 in the queue:"; backupctl queue "$set"; return 1; }; }
incremental() { # a run that takes changes only, and so could not find what was not told
    backupctl --json run "$set" --wait >/tmp/run || { cat /tmp/run; return 1; }
    local job
    job=$(python3 -c 'import json, sys; print(json.loads(open("/tmp/run").read().splitlines()[-1])["job"])')
    ! backupctl log "$job" | grep "everything is compared"
}

# Changes of all kinds, until told to stop; every name is new, so that nothing hides a loss.
writer() {
    local n=0
    while [ ! -e /tmp/enough ]; do
        n=$((n + 1))
        mkdir -p "$place/w/$((n % 50))"
        echo "$n" >"$place/w/$((n % 50))/f$n"
        [ $((n % 7)) != 0 ] || mv "$place/w/$((n % 50))/f$n" "$place/w/moved$n"
        [ $((n % 11)) != 0 ] || rm -f "$place/w/$(((n - 5) % 50))/f$((n - 5))"
        [ $((n % 13)) != 0 ] || mv "$place/w/$((n % 50))" "$place/w/d$n"
    done
    echo $n >/tmp/changes
}
writing() {
    rm -f /tmp/enough
    writer &
    sleep 0.5
}
written() {
    touch /tmp/enough
    wait $!
}

mkdir -p /srv/memory /var/lib/backupd/repositories
mount -t tmpfs -o size=500m tmpfs /srv/memory
wait_for 20 systemctl is-active backupd.service >/dev/null
echo secret >/root/pw && chmod 600 /root/pw
backupctl -q repo init main /var/lib/backupd/repositories/main --password-file /root/pw || failed=1

count=0
for place in /srv/memory/files "$@"; do
    count=$((count + 1))
    set=set$count
    on="$(stat -f -c %T "$(dirname "$place")")"
    systemctl reset-failed backupd.service  # so many starts in a minute are refused otherwise
    mkdir -p "$place/plain"
    echo first >"$place/plain/f"
    backupctl -q set create $set --repo main "$place" --no-automatic && backupctl -q run $set --wait || failed=1
    promise "$on: tracked" wait_for 20 live
    promise "$on: through fanotify" is "$(state watching)" fanotify
    promise "$on: the service manager keeps the watch" wait_for 10 stored $count

    resumed=$(said "'$set' is tracked on from where it stopped") compared=$(said "everything is compared")
    rescans=$(state rescans)
    writing
    for _ in 1 2 3; do
        promise "$on: restarted while files change" systemctl restart backupd.service
        sleep 0.5
    done
    written
    promise "$on: tracked on three times from where it stopped ($(cat /tmp/changes) changes)" is "$(($(said "'$set' is tracked on from where it stopped") - resumed))" 3
    promise "$on: live, nothing was compared" wait_for 5 live
    promise "$on: no rescan since" is "$(state rescans)" 0
    promise "$on: and no gap" is "$(state gaps)" 0
    promise "$on: still one watch per file system is kept" stored $count
    promise "$on: a run of the changes alone" incremental
    promise "$on: and nothing is missing" same

    promise "$on: stopped" systemctl stop backupd.service
    mv "$place/w/1" "$place/w/renamed" 2>/dev/null
    echo "while it was stopped" >"$place/plain/f"
    promise "$on: started" systemctl start backupd.service
    promise "$on: live again" wait_for 30 live
    promise "$on: what changed meanwhile waits" wait_for 10 pending "$place/plain/f"
    promise "$on: a run" incremental
    promise "$on: nothing is missing after a stop" same
    promise "$on: a watch is kept again" wait_for 10 stored $count

    writing
    promise "$on: killed while files change" systemctl kill -s KILL backupd.service
    promise "$on: started by the service manager" wait_for 20 systemctl is-active backupd.service
    written
    echo "after the kill" >"$place/plain/f"
    promise "$on: live after the kill" wait_for 30 live
    promise "$on: what changed since waits" wait_for 10 pending "$place/plain/f"
    promise "$on: a run after the kill" incremental
    promise "$on: nothing is missing after a kill" same
    promise "$on: one watch per file system after a kill" stored $count
    promise "$on: nothing was missed" is "$(state missed_changes)" 0
done

[ $failed = 0 ] || { journalctl --no-pager -u backupd.service | tail -n 60; }
exit $failed
