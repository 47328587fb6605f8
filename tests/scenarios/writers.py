"""Writers that raise no event, or raise it late: mappings, loop devices, long calls."""
import ctypes
import mmap
import os
import subprocess
import sys
import textwrap

from promises import check, equal, skip, wait_for
from scenarios import HERE, fill, scenario


class Writer:
    """A process of its own that does what it is told, line by line (Python statements)."""

    def __init__(self):
        code = "import sys, os, mmap\nfor line in sys.stdin:\n    exec(line)\n    print('done', flush=True)\n"
        self.process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def do(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        check(self.process.stdout.readline() == "done\n", "the writer failed:", line)

    def end(self):
        self.process.stdin.close()
        self.process.wait()


@scenario(45, "stores through a mapping whose file is closed, also into the page that was just read", own=True,
          fs=("ext4", "xfs", "btrfs"), census="1s")
def _(t):
    fill(t)
    t.protect()
    w = Writer()
    try:
        path = t.path("plain/big")
        w.do(f"fd = os.open({path!r}, os.O_RDWR)")
        w.do("m = mmap.mmap(fd, 0)")
        w.do("os.close(fd)")
        w.do("m[0:4] = b'map1'")
        t.waits("plain/big")
        t.run()
        t.same()
        w.do("m[0:4] = b'map2'")
        t.run()
        t.same()
        w.do("m[4:8] = b'map3'")
        t.run()
        t.same()
    finally:
        w.end()
    t.waits("plain/big")
    t.run()
    t.same()


@scenario(46, "a store through a mapping, then unmapped", fs=("ext4", "xfs", "btrfs", "tmpfs"))
def _(t):
    fd = os.open(t.path("plain/big"), os.O_RDWR)
    m = mmap.mmap(fd, 0)
    os.close(fd)
    m[10:14] = b"MAP!"
    m.close()
    t.backed_up("plain/big")


@scenario(47, "a mapping on tmpfs, stored into all the time: read by every run while it is mapped, clean afterwards", own=True,
          fs=("tmpfs",), census="1s")
def _(t):
    fill(t)
    t.protect()
    w = Writer()
    try:
        path = t.path("plain/big")
        w.do(f"fd = os.open({path!r}, os.O_RDWR); m = mmap.mmap(fd, 0); os.close(fd)")
        for i in range(3):
            w.do(f"m[0:4] = b'{i:04}'")
            t.run()
            t.same()
    finally:
        w.end()
    t.waits("plain/big")
    t.run()
    t.same()


@scenario(48, "a write into a loop device: the file behind it is taken", own=True, fs=("ext4",), census="1s")
def _(t):
    fill(t)
    with open(t.path("disk"), "wb") as f:
        f.truncate(16 << 20)
    t.protect()
    done = subprocess.run(["losetup", "--find", "--show", t.path("disk")], capture_output=True, text=True)
    if done.returncode != 0:
        skip("no loop device: " + done.stderr)
    device = done.stdout.strip()
    try:
        with open(device, "r+b") as f:
            f.write(b"inside" * 1000)
            os.fsync(f.fileno())
        t.waits("disk")
        t.run()
        t.same()
    finally:
        subprocess.run(["losetup", "--detach", device])
    t.run()
    t.same()


@scenario(50, "a database in WAL mode while it is written: never torn and called clean", fs=("ext4", "xfs", "tmpfs"))
def _(t):
    import sqlite3

    db = sqlite3.connect(t.path("plain/db"))
    db.execute("pragma journal_mode=wal")
    db.execute("create table t (x)")
    for i in range(50):
        db.execute("insert into t values (?)", ("row" * i,))
        db.commit()
        if i % 10 == 0:
            t.run(code=0)
    db.execute("pragma wal_checkpoint(truncate)")
    db.close()
    t.waits("plain/db")
    t.run()
    t.same()


@scenario(58, "one file written a thousand times: one mark, read once per run")
def _(t):
    for i in range(1000):
        with open(t.path("plain/f"), "w") as f:
            f.write(str(i))
    t.waits("plain/f")
    check(len([p for p in t.queue() if p.endswith("plain/f")]) == 1)
    t.backed_up("plain/f")
    t.read_only(1)


@scenario(43, "an asynchronous write into a file that stays open: found by the census", own=True, fs=("ext4", "xfs", "btrfs"), census="1s")
def _(t):
    fill(t)
    t.protect()
    w = Writer()
    try:
        w.do(f"sys.path.insert(0, {HERE!r}); import aio; writes = aio.Writes()")
        w.do(f"fd = os.open({t.path('plain/big')!r}, os.O_RDWR)")
        for i in range(3):
            w.do(f"writes.submit(fd, b'asynchronous {i}', {4096 * i}); writes.finish()")
            t.waits("plain/big")
            t.run()
            t.same()
    finally:
        w.end()
    t.waits("plain/big")
    t.run()
    t.same()


@scenario(44, "a large asynchronous write on its way while the file is read: stays marked, and is complete in the end", own=True,
          fs=("ext4", "xfs", "btrfs"), census="1s")
def _(t):
    fill(t)
    t.write("plain/disk", b"0" * (64 << 20))
    t.protect()
    paused = t.m.path("paused")
    t.m.env["BACKUPD_FAILPOINTS"] = f"read.begin=pause:{paused}"
    t.m.restart()
    del t.m.env["BACKUPD_FAILPOINTS"]
    t.live()
    w = Writer()
    try:
        w.do(f"sys.path.insert(0, {HERE!r}); import aio; writes = aio.Writes()")
        w.do(f"fd = os.open({t.path('plain/disk')!r}, os.O_RDWR | os.O_DIRECT)")
        w.do("data = b'1' * (64 << 20)")
        os.utime(t.path("plain/disk"))
        t.waits("plain/disk")
        client = t.m.ctl_spawn("--json", "run", "home", "--wait")
        wait_for("the run to read", lambda: os.path.exists(paused))
        w.do("writes.submit(fd, data, 0)")
        os.unlink(paused)
        client.communicate(timeout=120)
        t.waits("plain/disk")
        w.do("writes.finish()")
        t.run()
        t.same()
    finally:
        w.end()
    t.run()
    t.same()
    t.clean()
