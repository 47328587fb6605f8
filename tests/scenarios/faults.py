"""Limits and faults: overflow, watch limits, unreadable directories, failing uploads, a damaged state."""
import os
import shutil

from promises import check, contains, equal, skip, wait_for
from scenarios import fill, scenario


@scenario(54, "written while the run reads: the mark stays, the next revision has it", own=True, fs=("ext4", "tmpfs"))
def _(t):
    fill(t)
    t.protect()
    gate = t.m.path("gate")
    t.m.env["BACKUPD_FAILPOINTS"] = f"pack.stored=gate:{gate}@1+"
    t.m.restart()
    t.live()
    for _ in range(3):
        t.write("plain/f", os.urandom(1000))
        t.write("plain/big", os.urandom(20 << 20))
        t.waits("plain/big")
        t.m.write("gate", "")
        client = t.m.ctl_spawn("--json", "run", "home", "--wait")
        wait_for("the run to store", lambda: os.path.exists(gate + ".reached"))
        t.write("plain/f", os.urandom(1000))
        t.write("plain/big", os.urandom(20 << 20))
        for name in (gate, gate + ".reached"):
            os.unlink(name)
        client.communicate(timeout=60)
        t.waits("plain/f", "plain/big")
        t.run()
        t.only_changes()
        t.same()


@scenario(59, "a run that fails leaves every mark", own=True, fs=("ext4",))
def _(t):
    fill(t)
    t.protect()
    t.write("plain/f", b"must not be lost")
    t.waits("plain/f")
    t.m.env["BACKUPD_FAILPOINTS"] = "pack.stored=fail@1"
    os.rename(t.m.path("repo/locks"), t.m.path("repo/elsewhere"))
    t.m.write("repo/locks", "in the way")
    t.m.ctl("run", "home", "--wait")
    check(t.path("plain/f") in t.queue(), t.queue())
    os.unlink(t.m.path("repo/locks"))
    os.rename(t.m.path("repo/elsewhere"), t.m.path("repo/locks"))
    t.backed_up("plain/f")


@scenario(64, "fewer watches than directories: degraded, said so, and nothing is missed", own=True, fs=("ext4",),
          watch=("inotify",), watches=200)
def _(t):
    for i in range(600):
        t.write(f"wide/{i}/f", b"%d" % i)
    t.protect()
    status = t.status()
    equal(status["tracking"], "degraded")
    contains(str(t.m.json("status")), "max_user_watches")
    contains(t.m.daemon_log(), "max_user_watches")
    for i in range(0, 600, 50):
        t.write(f"wide/{i}/f", b"changed")
        t.write(f"wide/{i}/new", b"new")
    t.run()
    t.same()



@scenario(68, "what is used to watch is shown", watch=("fanotify", "inotify", "scan"))
def _(t):
    wanted = "inotify" if t.kind == "overlay" else t.watch
    contains(str(t.m.json("status")), wanted)


@scenario(683, "without privileges: what is used instead and why is said, what cannot be read waits and is taken once it can be", own=True,
          fs=("ext4",), watch=("scan",), degraded="1s")
def _(t):
    if not shutil.which("setpriv"):
        skip("setpriv is not installed")
    fill(t)
    t.write("later/f", b"readable at first")
    config = t.m.read("config/backupd.toml").decode().replace('["scan"]', '["fanotify", "inotify", "scan"]')
    t.m.stop()
    t.m.write("config/backupd.toml", config)
    t.m.start(wrap=("setpriv", "--bounding-set=-all", "--inh-caps=-all"))
    t.watch = "inotify"
    t.protect()
    contains(str(t.m.json("status")), "CAP_SYS_ADMIN")
    contains(t.m.daemon_log(), "CAP_SYS_ADMIN")
    os.chown(t.path("later"), 65534, 65534)
    os.chmod(t.path("later"), 0o700)
    t.waits("later")
    t.run()
    equal(t.counts["files_removed"], 0)  # nothing in it has changed
    t.write("later/f", b"changed where nobody may look")
    t.waits("later/f")
    t.run(code=3)
    t.waits("later")
    check("deleted" not in t.queue().values(), t.queue())
    check("deleted" not in t.m.ctl("explain", t.path("later/f")).out, t.m.ctl("explain", t.path("later/f")).out)
    os.chmod(t.path("later"), 0o755)
    t.run()
    t.clean_after_runs()
    equal(t.m.ctl("cat", t.path("later/f")).expect(0).out, "changed where nobody may look")


@scenario(684, "paths of a set that are links, or lie behind one: who names them is told, and no change is missed", own=True, fs=("ext4",))
def _(t):
    fill(t)
    link = t.m.path("link")
    os.symlink(t.src, link)
    t.m.ctl("set", "create", "home", "--repo", "main", link, "--no-automatic").expect(0, "is a symbolic link", t.src)
    t.run()
    contains(t.m.ctl("log", str(t.result["job"])).out, "is a symbolic link: the link is kept, what it leads to is not")
    t.m.ctl("set", "edit", "home", "--remove-path", link, "--add-path", link + "/plain").expect(0, "a symbolic link leads to", t.path("plain"))
    t.run()
    t.live()
    if t.watch == "fanotify":
        contains(str(t.m.json("status")), "a symbolic link leads to")
    for i in range(3):
        t.write("plain/f", b"changed %d" % i)
        t.run()
        equal(t.counts["files_changed"], 1)
    equal(t.m.ctl("cat", link + "/plain/f").expect(0).out, "changed 2")


@scenario(685, "a file system behind a link goes away: no run takes that for a deletion", own=True, fs=("ext4",))
def _(t):
    link = t.m.path("link")
    os.symlink(os.path.dirname(t.volume.place), link)
    named = os.path.join(link, os.path.basename(t.volume.place))
    t.write("plain/f", b"behind a link")
    t.m.set("home", named, extra=("--no-automatic",))
    t.run()
    t.live()
    t.volume.unmount()
    wait_for("the volume to be seen as away", lambda: "away" in str(t.m.json("status")))
    t.m.ctl("run", "home", "--wait").expect(7, "is missing", "no revision was made")
    equal(t.m.ctl("cat", named + "/scope/plain/f").expect(0).out, "behind a link")
    t.volume.mount()
    wait_for("it to be seen again", lambda: "away" not in str(t.m.json("status")))
    t.live()
    t.write("plain/f", b"changed when it was back")
    t.run()
    equal(t.counts["files_changed"], 1)


@scenario(781, "the state is lost: everything is compared, loudly, and nothing is missed", own=True, fs=("ext4", "tmpfs"))
def _(t):
    fill(t)
    t.protect()
    t.m.stop()
    shutil.rmtree(t.m.path("state/db"))
    t.write("plain/f", b"changed without a witness")
    t.m.start()
    t.live()
    contains(t.m.daemon_log(), "nothing is known of it here")
    t.waits("plain/f")
    t.run()
    t.same()


@scenario(782, "the state is damaged: everything is compared, and nothing is missed", own=True, fs=("tmpfs",), watch=("fanotify",))
def _(t):
    fill(t)
    t.protect()
    t.write("plain/g", b"waiting")
    t.waits("plain/g")
    t.m.stop()
    for name in os.listdir(t.m.path("state/db")):
        if name.endswith((".ldb", ".log")):
            path = t.m.path("state/db", name)
            size = os.path.getsize(path)
            with open(path, "r+b") as f:
                f.seek(size // 2)
                f.write(b"\xa5" * 64)
    t.write("plain/f", b"changed without a witness")
    t.m.start()
    t.live()
    t.waits("plain/f", "plain/g")
    t.run()
    t.same()


@scenario(682, "where nothing can be watched, a comparison from time to time counts what waits", own=True, fs=("ext4",),
          watch=("scan",), degraded="1s")
def _(t):
    fill(t)
    t.protect()
    equal(t.status()["pending"], 0)
    t.write("plain/f", b"nobody told")
    wait_for("the comparison", lambda: t.status()["pending"] > 0)
    t.run()
    t.same()
