#!/usr/bin/env python3
"""No daemon, no bus, two daemons on one state directory, a state that was lost: clear words and exit code 6, never a hang."""
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from machine import Machine, tree_diff  # noqa: E402
from promises import check, contains, equal, main, promise  # noqa: E402


def fixture():
    return Machine("alone")


@promise("without a bus the client says so: exit code 6")
def _(m):
    for verb in ("status", "revisions", "jobs"):
        m.ctl(verb).expect(6, "bus")
    reply = m.ctl("--json", "status")
    reply.expect(6)
    m.ctl("status", env={"DBUS_SESSION_BUS_ADDRESS": "unix:path=/nowhere/bus"}).expect(6)


@promise("without a bus the daemon says so and ends")
def _(m):
    reply = m.spawn_daemon()
    check(reply.code not in (0, -6, -11), reply)
    contains(reply.out + reply.err, "bus")


@promise("with a bus and no daemon the client says how to start one: exit code 6")
def _(m):
    m.start_bus()
    contains(m.ctl("status").expect(6).err, "not running")
    m.ctl("run", "home", "--wait").expect(6)
    m.ctl("help").expect(0)
    m.ctl("version").expect(0)


@promise("wrong arguments of the daemon are exit code 2")
def _(m):
    for arguments in (["--no-such-flag"], ["--user", "--system"], ["extra"]):
        reply = m.run([m.backupd, *arguments], timeout=20)
        equal(reply.code, 2, reply)
        check(reply.err.strip(), reply)
    m.run([m.backupd, "--help"]).expect(0, "--config", "--state")
    m.run([m.backupd, "--version"]).expect(0, "backupd")


@promise("a state directory that cannot be made is named")
def _(m):
    m.write("file", "x")
    argv = [m.backupd, "--user", "--config", m.path("config"), "--state", m.path("file/state"), "--runtime", m.path("run")]
    reply = m.run(argv, timeout=20)
    check(reply.code not in (0, -6, -11), reply)
    contains(reply.out + reply.err, "file/state")


@promise("a second daemon on the same bus and state ends and says why; the first goes on")
def _(m):
    m.start()
    m.write_tree("src", {"a": "one\n"})
    m.repository()
    m.set("home", m.path("src"))
    m.backup()
    reply = m.spawn_daemon()
    check(reply.code not in (0, -6, -11), reply)
    check(reply.out + reply.err, "ends without a word")
    m.ctl("status").expect(0)


@promise("a second daemon on another bus but the same state is refused by the name of the directory")
def _(m):
    other = Machine("other")
    try:
        other.start_bus()
        reply = m.spawn_daemon(env={"DBUS_SESSION_BUS_ADDRESS": other.address})
        check(reply.code not in (0, -6, -11), reply)
        contains(reply.out + reply.err, m.path("state"))
    finally:
        other.close()
    m.ctl("run", "home", "--wait").expect(0)


@promise("when the bus goes away the daemon ends with an error, for systemd to start it again")
def _(m):
    m.bus.terminate()
    m.bus.wait()
    m.bus = None
    check(m.daemon.wait(20) != 0)
    os.path.exists(m.path("bus")) and os.unlink(m.path("bus"))
    m.start()
    m.ctl("run", "home", "--wait").expect(0)


@promise("a lost state directory costs no revision, and numbers go on growing")
def _(m):
    before = m.revisions()
    m.stop()
    shutil.rmtree(m.path("state"))
    m.start()
    equal([r["id"] for r in m.revisions()], [r["id"] for r in before])
    m.write("src/b", "two\n")
    m.backup()
    equal([r["number"] for r in m.revisions()][:2], [before[0]["number"] + 1, before[0]["number"]])


@promise("a damaged state directory is moved aside and the daemon starts")
def _(m):
    count = len(m.revisions())
    m.stop()
    for base, _, names in os.walk(m.path("state")):
        for name in names:
            if name not in ("LOCK",):
                with open(os.path.join(base, name), "wb") as f:
                    f.write(os.urandom(333))
    m.start()
    equal(len(m.revisions()), count)
    m.write("src/c", "three\n")
    m.backup()
    m.ctl("restore", m.path("src"), "--to", m.path("out")).expect(0)
    equal(tree_diff(m.path("src"), m.path("out/src")), [])


@promise("a fresh machine needs the repository and the password, nothing else")
def _(m):
    fresh = Machine("fresh")
    try:
        fresh.start()
        fresh.ctl("repo", "add", "main", m.path("repo"), "--password-file", m.password_file).expect(0)
        fresh.set("rescue", fresh.path("home"))
        newest = m.revisions()[0]["id"]
        fresh.ctl("restore", m.path("src"), "--revision", newest, "--to", fresh.path("out")).expect(0)
        equal(tree_diff(m.path("src"), fresh.path("out/src")), [])
    finally:
        fresh.close()


if __name__ == "__main__":
    main(fixture)
