"""Clocks that jump. Ours alone (BACKUPD_CLOCK_STEP): the machine's is left as it is."""
import os
import signal
import time

from promises import check, equal
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
        for _ in range(2):
            t.run()
            # A revision that is older than the one before by its time is not the newest: what changed may be taken twice.
            check(t.counts["files_changed"] <= 1, t.counts)
            equal((t.counts["files_new"], t.counts["files_removed"]), (0, 0))
            t.same("--revision", t.result["revision"])
            t.m.restart()
            t.live()
    t.run()
    t.same("--revision", t.result["revision"])
    t.clean()


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
