#!/usr/bin/env python3
"""Adds up what `meson test` ran: summary.py [--also VERDICT:NAME]... BUILD-DIR...

Counts single cases: the tests inside a GoogleTest program, the PASS/FAIL/SKIP lines of a test written on
tests/support/promises.py, else the program as one. Lists every skip with its reason and every failure by name.
--also adds a case that ran outside of meson (pass, fail or skip). The closing line stands alone: 'N passed, N failed, N skipped'. Exit 0 only without failures and with passes.
"""
import argparse
import json
import os
import re
import sys

GTEST = re.compile(r"^\[\s*(OK|FAILED|SKIPPED)\s*\] (\S+?),?(?: \(\d+ ms\)|, where .* \(\d+ ms\))$", re.M)
OWN = re.compile(r"^(PASS|FAIL|SKIP) ([^:\n]+)(?:: (.*))?$", re.M)


def cases(record):
    """[(verdict, name, reason)] of one test program"""
    out = record.get("stdout") or ""
    name, result = record["name"], record["result"]
    found = []
    if "[==========]" in out:
        for verdict, case in GTEST.findall(out):
            reason = ""
            if verdict == "SKIPPED":
                text = out.split(f"[ RUN      ] {case}\n", 1)[-1].split("[  SKIPPED ]", 1)[0].strip().splitlines()
                text = [t for t in text if t.strip() and not re.search(r":\d+: Skipped$|: Skipped$", t)]
                reason = text[-1].strip() if text else "no reason given"
            found.append(({"OK": "pass", "FAILED": "fail", "SKIPPED": "skip"}[verdict], f"{name}: {case}", reason))
    else:
        found = [(v.lower(), f"{name}: {c.strip()}", r) for v, c, r in OWN.findall(out)]
    good = result in ("OK", "EXPECTEDFAIL")
    if result == "SKIP":
        lines = [t for t in (out + "\n" + (record.get("stderr") or "")).splitlines() if t.strip()]
        return found if any(v == "skip" for v, _, _ in found) else [("skip", name, lines[-1] if lines else "no reason given")]
    if not found:
        return [("pass" if good else "fail", name, result)]
    if not good and not any(v == "fail" for v, _, _ in found):
        found.append(("fail", name, f"ended as {result}, exit code {record.get('returncode')}"))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--also", action="append", default=[], metavar="VERDICT:NAME")
    parser.add_argument("build", nargs="+")
    options = parser.parse_args()
    all_cases = [(*also.split(":", 1), "") for also in options.also]
    for build in options.build:
        log = os.path.join(build, "meson-logs", "testlog.json")
        if not os.path.exists(log):
            all_cases.append(("fail", build, "no test ran: " + log + " is missing"))
            continue
        with open(log, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                all_cases += cases(json.loads(line))
    count = {v: sum(1 for c in all_cases if c[0] == v) for v in ("pass", "fail", "skip")}
    for verdict, title in (("skip", "SKIPPED"), ("fail", "FAILED")):
        for v, name, reason in all_cases:
            if v == verdict:
                print(f"{title}  {name}" + (f"  ({reason})" if reason else ""))
    print(f"{count['pass']} passed, {count['fail']} failed, {count['skip']} skipped")
    return 0 if count["fail"] == 0 and count["pass"] > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
