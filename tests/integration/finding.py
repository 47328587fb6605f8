#!/usr/bin/env python3
"""Finding what was lost: history, find, diff, deleted files; from a local index that can always be made again."""
import base64
import glob
import os
import re
import shlex
import shutil
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from machine import Machine, ready  # noqa: E402
from promises import check, contains, equal, main, promise, skip, wait_for  # noqa: E402


def fixture():
    """Revision 1: a letter, a folder. 2: the letter is longer. 3: the letter is gone, and two of the folder. 4: nothing new."""
    m = ready("finding")
    m.write_tree(
        "src", {"letters/ada.txt": "Dear Ada\n", "letters/bob.txt": "Dear Bob\n", "photos/a.jpg": "a" * 999, "photos/b.jpg": "b", "keep": "k"}
    )
    m.set("home", m.path("src"), extra=["--exclude", "*.tmp", "--no-automatic"])
    m.backup()
    later()
    m.write("src/letters/ada.txt", "Dear Ada,\nhow are you?\n")
    m.backup()
    later()
    os.remove(m.path("src/letters/ada.txt"))
    os.remove(m.path("src/photos/a.jpg"))
    os.remove(m.path("src/photos/b.jpg"))
    m.backup()
    later()
    m.backup()
    return m


def later():
    """Revisions are told apart by the second on the command line."""
    time.sleep(1.1 - time.time() % 1)


def history(m, name, *more, code=0):
    return m.json("history", m.path(name), *more, code=code)


def found(m, *more):
    """Paths below the source, each with its entry."""
    lines = m.ctl("--json", "find", *more).expect(0).lines
    equal(lines[-1]["type"], "result")
    equal(lines[-1]["counts"]["entries"], len(lines) - 1)
    return {os.path.relpath(e["path"], m.path("src")): e for e in lines[:-1]}


@promise("history tells the distinct versions of a path, newest first, with deletions and sizes")
def _(m):
    h = history(m, "src/letters/ada.txt")
    equal((h["schema"], h["type"], h["path"]), (1, "history", m.path("src/letters/ada.txt")))
    revisions = {r["number"]: r for r in m.revisions()}
    equal([(v["kind"], v["size"], v["number"], v["revisions"]) for v in h["versions"]], [("deleted", 0, 3, 2), ("file", 23, 2, 1), ("file", 9, 1, 1)])
    for v in h["versions"]:
        equal(v["revision"], revisions[v["number"]]["id"])
        equal(v["time"], revisions[v["number"]]["time"])
    equal(h["on_disk"]["state"], "missing")
    equal([v["change"] for v in h["versions"]], ["deleted", "content", "created"])
    equal([(v["kind"], v["revisions"], v["last_number"]) for v in history(m, "src/keep")["versions"]], [("file", 4, 4)])
    equal(m.json("versions", m.path("src/keep"))["versions"], history(m, "src/keep")["versions"], "the alias")


@promise("a file that is gone is back after two commands, and no id")
def _(m):
    path = m.path("src/letters/ada.txt")
    told = m.ctl("history", path).expect(0, "deleted", "changed", "home/2").out
    command = re.search(r"backupctl (restore .*)", told).group(1)
    contains(command, "--at")
    m.ctl(*shlex.split(command)).expect(0)
    equal(m.read("src/letters/ada.txt"), b"Dear Ada,\nhow are you?\n")
    os.remove(path)


@promise("asked for what the last revision does not have any more, each verb says how to find when it was there")
def _(m):
    for verb in (["restore"], ["restore", "-n"], ["cat"], ["ls"]):
        reply = m.ctl(*verb, m.path("src/letters/ada.txt")).expect(5)
        command = re.search(r"backupctl (history .*)", reply.err).group(1)
        contains(m.ctl(*shlex.split(command)).expect(0).out, "deleted", "backupctl restore")


@promise("an earlier version comes back beside what is there, as the hint says")
def _(m):
    m.write("src/letters/ada.txt", "what I did not mean\n")
    try:
        told = m.ctl("history", m.path("src/letters/ada.txt")).expect(0, "not yet protected").out
        m.ctl(*shlex.split(re.search(r"backupctl (restore .*)", told).group(1))).expect(0)
        equal(m.read("src/letters/ada.txt"), b"what I did not mean\n")
        beside = [n for n in os.listdir(m.path("src/letters")) if "(backup" in n]
        equal([m.read("src/letters/" + n) for n in beside], [b"Dear Ada,\nhow are you?\n"])
    finally:
        for name in os.listdir(m.path("src/letters")):
            if "ada" in name:
                os.remove(m.path("src/letters", name))


@promise("what is on the disk and not yet protected is said")
def _(m):
    def disk(name):
        return history(m, name)["on_disk"]

    equal(disk("src/keep")["state"], "protected")
    os.chmod(m.path("src/keep"), 0o600)
    equal((disk("src/keep")["state"], disk("src/keep")["change"]), ("unprotected", "metadata"))
    os.chmod(m.path("src/keep"), 0o644)
    m.write("src/new", "12345")
    h = history(m, "src/new")
    equal((h["versions"], h["on_disk"]["state"], h["on_disk"]["size"]), ([], "unprotected", 5))
    m.write("src/not.tmp", "")
    equal(disk("src/not.tmp")["state"], "excluded")
    for name in ("src/new", "src/not.tmp"):
        os.remove(m.path(name))
    os.rename(m.path("src/keep"), m.path("aside"))
    equal(disk("src/keep")["state"], "deleted")
    os.rename(m.path("aside"), m.path("src/keep"))
    equal(disk("src/keep")["state"], "protected")


@promise("a path that nothing knows is exit 5, with what to try")
def _(m):
    m.ctl("history", m.path("src/letters/nobody")).expect(5, "backupctl find nobody")
    m.ctl("history").expect(2)


@promise("find knows every name there ever was, and what the newest revision does not have")
def _(m):
    everything = found(m, "*")
    check({"letters", "letters/ada.txt", "letters/bob.txt", "photos/a.jpg", "keep"} <= set(everything), everything.keys())
    ada = found(m, "ada.txt")["letters/ada.txt"]
    equal((ada["deleted"], ada["size"], ada["number"], ada["kind"], ada["set"]), (True, 23, 2, "file", "home"))
    equal(sorted(found(m, "*.jpg")), ["photos/a.jpg", "photos/b.jpg"])
    equal(found(m, "ADA.TXT"), {})
    equal(sorted(found(m, "-i", "ADA.TXT")), ["letters/ada.txt"])
    equal(sorted(found(m, m.path("src") + "/l*/*.txt")), ["letters/ada.txt", "letters/bob.txt"])
    equal(sorted(found(m, "*.txt", "--deleted")), ["letters/ada.txt"])
    equal(sorted(found(m, "*", "--below", m.path("src/photos"))), ["photos/a.jpg", "photos/b.jpg"])
    m.ctl("find", "a.jpg").expect(0, "deleted", "home/2")
    equal(m.ctl("-0", "find", "*.jpg", "--deleted").expect(0).raw.count(b"\0"), 2)
    m.ctl("find", "[").expect(2)
    m.ctl("find", "*", "--at", "yesterday", "--since", "yesterday").expect(2)


@promise("find by time: as it was then, or what happened since")
def _(m):
    times = {r["number"]: r["time"] for r in m.revisions()}
    then = found(m, "ada.txt", "--at", times[1])["letters/ada.txt"]
    equal((then["deleted"], then["size"], then["number"]), (False, 9, 1))
    equal(found(m, "ada.txt", "--at", times[3]), {})
    equal(sorted(found(m, "*.*", "--since", times[3])), ["letters/ada.txt", "photos/a.jpg", "photos/b.jpg"])
    equal(found(m, "*.*", "--since", times[4]), {})
    equal(found(m, "*", "--at", "yesterday"), {})


@promise("ls --deleted lists what was in a folder and is not any more")
def _(m):
    lines = m.ctl("--json", "ls", "--deleted", m.path("src/photos")).expect(0).lines
    equal(sorted(e["path"] for e in lines[:-1]), [m.path("src/photos/a.jpg"), m.path("src/photos/b.jpg")])
    equal({e["number"] for e in lines[:-1]}, {2})
    equal(m.ctl("--json", "ls", "--deleted", m.path("src")).expect(0).lines[-1]["counts"], {"entries": 0})
    equal(m.ctl("--json", "ls", "--deleted", "-R", m.path("src")).expect(0).lines[-1]["counts"], {"entries": 3})
    m.ctl("ls", "--deleted", m.path("src/photos")).expect(0, "a.jpg", "home/2")
    m.ctl("ls", "--deleted", m.path("src/nowhere")).expect(5)


def diff(m, *args, code=0):
    lines = m.ctl("--json", "diff", *args).expect(code).lines
    equal(lines[-1]["type"], "result")
    return {os.path.relpath(e["path"], m.path("src")): e["change"] for e in lines if e["type"] == "change"}


@promise("diff compares revisions: names, contents, metadata, and nothing else")
def _(m):
    equal(diff(m, "home/1", "home/2"), {"letters/ada.txt": "content"})
    equal(diff(m, "2", "3"), {"letters/ada.txt": "removed", "photos/a.jpg": "removed", "photos/b.jpg": "removed"})
    equal(diff(m, "home/3", "home/1")["photos/a.jpg"], "added")
    equal(diff(m, "home/3", "home/4"), {})
    equal(diff(m, "home/1:" + m.path("src/photos"), "home/3"), {"photos/a.jpg": "removed", "photos/b.jpg": "removed"})
    m.ctl("diff", "home/1", "home/2").expect(0, "changed", "9 b to 23 b")
    m.ctl("diff", "home/1", m.path("src")).expect(2)
    m.ctl("diff", "home/1:" + m.path("nowhere"), "home/2").expect(5)


@promise("diff compares with the disk: without a word the last revision, and only what the set takes in")
def _(m):
    equal(diff(m), {})
    m.write_tree("src", {"new/deep/file": "n", "new/out.tmp": "t", "keep": "longer"})
    os.remove(m.path("src/letters/bob.txt"))
    os.chmod(m.path("src/photos"), 0o700)
    wanted = {"new": "added", "new/deep": "added", "new/deep/file": "added", "keep": "content", "letters/bob.txt": "removed", "photos": "metadata"}
    equal(diff(m), wanted)
    equal(diff(m, m.path("src/new")), {"new": "added", "new/deep": "added", "new/deep/file": "added"})
    equal(diff(m, "home/1:" + m.path("src/letters")), {"letters/ada.txt": "removed", "letters/bob.txt": "removed"})
    m.ctl("diff").expect(0, "added", "1 removed", "on the disk")
    m.backup()
    equal(diff(m), {})


@promise("history follows a replaced kind, names that are no text, and a folder")
def _(m):
    strange = os.fsencode(m.path("src")) + b"/\xff\n"
    with open(strange, "wb") as f:
        f.write(b"x")
    m.write("src/kind", "a file")
    n = m.backup()["revision"]
    os.remove(m.path("src/kind"))
    os.symlink("elsewhere", m.path("src/kind"))
    m.backup()
    equal([v["kind"] for v in history(m, "src/kind")["versions"]], ["symlink", "file"])
    h = m.json("history", strange)
    equal((base64.b64decode(h["path_b64"]), h["versions"][0]["revision"]), (strange, n))
    lines = m.ctl("--json", "find", b"\xff*").expect(0).lines
    equal(base64.b64decode(lines[0]["path_b64"]), strange)
    equal({v["kind"] for v in history(m, "src/letters")["versions"]}, {"directory"})


@promise("forgotten revisions do not count, and those taken back do again")
def _(m):
    before = history(m, "src/letters/ada.txt")["versions"]
    m.ctl("forget", "home/2", "--yes", "--wait").expect(0)
    equal([(v["kind"], v["number"]) for v in history(m, "src/letters/ada.txt")["versions"]], [("deleted", 3), ("file", 1)])
    m.ctl("trash", "restore", "home/2").expect(0)
    again = history(m, "src/letters/ada.txt")["versions"]
    equal([(v["kind"], v["number"], v["size"]) for v in again], [(v["kind"], v["number"], v["size"]) for v in before])


@promise("while the repository cannot be reached, the index answers, also after a restart")
def _(m):
    before = history(m, "src/letters/ada.txt")["versions"]
    os.rename(m.path("repo"), m.path("repo-away"))
    try:
        h = history(m, "src/letters/ada.txt")
        equal(h["versions"], before)
        equal([b["set"] for b in h["behind"]], ["home"])
        m.restart()
        equal(history(m, "src/letters/ada.txt")["versions"], before)
        m.ctl("history", m.path("src/letters/ada.txt")).expect(0, "there may be newer revisions", "deleted")
        equal(m.ctl("--json", "find", "ada.txt").expect(0).lines[0]["path"], m.path("src/letters/ada.txt"))
    finally:
        os.rename(m.path("repo-away"), m.path("repo"))
    wait_for("the repository", lambda: m.ctl("--json", "history", m.path("src/keep")).result["behind"] == [])


@promise("an index that is missing or damaged is made again from the repository, by itself")
def _(m):
    before = history(m, "src/letters/ada.txt")["versions"]
    m.stop()
    shutil.rmtree(m.path("state/history"))
    m.start()
    equal(history(m, "src/letters/ada.txt")["versions"], before)
    m.stop()
    for name in os.listdir(m.path("state/history")):
        if name.startswith("MANIFEST"):
            m.write("state/history/" + name, "nonsense")
    m.start()
    # In the background, too: once it is there it answers without the repository.
    wait_for("the index", lambda: any(os.path.getsize(n) > 30 for n in glob.glob(m.path("state/history/MANIFEST*"))))
    equal(history(m, "src/letters/ada.txt")["versions"], before)
    m.kill()
    m.start()
    equal(history(m, "src/letters/ada.txt")["versions"], before)


@promise("a commit is in the index soon, without being asked for")
def _(m):
    m.write("src/soon", "s")
    m.backup()

    def known_without_the_repository():
        os.rename(m.path("repo"), m.path("repo-away"))
        try:
            h = m.ctl("--json", "history", m.path("src/soon"))
            return h.code == 0 and [v["kind"] for v in h.lines[-1]["versions"]] == ["file"]
        finally:
            os.rename(m.path("repo-away"), m.path("repo"))
            time.sleep(0.1)  # for the daemon to find it

    wait_for("the version", known_without_the_repository)


@promise("what another machine or restic has put into the repository is found with --host")
def _(m):
    other = m.write_tree("other", {"theirs.txt": "theirs\n"})
    m.restic("backup", "--host", "elsewhere", other).expect(0)
    m.write("other/theirs.txt", "theirs, changed\n")
    m.restic("backup", "--host", "elsewhere", other).expect(0)
    m.ctl("history", m.path("other/theirs.txt"), "--set", "home").expect(0, "no revision has")
    h = m.json("history", m.path("other/theirs.txt"), "--host", "elsewhere")
    equal([(v["kind"], v["size"], v["host"]) for v in h["versions"]], [("file", 16, "elsewhere"), ("file", 7, "elsewhere")])
    lines = m.ctl("--json", "find", "theirs.txt", "--host", "*").expect(0).lines
    equal([e["path"] for e in lines[:-1]], [m.path("other/theirs.txt")])
    m.ctl("history", m.path("other/theirs.txt"), "--host", "nobody").expect(5)


@promise("snapshots that restic made of this machine are history, too")
def _(m):
    with Machine("adopted") as n:
        n.start()
        n.repository()
        n.write("src/old.txt", "restic had this\n")
        n.restic("backup", "--host", socket.gethostname(), n.path("src")).expect(0)
        n.set("home", n.path("src"), extra=["--no-automatic"])
        n.backup()
        later()
        n.write("src/old.txt", "and then we\n")
        n.backup()
        versions = n.json("history", n.path("src/old.txt"))["versions"]
        equal([v["size"] for v in versions], [12, 16])
        equal(versions[1]["revisions"], 2, "restic's and ours")


@promise("what lies in a cache directory is left out: it is not called unprotected, and no difference")
def _(m):
    with ready("cache") as n:
        n.write_tree("src", {"kept": "k", "cache/CACHEDIR.TAG": "Signature: 8a477f597d28d172789f06886806bc55\n"})
        n.set("home", n.path("src"), extra=["--no-automatic"])
        n.backup()
        n.write("src/cache/thumbnail", "new")
        n.write_tree("src", {"other/CACHEDIR.TAG": "Signature: 8a477f597d28d172789f06886806bc55\n", "other/thumbnail": "new"})
        for name in ("cache", "other"):
            h = n.json("history", n.path(f"src/{name}/thumbnail"))
            equal((h["versions"], h["on_disk"]["state"]), ([], "excluded"))
        paths = [line["path"] for line in n.ctl("--json", "diff").expect(0).lines if "path" in line]
        equal([path for path in paths if path.endswith("thumbnail")], [])


if __name__ == "__main__":
    main(fixture)
