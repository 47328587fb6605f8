"""A disk that can be built again as a power cut would have left it, at any moment of what was done with it.

    disk = CrashDisk(directory, megabytes=96)
    with disk.recorded() as (mount, mark):      # a new ext4; every block write is kept
        ...; mark("revision 3 is complete")      # a promise that must hold from here on
    for point in disk.points(300, seed=1):
        with disk.after_the_cut(point) as (mount, marks):   # mounted, its journal replayed; promises made before the cut
            ...

A cut leaves one of three states: *all* writes up to a moment; *flushed*, those alone that a flush had made safe; *some*, the flushed and
a random part of the later ones, long writes torn at 4 KiB. Needs root, loop devices, FUSE, cc; CannotTry says what is missing.
"""
import collections
import contextlib
import os
import random
import shutil
import struct
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
RECORD = struct.Struct("<4sIQQ")
Record = collections.namedtuple("Record", "kind offset span at length")
Point = collections.namedtuple("Point", "record state")


class CannotTry(Exception):
    pass


def run(*argv):
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def unmount(where):
    for _ in range(100):
        if subprocess.run(["umount", where], stderr=subprocess.DEVNULL).returncode == 0:
            return
        time.sleep(0.1)
    subprocess.run(["umount", "-l", where], stderr=subprocess.DEVNULL)


class CrashDisk:
    def __init__(self, directory, megabytes=96):
        if os.geteuid() != 0:
            raise CannotTry("needs root, for loop devices")
        for device in ("/dev/fuse", "/dev/loop-control"):
            if not os.path.exists(device):
                raise CannotTry("there is no " + device)
        self.top = directory
        self.mount = self.path("mount")
        os.makedirs(self.mount)
        os.makedirs(self.path("fuse"))
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", "fuse3"], capture_output=True, text=True)
        program = ["cc", "-O1", "-o", self.path("crash_disk"), os.path.join(HERE, "crash_disk.c"), *flags.stdout.split()]
        if flags.returncode or subprocess.run(program).returncode:
            raise CannotTry("crash_disk.c cannot be built: cc, libfuse3-dev")
        with open(self.path("disk"), "wb") as f:
            f.truncate(megabytes << 20)
        run("mkfs.ext4", "-q", "-F", "-m", "0", self.path("disk"))
        run("cp", "--sparse=always", self.path("disk"), self.path("base"))

    def path(self, name):
        return os.path.join(self.top, name)

    def mark(self, text):
        with open(self.path("fuse/mark"), "w") as f:
            f.write(text + "\n")

    @contextlib.contextmanager
    def recorded(self):
        fuse = subprocess.Popen([self.path("crash_disk"), self.path("disk"), self.path("log"), self.path("fuse")])
        loop = None
        try:
            for _ in range(200):
                if os.path.exists(self.path("fuse/disk")):
                    break
                time.sleep(0.05)
            else:
                raise CannotTry("FUSE does not mount")
            loop = run("losetup", "-f", "--show", self.path("fuse/disk"))
            run("mount", loop, self.mount)
            try:
                yield self.mount, self.mark
            finally:
                unmount(self.mount)
        finally:
            if loop:
                subprocess.run(["losetup", "-d", loop])
            time.sleep(0.2)
            subprocess.run(["fusermount3", "-u", self.path("fuse")], stderr=subprocess.DEVNULL)
            try:
                fuse.wait(10)
            except subprocess.TimeoutExpired:
                fuse.kill()
                fuse.wait()
        self.records = list(self.read_log())

    def read_log(self):
        with open(self.path("log"), "rb") as f:
            while len(head := f.read(RECORD.size)) == RECORD.size:
                kind, length, offset, span = RECORD.unpack(head)
                yield Record(chr(kind[0]), offset, span, f.tell(), length)
                f.seek(length, os.SEEK_CUR)

    def counts(self):
        return dict(collections.Counter(r.kind for r in self.records))

    def points(self, count, seed):
        """Right before and after flushes, right after promises, and anywhere; in the order of time."""
        rnd = random.Random(seed)
        last = len(self.records)
        near = {i + d for i, r in enumerate(self.records) if r.kind == "F" for d in (0, 1)}
        near |= {i + 1 for i, r in enumerate(self.records) if r.kind == "M"} | {last}
        near = set(rnd.sample(sorted(near), min(len(near), count // 2)))
        while len(near) < min(count, last):
            near.add(rnd.randrange(last + 1))
        return [Point(k, rnd.choice(("all", "flushed", "some", "some"))) for k in sorted(near)]

    def put(self, image, log, record, most=None):
        if record.kind == "W":
            log.seek(record.at)
            data = log.read(record.length)
            image.seek(record.offset)
            image.write(data[:most])
        elif record.kind == "D":
            image.seek(record.offset)
            left = record.span
            while left > 0:
                left -= image.write(bytes(min(left, 1 << 20)))

    def build(self, point, seed):
        """The image after the cut, and the promises before it. Points must not go back in time."""
        flushed = max((i + 1 for i, r in enumerate(self.records[: point.record]) if r.kind == "F"), default=0)
        with open(self.path("log"), "rb") as log:
            if not hasattr(self, "built"):
                run("cp", "--sparse=always", self.path("base"), self.path("safe"))
                self.built = 0
            with open(self.path("safe"), "r+b", buffering=0) as safe:
                for record in self.records[self.built : flushed]:
                    self.put(safe, log, record)
            self.built = max(self.built, flushed)
            run("cp", "--sparse=always", self.path("safe"), self.path("try"))
            rnd = random.Random(f"{seed}.{point.record}")
            with open(self.path("try"), "r+b", buffering=0) as image:
                for record in self.records[flushed : point.record]:
                    if record.kind not in "WD":
                        continue
                    luck = 0.0 if point.state == "all" else 1.0 if point.state == "flushed" else rnd.random()
                    if luck < 0.5:
                        self.put(image, log, record)
                    elif luck < 0.6 and record.length > 4096:
                        self.put(image, log, record, most=4096 * rnd.randrange(1, max(2, record.length // 4096)))
            marks = []
            for record in self.records[: point.record]:
                if record.kind == "M":
                    log.seek(record.at)
                    marks.append(log.read(record.length).decode().strip())
        return marks

    @contextlib.contextmanager
    def after_the_cut(self, point, seed=1):
        marks = self.build(point, seed)
        run("mount", "-o", "loop", self.path("try"), self.mount)
        try:
            yield self.mount, marks
        finally:
            unmount(self.mount)

    def close(self):
        shutil.rmtree(self.top, ignore_errors=True)
