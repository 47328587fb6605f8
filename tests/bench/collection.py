#!/usr/bin/env python3
"""What collecting costs, beside `restic forget --prune` on a copy of the same repository.

    ./check bench-collection                     200 revisions of 150,000 files, half of them forgotten
    ./check bench-collection --files 15000 --revisions 40

Each revision changes 1 % of the files. Ours is forget, emptying the trash (which marks what nobody needs), and a day later, by
the seam of the clock, gc (which sweeps it): the sum of the three. Both repositories are checked by restic afterwards. The backup that is started
while a collection runs is compared with the one before it.
"""
import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, "..", "support"))
import promises  # noqa: E402
from compare import MIB, make_small, run, stored  # noqa: E402
from machine import Machine  # noqa: E402
from promises import check  # noqa: E402


def every_file(root):
    return [os.path.join(where, name) for where, _, names in os.walk(root) for name in names]


def change(files, count, tag):
    rnd = random.Random(tag)
    for path in rnd.sample(files, count):
        with open(path, "r+b") as f:
            f.seek(os.path.getsize(path) // 2)
            f.write(b"changed %d" % tag)


class Measured:
    """Our commands, one after the other: time, CPU of daemon and client, and the daemon's peak memory."""

    def __init__(self, m):
        self.m, self.seconds, self.cpu, self.peak = m, 0.0, 0.0, 0
        self.steps = []

    def __call__(self, *args):
        with open(f"/proc/{self.m.daemon.pid}/clear_refs", "w") as f:
            f.write("5")
        before = self.m.cpu_seconds()
        cost = run([self.m.backupctl, "--user", "--json", *args], self.m.env)
        self.steps.append(f"{args[0]} {cost.seconds:.2f} s")
        self.seconds += cost.seconds
        self.cpu += cost.cpu + self.m.cpu_seconds() - before
        self.peak = max(self.peak, self.m.peak_memory())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build-release")
    parser.add_argument("--files", type=int, default=150_000)
    parser.add_argument("--revisions", type=int, default=200)
    parser.add_argument("--dir", help="where to work (default: a temporary directory)")
    a = parser.parse_args()
    promises.options.build = os.path.abspath(a.build)
    top = tempfile.mkdtemp(prefix="backupd-collection-", dir=a.dir)
    m = Machine("collection", directory=os.path.join(top, "machine"))
    try:
        source = os.path.join(top, "source")
        make_small(source, a.files)
        m.env["BACKUPD_CLOCK_STEP"] = m.write("clock", "0")
        m.start()
        m.repository()
        m.write("config/repositories.d/main.toml", m.read("config/repositories.d/main.toml").decode() + 'collect = "off"\n')
        m.ctl("config", "reload").expect(0)
        half = a.revisions // 2
        m.set("home", source, extra=["--no-automatic", "--keep", f"last={half} minimum=1"])
        files = every_file(source)
        begin = time.monotonic()
        took = []
        for n in range(a.revisions):
            change(files, max(1, len(files) // 100), n)
            took.append(m.ctl("run", "home", "--wait").expect(0).seconds)
        print(f"{a.revisions} revisions in {time.monotonic() - begin:.0f} s, {stored(m.path('repo')) / MIB:.0f} MiB", flush=True)
        copy = os.path.join(top, "copy")
        shutil.copytree(m.path("repo"), copy)
        env = dict(
            os.environ,
            RESTIC_REPOSITORY=copy,
            RESTIC_PASSWORD_FILE=m.password_file,
            RESTIC_CACHE_DIR=os.path.join(top, "cache"),
        )
        run(["restic", "snapshots", "-q"], env)  # its cache has the small things, as from the backups before
        ours = Measured(m)
        os.sync()
        ours("forget", "--policy", "--yes")
        ours("trash", "empty", "--yes")
        m.write("clock", str(25 * 3600))
        ours("gc")
        theirs = run(["restic", "forget", "--prune", "-q", "--group-by", "host", "--keep-last", str(half)], env)
        print(f"  backupd {ours.seconds:7.2f} s {ours.cpu:7.2f} s cpu {ours.peak / MIB:6.0f} MiB, {stored(m.path('repo')) / MIB:.0f} MiB left ({', '.join(ours.steps)})")
        print(f"  restic  {theirs.seconds:7.2f} s {theirs.cpu:7.2f} s cpu {theirs.peak / MIB:6.0f} MiB, {stored(copy) / MIB:.0f} MiB left")
        print(f"  ==> collecting, as fast as restic: {theirs.seconds / ours.seconds:.1f}x, with {ours.peak / theirs.peak:.2f} of its memory   [to reach: more than 1x, at most 1.00]")
        env["RESTIC_REPOSITORY"] = m.path("repo")
        for repo in (m.path("repo"), copy):
            env["RESTIC_REPOSITORY"] = repo
            run(["restic", "check", "-q", "--no-cache"], env)
            listed = subprocess.run(["restic", "snapshots", "--json", "--no-cache"], env=env, capture_output=True, text=True, check=True)
            check(listed.stdout.count('"short_id"') == half, "not as many snapshots as wanted")
        beside(m, files, took, half)
    finally:
        m.close()
        subprocess.run(["rm", "-rf", top])
    return 0


def beside(m, files, took, half):
    """A backup that is started while a collection runs."""
    for n in range(half // 2, half):
        change(files, max(1, len(files) // 100), 10_000 + n)
        m.ctl("run", "home", "--wait").expect(0)
    m.ctl("forget", "--policy", "--yes").expect(0)
    change(files, max(1, len(files) // 100), 99_999)
    gc = m.ctl_spawn("trash", "empty", "--yes")
    time.sleep(0.05)
    run_seconds = m.ctl("run", "home", "--wait").expect(0).seconds
    is_over = gc.poll() is not None
    gc.communicate()
    check(gc.returncode == 0, "the collection failed")
    alone = statistics.median(took[len(took) // 2 :])
    print(f"  ==> a backup while a collection runs: {run_seconds * 1000:.0f} ms, alone {alone * 1000:.0f} ms (the collection was {'over' if is_over else 'still at it'} when it ended)")


if __name__ == "__main__":
    sys.exit(main())
