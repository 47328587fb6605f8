#!/usr/bin/env python3
"""Runs wait out what the machine is in the middle of, told by stand-ins for UPower, NetworkManager, power profiles and logind."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from machine import Machine  # noqa: E402
from promises import check, contains, equal, main, promise, wait_for  # noqa: E402
from stand_ins import StandIns  # noqa: E402

MIB = 1 << 20
AVOID = ("battery", "metered", "offline", "power-saver", "pressure")


def fixture():
    m = Machine("host")
    m.host = StandIns(m)
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


def written(m):
    with open(f"/proc/{m.daemon.pid}/io") as f:
        return int(dict(line.split(": ") for line in f.read().splitlines())["wchar"])


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


@promise("unplugged inside a file: uploads stop within 5 s, and go on when power is back")
def _(m):
    m.host.set("upower", "OnBattery", "b", "false")
    wait_for("power", lambda: home(m)["waiting_for"] == [], seconds=10)
    m.ctl("set", "edit", "home", "--upload-rate", "4MiB/s").expect(0)
    with open("/dev/urandom", "rb") as noise:
        m.write("src/large", noise.read(48 * MIB))
    wait_for("the upload", lambda: home(m)["state"] == "running", seconds=20)
    time.sleep(1)
    m.host.set("upower", "OnBattery", "b", "true")
    wait_for("the pause", lambda: home(m)["state"] == "paused", seconds=5)
    equal(home(m)["waiting_for"], ["battery"])
    time.sleep(1)
    first = written(m)
    time.sleep(2)
    check(written(m) - first < MIB, "bytes are written on battery:", written(m) - first)
    m.host.set("upower", "OnBattery", "b", "false")
    m.ctl("set", "edit", "home", "--upload-rate", "none").expect(0)
    wait_for("the end", lambda: is_backed_up(m), seconds=60)
    equal(m.json("jobs")["jobs"][0]["outcome"], "complete")


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


@promise("sleep: an inhibitor is held only while a job runs, released within 3 s, uploads stop; awake, they go on")
def _(m):
    m.host.serve("logind")
    time.sleep(0.5)
    equal(m.host.inhibitors(), [])
    m.ctl("set", "edit", "home", "--upload-rate", "4MiB/s").expect(0)
    with open("/dev/urandom", "rb") as noise:
        m.write("src/large", noise.read(48 * MIB))
    wait_for("the upload", lambda: home(m)["state"] == "running", seconds=20)
    wait_for("the inhibitor", lambda: m.host.inhibitors() == ["sleep:shutdown"], seconds=5)
    m.host.going("PrepareForSleep", True)
    wait_for("the release", lambda: m.host.inhibitors() == [], seconds=3)
    equal(home(m)["state"], "paused")
    equal(home(m)["waiting_for"], ["sleep"])
    first = written(m)
    time.sleep(2)
    check(written(m) - first < MIB, "bytes are written on the way to sleep:", written(m) - first)
    m.host.going("PrepareForSleep", False)
    wait_for("the inhibitor again", lambda: m.host.inhibitors() == ["sleep:shutdown"], seconds=5)
    m.ctl("set", "edit", "home", "--upload-rate", "none").expect(0)
    wait_for("the end", lambda: is_backed_up(m), seconds=60)
    wait_for("the release", lambda: m.host.inhibitors() == [], seconds=5)


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
