"""Clocks that jump. Ours alone (BACKUPD_CLOCK_STEP): the machine's is left as it is."""
import os
import signal
import time

from promises import contains, equal
from scenarios import EVERYWHERE, fill, scenario

DAY = 86400


@scenario(70, "the clock is set back and forth by a day: what changed is taken, and nothing else", own=True, fs=EVERYWHERE)
def _(t):
    fill(t)
    t.m.env["BACKUPD_CLOCK_STEP"] = t.m.write("clock", "0")
    t.m.restart()
    t.protect()
    for i, step in enumerate((-DAY, DAY, 0)):
        t.m.write("clock", str(step))
        t.write("plain/f", b"step %d" % i)
        t.waits("plain/f")
        for changed in (1, 0):
            t.run()
            # Whatever the clock says, a run goes on from the one before.
            equal([t.counts[f"files_{what}"] for what in ("changed", "new", "removed")], [changed, 0, 0])
            t.same()
            t.m.restart()
            t.live()
    t.run()
    t.same()
    t.clean()


@scenario(701, "a revision that a wrong clock has dated a day ahead is not what --at chooses, and stays in the list", own=True, fs=("ext4", "tmpfs"))
def _(t):
    fill(t)
    t.m.env["BACKUPD_CLOCK_STEP"] = t.m.write("clock", "0")
    t.m.restart()
    t.protect()
    for step, content in ((DAY, b"while the clock was wrong"), (0, b"since it is right")):
        t.m.write("clock", str(step))
        t.write("plain/f", content)
        t.waits("plain/f")
        t.run()
    t.same()
    wrong = [r["number"] for r in t.m.json("revisions", "home")["revisions"]]
    equal(wrong, [3, 2, 1])
    contains(t.m.ctl("revisions", "home").expect(0).out, "the clock was wrong")
    # When that day has come.
    t.m.write("clock", str(2 * DAY))
    t.same("--at", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 1.5 * DAY)))


@scenario(72, "asleep for hours: nothing is compared, nothing is missed", own=True, fs=EVERYWHERE)
def _(t):
    fill(t)
    t.m.env["BACKUPD_CLOCK_STEP"] = t.m.write("clock", "0")
    t.m.restart()
    t.protect()
    before = t.status()["rescans"]
    t.m.daemon.send_signal(signal.SIGSTOP)
    t.write("plain/f", b"as the machine fell asleep")
    t.m.write("clock", str(5 * 3600))
    time.sleep(0.5)
    t.m.daemon.send_signal(signal.SIGCONT)
    t.backed_up("plain/f")
    equal(t.status()["rescans"], before)
    t.clean()
