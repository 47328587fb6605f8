#!/usr/bin/env python3
"""What could not be read when a revision was made has a last good version, which is named, offered and kept."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from machine import Machine  # noqa: E402
from promises import check, contains, equal, main, promise  # noqa: E402

BAD = "sub/cannot be read, 100 %.txt"


def fixture():
    m = Machine("good")
    # Reads fail while this is there, whoever runs the test.
    m.start()
    m.write_tree("src", {"a.txt": "one\n", BAD: "good\n", "sub/c": "c\n"})
    m.repository()
    m.set("home", m.path("src"), extra=["--no-automatic", "--keep", "last=1 minimum=1"])
    m.backup()
    return m


def unreadable_run(m, code=3, name="home"):
    """A run during which every file that is opened for its content fails."""
    m.stop()
    m.env["BACKUPD_FAILPOINTS"] = "read.begin=fail@1+"
    m.start()
    result = m.backup(name, "--full", code=code)
    m.stop()
    del m.env["BACKUPD_FAILPOINTS"]
    m.start()
    return result


@promise("the revision names what could not be read, and where it was read last")
def _(m):
    result = unreadable_run(m)
    equal(result["outcome"], "exceptions")
    shown = m.json("show", "home/2")
    missing = {x["path"]: x["last_good"] for x in shown["missing"]}
    equal(missing, {m.path("src", n): "home/1" for n in ("a.txt", BAD, "sub/c")})
    m.ctl("show", "home/2").expect(0, "last good version: home/1")
    tags = m.restic("snapshots", "--json").expect(0).out
    contains(tags, "backupd:missing=")


@promise("ls, cat and restore of such a path say so and offer it")
def _(m):
    path = m.path("src", BAD)
    m.ctl("ls", path).expect(5, "could not be read", "home/1")
    m.ctl("cat", path).expect(5, "could not be read", "home/1")
    m.ctl("restore", path, "--to", m.path("out"), "--wait").expect(5, "could not be read", "--revision home/1")
    m.ctl("restore", path, "--revision", "home/1", "--to", m.path("out"), "--wait").expect(0)
    equal(m.read("out/" + os.path.basename(BAD)), b"good\n")
    reply = m.ctl("--json", "restore", m.path("src"), "--to", m.path("out2"), "--wait")
    contains(m.ctl("log", str(reply.result["job"])).out, "3 paths could not be read")
    m.ctl("ls", m.path("src/never")).expect(5)


@promise("the rules keep the last good version, also when more revisions are made without it")
def _(m):
    unreadable_run(m)
    plan = {r["number"]: r["rules"] for r in m.json("forget", "--policy", "home", "-n")["sets"][0]["revisions"]}
    check("last-good" in plan[1], plan)
    equal((plan[2], plan[3][0]), ([], "last"))
    shown = m.json("show", "home/3")
    equal({x["last_good"] for x in shown["missing"]}, {"home/1"})


@promise("read again it needs no keeping any more")
def _(m):
    equal(m.backup()["outcome"], "complete")
    equal(m.json("show", "latest")["missing"], [])
    plan = {r["number"]: r["rules"] for r in m.json("forget", "--policy", "home", "-n")["sets"][0]["revisions"]}
    check("last-good" not in plan[1], plan)
    m.restic("check", "--read-data").expect(0, "no errors were found")


@promise("a set with another name goes on with the last good versions of what it adopted")
def _(m):
    last = m.json("show", "latest")
    m.ctl("set", "remove", "home", "--yes").expect(0)
    m.set("docs", m.path("src"), extra=["--no-automatic", "--keep", "last=1 minimum=1"])
    m.ctl("set", "adopt", "docs", last["host"] + "/home").expect(0)
    unreadable_run(m, name="docs")
    shown = m.json("show", "docs/latest")
    good = f"docs/{last['number']}"
    equal({x["last_good"] for x in shown["missing"]}, {good})
    path = m.path("src", BAD)
    m.ctl("cat", path).expect(5, "could not be read", good)
    m.ctl("restore", path, "--revision", good, "--to", m.path("out3"), "--wait").expect(0)
    plan = {r["number"]: r["rules"] for r in m.json("forget", "--policy", "docs", "-n")["sets"][0]["revisions"]}
    check("last-good" in plan[last["number"]], plan)


if __name__ == "__main__":
    main(fixture)
