#!/usr/bin/env python3
"""A first backup that is interrupted at four fifths goes on where it was: nothing but the rest is read and stored.

    resuming.py [--files N] [--as-it-comes]

N files of 1 MiB (default 240); the daemon is held at a failpoint, so no luck is needed. --as-it-comes: with packs and checkpoints of the
sizes that people have, for which N should be 4096.
"""
import os
import shutil
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from machine import Machine, tree_diff  # noqa: E402
from promises import check, contains, equal, main, options, promise, wait_for  # noqa: E402

MIB = 1 << 20
DAY = 24 * 3600


def fixture():
    m = Machine("resume")
    m.ahead = 0
    m.count = int(options.files)
    m.held_at = m.count * 4 // 5
    m.env["BACKUPD_CLOCK_STEP"] = m.write("clock", "0")
    m.every = 128  # MiB between checkpoints, as it comes
    if not options.as_it_comes:
        m.every = 1
        often(m)
    with open("/dev/urandom", "rb") as noise:
        for i in range(m.count):
            m.write(f"src/{i % 7}/{i:05}", noise.read(MIB))
    m.write("src/one", "one\n")
    begin(m)
    return m


def held(m):
    """The environment of a daemon that stops reading at the fifth fifth."""
    return {"BACKUPD_FAILPOINTS": f"read.begin=gate:{m.path('gate')}@{m.held_at + 1}+"}


def begin(m, where="repo"):
    """A fresh daemon and repository."""
    m.stop()
    for name in ("state", "repo", "config/repositories.d", "config/sets.d"):
        shutil.rmtree(m.path(name), ignore_errors=True)
    os.makedirs(m.path("state"), 0o700)
    m.write("gate", "")
    m.start(env=held(m))
    m.repository(cheap=True)
    m.set("home", m.path("src"), extra=["--no-automatic"])


def left(m):
    """What is told of the interrupted run, or None."""
    return next((r for r in m.json("revisions", "home", "--all")["revisions"] if r["state"] == "incomplete"), None)


def at_four_fifths(m):
    """A client whose run is held there; all that was read is in a checkpoint."""
    client = m.ctl_spawn("--json", "run", "home", "--wait")
    wait_for(
        "the reading to be held", lambda: os.path.exists(m.path("gate.reached")) or client.poll() is not None, seconds=600
    )
    check(client.poll() is None, "the run has ended")
    # One more is made for a hundredth, and two files are under way.
    nearly = m.held_at * MIB * 98 // 100 - (2 + m.every) * MIB
    wait_for("a checkpoint of what was read", lambda: (left(m) or {"bytes": 0})["bytes"] >= nearly, seconds=120)
    return client


def all_but_under_way(m):
    """Bytes of the files that were read when it was held: of those begun src/one is hardly any, and the other readers may be in the middle of theirs."""
    return (m.held_at - 1 - 4) * MIB


def interrupted(m):
    """A first run that was killed at four fifths."""
    begin(m)
    client = at_four_fifths(m)
    m.kill()
    client.communicate(timeout=30)
    open_gate(m)


def packs(m):
    """Whole ones: what a kill cut short has another name, and goes a day later."""
    return sorted(os.path.join(top, n) for top, _, names in os.walk(m.path("repo/data")) for n in names if len(n) == 64)


def stored(m):
    return sum(os.path.getsize(pack) for pack in packs(m))


def rest(m):
    """What is not stored yet, in percent."""
    return 100 - 100 * stored(m) // (m.count * MIB)


def open_gate(m):
    for name in ("gate", "gate.reached"):
        if os.path.exists(m.path(name)):
            os.unlink(m.path(name))


def later(m, seconds):
    m.ahead += seconds
    m.stop()
    m.set_clock(m.ahead)
    m.start()


def finish(m, most_read, most_stored):
    """The run that takes it up; how much it may read and store of the whole, in percent."""
    before, whole = stored(m), m.count * MIB
    result = m.backup()
    equal(result["outcome"], "complete")
    counts = result["counts"]
    grown = stored(m) - before
    print(f"  read {100 * counts['bytes_read'] / whole:.1f} %, stored {100 * grown / whole:.1f} % of {m.count} MiB", flush=True)
    check(counts["bytes_read"] < whole * most_read / 100, counts)
    check(grown < whole * most_stored / 100, grown, counts)
    equal(counts["files_new"], m.count + 1, "a first revision, whoever read its files")
    m.restic("check", "--read-data").expect(0)
    shutil.rmtree(m.path("out"), ignore_errors=True)
    m.ctl("restore", m.path("src"), "--to", m.path("out")).expect(0)
    equal(tree_diff(m.path("src"), m.path("out/src")), [])
    shutil.rmtree(m.path("out"))
    equal(left(m), None, "nothing is left to take up")
    return counts


@promise("kill -9 at four fifths: no revision is there, to us or to restic, and the repository is whole")
def _(m):
    client = at_four_fifths(m)
    m.kill()
    client.communicate(timeout=30)
    open_gate(m)
    equal(os.listdir(m.path("repo/snapshots")), [])
    m.restic("check", "--read-data", "--no-lock").expect(0)


@promise("the interrupted run is listed only when asked for, and tells how long it is kept")
def _(m):
    m.start()
    equal(m.json("revisions", "home")["revisions"], [])
    r = left(m)
    equal((r["state"], r["number"], r["id"]), ("incomplete", 0, ""))
    check(r["expires"] > r["time"], r)
    contains(m.ctl("revisions", "home", "--all").expect(0).out, "incomplete", "takes it up")
    job = next(j for j in m.json("jobs")["jobs"] if j["kind"] == "backup")
    equal(job["outcome"], "interrupted")
    contains(m.ctl("log", str(job["id"])).expect(0).out + m.ctl("jobs", str(job["id"])).expect(0).out, "need not be read again")


@promise("it is never restored by default")
def _(m):
    reply = m.ctl("restore", m.path("src"), "--to", m.path("out"))
    check(reply.code != 0 and not os.path.exists(m.path("out/src")), reply)


@promise("the next run reads less than 30 % and stores less than 25 %, and says what it found again")
def _(m):
    counts = finish(m, 30, 25)
    check(counts["bytes_resumed"] > m.count * MIB * 7 // 10, counts)
    job = next(j for j in m.json("jobs")["jobs"] if j["kind"] == "backup")
    contains(m.ctl("log", str(job["id"])).expect(0).out, "takes up job", "not read again")


@promise("what changed after it was read is read again")
def _(m):
    interrupted(m)
    changed = [f"src/{i % 7}/{i:05}" for i in range(0, m.count, 16)]
    for name in changed:
        at = m.path(name)
        times = os.stat(at).st_mtime_ns
        m.write(name, os.urandom(MIB))
        os.utime(at, ns=(times, times))  # as unpacked from an archive: size and mtime say nothing
    os.unlink(m.path("src/one"))
    m.write("src/one", "two\n")
    m.start()
    finish(m, 40, 40)


@promise("collections leave it alone, and an audit counts it as needed")
def _(m):
    interrupted(m)
    m.start()
    for _ in range(3):
        m.ctl("gc").expect(0)
        later(m, DAY + 3600)
    a = m.json("audit")
    check(a["live_bytes"] > m.count * MIB * 7 // 10, a)
    finish(m, 30, 25)


@promise("one that has expired is garbage: marked, swept after the grace, and never believed")
def _(m):
    interrupted(m)
    m.start()
    later(m, 15 * DAY)
    equal(left(m), None)
    m.ctl("gc").expect(0)
    later(m, DAY + 3600)
    m.ctl("gc").expect(0)
    equal(stored(m), 0)
    finish(m, 101, 102)


def no_checkpoints(m):
    """The daemon is killed when no index file names anything yet."""
    m.write("config/backupd.toml", '[engine]\npack-size = "4MiB"\ncheckpoint = "1TiB"\n')
    begin(m)
    client = m.ctl_spawn("--json", "run", "home", "--wait")
    nearly = (m.held_at - 20) * MIB  # two packs of data are open, and some on their way
    wait_for("what was read to be stored", lambda: stored(m) >= nearly or client.poll() is not None, seconds=600)
    check(client.poll() is None, "the run has ended")
    m.kill()
    client.communicate(timeout=30)
    open_gate(m)
    equal(os.listdir(m.path("repo/index")), [])
    often(m)


def often(m):
    m.write("config/backupd.toml", '[engine]\npack-size = "4MiB"\ncheckpoint = "1MiB"\n')


@promise("without any checkpoint what was stored is found again: no more than the packs under way is sent twice")
def _(m):
    if options.as_it_comes:
        return
    no_checkpoints(m)
    there = stored(m)
    m.start()
    for _ in range(3):
        m.ctl("gc").expect(0)
        later(m, DAY + 3600)
    a = m.json("audit")
    equal((stored(m), a["live_bytes"], a["orphan_bytes"], a["grace_bytes"]), (there, there, 0, 0))
    finish(m, 101, rest(m) + 2)
    equal(m.json("audit")["orphan_bytes"], 0)


@promise("packs of theirs that are gone or cut short are not trusted")
def _(m):
    if options.as_it_comes:
        return
    no_checkpoints(m)
    gone, short, empty = packs(m)[:3]
    os.unlink(gone)
    for pack, keep in ((short, 1 << 20), (empty, 0)):
        os.chmod(pack, 0o600)
        os.truncate(pack, keep)
    m.start()
    finish(m, 101, rest(m) + 2)


@promise("after two weeks nobody asks for them any more: they go like all garbage")
def _(m):
    if options.as_it_comes:
        return
    no_checkpoints(m)
    m.start()
    before = m.json("audit")["live_bytes"]
    later(m, 15 * DAY)
    a = m.json("audit")  # a collection may be due, and have marked them
    equal((a["live_bytes"], a["orphan_bytes"] + a["grace_bytes"]), (0, before))
    m.ctl("gc").expect(0)
    later(m, DAY + 3600)
    m.ctl("gc").expect(0)
    equal(stored(m), 0)


@promise("a run that is cancelled leaves all that it had read")
def _(m):
    begin(m)
    client = at_four_fifths(m)
    job = next(j for j in m.json("jobs")["jobs"] if j["kind"] == "backup")
    m.ctl("cancel", str(job["id"])).expect(0)
    open_gate(m)
    client.communicate(timeout=60)
    check((left(m) or {"bytes": 0})["bytes"] >= all_but_under_way(m), left(m))
    finish(m, 30, 25)


@promise("so does one that the daemon's end stopped; it is taken up on its own when the daemon is back")
def _(m):
    begin(m)
    m.ctl("set", "edit", "home", "--interval", "1d").expect(0)
    client = at_four_fifths(m)
    m.daemon.send_signal(signal.SIGTERM)
    wait_for("the daemon to hear it", lambda: "stopping" in m.daemon_log(3))
    open_gate(m)
    equal(m.stop(seconds=60), 0)
    client.communicate(timeout=30)
    m.start()
    check((left(m) or {"bytes": 0})["bytes"] >= all_but_under_way(m), left(m))
    m.ahead += 120
    m.set_clock(m.ahead)
    m.ctl("config", "reload").expect(0)  # looks at the clock
    job = wait_for(
        "the run to be taken up",
        lambda: next((j for j in m.json("jobs")["jobs"] if j["trigger"] == "resume" and j["outcome"]), None),
        seconds=90,
    )
    equal(job["outcome"], "complete")
    counts = job["counts"] or m.json("jobs", str(job["id"]))["jobs"][0]["counts"]
    check(counts["bytes_read"] < m.count * MIB * 3 // 10, counts)


if __name__ == "__main__":
    main(fixture, **{"--files": dict(default=240), "--as-it-comes": dict(action="store_true")})
