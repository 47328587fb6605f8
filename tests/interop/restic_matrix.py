#!/usr/bin/env python3
"""{our backup, restic backup} and {our gc, restic prune} on one repository, against one another, for a time: nobody loses anything.

    ./check matrix [SECONDS]    (default 900)

Our collections work without a grace (a failpoint), so that what protects a running backup is the protocol of the locks alone. A
program that finds the repository locked tries again. At the end stock restic checks every byte, and each revision that is left, ours and theirs,
is restored and compared with what the tree was when it was made.
"""
import hashlib
import json
import os
import random
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import promises  # noqa: E402
from machine import Machine  # noqa: E402
from promises import check, equal  # noqa: E402

FILES, LARGEST = 120, 300_000
LOCKED = ("already locked", "is locked", "locked by")


def content(root):
    """name -> hash of all files below."""
    found = {}
    for where, _, names in os.walk(root):
        for name in names:
            path = os.path.join(where, name)
            with open(path, "rb") as f:
                found[os.path.relpath(path, root)] = hashlib.sha256(f.read()).hexdigest()
    return found


class Tree:
    """Files that change, and come back: what was garbage a moment ago is often needed again."""

    def __init__(self, root, seed):
        self.root, self.chance = root, random.Random(seed)
        self.old = [self.chance.randbytes(self.chance.randrange(LARGEST)) for _ in range(40)]
        os.makedirs(root)
        for n in range(FILES):
            self.write(n)

    def write(self, n):
        directory = os.path.join(self.root, f"d{n % 7}")
        os.makedirs(directory, exist_ok=True)
        data = self.chance.choice(self.old) if self.chance.random() < 0.6 else self.chance.randbytes(self.chance.randrange(LARGEST))
        with open(os.path.join(directory, f"f{n}"), "wb") as f:
            f.write(data)

    def change(self):
        for _ in range(self.chance.randrange(1, 30)):
            n = self.chance.randrange(FILES)
            if self.chance.random() < 0.15:
                try:
                    os.unlink(os.path.join(self.root, f"d{n % 7}", f"f{n}"))
                except FileNotFoundError:
                    pass
            else:
                self.write(n)


class Campaign:
    def __init__(self, m, seconds):
        self.m, self.end = m, time.monotonic() + seconds
        self.counts, self.problems = {}, []
        self.mutex = threading.Lock()
        self.cache = m.path("cache")

    def count(self, what):
        with self.mutex:
            self.counts[what] = self.counts.get(what, 0) + 1

    def result(self, what, reply, good=(0,)):
        """True: done. A repository that is locked is nobody's fault; anything else is."""
        said = reply.out + reply.err
        if reply.code in good:
            self.count(what)
            return True
        if any(word in said for word in LOCKED):
            self.count(what + ", refused: locked")
        else:
            with self.mutex:
                self.problems.append(f"{what}: exit {reply.code}\n{said[-1500:]}")
        return False

    def restic(self, *args):
        env = {"RESTIC_REPOSITORY": self.m.path("repo"), "RESTIC_PASSWORD_FILE": self.m.password_file, "RESTIC_PROGRESS_FPS": "0.01"}
        return self.m.run(["restic", "--cache-dir", self.cache, *args], env=env)

    def loop(self, step, pause):
        def body():
            chance = random.Random(pause)
            while time.monotonic() < self.end and not self.problems:
                try:
                    step()
                except Exception as problem:  # told at the end
                    with self.mutex:
                        self.problems.append(f"{step.__name__}: {problem}")
                time.sleep(chance.random() * pause)

        return threading.Thread(target=body)

    def ours(self, tree, made):
        def our_backup():
            tree.change()
            reply = self.m.ctl("--json", "run", "home", "--wait")
            if self.result("our backup", reply):
                made[reply.result["revision"]] = content(tree.root)

        return our_backup

    def theirs(self, tree, made):
        def restic_backup():
            tree.change()
            reply = self.restic("backup", "--json", "--tag", "theirs", tree.root)
            if self.result("restic backup", reply):
                made[json.loads(reply.out.splitlines()[-1])["snapshot_id"]] = content(tree.root)

        return restic_backup

    def our_gc(self):
        self.m.ctl("forget", "--policy", "--yes")
        self.result("our gc", self.m.ctl("--json", "trash", "empty", "--yes"))
        self.result("our gc", self.m.ctl("--json", "gc"))

    def restic_prune(self):
        unused = random.choice(["0", "5%"])
        self.result("restic prune", self.restic("forget", "--tag", "theirs", "--group-by", "host", "--keep-last", "4", "--prune", "--max-unused", unused))

    def our_restore(self):
        target = self.m.path(f"restored-{time.monotonic_ns()}")
        reply = self.m.ctl("--json", "restore", self.m.path("ours"), "--to", target)
        # A revision may be forgotten between the question and the answer; never found damaged.
        self.result("our restore", reply)
        subprocess.run(["rm", "-rf", target], check=True)

    def our_verify(self):
        self.result("our verify", self.m.ctl("--json", "verify", "--data", "all"))


def main():
    seconds = int(next((a for a in sys.argv[1:] if a.isdigit()), "900"))
    promises.options.build = os.path.abspath(os.environ.get("BACKUPD_BUILD", "build"))
    if "--build" in sys.argv:
        promises.options.build = os.path.abspath(sys.argv[sys.argv.index("--build") + 1])
    with Machine("matrix") as m:
        m.env["BACKUPD_FAILPOINTS"] = "collection.no-grace=fail@1+"
        m.start()
        m.repository(cheap=True)
        m.write("config/repositories.d/main.toml", m.read("config/repositories.d/main.toml").decode() + 'collect = "off"\n')
        m.ctl("config", "reload").expect(0)
        our_tree, their_tree = Tree(m.path("ours"), 1), Tree(m.path("theirs"), 2)
        m.set("home", our_tree.root, extra=["--no-automatic", "--keep", "last=4 minimum=1"])
        ours, theirs = {}, {}
        c = Campaign(m, seconds)
        c.ours(our_tree, ours)()
        c.theirs(their_tree, theirs)()
        threads = [
            c.loop(c.ours(our_tree, ours), 0.5),
            c.loop(c.theirs(their_tree, theirs), 0.6),
            c.loop(c.our_gc, 0.7),
            c.loop(c.restic_prune, 1.5),
            c.loop(c.our_restore, 2.0),
            c.loop(c.our_verify, 4.0),
        ]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        for what in sorted(c.counts):
            print(f"  {c.counts[what]:6} {what}")
        check(not c.problems, "\n".join(c.problems[:5]))
        for what in ("our backup", "restic backup", "our gc", "restic prune", "our restore", "our verify"):
            check(c.counts.get(what, 0) >= 3, f"too few: {what}")
        c.restic("check", "--read-data").expect(0, "no errors were found")
        compared = compare(c, m, {**ours, **theirs}, {**dict.fromkeys(ours, our_tree.root), **dict.fromkeys(theirs, their_tree.root)})
        print(f"  {compared} snapshots restored, each as its tree was; restic check --read-data: no errors")
    return 0


def compare(c, m, made, roots):
    listed = json.loads(c.restic("snapshots", "--json").expect(0).out)
    compared = 0
    for snapshot in listed:
        # Written anew with other tags it has another name.
        names = [snapshot["id"], snapshot.get("original") or ""]
        name = next((n for n in made for known in names if known.startswith(n)), None)  # restic tells the short name
        check(name is not None, "a snapshot that nobody made:", snapshot)
        target = m.path("compared")
        c.restic("restore", snapshot["id"], "--target", target).expect(0)
        equal(content(target + roots[name]), made[name], snapshot["id"])
        subprocess.run(["rm", "-rf", target], check=True)
        compared += 1
    check(compared >= 2, "hardly anything is left")
    return compared


if __name__ == "__main__":
    sys.exit(main())
