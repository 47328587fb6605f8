"""Stops, kills and starts: what waited waits again, what changed meanwhile is found."""
import os
import shutil

from promises import check, equal, wait_for
from scenarios import fill, scenario


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


@scenario(77, "a stop and a start with nothing changed: nothing waits, nothing is read", own=True, fs=("ext4", "btrfs"))
def _(t):
    fill(t)
    t.protect()
    t.m.restart()
    t.live()
    t.clean()
    t.run()
    t.read_only(0)
    t.only_changes()
