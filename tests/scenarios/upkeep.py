"""What tracking says of itself, and how it looks after itself: counts of what waits, the scrubber, canaries, gaps."""
import ctypes
import os

from promises import check, equal, wait_for
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
    t.protect()
    wait_for("nothing to wait", lambda: t.run() and pending(t) == (0, 0))
    os.unlink(t.write("temporary"))
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


@scenario(93, "files without a name wait for nothing, until they get one in the set", own=True, fs=("ext4", "tmpfs"), watch=("fanotify",))
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
