#!/usr/bin/env python3
"""hostile_repository: write restic format-2 repositories by hand - sound ones and hostile ones (password: x).

  hostile_repository.py list                       the cases and what a reader owes in each
  hostile_repository.py make CASE DIR              write one repository
  hostile_repository.py run [--cases REGEX] [--mem MIB] [--timeout S] [--keep DIR] -- CMD...
        for each case: make it, run CMD with {repo} and {target} replaced (a restore or a check), judge
  hostile_repository.py --selftest

Judged: CMD dies of no signal, ends in time, stays within --mem of address space (0: no limit; keep 0 for
Go and for sanitizers), and changes nothing outside {target}.  By kind of case:
  ok      exit 0, and {target} (if it was filled) holds the file `hello` with `hello\\n`
  reject  exit not 0
  either  exit freely, as long as all of the above holds
The keys are valid and the MACs right: this is a storage operator who knows the password, a compromised
client sharing the repository, or a bug in another program.  Standard library only (own AES and Poly1305).
"""
import argparse, base64, hashlib, json, os, re, resource, shutil, signal, struct, subprocess, sys, tempfile, time

# ---- AES (encrypt only), CTR, Poly1305-AES -------------------------------------------------------
S, _T = [0] * 256, [[0] * 256 for _ in range(4)]


def _init():
    p = q = 1
    while True:
        p = p ^ (p << 1) & 255 ^ (0x1B if p & 0x80 else 0)
        q ^= q << 1
        q ^= q << 2
        q ^= q << 4
        q &= 255
        if q & 0x80:
            q ^= 9
        x = q ^ (q << 1 | q >> 7) & 255 ^ (q << 2 | q >> 6) & 255 ^ (q << 3 | q >> 5) & 255 ^ (q << 4 | q >> 4) & 255
        S[p] = x ^ 0x63
        if p == 1:
            break
    S[0] = 0x63
    for i in range(256):
        s = S[i]
        s2 = (s << 1) ^ (0x11B if s & 0x80 else 0)
        w = s2 << 24 | s << 16 | s << 8 | (s2 ^ s)
        for k in range(4):
            _T[k][i] = (w >> 8 * k | w << 32 - 8 * k) & 0xFFFFFFFF


_init()


class AES:
    def __init__(self, key):
        nk, w = len(key) // 4, list(struct.unpack(">%dI" % (len(key) // 4), key))
        rcon = 1
        for i in range(nk, 4 * (nk + 7)):
            t = w[-1]
            if i % nk == 0:
                t = (t << 8 | t >> 24) & 0xFFFFFFFF
            if i % nk == 0 or (nk > 6 and i % nk == 4):
                t = S[t >> 24] << 24 | S[t >> 16 & 255] << 16 | S[t >> 8 & 255] << 8 | S[t & 255]
            if i % nk == 0:
                t ^= rcon << 24
                rcon = (rcon << 1) ^ (0x11B if rcon & 0x80 else 0)
            w.append(w[i - nk] ^ t)
        self.w = w

    def block(self, b):
        w = self.w
        T0, T1, T2, T3 = _T
        a, b, c, d = (x ^ k for x, k in zip(struct.unpack(">4I", b), w))
        for i in range(4, len(w) - 4, 4):
            a, b, c, d = (
                T0[a >> 24] ^ T1[b >> 16 & 255] ^ T2[c >> 8 & 255] ^ T3[d & 255] ^ w[i],
                T0[b >> 24] ^ T1[c >> 16 & 255] ^ T2[d >> 8 & 255] ^ T3[a & 255] ^ w[i + 1],
                T0[c >> 24] ^ T1[d >> 16 & 255] ^ T2[a >> 8 & 255] ^ T3[b & 255] ^ w[i + 2],
                T0[d >> 24] ^ T1[a >> 16 & 255] ^ T2[b >> 8 & 255] ^ T3[c & 255] ^ w[i + 3],
            )
        f = lambda a, b, c, d, k: (S[a >> 24] << 24 | S[b >> 16 & 255] << 16 | S[c >> 8 & 255] << 8 | S[d & 255]) ^ k
        return struct.pack(">4I", f(a, b, c, d, w[-4]), f(b, c, d, a, w[-3]), f(c, d, a, b, w[-2]), f(d, a, b, c, w[-1]))


class Key:
    def __init__(self, enc, k, r):
        self.enc, self.k, self.r = enc, k, r
        self.aes, self.mac_aes = AES(enc), AES(k)

    def ctr(self, iv, data):
        n = int.from_bytes(iv, "big")
        out = bytearray()
        for i in range(0, len(data), 16):
            out += self.aes.block((n % (1 << 128)).to_bytes(16, "big"))
            n += 1
        return (int.from_bytes(out[: len(data)], "big") ^ int.from_bytes(data, "big")).to_bytes(len(data), "big") if data else b""

    def mac(self, iv, msg):
        r = int.from_bytes(self.r, "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
        acc, p = 0, (1 << 130) - 5
        for i in range(0, len(msg), 16):
            acc = (acc + int.from_bytes(msg[i : i + 16] + b"\1", "little")) * r % p
        return ((acc + int.from_bytes(self.mac_aes.block(iv), "little")) % (1 << 128)).to_bytes(16, "little")

    def seal(self, data):
        iv = os.urandom(16)
        c = self.ctr(iv, data)
        return iv + c + self.mac(iv, c)

    def open(self, box):
        iv, c, m = box[:16], box[16:-16], box[-16:]
        if self.mac(iv, c) != m:
            raise ValueError("MAC")
        return self.ctr(iv, c)


sha = lambda b: hashlib.sha256(b).hexdigest()
b64 = lambda b: base64.b64encode(b).decode()
PW = b"x"


# ---- the repository ------------------------------------------------------------------------------
class Repo:
    def __init__(self, path, config=None, key_over=None):
        self.path, self.blobs, self.over = path, [], {}
        for d in ("data", "index", "keys", "locks", "snapshots"):
            os.makedirs(os.path.join(path, d))
        self.key = Key(os.urandom(32), os.urandom(16), os.urandom(16))
        salt = os.urandom(64)
        u = hashlib.scrypt(PW, salt=salt, n=1024, r=8, p=1, dklen=64)
        master = json.dumps({"mac": {"k": b64(self.key.k), "r": b64(self.key.r)}, "encrypt": b64(self.key.enc)}).encode()
        k = {
            "created": "2024-01-01T00:00:00Z",
            "username": "u",
            "hostname": "h",
            "kdf": "scrypt",
            "N": 1024,
            "r": 8,
            "p": 1,
            "salt": b64(salt),
            "data": b64(Key(u[:32], u[32:48], u[48:]).seal(master)),
        }
        k.update(key_over or {})
        raw = json.dumps(k).encode()
        self.write("keys/" + sha(raw), raw)
        c = {"version": 2, "id": sha(os.urandom(8)), "chunker_polynomial": "3da3358b4dc173"}
        c.update(config or {})
        self.write("config", self.key.seal(json.dumps(c).encode()))

    def write(self, rel, data):
        with open(os.path.join(self.path, rel), "wb") as f:
            f.write(data)

    def blob(self, typ, data, id=None, frame=None, ulen=None):
        """frame: a zstd frame to store instead of data; id: a false name"""
        self.blobs.append((typ, id or sha(data), data, frame, len(data) if ulen is None else ulen))
        return self.blobs[-1][1]

    def tree(self, nodes, id=None, raw=None):
        return self.blob("tree", raw if raw is not None else (json.dumps({"nodes": nodes}) + "\n").encode(), id)

    def unpacked(self, kind, obj, raw=None, name=None):
        box = self.key.seal(raw if raw is not None else json.dumps(obj).encode())
        n = name or sha(box)
        self.write(f"{kind}/{n}", box)
        return n

    def finish(self, tree, snap=None, index=None, header=None, tail=None, raw_index=None):
        body, head, idx, seen = b"", b"", [], set()
        for typ, id, data, frame, ulen in self.blobs:
            if (typ, id) in seen:
                continue
            seen.add((typ, id))
            box = self.key.seal(frame if frame is not None else data)
            t = {"data": 0, "tree": 1}[typ]
            e = {"id": id, "type": typ, "offset": len(body), "length": len(box)}
            if frame is not None:
                e["uncompressed_length"] = ulen
                head += struct.pack("<BII", t + 2, len(box), ulen & 0xFFFFFFFF)
            else:
                head += struct.pack("<BI", t, len(box))
            head += bytes.fromhex(id)
            body += box
            idx.append(e)
        if header:
            head = header(head)
        hbox = self.key.seal(head)
        pack = body + hbox + (tail if tail is not None else struct.pack("<I", len(hbox)))
        pid = sha(pack)
        os.makedirs(os.path.join(self.path, "data", pid[:2]), exist_ok=True)
        self.write(f"data/{pid[:2]}/{pid}", pack)
        ix = {"packs": [{"id": pid, "blobs": idx}]}
        if index:
            ix = index(ix) or ix
        self.unpacked("index", ix, raw_index)
        s = {
            "time": "2024-01-02T03:04:05.678901234Z",
            "tree": tree,
            "paths": ["/src"],
            "hostname": "h",
            "username": "u",
            "uid": 0,
            "gid": 0,
        }
        s.update(snap or {})
        return self.unpacked("snapshots", {k: v for k, v in s.items() if v is not None})


def node(name, type="file", **k):
    n = {
        "name": name,
        "type": type,
        "mode": {
            "dir": 0o755 | 1 << 31,
            "symlink": 0o777 | 1 << 27,
            "fifo": 0o644 | 1 << 25,
            "chardev": 0o644 | 1 << 26 | 1 << 21,
            "dev": 0o644 | 1 << 26,
        }.get(type, 0o644),
        "mtime": "2024-01-01T00:00:00.123456789Z",
        "atime": "2024-01-01T00:00:00Z",
        "ctime": "2024-01-01T00:00:00Z",
        "uid": 0,
        "gid": 0,
        "inode": hash(name) & 0xFFFFFF,
        "links": 1,
    }
    if type == "file":
        n.update(size=0, content=[])
    n.update(k)
    return n


def zbomb(total):
    """a zstd frame that expands to `total` bytes in RLE blocks of 128 KiB, without a declared size"""
    out, left = b"\x28\xb5\x2f\xfd\x00\x58", total
    while True:
        n = min(left, 1 << 17)
        left -= n
        out += struct.pack("<I", n << 3 | 1 << 1 | (left == 0))[:3] + b"A"
        if not left:
            return out


CASES = {}


def case(expect, name=None):
    def deco(f):
        CASES[name or f.__name__.replace("_", "-")] = (expect, f)
        return f

    return deco


def simple(*nodes, **fin):
    """a case whose root tree holds `hello` plus these nodes"""

    def f(d):
        r = Repo(d)
        h = r.blob("data", b"hello\n")
        ns = [n(r, h) if callable(n) else n for n in nodes]
        r.finish(r.tree([node("hello", size=6, content=[h])] + ns), **fin)

    return f


case("ok", "sound")(simple())
case("ok", "sound-many")(
    simple(
        lambda r, h: node("sub", "dir", subtree=r.tree([node("f", size=12, content=[h, h])])),
        node("zlink", "symlink", linktarget="hello"),
    )
)
for nm, bad in {
    "dotdot": "../escape",
    "abs": "/tmp/hostile-escape",
    "slash": "a/b",
    "dot": ".",
    "parent": "..",
    "empty": "",
    "nul": "a\0b",
    "backtrack": "a/../../escape",
    "esc": "\\x2e\\x2e/escape",
    "long": "n" * 300,
    "huge": "n" * 200000,
}.items():
    case("reject", "name-" + nm)(simple(lambda r, h, bad=bad: node(bad, size=6, content=[h])))
case("reject", "dir-parent")(simple(lambda r, h: node("..", "dir", subtree=r.tree([node("escape", size=6, content=[h])]))))
case("reject", "dir-escape")(simple(lambda r, h: node("../escape-dir", "dir", subtree=r.tree([node("f", size=6, content=[h])]))))
OUT = "../outside"
case("reject", "symlink-then-dir")(
    simple(
        node("x", "symlink", linktarget=OUT),
        lambda r, h: node("x", "dir", subtree=r.tree([node("canary", size=6, content=[h])])),
    )
)
case("reject", "symlink-then-file")(
    simple(node("x", "symlink", linktarget=OUT + "/canary"), lambda r, h: node("x", size=6, content=[h]))
)
case("either", "symlink-out")(
    simple(
        node(
            "x",
            "symlink",
            linktarget=OUT + "/canary",
            mtime="1999-01-01T00:00:00Z",
            mode=0o777 | 1 << 27,
            uid=12,
            gid=12,
        )
    )
)
case("reject", "hardlink-out")(
    simple(
        node("y", "symlink", linktarget=OUT + "/canary", inode=7, links=2),
        lambda r, h: node("z", size=6, content=[h], inode=7, links=2),
        lambda r, h: node("y", size=6, content=[h], inode=7, links=2),
    )
)
case("reject", "same-name-twice")(simple(lambda r, h: node("hello", size=12, content=[h, h])))
case("either", "unsorted")(simple(node("b", size=0), node("a", size=0)))
case("either", "inode-clash")(
    simple(
        lambda r, h: node("p", size=6, content=[h], inode=5, links=2),
        lambda r, h: node("q", size=12, content=[h, h], inode=5, links=2),
    )
)
case("reject", "wrong-hash-data")(simple(lambda r, h: node("f", size=5, content=[r.blob("data", b"evil!", id=sha(b"other"))])))
case("reject", "wrong-hash-tree")(simple(lambda r, h: node("d", "dir", subtree=r.tree([], id=sha(b"other tree")))))
case("reject", "type-confusion-file")(simple(lambda r, h: node("f", size=12, content=[r.tree([])])))
case("reject", "type-confusion-dir")(simple(lambda r, h: node("d", "dir", subtree=r.blob("data", b'{"nodes":[]}\n'))))
case("reject", "missing-blob")(simple(node("f", size=6, content=["ab" * 32])))
case("reject", "missing-subtree")(simple(node("d", "dir", subtree="cd" * 32)))
case("reject", "dir-without-subtree")(simple(node("d", "dir")))
case("reject", "size-lie-small")(simple(lambda r, h: node("f", size=1, content=[h])))
case("reject", "size-lie-huge")(simple(lambda r, h: node("f", size=1 << 60, content=[h])))
case("reject", "size-wrap")(simple(lambda r, h: node("f", size=(1 << 64) - 1, content=[h])))
case("reject", "type-unknown")(simple(node("f", "wormhole")))
case("reject", "id-bad-hex")(simple(node("f", size=6, content=["zz" * 32])))
case("reject", "id-short")(simple(node("f", size=6, content=["abcd"])))
case("reject", "id-path")(simple(node("f", size=6, content=["../../../../etc/passwd"])))
case("either", "setuid-root")(simple(lambda r, h: node("su", size=6, content=[h], mode=0o755 | 1 << 23)))
case("either", "device-mem")(simple(node("mem", "chardev", device=0x101)))
case("either", "capability")(
    simple(
        lambda r, h: node(
            "cap",
            size=6,
            content=[h],
            extended_attributes=[
                {
                    "name": "security.capability",
                    "value": b64(struct.pack("<IIIII", 0x02000001, 0xFFFFFFFF, 0, 0x1FF, 0)),
                }
            ],
        )
    )
)
case("either", "xattr-odd")(
    simple(
        lambda r, h: node(
            "x",
            size=6,
            content=[h],
            extended_attributes=[
                {"name": "trusted.overlay.opaque", "value": b64(b"y")},
                {"name": "n" * 5000, "value": ""},
                {"name": "", "value": None},
                {"name": "user.big", "value": b64(b"v" * 70000)},
            ],
        )
    )
)
case("either", "times-odd")(
    simple(
        *[
            node("t%d" % i, mtime=t)
            for i, t in enumerate(
                [
                    "0001-01-01T00:00:00Z",
                    "9999-12-31T23:59:59.999999999+14:00",
                    "1969-12-31T23:59:59-12:00",
                    "2262-04-12T00:00:00Z",
                ]
            )
        ]
    )
)
case("reject", "time-bad")(simple(node("t", mtime="last tuesday")))
case("either", "mode-odd")(simple(node("m", mode=0xFFFFFFFF)))
case("reject", "mode-negative")(simple(node("m", mode=-1)))
case("either", "terminal-escape")(
    simple(
        node("\\x1b]0;owned\\a\\x1b[2J", size=0),
        snap={"hostname": "\x1b[31mh\r\n", "tags": ["\x1b[2J"], "username": "$(id)"},
    )
)
case("either", "snapshot-paths")(simple(snap={"paths": ["../../..", "/etc\0", ""]}))
case("either", "snapshot-future")(simple(snap={"time": "2999-01-01T00:00:00Z"}))
case("reject", "snapshot-no-tree")(simple(snap={"tree": None}))
case("reject", "snapshot-tree-missing")(simple(snap={"tree": "00" * 32}))


@case("reject")
def cyclic_tree(d):  # only a reader that does not verify tree hashes can loop
    r = Repo(d)
    x = sha(b"cycle")
    r.tree([node("again", "dir", subtree=x)], id=x)
    r.finish(x)


@case("either")
def deep_tree(d):
    r = Repo(d)
    h = r.blob("data", b"hello\n")
    t = r.tree([])
    for i in range(3000):
        t = r.tree([node("d", "dir", subtree=t)])
    r.finish(r.tree([node("d", "dir", subtree=t), node("hello", size=6, content=[h])]))


@case("either")
def same_blob_many_times(d):  # 2 GB of file out of one small tree
    r = Repo(d)
    b = r.blob("data", b"hello\n")
    m = r.blob("data", bytes(1 << 16))
    r.finish(r.tree([node("big", size=(1 << 16) * 30000, content=[m] * 30000), node("hello", size=6, content=[b])]))


for nm, ul in (("small", 6), ("honest", 3 << 30), ("4g", 0xFFFFFFFF), ("zero", 0)):
    case("reject", "zstd-bomb-" + nm)(
        simple(lambda r, h, ul=ul: node("f", size=6, content=[r.blob("data", b"bomb", frame=zbomb(3 << 30), ulen=ul)]))
    )
case("reject", "zstd-truncated")(
    simple(lambda r, h: node("f", size=6, content=[r.blob("data", b"trunc", frame=zbomb(1 << 20)[:-3], ulen=1 << 20)]))
)
case("reject", "zstd-garbage")(
    simple(lambda r, h: node("f", size=6, content=[r.blob("data", b"gz", frame=b"\x28\xb5\x2f\xfd" + b"\xff" * 40, ulen=100)]))
)


@case("reject")
def zstd_bomb_index(d):
    r = Repo(d)
    h = r.blob("data", b"hello\n")
    r.finish(r.tree([node("hello", size=6, content=[h])]), raw_index=b"\2" + zbomb(3 << 30))


def indexed(change):
    def f(d):
        r = Repo(d)
        h = r.blob("data", b"hello\n")

        def go(ix):
            change(ix["packs"][0], ix)

        r.finish(r.tree([node("hello", size=6, content=[h])]), index=go)

    return f


setb = lambda k, v: (lambda p, ix: p["blobs"][0].__setitem__(k, v))
for nm, ch in {
    "offset-huge": setb("offset", (1 << 63) - 1),
    "offset-wrap": setb("offset", (1 << 64) - 16),
    "offset-neg": setb("offset", -5),
    "length-huge": setb("length", 0xFFFFFFFF),
    "length-zero": setb("length", 0),
    "length-31": setb("length", 31),
    "length-neg": setb("length", -1),
    "length-float": setb("length", 1e300),
    "type-odd": setb("type", "snapshot"),
    "blob-id-path": setb("id", "../../keys/x"),
    "pack-id-path": lambda p, ix: p.__setitem__("id", "../../../outside/canary"),
    "pack-missing": lambda p, ix: p.__setitem__("id", "ef" * 32),
    "blobs-null": lambda p, ix: p.__setitem__("blobs", None),
    "packs-number": lambda p, ix: ix.__setitem__("packs", 7),
}.items():
    case("reject", "index-" + nm)(indexed(ch))
for nm, raw in {
    "deep-json": b"[" * 200000,
    "deep-obj": b'{"packs":' * 100000,
    "not-json": b"\0" * 100,
    "empty": b"",
    "trailing": b'{"packs":[]}{"packs":[]}',
    "utf8": b'{"packs":[{"id":"\xff\xfe"}]}',
    "future-version": b"\7{}",
}.items():
    case("reject", "indexraw-" + nm)(simple(raw_index=raw))
for nm, tail in {
    "huge": b"\xff\xff\xff\xff",
    "zero": b"\0\0\0\0",
    "past-start": struct.pack("<I", 1 << 24),
    "tiny": b"\1\0\0\0",
}.items():
    case("either", "packtail-" + nm)(simple(tail=tail))  # restore may use the index alone; check must object
for nm, k in {
    "n-huge": {"N": 1 << 30},
    "n-zero": {"N": 0},
    "n-odd": {"N": 1000},
    "n-neg": {"N": -1},
    "r-huge": {"r": 1 << 28},
    "p-huge": {"p": 1 << 28},
    "salt-empty": {"salt": ""},
    "data-short": {"data": b64(b"abc")},
    "kdf-odd": {"kdf": "md5"},
    "salt-bad64": {"salt": "!!"},
}.items():
    case("reject", "key-" + nm)(lambda d, k=k: Repo(d, key_over=k).finish("00" * 32))
for nm, c in {
    "version-0": {"version": 0},
    "version-3": {"version": 3},
    "version-huge": {"version": 1 << 40},
}.items():
    case("reject", "config-" + nm)(lambda d, c=c: Repo(d, config=c).finish("00" * 32))
for nm, c in {
    "poly-zero": {"chunker_polynomial": "0"},
    "poly-one": {"chunker_polynomial": "1"},
    "poly-reducible": {"chunker_polynomial": "3da3358b4dc172"},
    "poly-bad": {"chunker_polynomial": "xyz"},
}.items():

    def f(d, c=c):  # restore may ignore the polynomial; a backup must refuse it
        r = Repo(d, config=c)
        h = r.blob("data", b"hello\n")
        r.finish(r.tree([node("hello", size=6, content=[h])]))

    case("either", "config-" + nm)(f)


def run(a, cmd):
    base = a.keep or tempfile.mkdtemp(prefix="hostile-")
    bad, n = 0, 0
    os.makedirs(base, exist_ok=True)
    try:
        for name, (expect, f) in CASES.items():
            if a.cases and not re.search(a.cases, name):
                continue
            d = os.path.join(base, name)
            subprocess.run(["rm", "-rf", d])
            os.makedirs(d + "/outside")
            os.makedirs(d + "/target")
            open(d + "/outside/canary", "w").write("alive\n")
            os.utime(d + "/outside/canary", (1e9, 1e9))
            f(d + "/repo")

            def look():
                out = {}
                for b, ds, fs in os.walk(d):
                    if b == d:
                        ds[:] = [x for x in ds if x not in ("target", "repo")]
                    for x in ds + fs:
                        p = os.path.join(b, x)
                        st = os.lstat(p)
                        out[p] = (
                            st.st_mode,
                            st.st_uid,
                            st.st_size,
                            st.st_mtime_ns if p.endswith("canary") else 0,
                        )
                return out, os.path.exists("/tmp/hostile-escape")

            before = look()

            def limits():
                os.setsid()
                if a.mem:
                    resource.setrlimit(resource.RLIMIT_AS, (a.mem << 20, a.mem << 20))
                resource.setrlimit(resource.RLIMIT_FSIZE, (a.fsize << 20, a.fsize << 20))
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

            t0 = time.monotonic()
            with open(d + "/output", "wb") as out:
                before[0].pop(d + "/output", None)
                p = subprocess.Popen(
                    [c.replace("{repo}", d + "/repo").replace("{target}", d + "/target") for c in cmd],
                    stdout=out,
                    stderr=out,
                    preexec_fn=limits,
                    env=dict(os.environ, RESTIC_PASSWORD="x"),
                )
                try:
                    rc = p.wait(a.timeout)
                except subprocess.TimeoutExpired:
                    os.killpg(p.pid, signal.SIGKILL)
                    p.wait()
                    rc = "timeout"
            after = look()
            after[0].pop(d + "/output", None)
            why = []
            if rc == "timeout":
                why.append("timeout")
            elif rc < 0 or rc in (134, 136, 139):
                why.append("died of signal")
            if before != after:
                why.append("changed something outside the target")
            if re.search(
                rb"(Address|Memory|Thread|Leak)Sanitizer|:\d+:\d+: runtime error: ",
                open(d + "/output", "rb").read(),
            ):
                why.append("sanitizer report")
            if re.search(
                rb"^panic:|^fatal error: |std::terminate|terminate called",
                open(d + "/output", "rb").read(),
                re.M,
            ):
                why.append("panic")
            if expect == "reject" and rc == 0:
                why.append("accepted")
            if expect == "ok":
                hit = [os.path.join(b, "hello") for b, _, fs in os.walk(d + "/target") if "hello" in fs]
                if rc != 0 or (os.listdir(d + "/target") and (not hit or open(hit[0]).read() != "hello\n")):
                    why.append("refused a sound repository")
            n += 1
            bad += bool(why)
            if why or a.verbose:
                print(
                    json.dumps(
                        {
                            "case": name,
                            "expect": expect,
                            "rc": rc,
                            "s": round(time.monotonic() - t0, 2),
                            "bad": why,
                        }
                    ),
                    flush=True,
                )
            if not a.keep:
                subprocess.run(["rm", "-rf", d])
    finally:
        if not a.keep:
            subprocess.run(["rm", "-rf", base])
    print(json.dumps({"cases": n, "bad": bad}))
    return 1 if bad else 0


def selftest():
    assert (
        AES(bytes(range(32))).block(bytes.fromhex("00112233445566778899aabbccddeeff")).hex() == "8ea2b7ca516745bfeafc49904b496089"
    )
    assert (
        AES(bytes(range(16))).block(bytes.fromhex("00112233445566778899aabbccddeeff")).hex() == "69c4e0d86a7b0430d8cdb78070b4c55a"
    )
    k = Key(b"e" * 32, b"k" * 16, b"r" * 16)
    assert k.open(k.seal(b"some text")) == b"some text"
    t = tempfile.mkdtemp(prefix="hostile-")
    try:
        for name, (_, f) in CASES.items():
            if name not in ("deep-tree",):
                f(os.path.join(t, name))
        z = "zstd absent"
        if shutil.which("zstd"):
            r = subprocess.run("zstd -dc | wc -c", shell=True, input=zbomb((1 << 20) + 5), capture_output=True)
            assert int(r.stdout) == (1 << 20) + 5, r
            z = "zstd frame ok"
        v = "restic absent"
        if shutil.which("restic"):
            e = dict(os.environ, RESTIC_PASSWORD="x")
            for name in ("sound", "sound-many"):
                r = subprocess.run(
                    ["restic", "--no-cache", "-r", f"{t}/{name}", "check", "--read-data"],
                    env=e,
                    capture_output=True,
                    text=True,
                )
                assert r.returncode == 0, r
            v = "stock restic check --read-data accepts the sound ones"
        print(f"hostile_repository selftest ok: {len(CASES)} cases, {v}, {z}")
    finally:
        shutil.rmtree(t)


def main():
    argv, cmd = sys.argv[1:], []
    if "--" in argv:
        i = argv.index("--")
        argv, cmd = argv[:i], argv[i + 1 :]
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("what", nargs="?", choices=["list", "make", "run"])
    ap.add_argument("case", nargs="?")
    ap.add_argument("dir", nargs="?")
    ap.add_argument("--cases")
    ap.add_argument("--mem", type=int, default=0)
    ap.add_argument("--timeout", type=float, default=30)
    ap.add_argument("--fsize", type=int, default=64, help="largest file CMD may write, MiB")
    ap.add_argument("--keep")
    ap.add_argument("-v", "--verbose", action="store_true")
    ap.add_argument("--selftest", action="store_true")
    a = ap.parse_args(argv)
    if a.selftest:
        return selftest()
    if a.what == "list":
        for n, (e, _) in CASES.items():
            print(f"{e:7} {n}")
        return 0
    if a.what == "make":
        CASES[a.case][1](a.dir)
        return 0
    if a.what == "run" and cmd:
        return run(a, cmd)
    ap.print_help()
    return 2


if __name__ == "__main__":
    sys.exit(main())
