#!/usr/bin/env python3
"""What restic stored we give back: every kind of node, both versions of the format, metadata included."""
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import types

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
import cheap_repository  # noqa: E402
from machine import is_root, tree_diff  # noqa: E402
from promises import check, equal, main, options, promise, skip  # noqa: E402

NASTY = os.path.join(HERE, "../support/nasty_tree.py")
# What restic 0.14 does not store, or stores so that nobody can know what it was.
NOT_STORED = ["links/socket", "links/raw", "links/fifo", "links/fifo2", "xattrs/weird-name"]


def is_too_deep(path):
    """restic does not read below a path of PATH_MAX bytes; tree_diff shortens such paths and says how long they are."""
    length = re.search(r"\[(\d+) bytes\]$", path)
    return path.startswith("deep/") and length is not None and int(length.group(1)) > 4000


def call(*argv, codes=(0,), **more):
    p = subprocess.run(list(map(str, argv)), capture_output=True, text=True, errors="surrogateescape", **more)
    check(p.returncode in codes, f"{argv}: exit {p.returncode}\n{p.stdout}{p.stderr}")
    return p


@contextlib.contextmanager
def fixture():
    if not shutil.which("restic"):
        skip("restic is not installed")
    m = types.SimpleNamespace(base=tempfile.mkdtemp(prefix="backupd-restic-"))
    m.path = lambda name: os.path.join(m.base, name)
    m.tool = os.path.join(options.build, "tests/support/restore_once")
    m.env = dict(os.environ, RESTIC_PASSWORD="x", RESTIC_CACHE_DIR=m.path("cache"))
    m.src = m.path("src")  # what is large, wide and deep there is stored in one format only
    m.sources = {"1": m.path("lesser/src"), "2": m.src}
    try:
        os.mkdir(m.path("lesser"))
        call(sys.executable, NASTY, "make", m.sources["1"])
        call(sys.executable, NASTY, "make", m.src, *(["--full"] if is_root() else []))
        os.mkdir(m.src + "/moments")
        for name, seconds, nanoseconds in (
            ("old", -2_000_000_000, 1),
            ("far", 13_569_465_600, 999_999_999),
            ("exact", 1, 123_456_789),
        ):
            with open(f"{m.src}/moments/{name}", "w") as f:
                f.write(name)
            os.utime(f"{m.src}/moments/{name}", ns=(0, seconds * 10**9 + nanoseconds))
        yield m
    finally:
        if not options.keep:
            subprocess.run([sys.executable, NASTY, "rm", m.base])


def stored(m, version):
    repo = m.path(f"repo{version}")
    if not os.path.exists(repo):
        call("restic", "-q", "-r", repo, "init", "--repository-version", version, env=m.env)
        cheap_repository.cheapen(repo, "x")
        call("restic", "-q", "-r", repo, "backup", m.sources[version], env=m.env, codes=(0, 3))
    return repo


def restore(m, repo, target, *more, codes=(0,)):
    os.makedirs(m.path(target), exist_ok=True)
    p = call(m.tool, repo, "x", "latest", m.path(target), *more, codes=codes)
    return json.loads(p.stdout.splitlines()[-1])


def unexplained(differences):
    known = list(NOT_STORED)
    if not is_root():
        known.append("modes")
    differences = [d for d in differences if not is_too_deep(d["path"])]
    return [d for d in differences if not any(d["path"] == k or d["path"].startswith(k + "/") for k in known)]


for VERSION in ("1", "2"):

    @promise(f"the nasty tree comes back exactly from format {VERSION}, holes and nanoseconds included")
    def _(m, version=VERSION):
        source = m.sources[version]
        restore(m, stored(m, version), "out" + version, source)
        equal(unexplained(tree_diff(source, m.path(f"out{version}/src"), "--sparse", "kept")), [])


@promise("the year 2400 comes back")
def _(m):
    equal(os.stat(m.path("out2/src/moments/far")).st_mtime_ns, 13_569_465_600_999_999_999)


@promise("restored a second time nothing is fetched and nothing changes")
def _(m):
    again = restore(m, stored(m, "2"), "out2", m.src)
    equal((again["created"], again["replaced"], again["bytes_fetched"], again["failed"]), (0, 0, 0, 0))
    again = restore(m, stored(m, "2"), "out2", "--on-conflict", "replace", "--verify", m.src)
    equal((again["created"], again["bytes_fetched"], again["failed"]), (0, 0, 0))
    equal(unexplained(tree_diff(m.src, m.path("out2/src"))), [])


@promise("with full paths the directories above have the metadata they had")
def _(m):
    restore(m, stored(m, "2"), "full", "--full-paths", m.src + "/moments")
    for up in (m.base, m.src):
        was, now = os.stat(up), os.stat(m.path("full") + up)
        # The base itself was written to since.
        equal((now.st_mode, now.st_uid, now.st_gid), (was.st_mode, was.st_uid, was.st_gid))
    equal(unexplained(tree_diff(m.src + "/moments", m.path("full") + m.src + "/moments")), [])


if __name__ == "__main__":
    main(fixture)
