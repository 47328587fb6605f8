#!/usr/bin/env python3
"""nasty_tree: build, mutate or churn a directory tree that is hard to back up.

  nasty_tree.py make DIR [--seed N] [--full] [--no-special]   build the tree (DIR must not exist)
  nasty_tree.py mutate DIR [--seed N] [--ops N] [--log FILE]  random edits, deterministic per seed
  nasty_tree.py race DIR --seconds S                          swap a directory and a symlink as fast as possible
  nasty_tree.py rm DIR                                        delete such a tree (over-long paths included)
  nasty_tree.py --selftest

What needs root (devices, chown, trusted/security xattrs) is skipped without it; `make`
prints a JSON summary {"made": {...}, "skipped": [...]}.  Standard library only.
"""
import argparse, ctypes, errno, json, os, random, shutil, socket, stat, struct, subprocess, sys, tempfile, time

made, skipped = {}, []


def note(kind):
    made[kind] = made.get(kind, 0) + 1


def attempt(kind, fn, *a, **k):
    """Run fn; an unsupported feature is recorded, never fatal."""
    try:
        r = fn(*a, **k)
        note(kind)
        return r
    except (OSError, ValueError) as e:
        skipped.append(f"{kind}: {errno.errorcode.get(getattr(e, 'errno', 0) or 0, e)}")
        return None


def put(path, data=b"", mode=0o644):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fchmod(fd, mode)
    finally:
        os.close(fd)


def acl(entries):
    """Linux POSIX-ACL xattr value from (tag, perm, id) triples."""
    undefined = 0xFFFFFFFF
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", t, p, undefined if i is None else i) for t, p, i in entries)


ACCESS = acl([(1, 6, None), (2, 4, 12345), (4, 4, None), (8, 6, 54321), (16, 6, None), (32, 0, None)])
DEFAULT = acl([(1, 7, None), (2, 5, 12345), (4, 5, None), (16, 5, None), (32, 0, None)])

NAMES = [
    b" ",
    b"  lead",
    b"trail ",
    b"-rf",
    b"--help",
    b"~",
    b"*",
    b"?",
    b"[a]",
    b"a\nb",
    b"a\tb",
    b"a\rb",
    b"\x01\x02\x7f\x1b[31mred",
    b"quote'\"`",
    b"$(touch pwned)",
    b"%s%n%x",
    b"back\\slash",
    b"C:\\x",
    b"a:b",
    b"...",
    b"..a",
    b".hidden",
    b".",
    b"semi;colon",
    b'{"json":1}',
    b"<xml&>",
    b"#comment",
    b"a=b",
    b"latest",
    b"caf\xc3\xa9",
    b"cafe\xcc\x81",
    b"\xff\xfe\xfa",
    b"bad\xc3",
    b"\xed\xa0\x80surrogate",
    b"\xc0\xaeover",
    "日本語".encode(),
    "😀".encode(),
    "\u202egpj.exe".encode(),
    "\u200b".encode(),
    b"Case",
    b"case",
    b"\\x41",
    b"\\u0041",
    b"nul%00",
    b"x" * 255,
    "é".encode() * 127,
]


def make(root, seed, full, special):
    rnd = random.Random(seed)
    root = os.fsencode(root)
    os.mkdir(root)
    J = os.path.join
    sub = lambda n: (os.mkdir(J(root, n)), J(root, n))[1]

    d = sub(b"names")
    for i, n in enumerate(NAMES):
        if n == b".":
            continue
        attempt("name", put, J(d, n), b"name %d\n" % i)
    attempt("name-dir", os.mkdir, J(d, b"dir\n\xff"))

    d = sub(b"sizes")
    sizes = [
        0,
        1,
        2,
        15,
        16,
        511,
        512,
        513,
        4095,
        4096,
        4097,
        65535,
        65536,
        524287,
        524288,
        524289,
        1048575,
        1048577,
        3 << 20,
    ]
    if full:
        sizes += [(8 << 20) - 1, 8 << 20, (8 << 20) + 1, 33 << 20]
    for s in sizes:
        attempt("size", put, J(d, b"%d" % s), rnd.randbytes(s))
    attempt("zeros", put, J(d, b"zeros"), bytes(3 << 20))
    attempt("repeat", put, J(d, b"repeat"), rnd.randbytes(4096) * 700)
    attempt("dup", put, J(d, b"dup-of-3M"), open(J(d, b"%d" % (3 << 20)), "rb").read())
    attempt("json", put, J(d, b"looks-like-json"), b'{"nodes":[]}\n')
    attempt("zstd", put, J(d, b"looks-like-zstd"), b"\x28\xb5\x2f\xfd" + rnd.randbytes(100))

    d = sub(b"sparse")

    def sparse(name, size, parts):
        fd = os.open(J(d, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            os.ftruncate(fd, size)
            for off in parts:
                os.pwrite(fd, rnd.randbytes(4096), off)
        finally:
            os.close(fd)

    attempt("sparse", sparse, b"hole-first", 1 << 20, [1 << 19])
    attempt("sparse", sparse, b"hole-last", 1 << 20, [0])
    attempt("sparse", sparse, b"holes", 2 << 20, [0, 256 << 10, 1 << 20])
    attempt("sparse", sparse, b"only-hole", 5 << 20, [])
    attempt("sparse", sparse, b"odd-size", (1 << 20) + 123, [4096])
    if full:
        attempt("sparse", sparse, b"over-4G", (4 << 30) + 4097, [0, 4 << 30])

    d = sub(b"links")
    put(J(d, b"h1"), b"hardlinked\n")
    os.mkdir(J(d, b"sub"))
    for n in (b"h2", b"sub/h3", b"names-\xff"):
        attempt("hardlink", os.link, J(d, b"h1"), J(d, n))
    put(J(d, b"e1"))
    attempt("hardlink-empty", os.link, J(d, b"e1"), J(d, b"e2"))
    for n, t in (
        (b"dangling", b"nowhere"),
        (b"abs", b"/etc/passwd"),
        (b"dotdot", b"../../../../etc/passwd"),
        (b"todir", b"sub"),
        (b"todir-slash", b"sub/"),
        (b"self", b"self"),
        (b"loop-a", b"loop-b"),
        (b"loop-b", b"loop-a"),
        (b"raw", b"t\xff\xfe\n x"),
        (b"long", b"./" * 2000 + b"h1"),
        (b"root", b"/"),
    ):
        attempt("symlink", os.symlink, t, J(d, n))
    attempt("hardlinked-symlink", os.link, J(d, b"dangling"), J(d, b"dangling2"), follow_symlinks=False)
    if special:
        attempt("fifo", os.mkfifo, J(d, b"fifo"), 0o640)
        attempt("hardlinked-fifo", os.link, J(d, b"fifo"), J(d, b"fifo2"))

        def sock():
            s = socket.socket(socket.AF_UNIX)
            old = os.open(".", os.O_RDONLY)
            try:
                os.chdir(d)
                s.bind("socket")
            finally:
                os.fchdir(old)
                os.close(old)
                s.close()

        attempt("socket", sock)
        attempt("chardev", os.mknod, J(d, b"null"), stat.S_IFCHR | 0o600, os.makedev(1, 3))
        attempt("chardev-big", os.mknod, J(d, b"bigdev"), stat.S_IFCHR | 0o600, os.makedev(4095, 1048575))
        attempt("blockdev", os.mknod, J(d, b"blk"), stat.S_IFBLK | 0o600, os.makedev(7, 200))

    d = sub(b"modes")
    for m in (0, 0o200, 0o400, 0o777, 0o1644, 0o2755, 0o4755, 0o6755, 0o7777):
        attempt("mode", put, J(d, b"m%o" % m), b"m", m)
    for m in (0, 0o111, 0o300, 0o500, 0o1777, 0o2775):
        p = J(d, b"d%o" % m)
        os.mkdir(p)
        put(J(p, b"inner"), b"i")
        attempt("dirmode", os.chmod, p, m)
    for u, g in ((1, 2), (65534, 65534), (70000, 70001), (4294967294, 4294967294)):
        p = J(d, b"u%d" % u)
        put(p, b"o")
        attempt("owner", os.chown, p, u, g)
    p = J(d, b"suid-owned")  # chown clears setuid: restore has to chown before chmod
    put(p, b"s")
    attempt("owner", os.chown, p, 1, 1)
    attempt("mode", os.chmod, p, 0o6755)
    os.symlink(b"x", J(d, b"owned-link"))
    attempt("owner-symlink", os.lchown, J(d, b"owned-link"), 3, 4)

    d = sub(b"xattrs")

    def x(name, *pairs, mk=put):
        p = J(d, name)
        mk(p)
        for k, v in pairs:
            attempt("xattr " + k.split(b".")[0].decode(), os.setxattr, p, k, v, follow_symlinks=False)

    x(b"plain", (b"user.a", b"1"), (b"user.empty", b""), (b"user.bin", b"\0\xff\n\0"))
    x(b"weird-name", (b"user.\xff\xfe \n", b"v"), (b"user." + b"n" * 200, b"v"), (b"user.%s", b"%n"))
    x(b"big", (b"user.big", rnd.randbytes(3000)))
    x(b"many", *((b"user.k%03d" % i, b"v%d" % i) for i in range(60)))
    x(b"dir", (b"user.d", b"on a dir"), mk=os.mkdir)
    x(b"acl", (b"system.posix_acl_access", ACCESS))
    x(b"acl-dir", (b"system.posix_acl_default", DEFAULT), (b"system.posix_acl_access", ACCESS), mk=os.mkdir)
    if os.geteuid() == 0:
        x(b"caps", (b"security.capability", struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)))
        x(b"trusted", (b"trusted.t", b"root only"))

    d = sub(b"deep")  # nesting and paths beyond PATH_MAX, built with *at() calls
    fd = os.open(d, os.O_RDONLY | os.O_DIRECTORY)
    seg, depth = b"p" * 200, (30 if full else 22)
    for i in range(depth):
        os.mkdir(seg, dir_fd=fd)
        nfd = os.open(seg, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = nfd
    f = os.open(b"bottom", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=fd)
    os.write(f, b"deep\n")
    os.close(f)
    os.close(fd)
    note("path>4096")
    p = J(root, b"nest")
    os.mkdir(p)
    for i in range(300 if full else 120):
        p = J(p, b"n")
        os.mkdir(p)
    put(J(p, b"leaf"), b"leaf")
    note("nest")

    d = sub(b"many")
    for i in range(20000 if full else 1500):
        put(J(d, b"f%05d" % i), b"%d" % (i % 7))
    note("wide-dir")
    sub(b"empty")

    d = sub(b"times")  # last, so nothing disturbs them
    for n, ns in (
        (b"epoch", 0),
        (b"one-ns", 1),
        (b"neg", -1_000_000_001),
        (b"y1902", -2145916800 * 10**9),
        (b"y2038", 2**31 * 10**9 + 999999999),
        (b"y2106", 2**32 * 10**9 + 1),
        (b"y2200", 7258118400 * 10**9 + 123456789),
        (b"ns", 1_600_000_000_123_456_789),
    ):
        put(J(d, n), n)
        attempt("time", os.utime, J(d, n), ns=(ns, ns))
    os.symlink(b"ns", J(d, b"link"))
    attempt("time-symlink", os.utime, J(d, b"link"), ns=(5, 987654321), follow_symlinks=False)
    for n in (b"empty", b"many", b"links", b"times"):
        attempt("time-dir", os.utime, J(root, n), ns=(7, 1_234_567_890_123_456_789))
    return {"made": made, "skipped": skipped}


def listing(root):
    files, dirs, links = [], [root], []
    for b, ds, fs in os.walk(root):
        if len(b) > 3000:
            ds[:] = []
            continue
        for n in ds:
            (links if os.path.islink(os.path.join(b, n)) else dirs).append(os.path.join(b, n))
        for n in fs:
            p = os.path.join(b, n)
            m = os.lstat(p).st_mode
            (files if stat.S_ISREG(m) else links).append(p)
    return sorted(files), sorted(dirs), sorted(links)


def mutate(root, seed, ops, log):
    rnd = random.Random(seed)
    root = os.fsencode(root)
    counts = {}
    for i in range(ops):
        files, dirs, links = listing(root)
        op = rnd.choice(
            [
                "create",
                "create",
                "append",
                "overwrite",
                "same-stat",
                "truncate",
                "rename",
                "move-dir",
                "unlink",
                "rmtree",
                "chmod",
                "touch",
                "xattr",
                "hardlink",
                "replace-file-by-dir",
                "replace-dir-by-file",
                "symlink",
                "insert",
                "punch",
            ]
        )
        f = rnd.choice(files) if files else None
        dd = rnd.choice(dirs)
        new = os.path.join(dd, b"new-%d-%d" % (seed, i))
        try:
            st = os.lstat(f) if f else None
            small = st and st.st_size < (64 << 20)
            if op == "create":
                put(new, rnd.randbytes(rnd.choice([0, 10, 5000, 300000])))
            elif op == "append":
                with open(f, "ab") as h:
                    h.write(rnd.randbytes(100))
            elif op in ("overwrite", "same-stat") and st.st_size:
                with open(f, "r+b") as h:
                    h.seek(rnd.randrange(min(st.st_size, 1 << 24)))
                    h.write(b"M")
                if op == "same-stat":  # content differs, size and mtime do not; only ctime tells
                    os.utime(f, ns=(st.st_atime_ns, st.st_mtime_ns))
            elif op == "truncate":
                os.truncate(f, rnd.randrange(st.st_size + 1))
            elif op == "insert" and small:
                b = open(f, "rb").read()
                k = rnd.randrange(len(b) + 1)
                with open(f, "wb") as h:
                    h.write(b[:k] + b"INS" + b[k:])
            elif op == "punch" and small:
                os.truncate(f, st.st_size + 100000)
            elif op == "rename":
                os.rename(f, new)
            elif op == "move-dir" and dd != root:
                os.rename(dd, os.path.join(root, b"moved-%d-%d" % (seed, i)))
            elif op == "unlink":
                os.unlink(rnd.choice(files + links))
            elif op == "rmtree" and dd != root and rnd.random() < 0.3:
                shutil.rmtree(dd, ignore_errors=True)
            elif op == "chmod":
                os.chmod(f, rnd.choice([0o600, 0o644, 0o755, 0o4755]))
            elif op == "touch":
                os.utime(f, ns=(1, rnd.randrange(2**61)))
            elif op == "xattr":
                os.setxattr(f, b"user.mut", rnd.randbytes(rnd.randrange(64)))
            elif op == "hardlink":
                os.link(f, new)
            elif op == "replace-file-by-dir":
                os.unlink(f)
                os.mkdir(f)
                put(os.path.join(f, b"was-file"), b"x")
            elif op == "replace-dir-by-file" and dd != root and not os.listdir(dd):
                os.rmdir(dd)
                put(dd, b"was dir")
            elif op == "symlink":
                os.symlink(rnd.choice([b"a", b"../..", b"/etc", f or b"b"]), new)
            else:
                continue
            counts[op] = counts.get(op, 0) + 1
            if log:
                print(i, op, f, new, file=log)
        except (OSError, TypeError):
            continue
    return counts


def race(root, seconds):
    """Swap DIR/swap (a directory holding 'f') and DIR/.other (a symlink to /etc) with RENAME_EXCHANGE."""
    libc = ctypes.CDLL(None, use_errno=True)
    root = os.fsencode(root)
    a, b = os.path.join(root, b"swap"), os.path.join(root, b".other")
    if not os.path.isdir(a) and not os.path.islink(a):
        os.mkdir(a)
        put(os.path.join(a, b"passwd"), b"harmless\n")
        os.symlink(b"/etc", b)
    n, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        if libc.renameat2(-100, a, -100, b, 2):
            raise OSError(ctypes.get_errno(), "renameat2")
        n += 1
    return n


def rm(root):
    subprocess.run(["chmod", "-R", "u+rwx", "--", root], stderr=subprocess.DEVNULL)
    subprocess.run(["rm", "-rf", "--", root], check=True)


def selftest():
    t = tempfile.mkdtemp(prefix="nasty-")
    try:
        r = make(t + "/a", 1, False, True)
        assert r["made"]["name"] >= 40 and r["made"]["hardlink"] == 3, r
        assert os.stat(t + "/a/links/h1").st_nlink == 4
        c = mutate(t + "/a", 2, 60, None)
        assert sum(c.values()) >= 20, c
        os.mkdir(t + "/r")
        assert race(t + "/r", 0.2) > 50
        print("nasty_tree selftest ok", json.dumps(r["made"]), "skipped:", r["skipped"])
    finally:
        rm(t)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--selftest", action="store_true")
    sp = ap.add_subparsers(dest="cmd")
    p = sp.add_parser("make")
    p.add_argument("dir")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--full", action="store_true")
    p.add_argument("--no-special", action="store_true")
    p = sp.add_parser("mutate")
    p.add_argument("dir")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--ops", type=int, default=50)
    p.add_argument("--log", type=argparse.FileType("a"))
    p = sp.add_parser("race")
    p.add_argument("dir")
    p.add_argument("--seconds", type=float, default=5)
    p = sp.add_parser("rm")
    p.add_argument("dir")
    a = ap.parse_args()
    if a.selftest:
        return selftest()
    if a.cmd == "make":
        print(json.dumps(make(a.dir, a.seed, a.full, not a.no_special)))
    elif a.cmd == "mutate":
        print(json.dumps(mutate(a.dir, a.seed, a.ops, a.log)))
    elif a.cmd == "race":
        print(race(a.dir, a.seconds))
    elif a.cmd == "rm":
        rm(a.dir)
    else:
        ap.print_help()
        return 2


if __name__ == "__main__":
    sys.exit(main())
