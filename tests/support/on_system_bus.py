#!/usr/bin/env python3
"""on_system_bus.py SCRIPT [ARG...]: runs a test with a daemon that serves a system bus of the test's own, and restores as root's would."""
import os
import sys

SKIP = 77

if os.geteuid() != 0:
    print("skip: needs root")
    sys.exit(SKIP)
os.environ["TEST_SYSTEM_BUS"] = "1"
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
