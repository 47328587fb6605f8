#!/usr/bin/env python3
"""Damage in every file of a repository, and system calls that fail under a running daemon.

    ./check faults [STEP]      every STEPth call (default 7); smaller is more thorough

Damage: verify has to find it, a restore has to be exact or say that it is not. Failing calls, of backups, collections and restores:
the daemon lives, what it calls complete is complete, nothing half done stands under its name, and the next run succeeds.
"""
import argparse
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
import fail_call  # noqa: E402
from machine import Machine, ready, tree_diff  # noqa: E402
from promises import check, equal, options, parse  # noqa: E402


def judge(what, repo, source, password, target):
    """Runs under damage.py: 0 accepted or exact, 66 wrong without an error, 1 an error was reported."""
    m = Machine("fault")
    try:
        m.start()
        reply = m.ctl("repo", "add", "r", repo, "--password-file", password, timeout=60)
        if reply.code != 0:
            return 1
        m.ctl("set", "create", "rescue", "--repo", "r", m.path("home")).expect(0)
        if what == "verify":
            reply = m.ctl("verify", "--data", "all", timeout=60)
        else:
            shutil.rmtree(target, ignore_errors=True)
            names = os.listdir(os.path.join(repo, "snapshots"))
            if not names:
                return 1
            reply = m.ctl("restore", source, "--revision", names[0], "--to", target, timeout=60)
        if m.daemon.poll() is not None:
            m.daemon = None
            return 134
        if reply.code == 0 and what == "restore" and tree_diff(source, os.path.join(target, os.path.basename(source))):
            return 66
        return 0 if reply.code == 0 else 1
    finally:
        m.close()


def damage(sample):
    bad = 0
    with ready("damage") as m:
        m.write_tree("src", {f"f{i}": os.urandom(3000 * i) for i in range(12)} | {"d/e/f": "text\n" * 500})
        m.set("home", m.path("src"))
        m.backup()
        m.stop()
        for what, expect in (("verify", "detected"), ("restore", "safe")):
            print(f"damage, {what}:", flush=True)
            # A lock or snapshot that is deleted whole cannot be missed by anyone who was not told of it.
            command = [
                sys.executable,
                os.path.join(HERE, "../support/damage.py"),
                "sweep",
                m.path("repo"),
                "--sample",
                str(sample),
            ]
            command += ["--expect", expect, "--positions", "24", "--skip", "^locks", "--accept", "^delete snapshots/"]
            command += [
                "--",
                sys.executable,
                __file__,
                "--build",
                options.build,
                "--judge",
                what,
                "{}",
                m.path("src"),
                m.password_file,
                m.path("out"),
            ]
            bad += subprocess.run(command).returncode != 0
    return bad


FAULTS = (
    ("error", "EIO", 1),
    ("error", "ENOSPC", 1),
    ("error", "EMFILE", 1),
    ("short", "EIO", 1),
    ("error", "EIO", 0),
    ("lie", "EIO", 1),
)


def sound(m, what="src"):
    m.restic("check").expect(0)
    shutil.rmtree(m.path("out"), ignore_errors=True)
    m.ctl("restore", m.path("src"), "--to", m.path("out")).expect(0)
    equal(tree_diff(m.path("src"), m.path("out/src")), [])
    shutil.rmtree(m.path("out"))


class Backup:
    def prepare(self, m):
        m.write("src/changed", os.urandom(200_000))

    def run(self, m):
        return m.ctl("--json", "run", "home", "--wait", timeout=60)

    def judge(self, m, reply, mode):
        if reply.code == 0 and mode != "lie":
            m.restic("check", "--no-lock").expect(0)  # a lock that could not be removed goes with the next job
        again = m.ctl("--json", "run", "home", "--wait", "--full", timeout=60)
        if mode != "lie":
            check(again.code == 0, again)
            sound(m)
            return True
        out = m.ctl("restore", m.path("src"), "--to", m.path("out"))  # lost writes: found, never restored as good
        if out.code == 0:
            equal(tree_diff(m.path("src"), m.path("out/src")), [])
            return True
        check(m.ctl("verify", "--data", "all").code == 14, "restore fails, verify finds nothing")
        return False  # this repository is of no more use


class Collection:
    """Of a revision that was forgotten and packs whose grace is over, with something to copy."""

    def prepare(self, m):
        m.write("src/changed", os.urandom(200_000))
        m.backup()
        m.ctl("forget", "--policy", "--set", "home", "--yes").expect(0)

    def run(self, m):
        return m.ctl("--json", "gc", timeout=60)

    def judge(self, m, reply, mode):
        m.restic("check", "--no-lock").expect(0)  # whatever it could not do
        if mode == "lie":  # what it was told is stored was read back, or it stopped
            check(m.ctl("verify", "--data", "all").code == 0, "a collection took what is needed")
        m.ctl("--json", "gc", timeout=60).expect(0)
        sound(m)
        m.ahead += 25 * 3600
        m.set_clock(m.ahead)
        return True


class Restore:
    def prepare(self, m):
        shutil.rmtree(m.path("out"), ignore_errors=True)

    def run(self, m):
        return m.ctl("--json", "restore", m.path("src"), "--to", m.path("out"), timeout=60)

    def judge(self, m, reply, mode):
        made = m.path("out/src")
        if reply.code == 0:
            equal(tree_diff(m.path("src"), made), [], "a restore that is said to be complete")
        elif os.path.isdir(made):
            torn = [d for d in tree_diff(m.path("src"), made) if d["what"] in ("sha256", "size", "target")]
            equal(torn, [], "half restored files stand under their own names")
        m.ctl("restore", m.path("src"), "--to", m.path("out"), "--on-conflict", "replace", "--yes").expect(0)
        equal(tree_diff(m.path("src"), made), [])
        return True


def failing_calls(step, operation, mode, error, span):
    """Every STEPth call of one operation fails, until the operation makes no more calls. Broken promises, runs."""
    bad = runs = 0
    settings = argparse.Namespace(
        span=span, errno=error, mode=mode, delay_ms=0, disarmed=True, calls=fail_call.DEFAULT, path=None, log=None
    )
    with ready("calls") as m:
        m.ahead = 0
        m.write_tree("src", {f"f{i}": os.urandom(30000 * i) for i in range(6)})
        m.set("home", m.path("src"), extra=("--no-automatic", "--keep", "last=1 minimum=1"))
        path = "config/repositories.d/main.toml"
        m.write(path, m.read(path).decode() + 'collect = "off"\ntrash = "0s"\n')
        m.backup()
        m.stop()
        state = m.path("fail-call")
        settings.path = m.path("repo") if mode == "lie" else m.top
        if mode == "lie":
            settings.calls = "write,fsync,rename"
        n = 1
        fail_call.write_state(state, settings, n)
        os.chmod(state, 0o666)
        m.set_clock(0)
        m.start(
            env={
                "LD_PRELOAD": fail_call.lib(settings.calls),
                "FAIL_CALL_STATE": state,
                "ASAN_OPTIONS": "verify_asan_link_order=0",
                "BACKUPD_CLOCK_STEP": m.path("clock"),
            }
        )
        while runs <= 400:
            operation.prepare(m)
            fail_call.write_state(state, settings, n)
            subprocess.run([sys.executable, fail_call.__file__, "arm", state], check=True)
            reply = operation.run(m)
            seen = fail_call.read_state(state)
            subprocess.run([sys.executable, fail_call.__file__, "disarm", state], check=True)
            if not seen["hits"] and m.daemon.poll() is None:
                break
            runs += 1
            try:
                check(m.daemon.poll() is None, "the daemon died")
                if not operation.judge(m, reply, mode):
                    break
            except Exception as problem:
                bad += 1
                name = type(operation).__name__.lower()
                print(f"FAIL {name}: {mode} {error} span {span}, call {n}: {problem}\n{reply}", flush=True)
                m.explain()
                if m.daemon.poll() is not None:
                    break
            shutil.rmtree(m.path("out"), ignore_errors=True)
            n += step
    return bad, runs


def all_failing_calls(step):
    bad = 0
    for operation in (Backup(), Collection(), Restore()):
        name = type(operation).__name__.lower()
        if options.operation not in (None, name):
            continue
        for mode, error, span in FAULTS:
            broken, runs = failing_calls(step, operation, mode, error, span)
            bad += broken
            print(f"failing calls: {name}, {mode} {error} span {span}: {runs} runs, {broken} broken promises", flush=True)
    return bad


def main():
    parse(
        step=dict(nargs="?", type=int, default=7),
        **{"--judge": dict(nargs=5), "--sample": dict(type=int, default=150), "--operation": dict()},
    )
    if options.judge:
        return judge(*options.judge)
    bad = (0 if options.operation else damage(options.sample)) + all_failing_calls(options.step)
    print(f"{bad} broken promises")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
