"""Mounts and unmounts: something that is not mounted is missing, never deleted."""
import os

from promises import check, contains, equal, skip, wait_for
from scenarios import fill, scenario


@scenario(34, "something mounted over a directory of the set deletes nothing", own=True, fs=("ext4", "tmpfs"), watch=("fanotify",))
def _(t):
    fill(t)
    t.write("under/hidden", b"hidden")
    t.protect()
    t.volume.mount_at(t.path("under"), "-t", "tmpfs", "tmpfs")
    t.write("under/visible", b"on top")
    t.live()
    t.run()
    t.same()
    t.volume.unmount(t.path("under"))
    t.live()
    t.run()
    t.same()


@scenario(35, "the volume unmounted: a run deletes nothing; changed elsewhere and mounted again: the changes are found",
          own=True, fs=("ext4", "xfs", "btrfs"))
def _(t):
    fill(t)
    t.protect()
    t.volume.unmount()
    wait_for("the volume to be seen as away", lambda: "away" in str(t.m.json("status")))
    contains(t.m.daemon_log(), "is not mounted: what the last revision has of it is kept")
    t.m.ctl("--json", "run", "home", "--wait")
    check("deleted" not in t.m.ctl("explain", t.path("plain/f")).out, t.m.ctl("explain", t.path("plain/f")).out)
    out = t.m.path("kept")
    t.m.ctl("restore", t.src, "--to", out).expect(0)
    equal(t.m.read("kept/scope/plain/f"), b"first\n")
    t.volume.mount()
    t.write("plain/f", b"changed when it was back")
    wait_for("it to be seen again", lambda: "is back, and is compared" in t.m.daemon_log())
    t.live()
    t.run()
    t.same()


@scenario(36, "unmounted, changed and mounted again quickly: the change is found", own=True, fs=("ext4", "xfs"))
def _(t):
    fill(t)
    t.protect()
    t.volume.unmount()
    t.volume.mount()
    t.write("plain/g", b"made right after the mount")
    wait_for("the new watch", lambda: t.status()["tracking"] == "live" and any("plain" in p for p in t.queue()))
    t.run()
    t.same()
    t.write("plain/g", b"and later")
    t.backed_up("plain/g")


@scenario(37, "remounted read-only and back: still live", fs=("ext4", "xfs", "btrfs"), watch=("fanotify",))
def _(t):
    import subprocess

    for mode in ("ro", "rw"):
        subprocess.run(["mount", "-o", f"remount,{mode}", t.volume.place], check=True)
    t.live(("live",))
    t.write("plain/f", b"after the remount")
    t.backed_up("plain/f")


@scenario(39, "unmounted lazily while a writer goes on: found when it is mounted again", own=True, fs=("ext4",))
def _(t):
    fill(t)
    t.protect()
    with open(t.path("plain/f"), "ab") as f:
        t.volume.unmount(t.volume.place, "-l")
        f.write(b"written after the lazy unmount")
    t.volume.mount()
    t.live()
    t.run()
    t.same()


@scenario(40, "a nested subvolume, and a snapshot beside the set", fs=("btrfs",), watch=("fanotify", "inotify"), own=True)
def _(t):
    from volumes import call

    fill(t)
    call("btrfs", "-q", "subvolume", "create", t.path("nested"))
    t.write("nested/f", b"in the subvolume")
    t.protect()
    t.write("nested/f", b"changed in the subvolume")
    t.backed_up("nested/f")
    call("btrfs", "-q", "subvolume", "snapshot", t.volume.place, os.path.join(t.volume.place, "snapshot"))
    with open(os.path.join(t.volume.place, "snapshot/scope/plain/f"), "w") as f:
        f.write("in the snapshot only")
    t.run()
    t.read_only(0)
    t.same()


@scenario(38, "another file system mounted in the place: taken for what it is, and the first one is known again", own=True, fs=("ext4", "xfs"))
def _(t):
    import shutil

    from volumes import call

    fill(t)
    t.protect()
    t.write("plain/f", b"waits while the disk is away")
    t.waits("plain/f")
    t.volume.unmount()
    first, t.volume.image = t.volume.image, t.volume.image + "-other"
    shutil.copy(first, t.volume.image)
    if t.kind == "ext4":
        call("mkfs.ext4", "-q", "-F", t.volume.image)
    else:
        call("mkfs.xfs", "-q", "-f", t.volume.image)
    t.volume.mount()
    t.write("plain/f", b"on the other disk")
    t.write("only/here", b"on the other disk")
    wait_for("the other one to be watched", lambda: t.status()["tracking"] == "live" and "absent" not in str(t.status()))
    t.run()
    t.same()
    t.write("plain/f", b"changed on the other disk")
    t.backed_up("plain/f")
    t.volume.unmount()
    t.volume.image = first
    t.volume.mount()
    t.live()
    t.run()
    t.same()
    t.write("plain/f", b"and on the first again")
    t.backed_up("plain/f")


@scenario(79, "an older image of the disk put back in its place: all that differs is found", own=True, fs=("ext4", "xfs", "btrfs"))
def _(t):
    import shutil

    fill(t)
    for i in range(30):
        t.write(f"d{i % 3}/{i}", b"old %d" % i)
    t.protect()
    t.volume.unmount()
    shutil.copy(t.volume.image, t.volume.image + "-old")
    t.volume.mount()
    t.live()
    for i in range(0, 30, 2):
        t.write(f"d{i % 3}/{i}", b"new %d" % i)
    os.unlink(t.path("d1/7"))
    os.rename(t.path("d2"), t.path("renamed"))
    t.write("later", b"made after the image")
    t.run()
    t.same()
    for is_stopped in (False, True):
        if is_stopped:
            t.m.stop()
        t.volume.unmount()
        os.rename(t.volume.image, t.volume.image + "-new")
        shutil.copy(t.volume.image + "-old", t.volume.image)
        t.volume.mount()
        if is_stopped:
            t.m.start()
        t.live()
        t.run()
        t.same()
        equal(open(t.path("d1/7"), "rb").read(), b"old 7")
        t.write("d0/0", b"changed after it")
        t.backed_up("d0/0")
        os.rename(t.volume.image + "-new", t.volume.image + "-spare")


@scenario(41, "written through an overlay whose upper layer lies in the set", own=True, fs=("ext4", "xfs", "tmpfs"), watch=("fanotify",))
def _(t):
    fill(t)
    t.write("lower/f", b"lower")
    t.write("upper/g", b"upper")
    for name in ("work", "merged"):
        os.mkdir(os.path.join(t.volume.place, name))
    merged = os.path.join(t.volume.place, "merged")
    t.protect()
    layers = f"lowerdir={t.path('lower')},upperdir={t.path('upper')},workdir={t.volume.place}/work"
    t.volume.mount_at(merged, "-t", "overlay", "-o", layers, "overlay")
    t.live()
    with open(merged + "/f", "ab") as f:
        f.write(b" and copied up")
    with open(merged + "/g", "ab") as f:
        f.write(b" and more")
    t.waits("upper/f", "upper/g")
    t.run()
    t.only_changes()
    t.same()
    t.volume.unmount(merged)
    t.run()
    t.same()


@scenario(52, "a write by file handle, as a server for NFS makes it, when no name is remembered", fs=("ext4", "xfs", "btrfs"), watch=("fanotify",))
def _(t):
    import ctypes
    import struct
    import subprocess

    libc = ctypes.CDLL(None, use_errno=True)
    handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0) + bytes(128))
    mount = ctypes.c_int()
    check(libc.name_to_handle_at(-100, os.fsencode(t.path("plain/g")), handle, ctypes.byref(mount), 0) == 0, "no handle")
    subprocess.run(["mount", "-o", "remount", t.volume.place], check=True)  # forgets the names
    top = os.open(t.volume.place, os.O_RDONLY)
    fd = libc.open_by_handle_at(top, handle, os.O_WRONLY)
    os.close(top)
    check(fd >= 0, "the handle cannot be opened", os.strerror(ctypes.get_errno()))
    os.pwrite(fd, b"by handle", 0)
    os.close(fd)
    wait_for("the change to wait", lambda: t.status()["pending"] > 0)  # told by its handle alone: its name is not known yet
    check(t.queue() in ({t.volume.place: "unnamed"}, {t.path("plain/g"): "modified"}), "listed as", t.queue())
    t.run()
    t.only_changes()
    t.same()
