#!/usr/bin/env python3
"""kill -9 the daemon at N points spread over backups and restores. After each: nothing half done is listed, restic check is
clean, the daemon comes back by itself, says "interrupted", and every revision that was reported complete restores exactly.

    ./check kill [N]       a failing trial prints the seed and the command that repeats it
"""
import os
import random
import shutil
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
from machine import ready, tree_diff  # noqa: E402
from promises import check, equal, options, parse, wait_for  # noqa: E402

NASTY = os.path.join(HERE, "../support/nasty_tree.py")


def mutate(m, seed):
    subprocess.run(
        [sys.executable, NASTY, "mutate", m.path("src"), "--seed", str(seed), "--ops", "15"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    rnd = random.Random(seed)
    for i in range(2):  # something that takes a while
        m.write(f"src/bulk{rnd.randrange(5)}", rnd.randbytes(12 << 20))


def kill_after(m, seconds, *args):
    """Runs a verb and kills the daemon after so long; the client's exit code."""
    client = m.ctl_spawn("--json", *args)
    killer = threading.Timer(seconds, m.kill)
    killer.start()
    out, _ = client.communicate(timeout=120)
    killer.join()
    return client.returncode


def newest_job(m, kind):
    return next((j for j in m.json("jobs")["jobs"] if j["kind"] == kind), None)


def trial(m, number, rnd, times):
    kind = "restore" if number % 4 == 3 else "backup"
    known = {r["id"] for r in m.revisions()}
    jobs = {j["id"] for j in m.json("jobs")["jobs"]}
    if kind == "backup":
        mutate(m, rnd.randrange(1 << 30))
        kill_after(m, rnd.random() * times["backup"] * 1.05, "run", "home", "--wait")
    else:
        shutil.rmtree(m.path("out"), ignore_errors=True)
        kill_after(m, rnd.random() * times["restore"] * 1.05, "restore", m.path("src"), "--to", m.path("out"))
    m.restic("check", "--no-lock").expect(0)
    m.start()
    wait_for("the daemon to settle its record", lambda: all(j["state"] == "done" for j in m.json("jobs")["jobs"]), seconds=5)
    job = newest_job(m, kind)
    revisions = m.revisions()
    new = [r["id"] for r in revisions if r["id"] not in known]
    if job and job["id"] not in jobs and kind == "backup":
        check(job["outcome"] in ("complete", "exceptions", "interrupted", "failed"), job)
        if job["outcome"] in ("complete", "exceptions"):
            equal(len(new), 1, "a complete job without its revision")
    check(len(new) <= 1, new)
    if kind == "restore" and os.path.isdir(m.path("out/src")):
        differences = tree_diff(
            m.path("reference"), m.path("out/src"), "--no-mtime", "--no-owner", "--no-links", "--no-xattr", "--no-mode"
        )
        torn = [d for d in differences if d["what"] in ("sha256", "size", "target")]
        equal(torn, [], "half restored files stand under their own names")
        reply = m.ctl("restore", m.path("src"), "--to", m.path("out"), "--on-conflict", "replace", "--yes")
        check(reply.code == 0, reply)
        equal(tree_diff(m.path("reference"), m.path("out/src")), [])
    result = m.backup()
    check(result["outcome"] == "complete", result)
    shutil.rmtree(m.path("reference"), ignore_errors=True)
    subprocess.run(["cp", "-a", m.path("src"), m.path("reference")], check=True)
    shutil.rmtree(m.path("out"), ignore_errors=True)
    m.ctl("restore", m.path("src"), "--to", m.path("out")).expect(0)
    equal(tree_diff(m.path("reference"), m.path("out/src")), [])
    shutil.rmtree(m.path("out"))


def main():
    parse(
        trials=dict(nargs="?", type=int, default=40),
        **{"--seed": dict(type=int), "--trial": dict(type=int)},
    )
    trials = int(options.trials)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    print(f"seed {seed}", flush=True)
    failed = 0
    with ready("kill") as m:
        subprocess.run([sys.executable, NASTY, "make", m.path("src"), "--no-special"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run([sys.executable, NASTY, "rm", m.path("src/deep")], check=True)
        os.unlink(m.path("src/xattrs/weird-name"))  # the format cannot hold it: every run would end with exceptions
        m.set("home", m.path("src"))
        m.backup()
        subprocess.run(["cp", "-a", m.path("src"), m.path("reference")], check=True)
        mutate(m, seed)
        begin = time.monotonic()
        m.backup()
        times = {"backup": time.monotonic() - begin}
        shutil.rmtree(m.path("reference"))
        subprocess.run(["cp", "-a", m.path("src"), m.path("reference")], check=True)
        begin = time.monotonic()
        m.ctl("restore", m.path("src"), "--to", m.path("out")).expect(0)
        times["restore"] = time.monotonic() - begin
        for number in range(trials):
            if options.trial is not None and number != options.trial:
                continue
            try:
                trial(m, number, random.Random(seed * 1000 + number), times)
            except Exception as problem:
                failed += 1
                print(f"FAIL trial {number}: {problem}\nto repeat: ./check kill {trials} --seed {seed}", flush=True)
                m.explain()
                if m.daemon.poll() is not None:
                    m.start()
            if number % 10 == 9:
                m.restic("check", "--read-data").expect(0)
                print(f"{number + 1} of {trials}", flush=True)
        m.restic("check", "--read-data").expect(0)
    print(f"{trials - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
