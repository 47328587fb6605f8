#!/usr/bin/env python3
"""Restores onto what exists: nothing changes unless asked, and each conflict mode does what its name says."""
import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from machine import ready, tree_diff  # noqa: E402
from promises import check, contains, equal, main, promise  # noqa: E402


def fixture():
    m = ready("restore")
    m.write_tree("src", {"same": "same\n", "differs": "from the backup\n", "sub/missing": "gone\n", "sub/x": "x\n"})
    os.symlink("same", m.path("src/link"))
    os.utime(m.path("src/differs"), ns=(1, 1_600_000_000_000_000_001))
    m.set("home", m.path("src"))
    m.backup()
    m.at_backup = m.path("manifest")
    shutil.copytree(m.path("src"), m.path("reference"), symlinks=True)
    shutil.copystat(m.path("src"), m.path("reference"))
    return m


def arrange(m, mtime=1_700_000_000):
    """The source as a person left it since: one file changed, one gone, one new, a link turned."""
    shutil.rmtree(m.path("src"))
    shutil.copytree(m.path("reference"), m.path("src"), symlinks=True)
    shutil.copystat(m.path("reference"), m.path("src"))
    m.write("src/differs", "edited since\n")
    os.utime(m.path("src/differs"), (mtime, mtime))
    os.unlink(m.path("src/sub/missing"))
    m.write("src/new", "not in the backup\n")
    return tree_snapshot(m)


def tree_snapshot(m):
    found = {}
    for base, dirs, names in os.walk(m.path("src")):
        for name in dirs + names:
            path = os.path.join(base, name)
            st = os.lstat(path)
            content = os.readlink(path) if os.path.islink(path) else open(path, "rb").read() if os.path.isfile(path) else None
            found[os.path.relpath(path, m.path("src"))] = (st.st_mode, st.st_ino if name in ("same", "x") else 0, content)
    return found


@promise("the default refuses a conflict, names it, and writes nothing at all: exit code 7")
def _(m):
    before = arrange(m)
    reply = m.ctl("restore", m.path("src")).expect(7, "differs")
    equal(tree_snapshot(m), before)
    contains(reply.err, "--on-conflict")


@promise("a dry run says what would happen and writes nothing")
def _(m):
    before = arrange(m)
    m.ctl("restore", m.path("src"), "--dry-run", "--on-conflict", "replace").expect(0)
    equal(tree_snapshot(m), before)
    m.ctl("restore", m.path("src"), "--to", m.path("dry"), "-n").expect(0)
    check(not os.path.exists(m.path("dry/src")))


@promise("with --to a plan names what will be there in full")
def _(m):
    reply = m.ctl("restore", "-n", m.path("src"), "--to", m.path("planned")).expect(0)
    steps = [line.split(maxsplit=2)[2] for line in reply.out.splitlines() if line.strip().startswith("would ")]
    check(steps and all(step.startswith(m.path("planned") + "/") for step in steps), reply)
    check(not os.path.exists(m.path("planned")))


@promise("skip keeps the existing file and brings the missing one")
def _(m):
    arrange(m)
    m.ctl("restore", m.path("src"), "--on-conflict", "skip").expect(0)
    equal(
        (m.read("src/differs"), m.read("src/sub/missing"), m.read("src/new")),
        (b"edited since\n", b"gone\n", b"not in the backup\n"),
    )


@promise("replace brings the old content back and leaves other files alone")
def _(m):
    arrange(m)
    m.ctl("restore", m.path("src"), "--on-conflict", "replace", "--yes").expect(0)
    equal(
        (m.read("src/differs"), m.read("src/sub/missing"), m.read("src/new")),
        (b"from the backup\n", b"gone\n", b"not in the backup\n"),
    )
    equal(os.stat(m.path("src/differs")).st_mtime_ns, 1_600_000_000_000_000_001)


@promise("without a terminal, what replaces files wants --yes: exit code 7, and nothing is written")
def _(m):
    before = arrange(m)
    for mode in ("replace", "newer"):
        m.ctl("restore", m.path("src"), "--on-conflict", mode).expect(7, "--yes")
        m.ctl("--json", "restore", m.path("src"), "--on-conflict", mode).expect(7)
        m.ctl("restore", m.path("src"), "--to", m.path("elsewhere"), "--on-conflict", mode).expect(7, "--yes")
    equal(tree_snapshot(m), before)
    check(not os.path.exists(m.path("elsewhere")))


@promise("keep-both writes the restored file beside the existing one")
def _(m):
    arrange(m)
    m.ctl("restore", m.path("src"), "--on-conflict", "keep-both").expect(0)
    equal(m.read("src/differs"), b"edited since\n")
    beside = [n for n in os.listdir(m.path("src")) if n.startswith("differs") and n != "differs"]
    equal(len(beside), 1, os.listdir(m.path("src")))
    contains(beside[0], "backup")
    equal(m.read("src/" + beside[0]), b"from the backup\n")


@promise("newer keeps an existing file that is newer, and replaces one that is older")
def _(m):
    arrange(m, mtime=1_700_000_000)
    m.ctl("restore", m.path("src"), "--on-conflict", "newer", "--yes").expect(0)
    equal(m.read("src/differs"), b"edited since\n")
    arrange(m, mtime=1_000_000_000)
    m.ctl("restore", m.path("src"), "--on-conflict", "newer", "--yes").expect(0)
    equal(m.read("src/differs"), b"from the backup\n")


@promise("identical files are no conflict, are not touched and not downloaded")
def _(m):
    shutil.rmtree(m.path("src"))
    shutil.copytree(m.path("reference"), m.path("src"), symlinks=True)
    shutil.copystat(m.path("reference"), m.path("src"))
    before = tree_snapshot(m)
    result = m.ctl("--json", "restore", m.path("src")).expect(0).result
    equal(tree_snapshot(m), before)
    equal(result["counts"]["bytes_fetched"], 0, result)


@promise("running a restore to a directory twice changes nothing the second time")
def _(m):
    m.ctl("restore", m.path("src"), "--to", m.path("twice")).expect(0)
    inode = os.stat(m.path("twice/src/same")).st_ino
    result = m.ctl("--json", "restore", m.path("src"), "--to", m.path("twice")).expect(0).result
    equal(os.stat(m.path("twice/src/same")).st_ino, inode)
    equal(result["counts"]["bytes_fetched"], 0, result)


@promise("a file where a directory has to go is a conflict, and replace does not follow symbolic links out")
def _(m):
    arrange(m)
    shutil.rmtree(m.path("src/sub"))
    m.write("src/sub", "now a file\n")
    before = tree_snapshot(m)
    m.ctl("restore", m.path("src")).expect(7)
    equal(tree_snapshot(m), before)
    os.unlink(m.path("src/sub"))
    m.write_tree("outside", {"x": "canary\n"})
    os.symlink(m.path("outside"), m.path("src/sub"))
    m.ctl("restore", m.path("src"), "--on-conflict", "replace", "--yes")
    equal(m.read("outside/x"), b"canary\n", "written through a symbolic link")
    check(not os.path.exists(m.path("outside/missing")), "written through a symbolic link")


@promise("--full-paths keeps the whole path below the target")
def _(m):
    m.ctl("restore", m.path("src/sub/x"), "--to", m.path("fp"), "--full-paths").expect(0)
    equal(m.read("fp" + m.path("src/sub/x")), b"x\n")


@promise("several paths are restored in one go; --verify reads them back")
def _(m):
    m.ctl("restore", m.path("src/same"), m.path("src/sub"), "--to", m.path("two"), "--verify").expect(0)
    equal(sorted(os.listdir(m.path("two"))), ["same", "sub"])


@promise("a relative path and --to are taken from where the client stands")
def _(m):
    m.ctl("restore", "same", "--to", "../relative-out", cwd=m.path("src")).expect(0)
    equal(m.read("relative-out/same"), b"same\n")


if __name__ == "__main__":
    main(fixture)
