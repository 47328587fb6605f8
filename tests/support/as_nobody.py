#!/usr/bin/env python3
"""as_nobody.py SCRIPT [ARG...]: runs a test as a user without rights, for what root never meets. As such a user: runs it as it is."""
import os
import subprocess
import sys

NOBODY = 65534
SKIP = 77

command = [sys.executable, *sys.argv[1:]]
if os.geteuid() == 0:
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    backupd = os.path.join(os.environ.get("BACKUPD_BUILD", "build"), "daemon/backupd")
    for needed in ([backupd, "--version"], [sys.executable, "-c", f"open({sys.argv[1]!r})"]):
        if subprocess.run([*drop, *needed], capture_output=True).returncode != 0:
            print("skip: the build is not for others to read")
            sys.exit(SKIP)
    command = drop + command
    os.environ["HOME"] = "/nonexistent"
os.execvp(command[0], command)
