"""File systems of a test's own, on loop devices or in memory. Root only; everything is unmounted and removed at the end."""
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from promises import skip  # noqa: E402

KINDS = ("ext4", "ext4-128", "xfs", "btrfs", "btrfs-sub", "tmpfs", "overlay")
SIZES = {"ext4": 1 << 30, "ext4-128": 1 << 30, "xfs": 1 << 30, "btrfs": 1 << 30, "btrfs-sub": 1 << 30}


def call(*argv):
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Volume:
    def __init__(self, kind):
        if os.geteuid() != 0:
            skip("mounting needs root")
        tool = {"ext4": "mkfs.ext4", "ext4-128": "mkfs.ext4", "xfs": "mkfs.xfs", "btrfs": "mkfs.btrfs", "btrfs-sub": "mkfs.btrfs"}.get(kind)
        if tool and not shutil.which(tool):
            skip(f"{tool} is not installed")
        self.kind = kind
        self.top = tempfile.mkdtemp(prefix=f"backupd-volume-{kind}-")
        self.place = os.path.join(self.top, "mount")
        self.image = os.path.join(self.top, "image")
        os.mkdir(self.place)
        self.mounted = []
        if tool:
            with open(self.image, "wb") as f:
                f.truncate(SIZES[kind])
            flags = {"ext4": ["-q", "-F"], "ext4-128": ["-q", "-F", "-I", "128"], "xfs": ["-q"]}.get(kind, ["-q"])
            call(tool, *flags, self.image)
        try:
            self.mount()
        except RuntimeError as problem:
            self.close()
            skip(f"this machine cannot mount {kind}: {problem}")

    def mount(self, *options):
        if self.kind == "tmpfs":
            call("mount", "-t", "tmpfs", "-o", ",".join(("size=2g",) + options), "tmpfs", self.place)
        elif self.kind == "overlay":
            for name in ("lower", "upper", "work"):
                os.makedirs(os.path.join(self.top, name), exist_ok=True)
            layers = ",".join(f"{key}={self.top}/{name}" for key, name in (("lowerdir", "lower"), ("upperdir", "upper"), ("workdir", "work")))
            call("mount", "-t", "overlay", "-o", ",".join((layers,) + options), "overlay", self.place)
        elif self.kind == "btrfs-sub":
            call("mount", "-o", "loop", self.image, self.place)
            if not os.path.isdir(os.path.join(self.place, "vol")):
                call("btrfs", "-q", "subvolume", "create", os.path.join(self.place, "vol"))
            call("umount", self.place)
            call("mount", "-o", ",".join(("loop", "subvol=vol") + options), self.image, self.place)
        else:
            call("mount", "-o", ",".join(("loop",) + options), self.image, self.place)
        self.mounted.append(self.place)

    def mount_at(self, place, *what):
        call("mount", *what, place)
        self.mounted.append(place)

    def unmount(self, place=None, *flags):
        place = place or self.place
        # A scan under way has directories open: only for a moment.
        end = time.monotonic() + 20
        while True:
            try:
                call("umount", *flags, place)
                break
            except RuntimeError as problem:
                if "busy" not in str(problem) or time.monotonic() > end:
                    raise
                time.sleep(0.05)
        self.mounted.remove(place)

    def close(self):
        for place in reversed(self.mounted):
            subprocess.run(["umount", "-l", place], capture_output=True)
        self.mounted = []
        shutil.rmtree(self.top, ignore_errors=True)
