#!/usr/bin/env python3
"""What a restore replaces or removes is kept first, and `undo` gives it back; what is in use or changed is left alone."""
import contextlib
import json
import os
import pty
import shutil
import stat
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import cheap_repository  # noqa: E402
from machine import ready  # noqa: E402
from promises import check, contains, equal, main, promise, skip, wait_for  # noqa: E402

SUPPORT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support")
NASTY, TREE_DIFF = os.path.join(SUPPORT, "nasty_tree.py"), os.path.join(SUPPORT, "tree_diff.py")
UNHELD = ["--exclude", "links/fifo", "--exclude", "links/fifo2"]  # names of one fifo come back as two
SMALL_FS = os.path.join(SUPPORT, "small_fs.sh")
THEN = 1_600_000_000_000_000_001


def fixture():
    m = ready("undo")
    m.write_tree("src", {"same": "same\n", "differs": "from the backup\n", "sub/missing": "gone\n", "sub/x": "x\n", "type": "a file\n"})
    os.symlink("same", m.path("src/link"))
    os.utime(m.path("src/differs"), ns=(1, THEN))
    m.set("home", m.path("src"), extra=["--no-automatic", "--exclude", "*.cache"])
    m.backup()
    shutil.copytree(m.path("src"), m.path("reference"), symlinks=True)
    shutil.copystat(m.path("src"), m.path("reference"))
    return m


def arrange(m):
    """The source as a person left it since."""
    shutil.rmtree(m.path("src"))
    shutil.copytree(m.path("reference"), m.path("src"), symlinks=True)
    m.write("src/differs", "edited since\n", mode=0o600)
    os.setxattr(m.path("src/differs"), "user.mine", b"kept")
    os.utime(m.path("src/differs"), ns=(7, 1_700_000_000_000_000_007))
    os.unlink(m.path("src/sub/missing"))
    m.write_tree("src", {"new": "not in the backup\n", "more/deep/er": "nor this\n", "a.cache": "never backed up\n", "more/b.cache": "nor this\n"})
    os.unlink(m.path("src/type"))
    m.write_tree("src/type", {"inside": "a directory now\n"})
    os.chmod(m.path("src/sub"), 0o711)
    for base, dirs, _ in os.walk(m.path("src"), topdown=False):
        os.utime(base, ns=(5, 1_650_000_000_000_000_000 + len(base)))
    os.utime(m.path("src/same"), ns=(1, os.stat(m.path("reference/same")).st_mtime_ns))
    return picture(m.path("src"))


def arrange_anew(m):
    os.makedirs(m.path("src"), exist_ok=True)
    arrange(m)


def picture(root):
    """Bytes and metadata of everything below, and of the directory itself."""
    found = {}
    for base, dirs, names in os.walk(root):
        for path in [base] + [os.path.join(base, n) for n in names + dirs]:
            st = os.lstat(path)
            content = os.readlink(path) if os.path.islink(path) else open(path, "rb").read() if os.path.isfile(path) else None
            attributes = {} if os.path.islink(path) else {n: os.getxattr(path, n) for n in os.listxattr(path)}
            found[os.path.relpath(path, root)] = (st.st_mode, st.st_uid, st.st_gid, st.st_mtime_ns, content, attributes)
    return found


def compare(now, before):
    for path in sorted(set(now) | set(before)):
        equal((path, now.get(path)), (path, before.get(path)))


def restore(m, *args, code=0):
    return m.ctl("--json", "restore", m.path("src"), "--yes", *args).expect(code).result


def pre_restore(m):
    return [r for r in m.json("revisions", "home", "--all")["revisions"] if r["trigger"] == "pre-restore"]


@promise("undo gives back bytes and metadata of what was replaced, and removes what was created")
def _(m):
    before = arrange(m)
    result = restore(m, "--on-conflict", "replace", code=3)  # a directory with entries does not give way
    equal(m.read("src/differs"), b"from the backup\n")
    equal(m.read("src/sub/missing"), b"gone\n")
    undone = m.ctl("--json", "undo", str(result["job"]), "--yes").expect(0).result
    compare(picture(m.path("src")), before)
    # And an undo can be taken back as well.
    m.ctl("undo", str(undone["job"]), "--yes").expect(0)
    equal((m.read("src/differs"), m.read("src/sub/missing")), (b"from the backup\n", b"gone\n"))


@promise("--delete makes it exactly as it was, but for what is not backed up; undo gives all of it back")
def _(m):
    before = arrange(m)
    plan = m.ctl("--json", "restore", m.path("src"), "--dry-run", "--on-conflict", "replace", "--delete").expect(0)
    compare(picture(m.path("src")), before)
    result = restore(m, "--on-conflict", "replace", "--delete")
    for word in ("created", "replaced", "deleted", "spared", "unchanged", "files", "bytes_created", "bytes_replaced", "bytes_deleted"):
        equal((word, result["counts"][word]), (word, plan.result["counts"][word]))
    equal(sorted(os.listdir(m.path("src"))), ["a.cache", "differs", "link", "more", "same", "sub", "type"])
    equal(os.listdir(m.path("src/more")), ["b.cache"])
    equal(m.read("src/type"), b"a file\n")
    for name in ("", "sub"):
        equal((name, os.stat(m.path("src", name)).st_mtime_ns), (name, os.stat(m.path("reference", name)).st_mtime_ns))
    steps = {(s["action"], os.path.relpath(s["path"], m.path("src"))) for s in plan.lines if s["type"] == "plan"}
    check({("replace", "differs"), ("create", "sub/missing"), ("delete", "new"), ("delete", "more/deep/er")} <= steps, steps)
    check(not any(path.endswith(".cache") for _, path in steps), steps)
    m.ctl("undo", str(result["job"]), "--yes").expect(0)
    compare(picture(m.path("src")), before)


@promise("--delete asks; without a terminal it wants --yes: exit code 7, and nothing is changed")
def _(m):
    before = arrange(m)
    m.ctl("restore", m.path("src"), "--on-conflict", "skip", "--delete").expect(7, "--yes")
    compare(picture(m.path("src")), before)
    m.ctl("undo", "1").expect(7, "--yes")


@promise("--delete removes only below the requested path")
def _(m):
    arrange(m)
    m.write("src/sub/extra", "extra\n")
    m.ctl("restore", m.path("src/sub"), "--on-conflict", "replace", "--delete", "--yes").expect(0)
    check(not os.path.exists(m.path("src/sub/extra")))
    check(os.path.exists(m.path("src/new")) and os.path.exists(m.path("src/more/deep/er")))


@promise("what was kept holds only what the restore touched, and stands in no set's line")
def _(m):
    arrange(m)
    latest = m.revisions()[0]
    known = {r["id"] for r in pre_restore(m)}
    job = restore(m, "--on-conflict", "replace", code=3)["job"]
    kept = [r for r in pre_restore(m) if r["id"] not in known]
    equal(len(kept), 1)
    kept = kept[0]
    equal((kept["state"], kept["number"], "pre-restore" in kept["tags"]), ("pre-restore", job, True))
    check(kept["expires"], kept)
    equal([r["id"] for r in m.revisions()], [latest["id"]] + [r["id"] for r in m.revisions()[1:]])
    listed = m.restic("ls", kept["id"]).expect(0).out.splitlines()
    files = sorted(line[len(m.path("src")) + 1 :] for line in listed if line.startswith(m.path("src") + "/"))
    equal([f for f in files if f not in ("sub", "more", "type")], ["differs"])
    # Later than any other revision, and yet not chosen: by "latest", by a time, as a parent, by a number.
    result = m.json("ls", "--at", "latest", m.path("src"))
    equal(result["revision"], latest["id"])
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60))
    equal(m.json("ls", "--at", soon, m.path("src"))["revision"], latest["id"])
    made = m.backup()
    parent = next(r for r in m.revisions() if r["id"] == made["revision"])
    equal((parent["parent"], parent["number"]), (latest["id"], latest["number"] + 1))
    # By its id it is a revision like any other.
    equal(m.ctl("cat", kept["id"][:12] + ":" + m.path("src/differs")).expect(0).out, "edited since\n")
    m.ctl("set", "edit", "home", "--keep", "last=1").expect(0)
    plan = m.json("forget", "--policy", "--dry-run")["sets"][0]["revisions"]
    check(all(r["id"] != kept["id"] for r in plan), plan)
    m.ctl("forget", made["revision"], "--yes").expect(0)


@promise("a revision that was pinned since is found by undo all the same")
def _(m):
    before = arrange(m)
    known = {r["id"] for r in pre_restore(m)}
    job = restore(m, "--on-conflict", "replace", code=3)["job"]
    kept = next(r for r in pre_restore(m) if r["id"] not in known)
    m.ctl("pin", kept["id"]).expect(0)
    m.ctl("pin", "home/1").expect(0)
    check(all(r["id"] != kept["id"] for r in pre_restore(m)), "the pin did not give it another id: the test proves nothing")
    m.ctl("undo", str(job), "--yes").expect(0)
    compare(picture(m.path("src")), before)
    for r in m.json("revisions", "home", "--all")["revisions"]:
        if r["pinned"]:
            m.ctl("unpin", r["id"]).expect(0)


@promise("above the paths of a set nothing is removed, for the revision never had it")
def _(m):
    arrange(m)
    m.write("beside/file", "not in any set\n")
    names = sorted(os.listdir(m.top))
    m.ctl("restore", m.top, "--on-conflict", "replace", "--delete", "--yes").expect(0)
    equal(sorted(os.listdir(m.top)), names)
    equal(m.read("beside/file"), b"not in any set\n")
    check(not os.path.exists(m.path("src/new")))


@promise("what could not be read when the revision was made is not removed")
def _(m):
    if os.geteuid() == 0:
        skip("root reads everything")
    m.write("part/secret", "unreadable\n", mode=0)
    m.write("part/open", "open\n")
    m.set("part", m.path("part"), extra=["--no-automatic"])
    m.backup("part", code=3)
    m.write("part/extra", "extra\n")
    m.ctl("restore", m.path("part"), "--on-conflict", "skip", "--delete", "--yes").expect(0)
    equal(sorted(os.listdir(m.path("part"))), ["open", "secret"])


def on_terminal(m, answer, *args):
    """backupctl on a terminal of its own; what it said, and its exit code."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.clear()
        os.environ.update(m.env, TERM="dumb")
        os.execv(m.backupctl, [m.backupctl, m.scope, *args])
    said = b""
    with contextlib.suppress(OSError):  # the end of a terminal
        while True:
            piece = os.read(terminal, 4096)
            if not piece:
                break
            said += piece
            if said.rstrip().endswith((b"[y/N]", b"?")) and answer:
                os.write(terminal, answer + b"\n")
                answer = b""
    os.close(terminal)
    return said.decode("utf-8", "replace"), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@promise("on a terminal the plan is shown, then asked about: no changes nothing, yes does it")
def _(m):
    before = arrange(m)
    said, code = on_terminal(m, b"n", "restore", m.path("src"), "--on-conflict", "replace", "--delete")
    equal(code, 7, said)
    contains(said, "Would do")
    contains(said, "removed")
    compare(picture(m.path("src")), before)
    said, code = on_terminal(m, b"y", "restore", m.path("src"), "--on-conflict", "replace", "--delete")
    equal(code, 0, said)
    contains(said, "backupctl undo")
    equal(m.read("src/differs"), b"from the backup\n")
    job = next(j for j in m.json("jobs")["jobs"] if j["kind"] == "restore")["id"]
    said, code = on_terminal(m, b"n", "undo", str(job))
    equal(code, 7, said)
    said, code = on_terminal(m, b"y", "undo", str(job))
    equal(code, 0, said)
    compare(picture(m.path("src")), before)


@promise("a plan that fails gives the exit code of its failure, also on a terminal")
def _(m):
    arrange(m)
    job = restore(m, "--on-conflict", "replace", code=3)["job"]
    os.rename(m.path("repo"), m.path("repo.away"))
    try:
        said, code = on_terminal(m, b"y", "undo", str(job))
        check(code in (10, 13), (code, said))
    finally:
        os.rename(m.path("repo.away"), m.path("repo"))


@promise("undo of a restore that was gone on with gives back what was there last")
def _(m):
    before = arrange(m)
    m.stop()
    m.start(env={"BACKUPD_FAILPOINTS": "restore.remove=fail@2"})  # what stood in the way is gone by then, and all is written
    try:
        job = restore(m, "--on-conflict", "replace", "--delete", code=1)["job"]
    finally:
        m.restart()
    equal(m.read("src/differs"), b"from the backup\n")
    m.write("src/differs", "edited between the two\n")
    result = m.ctl("--json", "resume", str(job)).expect(0).result
    equal(m.read("src/differs"), b"from the backup\n")
    m.ctl("undo", str(result["job"]), "--yes").expect(0)
    equal(m.read("src/differs"), b"edited between the two\n")
    now = picture(m.path("src"))
    equal(sorted(now), sorted(before))
    for path in set(now) - {"differs"}:
        equal((path, now[path][4]), (path, before[path][4]))


@promise("a backup gives way to a restore and goes on after it")
def _(m):
    arrange(m)
    m.stop()
    m.start(env={"BACKUPD_FAILPOINTS": "restore.planned=gate:" + m.path("hold")})
    try:
        m.write("hold", "")
        restoring = m.ctl_spawn("restore", m.path("src/differs"), "--on-conflict", "replace", "--yes")
        wait_for("the restore", lambda: os.path.exists(m.path("hold.reached")))
        m.write("src/fresh", os.urandom(300_000))
        running = m.ctl_spawn("run", "home", "--wait")
        wait_for("the backup", lambda: any(j["kind"] == "backup" and j["state"] in ("running", "paused") for j in m.json("jobs")["jobs"]))
        count = len(m.revisions())
        time.sleep(0.5)
        equal(len(m.revisions()), count, "a revision was made while a restore ran")
        check(running.poll() is None, "the backup did not give way")
        os.unlink(m.path("hold"))
        restoring.communicate()
        running.communicate()
        equal((restoring.returncode, running.returncode), (0, 0))
        m.ctl("forget", m.revisions()[0]["id"], "--yes").expect(0)
    finally:
        m.restart()


@promise("if the present state cannot be kept, nothing is changed: exit code 7")
def _(m):
    before = arrange(m)
    m.stop()
    m.start(env={"BACKUPD_FAILPOINTS": "restore.protect=fail@1+"})
    try:
        m.ctl("restore", m.path("src"), "--on-conflict", "replace", "--delete", "--yes").expect(7, "nothing was changed")
        compare(picture(m.path("src")), before)
    finally:
        m.restart()
    # The same when the repository cannot be written to.
    packs = m.path("repo/data")
    os.rename(packs, packs + ".away")
    open(packs, "w").close()
    try:
        m.write("src/differs", os.urandom(100_000))
        before = picture(m.path("src"))
        reply = m.ctl("restore", m.path("src/differs"), "--on-conflict", "replace", "--yes")
        check(reply.code != 0, reply)
        compare(picture(m.path("src")), before)
    finally:
        os.unlink(packs)
        os.rename(packs + ".away", packs)


@promise("a restore into a directory outside any set can be taken back, directory and all")
def _(m):
    m.write_tree("out", {"src/differs": "mine\n", "other": "other\n"})
    before = picture(m.path("out"))
    result = m.ctl("--json", "restore", m.path("src"), "--to", m.path("out"), "--on-conflict", "replace", "--yes").expect(0).result
    equal(m.read("out/src/differs"), b"from the backup\n")
    m.ctl("undo", str(result["job"]), "--yes").expect(0)
    compare(picture(m.path("out")), before)
    # Nothing existed: nothing is kept, and yet it can be taken back.
    count = len(pre_restore(m))
    result = m.ctl("--json", "restore", m.path("src"), "--to", m.path("fresh")).expect(0).result
    equal(len(pre_restore(m)), count)
    m.write("fresh/src/sub/mine", "added since\n")
    m.write("fresh/src/differs", "edited after the restore\n")
    m.ctl("undo", str(result["job"]), "--yes").expect(3, "mine", "differs")
    equal(sorted(os.listdir(m.path("fresh/src"))), ["differs", "sub"])
    equal(os.listdir(m.path("fresh/src/sub")), ["mine"])


@promise("whatever a file system can hold comes back by undo as it was: holes, attributes, links, devices, odd names")
def _(m):
    if os.geteuid() != 0:
        skip("only root can make devices and attributes of all kinds")
    arrange(m)
    shutil.rmtree(m.path("src"))
    m.run([sys.executable, NASTY, "make", m.path("src"), "--full"]).expect(0)
    for base, _, names in os.walk(m.path("src")):
        for name in names:
            if stat.S_ISSOCK(os.lstat(os.path.join(base, name)).st_mode):
                os.unlink(os.path.join(base, name))  # could not be given back, so it is not removed either
    # Nor could this name of an attribute: a restore that would replace it is refused as a whole.
    before = os.lstat(m.path("src/xattrs/weird-name"))
    m.ctl("restore", m.path("src"), "--on-conflict", "replace", "--delete", "--yes").expect(7, "weird-name", "nothing was changed")
    equal(os.lstat(m.path("src/xattrs/weird-name")).st_ctime_ns, before.st_ctime_ns)
    os.unlink(m.path("src/xattrs/weird-name"))
    m.write("src/differs", "nasty\n")
    m.run([sys.executable, TREE_DIFF, "--snap", m.path("src"), "-o", m.path("before")]).expect(0)
    result = restore(m, "--on-conflict", "replace", "--delete")
    check(result["counts"]["deleted"] > 50, result)
    equal(m.read("src/differs"), b"from the backup\n")
    m.ctl("undo", str(result["job"]), "--yes").expect(0)
    differ = m.run([sys.executable, TREE_DIFF, m.path("before"), m.path("src"), "--sparse", "kept", *UNHELD])
    check(differ.code == 0, differ)
    m.run([sys.executable, NASTY, "rm", m.path("src")])
    arrange_anew(m)


@promise("what was changed after the restore is left as it is by undo, and listed: exit code 3")
def _(m):
    arrange(m)
    result = restore(m, "--on-conflict", "replace", code=3)
    m.write("src/differs", "my newest words\n")
    m.ctl("undo", str(result["job"]), "--yes").expect(3, "differs")
    equal(m.read("src/differs"), b"my newest words\n")
    check(not os.path.exists(m.path("src/sub/missing")))


@promise("a file that another program has open for writing is set aside and named: exit code 3")
def _(m):
    arrange(m)
    with open(m.path("src/differs"), "ab"):
        m.ctl("restore", m.path("src/differs"), "--on-conflict", "replace", "--yes").expect(3, "open for writing")
    equal(m.read("src/differs"), b"edited since\n")


@promise("what changes between the plan and its turn is set aside: exit code 3")
def _(m):
    arrange(m)
    m.stop()
    m.start(env={"BACKUPD_FAILPOINTS": "restore.planned=gate:" + m.path("gate")})
    try:
        m.write("gate", "")
        client = m.ctl_spawn("restore", m.path("src"), "--on-conflict", "replace", "--delete", "--yes")
        wait_for("the plan", lambda: os.path.exists(m.path("gate.reached")))
        m.write("src/differs", "changed meanwhile\n")
        m.write("src/new", "changed, too\n")
        os.unlink(m.path("gate"))
        _, err = client.communicate()
        equal(client.returncode, 3, err)
        contains(err.decode(), "changed since the restore was planned")
        equal((m.read("src/differs"), m.read("src/new")), (b"changed meanwhile\n", b"changed, too\n"))
    finally:
        m.restart()


@promise("a run of many conflicting files with default flags changes none of them")
def _(m):
    count = int(os.environ.get("CONFLICTS", "3000"))
    files = {f"d{i % 20 if i % 2 else 0}/f{i}": f"in the backup {i}\n" for i in range(count)}
    m.write_tree("many", files)
    m.set("many", m.path("many"), extra=["--no-automatic"])
    m.backup("many")
    for name in files:
        m.write("many/" + name, "since\n")
    before = picture(m.path("many"))
    m.ctl("restore", m.path("many")).expect(7)
    compare(picture(m.path("many")), before)
    result = m.ctl("--json", "restore", m.path("many"), "--on-conflict", "replace", "--yes").expect(0).result
    equal(result["counts"]["replaced"], count)
    m.ctl("undo", str(result["job"]), "--yes").expect(0)
    compare(picture(m.path("many")), before)


@promise("removal: where it cannot be told what a revision left out nothing is removed: exit code 7; what restic left out stays")
def _(m):
    arrange_anew(m)
    m.write("src/deep/cache/x", "left out by restic\n")
    newest = m.revisions()[0]["id"]
    made = json.loads(m.restic("cat", "snapshot", newest).expect(0).out)
    unreadable = cheap_repository.add_snapshot(m.path("repo"), "secret", {**made, "tags": None, "excludes": ["*.cache", "[z-a]"]})
    before = picture(m.path("src"))
    how = ["restore", m.path("src"), "--on-conflict", "replace", "--yes"]
    m.ctl(*how, "--revision", unreadable, "--delete").expect(7, "[z-a]", "without --delete")
    compare(picture(m.path("src")), before)
    # Its patterns may begin anywhere, though they have a slash.
    foreign = cheap_repository.add_snapshot(m.path("repo"), "secret", {**made, "tags": None, "excludes": ["deep/cache", "*.cache"]})
    m.ctl(*how, "--revision", foreign, "--delete").expect(0)
    equal(m.read("src/deep/cache/x"), b"left out by restic\n")
    check(os.path.exists(m.path("src/a.cache")) and not os.path.exists(m.path("src/new")))


@promise("a restore onto a file system that is not mounted any more is not taken back into the empty place: exit code 7")
def _(m):
    place = m.path("volume")
    made = m.run([SMALL_FS, "make", place, "--size", "16M"])
    if made.code == 77:
        skip("no file system of our own here")
    made.expect(0)
    try:
        m.write("volume/src/differs", "mine\n")
        before = picture(place)
        result = m.ctl("--json", "restore", m.path("src"), "--to", place, "--on-conflict", "replace", "--yes")
        check(result.code in (0, 3), result)
        job = str(result.result["job"])
        m.run(["umount", place]).expect(0)
        m.ctl("undo", job, "--yes").expect(7, place, "is not there", "mount it first")
        m.ctl("undo", job, "--dry-run").expect(7)
        equal(os.listdir(place), [])
        other = m.path("other.img")
        m.run(["cp", place + ".img", other]).expect(0)
        m.run(["e2fsck", "-fy", other]).expect(0)  # tune2fs wants one that was checked after its last use
        m.run(["tune2fs", "-f", "-U", "random", other], input=b"y\n").expect(0)
        m.run(["mount", "-o", "loop", other, place]).expect(0)
        m.ctl("undo", job, "--yes").expect(7, "another file system")
        m.run(["umount", place]).expect(0)
        m.run(["mount", "-o", "loop", place + ".img", place]).expect(0)
        m.ctl("undo", job, "--yes").expect(0)
        compare(picture(place), before)
    finally:
        m.run([SMALL_FS, "destroy", place])


@promise("what a restore kept goes to the trash after 30 days, whatever the rules of the set are; pinned it stays")
def _(m):
    arrange(m)
    restore(m, "--on-conflict", "replace", code=3)
    kept = pre_restore(m)
    check(len(kept) >= 2)
    pinned = kept[0]
    m.ctl("pin", pinned["id"]).expect(0)
    m.stop()
    m.set_clock(29 * 86400)
    env = {"BACKUPD_CLOCK_STEP": m.path("clock")}
    in_30_days = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + 30 * 86400))
    m.start(env=env)
    m.ctl("gc", "--wait").expect(0)
    equal(len(pre_restore(m)), len(kept))
    m.stop()
    m.set_clock(31 * 86400)
    m.start(env=env)
    due = lambda j: j["kind"] == "gc" and j["trigger"] == "schedule" and j["end"] and j["begin"] > in_30_days
    wait_for("the collection that is due", lambda: any(due(j) for j in m.json("jobs")["jobs"]))
    left = [r for r in pre_restore(m) if r["state"] != "trashed"]
    equal([r["number"] for r in left], [pinned["number"]])
    m.stop()
    m.set_clock(0)
    m.start()


@promise("an unknown job, or one that was no restore, cannot be taken back: exit code 5")
def _(m):
    m.ctl("undo", "99999", "--yes").expect(5)
    backup = m.backup()["job"]
    m.ctl("undo", str(backup), "--yes").expect(5)


if __name__ == "__main__":
    main(fixture)
