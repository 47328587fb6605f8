#!/usr/bin/env python3
"""Who sees what of the machine's backup: on a system bus with several callers and a stand-in for polkit."""
import grp
import json
import os
import pty
import pwd
import subprocess
import sys
import tarfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
from promises import check, contains, equal, main, promise, wait_for  # noqa: E402
from system_machine import SystemMachine  # noqa: E402

# People whom every machine knows: the bus refuses callers without a name.
ALICE, BOB, STAFF = (pwd.getpwnam("news").pw_uid, pwd.getpwnam("uucp").pw_uid, grp.getgrnam("staff").gr_gid)


def fixture():
    m = SystemMachine("access")
    m.env["BACKUPD_FAILPOINTS"] = f"verify.begun=gate:{m.path('gate')}@1+"
    m.start()
    m.write_tree(
        "people",
        {
            "alice/letter": "dear bob\n",
            "alice/private/diary": "mine\n",
            "bob/closed/plans-of-bob": "hidden\n",
            "bob/closed/deeper/more": "hidden too\n",
            "bob/open/public": "for all\n",
            "bob/open/secret": "for bob\n",
            "bob/open/listed-for-alice": "by its list\n",
            "shared/minutes": "of staff\n",
        },
    )
    m.own(ALICE, "people/alice", "people/alice/letter", "people/alice/private", "people/alice/private/diary")
    m.own(BOB, "people/bob", "people/bob/closed/plans-of-bob", "people/bob/closed/deeper", "people/bob/open", "people/bob/open/public")
    m.own(BOB, "people/bob/closed", "people/alice/private", mode=0o700)
    m.own(ALICE, "people/alice/private", mode=0o700)
    m.own(BOB, "people/bob/open/secret", "people/bob/open/listed-for-alice", mode=0o600)
    os.chown(m.path("people/shared/minutes"), 0, STAFF)
    os.chmod(m.path("people/shared/minutes"), 0o640)
    subprocess.run(["setfacl", "-m", f"u:{ALICE}:r", m.path("people/bob/open/listed-for-alice")], check=True)
    m.repository(cheap=True)
    m.set("home", m.path("people"))
    m.write_tree("etc", {"conf": "x\n"})
    m.set("etc", m.path("etc"))  # several sets: which one covers a path is asked
    m.backup("home")
    m.backup("etc")
    return m


def ls(m, uid, name, *args, code=0, **how):
    reply = m.as_user(uid, "--json", "ls", *args, m.path(name), **how).expect(code)
    return sorted(line["path"].removeprefix(m.path("people")) for line in reply.lines if "path" in line and line.get("type") != "result")


@promise("without polkit only root looks into the backup, others are refused with exit 4 and a line in the log")
def _(m):
    m.ctl("ls", m.path("people")).expect(0)
    m.as_user(ALICE, "ls", m.path("people")).expect(4)
    m.as_user(ALICE, "revisions", "home").expect(4)
    contains(m.daemon_log(), f"uid {ALICE}", "refused")
    m.as_user(ALICE, "status").expect(0)


@promise("polkit refuses: nobody but root")
def _(m):
    m.allow()
    m.as_user(ALICE, "cat", m.path("people/alice/letter")).expect(4)
    contains(m.daemon_log(), "polkit does not allow it")


@promise("each sees his own files and what is open to him")
def _(m):
    m.allow("browse")
    equal(m.as_user(ALICE, "cat", m.path("people/alice/private/diary")).expect(0).out, "mine\n")
    equal(m.as_user(ALICE, "cat", m.path("people/bob/open/public")).expect(0).out, "for all\n")
    equal(m.as_user(ALICE, "cat", m.path("people/bob/open/listed-for-alice")).expect(0).out, "by its list\n")
    m.as_user(ALICE, "cat", m.path("people/bob/open/secret")).expect(4)
    m.as_user(ALICE, "cat", m.path("people/shared/minutes")).expect(4)
    equal(m.as_user(ALICE, "cat", m.path("people/shared/minutes"), groups=(STAFF,)).expect(0).out, "of staff\n")
    contains(m.daemon_log(), "allowed by polkit")


@promise("what was refused is in the log, without the name of the file")
def _(m):
    m.as_user(BOB, "cat", m.path("people/alice/private/diary")).expect(5)
    m.as_user(BOB, "ls", m.path("people/alice/private")).expect(4)
    log = m.daemon_log()
    contains(log, f"refused to uid {BOB}")
    check("diary" not in log and "private" not in log, log)


@promise("behind a closed directory there is nothing, in the same words as where nothing is")
def _(m):
    for verb in ("ls", "cat", "history"):
        there = m.as_user(ALICE, verb, m.path("people/bob/closed/plans-of-bob")).expect(5)
        missing = m.as_user(ALICE, verb, m.path("people/bob/closed/plans-of-nob")).expect(5)
        equal(there.err.replace("plans-of-bob", "plans-of-nob"), missing.err)
        equal(there.out, missing.out)
    m.as_user(ALICE, "ls", m.path("people/bob/closed")).expect(4)


@promise("a listing of all ends at what is closed, and names nothing behind it")
def _(m):
    out = m.as_user(ALICE, "ls", "-R", m.path("people")).expect(0).out
    for word in ("letter", "diary", "secret", "closed", "public"):
        contains(out, word)
    for word in ("plans-of-bob", "deeper", "more"):
        check(word not in out, out)


@promise("what is found by name was to be found by him then")
def _(m):
    for pattern in ("*plans*", "more", "deeper", "**/closed/*"):
        reply = m.as_user(ALICE, "find", pattern)
        check("plans-of" not in reply.out and "deeper" not in reply.out, reply)
        contains(m.ctl("find", pattern).expect(0).out, "closed/")
    # Below a place that he could not have seen, there or not.
    there, nowhere = (m.as_user(ALICE, "find", "*", "--below", m.path("people/bob/closed", n)) for n in ("deeper", "reepeed"))
    equal((there.code, there.out, there.err.replace("deeper", "reepeed")), (nowhere.code, nowhere.out, nowhere.err))
    contains(m.as_user(ALICE, "find", "diary").expect(0).out, "private/diary")
    check("diary" not in m.as_user(BOB, "find", "diary").out)
    contains(m.as_user(BOB, "find", "*plans*").expect(0).out, "plans-of-bob")


@promise("history tells of versions and of deletions that he could have seen")
def _(m):
    os.unlink(m.path("people/alice/letter"))
    os.unlink(m.path("people/bob/closed/plans-of-bob"))
    m.backup("home")
    kinds = [v["kind"] for v in m.as_user(ALICE, "--json", "history", m.path("people/alice/letter")).expect(0).lines[-1]["versions"]]
    equal(kinds, ["deleted", "file"])
    m.as_user(ALICE, "history", m.path("people/bob/closed/plans-of-bob")).expect(5)
    m.as_user(ALICE, "history", m.path("people/bob/closed/never-was")).expect(5)
    equal(m.as_user(ALICE, "cat", "home/1:" + m.path("people/alice/letter")).expect(0).out, "dear bob\n")


@promise("rights of then count, not those of now")
def _(m):
    os.chmod(m.path("people/bob/closed"), 0o755)
    m.as_user(ALICE, "ls", m.path("people/bob/closed/deeper")).expect(5)
    m.backup("home")
    contains(m.as_user(ALICE, "ls", m.path("people/bob/closed")).expect(0).out, "deeper")
    m.as_user(ALICE, "ls", "home/2:" + m.path("people/bob/closed")).expect(4)
    os.chmod(m.path("people/bob/closed"), 0o700)
    m.backup("home")


@promise("since when a file was there is not told to whoever came to it later")
def _(m):
    m.write_tree("people/bob/attic", {"box": "first\n"})
    m.own(BOB, "people/bob/attic/box")
    m.own(BOB, "people/bob/attic", mode=0o700)
    m.backup("home")
    m.write("people/bob/attic/box", "second\n")
    m.backup("home")
    os.chmod(m.path("people/bob/attic"), 0o755)
    m.write("people/bob/other", "so that there is something new\n")
    m.backup("home")
    last = m.json("revisions", "home")["revisions"][0]["number"]
    box = m.path("people/bob/attic/box")
    mine = m.as_user(ALICE, "--json", "history", box).expect(0).lines[-1]["versions"]
    equal([(v["number"], v["change"], v["revisions"]) for v in mine], [(last, "created", 1)])
    m.as_user(ALICE, "cat", box).expect(0)
    m.as_user(ALICE, "cat", f"home/{last - 1}:" + box).expect(5)
    check(len(m.json("history", box)["versions"]) == 2)


@promise("a difference names nothing that is closed on one of the sides, and the disk is for administrators")
def _(m):
    reply = m.as_user(ALICE, "diff", "home/1:" + m.path("people"), "home/2")
    contains(reply.out, "letter")
    check("plans" not in reply.out + reply.err, reply)
    contains(m.ctl("diff", "home/1:" + m.path("people"), "home/2").out, "plans-of-bob")
    m.as_user(ALICE, "diff", "home/1:" + m.path("people")).expect(4)


@promise("a directory comes through a pipe as an archive of what he could have read, and the exit code says what is missing")
def _(m):
    archive = m.path("of-alice.tar")
    reply = m.as_user(ALICE, "cat", "--tar", "home/1:" + m.path("people/alice")).expect(0)
    with open(archive, "wb") as f:
        f.write(reply.raw)
    with tarfile.open(archive) as tar:
        names = [member.name for member in tar]
        equal(tar.extractfile([n for n in names if n.endswith("diary")][0]).read(), b"mine\n")
    mixed = m.as_user(ALICE, "cat", "--tar", "home/1:" + m.path("people")).expect(3)
    check(b"diary" in mixed.raw and b"closed/" in mixed.raw)
    check(b"plans-of" not in mixed.raw and b"open/secret" not in mixed.raw)
    m.as_user(ALICE, "cat", "--tar", m.path("people/bob/closed")).expect(4)
    m.as_user(ALICE, "cat", "--tar", m.path("people/bob/closed/deeper")).expect(5)


@promise("revisions are listed without what they hold of others")
def _(m):
    mine = m.as_user(ALICE, "--json", "revisions", "home").expect(0).lines[-1]["revisions"]
    all_of_it = m.ctl("--json", "revisions", "home").expect(0).lines[-1]["revisions"]
    equal([r["id"] for r in mine], [r["id"] for r in all_of_it])
    check(all(r["items"] == 0 and r["bytes"] == 0 for r in mine), mine)
    check(all_of_it[0]["items"] > 0)
    shown = m.as_user(ALICE, "show", "home/1").expect(0)
    check("repo" not in shown.out, shown)


@promise("nothing else is anybody's")
def _(m):
    for args in (
        ["run", "home", "--wait"],
        ["set", "show", "home"],
        ["set", "remove", "etc", "--yes"],
        ["queue", "home"],
        ["explain", m.path("people/alice")],
        ["gc", "--yes"],
        ["forget", "home/1", "--yes"],
        ["log"],
        ["pause", "--for", "1h"],
        ["config", "show"],
    ):
        m.as_user(ALICE, *args).expect(4)


@promise("what polkit lets him do he may")
def _(m):
    m.allow("browse", "start-backup", "pause")
    m.as_user(ALICE, "run", "etc", "--wait").expect(0)
    m.as_user(ALICE, "pause", "--for", "1h").expect(0)
    m.as_user(ALICE, "resume").expect(0)
    m.as_user(ALICE, "pause").expect(4)
    m.allow("browse")


def call(m, uid, path, interface, method, *args):
    return [*m.user(uid), "busctl", "--address=" + m.address, "call", "org.backupd1", path, "org.backupd1." + interface, method, *args]


@promise("whoever may start a run cannot say that somebody else did, or that it is no revision to count with")
def _(m):
    m.allow("browse", "start-backup")
    for trigger in ("pre-restore", "drill", "schedule"):
        reply = m.run(call(m, ALICE, "/org/backupd1/set/etc", "Set", "StartBackup", "a{sv}", "1", "trigger", "s", trigger))
        check(reply.code != 0 and ("trigger" in reply.err or "denied" in reply.err), reply)
    m.run(call(m, ALICE, "/org/backupd1/set/etc", "Set", "StartBackup", "a{sv}", "1", "trigger", "s", "user")).expect(0)
    wait_for("the run", lambda: m.json("jobs")["jobs"][0].get("outcome") == "complete")
    m.allow("browse")


@promise("a revision that does not say what is above its files shows them to administrators alone")
def _(m):
    # As another program makes it of a relative path: from within a closed directory.
    m.write_tree("closed", {"notes-of-root": "hidden\n"})
    os.chmod(m.path("closed"), 0o700)
    m.restic("backup", "-q", ".", cwd=m.path("closed")).expect(0)
    m.restic("backup", "-q", m.path("people/bob/open")).expect(0)
    relative, absolute = (revision_of(m, name) for name in ("closed", "people/bob/open"))
    contains(m.ctl("cat", "/notes-of-root", "--revision", relative).expect(0).out, "hidden")
    for args in (["ls", relative + ":/"], ["cat", "/notes-of-root", "--revision", relative], ["cat", "--tar", relative + ":/"]):
        reply = m.as_user(ALICE, *args)
        check(reply.code != 0 and "notes-of" not in reply.out and "hidden" not in reply.out, reply)
    # One that has them is judged like ours.
    equal(m.as_user(ALICE, "cat", m.path("people/bob/open/public"), "--revision", absolute).expect(0).out, "for all\n")
    m.as_user(ALICE, "cat", m.path("people/bob/open/secret"), "--revision", absolute).expect(4)


@promise("verifications that people ask for in one moment are one")
def _(m):
    m.allow("browse", "start-backup")
    argv = call(m, ALICE, "/org/backupd1/set/home", "Set", "Verify", "asa{sv}", "0", "1", "data-percent", "d", "100")
    m.write("gate", "")  # none ends before all have asked
    try:
        asked = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(8)]
        jobs = {p.communicate(timeout=60)[0] for p in asked}
    finally:
        os.unlink(m.path("gate"))
    equal(len(jobs), 1)
    contains(*jobs, "/org/backupd1/job/")
    m.allow("browse")


def revision_of(m, name):
    return [r["id"] for r in json.loads(m.restic("snapshots", "--json").expect(0).out) if r["paths"] == [m.path(name)]][-1]


@promise("32 calls of one person may wait, over however many connections")
def _(m):
    m.mock("SimulateHangActions", "as", "1", "org.backupd1.browse")
    argv = call(m, ALICE, "/org/backupd1/set/etc", "Set", "ListRevisions", "a{sv}", "0")
    waiting = [subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(40)]
    try:
        wait_for("refusals", lambda: sum(p.poll() is not None for p in waiting) >= 8, seconds=20)
        time.sleep(0.5)
        refused = [p for p in waiting if p.poll() is not None]
        equal(len(refused), 8)
        for p in refused:
            contains(p.stderr.read(), "too many calls")
    finally:
        m.mock("SimulateHangActions", "as", "0")
        m.mock("ReleaseHangingCalls")
        codes = [p.wait(30) for p in waiting]
    equal(sorted(codes), [0] * 32 + [1] * 8)
    m.as_user(ALICE, "revisions", "etc").expect(0)


@promise("a request names so many paths that nobody else has to wait for it")
def _(m):
    many = [f"/p{i}" for i in range(3000)]
    encoded = [word for path in many for word in (str(len(path)), *map(str, path.encode()))]
    reply = m.run(call(m, ALICE, "/org/backupd1/set/home", "Set", "ExportTree", "saaya{sv}", "latest", str(len(many)), *encoded, "0"))
    contains(reply.err, "paths")
    check("No such" not in reply.err and "no such path" not in reply.err, reply)


def found(m, uid, *args):
    return sorted((line["path"].rpartition("/")[2], line["deleted"]) for line in m.as_user(uid, "--json", "find", *args).expect(0).lines if "path" in line)


def next_second():
    now = int(time.time())
    wait_for("the next second", lambda: int(time.time()) > now + 1, every=0.05)


@promise("that something went behind a door that had been closed is not told, and nothing of the time before it was opened")
def _(m):
    den, vault = m.path("people/bob/den"), m.path("people/bob/vault")
    m.write_tree("people/bob", {"den/goes-late": "x\n", "den/stays-late": "y\n", "vault/was-early": "z\n"})
    for name in ("den", "den/goes-late", "den/stays-late", "vault", "vault/was-early"):
        m.own(BOB, "people/bob/" + name)
    os.chmod(vault, 0o700)
    m.backup("home")
    early = m.json("revisions", "home")["revisions"][0]["time"]
    next_second()
    os.chmod(vault, 0o755)
    m.backup("home")
    next_second()
    closed = m.json("revisions", "home")["revisions"][0]["time"]
    os.chmod(den, 0o700)
    os.unlink(den + "/goes-late")
    m.backup("home")
    equal(found(m, ALICE, "*-late"), [("goes-late", False), ("stays-late", False)])
    equal(found(m, ALICE, "*-late", "--deleted"), [])
    equal(found(m, ALICE, "*-late", "--since", closed), [])
    equal(found(m, ALICE, "*", "--deleted", "--below", den), [])
    gone, there = ([v["kind"] for v in m.as_user(ALICE, "--json", "history", f"{den}/{name}-late").expect(0).lines[-1]["versions"]] for name in ("goes", "stays"))
    equal(gone, there)
    listed = [m.as_user(ALICE, "ls", "--deleted", path) for path in (den, m.path("people/bob/closed"))]
    equal((listed[0].code, listed[0].out), (listed[1].code, listed[1].out))
    equal(found(m, BOB, "*-late"), [("goes-late", True), ("stays-late", False)])
    equal(found(m, ALICE, "was-early"), [("was-early", False)])
    equal(found(m, ALICE, "was-early", "--at", early), [])
    equal(found(m, BOB, "was-early", "--at", early), [("was-early", False)])


@promise("what another machine made is for administrators, under whatever host name")
def _(m):
    def machine_tags():
        newest = json.loads(m.restic("snapshots", "--json").expect(0).out)[-1]
        return newest["id"], [t for t in newest["tags"] if t.startswith("backupd:machine=")]

    m.write("people/alice/moved", "hers\n")
    m.own(ALICE, "people/alice/moved")
    m.backup("home")
    snapshot, tags = machine_tags()
    equal(len(tags), 1)
    with open("/etc/machine-id", encoding="ascii") as f:
        check(f.read().strip()[:12] not in tags[0], tags)
    moved = m.path("people/alice/moved")
    m.as_user(ALICE, "cat", moved).expect(0)
    check("machine=" not in m.ctl("--json", "show", "latest", "--set", "home").expect(0).out)
    before = m.json("revisions", "home")["revisions"]
    m.restic("tag", "--remove", tags[0], "--add", "backupd:machine=" + "0" * 32, snapshot).expect(0)
    number = before[0]["number"]
    reply = m.as_user(ALICE, "cat", f"home/{number}:" + moved).expect(4)
    contains(reply.err, "other machines")
    check(number not in [r["number"] for r in m.as_user(ALICE, "--json", "revisions", "home").expect(0).lines[-1]["revisions"]])
    m.ctl("cat", f"home/{number}:" + moved).expect(0)
    # It stays in its line: the next one follows it.
    m.write("people/alice/moved", "hers again\n")
    m.own(ALICE, "people/alice/moved")
    m.backup("home")
    after = m.json("revisions", "home")["revisions"]
    equal((after[0]["number"], after[0]["parent"]), (number + 1, after[1]["id"]))
    # One that does not say is judged by its host name.
    newest, tags = machine_tags()
    m.restic("tag", "--remove", tags[0], newest).expect(0)
    equal(m.as_user(ALICE, "cat", moved).expect(0).out, "hers again\n")


@promise("with an administrator's consent he sees everybody's files, for that request alone, and each decision is logged")
def _(m):
    plans = m.path("people/bob/closed/plans-of-bob")
    asks = [
        ["cat", "home/1:" + plans],
        ["ls", "home/1:" + m.path("people/bob/closed")],
        ["ls", "--deleted", m.path("people/bob/closed"), "--set", "home"],
        ["find", "*plans-of-bob"],
        ["history", plans],
        ["diff", "home/1:" + m.path("people/bob/closed"), "home/2"],
        ["revisions", "home"],
        ["show", "home/1"],
        ["cat", "--tar", "home/1:" + m.path("people/bob/closed")],
    ]
    m.allow("browse", "restore-all")  # of which none is enough
    for args in asks:
        m.as_user(ALICE, *args, "--all-users").expect(4)
    m.allow("browse", "browse-all")
    for args in asks:
        reply = m.as_user(ALICE, *args, "--all-users").expect(0)
        check(args[0] in ("revisions", "show") or b"plans-of-bob" in reply.raw or "hidden" in reply.out, reply)
    log = m.daemon_log()
    contains(log, f"uid {ALICE}, OpenFile", "(browse-all): allowed by polkit", "(browse-all): refused")
    m.as_user(ALICE, "cat", "home/1:" + plans).expect(5)
    check(m.as_user(ALICE, "--json", "revisions", "home", "--all-users").expect(0).lines[-1]["revisions"][-1]["items"] > 0)
    m.allow("browse")
    # Root needs nobody, and there the word means nothing.
    equal(m.ctl("cat", "home/1:" + plans, "--all-users").expect(0).out, "hidden\n")


AGENT = """#!/bin/sh
# Stands in for polkit's: says how it was called, that it listens, and waits for its end.
echo "$@" >{told}
trap 'exit 0' TERM
eval "exec $4>&-"
while :; do sleep 0.1; done
"""


@promise("where a password is wanted polkit's agent asks on the terminal; without one nobody is asked, and the exit code is 4")
def _(m):
    authority = "org.freedesktop.PolicyKit1.Authority"
    m.allow()
    m.mock("AddMethod", "sssss", authority, "CheckAuthorization", "(sa{sv})sa{ss}us", "(bba{ss})", "ret = (False, True, {})")
    told = os.path.join(m.write_tree("agent", {}), "told")
    os.chmod(m.path("agent"), 0o777)
    m.write("agent/pkttyagent", AGENT.format(told=told), mode=0o755)
    command = ["cat", "home/1:" + m.path("people/bob/closed/plans-of-bob"), "--all-users"]
    path = m.path("agent") + ":" + m.env["PATH"]
    reply = m.as_user(ALICE, *command, env={"PATH": path}).expect(4)
    contains(reply.err, "password")
    check(not os.path.exists(told))
    pid, terminal = pty.fork()
    if pid == 0:
        argv = [*m.user(ALICE), m.theirs, "--system", *command]
        os.execvpe(argv[0], argv, {**m.env, "PATH": path})
    said = b""
    while True:
        try:
            some = os.read(terminal, 4096)
        except OSError:
            break
        if not some:
            break
        said += some
    equal(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 4, said)
    os.close(terminal)
    with open(told, encoding="ascii") as f:
        words = f.read().split()
    equal((words[0], words[2], words[4]), ("--process", "--notify-fd", "--fallback"))
    # Which set covers a path is nothing to type a password for: the configuration is asked for without.
    asked = m.daemon_log()
    contains(asked, "(browse-all): refused: polkit wants to see an administrator's password")
    m.restart_polkit()
    m.allow("browse")
    m.as_user(ALICE, "cat", "home/1:" + m.path("people/alice/private/diary")).expect(0)


@promise("the option is one of those requests alone, and a truth value")
def _(m):
    m.allow("browse", "browse-all", "start-backup")
    set_path = "/org/backupd1/set/home"
    for args in (
        ["Set", "ListRevisions", "a{sv}", "1", "all", "s", "yes"],
        ["Set", "StartBackup", "a{sv}", "1", "all", "b", "true"],
        ["Set", "ListFiles", "saya{sv}", "latest", "1", "47", "1", "as-root", "b", "true"],
    ):
        reply = m.run(call(m, ALICE, set_path, *args))
        check(reply.code != 0 and ("all" in reply.err or "as-root" in reply.err), reply)
    m.allow("browse")


@promise("when the repository cannot be reached, where it is stays with administrators")
def _(m):
    m.stop()
    os.rename(m.path("repo"), m.path("repo-away"))
    m.start()
    try:
        for args in (
            ["ls", m.path("people")],
            ["revisions", "home"],
            ["show", "home/1"],
            ["cat", "home/1:" + m.path("people/alice/letter")],
            ["history", m.path("people/alice/letter")],
            ["find", "letter"],
            ["diff", "home/1", "home/2"],
        ):
            reply = m.as_user(ALICE, *args)
            check(reply.code != 0 or args[0] in ("history", "find"), reply)
            check(m.path("repo") not in reply.out + reply.err, reply)
        contains(m.ctl("ls", m.path("people")).err, m.path("repo"))
    finally:
        os.rename(m.path("repo-away"), m.path("repo"))


if __name__ == "__main__":
    main(fixture)
