#!/usr/bin/env python3
"""First light: from an empty machine to a restored file, and restic agrees."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from machine import Machine, tree_diff  # noqa: E402
from promises import check, contains, equal, main, promise  # noqa: E402


def fixture():
    m = Machine("light")
    m.write_tree("src", {"a.txt": "alpha\n", "sub/b.bin": os.urandom(3_000_000), "sub/deep/er/c": "", "ümlaut 日本": "x"})
    os.symlink("a.txt", m.path("src/link"))
    os.link(m.path("src/a.txt"), m.path("src/hard"))
    os.mkfifo(m.path("src/fifo"))
    with open(m.path("src/sparse"), "wb") as f:
        f.truncate(20 << 20)
    return m


@promise("status answers before anything is configured")
def _(m):
    m.start()
    status = m.json("status")
    equal((status["schema"], status["type"], status["sets"]), (1, "status", []))


@promise("repo init makes a repository that restic opens")
def _(m):
    m.repository()
    m.restic("cat", "config").expect(0, '"version": 2')


@promise("a first run stores everything and says what it did")
def _(m):
    m.set("home", m.path("src"))
    result = m.backup()
    equal((result["outcome"], result["exit_code"], result["kind"]), ("complete", 0, "backup"))
    check(result["counts"]["files_new"] >= 6, result)
    check(result["counts"]["bytes_stored"] > 3_000_000, result)
    equal(len(result["revision"]), 64)
    m.first = result["revision"]


@promise("the revision is listed, shown, and its files too")
def _(m):
    revisions = m.revisions()
    equal([(r["id"], r["number"], r["state"]) for r in revisions], [(m.first, 1, "complete")])
    m.ctl("show", m.first).expect(0, m.path("src"))
    m.ctl("show", "latest").expect(0)
    listing = m.ctl("ls", m.path("src")).expect(0).out
    contains(listing, "a.txt", "sub", "ümlaut 日本")
    equal(m.ctl("cat", m.path("src/a.txt")).expect(0).raw, b"alpha\n")


@promise("an unchanged second run reads no file and stores no data")
def _(m):
    result = m.backup()
    counts = result["counts"]
    equal((counts["files_new"], counts["files_changed"], counts["files_read"], counts["bytes_read"]), (0, 0, 0, 0), counts)


@promise("a changed file is the only one that is read")
def _(m):
    m.write("src/sub/deep/er/c", "now it has content\n")
    os.unlink(m.path("src/ümlaut 日本"))
    counts = m.backup()["counts"]
    equal((counts["files_new"], counts["files_changed"], counts["files_removed"], counts["files_read"]), (0, 1, 1, 1), counts)


def tree_of_source(m, revision):
    """The id of the tree of src: those above it change whenever anybody writes into the temporary directory."""
    tree = json.loads(m.restic("cat", "snapshot", revision).expect(0).out)["tree"]
    for name in m.path("src").strip("/").split("/"):
        nodes = json.loads(m.restic("cat", "blob", tree).expect(0).out)["nodes"]
        tree = next(node["subtree"] for node in nodes if node["name"] == name)
    return tree


@promise("--full reads all again and finds the same tree")
def _(m):
    before = m.json("revisions", "home")["revisions"][0]["id"]
    result = m.backup("home", "--full")
    check(result["counts"]["files_read"] >= 5, result)
    equal(tree_of_source(m, before), tree_of_source(m, result["revision"]))


@promise("the whole source comes back identical, metadata included")
def _(m):
    m.ctl("restore", m.path("src"), "--to", m.path("out")).expect(0)
    equal(tree_diff(m.path("src"), m.path("out/src"), "--sparse", "kept"), [])


@promise("an earlier version of one file comes back by revision")
def _(m):
    m.ctl("restore", m.path("src/ümlaut 日本"), "--revision", m.first, "--to", m.path("old")).expect(0)
    equal(m.read("old/ümlaut 日本"), b"x")
    m.ctl("restore", m.path("src/sub/deep/er/c"), "--revision", "1", "--to", m.path("old")).expect(0)
    equal(m.read("old/c"), b"")


@promise("a lost file comes back to its own place")
def _(m):
    kept = os.stat(m.path("src/sub/b.bin"))
    content = m.read("src/sub/b.bin")
    os.unlink(m.path("src/sub/b.bin"))
    m.ctl("restore", m.path("src/sub/b.bin")).expect(0)
    equal(m.read("src/sub/b.bin"), content)
    equal(os.stat(m.path("src/sub/b.bin")).st_mtime_ns, kept.st_mtime_ns)


@promise("verify with data finds nothing wrong, and neither does restic")
def _(m):
    m.ctl("verify", "--data", "all").expect(0)
    m.restic("check", "--read-data").expect(0, "no errors were found")


@promise("restic lists our revisions and restores the same tree")
def _(m):
    m.backup()
    m.restic("restore", "latest", "--target", m.path("by-restic")).expect(0)
    equal(tree_diff(m.path("src"), m.path("by-restic") + m.path("src")), [])


@promise("jobs are remembered over a restart of the daemon")
def _(m):
    before = m.json("jobs")["jobs"]
    check(len(before) >= 5, before)
    equal({j["state"] for j in before}, {"done"})
    m.restart()
    after = m.json("jobs")["jobs"]
    equal([(j["id"], j["kind"], j["outcome"]) for j in after], [(j["id"], j["kind"], j["outcome"]) for j in before])
    equal(sorted((j["id"] for j in after), reverse=True), [j["id"] for j in after], "newest first")
    equal(len(m.revisions()), len([j for j in before if j["kind"] == "backup"]))


@promise("every alias leads where the first guess expects it")
def _(m):
    for alias, verb in (("snapshots", "revisions"), ("list", "revisions")):
        equal(m.ctl(alias, "home").expect(0).out, m.ctl(verb, "home").expect(0).out)
    m.ctl("backup", "home", "--wait").expect(0)


@promise("time words choose the last revision that is not later")
def _(m):
    newest = m.revisions()[0]
    m.ctl("restore", m.path("src/a.txt"), "--at", newest["time"], "--to", m.path("at-now")).expect(0, newest["id"][:8])
    equal(m.read("at-now/a.txt"), b"alpha\n")
    m.ctl("restore", m.path("src/a.txt"), "--at", "2001-01-01", "--to", m.path("at-then")).expect(5)
    check(not os.path.exists(m.path("at-then/a.txt")))


@promise("SIGHUP reads the configuration again and does not end the daemon")
def _(m):
    import signal

    m.write("config/sets.d/second.toml", f'repository = "main"\npaths = ["{m.path("src/sub")}"]\n')
    m.daemon.send_signal(signal.SIGHUP)
    from promises import wait_for

    wait_for("the new set", lambda: "second" in [s["id"] for s in m.json("status")["sets"]])
    equal(m.daemon.poll(), None)


@promise("SIGTERM ends the idle daemon with status 0")
def _(m):
    equal(m.stop(), 0)


if __name__ == "__main__":
    main(fixture)
