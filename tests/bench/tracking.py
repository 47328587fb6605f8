#!/usr/bin/env python3
"""What changes cost, and what watching costs: measured on file systems of our own, beside restic and bare programs.

    ./check bench-tracking                       everything (an hour or so; root, 40 GB)
    ./check bench-tracking --keep DIR            trees and repositories stay in DIR, and are used again
    ./check bench-tracking --keep DIR --only ten,memory

ten      10 files changed among 150,000 and among 1,500,000, beside `restic backup` of the same changes
percent  1 % of the files changed, beside restic
latency  from a write to the revision in the repository, with no settle time
unpack   unpacking 80,000 files while backupd watches, beside a bare program that drains the same fanotify mark
memory   resident memory of the idle daemon, 1,500,000 files in 60,000 directories
start    comparing after a clean stop, beside a bare walk of two threads
marks    a million changes waiting: stop, start, loaded, and a run that takes them
strace   system calls of the idle daemon in a minute, with its timers and without; of a run with ten changes

The watched trees lie on an ext4 file system of their own (a loop device), so that nobody else's files are in the figures;
repositories and the daemon's state lie beside it. Times are from the start of the command to its end; both tools sync what they
store themselves. Every round changes files once and then runs both tools, in alternating order. Figures are medians.
"""
import argparse
import collections
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "support")]
import promises  # noqa: E402
from compare import MIB, Restic  # noqa: E402
from machine import Machine, tree_diff  # noqa: E402
from promises import check, wait_for  # noqa: E402

PARTS = ("ten", "percent", "latency", "memory", "start", "marks", "strace", "unpack")
TRACKING = '[tracking]\nwatch = ["fanotify"]\n'
NO_TIMERS = TRACKING + 'census-period = "0"\nscrub-period = "0"\ncanary-period = "0"\n'
failures, lines = [], []


def tell(text):
    print(text, flush=True)


def target(what, value, wanted, reached):
    line = f"{what}: {value}   [to reach: {wanted}{'' if reached else ' - NOT REACHED'}]"
    lines.append(line)
    if not reached:
        failures.append(what)
    tell("  ==> " + line)


def call(*argv, **how):
    done = subprocess.run(argv, capture_output=True, text=True, **how)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def spread(values, unit="ms", scale=1000):
    values = [v * scale for v in values]
    return f"median {statistics.median(values):.1f} {unit} ({min(values):.1f} to {max(values):.1f}, {len(values)} rounds)"


class Place:
    """The directory with everything in it: a file system with the trees, tar files, machines and repositories."""

    def __init__(self, keep, bare, sizes):
        self.is_kept, self.bare, self.sizes = keep is not None, bare, sizes
        self.top = keep or tempfile.mkdtemp(prefix="backupd-tracking-")
        os.makedirs(self.top, exist_ok=True)
        self.disk = self.path("disk")
        self.machines = {}
        os.makedirs(self.disk, exist_ok=True)
        if not os.path.ismount(self.disk):
            if not os.path.exists(self.path("disk.img")):
                with open(self.path("disk.new"), "wb") as f:
                    f.truncate(20 << 30)
                flags = ["-N", "2500000", "-E", "lazy_itable_init=0,lazy_journal_init=0"]
                call("mkfs.ext4", "-q", "-F", *flags, self.path("disk.new"))
                os.rename(self.path("disk.new"), self.path("disk.img"))
            # Not through the cache of the file below: the trees would be in memory twice.
            self.loop = call("losetup", "--find", "--show", "--direct-io=on", self.path("disk.img")).strip()
            call("mount", self.loop, self.disk)
        else:
            self.loop = call("findmnt", "-no", "SOURCE", self.disk).strip()

    def path(self, *names):
        return os.path.join(self.top, *names)

    def tree(self, name):
        """The tree, made once."""
        tree, files = os.path.join(self.disk, name), self.sizes[name]
        if not os.path.exists(tree):
            begin = time.monotonic()
            subprocess.run(["rm", "-rf", tree + ".new"], check=True)
            call(self.bare, "tree", tree + ".new", str(files), str(files // 25))
            os.rename(tree + ".new", tree)
            os.sync()
            tell(f"made {files:,} files in {files // 25:,} directories in {time.monotonic() - begin:.0f} s")
        return tree

    def machine(self, name, source, extra=("--no-automatic", "--guard", "off"), config=TRACKING):
        """A running daemon with a repository and a set of this name, live. One daemon at a time, but for its bus."""
        for other in self.machines.values():
            if other.name != name:
                other.stop()
        m = self.machines.get(name)
        if m is None:
            m = self.machines[name] = Machine("bench", directory=self.path("machine-" + name))
            m.name = name
            if os.path.exists(m.path("bus")):
                os.unlink(m.path("bus"))
        path = m.path("config/backupd.toml")
        text = m.read("config/backupd.toml").decode() if os.path.exists(path) else ""
        section = re.compile(r"\[tracking\]\n(\S+ = .*\n)+")
        if section.findall(text) == [] or section.search(text).group(0) != config:
            m.stop()
            m.write("config/backupd.toml", section.sub("", text) + config)
        if m.daemon is None or m.daemon.poll() is not None:
            m.start()
        sets = [s["id"] for s in m.json("set", "list")["sets"]]
        if name not in sets:
            m.repository()
            m.set(name, source, extra=extra)
        if not m.revisions(name):
            begin = time.monotonic()
            backup(m, name)
            tell(f"first revision of {name} by backupd: {time.monotonic() - begin:.1f} s")
        live(m, name)
        check("fanotify" in str(m.json("status")), "fanotify cannot be had here")
        return m

    def restic(self, name, source):
        place = self.path("restic-" + name)
        tool = Restic.__new__(Restic)
        tool.repo = place + "/restic/repo"
        tool.env = dict(os.environ, RESTIC_REPOSITORY=tool.repo, RESTIC_PASSWORD="secret", RESTIC_PROGRESS_FPS="0.001",
                        RESTIC_CACHE_DIR=place + "/restic/cache")
        if not os.path.exists(place):
            os.makedirs(place + ".new")
            begin = time.monotonic()
            first = Restic(place + ".new")
            first.first(source)
            os.rename(place + ".new", place)
            tell(f"first snapshot of {name} by restic: {time.monotonic() - begin:.1f} s")
        return tool

    def close(self):
        for m in self.machines.values():
            promises.options.keep = self.is_kept
            m.close()
        subprocess.run(["umount", self.disk], check=True)
        subprocess.run(["losetup", "--detach", self.loop], stderr=subprocess.DEVNULL)
        if not self.is_kept:
            subprocess.run(["rm", "-rf", self.top])


def backup(m, name):
    return m.ctl("--json", "run", name, "--wait", timeout=3600).expect(0).result


def live(m, name, seconds=1200):
    def state():
        status = m.json("status", name, "-v")["sets"][0]
        return {**status, **status["tracking_counts"]}

    wait_for("tracking to be live", lambda: state()["tracking"] == "live", seconds=seconds, every=0.2)
    return state()


def file_of(tree, number):
    directory = number // 25
    return f"{tree}/d{directory // 40}/d{directory % 40}/file-{number}"


def change(tree, files, count, rnd):
    chosen = rnd.sample(range(files), count)
    for number in chosen:
        with open(file_of(tree, number), "r+b") as f:
            f.seek(rnd.randrange(150))
            f.write(b"%016x" % rnd.getrandbits(64))
    return chosen


def timed(argv, env):
    """Seconds from start to end, peak memory in bytes, output."""
    with tempfile.TemporaryFile() as out:
        begin = time.monotonic()
        p = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(p.pid, 0)
        seconds = time.monotonic() - begin
        p.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        said = out.read().decode("utf-8", "replace")
    if p.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)} ended with {p.returncode}:\n{said[-3000:]}")
    return seconds, usage.ru_maxrss * 1024, said


def beside_restic(place, a, name, count):
    """Rounds of `count` changes; medians of backupd and of restic."""
    tree, files = place.tree(name), place.sizes[name]
    restic = place.restic(name, tree)
    m = place.machine(name, tree)
    rnd = random.Random(time.time())
    ours, theirs, memory, their_memory = [], [], [], []

    def backupd():
        with open(f"/proc/{m.daemon.pid}/clear_refs", "w") as f:
            f.write("5")
        seconds, _, said = timed([m.backupctl, "--user", "--json", "run", name, "--wait"], m.env)
        memory.append(m.peak_memory())
        ours.append(seconds)
        last = said.splitlines()[-1]
        check(f'"files_changed":{count}' in last.replace(" ", ""), f"not {count} changed files:", last)

    def other():
        seconds, peak, _ = timed(["restic", "backup", "-q", tree], restic.env)
        theirs.append(seconds)
        their_memory.append(peak)

    backup(m, name)  # what earlier parts left
    for round_number in range(a.runs):
        change(tree, files, count, rnd)
        os.sync()
        time.sleep(1)
        for step in (backupd, other) if round_number % 2 == 0 else (other, backupd):
            step()
        tell(f"  {count} of {files:,}: backupd {ours[-1] * 1000:.1f} ms, restic {theirs[-1]:.2f} s")
    our, their = statistics.median(ours), statistics.median(theirs)
    tell(f"  backupd {spread(ours)}, peak {statistics.median(memory) / MIB:.0f} MiB;"
         f" restic {spread(theirs)}, peak {statistics.median(their_memory) / MIB:.0f} MiB")
    return our, their


def ten(place, a):
    took = {}
    for name, wanted in (("small", 100), ("big", 1000)):
        our, their = took[name] = beside_restic(place, a, name, 10)
        target(f"10 changes among {place.sizes[name]:,} files, as fast as restic", f"{their / our:.0f}x", f"{wanted}x", their / our >= wanted)
    ratio = took["big"][0] / took["small"][0]
    target(f"10 changes among {place.sizes['big']:,} beside {place.sizes['small']:,}, time", f"{ratio:.2f}x", "at most 2x", ratio <= 2)


def percent(place, a):
    for name in ("small", "big"):
        our, their = beside_restic(place, a, name, place.sizes[name] // 100)
        target(f"1 % of {place.sizes[name]:,} files changed, as fast as restic", f"{their / our:.1f}x", "15x", their / our >= 15)


def latency(place, a):
    for name in ("small", "big"):
        tree = place.tree(name)
        m = place.machine(name, tree)
        backup(m, name)
        m.ctl("set", "edit", name, "--automatic", "--settle", "0", "--min-interval", "0").expect(0)
        live(m, name)
        took, rnd = [], random.Random(time.time())
        try:
            for _ in range(a.runs * 5):
                time.sleep(1.5 + rnd.random())
                victim = file_of(tree, rnd.randrange(place.sizes[name]))
                took.append(float(call(place.bare, "latency", victim, m.path("repo/snapshots"))) / 1000)
        finally:
            m.ctl("set", "edit", name, "--no-automatic").expect(0)
        tell(f"  write to revision among {place.sizes[name]:,}: {spread(took)}")
        median = statistics.median(took) * 1000
        target(f"from the event to the revision, {place.sizes[name]:,} files", f"{median:.1f} ms", "100 ms", median < 100)


def memory(place, a):
    tree = place.tree("big")
    m = place.machine("big", tree)

    def resident():
        time.sleep(a.rest)
        with open(f"/proc/{m.daemon.pid}/smaps_rollup") as f:
            sizes = {k: int(v.split()[0]) / 1024 for k, v in (line.split(":", 1) for line in f if " kB" in line)}
        return sizes["Rss"], f"{sizes['Rss']:.1f} MiB resident, {sizes['Anonymous']:.1f} of it its own"

    m.restart()
    live(m, "big")
    started, said = resident()
    tell(f"  after the start and its comparison: {said}")
    change(tree, place.sizes["big"], 10, random.Random(time.time()))
    backup(m, "big")
    ran, said = resident()
    tell(f"  after a run with ten changes: {said}")
    with open(f"/proc/{m.daemon.pid}/status") as f:
        tell("  " + " ".join(line.strip() for line in f if line.startswith(("VmHWM", "RssAnon", "RssFile"))))
    most = max(started, ran)
    target(f"resident memory, idle, {place.sizes['big']:,} files in {place.sizes['big'] // 25:,} directories", f"{most:.1f} MiB", "64 MiB", most < 64)


def start(place, a):
    tree = place.tree("big")
    m = place.machine("big", tree)
    backup(m, "big")
    bare, ours = [], []

    def walk():
        ms, objects, cpu = call(place.bare, "walk", tree, "2").split()
        return float(ms) / 1000, int(objects), float(cpu)

    walk()
    for _ in range(a.runs):
        seconds, objects, cpu = walk()
        bare.append(seconds)
        m.stop()
        begin = time.monotonic()
        m.start()
        ready = time.monotonic() - begin
        state = live(m, "big")
        ours.append(time.monotonic() - begin)
        tell(f"  bare walk of {objects:,} objects {bare[-1]:.2f} s ({cpu:.1f} s of CPU); ready after {ready:.2f} s,"
             f" live after {ours[-1]:.2f} s ({m.cpu_seconds():.1f} s of CPU), pending {state['pending']}")
    tell(f"  bare walk {spread(bare)}; start to live {spread(ours)}")
    ratio = statistics.median(ours) / statistics.median(bare)
    target(f"start and comparison of {place.sizes['big']:,} files beside a bare walk", f"{ratio:.2f}x", "at most 2x", ratio <= 2)


def marks(place, a):
    tree, files = place.tree("big"), place.sizes["big"]
    m = place.machine("big", tree)
    backup(m, "big")
    mode = os.stat(file_of(tree, 0)).st_mode & 0o777 ^ 0o040
    begin = time.monotonic()
    count = files * 2 // 3
    for number in range(count):
        os.chmod(file_of(tree, number), mode)
    tell(f"  changed the mode of {count:,} files in {time.monotonic() - begin:.1f} s")
    wait_for("the marks", lambda: live(m, "big")["pending"] > 0)
    time.sleep(5)
    tell(f"  {live(m, 'big')['pending']:,} wait; the daemon's peak memory {m.peak_memory() / MIB:.0f} MiB")
    begin = time.monotonic()
    m.stop()
    stopped = time.monotonic() - begin
    begin = time.monotonic()
    m.start()
    ready = time.monotonic() - begin
    state = wait_for("the marks to be there again", lambda: m.json("status", "big")["sets"][0]["pending"], seconds=600, every=0.05)
    loaded = time.monotonic() - begin
    tell(f"  stopped in {stopped:.2f} s, ready after {ready:.2f} s, {state:,} known after {loaded:.2f} s")
    target(f"marks of {count:,} files loaded", f"{loaded:.2f} s", "3 s", loaded < 3)
    live(m, "big")
    begin = time.monotonic()
    result = backup(m, "big")
    tell(f"  a run that takes them: {time.monotonic() - begin:.1f} s, {result['counts']['files_changed']:,} files changed")


# ---- system calls ----------------------------------------------------------------------------------
CALL = re.compile(r"^(?:\d+ +)?(\w+)\((.*)")
OF_FILES = re.compile(r"^(open|stat|lstat|newfstatat|statx|getdents|readlink|name_to_handle|access|faccess|unlink|rename|mkdir|rmdir|"
                      r"utime|chmod|chown|link|symlink|getxattr|lgetxattr|listxattr|llistxattr|flistxattr|fgetxattr|fstat|truncate|ftruncate|"
                      r"fsync|fdatasync|sync|fallocate|lseek|pread|pwrite|preadv|statfs|fstatfs|mmap)")


def traced(m, seconds=None, step=None):
    """System calls of the daemon while `step` runs or for so many seconds: (name, path or "") of each; strace's own table."""
    out = m.path("strace.out")
    p = subprocess.Popen(["strace", "-f", "-y", "-C", "-s", "4096", "-o", out, "-p", str(m.daemon.pid)], stderr=subprocess.PIPE, text=True)
    wait_for("strace to attach", lambda: os.path.exists(f"/proc/{m.daemon.pid}/status")
             and f"TracerPid:\t{p.pid}" in open(f"/proc/{m.daemon.pid}/status").read())
    time.sleep(1)
    if step:
        step()
    if seconds:
        time.sleep(seconds)
    p.send_signal(signal.SIGINT)
    p.communicate()
    with open(out, errors="surrogateescape") as f:
        text = f.read()
    calls, unfinished = [], {}
    for line in text.splitlines():
        pid = line.split(" ", 1)[0]
        if line.endswith("<unfinished ...>"):
            unfinished[pid] = line[: -len("<unfinished ...>")]
            continue
        if " resumed>" in line:  # the call began while another thread's was printed
            line = unfinished.pop(pid, "") + line.split(" resumed>", 1)[1]
        found = CALL.match(line)
        if found:
            name, rest = found.groups()
            moves_bytes = name in ("read", "write", "pread64", "pwrite64")  # the text is no path
            at = None if moves_bytes else re.search(r'^(?:AT_FDCWD|\d+)<([^<>]*)>, "([^"]*)"', rest)
            first = [os.path.join(*at.groups())] if at else []
            paths = first + [p[0] or p[1] for p in re.findall(r'\d<([^<>]*)>|"([^"]*)"', rest[at.end() if at else 0:])]
            calls.append((name, rest, paths))
    table = text[text.rindex("% time"):] if "% time" in text else ""
    return calls, table


def is_of_files(name, paths):
    """Touches a file system: named so, or reads and writes a descriptor that has a path."""
    on_file = bool(paths) and paths[0].startswith("/")
    if name in ("mmap", "fstat", "lseek"):
        return on_file
    return bool(OF_FILES.match(name)) or (name in ("read", "write", "readv", "writev", "close", "fcntl", "ioctl") and on_file)


def strace(place, a):
    tree = place.tree("big")
    files = place.sizes["big"]
    for config, what in ((NO_TIMERS, "timers off"), (TRACKING, "timers on (census each minute, canary, scrubber)")):
        m = place.machine("big", tree, config=config)
        backup(m, "big")
        time.sleep(a.rest)
        # Longer than a minute with timers, so that a census is in it for certain.
        calls, table = traced(m, seconds=60 if config == NO_TIMERS else 75)
        tell(f"  idle for a minute, {files:,} files watched, {what}:")
        tell("    " + (table.strip() or "no system call at all").replace("\n", "\n    "))
        touching = [(name, paths) for name, _, paths in calls if is_of_files(name, paths)]
        where = collections.Counter()
        for name, paths in touching:
            path = next((p for p in paths if p.startswith("/")), paths[0] if paths else "")
            root = ("the set's own path (census)" if tree.startswith(path.rstrip("/")) and len(path) > 1
                    else "the watched tree" if path.startswith(place.disk)
                    else "/proc (census)" if path.startswith(("/proc", "/sys")) else path)
            where[f"{name} {root}"] += 1
        mounts = sum(name == "openat" and "mountinfo" in rest for name, rest, _ in calls)
        if mounts:
            tell(f"    somebody mounted or unmounted meanwhile: {mounts} looks at the mount table, and at the place of the watched tree")
        tell("    of file systems: " + (", ".join(f"{n} {k}" for k, n in where.most_common(30)) or "none"))
        if config == NO_TIMERS:
            target("file system calls of the idle daemon in a minute, timers off", len(touching), "0", not touching)
        else:
            check(any("/proc" in k for k in where), "there was no census")
            # The scrubber begins an hour after the start, the canary is touched every ten minutes.
            # A census looks whether the set's path is still the directory that is watched, too.
            others = [f"{n} {k}" for k, n in where.items() if "(census)" not in k]
            target("file system calls of the idle daemon in a minute, timers on, beyond the census", ", ".join(others) or "none",
                   "none, a canary's few within ten minutes", not others or all("canary" in k for k in others))

    m = place.machine("big", tree)
    backup(m, "big")
    chosen = change(tree, files, 10, random.Random(time.time()))
    time.sleep(2)
    calls, table = traced(m, step=lambda: backup(m, "big"))
    tell("  a run with ten changes:")
    tell("    " + table.strip().replace("\n", "\n    "))
    opened, listed, looked = collections.Counter(), collections.Counter(), collections.Counter()
    directories = {os.path.dirname(file_of(tree, n)) for n in chosen}
    above = {"/".join(d.split("/")[:i]) for d in directories for i in range(1, len(d.split("/")) + 1)}
    for name, rest, paths in calls:
        here = [p for p in paths if p.startswith(tree)]
        result = re.search(r"= \d+<([^<>]*)>\s*$", rest)
        if name.startswith("open") and result and result.group(1).startswith(tree) and "O_PATH" not in rest:
            opened[result.group(1)] += 1
        elif name.startswith("getdents") and here:
            listed[here[0]] += 1
        elif here and is_of_files(name, paths):
            looked[name] += 1
    opened_files = {p for p in opened if os.path.isfile(p)}
    opened_directories = set(opened) - opened_files
    tell(f"    opened {len(opened_files)} files and {len(opened_directories)} directories, listed {len(listed)}; besides in the tree: "
         + ", ".join(f"{n} {k}" for k, n in looked.most_common()))
    target("files opened by a run with ten changes", len(opened_files), "the ten", opened_files == {file_of(tree, n) for n in chosen})
    target("directories listed by it", len(listed), f"none beyond the {len(directories)} touched", set(listed) <= directories)
    target("directories opened by it", len(opened_directories), f"those and the ones above ({len(above)})", opened_directories <= above)


def unpack(place, a):
    files = place.sizes["kernel"]
    tar, scope = place.path("kernel.tar"), os.path.join(place.disk, "unpack")
    if not os.path.exists(tar):
        source = place.path("kernel")
        subprocess.run(["rm", "-rf", source], check=True)
        call(place.bare, "kernel", source, str(files))
        call("tar", "-cf", tar + ".new", "-C", source, ".")
        os.rename(tar + ".new", tar)
        subprocess.run(["rm", "-rf", source], check=True)
    os.makedirs(scope, exist_ok=True)
    target_directory = os.path.join(scope, "kernel")

    def once():
        subprocess.run(["rm", "-rf", target_directory], check=True)
        os.mkdir(target_directory)
        os.sync()
        time.sleep(1)
        with open(tar, "rb") as f:
            while f.read(8 * MIB):
                pass
        begin = time.monotonic()
        call("tar", "-xf", tar, "-C", target_directory)
        return time.monotonic() - begin

    took = collections.defaultdict(list)
    m = place.machine("unpack", scope)
    for round_number in range(a.runs):
        for kind in ("unwatched", "drained", "watched") if round_number % 2 == 0 else ("watched", "drained", "unwatched"):
            said = ""
            if kind == "watched":
                m = place.machine("unpack", scope)
                backup(m, "unpack")
                cpu = m.cpu_seconds()
                took[kind].append(once())
                used = m.cpu_seconds() - cpu
                state = live(m, "unpack")
                result = backup(m, "unpack")
                check("everything is compared" not in m.ctl("log", str(result["job"])).expect(0).out, "the run compared everything")
                read = result["counts"]["files_new"] + result["counts"]["files_changed"]  # changed: there in an earlier call
                check(read == files, f"not {files} files:", result["counts"])
                said = f"; {used:.2f} s of CPU, {read} files in the queue, rescans {state.get('rescans')}"
            else:
                m.stop()
                drainer = None
                if kind == "drained":
                    drainer = subprocess.Popen([place.bare, "drain", scope], stdout=subprocess.PIPE, text=True)
                    check(drainer.stdout.readline() == "ready\n", "the draining program does not start")
                took[kind].append(once())
                if drainer:
                    drainer.terminate()
                    said = "; " + drainer.communicate()[0].strip()
            tell(f"  {kind:10} {took[kind][-1]:.2f} s{said}")
    m = place.machine("unpack", scope)
    backup(m, "unpack")
    out = place.path("unpacked")
    subprocess.run(["rm", "-rf", out], check=True)
    m.ctl("restore", scope, "--to", out, timeout=3600).expect(0)
    differences = tree_diff(scope, os.path.join(out, "unpack"))
    subprocess.run(["rm", "-rf", out], check=True)
    for kind, values in took.items():
        tell(f"  {kind}: {spread(values, 's', 1)}")
    ratio = statistics.median(took["watched"]) / statistics.median(took["drained"])
    target(f"unpacking {files:,} files while watched, beside draining the same mark", f"{ratio:.3f}x", "at most 1.10x", ratio <= 1.10)
    target("differences between the unpacked tree and its revision", len(differences), "0", not differences)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build-release")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between them")
    parser.add_argument("--runs", type=int, default=5, help="rounds of each measure")
    parser.add_argument("--keep", help="a directory for trees and repositories, used again by the next call")
    parser.add_argument("--rest", type=float, default=60, help="seconds after a run before the daemon counts as idle: it tidies up 30 s after one")
    parser.add_argument("--files", type=int, default=1_500_000)
    parser.add_argument("--small", type=int, default=150_000)
    a = parser.parse_args()
    if os.geteuid() != 0:
        print("fanotify and a file system of its own need root")
        return 77
    if not shutil.which("restic"):
        print("restic is not installed")
        return 77
    build = os.path.abspath(a.build)
    vars(promises.options).update(build=build, keep=True)
    place = Place(a.keep and os.path.abspath(a.keep), os.path.join(build, "tests/bench/bare_programs"),
                  {"big": a.files, "small": a.small, "kernel": 80_000})
    try:
        for part in a.only.split(","):
            tell(f"{part}:")
            globals()[part](place, a)
    finally:
        place.close()
    tell("\n" + "\n".join(lines))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
