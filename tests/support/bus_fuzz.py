#!/usr/bin/env python3
"""bus_fuzz: be a bad D-Bus client.  Speaks the wire protocol itself (standard library only).

  bus_fuzz.py [--bus ADDRESS|system|session] --dest NAME ...
    introspect [--path /]                      list interfaces, methods, properties (recursively)
    args   [--path P] [--calls N] [--seed N] [--only REGEX] [--skip REGEX]
           call every method with wrong signatures, extreme and random values, and Get/Set every property
    flood  [--conns 50] [--calls 200] --iface I --method M [--path P]    many calls at once from many connections
    slow   [--calls 5000] --iface I --method M [--path P]   send calls and never read an answer
    vanish [--calls 200] --iface I --method M [--path P]    call and hang up before the answer
    wire   [--calls N]                                      damaged messages on the socket, bus or peer
  bus_fuzz.py --selftest            needs dbus-daemon (starts a private bus)
After each phase the service must answer Peer.Ping within --ping seconds and have the same owner: exit 1 if
not (it hung, died or was restarted).  --pid N also reports its memory, descriptors and threads before and
after; --max-rss-growth MIB turns growth into a failure.  Run it as an unprivileged user (setpriv, su) to
test what such a user can do.
"""
import argparse, json, os, random, re, select, shutil, socket, struct, subprocess, sys, tempfile, time
import xml.etree.ElementTree as ET


# ---- marshalling (little endian) -----------------------------------------------------------------
def pad(b, n):
    return b + b"\0" * (-len(b) % n)


ALIGN = dict(y=1, b=4, n=2, q=2, i=4, u=4, x=8, t=8, d=8, h=4, s=4, o=4, g=1, v=1, a=4)
ALIGN.update({"(": 8, "{": 8})
FMT = dict(y="B", b="I", n="h", q="H", i="i", u="I", x="q", t="Q", d="d", h="I")


def split(sig):
    out = []
    while sig:
        i = 0
        while sig[i] == "a":
            i += 1
        if sig[i] in "({":
            depth, j = 0, i
            while True:
                depth += (sig[j] in "({") - (sig[j] in ")}")
                j += 1
                if not depth:
                    break
        else:
            j = i + 1
        out.append(sig[:j])
        sig = sig[j:]
    return out


def put(buf, sig, v):
    c = sig[0]
    buf = pad(buf, ALIGN[c])
    if c in FMT:
        return buf + struct.pack("<" + FMT[c], v)
    if c in "so":
        v = v if isinstance(v, bytes) else v.encode("utf-8", "surrogateescape")
        return buf + struct.pack("<I", len(v)) + v + b"\0"
    if c == "g":
        return buf + bytes([len(v)]) + v.encode() + b"\0"
    if c == "v":
        return put(put(buf, "g", v[0]), v[0], v[1])
    if c == "a":
        start = len(buf)
        inner = pad(buf + b"\0\0\0\0", ALIGN[sig[1]])
        first = len(inner)
        for x in v:
            inner = put(inner, sig[1:], x)
        return inner[:start] + struct.pack("<I", len(inner) - first) + inner[start + 4 :]
    for s, x in zip(split(sig[1:-1]), v):
        buf = put(buf, s, x)
    return buf


def get(b, p, sig):
    c = sig[0]
    p += -p % ALIGN[c]
    if c in FMT:
        f = "<" + FMT[c]
        return struct.unpack_from(f, b, p)[0], p + struct.calcsize(f)
    if c in "so":
        n = struct.unpack_from("<I", b, p)[0]
        return b[p + 4 : p + 4 + n].decode("utf-8", "replace"), p + 5 + n
    if c == "g":
        n = b[p]
        return b[p + 1 : p + 1 + n].decode(), p + 2 + n
    if c == "v":
        s, p = get(b, p, "g")
        return get(b, p, s)
    if c == "a":
        n = struct.unpack_from("<I", b, p)[0]
        p += 4
        p += -p % ALIGN[sig[1]]
        end, out = p + n, []
        while p < end:
            x, p = get(b, p, sig[1:])
            out.append(x)
        return out, p
    out = []
    for s in split(sig[1:-1]):
        x, p = get(b, p, s)
        out.append(x)
    return tuple(out), p


class Bus:
    def __init__(self, addr, hello=True):
        if addr in ("system", "session"):
            addr = os.environ.get("DBUS_%s_BUS_ADDRESS" % addr.upper()) or "unix:path=/run/dbus/system_bus_socket"
        kv = dict(x.split("=", 1) for x in addr.split(";")[0].split(":", 1)[1].split(","))
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(10)
        self.s.connect("\0" + kv["abstract"] if "abstract" in kv else kv["path"])
        self.s.sendall(b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\n")
        if not self.line().startswith(b"OK"):
            raise OSError("auth refused")
        self.s.sendall(b"NEGOTIATE_UNIX_FD\r\n")  # else answers that carry a pipe never arrive
        self.line()
        self.s.sendall(b"BEGIN\r\n")
        self.serial, self.buf = 0, b""
        if hello:
            self.name = self.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello")[1][0]

    def line(self):
        out = b""
        while not out.endswith(b"\r\n"):
            d = self.s.recv(1)
            if not d:
                break
            out += d
        return out

    def message(self, dest, path, iface, member, sig="", args=(), flags=0):
        self.serial += 1
        body = b""
        for s, a in zip(split(sig), args):
            body = put(body, s, a)
        f = [(1, ("o", path)), (3, ("s", member))]
        if iface:
            f.append((2, ("s", iface)))
        if dest:
            f.append((6, ("s", dest)))
        if sig:
            f.append((8, ("g", sig)))
        return pad(put(struct.pack("<BBBBII", 108, 1, flags, 1, len(body), self.serial), "a(yv)", f), 8) + body

    def send(self, *a, **k):
        self.s.sendall(self.message(*a, **k))
        return self.serial

    def recv(self, timeout):
        end = time.monotonic() + timeout
        while True:
            if len(self.buf) >= 16:
                blen, _, flen = struct.unpack_from("<III", self.buf, 4)
                start = 16 + flen
                start += -start % 8
                if len(self.buf) >= start + blen:
                    m, self.buf = self.buf[: start + blen], self.buf[start + blen :]
                    f = {k: v for k, v in get(m, 12, "a(yv)")[0]}
                    out, p = [], 0
                    for s in split(f.get(8, "")):
                        x, p = get(m[start:], p, s)
                        out.append(x)
                    return m[1], f, out
            r, _, _ = select.select([self.s], [], [], max(0, end - time.monotonic()))
            if not r:
                raise TimeoutError
            d, fds, _, _ = socket.recv_fds(self.s, 1 << 16, 32)
            for fd in fds:
                os.close(fd)
            if not d:
                raise ConnectionError("bus hung up")
            self.buf += d

    def call(self, dest, path, iface, member, sig="", args=(), timeout=10):
        n = self.send(dest, path, iface, member, sig, args)
        end = time.monotonic() + timeout
        while True:
            t, f, body = self.recv(max(0.01, end - time.monotonic()))
            if f.get(5) == n:
                return ("ok" if t == 2 else f.get(4, "error")), body

    def close(self):
        self.s.close()


# ---- phases --------------------------------------------------------------------------------------
def introspect(bus, dest, path="/", depth=0):
    out = []
    try:
        st, body = bus.call(dest, path, "org.freedesktop.DBus.Introspectable", "Introspect", timeout=10)
    except TimeoutError:
        return out
    if st != "ok":
        return out
    root = ET.fromstring(body[0])
    for i in root.findall("interface"):
        for m in i.findall("method"):
            out.append(
                (
                    "method",
                    path,
                    i.get("name"),
                    m.get("name"),
                    "".join(a.get("type") for a in m.findall("arg") if a.get("direction", "in") == "in"),
                )
            )
        for q in i.findall("property"):
            out.append(("property", path, i.get("name"), q.get("name"), q.get("type")))
    if depth < 8:
        for n in root.findall("node")[:20]:
            out += introspect(bus, dest, path.rstrip("/") + "/" + n.get("name"), depth + 1)
    return out


STR = [
    "",
    " ",
    "/",
    "../../../../etc/passwd",
    "/etc/shadow",
    "\n\r\t",
    "%s%n%x",
    "'; DROP",
    "a" * 5000,
    "é" * 300,
    "-rf",
    "--help",
    "~",
    "latest",
    "0" * 64,
    "\x7f\x1b[2J",
    "a\u202eb",
    "x" * 100000,
]
OBJ = ["/", "/a", "/org/freedesktop/DBus", "/" + "/".join(["x"] * 60), "/_" + "z" * 2000]


def value(r, sig, depth=0):
    c = sig[0]
    if c == "y":
        return r.choice([0, 1, 255])
    if c == "b":
        return r.choice([0, 1])
    if c in "nqiuxt":
        bits = dict(n=16, q=16, i=32, u=32, x=64, t=64)[c]
        lo, hi = (-(1 << bits - 1), (1 << bits - 1) - 1) if c in "nix" else (0, (1 << bits) - 1)
        return r.choice([0, 1, lo, hi, hi - 1, r.randint(lo, hi), min(hi, 1 << 20)])
    if c == "d":
        return r.choice([0.0, -0.0, 1e308, float("nan"), float("inf"), -1.5])
    if c == "s":
        return r.choice(STR)
    if c == "o":
        return r.choice(OBJ)
    if c == "g":
        return r.choice(["", "s", "a{sv}", "(((((i)))))"])
    if c == "h":
        return 0
    if c == "v":
        if depth > 4:
            return ("s", "deep")
        s = r.choice(["s", "i", "t", "b", "as", "a{sv}", "v", "d", "ay", "o"])
        return (s, value(r, s, depth + 1))
    if c == "a":
        return [
            value(r, sig[1:], depth + 1) for _ in range(r.choice([0, 1, 1, 3] + ([300] if depth == 0 and sig[1] in FMT else [])))
        ]
    return tuple(value(r, s, depth + 1) for s in split(sig[1:-1]))


def args_phase(a, bus, r):
    items = [
        x
        for x in introspect(bus, a.dest, a.path)
        if not re.match(r"org\.freedesktop\.DBus\.(Peer|Introspectable|Monitoring)", x[2])
        and re.search(a.only or "", x[2] + "." + x[3])
        and not (a.skip and re.search(a.skip, x[2] + "." + x[3]))
    ]
    tally, slow = {}, []
    for k in range(a.calls):
        kind, path, iface, member, sig = items[k % len(items)] if items else ("method", a.path, "x.y", "Z", "")
        dest = a.dest
        if kind == "property":
            iface2, member2, p = iface, member, r.random()
            iface = "org.freedesktop.DBus.Properties"
            if p < 0.4:
                member, s, v = "Get", "ss", (iface2, r.choice([member2, "Nope", ""]))
            elif p < 0.6:
                member, s, v = "GetAll", "s", (r.choice([iface2, "no.such", ""]),)
            else:
                t = r.choice([sig, "s", "a{sv}", "v"])
                member, s, v = "Set", "ssv", (iface2, member2, (t, value(r, t)))
        else:
            s = (
                sig
                if r.random() < 0.7
                else r.choice(["", "s", "i", "a{sv}", "v", sig + "s", "ayay", "(" * 10 + "i" + ")" * 10, "aaaaas"])
            )
            v = [value(r, x) for x in split(s)]
        if r.random() < 0.05:
            path = r.choice(OBJ)
        if r.random() < 0.05:
            iface = r.choice(["no.such.Iface", "org.freedesktop.DBus.ObjectManager"])
        t0 = time.monotonic()
        try:
            st = bus.call(dest, path, iface, member, s, v, timeout=a.ping)[0]
        except TimeoutError:
            st = "no answer"
            slow.append([k, iface, member, s])
        except ConnectionError:
            st = "disconnected"
            bus = Bus(a.bus)
        tally[st] = tally.get(st, 0) + 1
    print(json.dumps({"phase": "args", "calls": a.calls, "answers": tally, "no_answer": slow[:10]}))
    return not slow


def flood(a):
    cs = [Bus(a.bus) for _ in range(a.conns)]
    t0, got, err = time.monotonic(), 0, 0
    for c in cs:
        c.s.settimeout(30)
    for _ in range(a.calls):
        for c in cs:
            try:
                c.send(a.dest, a.path, a.iface, a.method)
            except OSError:
                err += 1
    for c in cs:
        try:
            while True:
                t, f, _ = c.recv(0.5 if got else 10)
                got += t in (2, 3)
        except (TimeoutError, ConnectionError):
            pass
        c.close()
    print(
        json.dumps(
            {
                "phase": "flood",
                "sent": a.conns * a.calls,
                "answers": got,
                "send_errors": err,
                "s": round(time.monotonic() - t0, 2),
            }
        )
    )


def slow(a):
    c = Bus(a.bus)
    c.s.settimeout(3)
    n = 0
    try:
        for n in range(a.calls):
            c.send(a.dest, a.path, a.iface, a.method)
    except OSError:
        pass
    ok = ping(a)
    c.close()
    print(json.dumps({"phase": "slow", "sent_unread": n + 1, "service_answers_others": ok}))
    return ok


def vanish(a):
    for _ in range(a.calls):
        c = Bus(a.bus)
        c.send(a.dest, a.path, a.iface, a.method)
        c.close()
    print(json.dumps({"phase": "vanish", "calls": a.calls}))


def wire(a, r):
    n = 0
    for k in range(a.calls):
        try:
            c = Bus(a.bus)
            m = bytearray(c.message(a.dest, a.path, a.iface or "x.y", a.method or "Z", "sa{sv}", ["x", [("k", ("s", "v"))]]))
            for _ in range(r.randint(1, 4)):
                m[r.randrange(len(m))] = r.randrange(256)
            c.s.sendall(bytes(m[: r.choice([len(m), r.randrange(len(m))])]))
            c.close()
            n += 1
        except OSError:
            pass
    print(json.dumps({"phase": "wire", "messages": n}))


def ping(a):
    try:
        b = Bus(a.bus)
        t0 = time.monotonic()
        st = b.call(a.dest, "/", "org.freedesktop.DBus.Peer", "Ping", timeout=a.ping)[0]
        b.close()
        return (
            not st.startswith("org.freedesktop.DBus.Error.NoReply") and "ServiceUnknown" not in st and "NameHasNoOwner" not in st
        )
    except OSError:
        return False


def owner(a):
    b = Bus(a.bus)
    st, body = b.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "GetNameOwner", "s", [a.dest])
    b.close()
    return body[0] if st == "ok" else None


def usage(pid):
    if not pid:
        return {}
    s = open(f"/proc/{pid}/status").read()
    n = lambda k: int(re.search(k + r":\s*(\d+)", s)[1])
    return {"rss_kb": n("VmRSS"), "threads": n("Threads"), "fds": len(os.listdir(f"/proc/{pid}/fd"))}


def selftest():
    if not shutil.which("dbus-daemon"):
        print("bus_fuzz: skip: no dbus-daemon", file=sys.stderr)
        return 77
    t = tempfile.mkdtemp(prefix="bus_fuzz-")
    open(t + "/c", "w").write(
        f'<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd"><busconfig><type>session</type><listen>unix:path={t}/s</listen><policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy></busconfig>'
    )
    p = subprocess.Popen(["dbus-daemon", "--config-file", t + "/c", "--nofork", "--nopidfile"], stderr=subprocess.DEVNULL)
    try:
        for _ in range(50):
            if os.path.exists(t + "/s"):
                break
            time.sleep(0.1)
        me = [
            sys.executable,
            __file__,
            "--bus",
            f"unix:path={t}/s",
            "--dest",
            "org.freedesktop.DBus",
            "--pid",
            str(p.pid),
        ]
        M = ["--iface", "org.freedesktop.DBus", "--method", "ListNames", "--path", "/org/freedesktop/DBus"]
        for ph, x in (
            ("introspect", []),
            ("args", ["--calls", "150", "--skip", "BecomeMonitor|Debug|ReloadConfig|Environment"]),
            ("flood", ["--conns", "5", "--calls", "20"] + M),
            ("slow", ["--calls", "50"] + M),
            ("vanish", ["--calls", "10"] + M),
            ("wire", ["--calls", "20"]),
        ):
            r = subprocess.run(me + [ph] + x, capture_output=True, text=True, timeout=60)
            assert r.returncode == 0, (ph, r.stdout[-500:], r.stderr[-800:])
        print("bus_fuzz selftest ok")
    finally:
        p.kill()
        p.wait()
        shutil.rmtree(t)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("phase", nargs="?", choices=["introspect", "args", "flood", "slow", "vanish", "wire"])
    ap.add_argument("--bus", default="system")
    ap.add_argument("--dest")
    ap.add_argument("--path", default="/")
    ap.add_argument("--iface")
    ap.add_argument("--method")
    ap.add_argument("--calls", type=int, default=200)
    ap.add_argument("--conns", type=int, default=50)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--only")
    ap.add_argument("--skip")
    ap.add_argument("--ping", type=float, default=5)
    ap.add_argument("--pid", type=int)
    ap.add_argument("--max-rss-growth", type=float)
    ap.add_argument("--selftest", action="store_true")
    a = ap.parse_args()
    if a.selftest:
        return selftest()
    if not a.phase or not a.dest:
        ap.print_help()
        return 2
    r, ok = random.Random(a.seed), True
    if a.phase == "introspect":
        for x in introspect(Bus(a.bus), a.dest, a.path):
            print(*x)
        return 0
    before, u0 = owner(a), usage(a.pid)
    if a.phase == "args":
        ok = args_phase(a, Bus(a.bus), r)
    elif a.phase == "flood":
        flood(a)
    elif a.phase == "slow":
        ok = slow(a)
    elif a.phase == "vanish":
        vanish(a)
    elif a.phase == "wire":
        wire(a, r)
    alive, after, u1 = ping(a), owner(a), usage(a.pid)
    grew = (u1.get("rss_kb", 0) - u0.get("rss_kb", 0)) / 1024
    bad = not ok or not alive or before != after or (a.max_rss_growth is not None and grew > a.max_rss_growth)
    print(json.dumps({"alive": alive, "same_owner": before == after, "before": u0, "after": u1, "ok": not bad}))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
