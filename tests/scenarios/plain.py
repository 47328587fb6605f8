"""Changes of single files and directories, and renames: what happens, what waits, what the next revision holds."""
import ctypes
import fcntl
import os
import stat
import subprocess

from promises import check, equal, skip
from scenarios import scenario

libc = ctypes.CDLL(None, use_errno=True)
FALLOC_KEEP_SIZE, FALLOC_PUNCH, FALLOC_COLLAPSE, FALLOC_ZERO = 1, 2, 8, 16
RENAME_EXCHANGE = 2
AT_FDCWD = -100
FICLONE = 0x40049409


def fallocate(fd, mode, offset, length):
    libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    if libc.fallocate(fd, mode, offset, length) != 0:
        raise OSError(ctypes.get_errno(), "fallocate")


def exchange(a, b):
    if libc.renameat2(AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b), RENAME_EXCHANGE) != 0:
        raise OSError(ctypes.get_errno(), "renameat2")


@scenario(1, "a new file is taken")
def _(t):
    t.write("a/new", b"abc")
    counts = t.backed_up("a/new")
    equal(counts["files_new"], 1)
    t.read_only(1)


@scenario(2, "an appended file is taken")
def _(t):
    with open(t.path("plain/f"), "ab") as f:
        f.write(b"more")
    t.backed_up("plain/f")
    t.read_only(1)


@scenario(3, "one byte overwritten in place, same size")
def _(t):
    with open(t.path("plain/big"), "r+b") as f:
        f.seek(70_000)
        f.write(b"\xff")
    equal(t.backed_up("plain/big")["files_changed"], 1)


@scenario(4, "an overwrite whose mtime is set back is taken, with the old mtime")
def _(t):
    p = t.path("plain/f")
    before = os.stat(p)
    with open(p, "r+b") as f:
        f.write(b"X")
    os.utime(p, ns=(before.st_atime_ns, before.st_mtime_ns))
    t.backed_up("plain/f")


@scenario(5, "opened for writing and closed: nothing new is stored, and the queue is empty afterwards")
def _(t):
    os.close(os.open(t.path("plain/f"), os.O_WRONLY))
    t.run()
    equal(t.counts["data_blobs_new"], 0)
    t.clean()
    t.same()


@scenario(6, "truncation, to nothing and to the same size")
def _(t):
    os.truncate(t.path("plain/g"), 0)
    t.backed_up("plain/g")
    equal(os.stat(t.path("plain/g")).st_size, 0)
    os.truncate(t.path("plain/f"), os.stat(t.path("plain/f")).st_size)
    t.run()
    t.same()


@scenario(7, "holes, collapsed and zeroed ranges, preallocation")
def _(t):
    fd = os.open(t.path("plain/big"), os.O_RDWR)
    try:
        for mode, offset, length in (
            (FALLOC_PUNCH | FALLOC_KEEP_SIZE, 8192, 8192),
            (FALLOC_ZERO, 32768, 4096),
            (FALLOC_COLLAPSE, 0, 4096),
            (0, 0, 400_000),
        ):
            try:
                fallocate(fd, mode, offset, length)
            except OSError:
                continue  # not every file system has every mode
            t.waits("plain/big")
            t.run()
            t.same()
    finally:
        os.close(fd)


@scenario(8, "cloned and copied ranges")
def _(t):
    source = os.open(t.path("plain/big"), os.O_RDONLY)
    target = os.open(t.path("plain/f"), os.O_RDWR)
    try:
        try:
            fcntl.ioctl(target, FICLONE, source)
        except OSError:
            os.copy_file_range(source, target, 5000, 100, 0)
    finally:
        os.close(source)
        os.close(target)
    t.backed_up("plain/f")


@scenario(9, "mode, owner, extended attributes: no content is stored")
def _(t):
    p = t.path("plain/f")
    os.chmod(p, 0o640)
    equal(t.backed_up("plain/f")["data_blobs_new"], 0)
    os.chown(p, 12, 34)
    equal(t.backed_up("plain/f")["data_blobs_new"], 0)
    try:
        os.setxattr(p, "user.color", b"blue")
        t.backed_up("plain/f")
        os.removexattr(p, "user.color")
        t.backed_up("plain/f")
    except OSError:
        pass  # tmpfs has no user attributes on older kernels
    os.chmod(t.path("plain"), 0o711)
    t.backed_up("plain")


@scenario(10, "a deleted file is gone")
def _(t):
    os.unlink(t.path("plain/g"))
    equal(t.backed_up("plain/g")["files_removed"], 1)


@scenario(11, "directories made and filled as fast as can be: all of it is taken")
def _(t):
    def storm(base):
        for i in range(300):
            deep = f"{base}/{i}/y/z"
            os.makedirs(deep)
            for place in (deep, f"{base}/{i}/y", f"{base}/{i}"):
                with open(place + "/file", "w") as f:
                    f.write(str(i))

    storm(t.path("storm"))
    counts = t.backed_up("storm")
    equal(counts["files_new"], 900)


@scenario(12, "a directory removed and made again under the same name loses its old children")
def _(t):
    t.write("again/old", b"old")
    t.backed_up("again/old")
    os.unlink(t.path("again/old"))
    os.rmdir(t.path("again"))
    os.mkdir(t.path("again"))
    t.write("again/new", b"new")
    t.backed_up("again/new")


@scenario(13, "links, pipes and sockets; a pipe stops nobody")
def _(t):
    os.symlink("one", t.path("link"))
    os.mkfifo(t.path("pipe"))
    t.backed_up("link", "pipe")
    os.unlink(t.path("link"))
    os.symlink("two", t.path("link"))
    t.backed_up("link")


@scenario(14, "odd names: long, not UTF-8, with line breaks, backslashes and quotes")
def _(t):
    for name in (b"l" * 255, b"bad\xff\xfe", b"line\nbreak", b'quote"back\\slash', b" space "):
        with open(os.path.join(os.fsencode(t.src), name), "wb") as f:
            f.write(name)
    t.waits("l" * 255)
    t.run()
    t.only_changes()
    t.same()


@scenario(15, "an editor's save: only the file itself, with the new content")
def _(t):
    tmp = t.write("plain/.f.tmp", b"saved anew\n")
    os.rename(tmp, t.path("plain/f"))
    counts = t.backed_up("plain/f")
    t.read_only(1)


@scenario(16, "a file without a name that gets one")
def _(t):
    try:
        fd = os.open(t.path("plain"), os.O_TMPFILE | os.O_RDWR)
    except OSError as problem:
        skip(f"no O_TMPFILE here: {problem}")
    os.write(fd, b"anonymous")
    libc.linkat(AT_FDCWD, f"/proc/self/fd/{fd}".encode(), AT_FDCWD, os.fsencode(t.path("plain/named")), 0x400)
    os.close(fd)
    t.backed_up("plain/named")


@scenario(17, "made and deleted before anybody looks: nothing, and no error")
def _(t):
    t.write("plain/flash")
    os.unlink(t.path("plain/flash"))
    t.run()
    equal(t.result["outcome"], "complete")
    t.same()
    t.clean()


@scenario(18, "deleted and made again under the same name")
def _(t):
    os.unlink(t.path("plain/f"))
    t.write("plain/f", b"another")
    t.backed_up("plain/f")


@scenario(19, "a sparse file of a GiB with one block")
def _(t):
    with open(t.path("sparse"), "wb") as f:
        f.truncate(1 << 30)
        f.seek(700 << 20)
        f.write(b"block")
    t.waits("sparse")
    t.run()
    node = os.stat(t.path("sparse"))
    check(node.st_blocks * 512 < 1 << 20)
    os.unlink(t.path("sparse"))
    t.backed_up("sparse")


@scenario(20, "a file renamed in its directory: nothing is stored again")
def _(t):
    os.rename(t.path("plain/big"), t.path("plain/large"))
    equal(t.backed_up("plain/large")["data_blobs_new"], 0)
    os.rename(t.path("plain/large"), t.path("plain/big"))
    t.backed_up("plain/big")


@scenario(21, "a directory of 500 files renamed inside the set: no file is read")
def _(t):
    for i in range(500):
        t.write(f"many/d{i % 20}/f{i}", b"%d" % i)
    t.backed_up("many")
    os.mkdir(t.path("shelf"))
    os.rename(t.path("many"), t.path("shelf/many"))
    counts = t.backed_up("shelf/many")
    if t.watch == "fanotify":
        t.read_only(0)
    t.write("shelf/many/d3/f3", b"changed after the rename")
    t.backed_up("shelf/many/d3/f3")
    t.read_only(1)
    os.rename(t.path("shelf/many"), t.path("many"))
    t.write("many/d4/f4", b"changed with the rename")
    counts = t.backed_up("many")
    if t.watch == "fanotify":
        t.read_only(1)


@scenario(22, "a directory renamed out of the set is gone, and nobody listens to it any more")
def _(t):
    t.write("leaving/x/f", b"1")
    t.backed_up("leaving")
    os.rename(t.path("leaving"), os.path.join(t.outside, "left"))
    t.backed_up("leaving")
    t.write(os.path.join(t.outside, "left/x/f"), b"2")
    t.run()
    t.read_only(0)
    t.same()


@scenario(23, "a directory renamed into the set is taken with all it has")
def _(t):
    for i in range(500):
        t.write(os.path.join(t.outside, f"coming/d{i % 7}/f{i}"), b"%d" % i)
    os.rename(os.path.join(t.outside, "coming"), t.path("came"))
    equal(t.backed_up("came")["files_new"], 500)


@scenario(231, "a directory that left, was changed out there and came back under its old name")
def _(t):
    t.write("travel/x/f", b"1")
    t.write("travel/y/g", b"1")
    t.backed_up("travel")
    os.rename(t.path("travel"), os.path.join(t.outside, "travel"))
    t.write(os.path.join(t.outside, "travel/x/f"), b"changed outside")
    t.write(os.path.join(t.outside, "travel/y/new"), b"made outside")
    os.rename(os.path.join(t.outside, "travel"), t.path("travel"))
    t.backed_up("travel")


@scenario(24, "a rename over an existing file")
def _(t):
    t.write("plain/over", b"one")
    t.write("plain/under", b"two")
    t.backed_up("plain/over")
    os.rename(t.path("plain/over"), t.path("plain/under"))
    t.backed_up("plain/under")


@scenario(25, "two names exchanged: files, and a file with a directory")
def _(t):
    t.write("swap/a", b"a")
    t.write("swap/b", b"b")
    t.write("swap/dir/x", b"x")
    t.backed_up("swap")
    try:
        exchange(t.path("swap/a"), t.path("swap/b"))
    except OSError as problem:
        skip(f"no exchange here: {problem}")
    t.backed_up("swap/a", "swap/b")
    exchange(t.path("swap/a"), t.path("swap/dir"))
    t.backed_up("swap/a", "swap/dir")


@scenario(251, "two directories exchanged, each with a change")
def _(t):
    for d in ("p", "q"):
        for i in range(20):
            t.write(f"turn/{d}/{i}", (d + str(i)).encode())
    t.backed_up("turn")
    try:
        exchange(t.path("turn/p"), t.path("turn/q"))
    except OSError as problem:
        skip(f"no exchange here: {problem}")
    t.write("turn/p/3", b"was in q")
    counts = t.backed_up("turn/p", "turn/q")
    if t.watch == "fanotify":
        t.read_only(1)


@scenario(26, "three names in a circle")
def _(t):
    for n in "abc":
        t.write(f"circle/{n}", n.encode())
    for n in "abc":
        t.write(f"circle/d{n}/f", n.encode())
    t.backed_up("circle")
    for prefix in ("", "d"):
        a, b, c = (t.path("circle", prefix + n) for n in "abc")
        spare = t.path("circle", prefix + "spare")
        os.rename(a, spare)
        os.rename(c, a)
        os.rename(b, c)
        os.rename(spare, b)
    t.backed_up("circle/a", "circle/b", "circle/c")


@scenario(29, "the top of a hundred levels renamed")
def _(t):
    deep = "deep/" + "/".join(f"level{i}" for i in range(100))
    t.write(deep + "/bottom", b"far down")
    t.backed_up(deep)
    os.rename(t.path("deep"), t.path("deeper"))
    counts = t.backed_up("deeper")
    if t.watch == "fanotify":
        t.read_only(0)
    bottom = deep.replace("deep/", "deeper/", 1) + "/bottom"
    t.write(bottom, b"changed")
    t.backed_up(bottom)


@scenario(30, "a hard link, and a write through it: both names have the new content")
def _(t):
    t.write("links/f", b"one")
    t.backed_up("links/f")
    os.mkdir(t.path("other"))
    os.link(t.path("links/f"), t.path("other/h"))
    t.backed_up("other/h")
    with open(t.path("other/h"), "wb") as f:
        f.write(b"two")
    t.backed_up("other/h")


@scenario(31, "a hard link outside of the set, and a write through it")
def _(t):
    t.write("links/out", b"one")
    os.link(t.path("links/out"), os.path.join(t.outside, "alias"))
    t.backed_up("links/out")
    with open(os.path.join(t.outside, "alias"), "wb") as f:
        f.write(b"through the alias")
    t.run()
    t.same()


@scenario(32, "one of two names deleted")
def _(t):
    t.write("links/two", b"x")
    os.link(t.path("links/two"), t.path("links/second"))
    t.backed_up("links/two", "links/second")
    os.unlink(t.path("links/second"))
    t.backed_up("links/second")


@scenario(33, "a write through a bind mount: the content, once")
def _(t):
    place = os.path.join(t.volume.top, "bind")
    os.mkdir(place)
    t.volume.mount_at(place, "--bind", t.src)
    try:
        with open(os.path.join(place, "plain/f"), "wb") as f:
            f.write(b"through the bind mount")
    finally:
        t.volume.unmount(place)
    t.backed_up("plain/f")


@scenario(42, "a descriptor that stays open: each write is taken without a close")
def _(t):
    fd = os.open(t.path("plain/open"), os.O_CREAT | os.O_WRONLY, 0o644)
    try:
        for i in range(3):
            os.pwrite(fd, b"day %d\n" % i, 6 * i)
            t.waits("plain/open")
            t.run()
            t.same()
    finally:
        os.close(fd)


@scenario(69, "written, backed up, written again at once with the same size")
def _(t):
    for content in (b"1st", b"2nd", b"3rd", b"4th"):
        t.write("plain/quick", content)
        t.run()
    t.run()
    t.same()


@scenario(71, "times far off: in the future, before 1970, without fraction")
def _(t):
    for i, when in enumerate((4_000_000_000, -1_000_000_000, 1_000_000_000)):
        p = t.write(f"times/{i}")
        try:
            os.utime(p, (when, when))
        except OSError:
            continue
    t.backed_up("times")
    t.run()
    t.read_only(0)
