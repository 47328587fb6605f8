"""What tracking says of itself, and how it looks after itself: counts of what waits, the scrubber, canaries, gaps."""
import ctypes
import mmap
import os
import time

from promises import check, contains, equal, wait_for
from scenarios import fill, scenario

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, AT_SYMLINK_FOLLOW = -100, 0x400


def pending(t):
    s = t.status()
    return s["pending"], s["bytes"]


@scenario(90, "status says how many bytes wait", own=True, fs=("ext4", "tmpfs"))
def _(t):
    fill(t)
    t.protect()
    wait_for("nothing to wait", lambda: t.run() and pending(t) == (0, 0))
    t.write("plain/f", b"x" * 1000)
    t.write("new", b"x" * 234)
    t.waits("plain/f", "new")
    wait_for("1234 bytes to wait", lambda: pending(t) == (2, 1234))
    t.run()
    wait_for("nothing to wait", lambda: t.run() and pending(t) == (0, 0))


@scenario(91, "a file that came and went does not wait; one that the revision has does", own=True, fs=("ext4", "tmpfs"))
def _(t):
    fill(t)
    t.write("passing/kept")
    t.protect()
    wait_for("nothing to wait", lambda: t.run() and pending(t) == (0, 0))
    os.unlink(t.write("passing/temporary"))  # the directory has another time since, which the next run takes
    os.unlink(t.path("plain/g"))
    t.waits("plain/g")
    wait_for("the temporary file to be forgotten", lambda: t.queue() == {t.path("plain/g"): "deleted"}, seconds=40)
    equal(t.status()["pending"], 1)
    t.backed_up("plain/g")


@scenario(92, "what waits is told by name where nothing can be watched", own=True, fs=("ext4", "tmpfs"), watch=("scan",), degraded="1s")
def _(t):
    fill(t)
    t.protect()
    t.write("plain/f", b"x" * 1000)
    t.write("plain/new", b"x" * 234)
    os.unlink(t.path("plain/g"))
    t.waits("plain/f", "plain/new", "plain/g")
    kinds = t.queue()
    equal([kinds.get(t.path("plain", n)) for n in "fg"], ["modified", "deleted"])
    equal(kinds.get(t.path("plain/new")), "created")
    wait_for("1234 bytes to wait", lambda: t.status()["bytes"] == 1234)
    t.run()
    t.same()


@scenario(101, "files without a name wait for nothing, until they get one in the set", own=True, fs=("ext4", "tmpfs"), watch=("fanotify",))
def _(t):
    fill(t)
    t.protect()
    wait_for("nothing to wait", lambda: t.run() and pending(t) == (0, 0))
    place = os.path.join(t.outside, "temporary")
    with open(place, "wb") as unlinked:
        os.unlink(place)
        unlinked.write(b"x" * 100_000)
        unlinked.flush()
        os.makedirs(os.path.join(t.outside, "a", "b"))
        t.write("plain/f", b"x" * 10)  # what is told behind the others
        t.waits("plain/f")
        wait_for("one file to wait", lambda: pending(t) == (1, 10))
        t.backed_up("plain/f")
    wait_for("nothing to wait", lambda: t.run() and pending(t) == (0, 0))
    fd = os.open(t.outside, os.O_TMPFILE | os.O_RDWR, 0o640)
    try:
        os.write(fd, b"linked later\n")
        if libc.linkat(AT_FDCWD, b"/proc/self/fd/%d" % fd, AT_FDCWD, os.fsencode(t.path("plain/linked")), AT_SYMLINK_FOLLOW) != 0:
            raise OSError(ctypes.get_errno(), "linkat")
        os.write(fd, b"and written on\n")
    finally:
        os.close(fd)
    t.backed_up("plain/linked")


def counts(t):
    return t.status()["tracking_counts"]


@scenario(93, "a content that changed without a trace is found by reading, told with its path, and repaired", own=True,
          fs=("tmpfs",), census="0", scrub="2s", content=100)
def _(t):
    fill(t)
    t.write("plain/mapped", b"x" * 8192)
    t.protect()
    with open(t.path("plain/mapped"), "r+b") as f:
        mapped = mmap.mmap(f.fileno(), 0)
    mapped[0:4] = b"seen"  # the first store moves ctime; the page stays dirty
    os.utime(t.path("plain/mapped"))
    t.waits("plain/mapped")
    t.clean_after_runs()
    equal(counts(t)["missed_changes"], 0)
    mapped[0:4] = b"lost"  # neither event nor stamp
    wait_for("the scrubber to find it", lambda: counts(t)["missed_content"] == 1, seconds=60)
    equal(counts(t)["missed_changes"], 1)
    contains(t.m.ctl("log").expect(0).out, "was missed")
    contains(t.m.daemon_log(), "missed in set 'home': " + t.path("plain/mapped"))  # names stay in the daemon's own log
    check(t.path("plain/mapped") in t.queue(), t.queue())
    t.run()
    t.same()
    mapped.close()


@scenario(94, "what was renamed away, changed there and brought back is not missed: a run is asked to look", own=True,
          fs=("ext4",), scrub="1s")
def _(t):
    fill(t)
    t.protect()
    os.rename(t.path("plain"), os.path.join(t.outside, "plain"))
    t.write(os.path.join(t.outside, "plain/f"), b"changed out there")
    os.rename(os.path.join(t.outside, "plain"), t.path("plain"))
    t.waits("plain")
    time.sleep(9)  # several passes, and the time that suspects are given
    equal((counts(t)["missed_changes"], counts(t)["silent_metadata"]), (0, 0))
    t.run()
    t.same()


@scenario(95, "a watch that is dead is noticed by a change of our own, and all is compared", own=True, fs=("ext4", "tmpfs"),
          canary="1s", environment={"BACKUPD_FAILPOINTS": "events.dropped=fail@1+"})
def _(t):
    fill(t)
    t.protect()
    before = counts(t)["rescans"]
    t.write("plain/f", b"nobody told of this")
    wait_for("the watch to be made anew", lambda: counts(t)["rescans"] > before, seconds=60)
    contains(t.m.ctl("log").expect(0).out, "a change of our own was not seen")
    t.waits("plain/f")
    t.run()
    t.same()


@scenario(96, "changes of our own leave no mark and no trace", own=True, fs=("ext4", "xfs", "btrfs", "tmpfs"), canary="1s")
def _(t):
    fill(t)
    t.protect()
    t.clean_after_runs()
    before = os.stat(t.src).st_mtime_ns, counts(t)["rescans"]
    records = t.status()["volumes"][0]["records"]
    wait_for("several of them", lambda: t.status()["volumes"][0]["records"] >= records + 3, seconds=60)
    equal((t.queue(), t.status()["pending"]), ({}, 0))
    equal((os.stat(t.src).st_mtime_ns, counts(t)["rescans"]), before)


@scenario(97, "a revision made while a file system is missing says so", own=True, fs=("ext4",))
def _(t):
    fill(t)
    beside = os.path.dirname(t.m.write("beside/f", b"on a file system that is there"))
    t.m.set("home", t.src, beside, extra=("--no-automatic",))
    t.run()
    t.live()
    t.volume.unmount()
    wait_for("the volume to be seen as away", lambda: "away" in str(t.m.json("status")))
    equal(t.status()["gaps"], 1)
    t.m.ctl("--json", "run", "home", "--wait").expect(0)
    t.volume.mount()
    t.live()
    t.run()
    newest, without = t.m.revisions()[:2]
    equal((without.get("gap"), newest.get("gap")), (True, False))
    equal(t.status()["gaps"], 0)


@scenario(98, "marks that cannot be written are kept, and written when that works again", own=True, fs=("ext4",))
def _(t):
    fill(t)
    t.m.env["BACKUPD_FAILPOINTS"] = "queue.write=fail@1+"
    t.m.restart()
    t.protect()
    t.write("plain/f", b"changed")
    t.waits("plain/f")
    t.m.kill()
    del t.m.env["BACKUPD_FAILPOINTS"]
    t.m.start()
    t.live()
    t.backed_up("plain/f")


@scenario(99, "the scrubber holds no directory open while it waits", own=True, fs=("ext4",), scrub="60s", content=100)
def _(t):
    fill(t)
    for i in range(50):
        t.write(f"deep/{i}/a/b/c/f", b"x" * 5000)
    t.protect()
    proc = f"/proc/{t.m.daemon.pid}"

    def is_under_way():
        names = [open(f"{proc}/task/{task}/comm").read() for task in os.listdir(f"{proc}/task")]
        return any(name.startswith("archive-") for name in names)

    def is_held():
        held = []
        for fd in os.listdir(f"{proc}/fd"):
            try:
                held.append(os.readlink(f"{proc}/fd/{fd}"))
            except FileNotFoundError:
                pass
        return any(path.startswith(t.volume.place) for path in held)

    wait_for("the scrubber to begin", is_under_way)
    samples = []
    for _ in range(60):
        samples.append(is_held())
        time.sleep(0.05)
    check(is_under_way(), "the scrubber ended too soon to tell")
    check(sum(samples) < 10, samples)  # a moment each


@scenario(100, "below paths longer than the kernel takes: changes wait, are taken and are named", own=True, fs=("ext4", "tmpfs"))
def _(t):
    fill(t)
    at = os.open(t.src, os.O_RDONLY)
    name = "n" * 200
    for _ in range(25):
        os.mkdir(name, dir_fd=at)
        at, before = os.open(name, os.O_RDONLY, dir_fd=at), at
        os.close(before)
    deep = "/".join([t.src] + [name] * 25 + ["f"])

    def write(content):
        with open(os.open("f", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, dir_fd=at), "wb") as f:
            f.write(content)

    write(b"first")
    t.protect()
    t.clean_after_runs()
    write(b"changed in the deep")
    wait_for("the file to be in the queue", lambda: t.queue().get(deep) == "modified")
    t.run()
    t.only_changes()
    check(t.counts["files_read"] >= 1, t.counts)
    out = t.m.ctl("cat", deep).expect(0).out
    equal(out, "changed in the deep")
    os.close(at)
