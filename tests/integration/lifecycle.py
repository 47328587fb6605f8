#!/usr/bin/env python3
"""Revisions after they were made: pins, rules, the trash. Stock restic agrees at every step."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from machine import Machine  # noqa: E402
from promises import check, contains, equal, main, promise  # noqa: E402


def fixture():
    m = Machine("life")
    m.start()
    m.write_tree("src", {"a.txt": "one\n", "sub/b.bin": os.urandom(300_000)})
    m.repository()
    m.set("home", m.path("src"), extra=["--no-automatic", "--keep", "last=2 minimum=1"])
    for n in range(5):
        m.write("src/a.txt", f"version {n}\n")
        m.backup()
    return m


def numbers(m, *extra):
    return [r["number"] for r in m.json("revisions", "home", *extra)["revisions"]]


def tags_of(m, number):
    snapshots = json.loads(m.restic("snapshots", "--json").expect(0).out)
    found = [s for s in snapshots if f"backupd:n={number}" in s["tags"]]
    equal(len(found), 1, "one snapshot for one revision")
    return found[0]["tags"]


def restic_is_happy(m):
    m.restic("check", "--read-data").expect(0, "no errors were found")


@promise("a pin is a tag that restic shows, and the revision stays the same otherwise")
def _(m):
    before = m.json("show", "home/2")
    m.ctl("pin", "home/2").expect(0, "home/2 is pinned")
    after = m.json("show", "home/2")
    equal((after["pinned"], before["pinned"]), (True, False))
    for key in ("number", "tree", "trigger", "revision_time", "parent", "items"):
        equal(after[key], before[key], key)
    check(after["id"] != before["id"], "the snapshot was written anew")
    contains(" ".join(tags_of(m, 2)), "backupd:pin")
    equal(m.json("show", before["id"])["id"], after["id"], "the old id still means it")
    equal(numbers(m), [5, 4, 3, 2, 1])
    restic_is_happy(m)


@promise("a preview names the rule that keeps each, and changes nothing")
def _(m):
    plan = m.json("forget", "--policy", "home", "--dry-run")
    verdicts = {r["number"]: (r["keep"], r["rules"]) for r in plan["sets"][0]["revisions"]}
    equal(
        verdicts,
        {5: (True, ["last"]), 4: (True, ["last"]), 3: (False, []), 2: (True, ["pin"]), 1: (False, [])},
    )
    equal(numbers(m), [5, 4, 3, 2, 1])
    m.ctl("forget", "--policy", "-n").expect(0, "no rule keeps it")


@promise("without a terminal forgetting demands --yes")
def _(m):
    m.ctl("forget", "home/1").expect(7)
    m.ctl("forget", "--policy").expect(7)
    equal(numbers(m), [5, 4, 3, 2, 1])


@promise("what is forgotten is what the preview said, and lies in the trash")
def _(m):
    result = m.ctl("--json", "forget", "--policy", "home", "--yes").expect(0).result
    equal((result["kind"], result["outcome"], result["counts"]["forgotten"]), ("forget", "complete", 2))
    equal(numbers(m), [5, 4, 2])
    equal([r["number"] for r in m.json("trash", "list")["revisions"]], [3, 1])
    equal(numbers(m, "--all"), [5, 4, 3, 2, 1])
    contains(" ".join(tags_of(m, 3)), "backupd:trash=")
    restic_is_happy(m)


@promise("the trash gives back what it holds")
def _(m):
    m.ctl("trash", "restore", "home/3").expect(0, "home/3 is back")
    m.ctl("trash", "restore", "home/3").expect(0, "is not in the trash")
    equal(numbers(m), [5, 4, 3, 2])
    check(not any("trash" in tag for tag in tags_of(m, 3)), "the tag is gone")
    m.ctl("restore", m.path("src/a.txt"), "--revision", "home/3", "--to", m.path("out")).expect(0)
    equal(m.read("out/a.txt"), b"version 2\n")


@promise("a pinned revision is not forgotten by name either; nothing is, then")
def _(m):
    m.ctl("forget", "home/3", "home/2", "--yes").expect(7, "pinned")
    equal(numbers(m), [5, 4, 3, 2])
    m.ctl("unpin", "home/2").expect(0)
    m.ctl("forget", "home/3", "home/2", "--yes").expect(0)
    equal(numbers(m), [5, 4])


@promise("a run after the newest was pinned goes on from it")
def _(m):
    m.ctl("pin", "latest").expect(0)
    m.write("src/a.txt", "after the pin\n")
    result = m.backup()
    equal((result["counts"]["files_read"], result["counts"]["files_changed"]), (1, 1))
    equal(numbers(m), [6, 5, 4])


@promise("latest is never in the trash, and numbers only grow")
def _(m):
    m.ctl("forget", "latest", "--yes").expect(0)
    equal(m.json("show", "latest")["number"], 5)
    equal(m.backup()["outcome"], "complete")
    equal(numbers(m)[0], 7)


@promise("snapshots of restic are listed and never touched")
def _(m):
    m.restic("backup", m.path("src"), "--host", "elsewhere").expect(0)
    foreign = [r for r in m.json("revisions", "--foreign")["revisions"] if r["set"] == ""]
    equal(len(foreign), 1)
    m.ctl("forget", foreign[0]["id"], "--set", "home", "--yes").expect(7, "left alone")
    m.ctl("pin", foreign[0]["id"], "--set", "home").expect(1, "not made by this program")
    plan = m.json("forget", "--policy", "-n")
    check(foreign[0]["id"] not in [r["id"] for s in plan["sets"] for r in s["revisions"]], plan)


@promise("rules come with the set, and bad ones are refused")
def _(m):
    contains(m.ctl("set", "show", "home").expect(0).out, "last=2")
    m.ctl("set", "edit", "home", "--keep", "fortnightly=3").expect(2, "fortnightly")
    m.ctl("set", "edit", "home", "--keep", "daily=7 within=2d").expect(0)
    equal(m.json("set", "show", "home")["config"]["keep"], "daily=7 within=2d")
    contains(m.read("config/sets.d/home.toml").decode(), "[keep]", "daily = 7", 'within = "2d"')
    m.ctl("set", "edit", "home", "--keep", "none").expect(0)
    check(all(r["rules"] == ["no-rules"] for r in m.json("forget", "--policy", "-n")["sets"][0]["revisions"]))


@promise("all of it is known to a fresh machine")
def _(m):
    before = [(r["number"], r["pinned"]) for r in m.json("revisions", "home", "--all")["revisions"]]
    m.stop()
    os.rename(m.path("state"), m.path("state.old"))
    os.makedirs(m.path("state"), 0o700)
    m.start()
    equal([(r["number"], r["pinned"]) for r in m.json("revisions", "home", "--all")["revisions"]], before)
    equal(m.backup()["outcome"], "complete")
    equal(numbers(m)[0], 8)
    restic_is_happy(m)


if __name__ == "__main__":
    main(fixture)
