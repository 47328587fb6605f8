#!/usr/bin/env python3
"""Wrong requests: each gets a clear error, its documented exit code, and changes nothing."""
import hashlib
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
from machine import ready  # noqa: E402
from promises import check, contains, equal, main, promise, wait_for  # noqa: E402


def fingerprint(directory):
    """Every file of a directory with its content: to see that nothing changed."""
    found = {}
    for base, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(base, name)
            if not os.path.islink(path) and os.path.isfile(path):
                with open(path, "rb") as f:
                    found[os.path.relpath(path, directory)] = hashlib.sha256(f.read()).hexdigest()
    return found


def fixture():
    m = ready("refuse")
    m.write_tree("src", {"a": "one\n", "d/b": "two\n"})
    m.set("home", m.path("src"))
    m.backup()
    m.wrong = m.write("wrong-password", "not it\n", 0o600)
    return m


def untouched(m, *args, code, words=(), within=("repo", "config")):
    """The command fails as documented and neither the repository nor the configuration changed."""
    before = [fingerprint(m.path(w)) for w in within]
    reply = m.ctl(*args)
    codes = code if isinstance(code, tuple) else (code,)
    check(reply.code in codes, f"exit code {reply.code}, wanted {codes}:\n{reply}")
    reply.expect(reply.code, *words)
    equal([fingerprint(m.path(w)) for w in within], before, "changed by", *args)
    check("terminate called" not in reply.err and "Sanitizer" not in reply.err, reply)
    return reply


@promise("a wrong password is exit code 12")
def _(m):
    untouched(m, "repo", "add", "again", m.path("repo"), "--password-file", m.wrong, code=12, words=["password"])
    check("again" not in m.ctl("repo", "list").out)


@promise("a wrong password at repo test is exit code 12")
def _(m):
    untouched(m, "repo", "test", "main", "--password-file", m.wrong, code=12, words=["password"])
    m.ctl("repo", "test", "main", "--password-file", m.password_file).expect(0)


@promise("a password file that is missing or empty is named")
def _(m):
    untouched(
        m, "repo", "init", "n1", m.path("n1"), "--password-file", m.path("no-such-file"), code=(1, 2, 5), words=["no-such-file"]
    )
    empty = m.write("empty", "")
    untouched(m, "repo", "init", "n1", m.path("n1"), "--password-file", empty, code=(1, 2, 12), words=["password"])
    check(not os.path.exists(m.path("n1/config")))


@promise("a repository that is not there is exit code 10")
def _(m):
    untouched(m, "repo", "add", "gone", m.path("nowhere"), "--password-file", m.password_file, code=10, words=["nowhere"])
    check(not os.path.exists(m.path("nowhere")), "adding made a directory")


@promise("a directory that is no repository is exit code 10, and stays as it was")
def _(m):
    m.write_tree("plain", {"letter": "dear"})
    untouched(m, "repo", "add", "plain", m.path("plain"), "--password-file", m.password_file, code=10, words=["plain"])
    equal(os.listdir(m.path("plain")), ["letter"])
    file = m.write("just-a-file", "x")
    untouched(m, "repo", "add", "file", file, "--password-file", m.password_file, code=(10, 13), words=["just-a-file"])


@promise("repo init refuses a place that already holds a repository or files")
def _(m):
    untouched(m, "repo", "init", "twice", m.path("repo"), "--password-file", m.password_file, code=(1, 7), words=["repo"])
    m.write_tree("full", {"letter": "dear"})
    untouched(m, "repo", "init", "full", m.path("full"), "--password-file", m.password_file, code=7, words=["letter", "full/backup"])
    untouched(m, "repo", "init", "full", m.path("full/letter"), "--password-file", m.password_file, code=5, words=["letter", "not a directory"])
    equal(os.listdir(m.path("full")), ["letter"])
    equal(m.read("full/letter"), b"dear")
    os.makedirs(m.path("disk/lost+found"))
    os.makedirs(m.path("disk/keys"))  # as an attempt that was cut short leaves it
    m.ctl("repo", "init", "disk", m.path("disk"), "--password-file", m.password_file).expect(0)
    m.ctl("repo", "remove", "disk", "--yes").expect(0)


@promise("a repository of an unknown version is refused by its number")
def _(m):
    for version in ("config-version-3", "config-version-0", "config-version-huge"):
        place = m.path(version)
        subprocess.run(
            [sys.executable, os.path.join(HERE, "../support/hostile_repository.py"), "make", version, place], check=True
        )
        key = m.write("x", "x\n", 0o600)
        before = fingerprint(place)
        untouched(m, "repo", "add", "future", place, "--password-file", key, code=(1, 14), words=["version" if version[-1] in "03" else "config"])
        equal(fingerprint(place), before)


@promise("a relative or unknown storage address is refused")
def _(m):
    for url in ("gopher://x/y", "local:relative", "file://host/x"):
        untouched(m, "repo", "init", "odd", url, "--password-file", m.password_file, code=(1, 2))


@promise("unknown sets, revisions, paths and jobs are exit code 5 and named")
def _(m):
    untouched(m, "run", "nosuchset", "--wait", code=5, words=["nosuchset"])
    untouched(m, "revisions", "nosuchset", code=5, words=["nosuchset"])
    untouched(m, "status", "nosuchset", code=5, words=["nosuchset"])
    untouched(m, "set", "show", "nosuchset", code=5, words=["nosuchset"])
    untouched(m, "show", "abcdef123456", code=5, words=["abcdef123456"])
    untouched(m, "show", "999", code=5, words=["home", "no revision 999"])
    untouched(m, "ls", m.path("src/nothing-here"), code=5, words=["nothing-here"])
    untouched(m, "cat", m.path("src/nothing-here"), code=5, words=["nothing-here"])
    untouched(m, "restore", m.path("src/nothing-here"), "--to", m.path("r0"), code=5, words=["nothing-here"])
    untouched(m, "restore", m.path("src/a"), "--revision", "ffffffffffff", "--to", m.path("r0"), code=5)
    untouched(m, "restore", "/not/in/any/set", "--to", m.path("r0"), code=5, words=["/not/in/any/set"])
    untouched(m, "jobs", "987654", code=5, words=["987654"])
    untouched(m, "log", "987654", code=5, words=["987654"])
    untouched(m, "cancel", "987654", code=5, words=["987654"])
    untouched(m, "attach", "987654", code=5, words=["987654"])
    untouched(m, "repo", "show", "nosuchrepo", code=5, words=["nosuchrepo"])
    check(not os.path.exists(m.path("r0")), "a restore of nothing made its target")


@promise("cat of a directory is refused")
def _(m):
    untouched(m, "cat", m.path("src/d"), code=(1, 2, 5), words=["is a directory"])


@promise("wrong usage is exit code 2 and says what is right")
def _(m):
    contains(untouched(m, "reviisons", code=2).err, "revisions")
    contains(untouched(m, "revisions", "--jsn", code=2).err, "--json")
    untouched(m, "restore", code=2)
    untouched(m, "restore", m.path("src/a"), "--on-conflict", "maybe", code=2, words=["keep-both"])
    untouched(m, "repo", "init", code=2)
    untouched(m, "repo", "wash", code=2)
    untouched(m, "verify", "--data", "lots", code=2)
    untouched(m, "cancel", "seven", code=2)
    untouched(m, "restore", m.path("src/a"), "--at", "the day after", "--to", m.path("r0"), code=2)
    untouched(m, "log", "--since", "never", code=2)


@promise("a set without paths, with relative paths or without a repository is refused")
def _(m):
    untouched(m, "set", "create", "s1", "--repo", "main", code=2, words=["path"])
    untouched(m, "set", "create", "s1", "--repo", "main", "relative/path", code=2, words=["relative/path"])
    untouched(m, "set", "create", "s1", "--repo", "nosuchrepo", m.path("src"), code=(2, 5), words=["nosuchrepo"])
    untouched(m, "set", "create", "s1", m.path("src"), code=2)
    untouched(m, "set", "create", "../evil", "--repo", "main", m.path("src"), code=2, words=["evil"])
    untouched(m, "set", "create", "home", "--repo", "main", m.path("src"), code=(1, 2, 7), words=["home"])
    untouched(m, "set", "create", "s1", "--repo", "main", m.path("src") + "/../src", code=2, words=["must not hold '..'"])


@promise("a set of which one path is missing finishes with that exception; one without any fails")
def _(m):
    m.ctl("set", "create", "partly", "--repo", "main", m.path("src"), m.path("not-mounted")).expect(0)
    reply = m.ctl("--json", "run", "partly", "--wait")
    reply.expect(3)
    equal(reply.result["outcome"], "exceptions")
    contains(m.ctl("show", reply.result["revision"]).out + m.ctl("log", str(reply.result["job"])).out, "not-mounted")
    m.ctl("set", "create", "nothing", "--repo", "main", m.path("not-mounted")).expect(0)
    before = fingerprint(m.path("repo"))
    reply = m.ctl("--json", "run", "nothing", "--wait")
    check(reply.code in (1, 5), reply)
    equal(reply.result["outcome"], "failed")
    equal(fingerprint(m.path("repo")), before)
    for name in ("partly", "nothing"):
        m.ctl("set", "remove", name, "--yes").expect(0)


@promise("a repository that a set uses cannot be removed")
def _(m):
    untouched(m, "repo", "remove", "main", "--yes", code=7, words=["home"])


@promise("the last key cannot be removed")
def _(m):
    keys = m.json("key", "list", "main")["keys"]
    equal(len(keys), 1)
    untouched(m, "key", "remove", "main", keys[0]["id"], "--yes", code=7)


@promise("a verb that destroys asks for --yes when there is no terminal")
def _(m):
    untouched(m, "set", "remove", "home", code=(2, 7), words=["--yes"])


@promise("while another tool holds the exclusive lock nothing is written: exit code 11")
def _(m):
    # restic locks, then says what it does: into a pipe that is full, where it waits for us.
    ear, mouth = os.pipe()
    os.set_blocking(mouth, False)
    try:
        while True:
            os.write(mouth, b"\n" * 4096)
    except BlockingIOError:
        os.set_blocking(mouth, True)
    holder = subprocess.Popen(
        ["restic", "--no-cache", "-r", m.path("repo"), "--password-file", m.password_file, "rebuild-index"],
        stdout=mouth,
        stderr=subprocess.DEVNULL,
        env=m.env,
    )
    os.close(mouth)
    locks = lambda: [n for n in os.listdir(m.path("repo/locks")) if len(n) == 64]  # not the temporary one
    try:
        wait_for("restic's lock", lambda: locks() or holder.poll() is not None)
        check(holder.poll() is None, "restic ended with", holder.returncode)
        m.write("src/new-file", "needs a new revision")
        before = fingerprint(m.path("repo"))
        reply = m.ctl("--json", "run", "home", "--wait")
        reply.expect(11)
        equal(fingerprint(m.path("repo")), before)
        m.ctl("ls", m.path("src")).expect(0)  # reading goes on
        check(holder.poll() is None, "restic ended with", holder.returncode)
    finally:
        while os.read(ear, 1 << 16):
            pass
        os.close(ear)
        holder.wait()
    equal(holder.returncode, 0)
    m.backup()


@promise("after all of this the daemon still works")
def _(m):
    m.write("src/last", "x")
    equal(m.backup()["outcome"], "complete")
    m.restic("check").expect(0)


if __name__ == "__main__":
    main(fixture)
