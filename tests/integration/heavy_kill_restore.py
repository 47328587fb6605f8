#!/usr/bin/env python3
"""kill -9 the daemon at N random moments of restores that create, replace and remove.

    ./check kill-restore [N]      default 40

After each kill each path holds the old or the new content, whole; `resume` completes; what is fetched twice stays under one pack for each
worker; every few kills the restore is taken back, and then everything is as it was before it.
"""
import os
import random
import shutil
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
from machine import Machine, tree_diff  # noqa: E402
from promises import check, equal, options, parse, wait_for  # noqa: E402

MIB = 1 << 20
PACK, WORKERS = 16 * MIB, 8


def files(root):
    found = {}
    for base, dirs, names in os.walk(root):
        dirs[:] = [d for d in dirs if not d.startswith(".backupd-")]
        for name in names:
            path = os.path.join(base, name)
            if not name.startswith(".backupd-") and not os.path.islink(path):
                with open(path, "rb") as f:
                    found[os.path.relpath(path, root)] = f.read()
    return found


def arrange(m, old):
    shutil.rmtree(m.path("out"), ignore_errors=True)
    for name, content in old.items():
        m.write("out/src/" + name, content)


def main():
    parse(**{"kills": {"nargs": "?", "type": int, "default": 40}, "--seed": {"type": int, "default": int(time.time())}})
    dice = random.Random(options.seed)
    print(f"{options.kills} kills, --seed {options.seed}", flush=True)
    with Machine("restore-kill") as m:
        m.start()
        m.repository(cheap=True)
        new = {f"d{i % 9}/s{i % 4}/f{i}": dice.randbytes(dice.randrange(200_000)) for i in range(500)}
        new["large"] = dice.randbytes(48 * MIB)
        for name, content in new.items():
            m.write("src/" + name, content)
        m.set("home", m.path("src"), extra=["--no-automatic"])
        m.backup()
        total = sum(map(len, new.values()))
        old = {name: b"old " + name.encode() for i, name in enumerate(sorted(new)) if i % 3 == 0}
        old.update({f"d{i % 5}/extra{i}": b"extra" for i in range(40)})
        arrange(m, old)
        how = ["restore", m.path("src"), "--to", m.path("out"), "--on-conflict", "replace", "--delete", "--yes"]
        begin = time.monotonic()
        m.ctl(*how).expect(0)
        length = time.monotonic() - begin
        twice = hits = 0
        for kill in range(options.kills):
            arrange(m, old)
            client = m.ctl_spawn(*how)
            time.sleep(dice.uniform(0, length))
            m.kill()
            client.communicate()
            for name, content in files(m.path("out/src")).items():
                check(content in (old.get(name), new.get(name)), f"kill {kill}: {name} is neither old nor new ({len(content)} bytes)")
            for name in set(old) & set(new):
                check(os.path.exists(m.path("out/src", name)), f"kill {kill}: {name} is gone")
            m.start()
            job = next((j for j in m.json("jobs")["jobs"] if j["kind"] == "restore"), None)
            if job is None or job["outcome"] not in ("interrupted",):
                m.ctl(*how).expect(0)  # before its begin, or after its end
                continue
            hits += 1
            there = sum(len(c) for n, c in files(m.path("out/src")).items() if c == new.get(n))
            result = m.ctl("--json", "resume", str(job["id"])).expect(0).result
            equal((kill, tree_diff(m.path("src"), m.path("out/src"), "--ignore-root")), (kill, []))
            left = [n for _, dirs, names in os.walk(m.path("out")) for n in dirs + names if n.startswith(".backupd-")]
            equal((kill, left), (kill, []))
            again = there + result["counts"]["bytes_resumed"] + result["counts"]["bytes_fetched"] - total
            twice = max(twice, again)
            check(again < PACK * WORKERS, f"kill {kill}: {again} bytes fetched again")
            if kill % 4 == 0:
                m.ctl("undo", str(result["job"]), "--yes").expect(0)
                check(files(m.path("out/src")) == old, f"kill {kill}: not as it was after undo")
            wait_for("the job's end", lambda: all(j["state"] == "done" for j in m.json("jobs")["jobs"]))
        check(hits > options.kills // 4, f"only {hits} of {options.kills} kills hit a restore: the times prove nothing")
        print(f"PASS {options.kills} kills, {hits} inside a restore, at most {twice} bytes too many fetched again")


if __name__ == "__main__":
    main()
