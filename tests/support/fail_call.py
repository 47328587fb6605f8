#!/usr/bin/env python3
"""fail_call: run a dynamically linked program with its Nth matching libc call failing.

  fail_call.py count [opts] -- CMD...         how many matching calls a clean run makes
  fail_call.py run -n N [opts] -- CMD...      fail call N; prints hits=K; exit status is CMD's
  fail_call.py sweep [opts] [--prepare SH] [--check SH] -- CMD...
                                            for N = 1, 2, ... until a run makes no hit:
                                            prepare, run with call N failing, then check
  fail_call.py state FILE [opts] [-n N]       make a state file for a program started elsewhere with
                                            LD_PRELOAD=$(fail_call.py lib) FAIL_CALL_STATE=FILE
  fail_call.py arm|disarm|show FILE           switch or read it while the program runs
  fail_call.py lib [--calls malloc]           build the shim and print its path
  fail_call.py --selftest

Calls (names cover their variants, e.g. write = write, pwrite, writev, ...):
  open opendir readdir read write fsync close rename unlink link symlink mkdir mknod truncate
  fallocate meta(chmod/chown/utime/setxattr) stat readlink mmap connect send recv malloc
Modes: error (default; not carried out), after (carried out, then reported as failed), short (half is
  moved), lie (reported as done, not done), kill (SIGKILL before), killafter, delay.
--check runs in a shell with FAIL_CALL_N, FAIL_CALL_RC (CMD's status, negative: killed by that signal),
FAIL_CALL_HITS; non-zero there fails the sweep, as do a CMD that times out or dies of a signal other than
the injected kill (--crash-ok allows that).  Programs that make raw system calls (Go, static, io_uring)
are not seen: use strace -f -e inject= for those.  Needs cc.
"""
import argparse, ctypes, errno, hashlib, json, os, shlex, signal, struct, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
STATE = struct.Struct("<QQQQIIII512s512s512s")
MODES = ["error", "after", "short", "lie", "kill", "killafter", "delay"]
DEFAULT = "open,write,fsync,close,rename,unlink,link,mkdir,truncate,read"


def lib(calls=""):
    src = open(HERE + "/fail_call.c", "rb").read()
    d = os.path.join(os.environ.get("XDG_CACHE_HOME") or tempfile.gettempdir(), "fail_call-%d" % os.getuid())
    oom = ["-DWITH_MALLOC"] if "malloc" in calls.split(",") else []
    so = os.path.join(d, hashlib.sha256(src).hexdigest()[:16] + ("-oom" if oom else "") + ".so")
    if not os.path.exists(so):
        os.makedirs(d, 0o700, exist_ok=True)
        if os.stat(d).st_uid != os.getuid():
            sys.exit("fail_call: %s belongs to someone else" % d)
        tmp = "%s.%d" % (so, os.getpid())
        subprocess.run(
            [
                *shlex.split(os.environ.get("CC", "cc")),
                "-shared",
                "-fPIC",
                "-O1",
                "-w",
                *oom,
                "-o",
                tmp,
                HERE + "/fail_call.c",
                "-ldl",
            ],
            check=True,
        )
        os.rename(tmp, so)
    return so


def write_state(path, a, n):
    e = getattr(errno, a.errno, None) or int(a.errno)
    # In place: a program that has it mapped must never find it empty.
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as f:
        f.write(
            STATE.pack(
                0,
                n,
                a.span,
                0,
                e,
                MODES.index(a.mode),
                a.delay_ms,
                0 if a.disarmed else 1,
                ("," + a.calls + ",").encode(),
                os.fsencode(os.path.abspath(a.path)) if a.path else b"",
                os.fsencode(os.path.abspath(a.log)) if a.log else b"",
            )
        )


def read_state(path):
    v = STATE.unpack(open(path, "rb").read(STATE.size))
    return {"count": v[0], "n": v[1], "hits": v[3], "armed": v[7]}


def one(a, n, cmd):
    fd, st = tempfile.mkstemp(prefix="fail_call-")
    os.close(fd)
    try:
        write_state(st, a, n)
        os.chmod(st, 0o666)
        env = dict(os.environ, LD_PRELOAD=lib(a.calls), FAIL_CALL_STATE=st)
        # LSan cannot work under a preload that it did not expect; ASan itself can be told to.
        env["ASAN_OPTIONS"] = "verify_asan_link_order=0:" + env.get("ASAN_OPTIONS", "")
        p = subprocess.Popen(
            cmd,
            env=env,
            start_new_session=True,
            stdout=None if a.verbose else subprocess.DEVNULL,
            stderr=None if a.verbose else subprocess.DEVNULL,
        )
        try:
            rc = p.wait(a.timeout)
        except subprocess.TimeoutExpired:
            os.killpg(p.pid, signal.SIGKILL)
            p.wait()
            rc = "timeout"
        return rc, read_state(st)
    finally:
        os.unlink(st)


def sweep(a, cmd):
    lo, _, hi = (a.range or "1:").partition(":")
    n, runs, bad, codes = int(lo or 1), 0, [], {}
    while not hi or n <= int(hi):
        if a.prepare:
            subprocess.run(a.prepare, shell=True, check=True)
        rc, s = one(a, n, cmd)
        if not s["hits"]:
            break
        runs += 1
        codes[str(rc)] = codes.get(str(rc), 0) + 1
        why = None
        if rc == "timeout":
            why = "timeout"
        elif rc < 0 and not a.crash_ok and not (a.mode in ("kill", "killafter") and rc == -9):
            why = "signal %d" % -rc
        elif a.check:
            c = subprocess.run(
                a.check,
                shell=True,
                env=dict(os.environ, FAIL_CALL_N=str(n), FAIL_CALL_RC=str(rc), FAIL_CALL_HITS=str(s["hits"])),
                stdout=None if a.verbose else subprocess.DEVNULL,
                stderr=None if a.verbose else subprocess.DEVNULL,
            ).returncode
            if c:
                why = "check exit %d" % c
        if why:
            bad.append([n, rc, why])
            print(json.dumps({"n": n, "rc": rc, "why": why}), flush=True)
            if a.stop:
                break
        n += a.step
    print(
        json.dumps(
            {
                "mode": a.mode,
                "errno": a.errno,
                "calls": a.calls,
                "runs": runs,
                "exit_statuses": codes,
                "bad": len(bad),
            }
        )
    )
    return 1 if bad or not runs else 0


def selftest():
    me = [sys.executable, os.path.abspath(__file__)]
    t = tempfile.mkdtemp(prefix="fail_call-st-")
    prog = t + "/p.py"
    open(prog, "w").write(
        f"""
import os
import shlex
def save(name, data):
    fd = os.open(name + ".tmp", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
    v = memoryview(data)
    while v: v = v[os.write(fd, v):]
    os.fsync(fd); os.close(fd); os.rename(name + ".tmp", name)
save({t!r} + "/d/x", b"new" * 1000)
"""
    )
    base = ["--path", t + "/d", "--calls", "open,write,fsync,close,rename"]
    prep = f"rm -rf {t}/d; mkdir {t}/d; printf old > {t}/d/x"
    ok = f'[ "$(cat {t}/d/x)" = old ] || [ $(wc -c < {t}/d/x) = 3000 ]'
    said = f"[ $FAIL_CALL_RC != 0 ] || [ $(wc -c < {t}/d/x) = 3000 ]"
    run = lambda *a: subprocess.run(me + list(a) + ["--", sys.executable, "-S", prog], capture_output=True, text=True)
    subprocess.run(prep, shell=True)
    r = run("count", *base)
    assert "count=5" in r.stdout, r
    for m in ("error", "after", "short", "kill", "killafter"):
        r = run(
            "sweep",
            "--mode",
            m,
            "--prepare",
            prep,
            "--check",
            ok + "; a=$?; " + ("true" if m == "after" else said) + " && [ $a = 0 ]",
            *base,
        )
        assert r.returncode == 0 and '"runs": 5' in r.stdout, (m, r.stdout, r.stderr)
    r = run("sweep", "--mode", "lie", "--calls", "write", "--path", t + "/d", "--prepare", prep, "--check", said)
    assert r.returncode == 1, ("a lost write has to fail the check", r.stdout)
    r = run("count", "--calls", "malloc")
    assert int(r.stdout.split("count=")[1].split()[0]) > 100, r.stdout
    subprocess.run(["rm", "-rf", t])
    print("fail_call selftest ok")


def main():
    argv, cmd = sys.argv[1:], []
    if "--" in argv:
        i = argv.index("--")
        argv, cmd = argv[:i], argv[i + 1 :]
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("what", nargs="?", choices=["count", "run", "sweep", "state", "arm", "disarm", "show", "lib"])
    ap.add_argument("file", nargs="?")
    ap.add_argument("-n", type=int, default=0)
    ap.add_argument("--calls", default=DEFAULT)
    ap.add_argument("--path", help="only files below this prefix")
    ap.add_argument("--mode", choices=MODES, default="error")
    ap.add_argument("--errno", default="EIO")
    ap.add_argument("--span", type=int, default=1, help="calls in a row to hit, 0: from N on for ever")
    ap.add_argument("--delay-ms", type=int, default=500)
    ap.add_argument("--log", help="append each matching call here")
    ap.add_argument("--timeout", type=float, default=60)
    ap.add_argument("--disarmed", action="store_true")
    ap.add_argument("--prepare")
    ap.add_argument("--check")
    ap.add_argument("--range", metavar="A:B")
    ap.add_argument("--step", type=int, default=1)
    ap.add_argument("--crash-ok", action="store_true")
    ap.add_argument("--stop", action="store_true", help="stop at the first failure")
    ap.add_argument("-v", "--verbose", action="store_true")
    ap.add_argument("--selftest", action="store_true")
    a = ap.parse_args(argv)
    if a.selftest:
        return selftest()
    if a.what == "lib":
        print(lib(a.calls))
        return 0
    if a.what == "state":
        write_state(a.file, a, a.n)
        return 0
    if a.what in ("arm", "disarm"):
        with open(a.file, "r+b") as f:
            f.seek(44)
            f.write(struct.pack("<I", a.what == "arm"))
        return 0
    if a.what == "show":
        print(json.dumps(read_state(a.file)))
        return 0
    if not cmd or not a.what:
        ap.print_help()
        return 2
    if a.what == "sweep":
        return sweep(a, cmd)
    a.verbose = True
    rc, s = one(a, a.n if a.what == "run" else 0, cmd)
    print(f"count={s['count']} hits={s['hits']} rc={rc}")
    return rc if isinstance(rc, int) and rc >= 0 else 1


if __name__ == "__main__":
    sys.exit(main())
