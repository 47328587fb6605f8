#!/usr/bin/env python3
"""Full, read-only and vanished storage: a clear error, old revisions intact, and work goes on once it can. Needs root for mounts."""
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
from machine import Machine, is_root, tree_diff  # noqa: E402
from promises import check, equal, main, promise, skip, wait_for  # noqa: E402

SMALL_FS = os.path.join(HERE, "../support/small_fs.sh")


class Storage(Machine):
    def small(self, *args):
        p = subprocess.run(["bash", SMALL_FS, *args], capture_output=True, text=True)
        if p.returncode == 77:
            skip(p.stderr.strip())
        check(p.returncode == 0, p.stderr)

    def close(self):
        try:
            if self.daemon is not None and self.daemon.poll() is None:
                self.stop()
            for name in ("disk", "outdisk"):
                if os.path.ismount(self.path(name)):
                    self.small("rw", self.path(name))
                    self.small("destroy", self.path(name))
        finally:
            super().close()


def fixture():
    m = Storage("storage")
    m.env["BACKUPD_CLOCK_STEP"] = m.write("clock", "0")  # room is looked for often
    m.mounted = False
    if is_root():
        try:
            m.small("make", m.path("disk"), "--fs", "tmpfs", "--size", "24M")
            m.mounted = True
        except Exception as problem:
            m.why = str(problem)
    m.start()
    m.write_tree("src", {"a": "one\n", "b": os.urandom(2_000_000)})
    return m


def need_mount(m):
    if not is_root():
        skip("mounting needs root")
    if not m.mounted:
        skip("cannot mount a tmpfs here: " + m.why)


@promise("a full disk fails the run with a clear error and harms no earlier revision")
def _(m):
    need_mount(m)
    m.repository(directory="disk/repo")
    m.set("home", m.path("src"))
    first = m.backup()["revision"]
    m.write("src/big", os.urandom(40_000_000))
    reply = m.ctl("--json", "run", "home", "--wait")
    check(reply.code in (1, 8), reply)
    equal(reply.result["outcome"], "failed")
    check("space" in (reply.out + reply.err).lower(), reply)
    # Either the file system refused a file, or it was seen to be too full for one.
    told = reply.result["message"]
    equal(told.count("store ") + told.count("storage is full"), 1, "what failed is said once:", told)
    equal([r["id"] for r in m.revisions()], [first])
    m.restic("check", "--no-lock", "--read-data", repo="disk/repo").expect(0)
    m.ctl("restore", m.path("src/b"), "--to", m.path("out")).expect(0)
    equal(m.read("out/b"), m.read("src/b"))


@promise("a full storage is a condition: the set waits for it, says since when, and backs up by itself when there is room")
def _(m):
    need_mount(m)
    home = lambda: m.json("status")["sets"][0]  # noqa: E731
    m.ctl("set", "edit", "home", "--min-interval", "0", "--settle", "0").expect(0)
    before = len(m.revisions())
    os.unlink(m.path("src/big"))
    m.small("fill", m.path("disk"))
    m.write("src/c", "waits\n")
    wait_for("the set to wait", lambda: home()["waiting_for"] == ["low-space"], seconds=30)
    check(home()["waiting"][0]["since"], home())
    m.ctl("status").expect(0, "full")
    m.ctl("explain", m.path("src/c")).expect(0, "full")
    m.ctl("run", "home", "--wait").expect(1, "full")  # who asks is told at once
    m.ctl("run", "home", "--ignore", "low-space").expect(2)
    m.small("free", m.path("disk"))
    wait_for("a run by itself", lambda: len(m.revisions()) > before, seconds=150)  # it looks each minute
    equal(m.ctl("cat", m.path("src/c")).expect(0).out, "waits\n")
    equal(home()["waiting_for"], [])


@promise("with room again the next run completes")
def _(m):
    need_mount(m)
    m.write("src/c", "three\n")
    subprocess.run(["mount", "-o", "remount,size=80M", m.path("disk")], check=True)
    m.backup()
    m.restic("check", "--read-data", repo="disk/repo").expect(0)


@promise("a full disk during repo init leaves no half repository behind that opens")
def _(m):
    need_mount(m)
    m.small("fill", m.path("disk"))
    reply = m.ctl("repo", "init", "second", m.path("disk/second"), "--password-file", m.password_file)
    check(reply.code != 0, reply)
    check(not os.path.exists(m.path("disk/second/config")), "a config without room for the rest")
    m.small("free", m.path("disk"))
    m.ctl("repo", "init", "second", m.path("disk/second"), "--password-file", m.password_file).expect(0)
    m.ctl("repo", "remove", "second", "--yes").expect(0)


@promise("a read-only repository can be read, verified and restored from, and a run fails clearly")
def _(m):
    need_mount(m)
    m.small("ro", m.path("disk"))
    m.restart()
    m.ctl("revisions", "home").expect(0)
    m.ctl("ls", m.path("src")).expect(0, "a")
    m.ctl("verify", "--data", "all").expect(0)
    m.ctl("restore", m.path("src"), "--to", m.path("out-ro")).expect(0)
    equal(tree_diff(m.path("src"), m.path("out-ro/src")), [])
    m.write("src/d", "four\n")
    reply = m.ctl("--json", "run", "home", "--wait")
    check(reply.code in (1, 4, 13), reply)
    check("read-only" in (reply.out + reply.err).lower(), reply)
    m.small("rw", m.path("disk"))
    m.backup()


@promise("a restore onto a full disk fails clearly, leaves no half file, and works with room")
def _(m):
    need_mount(m)
    m.small("make", m.path("outdisk"), "--fs", "tmpfs", "--size", "1M")
    reply = m.ctl("restore", m.path("src"), "--to", m.path("outdisk/r"))
    check(reply.code in (1, 3), reply)
    check("space" in (reply.out + reply.err).lower(), reply)
    path = m.path("outdisk/r/src/b")
    check(not os.path.exists(path) or m.read("outdisk/r/src/b") == m.read("src/b"))
    left = [n for b, _, names in os.walk(m.path("outdisk")) for n in names if n not in ("a", "b", "c", "d", "big")]
    equal(left, [], "temporary files are left")
    subprocess.run(["mount", "-o", "remount,size=20M", m.path("outdisk")], check=True)
    m.ctl("restore", m.path("src"), "--to", m.path("outdisk/r")).expect(0)
    equal(tree_diff(m.path("src"), m.path("outdisk/r/src")), [])


@promise("a target that cannot be written is refused by name")
def _(m):
    m.write("plain-file", "x")
    if not m.mounted:
        m.repository(directory="repo")
        m.set("home", m.path("src"))
        m.backup()
    m.ctl("restore", m.path("src/a"), "--to", m.path("plain-file/below")).expect(1, "plain-file")
    m.ctl("restore", m.path("src/a"), "--to", "/proc/nowhere").expect(1, "/proc/nowhere")
    equal(m.read("plain-file"), b"x")
    if m.mounted:
        m.small("ro", m.path("outdisk"))
        reply = m.ctl("restore", m.path("src/a"), "--to", m.path("outdisk/s"))
        check(reply.code in (1, 4), reply)
        check("read-only" in (reply.out + reply.err).lower(), reply)


@promise("a vanished repository is exit code 10 or 13, and the set is fine when it is back")
def _(m):
    where = "disk/repo" if m.mounted else "repo"
    os.rename(m.path(where), m.path(where + "-away"))
    reply = m.ctl("--json", "run", "home", "--wait")
    check(reply.code in (10, 13), reply)
    check(not os.path.exists(m.path(where)), "a new repository was made in its place")
    os.rename(m.path(where + "-away"), m.path(where))
    m.write("src/e", "five\n")
    m.backup()


@promise("a state directory on a full disk does not bring the daemon down for good")
def _(m):
    need_mount(m)
    m.stop()
    state = m.path("disk/state")
    os.rename(m.path("state"), m.path("state-elsewhere"))
    subprocess.run(["cp", "-a", m.path("state-elsewhere"), state], check=True)
    os.symlink(state, m.path("state"))
    m.start()
    m.small("fill", m.path("disk"))
    m.write("src/f", "six\n")
    m.ctl("--json", "run", "home", "--wait")
    equal(m.daemon.poll(), None, "the daemon ended")
    m.ctl("status").expect(0)
    m.small("free", m.path("disk"))
    m.backup()
    m.restart()
    m.backup()


if __name__ == "__main__":
    main(fixture)
