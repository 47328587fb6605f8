#!/usr/bin/env python3
"""The scenarios of change tracking: something happens, it must wait in the queue, the next revision must hold it.

    scenarios.py                        every scenario on every file system with every watcher it applies to
    scenarios.py --fs tmpfs,ext4 --watch fanotify --only 20-25,30
    scenarios.py --quick                what ./check runs

Each combination has a daemon, a bus, a repository and a file system of its own. A line per scenario, then the matrix.
"""
import argparse
import importlib
import os
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "support"), HERE]
sys.modules.setdefault("scenarios", sys.modules["__main__"])
import promises  # noqa: E402
from promises import Skip  # noqa: E402

SCENARIOS = []
WATCHERS = {
    "ext4": ("fanotify", "inotify", "scan"),
    "ext4-128": ("fanotify",),
    "xfs": ("fanotify", "inotify"),
    "btrfs": ("fanotify", "inotify"),
    "btrfs-sub": ("fanotify", "inotify"),
    "tmpfs": ("fanotify", "inotify"),
    "overlay": ("inotify",),
}
QUICK = (("tmpfs", "fanotify"), ("ext4", "inotify"))
EVERYWHERE = ("ext4", "xfs", "btrfs", "btrfs-sub", "tmpfs")


class Scenario:
    def __init__(self, number, promise, function, fs, watch, own, heavy, settings):
        self.number, self.promise, self.function = number, promise, function
        self.fs, self.watch, self.own, self.heavy, self.settings = fs, watch, own, heavy, settings

    def applies(self, kind, watch):
        return (self.fs is None or kind in self.fs) and (self.watch is None or watch in self.watch)


def scenario(number, promise, fs=None, watch=("fanotify", "inotify"), own=False, heavy=False, **settings):
    """`own`: wants a daemon and a volume of its own (with these settings), and makes its tree itself. `heavy`: not in every check."""

    def mark(function):
        SCENARIOS.append(Scenario(number, promise, function, fs, watch, own, heavy, settings))
        return function

    return mark


def numbers(text):
    wanted = set()
    for part in text.split(","):
        low, _, high = part.partition("-")
        wanted.update(range(int(low), int(high or low) + 1))
    return wanted


def attempt(one, t, kind, watch, results):
    begin = time.monotonic()
    try:
        if not one.own:
            t.fresh()
        one.function(t)
        outcome, detail = "PASS", ""
    except Skip as reason:
        outcome, detail = "SKIP", f": {reason}"
    except Exception as problem:
        outcome, detail = "FAIL", f": {str(problem).splitlines()[0] if str(problem) else type(problem).__name__}"
        traceback.print_exc(limit=-4)
        if t is not None:
            t.m.explain()
    results[one.number, kind, watch] = outcome
    print(f"{outcome} {kind} {watch} {one.number} {one.promise}{detail} ({time.monotonic() - begin:.1f} s)", flush=True)


def fill(t):
    t.write("plain/f", b"first\n")
    t.write("plain/g", b"second\n")
    t.write("plain/big", bytes(range(256)) * 800)
    t.write("a/there", b"x")


def combination(kind, watch, chosen, results):
    from tracked import Tracked

    shared = [s for s in chosen if not s.own]
    if shared:
        try:
            with Tracked(kind, watch) as t:
                fill(t)
                t.protect()
                for one in shared:
                    attempt(one, t, kind, watch, results)
        except Skip as reason:
            print(f"SKIP {kind} {watch}: {reason}", flush=True)
            for one in chosen:
                results[one.number, kind, watch] = "SKIP"
            return
    for one in chosen:
        if not one.own:
            continue
        try:
            with Tracked(kind, watch, **one.settings) as t:
                attempt(one, t, kind, watch, results)
        except Skip as reason:
            results[one.number, kind, watch] = "SKIP"
            print(f"SKIP {kind} {watch} {one.number} {one.promise}: {reason}", flush=True)
        except AssertionError as problem:
            results[one.number, kind, watch] = "FAIL"
            print(f"FAIL {kind} {watch} {one.number} {one.promise}: {problem}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.environ.get("BACKUPD_BUILD", "build"))
    parser.add_argument("--fs", default=",".join(WATCHERS))
    parser.add_argument("--watch", default="fanotify,inotify,scan")
    parser.add_argument("--only", type=numbers)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--keep", action="store_true")
    a = parser.parse_args()
    vars(promises.options).update(build=os.path.abspath(a.build), keep=a.keep)
    for name in ("plain", "mounts", "places", "writers", "faults", "restarts", "races", "limits", "clocks", "upkeep"):
        importlib.import_module(name)
    if os.geteuid() != 0:
        print("SKIP everything: mounting file systems of our own needs root")
        sys.exit(77)
    results = {}
    for kind in a.fs.split(","):
        for watch in a.watch.split(","):
            if watch not in WATCHERS[kind] or (a.quick and (kind, watch) not in QUICK):
                continue
            chosen = [s for s in SCENARIOS if s.applies(kind, watch) and (not a.only or s.number in a.only) and not (s.heavy and a.quick)]
            if chosen:
                combination(kind, watch, chosen, results)
    columns = sorted({(k, w) for _, k, w in results}, key=lambda c: (list(WATCHERS).index(c[0]), c[1]))
    print("\n" + " " * 8 + "  ".join(f"{k}/{w}" for k, w in columns))
    for number in sorted({n for n, _, _ in results}):
        cells = [results.get((number, k, w), "-").lower().center(len(f"{k}/{w}")) for k, w in columns]
        print(f"{number:6}  " + "  ".join(cells))
    failed = sum(r == "FAIL" for r in results.values())
    passed = sum(r == "PASS" for r in results.values())
    print(f"\n{passed} passed, {failed} failed, {len(results) - passed - failed} skipped")
    sys.exit(1 if failed else 0 if passed else 77)


if __name__ == "__main__":
    main()
