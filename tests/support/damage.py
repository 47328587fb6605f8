#!/usr/bin/env python3
"""damage: damage every file of a small directory (a repository copy), one way at a time, and check.

  damage.py plan  DIR [opts]                   list the mutations
  damage.py sweep DIR [opts] -- CMD...         apply each, run CMD ({} becomes DIR), undo it
  damage.py apply DIR --id K [opts]            apply one and leave it (to debug)
  damage.py --selftest

Mutations: flip (one bit of a byte), zero (512 bytes), trunc, extend, empty, delete, swap (contents of
two files of one folder), stale (an older file put over a newer one), dup (copied to another name).
Positions per file: --positions N spread evenly plus both ends; 0 means every byte.
CMD's exit status is the verdict:
  0 accepted the damage   (a failure with --expect detected, the default; fine with --expect safe)
  --wrong W (default 66)  gave wrong data without an error: always a failure
  any other               detected it: good.  A timeout or a signal is a failure.
A mutation that is harmless by design (a renamed lock, dup) is excluded with --kinds / --skip REGEX.
A restore test therefore: exit 0 if bit-exact, 66 if wrong yet reported fine, 1 if it reported an error;
run it with --expect safe.  DIR is changed in place and put back: use a copy.
"""
import argparse, collections, json, os, re, shutil, subprocess, sys, tempfile

KINDS = "flip,zero,trunc,extend,empty,delete,swap,stale"


def plan(root, a):
    files = []
    for b, ds, fs in os.walk(root):
        ds.sort()
        for f in sorted(fs):
            p = os.path.relpath(os.path.join(b, f), root)
            if not (a.skip and re.search(a.skip, p)) and not (a.only and not re.search(a.only, p)):
                files.append(p)
    out, kinds = [], a.kinds.split(",")
    for p in files:
        n = os.path.getsize(os.path.join(root, p))
        pos = (
            list(range(n))
            if a.positions == 0 or n <= a.positions
            else sorted({0, 1, n - 1, n - 4, n // 2} | {i * n // a.positions for i in range(a.positions)})
            if n
            else []
        )
        if "flip" in kinds:
            out += [("flip", p, i, 1 << (i * 5 + len(p)) % 8) for i in pos if 0 <= i < n]
        if "zero" in kinds and n:
            out += [("zero", p, i, 512) for i in sorted({0, n // 2, max(0, n - 512)})]
        if "trunc" in kinds and n:
            out += [("trunc", p, i, 0) for i in sorted({n - 1, n // 2, max(0, n - 32)})]
        if "extend" in kinds:
            out.append(("extend", p, n, 1))
        if "empty" in kinds and n:
            out.append(("empty", p, 0, 0))
        if "delete" in kinds:
            out.append(("delete", p, 0, 0))
        if "dup" in kinds:
            out.append(("dup", p, 0, 0))
        sib = [q for q in files if q != p and os.path.dirname(os.path.dirname(q)) == os.path.dirname(os.path.dirname(p))]
        if sib and "swap" in kinds and sib[0] > p:
            out.append(("swap", p, sib[0], 0))
        if sib and "stale" in kinds:
            out.append(("stale", p, sib[-1], 0))
    return out


class Applied:
    def __init__(self, root, m):
        self.root, (self.kind, self.p, self.x, self.y) = root, m
        self.saved = {}

    def keep(self, p):
        full = os.path.join(self.root, p)
        st = os.stat(full)
        self.saved[p] = (open(full, "rb").read(), st.st_mode & 0o7777, (st.st_atime_ns, st.st_mtime_ns))
        if not st.st_mode & 0o200:
            os.chmod(full, st.st_mode & 0o7777 | 0o200)
        return self.saved[p][0]

    def put(self, p, data):
        with open(os.path.join(self.root, p), "wb") as f:
            f.write(data)

    def __enter__(self):
        d = self.keep(self.p)
        k, x, y = self.kind, self.x, self.y
        if k == "flip":
            self.put(self.p, d[:x] + bytes([d[x] ^ y]) + d[x + 1 :])
        elif k == "zero":
            self.put(self.p, d[:x] + bytes(min(y, len(d) - x)) + d[x + y :])
        elif k == "trunc":
            self.put(self.p, d[:x])
        elif k == "extend":
            self.put(self.p, d + b"\0")
        elif k == "empty":
            self.put(self.p, b"")
        elif k == "delete":
            os.unlink(os.path.join(self.root, self.p))
        elif k == "dup":
            shutil.copy2(os.path.join(self.root, self.p), os.path.join(self.root, self.p) + "0")
        elif k == "swap":
            e = self.keep(x)
            self.put(self.p, e)
            self.put(x, d)
        elif k == "stale":
            self.put(self.p, open(os.path.join(self.root, x), "rb").read())
        self.same = k in ("zero", "stale", "swap") and open(os.path.join(self.root, self.p), "rb").read() == d
        return self

    def __exit__(self, *_):
        if self.kind == "dup":
            os.unlink(os.path.join(self.root, self.p) + "0")
        for p, (d, mode, t) in self.saved.items():
            self.put(p, d)
            full = os.path.join(self.root, p)
            os.chmod(full, mode)
            os.utime(full, ns=t)


def sweep(a, cmd):
    ms = plan(a.dir, a)
    if a.sample and len(ms) > a.sample:
        ms = [ms[i * len(ms) // a.sample] for i in range(a.sample)]
    cmd = [c.replace("{}", a.dir) for c in cmd]

    def run():
        try:
            return subprocess.run(cmd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=a.timeout).returncode
        except subprocess.TimeoutExpired:
            return "timeout"

    if run() != 0:
        print("damage: CMD does not accept the undamaged directory", file=sys.stderr)
        return 2
    tally, bad = collections.Counter(), 0
    for m in ms:
        with Applied(a.dir, m) as ap:
            if ap.same:
                continue
            rc = run()
        v = (
            "wrong"
            if rc == a.wrong
            else "hang"
            if rc == "timeout"
            else "crash"
            if rc < 0 or rc in (134, 139)
            else "accepted"
            if rc == 0
            else "detected"
        )
        tally[v] += 1
        missed = v == "accepted" and a.expect == "detected" and not (a.accept and re.search(a.accept, f"{m[0]} {m[1]}"))
        if v in ("wrong", "hang", "crash") or missed:
            bad += 1
            print(json.dumps({"verdict": v, "rc": rc, "mutation": m}), flush=True)
    if run() != 0:
        print("damage: damage not undone", file=sys.stderr)
        return 2
    print(json.dumps({"mutations": sum(tally.values()), **tally, "bad": bad}))
    return 1 if bad else 0


def selftest():
    t = tempfile.mkdtemp(prefix="damage-")
    os.makedirs(t + "/r/data")
    me = [sys.executable, os.path.abspath(__file__)]
    for n, d in (("data/a", os.urandom(300)), ("data/b", os.urandom(900)), ("cfg", b"hello")):
        open(f"{t}/r/{n}", "wb").write(d)
        os.chmod(f"{t}/r/{n}", 0o400)
    subprocess.run(f"cd {t}/r && find . -type f | sort | xargs sha256sum > ../sums", shell=True, check=True)
    good = f"cd {t}/r && sha256sum --status -c ../sums && [ $(find . -type f | wc -l) = 3 ]"
    weak = f"cd {t}/r && [ $(find . -type f | wc -l) = 3 ]"
    r = subprocess.run(
        me + ["sweep", t + "/r", "--positions", "16", "--kinds", KINDS + ",dup", "--", "bash", "-c", good],
        capture_output=True,
        text=True,
    )
    assert r.returncode == 0, r
    r = subprocess.run(me + ["sweep", t + "/r", "--positions", "4", "--", "bash", "-c", weak], capture_output=True, text=True)
    assert r.returncode == 1 and "accepted" in r.stdout, r
    subprocess.run(["rm", "-rf", t])
    print("damage selftest ok")


def main():
    argv, cmd = sys.argv[1:], []
    if "--" in argv:
        i = argv.index("--")
        argv, cmd = argv[:i], argv[i + 1 :]
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("what", nargs="?", choices=["plan", "sweep", "apply"])
    ap.add_argument("dir", nargs="?")
    ap.add_argument("--positions", type=int, default=64)
    ap.add_argument("--kinds", default=KINDS)
    ap.add_argument("--skip", metavar="REGEX")
    ap.add_argument("--only", metavar="REGEX")
    ap.add_argument("--sample", type=int, help="at most this many mutations, spread evenly")
    ap.add_argument("--expect", choices=["detected", "safe"], default="detected")
    ap.add_argument("--accept", metavar="REGEX", help="'KIND PATH' of damage that nobody can detect")
    ap.add_argument("--wrong", type=int, default=66)
    ap.add_argument("--timeout", type=float, default=60)
    ap.add_argument("--id", type=int)
    ap.add_argument("--selftest", action="store_true")
    a = ap.parse_args(argv)
    if a.selftest:
        return selftest()
    if not a.what or not a.dir:
        ap.print_help()
        return 2
    if a.what == "plan":
        for i, m in enumerate(plan(a.dir, a)):
            print(i, *m)
        return 0
    if a.what == "apply":
        m = plan(a.dir, a)[a.id]
        Applied(a.dir, m).__enter__()
        print(*m)
        return 0
    return sweep(a, cmd)


if __name__ == "__main__":
    sys.exit(main())
