#!/usr/bin/env python3
"""Calls on the bus itself, without the client: order of signals, streams, limits, who may call what on the system bus."""
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
from machine import Machine  # noqa: E402
from promises import check, contains, equal, main, promise, skip, wait_for  # noqa: E402

NAME = "org.backupd1"
ROOT = "/org/backupd1"
SYSTEM_BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path={socket}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/></policy>
</busconfig>
"""


class BusMachine(Machine):
    def call(self, path, interface, method, *args, **how):
        return self.run(
            ["busctl", "--address=" + self.address, "--json=short", "call", NAME, path, NAME + "." + interface, method, *args],
            **how,
        )

    def value(self, path, interface, method, *args):
        reply = self.call(path, interface, method, *args).expect(0)
        return json.loads(reply.out)["data"] if reply.out.strip() else None

    def property(self, path, interface, name):
        reply = self.run(
            ["busctl", "--address=" + self.address, "--json=short", "get-property", NAME, path, NAME + "." + interface, name]
        ).expect(0)
        return json.loads(reply.out)["data"]

    def end_of(self, job):
        wait_for("the end of " + job, lambda: self.property(job, "Job", "State") == "done", every=0.05)
        return self.property(job, "Job", "Result")


def fixture():
    if not shutil.which("busctl"):
        skip("no busctl here")
    m = BusMachine("calls")
    m.start()
    m.write_tree("src", {"a": "one\n", "d/b": "two\n"})
    m.repository()
    m.set("home", m.path("src"))
    return m


class Signals:
    """Every signal of the daemon, in the order of their arrival."""

    def __init__(self, m):
        self.lines = []
        self.process = subprocess.Popen(
            ["busctl", "--address=" + m.address, "--json=short", "monitor", NAME], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()
        # It listens once it sees something of ours.
        wait_for("the monitor", lambda: m.call(ROOT, "Manager", "ListSets", "a{sv}", "0") and self.lines)

    def read(self):
        for line in self.process.stdout:
            message = json.loads(line)
            if message.get("type") == "signal":
                self.lines.append(message)
            else:
                self.lines.append({"member": "", "path": ""})

    def of(self, path):
        found = []
        for message in list(self.lines):
            data = message.get("payload", {}).get("data", [])
            if message["path"] == path or path in data or message["member"] == "InterfacesAdded" and data[0] == path:
                found.append(message)
        return found

    def close(self):
        self.process.kill()
        self.process.wait()
        self.thread.join()
        self.process.stdout.close()


@promise("JobNew, the last properties and Finished come once each and in this order, RevisionCommitted before the end")
def _(m):
    signals = Signals(m)
    try:
        job = m.value(ROOT + "/set/home", "Set", "StartBackup", "a{sv}", "0")[0]
        equal(m.end_of(job), "complete")
        wait_for("Finished", lambda: any(s["member"] == "Finished" for s in signals.of(job)))
        members = [s["member"] for s in signals.of(job)]
        for once in ("InterfacesAdded", "JobNew", "RevisionCommitted", "Finished"):
            equal(members.count(once), 1, once, members)
        order = [members.index(name) for name in ("InterfacesAdded", "JobNew", "RevisionCommitted", "Finished")]
        equal(order, sorted(order), members)
        equal(members[-1], "Finished", members)
        result, error, message, details = signals.of(job)[-1]["payload"]["data"]
        equal((result, error, message), ("complete", "", ""))
        equal(details["revision"]["data"], m.property(ROOT + "/set/home", "Set", "LatestRevision"))
        states = [
            s["payload"]["data"][1]["State"]["data"]
            for s in signals.of(job)
            if s["member"] == "PropertiesChanged" and "State" in s["payload"]["data"][1]
        ]
        equal(states[-1:], ["done"], states)
    finally:
        signals.close()


@promise("progress is told at most twice a second")
def _(m):
    m.write_tree("busy", {})
    for i in range(40):
        with open(m.path("busy", str(i)), "wb") as f:
            f.write(os.urandom(4 << 20))
    m.set("busy", m.path("busy"))
    signals = Signals(m)
    try:
        begin = time.monotonic()
        job = m.value(ROOT + "/set/busy", "Set", "StartBackup", "a{sv}", "0")[0]
        equal(m.end_of(job), "complete")
        seconds = time.monotonic() - begin
        wait_for("Finished", lambda: any(s["member"] == "Finished" for s in signals.of(job)))
        told = [s for s in signals.of(job) if s["member"] == "PropertiesChanged" and s["path"] == job]
        check(len(told) <= 2 * seconds + 3, f"{len(told)} in {seconds} s")
    finally:
        signals.close()


@promise("what the daemon does not know it refuses by name")
def _(m):
    for path, interface, method, args in (
        (ROOT, "Manager", "ListSets", ["a{sv}", "1", "no-such", "b", "true"]),
        (ROOT + "/set/home", "Set", "StartBackup", ["a{sv}", "1", "no-such", "b", "true"]),
        (ROOT + "/set/home", "Set", "Verify", ["asa{sv}", "0", "1", "no-such", "d", "1"]),
        (ROOT + "/set/home", "Set", "Configure", ["a{sv}ta{sv}", "0", "0", "1", "no-such", "b", "true"]),
        (ROOT + "/repository/main", "Repository", "Check", ["a{sv}", "1", "no-such", "d", "1"]),
        (ROOT, "Manager", "CreateSet", ["sa{sv}a{sv}", "new", "1", "no-such", "s", "x", "0"]),
    ):
        reply = m.call(path, interface, method, *args)
        check(reply.code != 0, reply)
        contains(reply.err, "no-such")
    reply = m.call(ROOT + "/set/home", "Set", "Verify", "asa{sv}", "0", "1", "data-percent", "d", "101")
    check(reply.code != 0, reply)


@promise("a stale generation is refused, a fresh one changes the file")
def _(m):
    config, generation = m.value(ROOT + "/set/home", "Set", "GetConfiguration")
    title = ["1", "title", "s", "My files"]
    check(m.call(ROOT + "/set/home", "Set", "Configure", "a{sv}ta{sv}", *title, "1", "0").code != 0)
    new = m.value(ROOT + "/set/home", "Set", "Configure", "a{sv}ta{sv}", *title, str(generation), "0")[0]
    check(new != generation)
    equal(m.property(ROOT + "/set/home", "Set", "Title"), "My files")
    contains(m.read("config/sets.d/home.toml").decode(), "My files")
    check(m.call(ROOT + "/set/home", "Set", "Configure", "a{sv}ta{sv}", *title, str(generation), "0").code != 0)


@promise("the log level can be changed while it runs")
def _(m):
    log = ["busctl", "--address=" + m.address]
    where = [NAME, "/org/freedesktop/LogControl1", "org.freedesktop.LogControl1", "LogLevel"]
    m.run([*log, "set-property", *where, "s", "debug"]).expect(0)
    contains(m.run([*log, "get-property", *where]).expect(0).out, "debug")
    check(m.run([*log, "set-property", *where, "s", "shout"]).code != 0)
    m.run([*log, "set-property", *where, "s", "info"]).expect(0)


@promise("on the system bus root may do all, anybody else sees plain status only")
def _(m):
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        skip("needs root and setpriv")
    s = BusMachine("system")
    try:
        os.chmod(s.top, 0o755)
        config = s.write("system.conf", SYSTEM_BUS.format(socket=s.path("system-bus")))
        s.bus = subprocess.Popen(["dbus-daemon", "--config-file=" + config, "--nofork", "--nopidfile"], env=s.env)
        wait_for("the bus", lambda: os.path.exists(s.path("system-bus")))
        s.address = s.env["DBUS_SYSTEM_BUS_ADDRESS"] = "unix:path=" + s.path("system-bus")
        argv = [s.backupd, "--system", "--config", s.path("config"), "--state", s.path("state"), "--runtime", s.path("run")]
        s.daemon = subprocess.Popen(argv, env=s.env, stderr=open(s.log, "wb"))
        busctl = ["busctl", "--address=" + s.address]
        wait_for("the daemon", lambda: s.run([*busctl, "status", NAME]).code == 0)
        nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *busctl]
        manager = [NAME, ROOT, NAME + ".Manager"]
        equal(s.property(ROOT, "Manager", "Scope"), "system")
        s.run([*nobody, "get-property", *manager, "State"]).expect(0)
        for method in ("ListSets", "ListRepositories", "ListJobs"):
            s.run([*nobody, "call", *manager, method, "a{sv}", "0"]).expect(0)
        for method in ("Reload", "ShowConfiguration", "CheckConfiguration", "ReadLog", "ListJobHistory"):
            reply = s.run([*nobody, "call", *manager, method, "a{sv}", "0"])
            check(reply.code != 0, method, reply)
            contains(reply.err, "denied")
            s.run([*busctl, "call", *manager, method, "a{sv}", "0"]).expect(0)
        level = [NAME, "/org/freedesktop/LogControl1", "org.freedesktop.LogControl1", "LogLevel", "s", "debug"]
        check(s.run([*nobody, "set-property", *level]).code != 0)
        s.run([*busctl, "set-property", *level]).expect(0)
        # What is wrong with a file is for root; that it is, for everybody.
        s.write("config/sets.d/x.toml", 'paths = ["/very/private"]\nnonsense = 1\n')
        s.daemon.send_signal(signal.SIGHUP)
        notices = wait_for("the notice", lambda: s.property(ROOT, "Manager", "Notices"))
        contains(notices[0], "x.toml")
        check("private" not in json.dumps(notices) and "nonsense" not in json.dumps(notices), notices)
        s.daemon.send_signal(signal.SIGTERM)
        equal(s.daemon.wait(30), 0)
    finally:
        s.close()


if __name__ == "__main__":
    main(fixture)
