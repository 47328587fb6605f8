#!/usr/bin/env python3
"""Configuration files: a mistake is named with file and line, the old configuration stays in force."""
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import cheap_repository  # noqa: E402
from machine import ready  # noqa: E402
from promises import check, contains, equal, main, promise, wait_for  # noqa: E402

GOOD = 'repository = "main"\npaths = ["{src}"]\n'

# name of the file, content, line of the problem, words of the message
MISTAKES = [
    ("sets.d/x.toml", 'repository = "main"\npaths = [\n', None, []),
    ("sets.d/x.toml", 'repository = "main"\npaths = ["{src}"]\nexlude = ["*.o"]\n', 3, ["exlude", "exclude"]),
    ("sets.d/x.toml", 'repository = "main"\npaths = "{src}"\n', 2, ["paths"]),
    ("sets.d/x.toml", 'repository = "main"\npaths = [1]\n', 2, ["paths"]),
    ("sets.d/x.toml", 'repository = "main"\n', None, ["paths"]),
    ("sets.d/x.toml", 'repository = "main"\npaths = []\n', None, ["paths"]),
    ("sets.d/x.toml", 'repository = "main"\npaths = ["relative/dir"]\n', 2, ["relative/dir"]),
    ("sets.d/x.toml", 'paths = ["{src}"]\nrepository = "elsewhere"\n', None, ["elsewhere"]),
    ("sets.d/x.toml", 'paths = ["{src}"]\n', None, ["repository"]),
    ("repositories.d/y.toml", 'urll = "/x"\n', 1, ["urll", "url"]),
    ("repositories.d/y.toml", "url = 5\n", 1, ["url"]),
    ("repositories.d/y.toml", 'url = "gopher://x"\n', None, ["gopher"]),
    ("backupd.toml", "nonsense = true\n", 1, ["nonsense"]),
    ("backupd.toml", "\n\n= 3\n", 3, []),
    ("backupd.toml", b"\xff\xfe\x00binary", None, []),
]


def fixture():
    m = ready("config")
    m.write_tree("src", {"a": "one\n"})
    m.set("home", m.path("src"))
    m.backup()
    return m


def put(m, file, content):
    if isinstance(content, str):
        content = content.replace("{src}", m.path("src"))
    return m.write("config/" + file, content)


def restore_file(m, file, old):
    if old is None:
        os.unlink(m.path("config", file))
    else:
        m.write("config/" + file, old)


for file, content, line, words in MISTAKES:

    @promise(f"{file} {content!r:.60} is refused".replace(":", " ").replace("\\n", " "))
    def _(m, file=file, content=content, line=line, words=words):
        path = m.path("config", file)
        old = m.read("config/" + file) if os.path.exists(path) else None
        put(m, file, content)
        try:
            reply = m.ctl("config", "check")
            reply.expect(2 if reply.code == 2 else 1, os.path.basename(file), *words)
            if line is not None:
                contains(reply.out + reply.err, f"{os.path.basename(file)}:{line}")
            reload = m.ctl("config", "reload")
            check(reload.code != 0, "reload accepts it", reload)
            contains(reload.out + reload.err, os.path.basename(file))
            equal([s["id"] for s in m.json("status")["sets"]], ["home"], "the old configuration is gone")
            m.ctl("run", "home", "--wait").expect(0)
        finally:
            restore_file(m, file, old)
        m.ctl("config", "check").expect(0)
        m.ctl("config", "reload").expect(0)


@promise("SIGHUP with a broken file keeps the old configuration, raises the alarm and goes on")
def _(m):
    put(m, "sets.d/x.toml", "paths = [")
    m.daemon.send_signal(signal.SIGHUP)
    wait_for("the notice", lambda: "x.toml" in m.ctl("status").out)
    equal([s["id"] for s in m.json("status")["sets"]], ["home"])
    os.unlink(m.path("config/sets.d/x.toml"))
    m.daemon.send_signal(signal.SIGHUP)
    wait_for("the end of the notice", lambda: "x.toml" not in m.ctl("status").out)


@promise("a daemon that starts with a broken file serves, says so, and runs nothing wrong")
def _(m):
    put(m, "sets.d/x.toml", "paths = [")
    m.stop()
    m.start()
    contains(m.ctl("status").out, "x.toml", "config check")
    # Nobody is told to make what is there already, only unread.
    for args in (["run", "home"], ["run"], ["ls", m.path("src")], ["repo", "show", "main"], ["set", "show", "home"]):
        reply = m.ctl(*args).expect(5, "backupctl config check")
        check("make one" not in reply.err, reply)
    for args in (["set", "list"], ["revisions"]):
        contains(str(m.ctl(*args).expect(0)), "backupctl config check")
    os.unlink(m.path("config/sets.d/x.toml"))
    m.ctl("config", "reload").expect(0)
    m.backup()


@promise("several problems stand on lines of their own, each with file and line")
def _(m):
    good = m.read("config/sets.d/home.toml").decode()
    put(m, "sets.d/home.toml", good + "exclued = []\nwindow = []\n")
    told = m.ctl("config", "reload").expect(2, "stays in force").err
    lines = told.splitlines()
    check("\\x0a" not in told, told)
    check(any("exclued" in line and "window" not in line and "home.toml:" in line for line in lines), told)
    check(any('"windows"' in line and "exclued" not in line and "home.toml:" in line for line in lines), told)
    put(m, "sets.d/home.toml", good)
    m.ctl("config", "reload").expect(0)


@promise("config show gives text that loads as the same configuration")
def _(m):
    shown = m.ctl("config", "show").expect(0).out
    contains(shown, "home", m.path("src"), "main")
    check("secret\n" not in shown, "the password is shown")


@promise("a set made by the client is a file that a person can edit")
def _(m):
    m.ctl("set", "create", "docs", "--repo", "main", m.path("src"), "--exclude", "*.o", "--exclude", "/cache/").expect(0)
    text = m.read("config/sets.d/docs.toml").decode()
    contains(text, "main", m.path("src"), "*.o", "/cache/")
    put(m, "sets.d/docs.toml", text.replace('"*.o"', '"*.o", "*.tmp"'))
    m.ctl("config", "reload").expect(0)
    contains(m.ctl("set", "show", "docs").out, "*.tmp")
    m.ctl("set", "remove", "docs", "--yes").expect(0)
    check(not os.path.exists(m.path("config/sets.d/docs.toml")))


@promise("passwords are kept readable by their owner alone, and appear nowhere else")
def _(m):
    for base, _, names in os.walk(m.path("config")):
        for name in names:
            path = os.path.join(base, name)
            with open(path, "rb") as f:
                if f.read().strip() == b"secret":
                    equal(oct(os.stat(path).st_mode & 0o777), "0o600", path)
    for base, _, names in os.walk(m.path("state")):
        for name in names:
            with open(os.path.join(base, name), "rb") as f:
                check(b"secret" not in f.read(), "the password is in the state:", name)
    check("secret" not in m.daemon_log(10000), "the password is in the log")


@promise("a password file that is gone or holds another password is named: exit code 12")
def _(m):
    file = m.write("password-of-second", "secret\n", 0o600)
    cheap_repository.make(m.path("second"), "secret")
    put(m, "repositories.d/second.toml", f'url = "{m.path("second")}"\npassword-file = "{file}"\n')
    put(m, "sets.d/second.toml", f'repository = "second"\npaths = ["{m.path("src")}"]\nautomatic = false\n')
    m.ctl("config", "reload").expect(0)
    m.backup("second")
    os.unlink(file)
    m.restart()
    m.ctl("run", "second", "--wait").expect(12, file, "repo unlock second")
    m.write("password-of-second", "another\n", 0o600)
    m.ctl("run", "second", "--wait").expect(12, m.path("second"))
    contains(m.ctl("status").out, "second' is locked")
    m.write("password-of-second", "secret\n", 0o600)
    m.backup("second")
    for name in ("sets.d", "repositories.d"):
        os.unlink(m.path("config", name, "second.toml"))
    m.ctl("config", "reload").expect(0)


@promise("excluded patterns leave their files out, and look-alikes in")
def _(m):
    m.write_tree("ex", {"keep.c": "1", "drop.o": "2", "cache/x": "3", "cache.js": "4", "sub/deep/drop.o": "5", "drop.obj": "6"})
    m.ctl("set", "create", "ex", "--repo", "main", m.path("ex"), "--exclude", "*.o", "--exclude", "cache/").expect(0)
    m.backup("ex")
    names = {
        os.path.basename(line.split()[-1].rstrip("/"))
        for line in m.ctl("ls", "-R", m.path("ex")).expect(0).out.splitlines()
        if line.split()
    }
    check({"keep.c", "cache.js", "drop.obj"} <= names, names)
    check(not {"drop.o", "x"} & names, names)


@promise("a repository inside of what it protects is left out of itself")
def _(m):
    m.write_tree("box", {"letter": "dear\n"})
    m.repository("inner", "box/backups")
    m.set("box", m.path("box"), repository="inner")
    m.backup("box")
    m.backup("box", "--full")
    names = m.ctl("ls", "-R", m.path("box")).expect(0).out
    contains(names, "letter")
    check("snapshots" not in names and "keys" not in names, names)


if __name__ == "__main__":
    main(fixture)
