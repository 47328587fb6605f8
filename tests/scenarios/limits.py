"""More than fits, and what cannot be understood or read: said, and found by comparing."""
import os

from promises import check, contains, equal, wait_for
from scenarios import EVERYWHERE, fill, scenario

READER = "events.read=gate:{}@1+"


def many(t, name, count):
    for i in range(count // 500):
        os.makedirs(t.path(name, str(i)), exist_ok=True)
        for j in range(500):
            with open(t.path(name, str(i), str(j)), "w") as f:
                f.write(f"{i} {j}")


def with_failpoints(t, text):
    t.m.stop()
    t.m.env["BACKUPD_FAILPOINTS"] = text
    t.m.start()
    del t.m.env["BACKUPD_FAILPOINTS"]
    t.live()


@scenario(61, "the reader stands still while 20,000 files are made: a loss is told once, and nothing is missing", own=True, heavy=True,
          fs=("ext4", "tmpfs"))
def _(t):
    fill(t)
    for i in range(40):  # watched: what happens in new ones tells inotify nothing
        os.makedirs(t.path("many", str(i)))
    t.protect()
    gate = t.m.path("gate")
    with_failpoints(t, READER.format(gate))
    before = t.status()
    t.m.write("gate", "")
    t.write("plain/f", b"stops the reader")
    wait_for("the reader to stand still", lambda: os.path.exists(gate + ".reached"))
    many(t, "many", 20_000)
    os.unlink(gate)
    t.waits("many/0/0", "many/39/499", "plain/f", seconds=60)
    t.live()
    after = t.status()
    # The kernel's queue for fanotify has no end (beyond a size of our own the contract of watchers tries it).
    losses = 1 if t.watch == "inotify" else 0
    equal((after["overflows"] - before["overflows"], after["rescans"] - before["rescans"]), (losses, losses))
    t.run()
    t.only_changes()
    equal(t.counts["files_new"], 20_000)
    t.same()


@scenario(62, "events lost again while everything is compared: compared again, and it ends", own=True, fs=EVERYWHERE)
def _(t):
    fill(t)
    for i in range(50):
        t.write(f"dirs/{i}/f", b"%d" % i)
    t.protect()
    lost = t.m.path("lost")
    with_failpoints(t, f"events.lost=fail:{lost}@1+;scan.directory=sleep:20@1+")
    before = t.status()["rescans"]
    t.m.write("lost", "")
    for i in range(6):
        t.write(f"dirs/{i}/f", b"lost %d" % i)
        wait_for("the loss to be noticed", lambda: t.status()["tracking"] == "scanning")
    os.unlink(lost)
    t.live()
    check(t.status()["rescans"] > before, t.status())
    t.waits(*(f"dirs/{i}/f" for i in range(6)))
    t.run()
    t.only_changes()
    t.same()


@scenario(63, "a big tree removed and made again: what is remembered stays small, and all of it is right", own=True, heavy=True,
          fs=("ext4", "tmpfs"))
def _(t):
    import shutil

    fill(t)
    many(t, "many", 15_000)
    t.protect()
    with open(f"/proc/{t.m.daemon.pid}/clear_refs", "w") as f:
        f.write("5")
    for _ in range(2):
        shutil.rmtree(t.path("many"))
        many(t, "many", 15_000)
    t.waits("many", seconds=60)
    check(t.m.peak_memory() < 100 << 20, f"{t.m.peak_memory() >> 20} MiB")
    t.run()
    t.only_changes()
    t.same()


@scenario(65, "a watcher that loses events: the scrubber finds it, counts it and says so", own=True, fs=EVERYWHERE, scrub="2s")
def _(t):
    fill(t)
    t.protect()
    dropped = t.m.path("dropped")
    with_failpoints(t, f"events.dropped=fail:{dropped}@1+")
    t.m.write("dropped", "")
    t.write("plain/f", b"nobody is told")
    t.run()
    equal(t.counts["files_changed"], 0)
    os.unlink(dropped)
    wait_for("the scrubber", lambda: t.status()["missed_changes"] > 0, seconds=60)
    contains(t.m.daemon_log(), "was missed")
    t.waits("plain/f")
    t.run()
    t.same()


@scenario(53, "what is changed without an event (chattr): counted as silent, never as missed", own=True, fs=("ext4", "xfs", "btrfs"), scrub="2s")
def _(t):
    from volumes import call

    fill(t)
    t.protect()
    call("chattr", "+A", t.path("plain/f"))
    wait_for("the scrubber", lambda: t.status()["silent_metadata"] > 0, seconds=60)
    equal(t.status()["missed_changes"], 0)
    t.run()
    t.same()


@scenario(66, "a directory that cannot be listed while the tree is compared: it waits, and all else is there", own=True, fs=EVERYWHERE)
def _(t):
    fill(t)
    for i in range(8):
        t.write(f"dirs/{i}/f", b"%d" % i)
    t.protect()
    t.m.stop()
    for i in range(8):
        t.write(f"dirs/{i}/f", b"changed %d" % i)
    t.m.env["BACKUPD_FAILPOINTS"] = "scan.directory=fail@5"
    t.m.start()
    del t.m.env["BACKUPD_FAILPOINTS"]
    t.live()
    contains(t.m.daemon_log(), "failpoint scan.directory")
    t.waits(*(f"dirs/{i}/f" for i in range(8)))
    t.run()
    t.same()


@scenario(67, "a record that cannot be understood: everything is compared, nobody falls", own=True, fs=EVERYWHERE)
def _(t):
    fill(t)
    t.protect()
    garbled = t.m.path("garbled")
    with_failpoints(t, f"events.garbled=fail:{garbled}@1+")
    before = t.status()["rescans"]
    t.m.write("garbled", "")
    t.write("plain/f", b"told in a way that nobody understands")
    wait_for("the loss to be noticed", lambda: t.status()["tracking"] == "scanning" or t.status()["rescans"] > before)
    os.unlink(garbled)
    t.live()
    t.waits("plain/f")
    t.run()
    t.only_changes()
    t.same()


@scenario(671, "a reader that cannot wait for events any more: said, watched anew, everything is compared", own=True, fs=EVERYWHERE)
def _(t):
    fill(t)
    t.protect()
    broken = t.m.path("broken")
    with_failpoints(t, f"events.poll=fail:{broken}@1+")
    before = t.status()["rescans"]
    t.m.write("broken", "")
    t.write("plain/f", b"written when nobody reads")
    wait_for("the loss to be noticed", lambda: t.status()["rescans"] > before or t.status()["tracking"] != "live")
    t.write("plain/g", b"written while nobody watches")
    os.unlink(broken)
    t.live()
    contains(t.m.daemon_log(), "wait for events")
    t.waits("plain/f", "plain/g")
    t.run()
    t.only_changes()
    t.same()
