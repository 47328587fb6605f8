#!/usr/bin/env python3
"""What nobody needs any more goes, in two phases, and nothing else does. Stock restic agrees at every step."""
import hashlib
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from machine import Machine, tree_diff  # noqa: E402
from promises import check, contains, equal, main, promise, wait_for  # noqa: E402

HOUR = 3600


def fixture():
    m = Machine("collect")
    m.ahead = 0
    m.env["BACKUPD_CLOCK_STEP"] = m.write("clock", "0")
    m.start()
    m.write_tree("src", {"same.bin": os.urandom(200_000)})
    m.repository()
    collect_every(m, "off")
    m.set("home", m.path("src"), extra=["--no-automatic", "--keep", "last=1 minimum=1"])
    for n in range(4):
        m.write("src/changes.bin", os.urandom(400_000))
        m.backup()
    return m


def collect_every(m, period):
    path = "config/repositories.d/main.toml"
    lines = [line for line in m.read(path).decode().splitlines() if not line.startswith("collect")]
    m.write(path, "\n".join([*lines, f'collect = "{period}"', ""]))
    m.ctl("config", "reload").expect(0)


def later(m, seconds):
    """A daemon that starts so many seconds later."""
    m.ahead += seconds
    m.stop()
    m.write("clock", str(m.ahead))
    m.start()


def audit(m):
    a = m.json("audit")
    equal(a["live_bytes"] + a["grace_bytes"] + a["orphan_bytes"], a["listed_bytes"], a)
    listed = sum(
        os.path.getsize(os.path.join(top, name)) for top, _, names in os.walk(m.path("repo/data")) for name in names
    )
    equal(a["listed_bytes"], listed, "as on the disk")
    return a


def gc(m, *extra, code=0):
    return m.ctl("--json", "gc", *extra).expect(code).result


def restic_is_happy(m, snapshots):
    m.restic("check", "--read-data").expect(0, "no errors were found")
    listing = m.restic("snapshots", "--compact").expect(0).out
    contains(listing, f"{snapshots} snapshot")


@promise("an audit adds up, and all of a new repository is live")
def _(m):
    a = audit(m)
    equal((a["type"], a["repository"], a["grace_bytes"], a["orphan_bytes"]), ("audit", "main", 0, 0))
    equal(gc(m)["counts"]["packs_marked"], 0)


@promise("what is in the trash is still needed")
def _(m):
    m.ctl("forget", "--policy", "--yes").expect(0)
    counts = gc(m)["counts"]
    equal((counts["revisions_removed"], counts["packs_marked"]), (0, 0))
    restic_is_happy(m, 4)


@promise("emptying the trash marks its data, and restic finds nothing wrong with that")
def _(m):
    m.ctl("trash", "empty").expect(7)
    result = m.ctl("--json", "trash", "empty", "--yes").expect(0).result
    equal((result["counts"]["revisions_removed"], result["counts"]["packs_removed"]), (3, 0))
    check(result["counts"]["bytes_marked"] > 3 * 400_000, result)
    a = audit(m)
    equal((a["grace_bytes"], a["orphan_bytes"]), (result["counts"]["bytes_marked"], 0))
    restic_is_happy(m, 1)


@promise("a preview says what a run would do, and nothing goes before its time")
def _(m):
    later(m, 23 * HOUR)
    equal(gc(m, "--dry-run")["counts"]["packs_removed"], 0)
    equal(gc(m)["counts"]["packs_removed"], 0)
    later(m, 2 * HOUR)
    check(gc(m, "--dry-run")["counts"]["packs_removed"] > 0)
    m.marked = audit(m)["grace_bytes"]
    check(m.marked > 0)


@promise("after the grace it is swept, exactly, and the rest is whole")
def _(m):
    counts = gc(m)["counts"]
    equal(counts["bytes_removed"], m.marked)
    a = audit(m)
    equal((a["grace_bytes"], a["orphan_bytes"]), (0, 0))
    check(a["listed_bytes"] < 700_000, a)
    restic_is_happy(m, 1)
    m.ctl("restore", m.path("src"), "--to", m.path("out")).expect(0)
    equal(tree_diff(m.path("src"), m.path("out/src")), [])
    equal(gc(m)["counts"]["packs_removed"], 0, "the same result when run twice")


@promise("a pack that nobody knows is found, marked and removed")
def _(m):
    content = os.urandom(12_345)
    name = hashlib.sha256(content).hexdigest()
    m.write(f"repo/data/{name[:2]}/{name}", content)
    equal(audit(m)["orphan_bytes"], 12_345)
    equal(gc(m)["counts"]["bytes_marked"], 12_345)
    later(m, 25 * HOUR)
    equal(gc(m)["counts"]["bytes_removed"], 12_345)
    restic_is_happy(m, 1)


@promise("what was marked and is backed up again is stored again, not relied on")
def _(m):
    content = os.urandom(300_000)
    m.write("src/again.bin", content)
    m.backup()
    os.unlink(m.path("src/again.bin"))
    m.backup()
    m.ctl("forget", "--policy", "--yes").expect(0)
    m.ctl("trash", "empty", "--yes").expect(0)
    m.write("src/again.bin", content)
    check(m.backup()["counts"]["bytes_stored"] > 300_000)
    later(m, 25 * HOUR)
    check(gc(m)["counts"]["bytes_removed"] > 300_000)
    m.ctl("verify", "--data", "all").expect(0)
    restic_is_happy(m, 2)


@promise("restic prune beside us is safe, before and after marks")
def _(m):
    m.write("src/changes.bin", os.urandom(400_000))
    m.backup()
    m.ctl("forget", "--policy", "--yes").expect(0)
    m.ctl("trash", "empty", "--yes").expect(0)
    m.restic("prune", "--max-unused", "0").expect(0)
    restic_is_happy(m, 1)
    m.write("src/more.bin", os.urandom(100_000))
    m.backup()
    equal(gc(m)["outcome"], "complete")
    audit(m)
    restic_is_happy(m, 2)
    m.ctl("verify", "--data", "all").expect(0)


@promise("runs, checks and collections go on side by side, and all is whole in the end")
def _(m):
    m.write_tree("busy", {f"d{n}/f{k}": os.urandom(9_000) for n in range(20) for k in range(20)})
    m.set("busy", m.path("busy"), extra=["--no-automatic", "--keep", "last=1 minimum=1"])
    for n in range(4):
        m.write(f"busy/d{n}/f1", os.urandom(900_000))
        m.backup("busy")
        m.ctl("forget", "--policy", "busy", "--yes").expect(0)
        m.ctl("trash", "empty", "busy", "--yes").expect(0)
        later(m, 25 * HOUR)
        m.write(f"busy/d{n}/f2", os.urandom(500_000))
        side_by_side = [
            m.ctl_spawn("gc", "--wait"),
            m.ctl_spawn("run", "busy", "--wait"),
            m.ctl_spawn("verify", "--data", "all"),
            m.ctl_spawn("run", "home", "--wait"),
        ]
        equal([process.wait(120) for process in side_by_side], [0, 0, 0, 0])
        m.ctl("verify", "--data", "all").expect(0)
    audit(m)
    m.restic("check", "--read-data").expect(0, "no errors were found")


@promise("an append-only repository takes backups and says why nothing is collected")
def _(m):
    path = "config/repositories.d/main.toml"
    before = m.read(path).decode()
    m.write(path, before + "append-only = true\n")
    m.ctl("config", "reload").expect(0)
    m.ctl("gc").expect(8, "append-only")
    equal(m.backup()["outcome"], "complete")
    m.ctl("pin", "home/latest").expect(0)
    equal(len([r for r in m.revisions() if r["pinned"]]), 1)
    m.write(path, before)
    m.ctl("config", "reload").expect(0)
    counts = gc(m)["counts"]
    equal(counts["revisions_removed"], 1, "the earlier edition of the pinned one")


@promise("it runs by itself: rules, trash and all")
def _(m):
    collect_every(m, "1d")
    known = max(j["id"] for j in m.json("jobs")["jobs"])
    m.write("src/changes.bin", os.urandom(400_000))
    m.backup()
    later(m, 50 * HOUR)

    def by_itself():
        return [
            j
            for j in m.json("jobs")["jobs"]
            if j["kind"] == "gc" and j["id"] > known and j["trigger"] == "schedule" and j["state"] == "done"
        ]

    wait_for("a collection of its own", by_itself)
    equal(by_itself()[0]["outcome"], "complete")
    check(m.json("trash", "list")["revisions"], "the rules were applied")
    restic_is_happy(m, len(m.json("revisions", "--all")["revisions"]))


if __name__ == "__main__":
    main(fixture)
