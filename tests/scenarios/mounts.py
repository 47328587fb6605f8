"""Mounts and unmounts: something that is not mounted is missing, never deleted."""
import os

from promises import check, equal, skip, wait_for
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
    t.m.ctl("--json", "run", "home", "--wait")
    out = t.m.path("kept")
    t.m.ctl("restore", t.src, "--to", out).expect(0)
    equal(t.m.read("kept/scope/plain/f"), b"first\n")
    t.volume.mount()
    t.write("plain/f", b"changed when it was back")
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
