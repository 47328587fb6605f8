#!/usr/bin/env python3
"""Guards: a source that is gone or emptied, and changes that look like an accident or an attack, are asked about."""
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from machine import Machine  # noqa: E402
from promises import check, contains, equal, main, promise, wait_for  # noqa: E402

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "scenarios"))
from volumes import Volume  # noqa: E402


def text(i):
    return f"file {i}: " + "the quick brown fox jumps over the lazy dog. " * 40


def fixture():
    m = Machine("guard")
    m.start()
    m.write_tree("src", {f"d{i % 4}/f{i}.txt": text(i) for i in range(120)})
    m.repository()
    m.set("home", m.path("src"), extra=["--no-automatic", "--keep", "last=1 minimum=1"])
    m.backup()
    return m


def names(m):
    return sorted(os.path.relpath(os.path.join(d, f), m.path("src")) for d, _, fs in os.walk(m.path("src")) for f in fs)


def status(m):
    whole = m.json("status")
    return whole, [s for s in whole["sets"] if s["id"] == "home"][0]


def numbers(m, *extra):
    return [r["number"] for r in m.json("revisions", "home", *extra)["revisions"]]


def is_calm(m):
    whole, home = status(m)
    equal((home["guard"], home["questions"]), ("", []))
    check(whole["health"] != "at-risk", whole)


def asks(m, kind, holds):
    whole, home = status(m)
    equal((whole["health"], home["guard"], [q["kind"] for q in home["questions"]]), ("at-risk", kind, [kind]))
    equal(home["questions"][0]["holds"], holds)
    m.ctl("status").expect(0, "backupctl approve home", "backupctl reject home")
    m.ctl("explain", m.path("src")).expect(0, "approve home")
    plan = m.json("forget", "--policy", "home", "--dry-run")
    check(all(r["rules"] == ["frozen"] for r in plan["sets"][0]["revisions"]), "retention is frozen", plan)
    return home["questions"][0]


def held(m, *words):
    reply = m.ctl("--json", "run", "home", "--wait").expect(7, *words)
    equal(reply.result["outcome"], "failed")
    return reply.result


@promise("ordinary changes ask nothing: new files, edits, a directory that is moved")
def _(m):
    m.write("src/new.txt", "new\n")
    for i in range(0, 40):
        m.write(f"src/d{i % 4}/f{i}.txt", text(i) + "edited")
    equal(m.backup()["outcome"], "complete")
    os.rename(m.path("src/d0"), m.path("src/elsewhere"))
    equal(m.backup()["outcome"], "complete")
    os.rename(m.path("src/elsewhere"), m.path("src/d0"))
    equal(m.backup()["outcome"], "complete")
    is_calm(m)


@promise("a source that is missing is held, and asked about once, over restarts")
def _(m):
    before = numbers(m)
    os.rename(m.path("src"), m.path("away"))
    held(m, "missing", "approve home")
    equal(numbers(m), before)
    asked = asks(m, "vanished", True)
    m.stop()
    m.start()
    held(m)
    again = asks(m, "vanished", True)
    equal((again["since"], again["job"]), (asked["since"], asked["job"]), "one question for one event")


@promise("the question goes by itself when the source is back")
def _(m):
    os.rename(m.path("away"), m.path("src"))
    equal(m.backup()["outcome"], "complete")
    is_calm(m)
    m.ctl("approve", "home").expect(7, "nothing is asked")


@promise("an empty directory in the place of a mount is a missing source")
def _(m):
    os.rename(m.path("src"), m.path("away"))
    os.mkdir(m.path("src"))
    held(m, "is empty")
    asks(m, "vanished", True)
    m.ctl("reject", "home").expect(0)
    equal(status(m)[1]["questions"][0]["answer"], "rejected")
    held(m)
    os.rmdir(m.path("src"))
    os.rename(m.path("away"), m.path("src"))
    equal(m.backup()["outcome"], "complete")
    is_calm(m)


@promise("an emptied source makes no revision; rejected it stays held; approved it is taken as it is")
def _(m):
    before = numbers(m)
    shutil.copytree(m.path("src"), m.path("copy"), symlinks=True)
    for name in names(m)[10:]:
        os.unlink(m.path("src", name))
    held(m, "files are gone")
    equal(numbers(m), before)
    asks(m, "emptied", True)
    m.ctl("approve", "home", "--dry-run").expect(0, "files are gone")
    m.ctl("reject", "home").expect(0)
    held(m)
    result = m.ctl("--json", "approve", "home", "--wait").expect(0).result
    equal((result["kind"], result["outcome"], result["counts"]["files_removed"]), ("backup", "complete", 111))
    is_calm(m)
    shutil.rmtree(m.path("src"))
    os.rename(m.path("copy"), m.path("src"))
    m.backup()


@promise("a mass change is stored, and the clean revision is pinned until it is approved")
def _(m):
    is_calm(m)
    clean = numbers(m)[0]
    for i in range(120):
        m.write(f"src/d{i % 4}/f{i}.txt", os.urandom(1500))
    equal(m.backup()["outcome"], "complete")
    question = asks(m, "mass-change", False)
    equal((question["clean_number"], question["pinned"]), (clean, True))
    contains(question["message"], "encrypted")
    equal(m.json("show", f"home/{clean}")["pinned"], True)
    m.write("src/more.txt", "more\n")
    m.backup()
    equal(asks(m, "mass-change", False)["since"], question["since"], "one question for one event")
    m.stop()
    m.start()
    asks(m, "mass-change", False)
    m.ctl("approve", "home").expect(0, "kept by the rules")
    equal(m.json("show", f"home/{clean}")["pinned"], False)
    is_calm(m)
    m.restic("check", "--read-data").expect(0, "no errors were found")


@promise("a rejected mass change is in the trash, nothing is made of it, and a restore brings the files back")
def _(m):
    for i in range(120):
        m.write(f"src/d{i % 4}/f{i}.txt", text(i) + "precious")
    m.backup()
    m.ctl("approve", "home")
    m.backup()
    is_calm(m)
    clean = numbers(m)[0]
    for i in range(120):
        name = f"src/d{i % 4}/f{i}.txt"
        m.write(name + ".locked", os.urandom(1500))
        os.unlink(m.path(name))
    m.backup()
    equal(asks(m, "mass-change", False)["clean_number"], clean)
    m.ctl("reject", "home").expect(0, "trash")
    equal(numbers(m)[0], clean, "the newest is the clean one")
    whole, home = status(m)
    equal((whole["health"], home["questions"][0]["answer"], home["waiting_for"]), ("at-risk", "rejected", ["guard"]))
    m.ctl("run", "home", "--wait").expect(7, "rejected")
    for name in names(m):
        if name.endswith(".locked"):
            os.unlink(m.path("src", name))
    m.ctl("restore", m.path("src"), "--on-conflict", "replace", "--wait", "--yes").expect(0)
    equal(m.read("src/d1/f1.txt").decode(), text(1) + "precious")
    result = m.ctl("--json", "approve", "home", "--wait").expect(0).result
    equal(result["outcome"], "complete")
    is_calm(m)
    equal(m.json("show", f"home/{clean}")["pinned"], True)
    m.ctl("unpin", f"home/{clean}").expect(0)


@promise("what is in the trash is not what a mass change is measured against")
def _(m):
    clean = numbers(m)[0]
    m.write("src/made.txt", "new\n")
    m.backup()
    m.ctl("forget", f"home/{numbers(m)[0]}", "--yes").expect(0)
    equal(numbers(m)[0], clean)
    for i in range(120):
        m.write(f"src/d{i % 4}/f{i}.txt", os.urandom(1500))
    m.backup()
    question = asks(m, "mass-change", False)
    equal((question["clean_number"], question["pinned"]), (clean, True))
    m.ctl("reject", "home").expect(0, "trash")
    equal(numbers(m)[0], clean)
    m.ctl("restore", m.path("src"), "--on-conflict", "replace", "--wait", "--yes").expect(0)
    m.ctl("approve", "home", "--wait").expect(0)
    is_calm(m)
    m.ctl("unpin", f"home/{clean}").expect(0)


def paused_at(m, place, *command):
    """The daemon, stopped where it reaches the place for the first time; the client. Goes on when go_on() is called."""
    m.stop()
    m.env["BACKUPD_FAILPOINTS"] = f"{place}=pause:{m.path('pause')}@1"
    m.start()
    client = m.ctl_spawn(*command)
    wait_for("the daemon to get there", lambda: os.path.exists(m.path("pause")) or client.poll() is not None)
    check(client.poll() is None, "it ended before", client)
    return client


def go_on(m, client, code):
    os.unlink(m.path("pause"))
    out, err = client.communicate(timeout=60)
    equal(client.returncode, code)
    m.stop()
    del m.env["BACKUPD_FAILPOINTS"]
    m.start()
    return (out + err).decode()


@promise("a place that goes while it is backed up is missed before the revision is made")
def _(m):
    m.write_tree("beside", {f"x{i}": text(i) for i in range(20)})
    m.set("parts", m.path("src"), m.path("beside"), extra=["--no-automatic"])
    m.backup("parts")
    client = paused_at(m, "read.begin", "run", "parts", "--full", "--wait")
    os.rename(m.path("beside"), m.path("away"))
    contains(go_on(m, client, 7), "beside is missing")
    equal([r["number"] for r in m.revisions("parts")], [1])
    os.rename(m.path("away"), m.path("beside"))
    m.backup("parts")
    equal([s["guard"] for s in m.json("status")["sets"] if s["id"] == "parts"], [""])
    m.ctl("set", "remove", "parts", "--yes").expect(0)


for where, code, words in (("read.begin", 7, "rejected"), ("guard.reviewed", 0, "in the trash")):

    @promise(f"a run that is under way ({where}) when its changes are rejected does not become the newest")
    def _(m, where=where, code=code, words=words):
        is_calm(m)
        clean = numbers(m)[0]
        for i in range(120):
            m.write(f"src/d{i % 4}/f{i}.txt", os.urandom(1500))
        m.backup()
        asks(m, "mass-change", False)
        m.write("src/one more.txt", os.urandom(1500))
        client = paused_at(m, where, "run", "home", "--wait")
        m.ctl("reject", "home").expect(0)
        go_on(m, client, code)
        job = next(j["id"] for j in m.json("jobs")["jobs"] if j["kind"] == "backup")
        m.ctl("log", str(job)).expect(0, words)
        equal(numbers(m)[0], clean, "the newest is the clean one")
        m.ctl("restore", m.path("src"), "--on-conflict", "replace", "--wait", "--yes").expect(0)
        m.ctl("approve", "home", "--wait").expect(0)
        is_calm(m)
        m.ctl("unpin", f"home/{clean}").expect(0)


@promise("files compressed by known formats, and few of them, are no attack")
def _(m):
    for i in range(80):
        m.write(f"src/photos/p{i}.jpg", b"\xff\xd8\xff\xe0" + os.urandom(3000))
    for i in range(30):
        m.write(f"src/d{i % 4}/f{i}.txt", os.urandom(1500))
    m.backup()
    is_calm(m)


@promise("rules come with the set, and bad ones are refused")
def _(m):
    m.ctl("set", "edit", "home", "--guard", "gone=110").expect(2, "gone=110")
    m.ctl("set", "edit", "home", "--guard", "gone=off removed=off").expect(0)
    equal(m.json("set", "show", "home")["config"]["guard"], "gone=off removed=off")
    contains(m.read("config/sets.d/home.toml").decode(), "[guard]", "gone = 0")
    for name in names(m)[5:]:
        os.unlink(m.path("src", name))
    m.backup()
    is_calm(m)
    m.ctl("set", "edit", "home", "--guard", "off").expect(0)
    os.rename(m.path("src"), m.path("away"))
    held(m, "missing")
    os.rename(m.path("away"), m.path("src"))
    m.backup()
    m.ctl("set", "edit", "home", "--guard", "default").expect(0)


@promise("paths that leave the set, and the first revision of another set, ask nothing")
def _(m):
    m.write_tree("other", {f"x{i}": text(i) for i in range(60)})
    m.ctl("set", "create", "two", "--repo", "main", m.path("src"), m.path("other"), "--no-automatic").expect(0)
    m.ctl("run", "two", "--wait").expect(0)
    m.ctl("set", "remove", "two", "--yes").expect(0)
    m.ctl("set", "create", "two", "--repo", "main", m.path("src"), "--no-automatic").expect(0)
    m.ctl("run", "two", "--wait").expect(0)
    equal([s["guard"] for s in m.json("status")["sets"]], ["", ""])


@promise("one of two file systems is away: what was on it stays in new revisions, and no rule forgets any")
def _(m):
    volume = Volume("ext4")
    try:
        with open(os.path.join(volume.place, "on the disk"), "w") as f:
            f.write("kept\n")
        extra = ["--no-automatic", "--keep", "last=1 minimum=1"]
        m.set("pair", m.path("src"), volume.place, extra=extra)
        m.backup("pair")

        def pair():
            return next(s for s in m.json("status")["sets"] if s["id"] == "pair")

        def plan():
            return {r["number"]: r["rules"] for r in m.json("forget", "--policy", "pair", "-n")["sets"][0]["revisions"]}

        wait_for("it to be watched", lambda: pair()["tracking"] == "live")
        volume.unmount()
        wait_for("it to be away", lambda: "away" in str(m.json("status")))
        m.write("src/made meanwhile", "new\n")
        result = m.ctl("--json", "run", "pair", "--wait").result
        check(result["outcome"] in ("complete", "exceptions"), result)
        equal(result["counts"]["files_removed"], 0)
        equal([q["kind"] for q in pair()["questions"]], ["vanished"])
        equal(pair()["questions"][0]["holds"], False)
        os.rename(m.path("src"), m.path("gone"))
        m.ctl("run", "pair", "--wait").expect(7, "file system", m.path("src") + " is missing")
        os.rename(m.path("gone"), m.path("src"))
        for path, content in ((os.path.join(volume.place, "on the disk"), b"kept\n"), (m.path("src/made meanwhile"), b"new\n")):
            equal(m.ctl("cat", path, "--set", "pair").expect(0).raw, content)
        equal(plan(), {2: ["frozen"], 1: ["frozen"]})
        m.ctl("forget", "--policy", "pair", "--yes").expect(0)
        equal([r["number"] for r in m.json("revisions", "pair")["revisions"]], [2, 1])
        m.ctl("gc").expect(0)
        m.stop()
        m.start()
        equal(plan(), {2: ["frozen"], 1: ["frozen"]}, "after a restart as well")
        volume.mount()
        wait_for("it to be back", lambda: pair()["tracking"] == "live" and "away" not in str(m.json("status")))
        m.backup("pair")
        equal(pair()["questions"], [])
        equal(plan(), {3: ["last"], 2: [], 1: []})
    finally:
        m.ctl("set", "remove", "pair", "--yes")
        m.stop()
        volume.close()
        m.start()


@promise("a file system that went while the daemon was down: no rule forgets anything before somebody has looked")
def _(m):
    volume = Volume("ext4")
    try:
        m.set("couple", m.path("src"), volume.place, extra=["--no-automatic", "--keep", "last=1 minimum=1"])
        m.backup("couple")
        m.backup("couple")
        m.stop()
        volume.unmount()
        m.start(env={"BACKUPD_FAILPOINTS": "watch.begin=sleep:1500@1"})
        m.ctl("forget", "--policy", "couple", "--yes").expect(0)
        equal([r["number"] for r in m.json("revisions", "couple")["revisions"]], [2, 1])
    finally:
        m.stop()
        volume.close()
        m.start()
        m.ctl("set", "remove", "couple", "--yes")


@promise("the question is told on the bus, once for the event")
def _(m):
    out = open(m.path("signals"), "w+b")
    match = "type='signal',interface='org.backupd1.Set',member='GuardAsked'"
    monitor = subprocess.Popen(["dbus-monitor", "--session", match], env=m.env, stdout=out, stderr=subprocess.STDOUT)
    try:
        wait_for("the monitor", lambda: b"NameAcquired" in m.read("signals"))
        os.rename(m.path("src"), m.path("away"))
        held(m)
        held(m)
        wait_for("the signal", lambda: b"vanished" in m.read("signals"))
        os.rename(m.path("away"), m.path("src"))
        m.backup()
    finally:
        monitor.terminate()
        monitor.wait()
        out.close()
    equal(m.read("signals").count(b"member=GuardAsked"), 1)


if __name__ == "__main__":
    main(fixture)
