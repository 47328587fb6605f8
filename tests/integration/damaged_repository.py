#!/usr/bin/env python3
"""Damage: verify finds it (exit code 14), a restore never gives wrong bytes as good, and what is intact still comes back."""
import glob
import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from machine import ready, tree_diff  # noqa: E402
from promises import check, contains, equal, main, promise, wait_for  # noqa: E402

FILES = {f"f{i:02}": os.urandom(200_000 + i) for i in range(12)}


def fixture():
    m = ready("damage")
    m.write_tree("src", {**FILES, "d/e": "small\n"})
    m.set("home", m.path("src"))
    m.backup()
    m.stop()
    shutil.copytree(m.path("repo"), m.path("sound"))
    m.start()
    return m


def undamaged(m):
    """A fresh copy of the repository, found to be in order."""
    m.stop()
    shutil.rmtree(m.path("repo"))
    shutil.copytree(m.path("sound"), m.path("repo"))
    m.start()
    m.ctl("verify").expect(0)


def damaged(m, pattern, change):
    """A fresh copy of the repository with one file changed; the daemon forgets what it had read of it."""
    undamaged(m)
    m.stop()
    files = [f for f in glob.glob(m.path("repo", pattern), recursive=True) if os.path.isfile(f)]
    check(files, "no file like", pattern)
    file = max(files, key=os.path.getsize)
    os.chmod(file, 0o600)
    with open(file, "rb") as f:
        content = f.read()
    new = change(content)
    if new is None:
        os.unlink(file)
    else:
        with open(file, "wb") as f:
            f.write(new)
    m.start()
    return os.path.basename(file)


def flip(at):
    def change(content):
        i = int(at * (len(content) - 1))
        return content[:i] + bytes([content[i] ^ 1]) + content[i + 1 :]

    return change


def truncate(content):
    return content[: len(content) // 2]


def empty(content):
    return b""


CHANGES = {
    "flipped at the start": flip(0),
    "flipped in the middle": flip(0.5),
    "flipped at the end": flip(1),
    "truncated": truncate,
    "empty": empty,
    "deleted": lambda content: None,
}


def restore_is_honest(m):
    """Exit 0 with the exact tree, or an error and no wrong file."""
    shutil.rmtree(m.path("out"), ignore_errors=True)
    reply = m.ctl("restore", m.path("src"), "--to", m.path("out"))
    check(reply.code in (0, 1, 3, 5, 10, 12, 13, 14), reply)
    there = 0
    for name, content in FILES.items():
        path = m.path("out/src", name)
        if os.path.exists(path):
            there += 1
            with open(path, "rb") as f:
                check(f.read() == content, f"{name} was restored with wrong content:\n{reply}")
    if reply.code == 0:
        equal(tree_diff(m.path("src"), m.path("out/src")), [])
    else:
        check(reply.err.strip(), "fails without a word", reply)
    return reply, there


for what, change in CHANGES.items():

    @promise(f"a pack that is {what} is found and never restored as good")
    def _(m, change=change, what=what):
        pack = damaged(m, "data/*/*", change)
        reply = m.ctl("verify", "--data", "all")
        reply.expect(14, pack[:8])
        reply, there = restore_is_honest(m)
        if what == "flipped in the middle":
            reply.expect(3)
            check(there >= len(FILES) - 1, f"only {there} of {len(FILES)} files came back although one blob is damaged:\n{reply}")
        if what in ("truncated", "empty", "deleted"):
            m.ctl("verify").expect(14, pack[:8])

    @promise(f"an index that is {what} is found")
    def _(m, change=change, what=what):
        damaged(m, "index/*", change)
        m.ctl("verify").expect(14)
        restore_is_honest(m)
        m.restart()
        wait_for("status to know it still", lambda: "'main' is damaged" in m.ctl("status").out)
        if what == "deleted":  # what it named is stored again, as far as it is still there to be read
            m.backup()
            reply, _ = restore_is_honest(m)
            reply.expect(0)

    @promise(f"a snapshot that is {what} is found")
    def _(m, change=change, what=what):
        snapshot = damaged(m, "snapshots/*", change)
        if what != "deleted":
            # An older revision is taken for the newest: never without a word, and status knows before anyone asks to verify.
            reply = m.ctl("restore", m.path("src"), "--to", m.path("out"))
            check(not os.path.exists(m.path("out")), reply)
            contains(reply.err, "main is damaged", "backupctl verify")
            contains(m.ctl("revisions", "home").err, "main is damaged")
            contains(m.ctl("status").out, "'main' is damaged")
            m.ctl("verify").expect(14, snapshot[:8])
        restore_is_honest(m)

    @promise(f"a key that is {what} locks the repository with a clear error")
    def _(m, change=change):
        damaged(m, "keys/*", change)
        reply = m.ctl("--json", "run", "home", "--wait")
        check(reply.code in (1, 12, 14, 10), reply)
        check(restore_is_honest(m)[0].code != 0)

    @promise(f"a config that is {what} is a clear error")
    def _(m, change=change, what=what):
        damaged(m, "config", change)
        reply = m.ctl("--json", "run", "home", "--wait")
        check(reply.code in ((10,) if what == "deleted" else (10, 12, 14)), reply)
        check(restore_is_honest(m)[0].code != 0)


@promise("a backup never builds on a damaged revision: the next full revision restores exactly")
def _(m):
    damaged(m, "data/*/*", flip(0.5))
    m.ctl("run", "home", "--full", "--wait")
    reply, _ = restore_is_honest(m)
    check(reply.code in (0, 3), reply)


@promise("what a verify found is stored anew by the next run, and the damage goes with the next collections")
def _(m):
    damaged(m, "data/*/*", flip(0.5))
    m.ctl("verify", "--data", "all").expect(14)
    result = m.backup()
    check(1 <= result["counts"]["blobs_new"] <= 3, result)
    equal(restore_is_honest(m)[0].code, 0)
    m.ctl("verify", "--data", "all").expect(14)  # it is still there, and hits nobody
    m.stop()
    m.env["BACKUPD_FAILPOINTS"] = "collection.no-grace=fail@1+"
    m.start()
    counts = m.ctl("--json", "gc").expect(0).result["counts"]
    check(counts["packs_copied"] >= 1 and counts["packs_marked"] >= 1, counts)
    check(m.ctl("--json", "gc").expect(0).result["counts"]["packs_removed"] >= 1)
    m.stop()
    del m.env["BACKUPD_FAILPOINTS"]
    m.start()
    m.ctl("verify", "--data", "all").expect(0)
    check("is damaged" not in m.ctl("status").out)
    m.restic("check", "--read-data").expect(0, "no errors were found")
    equal(restore_is_honest(m)[0].code, 0)


@promise("undamaged again, everything is fine: the daemon took no harm")
def _(m):
    undamaged(m)
    m.ctl("verify", "--data", "all").expect(0)
    equal(restore_is_honest(m)[0].code, 0)
    m.write("src/new", "x")
    m.backup()


@promise("of a file whose data is damaged an older version that is intact is named, and can be restored")
def _(m):
    undamaged(m)
    content = os.urandom(300_000)
    shutil.copytree(m.path("src"), m.path("versions"))
    m.set("versions", m.path("versions"), extra=["--no-automatic"])
    m.backup("versions")
    before = set(glob.glob(m.path("repo/data/*/*")))
    m.write("versions/f03", content)
    m.backup("versions")
    packs = sorted(set(glob.glob(m.path("repo/data/*/*"))) - before, key=os.path.getsize)
    m.stop()
    os.chmod(packs[-1], 0o600)
    with open(packs[-1], "r+b") as f:
        f.seek(1000)
        f.write(b"damage")
    m.start()
    reply = m.ctl("restore", m.path("versions"), "--to", m.path("newest")).expect(3, "f03", "an older version is intact", "versions/1")
    equal(sorted(os.listdir(m.path("newest/versions"))), sorted(set(os.listdir(m.path("versions"))) - {"f03"}), reply)
    m.ctl("restore", m.path("versions/f03"), "--revision", "versions/1", "--to", m.path("older")).expect(0)
    equal(m.read("older/f03"), FILES["f03"])
    # In the place of the file the old one stays.
    m.write("versions/f03", "what is there\n")
    m.ctl("restore", m.path("versions"), "--on-conflict", "replace", "--yes").expect(3, "f03")
    equal(m.read("versions/f03"), b"what is there\n")


if __name__ == "__main__":
    main(fixture)
