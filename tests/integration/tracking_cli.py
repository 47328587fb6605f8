#!/usr/bin/env python3
"""What people see of change tracking: queue, explain, watch, status; revisions that are made by themselves."""
import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from machine import ready  # noqa: E402
from promises import check, contains, equal, main, promise, skip, wait_for  # noqa: E402


def fixture():
    m = ready("tracking")
    m.write_tree("src", {"a": "one\n", "b": "two\n", "d/e": "three\n", "d/f": "four\n", "drop.o": "x", "big": "x" * 9000})
    m.set("home", m.path("src"), extra=["--exclude", "*.o", "--larger-than", "8k", "--no-automatic"])
    m.backup()
    return m


def status(m, name="home"):
    return m.json("status", name)["sets"][0]


def queue(m, *more):
    return m.json("queue", "home", *more)


def waiting(m):
    """What waits, by path below the source."""
    return {os.path.relpath(e["path"], m.path("src")): e for e in queue(m)["entries"] if "path" in e}


def settled(m):
    """Everything is in a revision, and known to be."""

    # What comes between a run's look and its end waits for the next one, and so does a file that was
    # written so lately that its times could not show another write.
    def nothing():
        m.backup()
        q = queue(m)
        return q["tracking"] in ("live", "degraded") and q["gaps"] == 0 and q["pending"] == 0 and not q["entries"]

    if queue(m)["tracking"] == "off":
        skip("nothing can be tracked here: " + json.dumps(status(m)))
    try:
        wait_for("an empty queue", nothing)
    except AssertionError as problem:
        raise AssertionError(f"{problem}: {queue(m)}") from None


def appears(m, *names):
    return wait_for(f"{names} in the queue", lambda: (lambda w: w if set(names) <= set(w) else None)(waiting(m)))


@promise("status says how a set is tracked, and that nothing waits after its revision")
def _(m):

    # A file elsewhere that has several names, and is written by somebody, waits until a run has seen that it is not ours.
    def nothing():
        settled(m)
        s = status(m)
        return s if (s["pending"], s["oldest_seconds"], s["gaps"]) == (0, None, 0) else None

    s = wait_for("a status without changes", nothing)
    check(s["tracking"] in ("live", "degraded"), s)
    check(s["protected_until"] is not None, s)
    check(s["watching"] in ("fanotify", "inotify", "scan"), s)
    check(s["volumes"] and all({"place", "type", "watching", "state"} <= set(v) for v in s["volumes"]), s)
    contains(m.ctl("status").expect(0).out, s["tracking"], "TRACKING", "WAITING")
    contains(m.ctl("status", "-v").expect(0).out, s["volumes"][0]["place"], s["volumes"][0]["watching"])


@promise("a changed file appears in the queue, and runs empty it")
def _(m):
    settled(m)
    m.write("src/a", "one and more\n")
    entry = appears(m, "a")["a"]
    equal(entry["bytes"], 13)
    equal(entry["kind"], "modified")
    q = queue(m)
    equal((q["schema"], q["type"], q["set"]), (1, "queue", "home"))
    check(q["pending"] >= 1 and q["oldest_seconds"] >= 0 and q["bytes"] >= 13, q)
    check(status(m)["pending"] >= 1)
    text = m.ctl("queue", "home").expect(0).out
    contains(text, "AGE", m.path("src/a"), entry["kind"], "change")

    def is_said():  # what was written lately may be marked once more
        settled(m)
        return "nothing waits" in m.ctl("queue").expect(0).out and m.ctl("queue", "-0").expect(0).out == ""

    wait_for("nothing in the queue", is_said)


@promise("the queue tells what is new, what is gone, and names in any bytes")
def _(m):
    settled(m)
    m.write("src/new/deep", "n" * 100)
    os.unlink(m.path("src/d/f"))
    raw = os.path.join(os.fsencode(m.path("src")), b"bad-\xff")
    with open(raw, "wb") as f:
        f.write(b"x")
    w = appears(m, "new/deep", "d/f")
    equal((w["new/deep"]["kind"], w["d/f"]["kind"]), ("created", "deleted"))
    b64 = wait_for("the other name", lambda: [e for e in queue(m)["entries"] if "path_b64" in e])[0]["path_b64"]
    equal(base64.b64decode(b64), raw)
    check(raw + b"\0" in m.ctl("queue", "-0", "--top", "all").expect(0).raw)
    equal(len(queue(m, "--top", "1")["entries"]), 1)
    m.ctl("queue", "home", "--top", "none").expect(2, "--top")
    m.ctl("queue", "nosuch").expect(5, "nosuch")


@promise("the queue tells all of many, or the oldest of them")
def _(m):
    settled(m)
    m.write_tree("src", {f"lot/{i:03}": str(i) for i in range(300)})
    appears(m, *(f"lot/{i:03}" for i in range(300)))
    equal(len(queue(m, "--top", "7")["entries"]), 7)
    contains(m.ctl("queue", "home").expect(0).out, "--top all")
    equal(m.ctl("queue", "home", "--top", "all").expect(0).out.count("/lot/"), 300)


@promise("explain: protected, with the version that has it")
def _(m):
    settled(m)
    e = m.json("explain", m.path("src/b"))
    equal((e["state"], e["exists"], e["kind"], e["exit_code"]), ("protected", True, "file", 0))
    s = e["sets"][0]
    newest = m.revisions()[0]
    equal((s["set"], s["state"], s["root"]), ("home", "protected", m.path("src")))
    equal((s["version"]["revision"], s["version"]["number"], s["version"]["size"]), (newest["id"], newest["number"], 4))
    check("by-hand" in s["blocked_by"], s)
    contains(m.ctl("explain", "src/b").expect(0).out, "is protected.", f"home/{newest['number']}")
    equal(m.json("explain", m.path("src/d"))["state"], "protected")


@promise("explain: pending, for what changed, is new or is gone, and for a directory above it")
def _(m):
    settled(m)
    m.write("src/a", "again\n")
    m.write("src/d/new", "new\n")
    os.unlink(m.path("src/d/e"))
    appears(m, "a", "d/new", "d/e")
    for name, kind, version in [("a", "modified", True), ("d/new", "created", False), ("d/e", "deleted", True)]:
        e = m.json("explain", m.path("src", name))
        s = e["sets"][0]
        equal((e["state"], s["pending"]["kind"], s["version"] is not None), ("pending", kind, version), name)
        check(s["pending"]["since"], s)
    d = m.json("explain", m.path("src/d"))
    equal(d["state"], "pending")
    check(d["sets"][0]["pending_below"] >= 2, d)
    contains(m.ctl("explain", m.path("src/d/new")).expect(0).out, "is not protected yet", "created", "backupctl run home")


@promise("explain: excluded, with the rule and where it stands")
def _(m):
    file = m.path("config/sets.d/home.toml")
    with open(file) as f:
        line = next(i for i, text in enumerate(f, 1) if text.startswith("exclude"))
    e = m.json("explain", m.path("src/drop.o"))
    equal(e["state"], "excluded")
    rule = e["sets"][0]["excluded"]
    equal((rule["rule"], rule["pattern"], rule["origin"], rule["path"]), ("pattern", "*.o", f"{file}:{line}", e["path"]))
    contains(m.ctl("explain", m.path("src/drop.o")).expect(0).out, "is not protected", "*.o", f"home.toml:{line}")
    equal(m.json("explain", m.path("src/big"))["sets"][0]["excluded"]["rule"], "larger-than")
    m.write("src/cache/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n")
    m.write("src/cache/x", "x")
    rule = m.json("explain", m.path("src/cache/x"))["sets"][0]["excluded"]
    equal((rule["rule"], rule["path"]), ("cachedir-tag", m.path("src/cache")))


@promise("explain: outside of every set, and missing altogether (exit code 5)")
def _(m):
    m.write("elsewhere", "x")
    e = m.json("explain", m.path("elsewhere"))
    equal((e["state"], e["sets"]), ("outside", []))
    contains(m.ctl("explain", m.path("elsewhere")).expect(0).out, "no backup set holds it", "--add-path")
    equal(m.json("explain", m.path("nowhere"), code=5)["state"], "missing")
    m.ctl("explain", m.path("nowhere")).expect(5, "does not exist")
    equal(m.json("explain", m.path("src/nowhere"), code=5)["state"], "missing")
    m.ctl("explain").expect(2)


class Watch:
    def __init__(self, m, *args):
        self.p, self.seen = m.ctl_spawn(*args), []

    def until(self, what, found):
        for line in self.p.stdout:
            self.seen.append(line.decode())
            if found(self.seen[-1]):
                return self.seen[-1]
        raise AssertionError(f"watch ended before {what}: {self.seen}")

    def type(self, name, **fields):
        def found(line):
            o = json.loads(line)
            return o["type"] == name and all(o[k] == v for k, v in fields.items())

        return json.loads(self.until(name, found))

    def interrupt(self):
        self.p.send_signal(signal.SIGINT)
        out, err = self.p.communicate(timeout=60)
        equal(self.p.returncode, 130, err)
        return out.decode()


def alarm(seconds):
    def too_long(*_):
        raise AssertionError("waited in vain for a line of watch")

    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(int(seconds * float(os.environ.get("TEST_PATIENCE", "1"))))


@promise("watch tells changes that wait, a run, its revision, and the daemon's going and coming")
def _(m):
    settled(m)
    alarm(60)
    w = Watch(m, "--json", "watch", "--set", "home")
    try:
        equal(w.type("tracking")["set"], "home")
        m.write("src/a", "for watch\n")
        check(w.type("tracking")["pending"] >= 1)
        job = m.backup()["job"]
        w.type("job-begin", job=job, kind="backup", trigger="user")
        revision = w.type("revision", set="home")["revision"]
        equal(revision, m.revisions()[0]["id"])
        equal(w.type("job-end", job=job)["outcome"], "complete")
        m.stop()
        equal(w.type("daemon")["state"], "gone")
        m.start()
        equal(w.type("daemon")["state"], "back")
        w.type("tracking", set="home")
        last = json.loads(w.interrupt().splitlines()[-1])
        equal((last["schema"], last["type"], last["kind"], last["exit_code"]), (1, "result", "watch", 130))
        w = Watch(m, "watch")
        w.until("tracking", lambda line: "home: tracking is" in line)
        m.backup()
        w.until("begin", lambda line: "home: backup begins" in line)
        w.until("end", lambda line: "complete in" in line)
        w.interrupt()
    finally:
        signal.alarm(0)
        w.p.kill()
        w.p.wait()
    m.ctl("watch", "--set", "nosuch").expect(5, "nosuch")


@promise("on the bus a set tells its changes at most twice a second, whatever happens to its files")
def _(m):
    if not shutil.which("busctl"):
        skip("no busctl here")
    settled(m)
    rule = "type='signal',interface='org.freedesktop.DBus.Properties',path='/org/backupd1/set/home'"
    argv = ["busctl", "--address=" + m.address, "--json=short", "--match=" + rule, "monitor"]
    monitor = subprocess.Popen(argv, env=m.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        wait_for("the monitor", lambda: "monitor" in monitor.stderr.readline().decode().lower())
        begin = time.monotonic()
        for i in range(400):
            m.write(f"src/many/{i % 20}", "x" * i)
            if i % 40 == 0:
                m.backup()
        m.backup()
        seconds = time.monotonic() - begin
    finally:
        monitor.terminate()
        out, _ = monitor.communicate()
    told = [json.loads(line) for line in out.splitlines()]
    check(told, "nothing was told")
    # The end of a job tells at once what its set became, beside the pace.
    check(len(told) <= 2 * seconds + 2 + 2 * 11, len(told), "signals in", seconds, "s")
    for signal_ in told:
        names = signal_["payload"]["data"][1]
        check(not {"PendingChanges", "PendingBytes"} & set(names), names)


@promise("a set that may not run by itself does not; one that may makes a revision when a change has settled")
def _(m):
    settled(m)
    before = m.revisions()[0]
    m.write("src/a", "by itself\n")
    appears(m, "a")
    equal(m.revisions()[0]["id"], before["id"])
    m.ctl("set", "edit", "home", "--automatic", "--settle", "50ms", "--min-interval", "none").expect(0, "50 ms")
    newest = wait_for("a revision", lambda: (lambda r: r if r["id"] != before["id"] else None)(m.revisions()[0]))
    equal((newest["trigger"], newest["parent"]), ("change", before["id"]))
    m.ctl("set", "edit", "home", "--no-automatic").expect(0)


@promise("between two automatic runs lies the time that min-interval says, and status shows when the next is due")
def _(m):
    settled(m)
    m.ctl("set", "edit", "home", "--automatic", "--settle", "0", "--min-interval", "2h").expect(0)
    before = m.revisions()[0]["id"]
    m.write("src/a", "later\n")
    appears(m, "a")
    due = wait_for("the next run", lambda: status(m)["next_run"])
    from datetime import datetime, timedelta

    def to_seconds(text):  # the fraction has as many digits as it needs
        return datetime.fromisoformat(text[:19] + text[-6:])

    gap = to_seconds(due) - to_seconds(status(m)["last_attempt"])
    check(abs(gap - timedelta(hours=2)) < timedelta(seconds=2), gap)
    equal(m.revisions()[0]["id"], before)
    m.ctl("set", "edit", "home", "--no-automatic").expect(0)


@promise("a path that is not there, and one that is a file, are waited for, and what lies beside them is watched on")
def _(m):
    settled(m)
    before = status(m)["tracking"]
    lone = m.write("beside/lone", "one\n")
    m.ctl("set", "create", "later", "--repo", "main", m.path("later/src"), lone, "--no-automatic").expect(0)
    m.ctl("--json", "run", "later", "--wait").expect(3)
    entries = lambda: {e["path"] for e in m.json("queue", "later")["entries"] if "path" in e}
    state = lambda name: wait_for("the scan", lambda: (lambda t: t if t != "scanning" else None)(status(m, name)["tracking"]))
    equal((state("home"), state("later")), (before, before))
    equal(entries(), set())
    m.write("later/src/new", "new\n")
    m.write("beside/lone", "two\n")
    m.write("beside/stranger", "not ours\n")
    wait_for("both in the queue", lambda: {lone, m.path("later/src")} <= entries())
    m.backup("later")
    m.write("later/src/new", "again\n")
    wait_for("the change", lambda: m.path("later/src/new") in entries())
    check(m.path("beside/stranger") not in entries())
    m.backup("later")
    m.ctl("cat", m.path("later/src/new")).expect(0, "again")
    m.ctl("set", "remove", "later", "--yes").expect(0)


def goes_round(m):
    """Until the old watch's reader has told what happened up to now."""

    def rounds():
        tasks = f"/proc/{m.daemon.pid}/task"
        for task in os.listdir(tasks):
            with open(f"{tasks}/{task}/comm") as f:
                if f.read().startswith("watch-"):
                    with open(f"{tasks}/{task}/status") as f:
                        yield int(next(line for line in f if line.startswith("voluntary")).split()[1])

    seen = sum(rounds())

    def went_round():
        m.write("beside/noise", "on a quiet machine nobody else wakes it\n")
        return sum(rounds()) > seen + 20

    wait_for("the reader", went_round)


@promise("a set that is new beside others misses nothing of what was just written where it begins")
def _(m):
    settled(m)
    if status(m)["watching"] != "fanotify":
        skip("there are no marks on file systems here")
    m.env["BACKUPD_FAILPOINTS"] = f"watch.begin=gate:{m.path('gate')}@1+"
    m.restart()
    settled(m)
    m.write("gate", "")
    m.write("young/f", "one\n")
    m.ctl("set", "create", "young", "--repo", "main", m.path("young"), "--no-automatic").expect(0)
    wait_for("the new watch", lambda: os.path.exists(m.path("gate.reached")))
    # The watch that goes has heard of this, and knows no such place.
    m.write("young/f", "two\n")
    goes_round(m)
    os.unlink(m.path("gate"))
    m.backup("young")
    wait_for("the watch", lambda: m.json("status", "young")["sets"][0]["tracking"] == "live")
    m.write("young/f", "three\n")
    m.backup("young")
    m.ctl("cat", m.path("young/f")).expect(0, "three")
    m.ctl("set", "remove", "young", "--yes").expect(0)
    del m.env["BACKUPD_FAILPOINTS"]
    m.restart()


@promise("a watch that ends with changes untold and no other to follow costs a comparison, not the daemon")
def _(m):
    settled(m)
    if status(m)["watching"] != "fanotify":
        skip("there are no marks on file systems here")
    m.env["BACKUPD_FAILPOINTS"] = f"watch.begin=gate:{m.path('gate')}@1+;watch.refuse=fail:{m.path('refused')}@1+"
    m.stop()
    m.write("gate", "")
    m.start()
    check(status(m)["tracking"] == "scanning", "before it has looked:", status(m))
    wait_for("the watch to begin", lambda: os.path.exists(m.path("gate.reached")))
    os.unlink(m.path("gate"))
    settled(m)
    os.unlink(m.path("gate.reached"))
    m.write("gate", "")
    os.makedirs(m.path("beside"), exist_ok=True)
    m.write("place-behind/task/f", "x")
    os.symlink(m.path("place-behind"), m.path("beside/link"))  # a path behind a link wants another watch
    m.write("refused", "")
    m.ctl("set", "create", "other", "--repo", "main", m.path("beside/link/task"), "--no-automatic").expect(0)
    wait_for("the new watch", lambda: os.path.exists(m.path("gate.reached")))

    m.write("src/a", "untold\n")
    goes_round(m)
    os.unlink(m.path("gate"))
    m.backup()
    check(m.daemon.poll() is None, "the daemon died")
    equal(status(m)["watching"], "scan")
    m.ctl("cat", m.path("src/a")).expect(0, "untold")
    m.ctl("set", "remove", "other", "--yes").expect(0)
    del m.env["BACKUPD_FAILPOINTS"]
    m.restart()
    settled(m)


@promise("words about tracking that make no sense are refused with file and line")
def _(m):
    file = m.write("config/backupd.toml", '[tracking]\nwatch = ["fanotfy"]\nscrub-period = "often"\n')
    reply = m.ctl("config", "check").expect(2)
    contains(reply.out + reply.err, file + ":2", 'did you mean "fanotify"', file + ":3", "often")
    os.unlink(file)
    m.ctl("config", "check").expect(0)


if __name__ == "__main__":
    main(fixture)
