#!/usr/bin/env python3
"""Power loss at N points of a daemon's life: repository, state and configuration lie on a disk that is built again as the cut left it.

    ./check powerloss [N]      default 300; root. A broken promise prints the point; --point RECORD:STATE --seed S repeats it

The workload: backups, one of them interrupted by kill -9, revisions forgotten, collections with the clock moved on, a restore. At each
point the daemon has to start by itself, every revision that was told complete (and not forgotten since) restores bit by bit,
restic check --read-data is clean, no job shows a wrong outcome, and the next run completes and is exact.
"""
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
from crash_disk import CannotTry, CrashDisk, Point  # noqa: E402
from machine import Machine, tree_diff  # noqa: E402
from promises import check, equal, options, parse, wait_for  # noqa: E402

GRACE = 25 * 3600


def machine(top, outside):
    """All that the daemon keeps is on the disk; sources are not, and neither are sockets."""
    m = Machine(directory=top)
    os.makedirs(os.path.join(outside, "run"), exist_ok=True)
    m.env["BACKUPD_CLOCK_STEP"] = os.path.join(outside, "clock")
    m.env["XDG_RUNTIME_DIR"] = os.path.join(outside, "run")
    m.address = "unix:path=" + os.path.join(outside, "bus")
    return m


def set_clock(outside, ahead):
    with open(os.path.join(outside, "clock.new"), "w") as f:
        f.write(str(ahead))
    os.replace(os.path.join(outside, "clock.new"), os.path.join(outside, "clock"))


def change(source, rnd, number):
    os.makedirs(f"{source}/d{number % 3}", exist_ok=True)
    for i in range(4):
        with open(f"{source}/d{number % 3}/f{rnd.randrange(12)}", "wb") as f:
            f.write(rnd.randbytes(rnd.randrange(1, 200_000)))
    with open(f"{source}/large", "wb") as f:
        f.write(rnd.randbytes(900_000))
    for name in os.listdir(f"{source}/d{number % 3}")[:1]:
        os.unlink(f"{source}/d{number % 3}/{name}")


def workload(m, mark, outside, rnd):
    source, references = os.path.join(outside, "src"), os.path.join(outside, "references")
    os.makedirs(source)
    os.makedirs(references)
    m.write("config/backupd.toml", '[engine]\npack-size = "4MiB"\ncheckpoint = "1MiB"\n')
    m.start()
    m.repository(cheap=True)
    path = "config/repositories.d/main.toml"
    m.write(path, m.read(path).decode() + 'collect = "off"\ntrash = "0s"\n')
    m.ctl("config", "reload").expect(0)
    m.set("home", source, extra=("--no-automatic", "--keep", "last=2 minimum=1"))
    subprocess.run(["sync", "-f", m.top], check=True)  # what the test itself has written
    mark("configured")

    def backup():
        result = m.backup()
        equal(result["outcome"], "complete")
        number = max(r["number"] for r in m.revisions())
        subprocess.run(["cp", "-a", source, f"{references}/{number}"], check=True)
        mark(f"complete {number}")

    for number in range(1, 8):
        change(source, rnd, number)
        if number == 4:
            client = m.ctl_spawn("run", "home", "--wait")
            time.sleep(0.15)
            m.kill()
            client.communicate(timeout=60)
            m.start()
        backup()
        if number % 3 == 0:
            for r in sorted(m.revisions(), key=lambda r: r["number"])[:-2]:
                mark(f"forgotten {r['number']}")
            m.ctl("forget", "--policy", "--set", "home", "--yes").expect(0)
            m.ctl("gc").expect(0)
            set_clock(outside, GRACE * number)
            m.ctl("gc").expect(0)
            mark("collected")
    m.ctl("restore", source, "--to", m.path("out")).expect(0)
    shutil.rmtree(m.path("out"))
    m.stop()


def judge(m, marks, outside):
    source = os.path.join(outside, "src")
    if "configured" not in marks:
        return "before there was anything"
    m.restic("check", "--read-data", "--no-lock").expect(0)
    m.start()
    wait_for("the journal to be settled", lambda: all(j["state"] == "done" for j in m.json("jobs")["jobs"]), seconds=10)
    for job in m.json("jobs")["jobs"]:
        check(job["outcome"] in ("complete", "interrupted", "cancelled"), job)
    there = {r["number"] for r in m.revisions()}
    forgotten = {int(w.split()[1]) for w in marks if w.startswith("forgotten")}
    promised = {int(w.split()[1]) for w in marks if w.startswith("complete")} - forgotten
    check(promised <= there, "told complete, and not there:", promised - there)
    out = os.path.join(outside, "out")
    for number in sorted(promised):
        shutil.rmtree(out, ignore_errors=True)
        m.ctl("restore", source, "--revision", f"home/{number}", "--to", out).expect(0)
        equal(tree_diff(f"{outside}/references/{number}", f"{out}/src", "--ignore-root"), [], f"home/{number}")
    result = m.backup()
    equal(result["outcome"], "complete")
    shutil.rmtree(out, ignore_errors=True)
    m.ctl("restore", source, "--to", out).expect(0)
    equal(tree_diff(source, f"{out}/src"), [], "after the next run")
    shutil.rmtree(out)
    m.restic("check").expect(0)
    return f"{len(promised)} revisions"


def main():
    parse(
        points=dict(nargs="?", type=int, default=300),
        **{"--seed": dict(type=int, default=1), "--point": dict()},
    )
    top = tempfile.mkdtemp(prefix="backupd-powerloss-")
    outside = os.path.join(top, "outside")
    os.makedirs(outside)
    set_clock(outside, 0)
    failed = passed = 0
    disk = None
    try:
        try:
            disk = CrashDisk(os.path.join(top, "disk"))
        except CannotTry as why:
            print(f"SKIP power loss: {why}")
            return 77
        with disk.recorded() as (mount, mark):
            m = machine(os.path.join(mount, "m"), outside)
            try:
                workload(m, mark, outside, random.Random(options.seed))
            except BaseException:
                m.explain()
                raise
            finally:
                m.stop()
                if m.bus:
                    m.bus.terminate()
                    m.bus.wait()
        print(f"recorded: {disk.counts()}", flush=True)
        points = disk.points(int(options.points), options.seed)
        if options.point:
            record, _, state = options.point.partition(":")
            points = [Point(int(record), state or "all")]
        for point in points:
            name = f"{point.record}:{point.state}"
            with disk.after_the_cut(point, options.seed) as (mount, marks):
                m = machine(os.path.join(mount, "m"), outside)
                try:
                    judge(m, marks, outside)
                    passed += 1
                except Exception as problem:
                    failed += 1
                    print(f"FAIL power loss at {name}, after {marks[-2:]}: {problem}", flush=True)
                    m.explain()
                finally:
                    m.stop()
                    if m.bus:
                        m.bus.terminate()
                        m.bus.wait()
            if (passed + failed) % 20 == 0:
                print(f"{passed + failed} of {len(points)}, {failed} failed", flush=True)
    finally:
        shutil.rmtree(top, ignore_errors=True)
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
