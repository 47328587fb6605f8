#!/usr/bin/env python3
"""Writes printable_tables.inc: the code points that Go's strconv.IsPrint calls printable, for each set of rules.

usage: printable_tables.py ISPRINT.json > printable_tables.inc

ISPRINT.json (tests/fixtures/restic/isprint.json) maps a Unicode version to a list of [first, last]. A new version of Go with
other tables needs a new list there, a line in TABLES here, and a value of GoRules.
"""
import json
import sys

TABLES = (("kPrintable13", "13.0.0"), ("kPrintable15", "15.0.0"))

ranges = json.load(open(sys.argv[1]))
print("// Written by printable_tables.py. Borders: printable from each even one (inclusive) to the next (exclusive).")
for name, version in TABLES:
    borders = [border for first, last in ranges[version] for border in (first, last + 1)]
    assert borders == sorted(set(borders)) and len(borders) % 2 == 0
    print(f"constexpr std::uint32_t {name}[] = {{  // Unicode {version}")
    line = "   "
    for border in borders:
        text = f" {border:#x},"
        if len(line) + len(text) > 116:
            print(line)
            line = "   "
        line += text
    print(line)
    print("};")
