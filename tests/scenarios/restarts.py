"""Stops, kills and starts: what waited waits again, what changed meanwhile is found."""
import os
import shutil
import time

from promises import check, contains, equal, skip, wait_for
from scenarios import EVERYWHERE, fill, scenario
from service_manager import ServiceManager
from volumes import call


@scenario(74, "killed between the durable revision and the clearing of marks: taken again, nothing twice, nothing lost", own=True,
          fs=("ext4", "tmpfs"))
def _(t):
    fill(t)
    t.protect()
    t.m.env["BACKUPD_FAILPOINTS"] = "run.durable=kill@1"
    t.m.restart()
    t.live()
    t.write("plain/f", b"in the revision")
    t.waits("plain/f")
    t.m.ctl("run", "home", "--wait")
    t.m.daemon.wait(30)
    del t.m.env["BACKUPD_FAILPOINTS"]
    t.write("plain/g", b"while it was dead")
    t.m.start()
    t.live()
    t.waits("plain/g")
    t.run()
    equal(t.counts["files_changed"], 1)
    t.same()


@scenario(731, "kill -9 with changes waiting: all are found again", own=True, fs=("ext4", "tmpfs"))
def _(t):
    fill(t)
    t.protect()
    for i in range(500):
        t.write(f"many/{i % 10}/{i}", b"%d" % i)
    t.waits("many")
    t.m.kill()
    t.write("plain/f", b"while it was dead")
    t.m.start()
    t.live()
    t.waits("many", "plain/f")
    t.run()
    t.same()


@scenario(76, "changed while the daemon was stopped: content, names, deletions, modes, same size with the old mtime", own=True,
          fs=("ext4", "xfs", "btrfs", "tmpfs"))
def _(t):
    fill(t)
    for i in range(30):
        t.write(f"d{i % 3}/{i}", b"%d" % i)
    t.protect()
    t.m.stop()
    t.write("d0/0", b"changed")
    os.rename(t.path("d1"), t.path("d1-renamed"))
    os.unlink(t.path("d0/3"))
    os.chmod(t.path("d0/6"), 0o600)
    before = os.stat(t.path("d2/2"))
    t.write("d2/2", b"7")
    os.utime(t.path("d2/2"), ns=(before.st_atime_ns, before.st_mtime_ns))
    os.chmod(t.path("d2"), 0o700)
    t.write("new/deep/er/file", b"new")
    t.m.start()
    t.live()
    t.waits("d0/0", "d1-renamed", "d0/3", "d0/6", "d2/2", "new")
    t.run()
    t.only_changes()
    t.same()


@scenario(762, "a stop and a start with nothing changed: nothing waits, nothing is read", own=True, fs=("ext4", "btrfs"))
def _(t):
    fill(t)
    t.protect()
    t.m.restart()
    t.live()
    t.clean()
    t.run()
    t.read_only(0)
    t.only_changes()


@scenario(75, "restarted by a service manager that keeps the watches: nothing is compared, nothing is missed", own=True,
          fs=("ext4", "xfs", "btrfs", "tmpfs"), watch=("fanotify",))
def _(t):
    fill(t)
    t.protect()
    t.m.stop()
    manager = ServiceManager(t.m)
    try:
        manager.start()
        t.live()
        wait_for("the watch to be stored", lambda: manager.stored)
        t.write("plain/f", b"waiting when it stopped")
        t.waits("plain/f")
        t.m.stop()
        for i in range(2000):
            t.write(f"busy/{i % 20}/{i}", b"%d" % i)
        os.rename(t.path("busy/3"), t.path("renamed"))
        t.write("plain/g", b"while nobody ran")
        manager.start()
        t.live()
        contains(t.m.daemon_log(), "tracked on from where it stopped")
        t.waits("plain/f", "plain/g", "busy/1/1", "renamed")
        t.run()
        t.only_changes()
        t.same()
        # A crash is no stop: what was taken and not kept is found by comparing.
        t.m.kill()
        t.write("plain/f", b"after the crash")
        before = t.m.daemon_log().count("tracked on from where it stopped")
        manager.start()
        t.live()
        equal(t.m.daemon_log().count("tracked on from where it stopped"), before)
        t.waits("plain/f")
        t.run()
        t.same()
    finally:
        t.m.stop()
        manager.close()


STEPS = ("run.begun", "read.begin", "read.end", "pack.stored", "run.durable", "run.cleared", "queue.written")


@scenario(73, "killed at each step of a run, and changed while dead: all of it is in the next revision", own=True, fs=EVERYWHERE)
def _(t):
    fill(t)
    for i in range(20):
        t.write(f"d/{i}", b"%d" % i)
    t.protect()
    armed = t.m.path("armed")
    for step in STEPS:
        t.m.stop()
        t.m.env["BACKUPD_FAILPOINTS"] = f"{step}=kill:{armed}@1+"
        t.m.start()
        del t.m.env["BACKUPD_FAILPOINTS"]
        t.live()
        t.write("plain/f", b"before " + step.encode())
        t.write("plain/large", os.urandom(9 << 20))
        os.rename(t.path("d"), t.path("e"))
        t.write("e/new " + step, b"new")
        os.unlink(t.path("e/" + str(STEPS.index(step))))
        t.waits("plain/f", "plain/large", "e")
        t.m.write("armed", "")
        client = t.m.ctl_spawn("run", "home", "--wait")
        t.m.daemon.wait(60)
        client.communicate(timeout=60)
        os.unlink(armed)
        t.write("plain/g", b"after " + step.encode())
        os.rename(t.path("e"), t.path("d"))
        t.m.start()
        t.live()
        t.waits("plain/g")
        t.run()
        t.same()


def set_stamps_back(t, inode, status):
    """As if what the inode says had not reached the disk in time: the file system is not mounted now."""
    for name, at in (("mtime", status.st_mtime_ns), ("ctime", status.st_ctime_ns)):
        call("debugfs", "-w", "-R", f"sif <{inode}> {name} @{at // 10**9}", t.volume.image)
        call("debugfs", "-w", "-R", f"sif <{inode}> {name}_extra {hex(at % 10**9 << 2)}", t.volume.image)


def bytes_without_stamps(t, *names):
    """Other bytes in place, durable, under the stamps of before. The daemon is dead."""
    before = {name: os.stat(t.path(name)) for name in names}
    for name in names:
        with open(t.path(name), "r+b", buffering=0) as f:
            f.seek(4096)
            f.write(b"newer bytes")
            os.fdatasync(f.fileno())
    os.sync()
    t.volume.unmount()
    for name in names:
        set_stamps_back(t, before[name].st_ino, before[name])
    t.volume.mount()
    for name in names:
        now = os.stat(t.path(name))
        equal((now.st_mtime_ns, now.st_ctime_ns), (before[name].st_mtime_ns, before[name].st_ctime_ns))
        equal(open(t.path(name), "rb").read()[4096:4107], b"newer bytes")


SUDDENLY = "the machine stopped without warning"


@scenario(77, "the power fails, and the disk has newer bytes than the last revision under the same stamps: they are read again", own=True,
          fs=("ext4",))
def _(t):
    if not shutil.which("debugfs"):
        skip("debugfs is not installed")
    t.m.env["BACKUPD_BOOT_ID"] = "first"
    t.m.restart()
    fill(t)
    t.write("plain/big", b"A" * 100_000)
    t.protect()
    t.clean()
    # Killed, and the machine goes on: stamps are believed. (What this hides no stamp can tell.)
    t.m.kill()
    bytes_without_stamps(t, "plain/big")
    t.m.start()
    t.live()
    t.clean()
    t.run()
    equal(t.counts["files_read"], 0)
    equal(SUDDENLY in t.m.daemon_log(), False)
    # Stopped in order, and another boot: likewise.
    t.m.env["BACKUPD_BOOT_ID"] = "second"
    t.m.restart()
    t.live()
    t.clean()
    t.run()
    equal(t.counts["files_read"], 0)
    # The machine went down under it.
    t.m.kill()
    t.m.env["BACKUPD_BOOT_ID"] = "third"
    t.m.start()
    t.live()
    contains(t.m.daemon_log(), SUDDENLY)
    t.waits("plain/big")
    # Not done before a revision has it, whatever else happens to the daemon.
    t.m.restart()
    t.live()
    t.waits("plain/big")
    t.run()
    contains(t.m.ctl("log", str(t.result["job"])).expect(0).out, SUDDENLY)
    check(t.counts["files_read"] >= 1, t.counts)
    t.same()
    # Then it is.
    t.m.restart()
    t.live()
    t.clean()
    t.run()
    equal(t.counts["files_read"], 0)


@scenario(771, "the power fails with changes waiting, and neither their stamps nor those of old files tell", own=True, fs=("ext4",))
def _(t):
    if not shutil.which("debugfs"):
        skip("debugfs is not installed")
    t.m.env["BACKUPD_BOOT_ID"] = "first"
    t.m.restart()
    fill(t)
    t.write("plain/waiting", b"B" * 100_000)
    # Long before: only what the daemon knew of them says that they must be read.
    old = 1_600_000_000
    inodes = [os.stat(t.path(name)).st_ino for name in ("plain/f", "plain/g", "plain/big", "plain/waiting", "a/there")]
    os.sync()
    t.m.stop()
    t.volume.unmount()
    for inode in inodes:
        for name in ("mtime", "ctime"):
            call("debugfs", "-w", "-R", f"sif <{inode}> {name} @{old}", t.volume.image)
            call("debugfs", "-w", "-R", f"sif <{inode}> {name}_extra 0", t.volume.image)
    t.volume.mount()
    t.m.start()
    t.protect()
    t.clean()
    before = os.stat(t.path("plain/waiting"))
    with open(t.path("plain/waiting"), "r+b", buffering=0) as f:
        f.seek(4096)
        f.write(b"newer bytes")
        os.fdatasync(f.fileno())
    t.waits("plain/waiting")
    time.sleep(2)  # the queue is kept once a second
    t.m.kill()
    os.sync()
    t.volume.unmount()
    set_stamps_back(t, before.st_ino, before)
    t.volume.mount()
    t.m.env["BACKUPD_BOOT_ID"] = "second"
    t.m.start()
    t.live()
    t.run()
    equal(t.counts["files_read"], 1)
    t.same()
