#!/usr/bin/env python3
"""The trees that we store are restic's, byte for byte: over the same files neither stores anything that the other has."""
import contextlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
import cheap_repository  # noqa: E402
from promises import check, equal, main, options, promise  # noqa: E402

NASTY = os.path.join(HERE, "../support/nasty_tree.py")
ORDINARY = next((d for d in ("/usr/include", "/usr/share/doc") if os.path.isdir(d)), "/etc")
PASSWORD = "same trees"


class Place:
    def __init__(self, folder):
        self.folder = folder
        self.repository = self.path("repository")
        self.source = self.path("source")
        self.environment = dict(os.environ, RESTIC_PASSWORD=PASSWORD, RESTIC_CACHE_DIR=self.path("cache"), TZ="Europe/Berlin")

    def path(self, name):
        return os.path.join(self.folder, name)

    def run(self, *command, may_be=(0,)):
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment, errors="replace")
        check(done.returncode in may_be, " ".join(command)[:300], done.returncode, done.stdout, done.stderr)
        return done.stdout

    def restic(self, *arguments, **kind):
        return self.run("restic", "-r", self.repository, *arguments, **kind)

    def restic_backup(self, *arguments):
        lines = self.restic("backup", "--json", *arguments, may_be=(0, 3)).splitlines()
        summary = json.loads(lines[-1])
        check(summary["message_type"] == "summary", lines[-1])
        self.newest = summary["snapshot_id"]
        return summary

    def ours(self, *arguments, may_be=(0,)):
        program = os.path.join(options.build, "tests/support/backup_once")
        flags = [a for a in arguments if a.startswith("-")]
        paths = [a for a in arguments if not a.startswith("-")]
        text = self.run(program, "--rules", "go119", *flags, self.repository, PASSWORD, *paths, may_be=may_be)
        self.newest = text.split()[1]
        numbers = {}
        for line in text.splitlines():
            kind = line.split()[0]
            for name, value in re.findall(r"(\w+) (\d+)(?: |$)", line):
                numbers[f"{kind} {name}"] = int(value)
        return numbers

    def nodes(self, tree):
        return json.loads(self.restic("cat", "blob", tree, "--no-lock"))["nodes"]

    def node_at(self, path):
        """The node of a path in the revision made last."""
        tree = json.loads(self.restic("cat", "snapshot", self.newest, "--no-lock"))["tree"]
        for part in path.strip("/").split("/"):
            node = next(n for n in self.nodes(tree) if n["name"] == part)
            tree = node.get("subtree")
        return node


@contextlib.contextmanager
def fixture():
    if not shutil.which("restic"):
        print("SKIP everything: restic is not installed", flush=True)
        sys.exit(77)
    folder = tempfile.mkdtemp(prefix="backupd-trees-")
    try:
        place = Place(folder)
        place.restic("init")
        cheap_repository.cheapen(place.repository, PASSWORD)
        place.run(sys.executable, NASTY, "make", place.source)
        # What restic 0.14 does not store, or stores otherwise: paths beyond PATH_MAX and link targets that are
        # not UTF-8 (it has no linktarget_raw yet).
        place.run(sys.executable, NASTY, "rm", os.path.join(place.source, "deep"))
        os.unlink(os.path.join(place.source, "links/raw"))
        rnd = random.Random(7)
        with open(os.path.join(place.source, "large"), "wb") as f:
            f.write(rnd.randbytes(30_000_000))
            f.truncate(60_000_000)
            f.seek(50_000_000)
            f.write(rnd.randbytes(2_000_000))
        yield place
    finally:
        if not options.keep:
            subprocess.run([sys.executable, NASTY, "rm", folder], check=False)


@promise("a tree of nasty names, sizes, links, modes and attributes gets the id that restic gives it")
def _(m):
    m.restic_backup(m.source)
    theirs = m.node_at(m.source)
    counts = m.ours("--no-parent", m.source, may_be=(0, 3))
    equal(m.node_at(m.source)["subtree"], theirs["subtree"])
    equal(m.node_at(m.source), theirs)
    equal(counts["blobs data"], 0)
    # Directories above the source belong to the machine, and may change at any time.
    check(counts["blobs tree"] <= m.source.count("/"), counts)


@promise("after restic every file is unmodified for us")
def _(m):
    m.restic_backup(m.source)
    counts = m.ours(m.source, may_be=(0, 3))
    equal(counts["files read"], 0)
    equal(counts["files new"] + counts["files changed"], 0)
    equal(counts["blobs data"], 0)
    check(counts["blobs tree"] <= m.source.count("/"), counts)


@promise("after us every file is unmodified for restic")
def _(m):
    summary = m.restic_backup(m.source)
    equal(summary["files_new"] + summary["files_changed"], 0)
    equal(summary["data_blobs"], 0)
    check(summary["tree_blobs"] <= m.source.count("/"), summary)


@promise("a full run gives the same tree as the one before it")
def _(m):
    before = m.node_at(m.source)
    counts = m.ours("--full", m.source, may_be=(0, 3))
    check(counts["files read"] > 1000, counts)
    equal(counts["blobs data"], 0)
    equal(m.node_at(m.source), before)


@promise("several paths, nested, files and links among them, make the same tree")
def _(m):
    paths = [os.path.join(m.source, p) for p in ("sizes", "links/sub", "links/todir", "names", "nest/n", "nest/n/n/n")]
    m.restic_backup("--force", *paths)
    theirs = m.node_at(m.source)
    m.ours("--no-parent", *paths)
    equal(m.node_at(m.source), theirs)


@promise("a link above a path is stored as the directory that it leads to")
def _(m):
    link = m.path("link")
    os.symlink("source/nest", link)
    m.restic_backup("--force", os.path.join(link, "n"))
    theirs = m.node_at(link)
    m.ours("--no-parent", os.path.join(link, "n"))
    equal(m.node_at(link), theirs)
    equal(theirs["type"], "dir")


@promise("times are written in the zone of the process, as restic does")
def _(m):
    times = os.path.join(m.source, "times")
    for zone in ("America/St_Johns", "Asia/Kathmandu", "", "CET-1CEST"):
        m.environment["TZ"] = zone
        m.restic_backup("--force", times)
        theirs = m.node_at(times)
        m.ours("--no-parent", times)
        equal(m.node_at(times), theirs, "zone", zone)
    m.environment["TZ"] = "Europe/Berlin"


@promise("an ordinary system tree gets the same id")
def _(m):
    m.restic_backup(ORDINARY)
    theirs = m.node_at(ORDINARY)
    counts = m.ours("--no-parent", ORDINARY)
    equal(m.node_at(ORDINARY), theirs)
    equal(counts["blobs data"], 0)


@promise("changed, new and removed files: both come to the same tree from the parent of the other")
def _(m):
    m.ours(m.source, may_be=(0, 3))
    for seed in range(3):
        m.run(sys.executable, NASTY, "mutate", m.source, "--seed", str(seed), "--ops", "40")
        for link in (p for p in walk_links(m.source) if not is_utf8(os.readlink(p))):
            os.unlink(link)
        first, second = (m.restic_backup, m.ours) if seed % 2 else (m.ours, m.restic_backup)
        take(first, m.source)
        one = m.node_at(m.source)
        take(second, m.source)
        equal(m.node_at(m.source), one, "seed", seed)


def take(tool, source):
    tool(source, **({"may_be": (0, 3)} if tool.__name__ == "ours" else {}))


def walk_links(root):
    for folder, folders, files in os.walk(os.fsencode(root)):
        for name in folders + files:
            path = os.path.join(folder, name)
            if os.path.islink(path):
                yield path


def is_utf8(text):
    try:
        text.decode()
        return True
    except UnicodeDecodeError:
        return False


@promise("restic finds no error in what both have written")
def _(m):
    check("no errors were found" in m.restic("check", "--read-data"))


if __name__ == "__main__":
    main(fixture)
