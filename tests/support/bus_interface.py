#!/usr/bin/env python3
"""Check D-Bus introspection XML files, and optionally that a running service matches.

bus_interface.py FILE.xml...                         static rules (+ gdbus-codegen if present)
bus_interface.py --live system|user|ADDRESS NAME PATH FILE.xml...   compare PATH's live interfaces too
Static rules: well-formed; CamelCase members; complete signatures; named args; every method
with `in` args or a job result ends its inputs with a{sv} `options`; no `s` named *path*
(file names are bytes: use ay); no `d`/`t` property without explicit or default annotation.
Exit status 0 when clean.
"""
import re, shutil, subprocess, sys, tempfile
import xml.etree.ElementTree as ET

EMIT = "org.freedesktop.DBus.Property.EmitsChangedSignal"
bad = []


def err(where, what):
    bad.append(f"{where}: {what}")


def sig_ok(s):
    def one(i):
        if i >= len(s):
            return -1
        c = s[i]
        if c in "ybnqiuxtdsogvh":
            return i + 1
        if c == "a":
            if s[i + 1 : i + 2] == "{":
                if s[i + 2 : i + 3] not in tuple("ybnqiuxtdsogh"):
                    return -1
                j = one(i + 3)
                return j + 1 if j > 0 and s[j : j + 1] == "}" else -1
            return one(i + 1)
        if c == "(":
            j = i + 1
            while j < len(s) and s[j] != ")":
                j = one(j)
                if j < 0:
                    return -1
            return j + 1 if j < len(s) and j > i + 1 else -1
        return -1

    return one(0) == len(s)


def shape(iface):
    """Comparable description of one interface element."""
    d = {}
    for m in iface:
        n = m.get("name")
        if m.tag == "method":
            ins = [a.get("type") for a in m.findall("arg") if a.get("direction", "in") == "in"]
            outs = [a.get("type") for a in m.findall("arg") if a.get("direction") == "out"]
            d["method " + n] = ("".join(ins), "".join(outs))
        elif m.tag == "signal":
            d["signal " + n] = "".join(a.get("type") for a in m.findall("arg"))
        elif m.tag == "property":
            ann = {a.get("name"): a.get("value") for a in m.findall("annotation")}
            d["property " + n] = (m.get("type"), m.get("access"), ann.get(EMIT, "true"))
    return d


def static(path):
    try:
        root = ET.parse(path).getroot()
    except ET.ParseError as e:
        err(path, e)
        return {}
    out = {}
    for i in root.iter("interface"):
        iname = i.get("name")
        out[iname] = shape(i)
        if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", iname):
            err(iname, "bad interface name")
        for m in i:
            if m.tag == "annotation":
                continue
            w = f"{iname}.{m.get('name')}"
            if not re.fullmatch(r"[A-Z][A-Za-z0-9]*", m.get("name") or ""):
                err(w, "member is not CamelCase")
            if m.tag == "property" and not sig_ok(m.get("type", "")):
                err(w, "bad property type")
            ins = []
            for a in m.findall("arg"):
                if not a.get("name"):
                    err(w, "unnamed argument")
                if not sig_ok(a.get("type", "")):
                    err(w, f"bad type {a.get('type')}")
                if "path" in (a.get("name") or "") and a.get("type") in ("s", "as"):
                    err(w, "file path as string; use ay")
                if m.tag == "method" and a.get("direction", "in") == "in":
                    ins.append(a)
            if m.tag == "method" and ins and not (ins[-1].get("type") == "a{sv}" and ins[-1].get("name") == "options"):
                err(w, "last input must be a{sv} options")
    if shutil.which("gdbus-codegen"):
        with tempfile.TemporaryDirectory() as t:
            r = subprocess.run(["gdbus-codegen", "--body", "--output", t + "/o.c", path], capture_output=True, text=True)
            if r.returncode:
                err(path, r.stderr.strip().splitlines()[-1])
    return out


args = sys.argv[1:]
live = None
if args[:1] == ["--live"]:
    live, args = args[1:4], args[4:]
if not args:
    sys.exit(__doc__)
want = {}
for f in args:
    want.update(static(f))
if live:
    bus, name, obj = live
    r = subprocess.run(
        ["busctl", ("--address=" if ":" in bus else "--") + bus, "--xml-interface", "introspect", name, obj],
        capture_output=True,
        text=True,
    )
    if r.returncode:
        err(obj, r.stderr.strip())
    else:
        have = {i.get("name"): shape(i) for i in ET.fromstring(r.stdout).iter("interface")}
        std = ("org.freedesktop.DBus.", "org.freedesktop.LogControl1")
        for n in have:
            if n not in want and not n.startswith(std):
                err(obj, f"undocumented interface {n}")
        for n in set(want) - set(have):
            err(obj, f"{n} is documented but not served")
        for n in set(have) & set(want):
            for k in sorted(set(have[n]) | set(want[n])):
                if have[n].get(k) != want[n].get(k):
                    err(f"{obj} {n}", f"{k}: live {have[n].get(k)} documented {want[n].get(k)}")
for b in bad:
    print(b, file=sys.stderr)
sys.exit(1 if bad else 0)
