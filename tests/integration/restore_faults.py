#!/usr/bin/env python3
"""Restores that are killed, starved or cut off at some system call: every path holds the old or the new content, whole."""
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import types

HERE = os.path.dirname(os.path.abspath(__file__))
SUPPORT = os.path.join(HERE, "..", "support")
sys.path.insert(0, SUPPORT)
import cheap_repository  # noqa: E402
from promises import check, equal, main, options, promise, skip  # noqa: E402

FAIL_CALL = os.path.join(SUPPORT, "fail_call.py")


@contextlib.contextmanager
def fixture():
    if not shutil.which("restic"):
        skip("restic is not installed: it makes the repository")
    m = types.SimpleNamespace(base=tempfile.mkdtemp(prefix="backupd-faults-"))
    m.path = lambda name: os.path.join(m.base, name)
    m.tool = os.path.join(options.build, "tests/support/restore_once")
    m.env = dict(os.environ, RESTIC_PASSWORD="x", RESTIC_CACHE_DIR=m.path("cache"))
    try:
        # 3 directories of 8 small files, one file of several blobs, links; the target holds other content for a third.
        m.new, m.old = {}, {}
        for d in range(3):
            os.makedirs(m.path(f"src/d{d}"))
            for f in range(8):
                m.new[f"src/d{d}/f{f}"] = f"new {d} {f}\n".encode() * (f * 100)
        m.new["src/big"] = os.urandom(3 << 20)
        for name, content in m.new.items():
            with open(m.path(name), "wb") as out:
                out.write(content)
            if name.endswith(("0", "3", "6")):
                m.old[name] = b"old " + name.encode()
        os.symlink("big", m.path("src/link"))
        run = lambda *argv: subprocess.run(argv, env=m.env, check=True, cwd=m.base)
        cheap_repository.make(m.path("repo"), "x")
        run("restic", "-q", "-r", m.path("repo"), "backup", "src")
        with open(m.path("prepare"), "w") as f:
            f.write(f"#!/bin/sh\nexec {sys.executable} {os.path.abspath(__file__)} --prepare {m.base}\n")
        os.chmod(m.path("prepare"), 0o755)
        with open(m.path("expect.json"), "w") as f:
            json.dump({"old": sorted(m.old), "new": sorted(m.new)}, f)
        yield m
    finally:
        if not options.keep:
            shutil.rmtree(m.base, ignore_errors=True)


def prepare(base):
    """The target as it is before each try."""
    target = os.path.join(base, "target")
    shutil.rmtree(target, ignore_errors=True)
    with open(os.path.join(base, "expect.json")) as f:
        for name in json.load(f)["old"]:
            path = os.path.join(target, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as out:
                out.write("old " + name)
    os.makedirs(target, exist_ok=True)


def judge(base):
    """After a fault: old or new, whole; a success is complete; a second run completes and cleans up."""
    target, problems = os.path.join(base, "target"), []
    with open(os.path.join(base, "expect.json")) as f:
        expect = json.load(f)
    code = int(os.environ["FAIL_CALL_RC"])

    def content(path):
        with open(path, "rb") as f:
            return f.read()

    def look(must_be_complete):
        seen = set()
        for up, _, files in os.walk(target):
            for name in files:
                path = os.path.join(up, name)
                rel = os.path.relpath(path, target)
                if name.startswith(".backupd-"):
                    if code >= 0 or must_be_complete:
                        problems.append(f"temporary file {rel} left")
                    continue
                seen.add(rel)
                if os.path.islink(path):
                    continue
                now = content(path)
                is_new = now == content(os.path.join(base, rel))
                is_old = rel in expect["old"] and now == ("old " + rel).encode()
                if not is_new and not (is_old and not must_be_complete):
                    problems.append(f"{rel} is neither old nor new ({len(now)} bytes)")
        for rel in expect["new"] if must_be_complete else expect["old"]:
            if rel not in seen:
                problems.append(f"{rel} is missing")

    look(code == 0)
    p = subprocess.run(
        [os.path.join(os.environ["BACKUPD_BUILD"], "tests/support/restore_once"), base + "/repo", "x", "latest", target]
        + ["--on-conflict", "replace"],
        capture_output=True,
        text=True,
        env={k: v for k, v in os.environ.items() if k != "LD_PRELOAD"},
    )
    if p.returncode != 0:
        problems.append(f"the run after it: exit {p.returncode}: {p.stdout}{p.stderr}")
    look(True)
    if problems:
        print("\n".join(problems[:10]), f"(exit {code}, call {os.environ['FAIL_CALL_N']})", file=sys.stderr)
    return 1 if problems else 0


def sweep(m, calls, mode, step, *more):
    p = subprocess.run(
        [sys.executable, FAIL_CALL, "sweep", "--calls", calls, "--mode", mode, "--step", str(step), "--path", m.path("target")]
        + ["--prepare", m.path("prepare"), "--check", f"{sys.executable} {os.path.abspath(__file__)} --judge {m.base}", *more, "--"]
        + [m.tool, m.path("repo"), "x", "latest", m.path("target"), "--on-conflict", "replace"],
        capture_output=True,
        text=True,
        env=dict(m.env, BACKUPD_BUILD=options.build),
    )
    check(p.returncode == 0, p.stdout[-3000:] + p.stderr[-3000:])


STEP = int(os.environ.get("FAULT_STEP", "5"))


@promise("killed before or after any call that changes the target, each path is old or new")
def _(m):
    sweep(m, "write,fsync,rename,link,symlink,mkdir,truncate,meta", "kill", STEP)
    sweep(m, "rename,mkdir", "killafter", STEP)


@promise("a full disk at any call ends it cleanly")
def _(m):
    sweep(m, "open,write,mkdir,rename", "error", STEP, "--errno", "ENOSPC")


@promise("a call that fails with EIO costs no more than the file concerned and is never taken for success")
def _(m):
    sweep(m, "open,write,fsync,rename,close,mkdir,truncate,link,symlink", "error", STEP, "--errno", "EIO")


@promise("short writes lose nothing")
def _(m):
    sweep(m, "write", "short", STEP)


@promise("a full file system is a clear error and leaves no temporary file")
def _(m):
    if os.geteuid() != 0:
        skip("needs root to mount a small file system")
    target = m.path("small")
    os.makedirs(target)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", target], capture_output=True).returncode != 0:
        skip("cannot mount here")
    try:
        p = subprocess.run([m.tool, m.path("repo"), "x", "latest", target], capture_output=True, text=True)
        check(p.returncode == 1, p)
        check("no_space" in p.stderr or "no space" in p.stderr.lower(), p)
        left = [n for _, _, names in os.walk(target) for n in names if n.startswith(".backupd-")]
        equal(left, [])
    finally:
        subprocess.run(["umount", target])


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--prepare":
        sys.exit(prepare(sys.argv[2]))
    if len(sys.argv) == 3 and sys.argv[1] == "--judge":
        sys.exit(judge(sys.argv[2]))
    main(fixture)
