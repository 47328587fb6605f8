#!/usr/bin/env python3
"""kill -9 the daemon at N random moments of first backups, incremental runs, collections and restores.

    ./check kill [N]       default 40; a failing trial prints the command that repeats the run

After each kill: nothing half done is listed, restic check is clean at once, the daemon comes back by itself, no job shows a
wrong outcome, the next run completes, and what it makes is exact (so no change that was watched is lost). Every few kills: all
revisions that were ever told complete restore exactly, restic check --read-data is clean, and two collections a grace apart
leave no byte that nobody needs. The last lines say how many kills hit which phase.
"""
import collections
import os
import random
import shutil
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
from machine import Machine, tree_diff  # noqa: E402
from promises import check, equal, options, parse, wait_for  # noqa: E402

NASTY = os.path.join(HERE, "../support/nasty_tree.py")
KINDS = ("first", "incremental", "collection", "restore", "incremental", "sweep", "first", "restore")
GRACE = 25 * 3600


def listing(m, what):
    return {n for _, _, names in os.walk(m.path("repo", what)) for n in names if not n.startswith(".")}


def state_of(m):
    return {what: listing(m, what) for what in ("data", "index", "snapshots")}


def later(m, seconds):
    m.ahead += seconds
    m.set_clock(m.ahead)


def mutate(m, rnd):
    if rnd.random() < 0.3:
        subprocess.run(
            [sys.executable, NASTY, "mutate", m.path("src"), "--seed", str(rnd.randrange(1 << 30)), "--ops", "12"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    for _ in range(2):  # something that takes a while
        m.write(f"src/bulk{rnd.randrange(5)}", rnd.randbytes(rnd.randrange(1, 6) << 20))
    for i in range(6):
        name = f"src/small/{rnd.randrange(200)}"
        if not os.path.isdir(m.path(name)):  # the mutations above make directories anywhere
            m.write(name, rnd.randbytes(rnd.randrange(20_000)))


def kill_after(m, seconds, *args):
    """Runs a verb and kills the daemon after so long."""
    client = m.ctl_spawn("--json", *args)
    killer = threading.Timer(seconds, m.kill)
    killer.start()
    client.communicate(timeout=300)
    killer.join()
    return client.returncode


def timed(m, *args):
    begin = time.monotonic()
    m.ctl("--json", *args).expect(0)
    return time.monotonic() - begin


class Campaign:
    def __init__(self, m, seed):
        self.m, self.seed = m, seed
        self.rnd = random.Random(seed)
        self.references = {}  # (set, number): a copy of what the revision must restore to
        self.phases = collections.Counter()
        self.times = {}
        self.firsts = 0

    # ---- what must be

    def reference(self, name, source, number):
        copy = self.m.path(f"references/{name}-{number}")
        os.makedirs(os.path.dirname(copy), exist_ok=True)
        subprocess.run(["cp", "-a", "--reflink=auto", source, copy], check=True)
        self.references[name, number] = copy

    def restores_exactly(self, name, source, number=None):
        m = self.m
        shutil.rmtree(m.path("out"), ignore_errors=True)
        which = ("--revision", f"{name}/{number}") if number else ("--set", name)
        m.ctl("restore", source, *which, "--to", m.path("out")).expect(0)
        wanted = self.references[name, number] if number else source
        equal(tree_diff(wanted, m.path("out", os.path.basename(source)), "--ignore-root"), [], name, number)
        shutil.rmtree(m.path("out"))

    def source(self, name):
        return self.m.path("src" if name == "home" else name)

    def completes(self, name):
        """The next run, which must be exact without --full."""
        result = self.m.backup(name)
        check(result["outcome"] == "complete", result)
        number = max(r["number"] for r in self.m.revisions(name))
        self.reference(name, self.source(name), number)
        self.restores_exactly(name, self.source(name))
        return result

    def sweep_up(self):
        """All revisions there are, all bytes there are."""
        m = self.m
        for name in {n for n, _ in self.references}:
            there = {r["number"] for r in m.revisions(name)}
            for of, number in list(self.references):
                if of != name:
                    continue
                if number in there:
                    self.restores_exactly(name, self.source(name), number)
                else:  # forgotten by rule
                    shutil.rmtree(self.references.pop((of, number)), ignore_errors=True)
        m.restic("check", "--read-data").expect(0)
        for _ in range(3):  # mark; sweep, which may copy and mark; sweep that
            m.ctl("gc").expect(0)
            later(m, GRACE)
        m.ctl("gc").expect(0)
        a = m.json("audit")
        equal((a["orphan_bytes"], a["grace_bytes"]), (0, 0), "not gone in the first cycle after the grace:", a)
        equal(a["live_bytes"], a["listed_bytes"])
        m.restic("check").expect(0)

    # ---- one kill

    def prepare(self, kind, rnd):
        m = self.m
        if kind == "first":
            self.firsts += 1
            name = f"first{self.firsts}"
            for i in range(rnd.randrange(3, 30)):
                m.write(f"{name}/{i % 4}/{i}", rnd.randbytes(rnd.randrange(1, 1_500_000)))
            m.set(name, m.path(name), extra=("--no-automatic",))
            return name, ("run", name, "--wait"), "backup"
        if kind == "incremental":
            mutate(m, rnd)
            return "home", ("run", "home", "--wait"), "backup"
        if kind == "restore":
            shutil.rmtree(m.path("out"), ignore_errors=True)
            return "home", ("restore", m.path("src"), "--to", m.path("out")), "restore"
        m.ctl("forget", "--policy", "--set", "home", "--yes")
        if kind == "sweep":
            m.ctl("gc").expect(0)
            later(m, GRACE)
        return "home", ("gc",), "gc"

    def phase_of(self, kind, before, job, is_new):
        after = state_of(self.m)
        gone = {w: before[w] - after[w] for w in before}
        new = {w: after[w] - before[w] for w in before}
        if not is_new:
            return "before the job began"
        if job["outcome"] in ("complete", "exceptions"):
            return "after its end"
        if job["kind"] == "restore":
            out = self.m.path("out")
            files = sum(len(names) for _, _, names in os.walk(out)) if os.path.isdir(out) else 0
            return "while files were placed" if files else "before the first file"
        if job["kind"] == "gc":
            if gone["data"]:
                return "while packs were removed"
            if gone["index"]:
                return "while index files were removed"
            return "after new index files" if new["index"] else "before the first write"
        if new["snapshots"]:
            return "after the snapshot, before the end was recorded"
        if new["index"]:
            return "after an index file"
        return "while packs were stored" if new["data"] else "before the first pack"

    def trial(self, number, kind, rnd):
        m = self.m
        name, command, word = self.prepare(kind, rnd)
        jobs = {j["id"] for j in m.json("jobs")["jobs"]}
        known = {r["id"] for r in m.revisions(name)}
        before = state_of(m)
        most = self.times.get(kind, 0.5) * 1.1
        begin = time.monotonic()
        code = kill_after(m, rnd.random() * most, *command)
        took = time.monotonic() - begin
        if code == 0:  # it was over before: how long it takes changes with the load
            self.times[kind] = 0.7 * self.times.get(kind, took) + 0.3 * took
        m.restic("check", "--no-lock").expect(0)
        m.start()
        wait_for(
            "the daemon to settle its records",
            lambda: all(j["state"] == "done" for j in m.json("jobs")["jobs"]),
            seconds=5,
        )
        job = next((j for j in m.json("jobs")["jobs"] if j["kind"] == word), None)
        is_new = job is not None and job["id"] not in jobs
        new = {r["id"] for r in m.revisions(name)} - known
        self.phases[f"{kind}: {self.phase_of(kind, before, job, is_new)}"] += 1
        if is_new:
            check(job["outcome"] in ("complete", "exceptions", "interrupted"), job)
            if code == 0:
                equal(job["outcome"], "complete", "the client was told so")
        if is_new and word == "backup" and job["outcome"] == "complete":
            equal(len(new), 1, "a complete job without its revision")
        check(len(new) <= (1 if word == "backup" else 0), new)
        if new:
            numbers = [r["number"] for r in m.revisions(name) if r["id"] in new]
            self.reference(name, self.source(name), numbers[0])
        if kind == "restore":
            self.restore_goes_on()
        elif word == "gc":
            m.ctl("gc").expect(0)
            m.restic("check").expect(0)
        if word == "backup":
            self.completes(name)
        if kind == "first":  # forget it all, for room
            m.ctl("set", "remove", name, "--yes").expect(0)
            for r in [r for r in m.json("revisions", "--foreign")["revisions"] if r["set"] == name]:
                m.restic("forget", r["id"]).expect(0)
            shutil.rmtree(m.path(name))
            for key in [k for k in self.references if k[0] == name]:
                shutil.rmtree(self.references.pop(key))

    def restore_goes_on(self):
        m = self.m
        newest = max(n for of, n in self.references if of == "home")
        wanted = self.references["home", newest]
        if os.path.isdir(m.path("out/src")):
            differences = tree_diff(
                wanted, m.path("out/src"), "--no-mtime", "--no-owner", "--no-links", "--no-xattr", "--no-mode"
            )
            torn = [d for d in differences if d["what"] in ("sha256", "size", "target")]
            equal(torn, [], "half restored files stand under their own names")
        m.ctl("restore", m.path("src"), "--to", m.path("out"), "--on-conflict", "replace", "--yes").expect(0)
        equal(tree_diff(wanted, m.path("out/src"), "--ignore-root"), [])
        shutil.rmtree(m.path("out"))


def main():
    parse(trials=dict(nargs="?", type=int, default=40), **{"--seed": dict(type=int), "--every": dict(type=int, default=25)})
    trials = int(options.trials)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    print(f"seed {seed}", flush=True)
    m = Machine("kill")
    m.ahead, failed, done = 0, 0, 0
    try:
        m.env["BACKUPD_CLOCK_STEP"] = m.write("clock", "0")
        m.write("config/backupd.toml", '[engine]\npack-size = "4MiB"\ncheckpoint = "1MiB"\n')
        m.start()
        m.repository(cheap=True)
        path = "config/repositories.d/main.toml"
        m.write(path, m.read(path).decode() + 'collect = "off"\ntrash = "0s"\n')
        m.ctl("config", "reload").expect(0)
        subprocess.run([sys.executable, NASTY, "make", m.path("src"), "--no-special"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run([sys.executable, NASTY, "rm", m.path("src/deep")], check=True)
        os.unlink(m.path("src/xattrs/weird-name"))  # the format cannot hold it: every run would end with exceptions
        m.set("home", m.path("src"), extra=("--no-automatic", "--keep", "last=3 minimum=1"))
        c = Campaign(m, seed)
        c.completes("home")
        mutate(m, c.rnd)
        c.times["incremental"] = c.times["first"] = timed(m, "run", "home", "--wait")
        c.reference("home", m.path("src"), max(r["number"] for r in m.revisions()))
        c.times["restore"] = timed(m, "restore", m.path("src"), "--to", m.path("out"))
        c.times["collection"] = c.times["sweep"] = timed(m, "gc")
        for number in range(trials):
            kind = KINDS[number % len(KINDS)]
            try:
                c.trial(number, kind, random.Random(seed * 100_000 + number))
                done += 1
                if number % options.every == options.every - 1:
                    c.sweep_up()
                    print(f"{number + 1} of {trials}, {failed} failed", flush=True)
            except Exception as problem:
                failed += 1
                print(f"FAIL trial {number} ({kind}): {problem}\nto repeat: ./check kill {trials} --seed {seed}", flush=True)
                m.explain()
                if m.daemon.poll() is not None:
                    m.start()
        c.sweep_up()
        for phase, count in sorted(c.phases.items()):
            print(f"{count:5} {phase}")
        print(f"{sum(c.phases.values())} kills in {len(c.phases)} phases")
    finally:
        m.close()
    print(f"{done} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
