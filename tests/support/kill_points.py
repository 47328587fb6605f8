#!/usr/bin/env python3
"""kill_points: run a command many times, kill -9 it at a point spread over its run time, check each time.

  kill_points.py [--trials 100] [--seed N] [--prepare SH] --check SH [--window LO:HI] [--tree] -- CMD...
  kill_points.py --pidfile F ... -- CMD...     kill the process named in F (a daemon), not CMD
  kill_points.py --selftest

The faster of two calm runs gives the run time T; kills then fall uniformly over LO*T..HI*T (default 0:1.05).
--prepare runs once before the trials, or before each one with --prepare-each, so the state may pile
up wreckage, as real crashes do.  --check runs after each kill with KILL_TRIAL, KILL_AT (seconds) and
KILL_RC (CMD's status if it finished first); non-zero counts as a failure.  --signal STOP suspends for
--pause seconds instead.  The last line is JSON; exit 1 on any failure, 2 if fewer than half the
trials hit a live process.  Replay one trial with --seed N --only K.
"""
import argparse, json, os, random, signal, subprocess, sys, tempfile, time


def children(pid):
    out = []
    try:
        for t in os.listdir(f"/proc/{pid}/task"):
            for c in open(f"/proc/{pid}/task/{t}/children").read().split():
                out += [int(c)] + children(int(c))
    except OSError:
        pass
    return out


def main():
    argv, cmd = sys.argv[1:], []
    if "--" in argv:
        i = argv.index("--")
        argv, cmd = argv[:i], argv[i + 1 :]
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--trials", type=int, default=100)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--prepare")
    ap.add_argument("--prepare-each", action="store_true")
    ap.add_argument("--check")
    ap.add_argument("--window", default="0:1.05")
    ap.add_argument("--tree", action="store_true", help="kill its children too")
    ap.add_argument("--pidfile")
    ap.add_argument("--signal", choices=["KILL", "TERM", "INT", "HUP", "STOP", "ABRT"], default="KILL")
    ap.add_argument("--pause", type=float, default=1)
    ap.add_argument("--timeout", type=float, default=120)
    ap.add_argument("--only", type=int)
    ap.add_argument("-v", "--verbose", action="store_true")
    ap.add_argument("--selftest", action="store_true")
    a = ap.parse_args(argv)
    if a.selftest:
        return selftest()
    if not cmd or not a.check:
        ap.print_help()
        return 2
    out = None if a.verbose else subprocess.DEVNULL
    sh = lambda c, **e: subprocess.run(c, shell=True, env=dict(os.environ, **e), stdout=out, stderr=out).returncode
    if a.prepare and sh(a.prepare):
        print("prepare failed")
        return 2
    T = 1e9
    for calm in range(2):  # the first run may pay for cold caches
        if calm and a.prepare and a.prepare_each and sh(a.prepare):
            print("prepare failed")
            return 2
        t0 = time.monotonic()
        subprocess.run(cmd, stdout=out, stderr=out, timeout=a.timeout)
        T = min(T, time.monotonic() - t0)
    low, high = (float(x) for x in a.window.split(":"))
    rnd, hits, fails = random.Random(a.seed), 0, []
    for k in range(a.trials):
        at = T * (low + (high - low) * (k + rnd.random()) / a.trials)  # stratified: every part of the run is hit
        if a.only is not None and k != a.only:
            continue
        if a.prepare and a.prepare_each and sh(a.prepare):
            print("prepare failed")
            return 2
        p = subprocess.Popen(cmd, stdout=out, stderr=out, start_new_session=True)
        t0 = time.monotonic()
        try:
            rc = str(p.wait(at))
            T = min(T, time.monotonic() - t0)  # a machine that grew faster: aim earlier from here on
        except subprocess.TimeoutExpired:
            rc = ""
        victim = p.pid
        if a.pidfile:
            try:
                victim = int(open(a.pidfile).read())
            except (OSError, ValueError):
                victim = None
        if victim and (a.pidfile or not rc):
            try:
                kids = children(victim) if a.tree else []
                for v in [victim] + kids:
                    os.kill(v, getattr(signal, "SIG" + a.signal))
                hits += 1
                if a.signal == "STOP":
                    time.sleep(a.pause)
                    for v in [victim] + kids:
                        os.kill(v, signal.SIGCONT)
            except ProcessLookupError:
                pass
        try:
            p.wait(a.timeout)
        except subprocess.TimeoutExpired:
            os.killpg(p.pid, signal.SIGKILL)
            p.wait()
            fails.append([k, round(at, 4), "timeout"])
            continue
        c = sh(a.check, KILL_TRIAL=str(k), KILL_AT=f"{at:.4f}", KILL_RC=rc)
        if c:
            fails.append([k, round(at, 4), "check exit %d" % c])
            print(json.dumps({"trial": k, "at": round(at, 4), "check": c}), flush=True)
    print(
        json.dumps(
            {
                "trials": a.trials,
                "calm_s": round(T, 3),
                "killed_alive": hits,
                "failed": len(fails),
                "seed": a.seed,
            }
        )
    )
    return 1 if fails else 2 if a.only is None and hits < a.trials / 2 else 0


def selftest():
    t = tempfile.mkdtemp(prefix="kill_points-")
    me = [sys.executable, os.path.abspath(__file__)]
    safe = f"for i in $(seq 60); do echo $i$i$i > {t}/s.tmp; sync {t}/s.tmp; mv {t}/s.tmp {t}/s; done"
    torn = f"for i in $(seq 60); do echo aaa > {t}/a; sleep .002; echo aaa > {t}/b; done"
    r = subprocess.run(
        me + ["--trials", "15", "--check", f"test -s {t}/s || test ! -e {t}/s", "--", "bash", "-c", safe],
        capture_output=True,
        text=True,
    )
    assert r.returncode == 0, r
    r = subprocess.run(
        me
        + [
            "--trials",
            "15",
            "--prepare-each",
            "--prepare",
            f"rm -f {t}/a {t}/b",
            "--check",
            f"test -e {t}/a = -a -e {t}/b; [ -e {t}/a -a -e {t}/b ] || [ ! -e {t}/a -a ! -e {t}/b ]",
            "--window",
            "0:0.05",
            "--",
            "bash",
            "-c",
            torn,
        ],
        capture_output=True,
        text=True,
    )
    assert r.returncode in (1, 2), r
    subprocess.run(["rm", "-rf", t])
    print("kill_points selftest ok")


if __name__ == "__main__":
    sys.exit(main())
