#!/usr/bin/env python3
"""Restores that were cut off with kill -9: each path is old or new and whole, and the next run goes on, inside large files, too."""
import os
import shutil
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from machine import ready, tree_diff  # noqa: E402
from promises import check, equal, main, promise, skip, wait_for  # noqa: E402

MIB = 1 << 20
# A chunk has 8 MiB at most and mostly 1 to 2: the large file has far more than ten.
LARGE, SMALL = 96 * MIB, 60
SMALL_FS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support", "small_fs.sh")


def tree(root):
    found = {}
    for base, _, names in os.walk(root):
        for name in names:
            path = os.path.join(base, name)
            with open(path, "rb") as f:
                found[os.path.relpath(path, root)] = f.read()
    return found


def fixture():
    m = ready("restore-resume")
    m.write_tree("src", {f"d{i % 3}/f{i}": os.urandom(40_000) for i in range(SMALL)})
    m.write("src/large", os.urandom(LARGE))
    os.symlink("large", m.path("src/link"))
    os.link(m.path("src/d0/f0"), m.path("src/d1/again"))
    m.set("home", m.path("src"), extra=["--no-automatic"])
    m.backup()
    m.total = sum(os.path.getsize(os.path.join(b, n)) for b, _, names in os.walk(m.path("src")) for n in names if n not in ("link", "again"))
    return m


def cut_off(m, failpoints, *args):
    """A restore in which the daemon dies; the number of its job."""
    m.stop()
    m.start(env={"BACKUPD_FAILPOINTS": failpoints})
    client = m.ctl_spawn("restore", m.path("src"), *args)
    wait_for("the daemon's end", lambda: m.daemon.poll() is not None)
    m.daemon.wait()
    client.communicate()
    m.start()
    job = next(j for j in m.json("jobs")["jobs"] if j["kind"] == "restore")
    equal(job["outcome"], "interrupted", job)
    return job["id"]


def whole(m, target):
    """No path is anything but what it shall be, whole; the names that are there."""
    found = set()
    for base, _, names in os.walk(target):
        if os.path.basename(base).startswith(".backupd-"):
            continue
        for name in names:
            path = os.path.join(base, name)
            rel = os.path.relpath(path, target)
            if "/.backupd-" in "/" + rel or os.path.islink(path):
                continue
            with open(path, "rb") as now, open(m.path("src", rel), "rb") as then:
                check(now.read() == then.read(), f"{rel} is there and not whole")
            found.add(rel)
    return found


@promise("killed inside a large file, the run that resumes fetches what is missing of it and nothing else")
def _(m):
    job = cut_off(m, "restore.piece=kill@70", "--to", m.path("out"))
    whole(m, m.path("out/src"))
    result = m.ctl("--json", "resume", str(job)).expect(0).result
    equal(tree_diff(m.path("src"), m.path("out/src"), "--ignore-root"), [])
    counts = result["counts"]
    check(counts["bytes_resumed"] > 0, counts)
    # At most one read of each worker was under way: runs of 4 MiB, 8 workers.
    again = counts["bytes_resumed"] + counts["bytes_fetched"] - m.total
    check(again < 0.05 * m.total, f"fetched although it was there: {again} bytes: {counts}")
    check(counts["bytes_resumed"] >= 60 * 40_000, counts)
    left = [n for _, dirs, names in os.walk(m.path("out")) for n in dirs + names if n.startswith(".backupd-")]
    equal(left, [])
    # All of it is one restore: taking it back takes all of it back.
    m.ctl("undo", str(result["job"]), "--yes").expect(0)
    equal(os.listdir(m.path("out")), [])


@promise("killed at any step, each path is old or new and whole; a repeated call completes it")
def _(m):
    for number, where in enumerate(
        ["restore.piece=kill@1", "restore.piece=kill@40", "restore.commit=kill@1", "restore.place=kill@1", "restore.place=kill@9", "undo.sync=kill@2"]
    ):
        target = m.path(f"step{number}")
        cut_off(m, where, "--to", target)
        if os.path.isdir(target + "/src"):
            whole(m, target + "/src")
        m.ctl("restore", m.path("src"), "--to", target).expect(0)
        equal((where, tree_diff(m.path("src"), target + "/src", "--ignore-root")), (where, []))


@promise("killed while it replaces and removes, each path is old or new; resumed and taken back, all is as it was")
def _(m):
    for number, where in enumerate(["restore.planned=kill@1", "restore.commit=kill@1", "restore.place=kill@5", "restore.remove=kill@3"]):
        target = m.path(f"over{number}")
        m.write_tree(f"over{number}/src", {f"d0/f{i}": f"mine {i}\n" for i in range(0, SMALL, 3)})
        m.write_tree(f"over{number}/src", {f"extra{i}": f"extra {i}\n" for i in range(6)})
        old = {n: open(os.path.join(b, n), "rb").read() for b, _, names in os.walk(target) for n in names}
        job = cut_off(m, where, "--to", target, "--on-conflict", "replace", "--delete", "--yes")
        for name, content in old.items():
            path = os.path.join(target, "src", "" if name.startswith("extra") else "d0", name)
            if not os.path.exists(path):
                check(name.startswith("extra"), f"{where}: {name} is neither there nor replaced")
                continue
            with open(path, "rb") as now:
                there = now.read()
            new = m.path("src/d0", name)
            check(there == content or (os.path.exists(new) and there == open(new, "rb").read()), f"{where}: {name} is neither old nor new")
        result = m.ctl("--json", "resume", str(job)).expect(0).result
        equal((where, tree_diff(m.path("src"), target + "/src", "--ignore-root")), (where, []))
        m.ctl("undo", str(result["job"]), "--yes").expect(0)
        now = {n: open(os.path.join(b, n), "rb").read() for b, _, names in os.walk(target) for n in names}
        equal((where, sorted(now)), (where, sorted(old)))
        check(now == old, f"{where}: other content after undo")
        shutil.rmtree(target)


def restores(m):
    return [j for j in m.json("jobs")["jobs"] if j["kind"] == "restore"]


@promise("a restore that ended with the daemon is gone on with by the next one, by itself and once")
def _(m):
    hurry = {"BACKUPD_CLOCK_STEP": m.write("clock", "0")}
    job = cut_off(m, "restore.piece=kill@40", "--to", m.path("alone"))
    m.stop()
    m.start(env=hurry)
    wait_for("the next job", lambda: restores(m)[0]["id"] != job and restores(m)[0]["state"] == "done")
    newest = restores(m)[0]
    equal((newest["trigger"], newest["outcome"]), ("resume", "complete"))
    equal(tree_diff(m.path("src"), m.path("alone/src"), "--ignore-root"), [])
    m.restart()
    m.stop()
    m.start(env=hurry)
    time.sleep(1.5)
    equal(restores(m)[0]["id"], newest["id"])
    m.ctl("undo", str(newest["id"]), "--yes").expect(0)
    equal(os.listdir(m.path("alone")), [])


@promise("one that was repeated, or taken back, by hand is not gone on with; one that fails three times is left alone")
def _(m):
    hurry = {"BACKUPD_CLOCK_STEP": m.write("clock", "0")}
    cut_off(m, "restore.piece=kill@40", "--to", m.path("again"))
    m.ctl("restore", m.path("src"), "--to", m.path("again")).expect(0)
    job = cut_off(m, "restore.place=kill@9", "--to", m.path("back"))
    m.ctl("undo", str(job), "--yes").expect(0)
    m.stop()
    m.start(env=hurry)
    time.sleep(1.5)
    check(all(j["trigger"] != "resume" for j in restores(m)[:2]), restores(m)[:3])
    job = cut_off(m, "restore.piece=kill@1", "--to", m.path("bad"))
    for _ in range(3):
        m.stop()
        m.start(env={**hurry, "BACKUPD_FAILPOINTS": "restore.piece=kill@1"})
        wait_for("the daemon's end", lambda: m.daemon.poll() is not None)
        m.daemon.wait()
    m.start(env=hurry)
    time.sleep(1.5)
    equal([j["outcome"] for j in restores(m)[:4]], ["interrupted"] * 4)
    equal(restores(m)[3]["id"], job)
    m.stop()
    m.start()
    m.ctl("resume", str(restores(m)[0]["id"])).expect(0)
    equal(tree_diff(m.path("src"), m.path("bad/src"), "--ignore-root"), [])


@promise("an undo that ended with the daemon is gone on with, too")
def _(m):
    m.write_tree("twice/d2", {f"f{i}": f"mine {i}\n" for i in range(2, SMALL, 6)})
    before = tree(m.path("twice"))
    job = m.ctl("--json", "restore", m.path("src/d2"), "--to", m.path("twice"), "--on-conflict", "replace", "--yes").expect(0).result["job"]
    m.stop()
    m.start(env={"BACKUPD_FAILPOINTS": "restore.place=kill@5"})
    client = m.ctl_spawn("undo", str(job), "--yes")
    wait_for("the daemon's end", lambda: m.daemon.poll() is not None)
    m.daemon.wait()
    client.communicate()
    check(tree(m.path("twice")) != before, "it was over before it was cut off")
    m.start(env={"BACKUPD_CLOCK_STEP": m.write("clock", "0")})
    wait_for("the next job", lambda: restores(m)[0]["outcome"] == "complete")
    equal(tree(m.path("twice")), before)


@promise("while the file system that it wrote to is not mounted it waits, and writes nothing into the empty place")
def _(m):
    place = m.path("volume")
    made = m.run([SMALL_FS, "make", place, "--size", "256M"])
    if made.code == 77:
        skip("no file system of our own here")
    made.expect(0)
    try:
        job = cut_off(m, "restore.piece=kill@40", "--to", place + "/out")
        m.stop()
        m.run(["umount", place]).expect(0)
        m.start(env={"BACKUPD_CLOCK_STEP": m.write("clock", "0")})
        wait_for("the word", lambda: f"cannot go on with restore job {job} yet" in m.daemon_log(50))
        m.ctl("resume", str(job)).expect(7, "not there", "mount it first")
        equal(os.listdir(place), [])
        m.run(["mount", "-o", "loop", place + ".img", place]).expect(0)
        wait_for("the next job", lambda: restores(m)[0]["id"] != job and restores(m)[0]["state"] == "done")
        equal(tree_diff(m.path("src"), place + "/out/src", "--ignore-root"), [])
    finally:
        m.stop()
        m.run([SMALL_FS, "destroy", place])
        m.start()


@promise("a complete restore has nothing to resume: exit code 7; an unknown one is no such job: exit code 5")
def _(m):
    done = m.ctl("--json", "restore", m.path("src/link"), "--to", m.path("done")).expect(0).result
    m.ctl("resume", str(done["job"])).expect(7)
    m.ctl("resume", "99999").expect(5)


if __name__ == "__main__":
    main(fixture)
