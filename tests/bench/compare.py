#!/usr/bin/env python3
"""backupd beside restic and borg: the same trees, the same machine, the same hour.

    ./check bench                                everything at full scale (an hour or so)
    ./check bench --scale 0.1 --runs 3           a tenth of it, in minutes
    ./check bench --only 'small/(first|unchanged)' --tools backupd,restic

Rounds alternate between the tools; the table shows medians. Times include a sync. backupd is measured through backupctl, its
memory is the peak of the daemon (VmHWM, reset before each step), its CPU that of daemon and client. restic keeps its cache
as it does by default; borg compresses with zstd,3 as the others do. A ratio above 1 means that backupd is better.
"""
import argparse
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
import promises  # noqa: E402
from machine import Machine  # noqa: E402

MIB, GIB = 1 << 20, 1 << 30

# work -> how many times faster than restic it has to be; measured as promises of the product
TARGETS = {
    "small/first": 3.5,
    "small/first-cold": 2.5,
    "mixed/first": 1.6,
    "mixed/first-cold": 1.6,
    "sparse/first": 1.6,
    "small/unchanged": 10,
    "many/unchanged": 10,
    "small/restore-cold": 2.2,
    "mixed/restore-cold": 1.2,
    "sparse/restore-cold": 3,
    "mixed/check": 1.5,
}


# ---- trees ---------------------------------------------------------------------------------------
WORDS = (
    "the of and to in is that for it with as was on be by this are from or an not have which one at we but all can has more "
    "return static const struct include void int char if else while switch break error buffer length offset value"
).split()


def text(rnd, size):
    out, n = [], 0
    while n < size:
        word = rnd.choice(WORDS) if rnd.random() < 0.8 else "%x" % rnd.getrandbits(40)
        out.append(word)
        n += len(word) + 1
    return " ".join(out).encode()[:size]


def make_small(root, files):
    rnd = random.Random(1)
    pool = text(rnd, 4 * MIB)
    for i in range(files):
        if i % 100 == 0:
            directory = os.path.join(root, f"{i // 10000:03}", f"{i // 100 % 100:02}")
            os.makedirs(directory)
        size = min(int(rnd.expovariate(1 / 3000)) + 1, 40000)
        at = rnd.randrange(len(pool) - size)
        with open(os.path.join(directory, f"file{i % 100:02}.txt"), "wb") as f:
            f.write(b"%d\n" % i + pool[at : at + size])


def make_mixed(root, size):
    """A third incompressible, a third text, a third programs and libraries of this machine."""
    rnd = random.Random(2)
    os.makedirs(root + "/media")
    os.makedirs(root + "/text")
    os.makedirs(root + "/programs")
    left, i = size // 3, 0
    while left > 0:
        n = min(left, rnd.choice([200_000, 3 * MIB, 12 * MIB, 90 * MIB]))
        with open(f"{root}/media/{i:05}.jpg", "wb") as f:
            for at in range(0, n, 8 * MIB):
                f.write(os.urandom(min(8 * MIB, n - at)))
        left, i = left - n, i + 1
    pool = text(rnd, 24 * MIB)
    left, i = size // 3, 0
    while left > 0:
        n = min(left, rnd.choice([10_000, 200_000, 4 * MIB]))
        at = rnd.randrange(max(1, len(pool) - n))
        with open(f"{root}/text/{i:05}.log", "wb") as f:
            f.write(b"%d\n" % rnd.getrandbits(60) + pool[at : at + n])
        left, i = left - n, i + 1
    left, i = size // 3, 0
    while left > 0:
        progress = left
        for base in ("/usr/lib/x86_64-linux-gnu", "/usr/lib", "/usr/bin"):
            for where, _, names in os.walk(base):
                for name in names:
                    path = os.path.join(where, name)
                    if left > 0 and os.path.isfile(path) and not os.path.islink(path) and 20_000 < os.path.getsize(path):
                        with open(path, "rb") as source, open(f"{root}/programs/{i:06}", "wb") as f:
                            f.write(b"%d" % (i if progress != size // 3 else 0))  # a second round is new content
                            shutil.copyfileobj(source, f)
                        left, i = left - os.path.getsize(path), i + 1
        if progress == left:
            break


def make_sparse(root, size):
    os.makedirs(root)
    with open(root + "/disk.img", "wb") as f:
        f.truncate(size)
        pieces, piece = 64, size // 4 // 64
        for i in range(pieces):
            f.seek(i * (size // pieces))
            for at in range(0, piece, 8 * MIB):
                f.write(os.urandom(min(8 * MIB, piece - at)))


def change_ten(root, tag):
    files = []
    for where, dirs, names in os.walk(root):
        dirs.sort()
        files += [os.path.join(where, n) for n in sorted(names)]
        if len(files) > 5000:
            break
    rnd = random.Random(tag)
    for path in rnd.sample(files, min(10, len(files))):
        with open(path, "r+b") as f:
            f.seek(os.path.getsize(path) // 2)
            f.write(b"changed %d" % tag)


# ---- tools ---------------------------------------------------------------------------------------
class Cost:
    def __init__(self, seconds, cpu, peak, said=""):
        self.seconds, self.cpu, self.peak, self.said = seconds, cpu, peak, said


def run(argv, env, cwd=None):
    """One command and a sync; time, CPU and peak memory of the command."""
    with tempfile.TemporaryFile() as out:
        begin = time.monotonic()
        p = subprocess.Popen(argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        peak, done = 0, 0
        while not done:  # not ru_maxrss: that starts with the memory of the process that forked
            try:
                with open(f"/proc/{p.pid}/status") as f:
                    peak = max(peak, next((int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM:")), 0))
            except OSError:
                pass
            time.sleep(0.004)
            done, status, usage = os.wait4(p.pid, os.WNOHANG)
        p.returncode = os.waitstatus_to_exitcode(status)
        os.sync()
        seconds = time.monotonic() - begin
        out.seek(0)
        said = out.read().decode("utf-8", "replace")
    if p.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)} ended with {p.returncode}:\n{said[-3000:]}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, peak, said)


class Backupd:
    name = "backupd"

    def __init__(self, work):
        self.m = Machine("bench", directory=os.path.join(work, "backupd"))
        self.m.start()
        self.m.repository()
        self.repo = self.m.path("repo")

    def measured(self, *args):
        with open(f"/proc/{self.m.daemon.pid}/clear_refs", "w") as f:
            f.write("5")  # the peak starts anew
        before = self.m.cpu_seconds()
        cost = run([self.m.backupctl, "--user", "--json", *args], self.m.env)
        cost.cpu += self.m.cpu_seconds() - before
        cost.peak = self.m.peak_memory()
        return cost

    def first(self, source):
        self.m.set("bench", source)
        return self.measured("run", "bench", "--wait")

    def again(self, source):
        return self.measured("run", "bench", "--wait")

    def restore(self, source, target):
        return self.measured("restore", source, "--to", target)

    def check(self):
        return self.measured("verify", "--data", "all")

    def close(self):
        self.m.close()


class Restic:
    name = "restic"

    def __init__(self, work):
        self.repo = os.path.join(work, "restic", "repo")
        os.makedirs(self.repo)
        self.env = dict(os.environ, RESTIC_REPOSITORY=self.repo, RESTIC_PASSWORD="secret", RESTIC_PROGRESS_FPS="0.001")
        self.env["RESTIC_CACHE_DIR"] = os.path.join(work, "restic", "cache")
        run(["restic", "init"], self.env)

    def first(self, source):
        return run(["restic", "backup", "-q", source], self.env)

    again = first

    def restore(self, source, target):
        return run(["restic", "restore", "-q", "latest", "--target", target], self.env)

    def check(self):
        return run(["restic", "check", "-q", "--read-data"], self.env)

    def close(self):
        pass


class Borg:
    name = "borg"

    def __init__(self, work):
        self.repo = os.path.join(work, "borg", "repo")
        os.makedirs(os.path.dirname(self.repo))
        self.env = dict(os.environ, BORG_REPO=self.repo, BORG_PASSPHRASE="secret", BORG_BASE_DIR=os.path.join(work, "borg"))
        self.count = 0
        run(["borg", "init", "-e", "repokey"], self.env)

    def first(self, source):
        self.count += 1
        return run(["borg", "create", "--compression", "zstd,3", f"::a{self.count}", source], self.env)

    again = first

    def restore(self, source, target):
        os.makedirs(target, exist_ok=True)
        return run(["borg", "extract", "--sparse", f"::a{self.count}"], self.env, cwd=target)

    def check(self):
        return run(["borg", "check", "--verify-data"], self.env)

    def close(self):
        pass


class Floor:
    """A bare program that reads, cuts, hashes, compresses, seals and writes, and does nothing else; for restores, one that copies."""

    name = "floor"

    def __init__(self, work):
        self.repo = os.path.join(work, "floor")
        os.makedirs(self.repo)

    def first(self, source):
        threads = str(os.cpu_count() or 2)
        return run([os.path.join(promises.options.build, "tests/bench/bench_floor"), source, self.repo, threads], dict(os.environ))

    def restore(self, source, target):
        threads = str(os.cpu_count() or 2)
        return run([os.path.join(promises.options.build, "tests/bench/bare_programs"), "copy", source, target, threads], dict(os.environ))

    def close(self):
        pass


TOOLS = {t.name: t for t in (Backupd, Restic, Borg, Floor)}


def stored(path):
    return sum(os.lstat(os.path.join(b, n)).st_size for b, _, names in os.walk(path) for n in names)


def warm(path):
    for where, _, names in os.walk(path):
        for name in names:
            with open(os.path.join(where, name), "rb", 0) as f:
                while f.read(4 * MIB):
                    pass


def drop_caches():
    os.sync()
    try:
        with open("/proc/sys/vm/drop_caches", "w") as f:
            f.write("3")
        return True
    except OSError:
        return False


# ---- the run -------------------------------------------------------------------------------------
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build-release")
    parser.add_argument("--scale", type=float, default=1.0, help="1: 150,000 small files, 4 GiB mixed, an 8 GiB sparse image")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", default="", help="regex over work/step, such as 'small/first'")
    parser.add_argument("--tools", default="backupd,restic,borg,floor")
    parser.add_argument("--many", action="store_true", help="also 1,500,000 small files (unchanged only)")
    parser.add_argument("--dir", help="where to work (default: a temporary directory)")
    parser.add_argument("--json", help="write all measurements to this file")
    a = parser.parse_args()
    promises.options.build = os.path.abspath(a.build)
    tools = [t for t in a.tools.split(",") if t in ("backupd", "floor") or shutil.which(t)]
    missing = sorted(set(a.tools.split(",")) - set(tools))
    if missing:
        print("not installed, left out:", ", ".join(missing))
    top = tempfile.mkdtemp(prefix="backupd-bench-", dir=a.dir)
    works = {
        "small": (
            lambda d: make_small(d, int(150_000 * a.scale)),
            ["first", "unchanged", "changes", "restore-cold", "check", "first-cold"],
        ),
        "mixed": (lambda d: make_mixed(d, int(4 * GIB * a.scale)), ["first", "unchanged", "restore-cold", "check", "first-cold"]),
        "sparse": (lambda d: make_sparse(d, int(8 * GIB * a.scale)), ["first", "restore-cold"]),
    }
    if a.many:
        works["many"] = (lambda d: make_small(d, int(1_500_000 * a.scale)), ["first", "unchanged", "changes"])
    results = {}
    wanted = lambda row: re.search(a.only, row) is not None
    try:
        for work, (make, steps) in works.items():
            rows = [f"{work}/{s}" for s in steps if wanted(f"{work}/{s}")]
            if not rows:
                continue
            source = os.path.join(top, "source")
            print(f"making the {work} tree ...", flush=True)
            make(source)
            for number in range(a.runs):
                order = tools[number % len(tools) :] + tools[: number % len(tools)]
                for name in order:
                    measure(work, steps, rows, name, number, top, source, results)
            show(work, steps, rows, tools, results)
            subprocess.run(["rm", "-rf", source, os.path.join(top, "restored")], check=True)
        if a.json:
            with open(a.json, "w") as f:
                json.dump({f"{r} {t}": [vars(c) for c in v] for (r, t), v in results.items()}, f, indent=1, default=str)
    finally:
        subprocess.run(["rm", "-rf", top])
    return 0


def measure(work, steps, rows, name, number, top, source, results):
    place = os.path.join(top, "tool")

    def note(step, cost, tool=None):
        row = f"{work}/{step}"
        cost.stored = stored(tool.repo) if tool else 0
        cost.said = ""
        results.setdefault((row, name), []).append(cost)
        print(f"  {row:20} {name:8} {cost.seconds:8.2f} s  {cost.cpu:8.2f} s cpu  {cost.peak / MIB:6.0f} MiB", flush=True)

    subprocess.run(["rm", "-rf", place], check=True)
    os.mkdir(place)
    tool = TOOLS[name](place)
    try:
        warm(source)
        os.sync()
        note("first", tool.first(source), tool)
        for step in steps[1:]:
            row = f"{work}/{step}"
            if row not in rows or (name == "floor" and not (step.startswith("first") or row == "small/restore-cold")):
                continue
            if step == "unchanged":
                note(step, tool.again(source), tool)
            elif step == "changes":
                change_ten(source, hash((number, name)) & 0xFFFF)
                note(step, tool.again(source), tool)
            elif step == "restore-cold":
                target = os.path.join(top, "restored", f"{name}-{number}")
                os.makedirs(target)
                if not drop_caches():
                    print("  (caches cannot be dropped here: restore measured warm)")
                note(step, tool.restore(source, target))
                if work != "small":  # few files; many go at the series' end, for ext4 creates slowly after a big delete
                    subprocess.run(["rm", "-rf", target], check=True)
            elif step == "check":
                note(step, tool.check())
            elif step == "first-cold":
                tool.close()
                subprocess.run(["rm", "-rf", place], check=True)
                os.mkdir(place)
                tool = TOOLS[name](place)
                if drop_caches():
                    note(step, tool.first(source), tool)
                else:
                    print("  (caches cannot be dropped here: no cold run)")
    finally:
        tool.close()
        subprocess.run(["rm", "-rf", place])


def show(work, steps, rows, tools, results):
    print(f"\n{work:22}{'':9}{'time':>9}{'cpu':>9}{'peak':>9}{'stored':>10}   backupd is")
    for step in steps:
        row = f"{work}/{step}"
        if not results.get((row, tools[0])):
            continue
        ours = results.get((row, "backupd"))
        for name in tools:
            costs = results.get((row, name))
            if not costs:
                continue
            seconds, cpu, peak, size = (
                statistics.median(getattr(c, k) for c in costs) for k in ("seconds", "cpu", "peak", "stored")
            )
            told = ""
            if ours and name != "backupd":
                our = [statistics.median(getattr(c, k) for c in ours) for k in ("seconds", "cpu", "peak", "stored")]
                told = f"{seconds / our[0]:.1f}x as fast, {our[2] / peak:.2f} of its memory"
                if size:
                    told += f", {our[3] / size:.2f} of its bytes"
                if name == "restic" and row in TARGETS:
                    told += f"   [to reach: {TARGETS[row]}x{'' if seconds / our[0] >= TARGETS[row] else ' - NOT REACHED'}]"
                if name == "restic" and our[2] >= peak:
                    told += "   [memory ABOVE restic's]"
            stored_text = f"{size / MIB:7.0f}MiB" if size else ""
            print(
                f"  {step if name == tools[0] else '':20}{name:9}{seconds:8.2f}s{cpu:8.2f}s{peak / MIB:6.0f}MiB{stored_text:>10}   {told}"
            )
    print(flush=True)


if __name__ == "__main__":
    sys.exit(main())
