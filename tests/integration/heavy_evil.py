#!/usr/bin/env python3
"""A hundred hostile repositories, their keys valid and their MACs right, against restore and verify of a real daemon.

    ./check evil [REGEX]       the cases whose name matches; support/hostile_repository.py says what a reader owes in each
"""
import os
import re
import signal
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
from machine import Machine  # noqa: E402
from promises import options, parse  # noqa: E402

MOST_MEMORY = (512 + 64) << 20  # the most that an index may unpack to, and the daemon itself


def one(what, repo, target):
    """Runs under the judge: exit 0 accepted, 1 refused, death by signal when the daemon died."""
    m = Machine("evil")
    died = None
    try:
        key = m.write("x", "x\n", 0o600)
        m.start()
        reply = m.ctl("repo", "add", "evil", repo, "--password-file", key, timeout=200)
        print(reply)
        if reply.code == 0:
            m.ctl("set", "create", "rescue", "--repo", "evil", m.path("home")).expect(0)
            if what == "verify":
                reply = m.ctl("verify", "--data", "all", timeout=200)
            else:
                revision = os.listdir(os.path.join(repo, "snapshots"))[0]
                reply = m.ctl("restore", "/", "--revision", revision, "--to", target, "--full-paths", timeout=200)
            print(reply)
        code = reply.code
        # Nothing is damaged, but a reader has to be told: a hint.
        if what == "verify" and re.search("name is longer than|of an unknown type", reply.out + reply.err):
            code = code or 1
        died = m.daemon.poll()
        if died is None and m.peak_memory() > MOST_MEMORY and not os.environ.get("ASAN_OPTIONS"):
            print(f"panic: the daemon took {m.peak_memory() >> 20} MiB")
            print("fatal error: memory", flush=True)
            died = "memory"
        print(m.daemon_log(100), flush=True)
    finally:
        if died is not None and died != "memory":
            m.daemon = None
        m.close()
    if died is not None:
        os.kill(os.getpid(), signal.SIGABRT)
    return 0 if code == 0 else 1


def main():
    parse(cases=dict(nargs="?", default=""), **{"--one": dict(nargs=3, metavar=("WHAT", "REPO", "TARGET"))})
    if options.one:
        return one(*options.one)
    bad = 0
    for what in ("restore", "verify"):
        print(f"{what}:", flush=True)
        judge = [
            sys.executable,
            os.path.join(HERE, "../support/hostile_repository.py"),
            "run",
            "--timeout",
            "240",  # a hang, whatever else the machine does
            "--fsize",
            "4096",
        ]
        judge += ["--cases", options.cases] if options.cases else []
        bad += subprocess.run(
            [*judge, "--", sys.executable, __file__, "--build", options.build, "--one", what, "{repo}", "{target}"]
        ).returncode
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
