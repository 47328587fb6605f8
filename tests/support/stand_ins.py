"""Stand-ins for services of the system bus, on a bus of the test's own (python3-dbusmock).

    with StandIns(machine) as host:       # before machine.start(): the daemon finds the bus in its environment
        host.serve("upower"); host.serve("network"); host.serve("logind"); host.serve("profiles")
        host.set("upower", "OnBattery", "b", "true")
        host.sleep(True)
"""
import os
import re
import subprocess
import sys

from machine import BUS_CONFIG
from promises import check, skip, wait_for

SERVICES = {
    "upower": ("org.freedesktop.UPower", "/org/freedesktop/UPower", "org.freedesktop.UPower"),
    "network": ("org.freedesktop.NetworkManager", "/org/freedesktop/NetworkManager", "org.freedesktop.NetworkManager"),
    "profiles": ("net.hadess.PowerProfiles", "/net/hadess/PowerProfiles", "net.hadess.PowerProfiles"),
    "logind": ("org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager"),
}
FIRST = {
    "upower": [("OnBattery", "b", "false")],
    "network": [("Metered", "u", "4"), ("Connectivity", "u", "4")],
    "profiles": [("ActiveProfile", "s", "balanced")],
    "logind": [],
}


def python_with_mocks():
    for python in (sys.executable, "/usr/bin/python3"):
        if os.path.exists(python) and subprocess.run([python, "-c", "import dbusmock"], capture_output=True).returncode == 0:
            return python
    skip("python3-dbusmock is not installed")


class StandIns:
    def __init__(self, machine):
        self.python = python_with_mocks()
        self.m, self.running = machine, {}
        self.socket = machine.path("system-bus")
        self.address = "unix:path=" + self.socket
        self.env = {**machine.env, "DBUS_SYSTEM_BUS_ADDRESS": self.address}
        machine.env["DBUS_SYSTEM_BUS_ADDRESS"] = self.address
        config = machine.write("system-bus.conf", BUS_CONFIG.format(socket=self.socket))
        self.bus = subprocess.Popen(["dbus-daemon", "--config-file=" + config, "--nofork", "--nopidfile"], env=self.env)
        wait_for("the system bus", lambda: os.path.exists(self.socket))

    def busctl(self, *args):
        return self.m.run(["busctl", "--address=" + self.address, *args])

    def serve(self, name):
        service, path, interface = SERVICES[name]
        kind = ["--template", "logind"] if name == "logind" else [service, path, interface]
        self.running[name] = subprocess.Popen(
            [self.python, "-m", "dbusmock", "--system", *kind], env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for(service, lambda: service in self.busctl("list", "--no-legend").out, seconds=20)
        for prop, kind, value in FIRST[name]:
            self.mock(name, "AddProperty", "ssv", interface, prop, kind, value)

    def mock(self, name, method, signature, *args):
        service, path, _ = SERVICES[name]
        self.busctl("call", service, path, "org.freedesktop.DBus.Mock", method, signature, *args).expect(0)

    def set(self, name, prop, kind, value):
        self.mock(name, "UpdateProperties", "sa{sv}", SERVICES[name][2], "1", prop, kind, value)

    def going(self, member, is_going):
        value = "true" if is_going else "false"
        self.mock("logind", "EmitSignal", "sssav", SERVICES["logind"][2], member, "b", "1", "b", value)

    def inhibitors(self):
        service, path, interface = SERVICES["logind"]
        return re.findall(r'"(sleep[^"]*)" "backupd"', self.busctl("call", service, path, interface, "ListInhibitors").out)

    def leave(self, name):
        process = self.running.pop(name)
        process.terminate()
        process.wait()

    def close(self):
        for name in list(self.running):
            self.leave(name)
        self.bus.terminate()
        check(self.bus.wait() is not None)
