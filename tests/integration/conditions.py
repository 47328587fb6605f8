#!/usr/bin/env python3
"""Runs wait out what the machine is in the middle of, told by stand-ins for UPower, NetworkManager, power profiles and logind."""
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from machine import Machine  # noqa: E402
from promises import check, contains, equal, main, promise, wait_for  # noqa: E402
from slow_storage import SlowStorage  # noqa: E402
from stand_ins import StandIns  # noqa: E402

MIB = 1 << 20
# What a connection of the storage takes, and what each may have begun when it is told to stop.
LINE = 512 << 10
MOST_BEGUN = 4 * (256 << 10)
AVOID = ("battery", "metered", "offline", "power-saver", "pressure")


def fixture():
    m = Machine("host")
    m.host = StandIns(m)
    m.line = SlowStorage(m, LINE)
    set_pressure(m, 0)
    m.env["BACKUPD_PRESSURE_DIR"] = m.path("pressure")
    m.write("config/backupd.toml", '[engine]\npack-size = "4MiB"\n')
    m.write_tree("src", {"a": "one\n"})
    for name in ("upower", "network", "profiles"):
        m.host.serve(name)
    m.start()
    m.repository(cheap=True)
    avoid = [word for condition in AVOID for word in ("--avoid", condition)]
    m.set("home", m.path("src"), extra=[*avoid, "--min-interval", "0", "--settle", "1s"])
    m.backup()
    return m


def set_pressure(m, percent):
    for name in ("cpu", "io", "memory"):
        line = f"some avg10={percent if name == 'io' else 0:.2f} avg60=0.00 avg300=0.00 total=0\n"
        os.replace(m.write(f"pressure/{name}.new", line), m.path("pressure", name))


def home(m):
    return [s for s in m.json("status")["sets"] if s["id"] == "home"][0]


def waits(m, *words):
    try:
        wait_for(f"waiting for {words}", lambda: home(m)["waiting_for"] == list(words))
    except AssertionError as problem:
        raise AssertionError(f"{problem}: {home(m)}") from problem


def is_backed_up(m):
    facts = home(m)
    return facts["tracking"] == "live" and facts["pending"] == 0 and facts["state"] == "idle"


def upload(m, size=16 * MIB):
    """Stops inside of a file that is on its way."""
    m.before, m.size = m.line.sent(), size
    with open("/dev/urandom", "rb") as noise:
        m.write("src/large", noise.read(size))
    m.line.wait_for(2 * MIB)


def stands_still(m, *reasons):
    """Acknowledged: no payload comes but what each connection had begun, and some of the file is not sent."""
    wait_for("the pause", lambda: home(m)["state"] == "paused")
    equal(home(m)["waiting_for"], list(reasons))
    late = m.line.is_still()
    check(late <= MOST_BEGUN, f"{late} bytes arrived after the run stood still")
    check(m.line.sent() - m.before < m.size, "it stopped inside of the file")


def goes_on(m):
    """To its end, without sending anything twice."""
    wait_for("the end", lambda: is_backed_up(m), seconds=60)
    equal(m.json("jobs")["jobs"][0]["outcome"], "complete")
    sent = m.line.sent() - m.before
    check(m.size <= sent < m.size + MIB, f"{sent} bytes for a file of {m.size}")


def change(m):
    m.write("src/a", f"{time.monotonic_ns()}\n")


@promise("each condition puts runs off, has a reason, and lets them begin when it is over")
def _(m):
    network = lambda prop: lambda value: m.host.set("network", prop, "u", str(value))  # noqa: E731
    cases = [
        ("battery", lambda on: m.host.set("upower", "OnBattery", "b", "true" if on else "false"), "on battery"),
        ("metered", lambda on: network("Metered")(1 if on else 4), "metered"),
        ("metered", lambda on: network("Metered")(3 if on else 2), "metered"),
        ("offline", lambda on: network("Connectivity")(1 if on else 4), "leads nowhere"),
        ("power-saver", lambda on: m.host.set("profiles", "ActiveProfile", "s", "power-saver" if on else "balanced"), "saves power"),
        ("pressure", lambda on: set_pressure(m, 80 if on else 1), "is busy"),
    ]
    for word, switch, sentence in cases:
        switch(True)
        # The pressure is looked at every four seconds.
        change(m)
        if word == "pressure":
            time.sleep(5)
            change(m)
        waits(m, word)
        wait_for("the change to be known", lambda: home(m)["pending"] > 0)
        m.ctl("status").expect(0, sentence)
        m.ctl("run", "home", "--wait").expect(75, word)
        switch(False)
        wait_for(f"the run after {word}", lambda: is_backed_up(m), seconds=20)


@promise("--ignore does not wait for one, and for no other")
def _(m):
    m.host.set("upower", "OnBattery", "b", "true")
    m.host.set("network", "Metered", "u", "1")
    change(m)
    waits(m, "battery", "metered")
    m.ctl("run", "home", "--wait", "--ignore", "battery").expect(75, "metered")
    m.ctl("--json", "run", "home", "--wait", "--ignore", "battery", "--ignore", "metered").expect(0)
    m.host.set("network", "Metered", "u", "4")


HOLDER = """
import sys, dbus
bus = dbus.bus.BusConnection(sys.argv[1])
manager = dbus.Interface(bus.get_object("org.backupd1", "/org/backupd1"), "org.backupd1.Manager")
held = []
try:
    for _ in range(int(sys.argv[2])):
        held.append(manager.Inhibit("editor", "cutting a film", dbus.Dictionary({}, signature="sv")).take())
    print("held", flush=True)
except dbus.DBusException as problem:
    print(problem.get_dbus_name(), flush=True)
sys.stdin.read()
"""


def hold(m, times=1):
    """A program that holds uploads up until its standard input is closed."""
    holder = subprocess.Popen([m.host.python, "-c", HOLDER, m.address, str(times)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    holder.said = holder.stdout.readline().strip()
    return holder


@promise("a program that asks for quiet over the bus is given it until it lets go or dies, and is named; eight times at most")
def _(m):
    m.host.set("upower", "OnBattery", "b", "false")
    wait_for("power", lambda: is_backed_up(m), seconds=20)
    for ends in (lambda holder: holder.stdin.close(), lambda holder: holder.kill()):
        holder = hold(m)
        equal(holder.said, "held")
        change(m)
        waits(m, "inhibited")
        m.ctl("status").expect(0, "editor", "cutting a film")
        m.ctl("explain", m.path("src/a")).expect(0, "editor")
        m.ctl("run", "home", "--wait").expect(75, "editor")
        ends(holder)
        holder.wait()
        wait_for("the run", lambda: is_backed_up(m), seconds=20)
    holder = hold(m)
    change(m)
    waits(m, "inhibited")
    m.ctl("--json", "run", "home", "--wait", "--ignore", "inhibited").expect(0)
    second = hold(m, 9)
    equal(second.said, "org.freedesktop.DBus.Error.LimitsExceeded")
    for one in (holder, second):
        one.stdin.close()
        one.wait()
    m.host.set("upower", "OnBattery", "b", "true")


@promise("unplugged, metered or offline inside a file: a slow storage counts no payload any more; when it is over the rest is sent")
def _(m):
    m.host.set("upower", "OnBattery", "b", "false")
    wait_for("power", lambda: home(m)["waiting_for"] == [], seconds=10)
    cases = [
        ("battery", ("upower", "OnBattery", "b"), "true", "false"),
        ("metered", ("network", "Metered", "u"), "1", "4"),
        ("offline", ("network", "Connectivity", "u"), "1", "4"),
    ]
    for word, place, on, off in cases:
        upload(m)
        m.host.set(*place, on)
        stands_still(m, word)
        m.host.set(*place, off)
        goes_on(m)


@promise("a service that goes away takes its condition with it, and one that comes is heard")
def _(m):
    m.host.set("upower", "OnBattery", "b", "true")
    change(m)
    waits(m, "battery")
    m.host.leave("upower")
    wait_for("the run without UPower", lambda: is_backed_up(m), seconds=20)
    m.host.serve("upower")
    m.host.set("upower", "OnBattery", "b", "true")
    change(m)
    waits(m, "battery")
    m.host.set("upower", "OnBattery", "b", "false")
    wait_for("the run", lambda: is_backed_up(m), seconds=20)


@promise("sleep: an inhibitor is held only while a job runs, released when uploads stand still; awake, they go on")
def _(m):
    m.host.serve("logind")
    time.sleep(0.5)
    equal(m.host.inhibitors(), [])
    upload(m)
    wait_for("the inhibitor", lambda: m.host.inhibitors() == ["sleep:shutdown"])
    m.host.going("PrepareForSleep", True)
    wait_for("the release", lambda: m.host.inhibitors() == [])
    equal(home(m)["state"], "paused")
    stands_still(m, "sleep")
    m.host.going("PrepareForSleep", False)
    wait_for("the inhibitor again", lambda: m.host.inhibitors() == ["sleep:shutdown"])
    goes_on(m)
    wait_for("the release", lambda: m.host.inhibitors() == [])


@promise("shutdown: the inhibitor is released with what is in flight sealed; called off, the run goes on")
def _(m):
    upload(m)
    wait_for("the inhibitor", lambda: m.host.inhibitors() == ["sleep:shutdown"])
    m.host.going("PrepareForShutdown", True)
    wait_for("the release", lambda: m.host.inhibitors() == [])
    m.restic("check", "--no-lock").expect(0)
    stands_still(m, "sleep")
    m.host.going("PrepareForShutdown", False)
    goes_on(m)


@promise("a system bus that is gone is no condition")
def _(m):
    m.host.set("upower", "OnBattery", "b", "true")
    change(m)
    waits(m, "battery")
    m.host.close()
    wait_for("the run", lambda: is_backed_up(m), seconds=20)
    contains(m.ctl("status").expect(0).out, "home")


if __name__ == "__main__":
    main(fixture)
