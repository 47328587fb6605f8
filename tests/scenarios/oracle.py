#!/usr/bin/env python3
"""The oracle: writers of many kinds change a tree at random while the daemon is killed, restarted, remounted under, loses
events, and its clock jumps. After quiet and one run the restored tree must be the live one, bytes and metadata, every round; missed must be 0.

    oracle.py --seconds 600 --fs ext4,tmpfs --watch fanotify,inotify --seed 7
"""
import argparse
import ctypes
import mmap
import os
import random
import shutil
import subprocess
import sys
import threading
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "support"), HERE]
import promises  # noqa: E402
from promises import Skip, check  # noqa: E402


SCRUB = 5  # seconds for a pass


class Writer(threading.Thread):
    """Changes the tree at random; whatever another writer has taken away meanwhile is no matter."""

    def __init__(self, t, seed, operations):
        super().__init__()
        # inotify tells nobody that a file got another name out of sight, or had one between two runs.
        self.kinds = [k for k in self.KINDS if k != "link" or t.watch != "inotify"]
        self.t, self.random, self.operations, self.open, self.done = t, random.Random(seed), operations, {}, 0

    def run(self):
        for _ in range(self.operations):
            try:
                getattr(self, self.random.choice(self.kinds))()
            except (OSError, ValueError):
                pass
            self.done += 1
        for fd in self.open.values():
            os.close(fd)

    def directory(self, outside=0.1):
        top = self.t.outside if self.random.random() < outside else self.t.src
        place = top
        while self.random.random() < 0.7:
            below = [e.path for e in os.scandir(place) if e.is_dir(follow_symlinks=False)]
            if not below:
                break
            place = self.random.choice(below)
        return place

    def file(self, outside=0.1):
        place = self.directory(outside)
        files = [e.path for e in os.scandir(place) if e.is_file(follow_symlinks=False)]
        return self.random.choice(files) if files else os.path.join(place, self.some_name())

    def some_name(self):
        return f"n{self.random.randrange(40)}"

    def data(self):
        return os.urandom(self.random.choice((0, 1, 10, 1000, 5000, 600_000)))

    def create(self):
        with open(os.path.join(self.directory(), self.some_name()), "wb") as f:
            f.write(self.data())

    def append(self):
        with open(self.file(), "ab") as f:
            f.write(self.data())

    def overwrite(self):
        path = self.file()
        before = os.stat(path)
        with open(path, "r+b") as f:
            f.seek(self.random.randrange(before.st_size + 1))
            f.write(b"same size?"[: max(0, before.st_size - f.tell())])
        if self.random.random() < 0.3:
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def truncate(self):
        os.truncate(self.file(), self.random.choice((0, 5, 5000)))

    def hold(self):
        path = self.file(0)
        if len(self.open) < 4 and path not in self.open:
            self.open[path] = os.open(path, os.O_WRONLY)

    def held_write(self):
        if self.open:
            os.pwrite(self.random.choice(list(self.open.values())), self.data(), self.random.randrange(2000))

    def let_go(self):
        if self.open:
            os.close(self.open.popitem()[1])

    def mapped(self):
        with open(self.file(0), "r+b") as f, mmap.mmap(f.fileno(), 0) as m, open("/proc/self/mem", "r+b", buffering=0) as memory:
            byte = ctypes.c_char.from_buffer(m)
            try:
                # Another writer may have truncated it: an error here, where a plain store would be the end of all of us.
                at = ctypes.addressof(byte) + self.random.randrange(len(m))
                os.pwrite(memory.fileno(), bytes([self.random.randrange(256)]), at)
            finally:
                del byte

    def unlink(self):
        os.unlink(self.file())

    def mkdir(self):
        os.makedirs(os.path.join(self.directory(), self.some_name(), self.some_name()))

    def rmtree(self):
        place = self.directory()
        if place not in (self.t.src, self.t.outside) and self.random.random() < 0.4:
            shutil.rmtree(place, ignore_errors=True)

    def rename_file(self):
        os.rename(self.file(), os.path.join(self.directory(), self.some_name()))

    def rename_directory(self):
        place = self.directory(0.25)
        if place not in (self.t.src, self.t.outside):
            os.rename(place, os.path.join(self.directory(0.25), self.some_name()))

    def link(self, outside=0.1):
        os.link(self.file(outside), os.path.join(self.directory(outside), self.some_name()))

    def link_some(self):
        """Before a run, which sees that these files have several names."""
        for _ in range(3):
            try:
                self.link(outside=0)
            except OSError:
                pass

    def symlink(self):
        os.symlink(self.some_name(), os.path.join(self.directory(), self.some_name()))

    def chmod(self):
        os.chmod(self.random.choice((self.file, self.directory))(), self.random.choice((0o600, 0o644, 0o700, 0o755)) | 0o100)

    def xattr(self):
        os.setxattr(self.file(), "user.n", str(self.random.random()).encode())

    def save(self):
        path = self.file()
        with open(path + ".tmp", "wb") as f:
            f.write(self.data())
        os.rename(path + ".tmp", path)

    def again(self):
        place = os.path.join(self.directory(), self.some_name())
        os.mkdir(place)
        os.rmdir(place)
        os.mkdir(place)

    KINDS = ("create create append append overwrite overwrite truncate hold held_write held_write let_go mapped unlink mkdir mkdir rmtree "
             "rename_file rename_file rename_directory rename_directory link symlink chmod xattr save save again").split()


def disturb(t, chance, log):
    """What happens to the daemon and the file system while the writers work."""
    what = chance.random()
    if what < 0.15:
        t.m.kill()
        time.sleep(chance.random() * 0.2)
        t.m.start()
        log.append("kill")
    elif what < 0.25:
        t.m.restart()
        log.append("restart")
    elif what < 0.45:
        t.m.ctl("run", "home", "--wait")
        log.append("run")
    elif what < 0.55:
        # Days back and forth; the machine's own clock stays.
        t.m.write("clock", str(chance.choice((0, 1, -1, 3600, -3600, 3 * 86400, -3 * 86400))))
        log.append("clock step")


def overflows(t):
    with open(t.m.log, errors="replace") as f:
        return sum("overflowed (failpoint)" in line for line in f)


def explained(t, log):
    """What is needed to understand a failure, before all of it is removed."""
    try:
        print("--- this round:", log, "\n---", t.status(), file=sys.stderr)
    except Exception as problem:
        print("--- no status:", problem, file=sys.stderr)
    t.m.explain()


def rounds(kind, watch, seconds, seed, totals):
    from tracked import Tracked

    end = time.monotonic() + seconds
    chance = random.Random(seed)
    with Tracked(kind, watch, census="1s", scrub=f"{SCRUB}s", environment={"BACKUPD_FAILPOINTS": f"events.lost=fail@{chance.randrange(3, 30)}"}) as t:
        t.write("plain/f")
        t.m.env["BACKUPD_CLOCK_STEP"] = t.m.write("clock", "0")
        t.m.restart()
        t.protect()
        count, log = 0, []
        try:
            while time.monotonic() < end:
                log = []
                writers = [Writer(t, chance.random(), chance.randrange(20, 300)) for _ in range(chance.randrange(1, 4))]
                for w in writers:
                    w.start()
                while any(w.is_alive() for w in writers):
                    disturb(t, chance, log)
                    time.sleep(chance.random() * 0.1)
                for w in writers:
                    w.join()
                if watch == "inotify":
                    writers[0].link_some()
                if chance.random() < 0.1 and kind != "tmpfs":
                    t.volume.unmount()
                    if chance.random() < 0.5:
                        t.m.ctl("run", "home", "--wait")
                    t.volume.mount()
                    t.write("after-remount", os.urandom(10))
                    log.append("remount")
                if chance.random() < 0.7:
                    t.live()
                t.run()
                t.same()
                count += 1
                totals["rounds"] += 1
                totals["operations"] += sum(w.done for w in writers)
                for word in log:
                    totals[word] = totals.get(word, 0) + 1
                if sum(len(f) for _, _, f in os.walk(t.src)) > 2000:
                    for name in os.listdir(t.src):
                        shutil.rmtree(t.path(name), ignore_errors=True)
                    t.write("plain/f")
        except Exception:
            explained(t, log)
            raise
        finally:
            totals["forced overflow"] += overflows(t)
        # One pass of the scrubber over what is quiet now, and the time that it gives a suspect.
        time.sleep(3 * SCRUB + 6)
        # In the log, because a killed daemon counts anew.
        with open(t.m.log, errors="replace") as f:
            missed = [line for line in f if "was missed" in line or "missed in set" in line]
        totals["missed"] += len(missed)
        check(not missed and t.status()["missed_changes"] == 0, f"{len(missed)} changes were missed: {missed[:3]}")
    return count


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.environ.get("BACKUPD_BUILD", "build"))
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--fs", default="tmpfs,ext4,xfs,btrfs")
    parser.add_argument("--watch", default="fanotify,inotify")
    parser.add_argument("--seed", type=int, default=None)
    a = parser.parse_args()
    vars(promises.options).update(build=os.path.abspath(a.build), keep=False)
    seed = a.seed if a.seed is not None else random.randrange(1 << 30)
    pairs = [(k, w) for k in a.fs.split(",") for w in a.watch.split(",")]
    words = ("rounds", "operations", "run", "kill", "restart", "remount", "forced overflow", "clock step", "missed")
    totals, failed = dict.fromkeys(words, 0), 0
    for i, (kind, watch) in enumerate(pairs):
        try:
            count = rounds(kind, watch, a.seconds / len(pairs), seed + i, totals)
            print(f"PASS {kind} {watch}: {count} rounds, each equal (seed {seed + i})", flush=True)
        except Skip as reason:
            print(f"SKIP {kind} {watch}: {reason}", flush=True)
        except Exception as problem:
            failed += 1
            print(f"FAIL {kind} {watch} (seed {seed + i}): {str(problem)[:2000]}", flush=True)
            traceback.print_exc(limit=-3)
    print(", ".join(f"{n} {word}" for word, n in totals.items()))
    sys.exit(1 if failed else 0 if totals["rounds"] else 77)


if __name__ == "__main__":
    main()
