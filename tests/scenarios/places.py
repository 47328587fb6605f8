"""Where and what a set is, changed under the daemon: defined anew, renamed, replaced, mounted twice or over."""
import os
import shutil

from promises import contains, equal, wait_for
from scenarios import fill, scenario
from service_manager import ServiceManager


class Gate:
    """Whoever comes to the failpoint waits, from shut() to open()."""

    def __init__(self, t, point):
        self.file = t.m.path("gate-" + point)
        self.failpoint = f"{point}=gate:{self.file}@1+"

    def shut(self):
        for name in (self.file, self.file + ".reached"):
            if os.path.exists(name):
                os.unlink(name)
        open(self.file, "w").close()

    def reached(self):
        wait_for("somebody at the gate", lambda: os.path.exists(self.file + ".reached"))

    def open(self):
        os.unlink(self.file)


def with_gates(t, *points):
    gates = [Gate(t, point) for point in points]
    t.m.stop()
    t.m.env["BACKUPD_FAILPOINTS"] = ";".join(gate.failpoint for gate in gates)
    return gates


def edit(t, *how):
    t.m.ctl("set", "edit", "home", *how).expect(0)


def content(t, path):
    return t.m.ctl("cat", path).expect(0).raw


def told(t):
    """What differs from the last revision is not called protected: it waits, or cannot be compared."""

    def is_told():
        status = t.status()
        return status["pending"] > 0 or (status["tracking"] == "scanning" and "not there" in str(status))

    wait_for("the difference to wait", is_told)


class Witness:
    """Another set on the same file system: what it sees was told after all that happened before."""

    def __init__(self, t):
        self.t, self.count = t, 0
        self.write()
        t.m.set("witness", t.outside, extra=("--no-automatic", "--guard", "off"))
        t.m.backup("witness")
        t.live()

    def write(self):
        self.count += 1
        self.file = os.path.join(self.t.outside, "below", str(self.count))
        os.makedirs(os.path.dirname(self.file), exist_ok=True)
        with open(self.file, "w") as f:
            f.write("seen")

    def sees(self):
        self.write()
        listed = lambda: self.t.m.json("queue", "witness", "--top", "100000")["entries"]
        wait_for("the witness", lambda: any(self.file == entry.get("path") for entry in listed()))


@scenario(811, "the paths of a set widened while it is compared: the comparison of less counts for nothing", own=True, fs=("ext4",))
def _(t):
    fill(t)
    t.m.set("home", t.path("plain"), extra=("--no-automatic", "--guard", "off"))
    t.run()
    t.live()
    (scan,) = with_gates(t, "scan.directory")
    scan.shut()
    t.m.start()
    scan.reached()
    edit(t, "--add-path", t.src)
    scan.open()
    t.live()
    told(t)
    t.run()
    equal(content(t, t.path("a/there")), b"x")


@scenario(812, "two edits of what is excluded within one comparison: what was excluded in between only is taken", own=True, fs=("ext4",))
def _(t):
    fill(t)
    t.write("plain/f.o", b"excluded at first")
    t.m.set("home", t.src, extra=("--no-automatic", "--guard", "off", "--exclude", "*.o"))
    t.run()
    (scan,) = with_gates(t, "scan.directory")
    t.m.start()
    t.live()
    scan.shut()
    edit(t, "--exclude", "*.tmp")
    scan.reached()
    edit(t, "--no-exclude", "*.o")
    scan.open()
    t.live()
    told(t)
    t.run()
    t.same()


@scenario(813, "excluded and taken back while a run goes on: its end settles nothing of what happened meanwhile", own=True, fs=("ext4",))
def _(t):
    fill(t)
    t.protect()
    run, scan = with_gates(t, "run.durable", "scan.directory")
    t.m.start()
    t.live()
    edit(t, "--exclude", "*.tmp")
    t.live()
    run.shut()
    client = t.m.ctl_spawn("--json", "run", "home", "--full", "--wait")
    run.reached()
    scan.shut()
    edit(t, "--exclude", "*.o")
    scan.reached()
    t.write("plain/new.o", b"while it was excluded")
    edit(t, "--no-exclude", "*.o")
    run.open()
    client.communicate(timeout=60)
    scan.open()
    t.live()
    t.run()
    t.same()


@scenario(82, "what is not excluded any more is watched from then on", own=True, fs=("ext4",), watch=("inotify", "fanotify"))
def _(t):
    fill(t)
    t.write("cache/f", b"excluded at first")
    t.m.set("home", t.src, extra=("--no-automatic", "--guard", "off", "--exclude", "cache/"))
    t.run()
    t.live()
    edit(t, "--no-exclude", "cache/")
    t.live()
    t.run()
    t.live()
    t.write("cache/f", b"changed")
    t.backed_up("cache/f")
    t.write("cache/new/f", b"below it, too")
    t.backed_up("cache/new/f")


@scenario(821, "a second set of the same place that excludes less: both are watched", own=True, fs=("ext4",), watch=("inotify",))
def _(t):
    fill(t)
    t.write("cache/f", b"excluded from one")
    t.m.set("home", t.src, extra=("--no-automatic", "--guard", "off", "--exclude", "cache/"))
    t.run()
    t.live()
    t.m.set("other", t.src, extra=("--no-automatic", "--guard", "off"))
    t.m.backup("other")
    state = lambda: t.m.json("status", "other")["sets"][0]
    wait_for("the other to be live", lambda: state()["tracking"] == "live")
    t.write("cache/f", b"changed")
    wait_for("the change to wait", lambda: state()["pending"] > 0)


@scenario(83, "the directory of a set moved away, written to and moved back: nothing of it is missed", own=True, fs=("ext4", "xfs", "btrfs-sub", "tmpfs"))
def _(t):
    fill(t)
    t.protect()
    witness = Witness(t)
    away = os.path.join(t.volume.place, "away")
    for i in range(2):
        os.rename(t.src, away)
        with open(os.path.join(away, "plain/f"), "w") as f:
            f.write(f"written elsewhere {i}")
        witness.sees()
        os.rename(away, t.src)
        t.run()
        t.same()
    t.live()
    t.write("plain/g", b"and later")
    t.run()
    t.same()


@scenario(831, "the directory of a set replaced, or removed: it is told as a change at once, and watched where it is new", own=True, fs=("ext4",))
def _(t):
    fill(t)
    new, old = (os.path.join(t.volume.place, name) for name in ("new", "old"))
    shutil.copytree(t.src, new)
    with open(os.path.join(new, "plain/f"), "w") as f:
        f.write("in the new one")
    t.protect()
    os.rename(t.src, old)
    os.rename(new, t.src)
    told(t)
    t.run()
    t.same()
    t.clean_after_runs()
    t.write("plain/g", b"in the new one")
    t.backed_up("plain/g")
    with open(os.path.join(old, "plain/f"), "w") as f:
        f.write("no business of the set any more")
    t.run()
    equal(t.counts["files_read"], 0)
    shutil.rmtree(t.src)
    told(t)


@scenario(832, "a directory above the set moved and a link left in its place: what is written is not missed", own=True, fs=("ext4",))
def _(t):
    top, big = (os.path.join(t.volume.place, name) for name in ("top", "big"))
    t.src = os.path.join(top, "scope")
    os.makedirs(t.src)
    fill(t)
    t.protect()
    os.rename(top, big)
    os.symlink(big, top)
    t.write("plain/f", b"behind the link")
    t.run()
    equal(content(t, t.path("plain/f")), b"behind the link")
    t.write("plain/f", b"behind the link again")
    t.run()
    equal(content(t, t.path("plain/f")), b"behind the link again")


@scenario(833, "one set's directory is gone: the others on its file system are tracked on", own=True, fs=("ext4",), watch=("fanotify",))
def _(t):
    fill(t)
    t.protect()
    first = os.path.join(t.volume.place, "another")
    os.mkdir(first)
    with open(os.path.join(first, "f"), "w") as f:
        f.write("of the other set")
    t.m.set("other", first, extra=("--no-automatic", "--guard", "off"))
    t.m.backup("other")
    t.live()
    t.clean_after_runs()
    shutil.rmtree(first)
    t.live()
    os.makedirs(t.path("linked"))
    os.link(t.path("plain/f"), os.path.join(t.volume.place, "outside", "name"))
    t.run()
    t.clean_after_runs()
    with open(os.path.join(t.volume.place, "outside", "name"), "a") as f:
        f.write("through a name outside of the set")
    wait_for("the change to wait", lambda: t.status()["pending"] > 0)
    t.run()
    t.same()
    equal(t.status()["tracking"], "live")


@scenario(84, "one file system at two places, both in sets: what is written through either is missed by none", own=True, fs=("ext4",))
def _(t):
    fill(t)
    second = os.path.join(t.volume.top, "second")
    os.mkdir(second)
    t.volume.mount_at(second, "--bind", t.src)
    t.protect()
    t.m.set("other", second, extra=("--no-automatic", "--guard", "off"))
    t.m.backup("other")
    for i in range(3):
        t.write("plain/f", b"through one %d" % i)
        with open(os.path.join(second, "plain/g"), "w") as f:
            f.write(f"through the other {i}")
        t.run()
        t.same()
        t.m.backup("other")
        equal(content(t, os.path.join(second, "plain/f")), b"through one %d" % i)
        equal(content(t, os.path.join(second, "plain/g")), b"through the other %d" % i)
    states = [one["tracking"] for one in t.m.json("status")["sets"]]
    equal(states, ["degraded", "degraded"])
    contains(str(t.m.json("status")), "at several places")


@scenario(841, "a set that contains another part of itself by a bind mount misses nothing there", own=True, fs=("ext4",))
def _(t):
    fill(t)
    os.mkdir(t.path("again"))
    t.volume.mount_at(t.path("again"), "--bind", t.path("plain"))
    t.protect()
    for i in range(3):
        t.write("plain/f", b"changed %d" % i)
        t.run()
        t.same()
    equal(t.status()["tracking"], "degraded")
    t.volume.unmount(t.path("again"))
    t.live(("live",))
    t.write("plain/f", b"once more")
    t.run()
    t.same()


@scenario(86, "a place that was ours and is not any more is watched like all else", own=True, fs=("ext4",))
def _(t):
    fill(t)
    t.m.repository("second", t.path("store"))
    t.protect()
    t.m.ctl("repo", "remove", "second", "--yes").expect(0)
    t.live()
    t.run()
    t.live()
    t.write("store/f", b"not ours any more")
    t.backed_up("store/f")


@scenario(87, "a path of the set that is a file, or another directory by now, changed while nobody watched: it waits", own=True, fs=("ext4",))
def _(t):
    fill(t)
    t.m.set("home", t.path("plain/f"), t.path("a"), extra=("--no-automatic", "--guard", "off"))
    t.run()
    t.live()
    t.m.stop()
    t.write("plain/f", b"changed while it was stopped")
    t.m.start()
    t.live()
    told(t)
    t.run()
    equal(content(t, t.path("plain/f")), b"changed while it was stopped")
    t.clean_after_runs()
    t.m.stop()
    os.rename(t.path("a"), t.path("a-before"))
    shutil.copytree(t.path("a-before"), t.path("a"))
    t.m.start()
    t.live()
    told(t)


@scenario(88, "written, covered by a mount while a run is made, and uncovered: the next run has it", own=True, fs=("ext4",))
def _(t):
    fill(t)
    t.write("under/f", b"before")
    t.m.set("home", t.src, extra=("--no-automatic", "--guard", "off", "--one-file-system"))
    t.run()
    t.live()
    t.clean_after_runs()
    t.write("under/f", b"written before the mount")
    t.waits("under/f")
    t.volume.mount_at(t.path("under"), "-t", "tmpfs", "tmpfs")
    t.run()
    t.volume.unmount(t.path("under"))
    t.live()
    t.run()
    t.same()
    t.write("under/f", b"once more")
    t.backed_up("under/f")


@scenario(881, "covered by a mount while a run is made, and uncovered while the daemon is stopped: the next run has it", own=True, fs=("ext4",), watch=("fanotify",))
def _(t):
    fill(t)
    t.write("under/f", b"before")
    t.protect()
    t.m.stop()
    manager = ServiceManager(t.m)
    try:
        manager.start()
        t.live()
        t.write("under/f", b"written before the mount")
        t.waits("under/f")
        t.volume.mount_at(t.path("under"), "-t", "tmpfs", "tmpfs")
        t.run()
        t.live()
        wait_for("the watch to be stored", lambda: manager.stored)
        t.m.stop()
        t.volume.unmount(t.path("under"))
        manager.start()
        t.live()
        t.run()
        t.same()
    finally:
        t.m.stop()
        manager.close()


@scenario(89, "deleted while a run that has it ends, and weighed meanwhile: it is gone from the next revision", own=True, fs=("ext4",))
def _(t):
    fill(t)
    t.protect()
    run, weighing = with_gates(t, "run.durable", "weighed")
    t.m.start()
    t.live()
    run.shut()
    t.write("born/f", b"in the revision")
    t.write("born/g", b"in the revision")
    t.waits("born/f", "born/g")
    client = t.m.ctl_spawn("--json", "run", "home", "--wait")
    run.reached()
    wait_for("what waits to be weighed", lambda: t.m.json("queue", "home")["bytes"] > 0)
    weighing.shut()
    os.unlink(t.path("born/g"))
    os.unlink(t.path("born/f"))
    weighing.reached()
    run.open()
    client.communicate(timeout=60)
    weighing.open()
    t.live()
    wait_for("the weigher", lambda: t.status()["pending"] > 0)
    t.run()
    t.same()
