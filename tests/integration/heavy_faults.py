#!/usr/bin/env python3
"""Damage in every file of a repository, and system calls that fail under a running daemon.

    ./check faults [STEP]      every STEPth call (default 7); smaller is more thorough

Damage: verify has to find it, a restore has to be exact or say that it is not. Failing calls: the daemon lives, what it calls
complete is complete, and the next run succeeds.
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


def failing_calls(step):
    bad = 0
    settings = argparse.Namespace(
        span=1, errno="EIO", mode="error", delay_ms=0, disarmed=True, calls=fail_call.DEFAULT, path=None, log=None
    )
    for mode, error, span in (
        ("error", "EIO", 1),
        ("error", "ENOSPC", 1),
        ("error", "EMFILE", 1),
        ("short", "EIO", 1),
        ("error", "EIO", 0),
        ("lie", "EIO", 1),
    ):
        runs = 0
        with ready("calls") as m:
            m.write_tree("src", {f"f{i}": os.urandom(30000 * i) for i in range(6)})
            # A run that begins by itself would leave ours nothing to do, and end the sweep early.
            m.set("home", m.path("src"), extra=("--no-automatic",))
            m.backup()
            m.stop()
            state = m.path("fail-call")
            settings.mode, settings.errno, settings.span, settings.path = mode, error, span, m.top
            if mode == "lie":
                settings.calls, settings.path = "write,fsync,rename", m.path("repo")
            n = 1
            fail_call.write_state(state, settings, n)
            os.chmod(state, 0o666)
            m.start(
                env={
                    "LD_PRELOAD": fail_call.lib(settings.calls),
                    "FAIL_CALL_STATE": state,
                    "ASAN_OPTIONS": "verify_asan_link_order=0",
                }
            )
            while True:
                fail_call.write_state(state, settings, n)
                m.write("src/changed", os.urandom(200_000))
                subprocess.run([sys.executable, fail_call.__file__, "arm", state], check=True)
                reply = m.ctl("--json", "run", "home", "--wait", timeout=60)
                seen = fail_call.read_state(state)
                subprocess.run([sys.executable, fail_call.__file__, "disarm", state], check=True)
                if m.daemon.poll() is None and (not seen["hits"] or runs > 400):
                    break
                runs += 1
                try:
                    check(m.daemon.poll() is None, "the daemon died")
                    if reply.code == 0 and mode != "lie":
                        m.restic("check").expect(0)
                    again = m.ctl("--json", "run", "home", "--wait", "--full", timeout=60)
                    if mode == "lie":  # lost writes: found, never restored as good
                        out = m.ctl("restore", m.path("src"), "--to", m.path("out"))
                        if out.code == 0:
                            equal(tree_diff(m.path("src"), m.path("out/src")), [])
                        else:
                            check(m.ctl("verify", "--data", "all").code == 14, "restore fails, verify finds nothing")
                            break
                    else:
                        check(again.code == 0, again)
                        m.restic("check").expect(0)
                        m.ctl("restore", m.path("src"), "--to", m.path("out")).expect(0)
                        equal(tree_diff(m.path("src"), m.path("out/src")), [])
                except Exception as problem:
                    bad += 1
                    print(f"FAIL {mode} {error} span {span}, call {n}: {problem}\n{reply}", flush=True)
                    m.explain()
                    if m.daemon.poll() is not None:
                        break
                shutil.rmtree(m.path("out"), ignore_errors=True)
                n += step
        print(f"failing calls: {mode} {error} span {span}: {runs} runs", flush=True)
    return bad


def main():
    parse(step=dict(nargs="?", type=int, default=7), **{"--judge": dict(nargs=5), "--sample": dict(type=int, default=150)})
    if options.judge:
        return judge(*options.judge)
    bad = damage(options.sample) + failing_calls(options.step)
    print(f"{bad} broken promises")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
