#!/usr/bin/env python3
"""Drills: files of the newest revision are given back for a try, at random and by themselves; what does not come back as it was is told."""
import glob
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from machine import Machine, is_root  # noqa: E402
from promises import check, contains, equal, main, promise, skip, wait_for  # noqa: E402

DAY = 86400
SMALL_FS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support", "small_fs.sh")
FILES = {f"d{i % 5}/f{i:02}": os.urandom(20_000 + i) for i in range(30)}


def fixture():
    m = Machine("drills")
    m.env["BACKUPD_CLOCK_STEP"] = m.write("clock", "0")
    m.write_tree("src", {**FILES, "empty": "", "d1/odd \udcff".encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape"): "x"})
    os.symlink("f01", m.path("src/link"))
    os.mkfifo(m.path("src/fifo"))
    os.chmod(m.path("src/d1/f01"), 0o600)
    os.chmod(m.path("src/d2"), 0o555)
    os.utime(m.path("src/d3/f03"), ns=(1, 1_234_567_890_123_456_789))
    m.start()
    m.repository(cheap=True)
    m.set("home", m.path("src"), extra=["--no-automatic"])
    return m


def facts(m, name="home"):
    return next(s for s in m.json("status")["sets"] if s["id"] == name)


def picture(root):
    """Everything that shows that somebody was there, but for times of reading."""
    found = {}
    for base, dirs, names in os.walk(root):
        for path in [base] + [os.path.join(base, n) for n in names + dirs]:
            s = os.lstat(path)
            found[path] = (s.st_mode, s.st_uid, s.st_gid, s.st_nlink, s.st_size, s.st_mtime_ns, s.st_ctime_ns)
    return found


def drills(m):
    return [j for j in m.json("jobs")["jobs"] if j["kind"] == "drill"]


def metric(m, name):
    found = {}
    for line in m.ctl("metrics").expect(0).out.splitlines():
        head, _, value = line.rpartition(" ")
        if head == name or head.startswith(name + "{"):
            found[head[len(name) :]] = float(value)
    return found


def codes(m, code=None):
    reply = m.ctl("--json", "health")
    check(code is None or reply.code == code, reply)
    return [f["code"] for f in reply.lines[-1]["findings"]]


def nothing_is_left(m):
    folder = m.path("state/drill")
    equal(os.listdir(folder) if os.path.isdir(folder) else [], [])


@promise("without a revision there is nothing to try: exit 5")
def _(m):
    m.ctl("drill").expect(5, "no revision")
    m.ctl("drill", "home").expect(5)


@promise("files come back as they were, are compared with those on disk, and nothing stays behind")
def _(m):
    m.backup()
    before = picture(m.path("src"))
    time.sleep(0.5)
    reply = m.ctl("--json", "drill", "home").expect(0)
    result = reply.result
    equal((result["kind"], result["outcome"], result["exceptions"]), ("drill", "complete", 0))
    counts = result["counts"]
    # 30 files, an empty one, one with an odd name, a link, a fifo.
    equal((counts["files"], counts["failed"], counts["untried"]), (34, 0, 0))
    equal(counts["compared_live"], 32)
    check(result["revision"], result)
    nothing_is_left(m)
    equal(picture(m.path("src")), before)
    m.ctl("drill", "home").expect(0, "34 files came back as they were", "32 compared with those on disk")


@promise("the job is in the history, its age in status, its numbers in metrics apart from those of restores")
def _(m):
    newest = drills(m)[0]
    equal((newest["set"], newest["outcome"], newest["trigger"]), ("home", "complete", "user"))
    set_ = facts(m)
    check(set_["last_drill"] and set_["drill_result"] == "ok", set_)
    m.ctl("status", "-v").expect(0, "home: last drill", "all came back as it was")
    equal(metric(m, "backupd_drill_jobs_total")['{set="home",outcome="complete"}'], 2)
    equal(metric(m, "backupd_drill_last_good"), {'{set="home"}': 1})
    check(metric(m, "backupd_drill_last_timestamp_seconds")['{set="home"}'] > 1e9)
    check(metric(m, "backupd_drill_age_seconds")['{set="home"}'] < 120)
    equal(metric(m, "backupd_restore_jobs_total"), {})
    equal(codes(m, 0), [])
    m.restart()
    equal(facts(m)["drill_result"], "ok")


@promise("how many, and of what, can be said")
def _(m):
    equal(m.ctl("--json", "drill", "--files", "3").expect(0).result["counts"]["files"], 3)
    counts = m.ctl("--json", "drill", "home", "--size", "50000").expect(0).result["counts"]
    check(0 < counts["bytes"] <= 50000, counts)
    equal(m.ctl("--json", "drill", m.path("src/d1/f01")).expect(0).result["counts"]["files"], 1)
    equal(m.ctl("--json", "drill", m.path("src/d0"), m.path("src/d3/f03")).expect(0).result["counts"]["files"], 7)
    m.ctl("drill", m.path("src/no such")).expect(5, "no such path")
    m.ctl("drill", "--files", "none").expect(2)
    m.ctl("drill", "--set", "hom").expect(5, "home")
    nothing_is_left(m)


@promise("files that were changed since are not compared with those on disk")
def _(m):
    m.write("src/d0/f00", "other\n")
    os.unlink(m.path("src/d0/f05"))
    counts = m.ctl("--json", "drill", "home").expect(0).result["counts"]
    equal((counts["files"], counts["compared_live"]), (34, 30))
    m.write("src/d0/f00", FILES["d0/f00"])
    m.write("src/d0/f05", FILES["d0/f05"])
    m.backup()


@promise("a drill that fails: exit 14, the files and their intact older versions are named, health is at risk until they come back")
def _(m):
    m.write("src/only", b"first" * 5000)
    m.backup()
    m.ctl("drill", "home").expect(0)
    sound = set(glob.glob(m.path("repo/data/*/*")))
    m.write("src/only", os.urandom(30000))
    m.backup()
    new = [p for p in set(glob.glob(m.path("repo/data/*/*"))) - sound if os.path.getsize(p) > 20000]
    equal(len(new), 1)
    os.chmod(new[0], 0o600)
    with open(new[0], "r+b") as f:
        f.seek(15000)
        byte = f.read(1)
        f.seek(15000)
        f.write(bytes([byte[0] ^ 1]))
    reply = m.ctl("drill", "home").expect(14, m.path("src/only"), "older version is intact", "1 of 35 objects")
    contains(reply.out + reply.err, "home/")
    report = m.json("health", code=21)["findings"]
    failed = next(f for f in report if f["code"] == "drill-failed")
    equal((failed["level"], failed["subject"]), ("at-risk", "set home"))
    contains(failed["remedy"], f"backupctl jobs {drills(m)[0]['id']} -v", "backupctl drill home")
    m.ctl("jobs", str(drills(m)[0]["id"]), "-v").expect(0, m.path("src/only"), "older version is intact")
    m.ctl("status").expect(0, "files did not come back")
    equal(metric(m, "backupd_drill_last_good"), {'{set="home"}': 0})
    check(metric(m, "backupd_drill_failed_objects_total")['{set="home"}'] == 1)
    # A smaller sample tries what failed before all the same.
    m.ctl("drill", "home", "--files", "1").expect(14)
    m.restart()
    check("drill-failed" in codes(m, 21))
    nothing_is_left(m)
    # What is known to be damaged is stored anew by the next run.
    m.backup()
    m.ctl("drill", "home").expect(0)
    check("drill-failed" not in codes(m))
    equal(facts(m)["drill_result"], "ok")


@promise("named paths speak for themselves alone, but what failed by name is at risk, too")
def _(m):
    last = facts(m)["last_drill"]
    m.ctl("drill", m.path("src/d4")).expect(0)
    equal(facts(m)["last_drill"], last)


@promise("a file that is another one on disk although nothing tells of it is found")
def _(m):
    place = m.path("volume")
    made = m.run([SMALL_FS, "make", place, "--size", "16M"])
    if made.code == 77:
        skip("no file system of our own here")
    made.expect(0)
    try:
        for name in ("a", "b"):
            m.write(f"volume/{name}", f"what {name} holds\n" * 4000)
        m.set("volume", place, extra=["--no-automatic"])
        time.sleep(3)
        m.backup("volume")
        wait_for("tracking", lambda: facts(m, "volume")["tracking"] == "live")
        counts = m.ctl("--json", "drill", "volume").expect(0).result["counts"]
        equal((counts["files"], counts["compared_live"]), (2, 2))
        m.stop()
        # As a disk does it.
        m.run(["umount", place]).expect(0)
        with open(place + ".img", "r+b") as image:
            at = image.read().index(b"what a holds\n" * 50)
            image.seek(at)
            image.write(b"W")
        m.run(["mount", "-o", "loop", place + ".img", place]).expect(0)
        equal(m.read("volume/a")[:5], b"What ")
        m.start()
        wait_for("tracking", lambda: facts(m, "volume")["tracking"] == "live")
        reply = m.ctl("--json", "drill", "volume").expect(14)
        equal((reply.result["counts"]["differs_live"], reply.result["counts"]["failed"]), (1, 1))
        m.ctl("drill", "volume").expect(14, os.path.join(place, "a"), "on disk")
        # It is no damage of the repository.
        check("damaged" not in codes(m, 21))
        m.ctl("restore", os.path.join(place, "a"), "--to", m.path("whole")).expect(0)
        equal(m.read("whole/a")[:5], b"what ")
        m.ctl("run", "volume", "--full", "--wait")
        m.ctl("drill", "volume").expect(0)
    finally:
        m.stop()
        m.run([SMALL_FS, "destroy", place])
        m.start()
        m.ctl("set", "remove", "volume", "--yes").expect(0)


@promise("it happens by itself: a day after the first revision, then in the set's own cycle, or never")
def _(m):
    m.ctl("verify")
    known = len(drills(m))
    m.set_clock(6 * DAY)
    time.sleep(1)
    equal(len(drills(m)), known)
    m.set_clock(8 * DAY)
    wait_for("the drill", lambda: len(drills(m)) == known + 1 and drills(m)[0]["outcome"] == "complete")
    equal(drills(m)[0]["trigger"], "schedule")
    m.set("fresh", m.path("src"), extra=["--no-automatic", "--drill", "every=3w files=5"])
    equal(m.json("set", "show", "fresh")["config"]["drill"], "every=3w files=5")
    m.backup("fresh")
    m.set_clock(8 * DAY + 23 * 3600)
    time.sleep(1)
    equal(len(drills(m)), known + 1)
    m.set_clock(9 * DAY + 3600)
    wait_for("the first drill of a set", lambda: len(drills(m)) == known + 2 and drills(m)[0]["outcome"] == "complete")
    equal((drills(m)[0]["set"], drills(m)[0]["trigger"]), ("fresh", "schedule"))
    m.ctl("set", "edit", "fresh", "--drill", "off").expect(0)
    m.ctl("set", "edit", "home", "--drill", "off").expect(0)
    m.set_clock(60 * DAY)
    time.sleep(1)
    equal(len(drills(m)), known + 2)
    m.ctl("set", "edit", "home", "--drill", "often").expect(2, "every=TIME")


@promise("while uploads are paused it waits; when none came to its end for long health is degraded")
def _(m):
    m.ctl("set", "remove", "fresh", "--yes").expect(0)
    m.ctl("run", "home", "--wait").expect(0)
    m.ctl("pause").expect(0)
    m.ctl("set", "edit", "home", "--drill", "every=1d").expect(0)
    known = len(drills(m))
    # The clock goes on without a jump that looks like a sleep.
    for ahead in range(0, 660, 5):
        m.set_clock(60 * DAY + ahead)
        time.sleep(0.1)
    try:
        wait_for("the word", lambda: "drill-late" in codes(m))
        equal(len(drills(m)), known)
    finally:
        m.ctl("resume").expect(0)
    wait_for("the drill", lambda: len(drills(m)) == known + 1 and drills(m)[0]["outcome"] == "complete")
    wait_for("well", lambda: "drill-late" not in codes(m))


@promise("what a drill of a daemon that died left goes at the next start, however deep and closed it is")
def _(m):
    m.stop()
    deep = m.path("state/drill/77")
    os.makedirs(deep)
    for _ in range(300):
        deep = os.path.join(deep, "x")
        os.mkdir(deep)
    m.write("state/drill/77/x/x/file", "x")
    os.chmod(m.path("state/drill/77/x/x"), 0)
    m.start()
    nothing_is_left(m)


@promise("a drill can be cancelled, and leaves nothing")
def _(m):
    m.write("src/large", os.urandom(60_000_000))
    m.backup()
    job = m.ctl("--json", "drill", m.path("src/large"), "--no-wait").expect(0).lines[0]["job"]
    m.ctl("cancel", str(job)).expect(0)
    wait_for("the end", lambda: drills(m)[0]["state"] == "done")
    nothing_is_left(m)
    os.unlink(m.path("src/large"))


@promise("metadata that are not ours to give are no fault of the backup")
def _(m):
    if not is_root():
        skip("only root owns files of others")
    m.write_tree("others", {"a": "one\n"})
    os.chown(m.path("others/a"), 1234, 1235)
    m.set("others", m.path("others"), extra=["--no-automatic"])
    m.backup("others")
    m.ctl("drill", "others").expect(0)


if __name__ == "__main__":
    main(fixture)
