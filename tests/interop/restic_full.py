#!/usr/bin/env python3
"""The long way: all of /usr and a 5 GiB file, stored by us, checked and restored by restic, and restored by us."""
import os
import shutil
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
from machine import ready, tree_diff  # noqa: E402
from promises import equal, main, promise  # noqa: E402

GIB = 1 << 30


def fixture():
    m = ready("full")
    os.mkdir(m.path("huge"))
    seed = os.urandom(64 << 20)
    with open(m.path("huge/file"), "wb") as f:  # changing every 64 MiB, so that deduplication finds nothing to hold on to
        for i in range(5 * GIB // len(seed)):
            f.write(bytes([i]) + seed[i + 1 :] + seed[: i + 1][:i])
        f.truncate(5 * GIB + 1)
    return m


for name, path in (("usr", "/usr"), ("huge", None)):

    @promise(f"{name} is stored, and restic check --read-data is clean")
    def _(m, name=name, path=path):
        path = path or m.path("huge")
        m.set(name, path)
        result = m.backup(name)
        print(f"     {name}: {result['counts']}, {result['seconds']:.1f} s, peak {m.peak_memory() >> 20} MiB", flush=True)
        m.restic("check", "--read-data", timeout=3000).expect(0, "no errors were found")

    @promise(f"restic restore of {name} is identical")
    def _(m, name=name, path=path):
        path = path or m.path("huge")
        m.restic("restore", "latest", "--path", path, "--target", m.path("theirs"), timeout=3000).expect(0)
        equal(tree_diff(path, m.path("theirs") + path), [])
        shutil.rmtree(m.path("theirs"))

    @promise(f"backupctl restore of {name} is identical")
    def _(m, name=name, path=path):
        path = path or m.path("huge")
        m.ctl("restore", path, "--to", m.path("ours"), timeout=3000).expect(0)
        equal(tree_diff(path, os.path.join(m.path("ours"), os.path.basename(path))), [])
        shutil.rmtree(m.path("ours"))


if __name__ == "__main__":
    main(fixture)
