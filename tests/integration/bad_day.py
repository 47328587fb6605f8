#!/usr/bin/env python3
"""The bad day: a machine that knows nothing but the URL and the password of a repository, and the repository's own way with stock restic."""
import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from machine import Machine, tree_diff  # noqa: E402
from promises import check, equal, main, promise, wait_for  # noqa: E402


class Day:
    """The lost machine, of which only the repository is left, and a new one."""

    def __enter__(self):
        self.lost = Machine("lost").__enter__()
        m = self.lost
        m.start()
        m.repository(cheap=True)
        m.write_tree("home/ada", {"letters/one.txt": "dear Ada\n", "letters/two.txt": "2\n", "photo": os.urandom(300_000)})
        m.write_tree("srv/wiki", {"page": "first\n"})
        m.set("home", m.path("home/ada"), extra=["--no-automatic", "--hostname", "oldbox"])
        m.set("wiki", m.path("srv/wiki"), extra=["--no-automatic", "--hostname", "otherbox"])
        m.backup("home")
        m.write("home/ada/letters/one.txt", "dear Ada, again\n")
        os.unlink(m.path("home/ada/letters/two.txt"))
        m.backup("home")
        m.backup("wiki")
        m.stop()
        self.kept = m.path("kept")
        os.rename(m.path("home"), self.kept)
        self.new = Machine("new").__enter__()
        self.new.start()
        return self

    def __exit__(self, *problem):
        self.new.__exit__(*problem)
        self.lost.__exit__(*problem)

    def explain(self):
        self.new.explain()


def state(m, name):
    return next(s["state"] for s in m.json("status")["sets"] if s["id"] == name)


@promise("URL and password are enough: what the repository holds is listed, found, compared and restored")
def _(day):
    n, source = day.new, day.lost.path("home/ada")
    n.ctl("repo", "add", "old", day.lost.path("repo"), "--password-file", day.lost.password_file).expect(0, "holds", "home", "oldbox", "restore")
    equal({s["id"]: s["state"] for s in n.json("status")["sets"]}, {"home": "found", "wiki": "found"})
    n.ctl("revisions").expect(0, "home/2", "home/1", "wiki/1")
    n.ctl("ls", source).expect(0, "letters/", "photo")
    n.ctl("history", source + "/letters/two.txt").expect(0, "deleted", "home/1")
    n.ctl("find", "one.txt").expect(0, source + "/letters/one.txt")
    n.ctl("restore", source, "--to", n.path("out")).expect(0)
    equal(tree_diff(os.path.join(day.kept, "ada"), n.path("out/ada")), [])
    n.ctl("restore", source + "/letters/one.txt", "--revision", "home/1", "--to", n.path("older")).expect(0)
    equal(n.read("older/one.txt"), b"dear Ada\n")
    n.ctl("restore", source).expect(0)
    equal(tree_diff(os.path.join(day.kept, "ada"), source), [])
    shutil.rmtree(source)
    n.ctl("verify", "--data", "all").expect(0)


@promise("what was found is no set of this machine: nothing is backed up or forgotten by it, and no file describes it")
def _(day):
    n = day.new
    n.ctl("run", "home").expect(7, "set edit home --enable")
    n.ctl("set", "remove", "home", "--yes").expect(1, "nothing to remove")
    n.ctl("forget", "--policy", "--yes")
    equal(len(n.json("revisions", "home")["revisions"]), 2)
    equal(os.listdir(n.path("config/sets.d")) if os.path.isdir(n.path("config/sets.d")) else [], [])


@promise("it is found again after a restart and a reload")
def _(day):
    n = day.new
    n.restart()
    n.ctl("ls", day.lost.path("home/ada"), timeout=30)
    wait_for("the sets", lambda: [s["id"] for s in n.json("status")["sets"]] == ["home", "wiki"])
    n.ctl("config", "reload").expect(0)
    equal([s["id"] for s in n.json("status")["sets"]], ["home", "wiki"])


@promise("enabled, the line goes on where it was, and the machine has sets of its own from then on")
def _(day):
    n, source = day.new, day.lost.path("home/ada")
    n.ctl("restore", source).expect(0)
    n.ctl("set", "edit", "home", "--enable", "--no-automatic").expect(0)
    equal([s["id"] for s in n.json("status")["sets"]], ["home"])
    result = n.backup("home")
    equal(result["counts"]["data_blobs_new"], 0)
    newest = n.json("revisions", "home")["revisions"][0]
    equal((newest["number"], newest["host"]), (3, "oldbox"))


@promise("a set may be made under the name of one that was found")
def _(day):
    with Machine("third") as n:
        n.start()
        n.ctl("repo", "add", "old", day.lost.path("repo"), "--password-file", day.lost.password_file).expect(0)
        n.write("mine/x", "x\n")
        n.set("home", n.path("mine"), repository="old")
        equal([(s["id"], s["state"]) for s in n.json("status")["sets"]], [("home", "idle")])
        n.backup("home")
        equal([r["number"] for r in n.json("revisions", "home")["revisions"]], [1])


@promise("stock restic alone gives everything back")
def _(day):
    day.lost.restic("restore", "latest", "--host", "oldbox", "--tag", "backupd:set=home", "--target", day.lost.path("by-restic")).expect(0)
    path = day.lost.path("by-restic") + day.lost.path("home/ada")
    equal(tree_diff(os.path.join(day.kept, "ada"), path), [])
    check(os.path.isdir(path))


if __name__ == "__main__":
    main(Day)
