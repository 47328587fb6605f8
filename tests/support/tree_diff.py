#!/usr/bin/env python3
"""tree_diff: compare two trees, metadata included; or record a tree now and compare later.

  tree_diff.py A B [options]        A, B: a directory or a manifest made by --snap
  tree_diff.py --snap DIR [-o F]    write a manifest (JSON lines) of DIR
  tree_diff.py --selftest

Compares type, mode, uid, gid, size, mtime (ns), device number, symlink target, content
(SHA-256), xattrs with ACLs and capabilities, hard-link groups and, on request, holes.
Walks with *at() calls, so paths beyond PATH_MAX and any byte in a name work.
Exit: 0 same, 1 different (one line per difference), 2 trouble.  Standard library only.
"""
import argparse, base64, hashlib, json, os, resource, stat, subprocess, sys, tempfile

TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "chardev",
    stat.S_IFBLK: "blockdev",
}
b64 = lambda b: base64.b64encode(b).decode()


def show(rel):
    return (
        os.fsdecode(rel).encode("unicode_escape", "surrogateescape").decode()
        if len(rel) < 300
        else os.fsdecode(rel[:120]).encode("unicode_escape", "surrogateescape").decode() + f"...[{len(rel)} bytes]"
    )


def extents(fd, size):
    out, pos = [], 0
    while pos < size:
        try:
            d = os.lseek(fd, pos, os.SEEK_DATA)
        except OSError:
            break
        h = os.lseek(fd, d, os.SEEK_HOLE)
        out.append([d, h - d])
        pos = h
    return out


BLOCK = 64 << 10
ZERO = bytes(BLOCK)


def digest(fd, size):
    """Of the size and each block that is not all zeros, with its place: the same for a hole and for zeros that were written,
    and gigabytes of hole cost nothing."""
    h = hashlib.sha256(b"%d\n" % size)
    done = 0  # blocks before this one are
    for off, ln in extents(fd, size):
        for i in range(max(off // BLOCK, done), -(-min(off + ln, size) // BLOCK)):
            block = os.pread(fd, BLOCK, i * BLOCK)
            if len(block) != min(BLOCK, size - i * BLOCK):
                raise OSError(0, "file shrank while reading")
            if block != ZERO[: len(block)]:
                h.update(b"%d\n" % i)
                h.update(block)
            done = i + 1
    return h.hexdigest()


def scan(root, want_content=True):
    """{relative path bytes: record}"""
    out, inodes = {}, {}
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sys.setrecursionlimit(20000)

    def one(dfd, name, rel):
        st = os.lstat(name, dir_fd=dfd)
        via = b"/proc/self/fd/%d/" % dfd + name
        r = {
            "type": TYPES[stat.S_IFMT(st.st_mode)],
            "mode": stat.S_IMODE(st.st_mode),
            "uid": st.st_uid,
            "gid": st.st_gid,
            "mtime": st.st_mtime_ns,
        }
        if r["type"] == "file":
            r["size"] = st.st_size
            try:
                fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=dfd)
                try:
                    r["extents"] = extents(fd, st.st_size)
                    if want_content:
                        r["sha256"] = digest(fd, st.st_size)
                finally:
                    os.close(fd)
            except OSError as e:
                r["sha256"] = "unreadable: %s" % e.strerror
        elif r["type"] == "symlink":
            r["target"] = b64(os.readlink(name, dir_fd=dfd))
        elif r["type"].endswith("dev"):
            r["rdev"] = [os.major(st.st_rdev), os.minor(st.st_rdev)]
        try:
            r["xattrs"] = {
                b64(os.fsencode(k)): b64(os.getxattr(via, k, follow_symlinks=False))
                for k in os.listxattr(via, follow_symlinks=False)
            }
        except OSError as e:
            r["xattrs"] = {} if e.errno == 95 else {"error": str(e.errno)}
        if r["type"] != "dir" and st.st_nlink > 1:
            inodes.setdefault((st.st_dev, st.st_ino), []).append(rel)
        out[rel] = r
        return r["type"]

    def walk(dfd, rel):
        with os.scandir(dfd) as it:
            names = sorted(os.fsencode(e.name) for e in it)
        for n in names:
            p = rel + b"/" + n if rel else n
            if one(dfd, n, p) == "dir":
                try:
                    fd = os.open(n, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=dfd)
                except OSError as e:
                    out[p]["unreadable"] = e.strerror
                    continue
                try:
                    walk(fd, p)
                finally:
                    os.close(fd)

    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        one(fd, b".", b".")
        walk(fd, b"")
    finally:
        os.close(fd)
    for group in inodes.values():
        if len(group) > 1:
            for p in group:
                out[p]["links"] = b64(min(group))
    return out


def load(path, want_content):
    if os.path.isdir(path):
        return scan(path, want_content)
    out = {}
    for line in open(path):
        r = json.loads(line)
        out[base64.b64decode(r.pop("path"))] = r
    return out


def compare(a, b, o):
    diffs = []
    skip_x = [x.encode() for x in o.ignore_xattr]

    def keep(x):
        return (
            {k: v for k, v in x.items() if not any(base64.b64decode(k).startswith(s) for s in skip_x)} if "error" not in x else x
        )

    for p in sorted(set(a) | set(b)):
        x, y = a.get(p), b.get(p)
        if any(p == e or p.startswith(e + b"/") for e in map(os.fsencode, o.exclude)):
            continue
        if x is None or y is None:
            diffs.append((p, "only in " + ("B" if x is None else "A"), (x or y)["type"]))
            continue
        if x["type"] != y["type"]:
            diffs.append((p, "type", (x["type"], y["type"])))
            continue
        t = x["type"]
        fields = ["size", "sha256", "target", "rdev", "unreadable"]
        if not o.no_mode and t != "symlink":
            fields.append("mode")
        if not o.no_owner:
            fields += ["uid", "gid"]
        if not o.no_links:
            fields.append("links")
        if o.sparse == "exact":
            fields.append("extents")
        if not (o.no_mtime or (o.no_dir_mtime and t == "dir") or (o.no_symlink_mtime and t == "symlink")):
            fields.append("mtime")
        if p == b"." and o.ignore_root:
            fields = []
        for f in fields:
            if o.no_content and f == "sha256":
                continue
            if x.get(f) != y.get(f):
                diffs.append((p, f, (x.get(f), y.get(f))))
        if o.sparse == "kept" and t == "file" and x.get("extents") is not None:
            da, db = (sum(l for _, l in r.get("extents") or []) for r in (x, y))
            if db > da + max(da // 8, 1 << 20):
                diffs.append((p, "holes filled", (da, db)))
        if not o.no_xattr and not (p == b"." and o.ignore_root):
            kx, ky = keep(x["xattrs"]), keep(y["xattrs"])
            for k in sorted(set(kx) | set(ky)):
                if kx.get(k) != ky.get(k):
                    diffs.append(
                        (
                            p,
                            "xattr " + (repr(base64.b64decode(k)) if k != "error" else k),
                            (kx.get(k, "absent"), ky.get(k, "absent")),
                        )
                    )
    return diffs


def selftest():
    here = os.path.dirname(os.path.abspath(__file__))
    t = tempfile.mkdtemp(prefix="tree_diff-")
    me = [sys.executable, os.path.abspath(__file__)]
    run = lambda *a: subprocess.run(me + list(a), capture_output=True, text=True)
    try:
        subprocess.run([sys.executable, here + "/nasty_tree.py", "make", t + "/a"], check=True, stdout=subprocess.DEVNULL)
        run("--snap", t + "/a", "-o", t + "/m")  # a path beyond PATH_MAX is in there
        assert run(t + "/m", t + "/a").returncode == 0 and b"/bottom" in b"".join(load(t + "/m", 1))
        subprocess.run([sys.executable, here + "/nasty_tree.py", "rm", t + "/a/deep"])  # cp cannot copy it
        if os.geteuid():  # nor unreadable files
            subprocess.run(
                ["find", t + "/a/modes", "-not", "-perm", "-u+rx", "-exec", "chmod", "u+rx", "{}", "+"],
                stderr=subprocess.DEVNULL,
            )
        subprocess.run(["cp", "-a", t + "/a", t + "/b"], check=True)
        r = run(t + "/a", t + "/b", "--sparse", "kept")
        assert r.returncode == 0, r.stdout[:2000] + r.stderr[:2000]
        run("--snap", t + "/a", "-o", t + "/m")
        assert run(t + "/m", t + "/b").returncode == 0
        B = t + "/b/"

        def change(what, fn, *opt):
            fn()
            r = run(t + "/m", t + "/b", "--max", "100000", *opt)
            assert r.returncode == 1 and what in r.stdout, (what, r.stdout[:800], r.stderr[:800])

        def flip():
            st = os.stat(B + "sizes/4096")
            with open(B + "sizes/4096", "r+b") as h:
                h.seek(77)
                c = h.read(1)
                h.seek(77)
                h.write(bytes([c[0] ^ 1]))
            os.utime(B + "sizes/4096", ns=(st.st_atime_ns, st.st_mtime_ns))

        change("sha256", flip)
        change("mtime", lambda: os.utime(B + "times/ns", ns=(0, 1_600_000_000_123_456_788)))
        change("mode", lambda: os.chmod(B + "modes/m400", 0o401))
        change("user.a", lambda: os.setxattr(B + "xattrs/plain", "user.a", b"2"))
        change("posix_acl", lambda: os.removexattr(B + "xattrs/acl", "system.posix_acl_access"))
        change("only in B", lambda: open(B + "empty/new", "w").close())
        change("only in A", lambda: os.unlink(B + "names/case"))

        def unlinkgroup():
            d = open(B + "links/h2", "rb").read()
            st = os.stat(B + "links/h2")
            os.unlink(B + "links/h2")
            open(B + "links/h2", "wb").write(d)
            os.utime(B + "links/h2", ns=(0, st.st_mtime_ns))

        change("links", unlinkgroup)
        change("target", lambda: (os.unlink(B + "links/abs"), os.symlink("/etc/shadow", B + "links/abs")))
        change(
            "holes filled",
            lambda: subprocess.run(["cp", "--sparse=never", t + "/a/sparse/only-hole", B + "sparse/"]),
            "--sparse",
            "kept",
        )
        assert "only-hole: sha256" not in run(t + "/m", t + "/b", "--max", "100000").stdout, "zeros are not a hole"
        print("tree_diff selftest ok: identical copy clean, 10 of 10 single changes found")
    finally:
        subprocess.run([sys.executable, here + "/nasty_tree.py", "rm", t])


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("a", nargs="?")
    ap.add_argument("b", nargs="?")
    ap.add_argument("--snap", metavar="DIR")
    ap.add_argument("-o", "--output", default="-")
    for f in ("mode", "mtime", "dir-mtime", "symlink-mtime", "owner", "xattr", "links", "content"):
        ap.add_argument("--no-" + f, action="store_true")
    ap.add_argument("--ignore-xattr", action="append", default=[], metavar="PREFIX")
    ap.add_argument("--ignore-root", action="store_true", help="do not compare the top directory's own metadata")
    ap.add_argument("--exclude", action="append", default=[], metavar="RELPATH")
    ap.add_argument(
        "--sparse",
        choices=("off", "kept", "exact"),
        default="off",
        help="kept: B must not hold much more data than A; exact: same extents",
    )
    ap.add_argument("--max", type=int, default=50, help="differences to print")
    ap.add_argument("--json", action="store_true")
    ap.add_argument("--selftest", action="store_true")
    o = ap.parse_args()
    if o.selftest:
        return selftest()
    if o.snap:
        f = sys.stdout if o.output == "-" else open(o.output, "w")
        for p, r in scan(o.snap).items():
            print(json.dumps({"path": b64(p), **r}), file=f)
        return 0
    if not o.b:
        ap.print_help()
        return 2
    try:
        d = compare(load(o.a, not o.no_content), load(o.b, not o.no_content), o)
    except OSError as e:
        print("tree_diff:", e, file=sys.stderr)
        return 2
    for p, what, v in d[: o.max]:
        print(json.dumps({"path": show(p), "what": what, "values": v}) if o.json else f"{show(p)}: {what}: {v}")
    if len(d) > o.max:
        print(f"... {len(d) - o.max} more")
    return 1 if d else 0


if __name__ == "__main__":
    sys.exit(main())
