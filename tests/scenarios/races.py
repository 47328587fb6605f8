"""What happens in the very moment that a run or a comparison looks: aimed with failpoints, never with luck."""
import os
import subprocess
import sys
import threading

from promises import check, equal, wait_for
from scenarios import EVERYWHERE, fill, scenario


class Paused:
    """Inside of `with`, a run stands still where it first reaches the failpoint; it goes on afterwards, and ends."""

    def __init__(self, t, point):
        self.t, self.file = t, t.m.path("paused")
        t.m.env["BACKUPD_FAILPOINTS"] = f"{point}=pause:{self.file}"
        t.m.restart()
        del t.m.env["BACKUPD_FAILPOINTS"]
        t.live()

    def __enter__(self):
        self.client = self.t.m.ctl_spawn("--json", "run", "home", "--wait")
        wait_for("the run to stand still", lambda: os.path.exists(self.file))
        return self

    def __exit__(self, *_):
        os.unlink(self.file)
        self.out, _ = self.client.communicate(timeout=120)


def small_and_large(t):
    """Both ways of reading a file."""
    t.write("plain/f", b"before the run")
    t.write("plain/large", os.urandom(12 << 20))
    t.waits("plain/f", "plain/large")


@scenario(27, "a directory renamed while its files are read: none lost, none under the wrong name", own=True, fs=EVERYWHERE)
def _(t):
    fill(t)
    for i in range(40):
        t.write(f"dir/sub/{i}", b"%d" % i)
    t.protect()
    run = Paused(t, "read.begin")
    for i in range(40):
        t.write(f"dir/sub/{i}", b"changed %d" % i)
    t.waits(*(f"dir/sub/{i}" for i in range(40)))
    with run:
        os.rename(t.path("dir"), t.path("renamed"))
        t.write("dir/sub/3", b"another file under the old name")
        t.write("renamed/sub/7", b"changed under the new name")
    t.waits("renamed/sub/7", "dir/sub/3")
    t.run()
    t.only_changes()
    t.same()


@scenario(28, "directories renamed all the time while the tree is compared", own=True, fs=EVERYWHERE)
def _(t):
    fill(t)
    for i in range(60):
        t.write(f"top{i % 6}/dir{i}/file", b"%d" % i)
    t.protect()
    t.m.stop()
    t.m.env["BACKUPD_FAILPOINTS"] = "scan.directory=sleep:30@1+"
    t.m.start()
    del t.m.env["BACKUPD_FAILPOINTS"]
    wait_for("the comparison to begin", lambda: t.status()["tracking"] == "scanning")
    moves = 0
    while t.status()["tracking"] == "scanning" and moves < 3000:
        old, new = f"top{moves % 6}", f"top{(moves * 5 + 1) % 6}"
        for name in os.listdir(t.path(old))[:2]:
            os.rename(t.path(old, name), t.path(new, f"moved{moves}"))
            with open(t.path(new, f"moved{moves}", "file"), "a") as f:
                f.write(" moved")
            moves += 1
    check(moves > 10, "the comparison was over before anything happened")
    t.live()
    t.run()
    t.only_changes()
    t.same()


@scenario(55, "written when the revision is durable, before its marks are cleared: the mark stays", own=True, fs=EVERYWHERE)
def _(t):
    fill(t)
    t.protect()
    run = Paused(t, "run.durable")
    small_and_large(t)
    with run:
        t.write("plain/f", b"after the revision")
        with open(t.path("plain/large"), "r+b") as f:
            f.write(b"after the revision")
    t.waits("plain/f", "plain/large")
    t.run()
    t.only_changes()
    equal(t.counts["files_changed"], 2)
    t.same()


@scenario(56, "deleted while it is read: gone from the next revision", own=True, fs=EVERYWHERE)
def _(t):
    fill(t)
    t.protect()
    for point, victim in (("read.begin", "plain/f"), ("read.end", "plain/large")):
        run = Paused(t, point)
        small_and_large(t)
        with run:
            os.unlink(t.path(victim))
        # Nothing waits when the run came to it only after it was gone.
        t.run()
        t.only_changes()
        t.same()


@scenario(57, "replaced by a rename while it is read: the next revision has the new content", own=True, fs=EVERYWHERE)
def _(t):
    fill(t)
    t.protect()
    for point in ("read.begin", "read.end"):
        run = Paused(t, point)
        small_and_large(t)
        with run:
            for name in ("plain/f", "plain/large"):
                t.write("plain/.new", b"the new one, of %s" % name.encode() + os.urandom(50))
                os.rename(t.path("plain/.new"), t.path(name))
        t.waits("plain/f", "plain/large")
        t.run()
        t.only_changes()
        t.same()


@scenario(49, "one long write in place, read in its middle: the next revision has all of it", own=True, heavy=True, fs=("ext4", "tmpfs"))
def _(t):
    fill(t)
    t.write("plain/huge", b"a" * (200 << 20))
    t.protect()
    code = "import os, sys; fd = os.open(sys.argv[1], os.O_WRONLY); data = b'b' * (200 << 20); print(flush=True); os.pwrite(fd, data, 0)"
    writer = subprocess.Popen([sys.executable, "-c", code, t.path("plain/huge")], stdout=subprocess.PIPE)
    writer.stdout.readline()
    while writer.poll() is None:
        t.run()
    # The last of them may have begun when the write had ended, and then nothing waits.
    t.run()
    t.same()


@scenario(51, "a file opened for writing all the time while runs read it: no open waits for us or fails, no lease is taken", own=True,
          fs=("ext4", "xfs", "btrfs", "tmpfs"), watch=("fanotify",))
def _(t):
    fill(t)
    t.protect()
    stop, failed = threading.Event(), []

    def writer():
        while not stop.is_set():
            try:
                os.close(os.open(t.path("plain/big"), os.O_WRONLY | os.O_NONBLOCK))
            except OSError as problem:  # EWOULDBLOCK: somebody holds a lease
                failed.append(problem)

    thread = threading.Thread(target=writer)
    thread.start()
    try:
        for i in range(20):
            t.write("plain/f", b"%d" % i)
            t.run()
            with open("/proc/locks") as f:
                check(not any("LEASE" in line and f" {t.m.daemon.pid} " in line for line in f), "the daemon holds a lease")
    finally:
        stop.set()
        thread.join()
    equal(failed, [])
    check(t.m.daemon.poll() is None, "the daemon ended")
    t.run()
    t.same()


@scenario(60, "two runs at once: one after the other, and the marks are right", own=True, fs=EVERYWHERE)
def _(t):
    fill(t)
    t.protect()
    for i in range(5):
        for j in range(30):
            t.write(f"both/{j}", b"%d %d" % (i, j))
        clients = [t.m.ctl_spawn("--json", "run", "home", "--wait") for _ in range(2)]
        t.write("plain/f", b"in between %d" % i)
        for client in clients:
            client.communicate(timeout=120)
    t.run()
    t.same()
    t.clean()
