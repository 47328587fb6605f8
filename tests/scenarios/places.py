"""Where and what a set is, changed under the daemon: defined anew, renamed, replaced, mounted twice or over."""
import os
import shutil

from promises import equal, wait_for
from scenarios import fill, scenario


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
