#!/usr/bin/env python3
"""Restores on a system bus for people other than root: what they get back, with whose rights, and where it may land."""
import os
import pwd
import shutil
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
from promises import check, contains, equal, main, promise, wait_for  # noqa: E402
from system_machine import SystemMachine  # noqa: E402

# People whom every machine knows: the bus refuses callers without a name.
ALICE, BOB = pwd.getpwnam("news"), pwd.getpwnam("uucp")


def give(m, user, name):
    for directory, _, files in os.walk(m.path(name)):
        for one in [directory, *(os.path.join(directory, f) for f in files)]:
            os.chown(one, user.pw_uid, user.pw_gid, follow_symlinks=False)


def fixture():
    m = SystemMachine("others")
    m.start()
    m.write_tree("people/alice", {"letter": "dear bob\n", "private/diary": "mine\n", "big": b"x" * (3 << 20)})
    for i in range(200):
        m.write(f"people/alice/many/{i % 10}/{i}", f"{i}\n" * 50)
    m.write_tree("people/bob", {"open": "for all\n", "secret": "for bob\n", "closed/plans": "hidden\n"})
    os.symlink("letter", m.path("people/alice/link"))
    os.setxattr(m.path("people/alice/letter"), "user.note", b"hers")
    give(m, ALICE, "people/alice")
    give(m, BOB, "people/bob")
    os.chmod(m.path("people/alice/private"), 0o700)
    os.chmod(m.path("people/bob/closed"), 0o700)
    os.chmod(m.path("people/bob/secret"), 0o600)
    os.chmod(m.path("people/alice/letter"), 0o640)
    m.repository(cheap=True)
    m.set("home", m.path("people"))
    m.backup("home")
    m.allow("browse")
    # The password and the repository are root's alone.
    for name in ("repo", "password", "state", "config"):
        os.chmod(m.path(name), 0o700 if os.path.isdir(m.path(name)) else 0o600)
    return m


def room(m, user, name):
    os.makedirs(m.path(name))
    os.chown(m.path(name), user.pw_uid, user.pw_gid)
    return m.path(name)


def facts(path):
    s = os.lstat(path)
    return s.st_uid, s.st_gid, oct(s.st_mode), s.st_mtime_ns


@promise("she gets her files back with her rights, as they were, without any secret")
def _(m):
    out = room(m, ALICE, "out")
    m.as_user(ALICE.pw_uid, "restore", m.path("people/alice"), "--to", out, "--verify").expect(0)
    subprocess.run(["diff", "-r", "--no-dereference", m.path("people/alice"), out + "/alice"], check=True)
    for name in ("letter", "private", "private/diary", "link", "many/3/13"):
        equal(facts(out + "/alice/" + name), facts(m.path("people/alice", name)), name)
    equal(os.getxattr(out + "/alice/letter", "user.note"), b"hers")


@promise("in place: a file that is gone, a file that was changed, and its own present state is kept before")
def _(m):
    os.unlink(m.path("people/alice/private/diary"))
    m.as_user(ALICE.pw_uid, "restore", m.path("people/alice/private/diary")).expect(0)
    equal(m.read("people/alice/private/diary"), b"mine\n")
    equal(os.lstat(m.path("people/alice/private/diary")).st_uid, ALICE.pw_uid)
    m.write("people/alice/letter", "other words\n", mode=0o600)
    m.as_user(ALICE.pw_uid, "restore", m.path("people/alice/letter")).expect(7)
    equal(m.read("people/alice/letter"), b"other words\n")
    m.as_user(ALICE.pw_uid, "restore", m.path("people/alice/letter"), "--on-conflict", "replace", "--yes").expect(0)
    equal(m.read("people/alice/letter"), b"dear bob\n")
    contains(m.ctl("revisions", "home", "--all").expect(0).out, "pre-restore")


@promise("what her restore replaced she has back from the revision that kept it; undo is root's")
def _(m):
    all_of_it = m.as_user(ALICE.pw_uid, "--json", "revisions", "home", "--all").expect(0).lines[-1]["revisions"]
    kept = [r["id"] for r in all_of_it if r["trigger"] == "pre-restore"][0]
    letter = m.path("people/alice/letter")
    equal(m.as_user(ALICE.pw_uid, "cat", letter, "--revision", kept).expect(0).out, "other words\n")
    m.as_user(BOB.pw_uid, "cat", letter, "--revision", kept).expect(4)
    m.as_user(ALICE.pw_uid, "restore", letter, "--revision", kept, "--on-conflict", "replace", "--yes").expect(0)
    equal(m.read("people/alice/letter"), b"other words\n")
    last = str(m.json("jobs")["jobs"][0]["id"])
    m.as_user(ALICE.pw_uid, "undo", last, "--yes").expect(4)
    m.ctl("undo", last, "--yes").expect(0)
    equal(m.read("people/alice/letter"), b"dear bob\n")
    equal(os.lstat(letter).st_uid, ALICE.pw_uid)


@promise("a dry run says what would be done")
def _(m):
    reply = m.as_user(ALICE.pw_uid, "restore", "-n", m.path("people/alice/private"), "--to", m.path("out/new")).expect(0)
    contains(reply.out + reply.err, "diary")


@promise("what she could not have read is refused with exit 4, what she could not have known is not there")
def _(m):
    out = room(m, ALICE, "refused")
    for verb in (["--to", out], ["-n", "--to", out]):
        m.as_user(ALICE.pw_uid, "restore", m.path("people/bob/secret"), *verb).expect(4)
        m.as_user(ALICE.pw_uid, "restore", m.path("people/bob/closed"), *verb).expect(4)
        there = m.as_user(ALICE.pw_uid, "restore", m.path("people/bob/closed/plans"), *verb).expect(5)
        nowhere = m.as_user(ALICE.pw_uid, "restore", m.path("people/bob/closed/snalp"), *verb).expect(5)
        equal(there.err.replace("plans", "snalp"), nowhere.err)
    equal(os.listdir(out), [])
    contains(m.daemon_log(), f"refused to uid {ALICE.pw_uid}: RestoreTo")


@promise("of a tree she gets what she could have read; the rest is listed, exit 3")
def _(m):
    out = room(m, ALICE, "tree")
    reply = m.as_user(ALICE.pw_uid, "restore", m.path("people/bob"), "--to", out).expect(3)
    equal(sorted(os.listdir(out + "/bob")), ["open"])
    contains(reply.out + reply.err, "secret", "closed")
    check("plans" not in reply.out + reply.err, reply)
    equal(os.lstat(out + "/bob/open").st_uid, ALICE.pw_uid)


@promise("nothing is written where she may not write, whoever the daemon is")
def _(m):
    os.makedirs(m.path("roots"))
    refused(m.as_user(ALICE.pw_uid, "restore", m.path("people/alice/letter"), "--to", m.path("roots")))
    equal(os.listdir(m.path("roots")), [])
    # A descriptor is no right: only what its owner may do through it counts.
    os.chmod(m.path("people/bob"), 0o777)
    m.as_user(ALICE.pw_uid, "restore", m.path("people/bob/secret"), "--on-conflict", "replace", "--yes").expect(4)
    os.chmod(m.path("people/bob"), 0o755)
    os.unlink(m.path("people/bob/open"))
    refused(m.as_user(ALICE.pw_uid, "restore", m.path("people/bob/open")))
    check(not os.path.exists(m.path("people/bob/open")))


@promise("a link that is planted in the target while it is written leads nowhere")
def _(m):
    out, elsewhere = room(m, ALICE, "race"), room(m, ALICE, "elsewhere")
    over = threading.Event()

    def plant():
        while not over.is_set():
            for i in range(10):
                for name in (f"{out}/alice/many/{i}", f"{out}/alice/many", f"{out}/alice"):
                    try:
                        os.rename(name, name + ".away")
                        os.symlink(elsewhere, name)
                        time.sleep(0.0005)
                        os.unlink(name)
                        os.rename(name + ".away", name)
                    except OSError:
                        pass

    thread = threading.Thread(target=plant)
    thread.start()
    try:
        for _ in range(5):
            m.as_user(ALICE.pw_uid, "restore", m.path("people/alice"), "--to", out, "--on-conflict", "skip")
            m.as_user(ALICE.pw_uid, "restore", m.path("people/alice"), "--to", out, "--on-conflict", "keep-both")
    finally:
        over.set()
        thread.join()
    check(os.path.exists(out + "/alice/many"), "nothing was written at all")
    equal(os.listdir(elsewhere), [])


@promise("the job outlives the client, and the writer runs as her, without capabilities")
def _(m):
    out = room(m, ALICE, "alone")
    os.makedirs(m.path("people/alice/heavy"))
    for i in range(60):
        with open(m.path("people/alice/heavy", str(i)), "wb") as f:
            f.write(os.urandom(1 << 20))
    give(m, ALICE, "people/alice/heavy")
    m.backup("home")
    m.ctl("set", "edit", "home", "--download-rate", "8MiB/s").expect(0)
    started = m.as_user(ALICE.pw_uid, "restore", m.path("people/alice/heavy"), "--to", out, "--no-wait").expect(0)
    check(started.seconds < 5, started)
    writer = wait_for("the writer", lambda: children(m, "backupd-restore"))[0]
    wait_for("its rights to be gone", lambda: status(writer, "Uid") == [str(ALICE.pw_uid)] * 4)
    equal(status(writer, "Gid"), [str(ALICE.pw_gid)] * 4)
    for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        equal(status(writer, kind), ["0" * 16], kind)
    equal(status(writer, "NoNewPrivs"), ["1"])
    wait_for("the end", lambda: not children(m, "backupd-restore"), seconds=60)
    wait_for("the job's end", lambda: m.json("jobs")["jobs"][0].get("outcome") == "complete")
    m.ctl("set", "edit", "home", "--download-rate", "").code
    subprocess.run(["diff", "-r", m.path("people/alice/heavy"), out + "/heavy"], check=True)


@promise("she follows and cancels her own restore, and sees no report of others")
def _(m):
    out = room(m, ALICE, "cancelled")
    m.as_user(ALICE.pw_uid, "restore", m.path("people/alice/heavy"), "--to", out, "--no-wait").expect(0)
    job = str(m.json("jobs")["jobs"][0]["id"])
    m.as_user(BOB.pw_uid, "cancel", job).expect(4)
    m.as_user(ALICE.pw_uid, "cancel", job)
    wait_for("the end", lambda: not children(m, "backupd-restore"))
    for verb in ("log", "jobs"):
        m.as_user(BOB.pw_uid, verb, job).expect(4)
        m.as_user(ALICE.pw_uid, verb, job).expect(0)
        m.as_user(ALICE.pw_uid, verb, "1").expect(4)
    mine = m.as_user(ALICE.pw_uid, "--json", "jobs").expect(0).lines[-1]["jobs"]
    equal({j["kind"] for j in mine}, {"restore", "export"})
    equal(m.as_user(BOB.pw_uid, "--json", "jobs").expect(0).lines[-1]["jobs"], [])


@promise("a writer that is killed ends the job as failed, and what was there stays whole")
def _(m):
    out = room(m, ALICE, "killed")
    m.ctl("set", "edit", "home", "--download-rate", "8MiB/s").expect(0)
    m.as_user(ALICE.pw_uid, "restore", m.path("people/alice/heavy"), "--to", out, "--no-wait").expect(0)
    writer = wait_for("the writer", lambda: children(m, "backupd-restore"))[0]
    os.kill(int(writer), 9)
    wait_for("the end", lambda: m.json("jobs")["jobs"][0].get("outcome") == "failed")
    m.ctl("set", "edit", "home", "--download-rate", "").code
    m.as_user(ALICE.pw_uid, "restore", m.path("people/alice/heavy"), "--to", out).expect(0)
    subprocess.run(["diff", "-r", m.path("people/alice/heavy"), out + "/heavy"], check=True)


def refused(reply):
    check(reply.code not in (0, 3), reply)
    check("denied" in reply.err or "not permitted" in reply.err.lower(), reply)


@promise("a restore that was cut off goes on with the rights of whoever began it, whoever says so")
def _(m):
    out = room(m, ALICE, "resumed")
    m.ctl("set", "edit", "home", "--download-rate", "8MiB/s").expect(0)
    m.as_user(ALICE.pw_uid, "restore", m.path("people/alice/heavy"), "--to", out, "--no-wait").expect(0)
    job = m.json("jobs")["jobs"][0]["id"]
    os.kill(int(wait_for("the writer", lambda: children(m, "backupd-restore"))[0]), 9)
    wait_for("the end", lambda: m.json("jobs")["jobs"][0].get("outcome") == "failed")
    m.ctl("set", "edit", "home", "--download-rate", "").code
    call = ["busctl", "--address=" + m.address, "call", "org.backupd1", "/org/backupd1/restore", "org.backupd1.Restore", "Resume"]
    reply = m.run([*m.user(BOB.pw_uid), *call, "ta{sv}", str(job), "0"])
    contains(reply.err, "denied")
    m.run([*call, "ta{sv}", str(job), "0"]).expect(0)
    wait_for("the end", lambda: m.json("jobs")["jobs"][0].get("outcome") == "complete")
    subprocess.run(["diff", "-r", m.path("people/alice/heavy"), out + "/heavy"], check=True)
    equal({os.lstat(os.path.join(out, "heavy", str(i))).st_uid for i in range(60)}, {ALICE.pw_uid})
    # Where it led before there is a link now: root does not follow it for her.
    os.rename(out, out + ".moved")
    os.makedirs(m.path("roots-own"))
    os.symlink(m.path("roots-own"), out)
    m.run([*call, "ta{sv}", str(job), "0"])
    wait_for("the end", lambda: m.json("jobs")["jobs"][0].get("outcome") == "failed")
    contains(m.ctl("log", str(m.json("jobs")["jobs"][0]["id"])).out, "Too many levels")
    equal(os.listdir(m.path("roots-own")), [])


@promise("a restore goes on only where she comes to herself: what has become somebody else's closed room is not opened for her")
def _(m):
    yard = room(m, ALICE, "yard")
    room(m, ALICE, "yard/out")
    m.ctl("set", "edit", "home", "--download-rate", "8MiB/s").expect(0)
    m.as_user(ALICE.pw_uid, "restore", m.path("people/alice/heavy"), "--to", yard + "/out", "--no-wait").expect(0)
    job = m.json("jobs")["jobs"][0]["id"]
    os.kill(int(wait_for("the writer", lambda: children(m, "backupd-restore"))[0]), 9)
    wait_for("the end", lambda: m.json("jobs")["jobs"][0].get("outcome") == "failed")
    m.ctl("set", "edit", "home", "--download-rate", "").code
    shutil.rmtree(yard)
    room(m, BOB, "yard")
    room(m, BOB, "yard/out")
    os.chmod(yard + "/out", 0o777)
    os.chmod(yard, 0o700)
    call = ["busctl", "--address=" + m.address, "call", "org.backupd1", "/org/backupd1/restore", "org.backupd1.Restore", "Resume"]
    for who in (m.user(ALICE.pw_uid), []):
        m.run([*who, *call, "ta{sv}", str(job), "0"])
        wait_for("the end", lambda: not m.json("status").get("jobs") and m.json("jobs")["jobs"][0].get("outcome"))
        equal(os.listdir(yard + "/out"), [])
    # Whether there is anything makes no difference to what she hears.
    first = m.as_user(ALICE.pw_uid, "log", str(m.json("jobs")["jobs"][0]["id"])).out
    os.rmdir(yard + "/out")
    m.run([*m.user(ALICE.pw_uid), *call, "ta{sv}", str(job), "0"]).expect(0)
    wait_for("the end", lambda: m.json("jobs")["jobs"][0].get("outcome"))
    second = m.as_user(ALICE.pw_uid, "log", str(m.json("jobs")["jobs"][0]["id"])).out
    contains(first, "denied")
    contains(second, "denied")


@promise("at most two restores of one person run at once")
def _(m):
    m.ctl("set", "edit", "home", "--download-rate", "4MiB/s").expect(0)
    replies = []
    for i in range(3):
        out = room(m, ALICE, f"many{i}")
        replies.append(m.as_user(ALICE.pw_uid, "restore", m.path("people/alice/heavy"), "--to", out, "--no-wait"))
    equal([reply.code for reply in replies], [0, 0, 1])
    contains(replies[2].err, "at once")
    for job in m.json("jobs")["jobs"][:2]:
        m.as_user(ALICE.pw_uid, "cancel", str(job["id"]))
    wait_for("the end", lambda: not children(m, "backupd-restore"))
    # Not even when she asks for all of them in one moment.
    heavy = m.path("people/alice/heavy").encode()
    call = ["busctl", "--address=" + m.address, "call", "org.backupd1", "/org/backupd1/restore", "org.backupd1.Restore", "RestoreInPlace"]
    args = ["ssaaya{sv}", "home", "latest", "1", str(len(heavy)), *map(str, heavy), "1", "on-conflict", "s", "keep-both"]
    for name in os.listdir(m.path("people/alice/heavy")):
        m.write(os.path.join("people/alice/heavy", name), "short")
    asked = [
        subprocess.Popen([*m.user(ALICE.pw_uid), *call, *args], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) for _ in range(12)
    ]
    equal(sum(p.wait(60) == 0 for p in asked), 2)
    for job in m.json("jobs")["jobs"][:12]:
        m.ctl("cancel", str(job["id"]))
    wait_for("the end", lambda: not children(m, "backupd-restore"))


def children(m, name):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as f:
                fields = f.read().rsplit(")", 1)
            if int(fields[1].split()[1]) == m.daemon.pid and fields[0].split("(", 1)[1] == name[:15]:
                found.append(pid)
        except OSError:
            pass
    return found


def status(pid, key):
    with open(f"/proc/{pid}/status") as f:
        for line in f:
            if line.startswith(key + ":"):
                return line.split()[1:]
    return []


def caps(path):
    try:
        return os.getxattr(path, "security.capability")
    except OSError:
        return None


@promise("what gives rights comes back as root only: bits, capabilities and devices are left off her files, and listed")
def _(m):
    tools = m.path("people/alice/tools")
    m.write_tree("people/alice/tools", {"suid": "x\n", "capable": "y\n", "plain": "z\n", "team/of": "all\n"})
    give(m, ALICE, "people/alice/tools")
    os.chmod(tools + "/suid", 0o6755)
    os.chmod(tools + "/team", 0o2775)
    net = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr(tools + "/capable", "security.capability", net)
    os.mknod(tools + "/device", 0o666 | 0o020000, os.makedev(1, 3))
    os.chown(tools + "/device", ALICE.pw_uid, ALICE.pw_gid)
    m.backup("home")
    out = room(m, ALICE, "bits")
    reply = m.as_user(ALICE.pw_uid, "restore", tools, "--to", out).expect(3)
    contains(reply.out + reply.err, "setuid", "security.capability", "device", "--as-root")
    equal(oct(os.lstat(out + "/tools/suid").st_mode), oct(0o100755))
    equal(oct(os.lstat(out + "/tools/team").st_mode), oct(0o042775))
    equal(caps(out + "/tools/capable"), None)
    check(not os.path.exists(out + "/tools/device"))
    equal(m.read("bits/tools/plain"), b"z\n")
    # In place they are as they were, and that is no conflict.
    m.as_user(ALICE.pw_uid, "restore", tools + "/suid", tools + "/capable").expect(0)
    equal((oct(os.lstat(tools + "/suid").st_mode), caps(tools + "/capable")), (oct(0o106755), net))
    planned = m.as_user(ALICE.pw_uid, "restore", "-n", tools + "/suid", "--to", m.path("bits/new"))
    contains(planned.out + planned.err, "cannot hold: setuid")


@promise("as root she restores if an administrator consents: owners, privileges and places that are not hers")
def _(m):
    tools, secret = m.path("people/alice/tools"), m.path("people/bob/secret")
    out = room(m, ALICE, "as-root")
    m.allow("browse", "browse-all")
    m.as_user(ALICE.pw_uid, "restore", secret, "--to", out, "--as-root").expect(4)
    equal(os.listdir(out), [])
    m.allow("browse", "restore-all")
    m.as_user(ALICE.pw_uid, "restore", secret, tools, "--to", out, "--as-root", "--verify").expect(0)
    equal(facts(out + "/secret"), facts(secret))
    equal((oct(os.lstat(out + "/tools/suid").st_mode), caps(out + "/tools/capable")), (oct(0o106755), caps(tools + "/capable")))
    equal(os.lstat(out + "/tools/device").st_rdev, os.makedev(1, 3))
    contains(m.daemon_log(), f"uid {ALICE.pw_uid}, RestoreTo", "(restore-all): allowed by polkit", "(restore-all): refused")
    # In place, where she may not write.
    os.unlink(secret)
    m.as_user(ALICE.pw_uid, "restore", secret).expect(4)
    check(not os.path.exists(secret))
    m.as_user(ALICE.pw_uid, "restore", secret, "--as-root").expect(0)
    equal((m.read("people/bob/secret"), os.lstat(secret).st_uid), (b"for bob\n", BOB.pw_uid))


@promise("what she may see by an administrator's consent is still written with her rights")
def _(m):
    secret, out = m.path("people/bob/secret"), room(m, ALICE, "seen")
    m.allow("browse", "browse-all")
    reply = m.as_user(ALICE.pw_uid, "restore", secret, "--to", out, "--all-users")
    check(reply.code in (0, 3), reply)
    equal((m.read("seen/secret"), os.lstat(out + "/secret").st_uid), (b"for bob\n", ALICE.pw_uid))
    os.unlink(secret)
    m.as_user(ALICE.pw_uid, "restore", secret, "--all-users")
    check(not os.path.exists(secret))
    m.allow("browse")
    m.ctl("restore", secret).expect(0)


@promise("what was begun by consent goes on by consent")
def _(m):
    m.allow("browse", "restore-all")
    out = room(m, ALICE, "again")
    os.makedirs(out + "/secret")  # in the way: it ends with a conflict
    m.as_user(ALICE.pw_uid, "restore", m.path("people/bob/secret"), "--to", out, "--as-root").expect(7)
    last = str(m.json("jobs")["jobs"][0]["id"])
    m.allow("browse", "browse-all")
    os.rmdir(out + "/secret")
    for words in ([], ["--all-users"], ["--as-root"]):
        m.as_user(ALICE.pw_uid, "resume", last, *words).expect(4)
    m.allow("browse", "restore-all")
    m.as_user(ALICE.pw_uid, "resume", last, "--as-root").expect(0)
    equal(facts(out + "/secret"), facts(m.path("people/bob/secret")))
    m.allow("browse")


@promise("of a storage that fails she hears that it does, and not where it is or how")
def _(m):
    for n in range(3):
        m.write(f"people/alice/fails/{n}", os.urandom(1 << 20))
    give(m, ALICE, "people/alice/fails")
    m.backup("home")
    all_packs = [os.path.join(d, f) for d, _, files in os.walk(m.path("repo/data")) for f in files]
    packs = [p for p in all_packs if os.path.getsize(p) > 500_000]  # content, no trees: it fails within the job
    m.restart()
    places = [m.path("repo"), m.path("state"), m.path("config"), "data/", *(os.path.basename(p) for p in packs)]
    fails, out = m.path("people/alice/fails"), room(m, ALICE, "of-fails")
    for p in packs:
        os.rename(p, p + ".away")
    try:
        for args in (["restore", fails, "--to", out], ["cat", fails + "/1"], ["cat", "--tar", fails], ["restore", "-n", fails, "--to", out]):
            reply = m.as_user(ALICE.pw_uid, *args)
            check(reply.code != 0 or "-n" in args, reply)
            told = [reply.out + reply.err]
            last = str(m.json("jobs")["jobs"][0]["id"])
            for more in (["log", last], ["--json", "log", last], ["jobs", last], ["--json", "jobs"], ["attach", last]):
                more = m.as_user(ALICE.pw_uid, *more)
                told.append(more.out + more.err)
            told.append(m.busctl("call", "org.backupd1", "/org/backupd1/job/" + last, "org.freedesktop.DBus.Properties", "GetAll", "s", "org.backupd1.Job").out)
            for text in told:
                check(not any(place in text for place in places), args, text)
        contains(m.daemon_log(), m.path("repo"))
    finally:
        for p in packs:
            os.rename(p + ".away", p)
    m.restart()
    m.as_user(ALICE.pw_uid, "restore", fails, "--to", room(m, ALICE, "whole")).expect(0)


if __name__ == "__main__":
    main(fixture)
