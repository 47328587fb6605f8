#!/usr/bin/env python3
"""On the bus: the daemon serves what the interface files say; a bad client gets errors and the daemon stays."""
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
from machine import ready  # noqa: E402
from promises import check, equal, main, promise, skip  # noqa: E402

XML = os.path.join(HERE, "../../dbus")
OBJECTS = {
    "/org/backupd1": "Manager",
    "/org/backupd1/set/home": "Set",
    "/org/backupd1/repository/main": "Repository",
    "/org/backupd1/restore": "Restore",
}


def fixture():
    m = ready("bus")
    m.write_tree("src", {"a": "one\n"})
    m.set("home", m.path("src"))
    m.job = m.backup()["job"]
    return m


def busctl(m, *args, **how):
    if not shutil.which("busctl"):
        skip("no busctl here")
    return m.run(["busctl", "--address=" + m.address, *args], **how)


@promise("what the objects serve is what the interface files describe")
def _(m):
    tool = os.path.join(HERE, "../support/bus_interface.py")
    for path, interface in [*OBJECTS.items(), (f"/org/backupd1/job/{m.job}", "Job")]:
        interfaces = [interface, "Metrics"] if interface == "Manager" else [interface]
        files = [os.path.join(XML, f"org.backupd1.{name}.xml") for name in interfaces]
        m.run([sys.executable, tool, "--live", m.address, "org.backupd1", path, *files]).expect(0)


@promise("the object manager lists sets, repositories and jobs")
def _(m):
    out = (
        busctl(m, "call", "org.backupd1", "/org/backupd1", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
        .expect(0)
        .out
    )
    for path in ("/org/backupd1/set/home", "/org/backupd1/repository/main", f"/org/backupd1/job/{m.job}"):
        check(path in out, path, "is not managed")


@promise("unknown options and wrong types are errors, not silence")
def _(m):
    start = ["call", "org.backupd1", "/org/backupd1/set/home", "org.backupd1.Set", "StartBackup", "a{sv}", "1"]
    check("unknown key" in busctl(m, *start, "no-such-option", "b", "true").err)
    check("type s" in busctl(m, *start, "mode", "u", "3").err)
    check("incremental" in busctl(m, *start, "mode", "s", "sideways").err)
    check(
        busctl(m, "call", "org.backupd1", "/org/backupd1/set/nosuch", "org.backupd1.Set", "StartBackup", "a{sv}", "0").code != 0
    )


@promise("properties and signals carry no file names")
def _(m):
    for path, interface in [*OBJECTS.items(), (f"/org/backupd1/job/{m.job}", "Job")]:
        out = busctl(
            m, "call", "org.backupd1", path, "org.freedesktop.DBus.Properties", "GetAll", "s", "org.backupd1." + interface
        ).out
        check(m.path("src") not in out and m.path("repo") not in out, interface, out)


@promise("a badly behaved client disturbs nobody")
def _(m):
    fuzz = [
        sys.executable,
        os.path.join(HERE, "../support/bus_fuzz.py"),
        "--bus",
        m.address,
        "--dest",
        "org.backupd1",
        "--pid",
        str(m.daemon.pid),
    ]
    before = m.revisions()
    m.run(
        [*fuzz, "args", "--calls", "400", "--skip", "Reload|Remove|Delete|AddRepository|Configure|CreateSet|RestoreInPlace"],
        timeout=240,
    ).expect(0)
    m.run(
        [*fuzz, "vanish", "--calls", "100", "--path", "/org/backupd1", "--iface", "org.backupd1.Manager", "--method", "ListJobs"]
    ).expect(0)
    m.run(
        [*fuzz, "slow", "--calls", "3000", "--path", "/org/backupd1", "--iface", "org.backupd1.Manager", "--method", "ListJobs"]
    ).expect(0)
    m.run([*fuzz, "wire", "--calls", "200"]).expect(0)
    equal(m.daemon.poll(), None)
    after = {r["id"] for r in m.revisions()}
    check({r["id"] for r in before} <= after, "a revision is gone")
    m.ctl("resume").expect(0)  # Pause was among what it called
    m.ctl("run", "home", "--wait").expect(0)


if __name__ == "__main__":
    main(fixture)
