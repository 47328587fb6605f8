"""A daemon that tracks one set on a volume of its own, and the questions that scenarios ask it."""
import ctypes
import os
import shutil
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "support"), HERE]
from machine import Machine, tree_diff  # noqa: E402
from promises import check, equal, skip, wait_for  # noqa: E402
from volumes import Volume  # noqa: E402

CONFIG = """[tracking]
watch = [{watch}]
census-period = "{census}"
scrub-period = "{scrub}"
scrub-content-percent = {content}
canary-period = "{canary}"
degraded-scan-period = "{degraded}"
most-watches = {watches}
"""
libc = ctypes.CDLL(None, use_errno=True)


class Tracked:
    def __init__(self, kind, watch, census="1h", scrub="0", canary="0", watches=0, degraded="1h", content=1, environment=None):
        self.volume = Volume(kind)
        self.kind, self.watch = kind, watch
        self.m = Machine("tracked")
        self.m.log_level = "debug"  # with the names that may have been missed
        try:
            names = {"fanotify": '"fanotify"', "inotify": '"inotify"', "scan": '"scan"'}[watch]
            self.m.write("config/backupd.toml", CONFIG.format(watch=names, census=census, scrub=scrub, canary=canary, watches=watches, degraded=degraded, content=content))
            self.m.env.update(environment or {})
            self.m.start()
            self.m.repository(cheap=True)
            self.src = os.path.join(self.volume.place, "scope")
            self.outside = os.path.join(self.volume.place, "outside")
            os.mkdir(self.src)
            os.mkdir(self.outside)
        except BaseException:
            self.close()
            raise

    def protect(self):
        """The set, and its first revision; live when it returns."""
        self.m.set("home", self.src, extra=("--no-automatic", "--guard", "off"))  # scenarios empty what they filled
        self.run()
        self.live()
        status = str(self.m.json("status"))
        if self.watch not in status:
            skip(f"{self.watch} cannot be had here: {status}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        try:
            self.m.close()
        finally:
            self.volume.close()

    # ---- the tree ----
    def path(self, *names):
        return os.path.join(self.src, *names)

    def write(self, name, content=b"content\n"):
        path = self.path(name) if isinstance(name, str) and not name.startswith("/") else name
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(content if isinstance(content, bytes) else content.encode())
        return path

    def fresh(self):
        """What earlier scenarios left goes, so that each begins with the same few files."""
        for name in os.listdir(self.src):
            if name not in ("plain", "a"):
                path = self.path(name)
                shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
        self.write("plain/f", b"first\n")
        self.write("plain/g", b"second\n")
        self.write("plain/big", bytes(range(256)) * 800)
        self.run()

    # ---- the daemon ----
    def status(self):
        status = self.m.json("status", "home", "-v")["sets"][0]
        return {**status, **status["tracking_counts"]}

    def live(self, wanted=("live", "degraded")):
        wait_for("tracking to be live", lambda: self.status()["tracking"] in wanted)

    def queue(self):
        """path -> kind of what waits"""
        listed = self.m.json("queue", "home", "--top", "100000")
        return {e["path"] if "path" in e else e["path_b64"]: e["kind"] for e in listed["entries"]}

    def waits(self, *names, seconds=20):
        """Waits until all these are in the queue: events come a moment after the call."""
        paths = [n if n.startswith("/") else self.path(n) for n in names]

        def there():
            known = self.queue()
            return all(any(p == k or p.startswith(k + "/") for k in known) for p in paths)

        wait_for(f"{paths} to be in the queue", there, seconds=seconds)

    def run(self, *extra, code=0):
        self.result = self.m.backup("home", *extra, code=code)
        return self.result

    @property
    def counts(self):
        return self.result["counts"]

    def only_changes(self):
        """The last run looked at changes only."""
        log = self.m.ctl("log", str(self.result["job"])).expect(0).out
        check("everything is compared" not in log, "the run compared everything:", log)

    def same(self, *revision, ignore=()):
        """What the last revision (or --revision ID) gives back is what lies there, contents and metadata."""
        out = self.m.path("out")
        subprocess_rm(out)
        self.m.ctl("restore", self.src, *revision, "--to", out).expect(0)
        differences = [d for d in tree_diff(self.src, os.path.join(out, "scope")) if not any(i in str(d) for i in ignore)]
        equal(differences, [], "the restored tree differs")
        subprocess_rm(out)

    def backed_up(self, *names, ignore=()):
        """The names reach the queue, a run takes only changes, and the revision equals the tree."""
        if self.watch != "scan":
            self.waits(*names)
        self.run()
        if self.watch != "scan":
            self.only_changes()
        self.same(ignore=ignore)
        return self.counts

    def clean(self):
        def is_empty():
            # Stamps of whole seconds: what was read within its second is read once more.
            if self.kind == "ext4-128":
                self.run()
            return self.queue() == {}

        wait_for("the queue to be empty", is_empty)

    def clean_after_runs(self):
        """What was written a moment ago may be read once more."""

        def is_empty():
            self.run()
            return self.queue() == {}

        wait_for("the queue to be empty", is_empty)

    def read_only(self, count):
        """The last run read so many files, where stamps are fine enough to know which have settled."""
        if self.kind != "ext4-128":
            equal(self.counts["files_read"], count)


def subprocess_rm(path):
    if os.path.lexists(path):
        shutil.rmtree(path, ignore_errors=True)
