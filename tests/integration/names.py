#!/usr/bin/env python3
"""Whose revisions they are: renamed machines and sets go on with their own; a cloned machine is noticed."""
import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from machine import Machine  # noqa: E402
from promises import check, contains, equal, main, promise  # noqa: E402


def fixture():
    m = Machine("names")
    m.start()
    m.write_tree("src", {f"f{i}": f"file {i}\n" for i in range(10)})
    m.repository()
    m.set("home", m.path("src"), extra=["--no-automatic", "--hostname", "old-laptop"])
    m.backup()
    m.write("src/f1", "edited\n")
    m.backup()
    return m


def numbers(m, name="home"):
    return [r["number"] for r in m.json("revisions", name)["revisions"]]


@promise("a renamed machine goes on with its revisions once they are adopted: numbers, parent, nothing stored again")
def _(m):
    m.ctl("set", "edit", "home", "--hostname", "new-laptop").expect(0)
    equal(numbers(m), [])
    contains(m.ctl("set", "adopt", "home").expect(0).out, "old-laptop/home", "2 revisions")
    m.ctl("set", "adopt", "home", "no-such-host").expect(5, "no-such-host")
    m.ctl("set", "adopt", "home", "old-laptop").expect(0, "2 revisions")
    equal(numbers(m), [2, 1])
    contains(m.read("config/sets.d/home.toml").decode(), 'adopt = [', '"old-laptop/home"')
    result = m.backup()
    equal((result["counts"]["files_unmodified"], result["counts"]["files_new"]), (10, 0))
    equal(numbers(m), [3, 2, 1])
    equal(m.json("show", "home/3")["parent"], m.json("show", "home/2")["id"])
    equal(m.json("show", "home/3")["host"], "new-laptop")


@promise("a renamed set goes on, too, and pins and rules reach what it adopted")
def _(m):
    m.ctl("set", "remove", "home", "--yes").expect(0)
    extra = ["--no-automatic", "--hostname", "new-laptop", "--keep", "last=1 minimum=1"]
    m.set("docs", m.path("src"), extra=extra)
    m.ctl("set", "adopt", "docs", "new-laptop/home").expect(0)
    m.ctl("set", "adopt", "docs", "old-laptop/home").expect(0)
    result = m.backup("docs")
    equal((result["counts"]["files_unmodified"], numbers(m, "docs")), (10, [4, 3, 2, 1]))
    m.ctl("pin", "docs/1").expect(0)
    plan = {r["number"]: r["keep"] for r in m.json("forget", "--policy", "docs", "-n")["sets"][0]["revisions"]}
    equal(plan, {4: True, 3: False, 2: False, 1: True})
    m.ctl("unpin", "docs/1").expect(0)


@promise("what it adopted is in its history: one version of what did not change, whatever the names were")
def _(m):
    edited = m.json("history", m.path("src/f1"))
    equal([(v["number"], v["last_number"], v["revisions"]) for v in edited["versions"]], [(2, 4, 3), (1, 1, 1)])
    equal(edited["on_disk"]["state"], "protected")
    never = m.json("history", m.path("src/f2"))
    equal([(v["number"], v["last_number"], v["revisions"], v["change"]) for v in never["versions"]], [(1, 4, 4, "created")])
    contains(m.ctl("history", m.path("src/f1")).expect(0).out, "docs/2", "docs/1")
    m.ctl("restore", m.path("src/f1"), "--revision", "docs/1", "--to", m.path("out")).expect(0)
    equal(m.read("out/f1"), b"file 1\n")


@promise("a machine that was cloned is noticed by both, once, and approved when one has another name")
def _(m):
    clone = Machine("clone")
    try:
        m.stop()
        for part in ("config", "state"):
            shutil.rmtree(clone.path(part))
            shutil.copytree(m.path(part), clone.path(part), symlinks=True)
        m.start()
        clone.start()
        equal(m.json("status")["sets"][0]["guard"], "")
        result = clone.backup("docs")
        equal(result["outcome"], "complete")
        m.backup("docs")
        questions = m.json("status")["sets"][0]["questions"]
        equal([q["kind"] for q in questions], ["foreign-writer"])
        m.ctl("status").expect(0, "cloned", "--hostname")
        equal(m.json("status")["health"], "at-risk")
        # The clone sees what the first one made since.
        clone.backup("docs")
        equal([q["kind"] for q in clone.json("status")["sets"][0]["questions"]], ["foreign-writer"])
        clone.ctl("set", "edit", "docs", "--hostname", "clone").expect(0)
        clone.ctl("approve", "docs").expect(0)
        m.ctl("approve", "docs").expect(0)
        clone.backup("docs")
        # What the clone made before it had another name.
        m.backup("docs")
        m.ctl("approve", "docs")
        m.backup("docs")
        m.backup("docs")
        equal(m.json("status")["sets"][0]["guard"], "")
        equal(clone.json("status")["sets"][0]["guard"], "")
    finally:
        clone.close()


@promise("runs of our own that were killed before they were remembered are no strangers")
def _(m):
    m.write("src/f2", "before the kill\n")
    m.env["BACKUPD_FAILPOINTS"] = "run.durable=kill@1"
    m.restart()
    m.ctl("run", "docs", "--wait")
    m.daemon.wait(20)
    del m.env["BACKUPD_FAILPOINTS"]
    m.start()
    m.write("src/f3", "after it\n")
    m.backup("docs")
    equal(m.json("status")["sets"][0]["guard"], "")
    check(len(set(numbers(m, "docs"))) == len(numbers(m, "docs")), "no number twice")


if __name__ == "__main__":
    main(fixture)
