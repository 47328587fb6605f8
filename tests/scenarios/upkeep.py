"""What tracking says of itself, and how it looks after itself: counts of what waits, the scrubber, canaries, gaps."""
import os

from promises import check, equal, wait_for
from scenarios import fill, scenario


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
