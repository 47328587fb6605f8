#!/usr/bin/env python3
"""Every key that the manual documents: a value that is taken and shown, and one that is refused with file, line and the old policy kept."""
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
from machine import ready  # noqa: E402
from promises import check, contains, equal, main, promise  # noqa: E402

# key: (lines that are taken, lines that are not, where `set show` has it, what it shows). In lines @src is the set's path.
SET = {
    "title": ('title = "Papers"', "title = 5", "title", "Papers"),
    "paths": ('paths = ["@src", "/etc"]', 'paths = ["src"]', "paths", ["@src", "/etc"]),
    "repository": ('repository = "main"', 'repository = "mian"', "repository", "main"),
    "exclude": ('exclude = ["*.o", "!keep.o"]', "exclude = [5]", "exclude", ["*.o", "!keep.o"]),
    "presets": ('presets = ["builds"]', 'presets = ["bilds"]', "presets", ["builds"]),
    "cachedir-tag": ("cachedir-tag = false", 'cachedir-tag = "no"', "cachedir_tag", False),
    "nodump": ("nodump = false", "nodump = 0", "nodump", False),
    "one-file-system": ("one-file-system = true", "one-file-system = 1", "one_file_system", True),
    "larger-than": ('larger-than = "2GiB"', 'larger-than = "big"', "larger_than", 2 << 30),
    "enabled": ("enabled = false", 'enabled = "off"', "enabled", False),
    "hostname": ('hostname = "other"', "hostname = true", "hostname", "other"),
    "adopt": ('adopt = ["old/home"]', 'adopt = ["old"]', "adopt", ["old/home"]),
    "automatic": ("automatic = false", "automatic = 0", "automatic", False),
    "settle": ('settle = "500ms"', 'settle = "2h"', "settle", 0.5),
    "min-interval": ('min-interval = "1h"', 'min-interval = "often"', "min_interval", 3600),
    "reconcile": ('reconcile = "10d"', 'reconcile = "monthly"', "reconcile", 864000),
    "interval": ('interval = "2d"', "interval = []", "interval", 172800),
    "windows": ('windows = ["Mon..Fri 22:00-06:00"]', 'windows = ["25:00-26:00"]', "windows", ["Mon..Fri 22:00-06:00"]),
    "jitter": ('jitter = "1h"', 'jitter = "some"', "jitter", "1h"),
    "max-deferral": ('max-deferral = "2d"', 'max-deferral = "late"', "max_deferral", 172800),
    "avoid": ('avoid = ["battery"]', 'avoid = ["batery"]', "avoid", ["battery"]),
    "upload-rate": ('upload-rate = "2MiB/s"', 'upload-rate = "fast"', "upload_rate", 2 << 20),
    "download-rate": ('download-rate = "3MiB/s"', "download-rate = -1", "download_rate", 3 << 20),
    "priority": ("priority = 80", "priority = 101", "priority", 80),
    "[keep] last": ("[keep]\nlast = 7", "[keep]\nlast = -1", "keep", "last=7"),
    "[keep] hourly": ("[keep]\nhourly = 7", '[keep]\nhourly = "x"', "keep", "hourly=7"),
    "[keep] daily": ("[keep]\ndaily = 7", "[keep]\ndaily = true", "keep", "daily=7"),
    "[keep] weekly": ("[keep]\nweekly = 7", "[keep]\nweekly = 1.5", "keep", "weekly=7"),
    "[keep] monthly": ("[keep]\nmonthly = 7", "[keep]\nmonthly = []", "keep", "monthly=7"),
    "[keep] yearly": ("[keep]\nyearly = 7", "[keep]\nyearly = 100001", "keep", "yearly=7"),
    "[keep] within": ('[keep]\nwithin = "7d"', '[keep]\nwithin = "x"', "keep", "within=1w"),
    "[keep] tags": ('[keep]\ntags = ["t"]', '[keep]\ntags = ["a b"]', "keep", "tag=t"),
    "[keep] minimum": ("[keep]\nminimum = 9", "[keep]\nminimum = -2", "keep", "minimum=9"),
    "[hooks] before": ('[hooks]\nbefore = ["/bin/true", "x"]', '[hooks]\nbefore = ["true"]', "hooks.before", ["/bin/true", "x"]),
    "[hooks] after": ('[hooks]\nafter = ["/bin/true"]', '[hooks]\nafter = "/bin/true"', "hooks.after", ["/bin/true"]),
    "[hooks] timeout": ('[hooks]\ntimeout = "1min"', '[hooks]\ntimeout = "off"', "hooks.timeout", 60),
    "[hooks] must-succeed": ("[hooks]\nmust-succeed = false", "[hooks]\nmust-succeed = 1", "hooks.must_succeed", False),
    "[drill] every": ('[drill]\nevery = "3d"', '[drill]\nevery = "x"', "drill", "every=3d"),
    "[drill] files": ("[drill]\nfiles = 7", "[drill]\nfiles = -1", "drill", "files=7"),
    "[drill] bytes": ('[drill]\nbytes = "1MiB"', '[drill]\nbytes = true', "drill", "bytes=1MiB"),
    "[guard] gone": ("[guard]\ngone = 80", "[guard]\ngone = 101", "guard", "gone=80"),
    "[guard] removed": ("[guard]\nremoved = 80", '[guard]\nremoved = "x"', "guard", "removed=80"),
    "[guard] changed": ("[guard]\nchanged = 80", "[guard]\nchanged = -1", "guard", "changed=80"),
    "[guard] opaque": ("[guard]\nopaque = 80", "[guard]\nopaque = true", "guard", "opaque=80"),
    "[guard] least": ("[guard]\nleast = 80", "[guard]\nleast = []", "guard", "least=80"),
}
for kind in ("soft", "hard"):
    for name, good, bad, shown in (
        ("items", "5", "-1", "5"),
        ("bytes", '"1GiB"', '"much"', "1GiB"),
        ("file-size", '"1MiB"', "true", "1MiB"),
        ("churn", '"2GiB"', '"2GiB/s"', "2GiB"),
        ("revisions", "9", '"many"', "9"),
    ):
        where = f"[limits.{kind}]\n{name} = "
        SET[f"[limits.{kind}] {name}"] = (where + good, where + bad, "limits", ("soft-" if kind == "soft" else "") + f"{name}={shown}")

# key: (lines that are taken, lines that are not, what `config show` has then)
REPOSITORY = {
    "url": ('url = "@repo"', 'url = "ftp:x"', 'url = "@repo"'),
    "password-file": ('password-file = "@password"', 'password-file = "password"', 'password-file = "@password"'),
    "trash": ('trash = "2w"', 'trash = "x"', 'trash = "2w"'),
    "grace": ('grace = "3d"', 'grace = "1h"', 'grace = "3d"'),
    "collect": ('collect = "2d"', 'collect = "x"', 'collect = "2d"'),
    "collect-rate": ('collect-rate = "5MiB"', 'collect-rate = "x"', 'collect-rate = "5MiB"'),
    "waste": ("waste = 30", "waste = 0", "waste = 30"),
    "append-only": ("append-only = true", "append-only = 1", "append-only = true"),
    "windows": ('windows = ["Sat,Sun"]', 'windows = ["Sad"]', 'windows = ["Sat,Sun"]'),
    "verify": ('verify = "3d"', 'verify = "x"', 'verify = "3d"'),
    "verify-data": ("verify-data = 7", "verify-data = 101", "verify-data = 7"),
}
MAIN = {
    "[defaults] exclude": ('[defaults]\nexclude = ["*.bak"]', "[defaults]\nexclude = 5", '"*.bak"'),
    "[defaults] cachedir-tag": ("[defaults]\ncachedir-tag = false", "[defaults]\ncachedir-tag = 5", "cachedir-tag = false"),
    "[defaults] nodump": ("[defaults]\nnodump = false", "[defaults]\nnodump = 5", "nodump = false"),
    "[engine] read-threads": ("[engine]\nread-threads = 3", "[engine]\nread-threads = 257", "read-threads = 3"),
    "[engine] read-back-percent": ("[engine]\nread-back-percent = 3", "[engine]\nread-back-percent = 101", "read-back-percent = 3"),
    "[engine] compression-level": ("[engine]\ncompression-level = 4", "[engine]\ncompression-level = 20", "compression-level = 4"),
    "[engine] pack-size": ('[engine]\npack-size = "8MiB"', '[engine]\npack-size = "1MiB"', 'pack-size = "8MiB"'),
    "[engine] checkpoint": ('[engine]\ncheckpoint = "2MiB"', '[engine]\ncheckpoint = "1KiB"', 'checkpoint = "2MiB"'),
    "[engine] tree-rules": ('[engine]\ntree-rules = "go122"', '[engine]\ntree-rules = "go1"', 'tree-rules = "go122"'),
    "[tracking] watch": ('[tracking]\nwatch = ["inotify"]', '[tracking]\nwatch = ["look"]', 'watch = ["inotify"]'),
    "[tracking] census-period": ('[tracking]\ncensus-period = "2min"', '[tracking]\ncensus-period = "x"', 'census-period = "2min"'),
    "[tracking] scrub-period": ('[tracking]\nscrub-period = "2d"', "[tracking]\nscrub-period = true", 'scrub-period = "2d"'),
    "[tracking] scrub-content-percent": ("[tracking]\nscrub-content-percent = 2", "[tracking]\nscrub-content-percent = 101", "scrub-content-percent = 2"),
    "[tracking] canary-period": ('[tracking]\ncanary-period = "5min"', '[tracking]\ncanary-period = "x"', 'canary-period = "5min"'),
    "[tracking] degraded-scan-period": ('[tracking]\ndegraded-scan-period = "1h"', '[tracking]\ndegraded-scan-period = "x"', 'degraded-scan-period = "1h"'),
    "[tracking] most-watches": ("[tracking]\nmost-watches = 100", "[tracking]\nmost-watches = -1", "most-watches = 100"),
    "[rates] upload": ('[rates]\nupload = "9MiB/s"', '[rates]\nupload = "x"', 'upload = "9MiB/s"'),
    "[rates] download": ('[rates]\ndownload = "8MiB/s"', "[rates]\ndownload = -1", 'download = "8MiB/s"'),
    "[health] command": ('[health]\ncommand = ["/bin/true"]', '[health]\ncommand = ["true"]', 'command = ["/bin/true"]'),
    "[metrics] textfile": ('[metrics]\ntextfile = "@top/a.prom"', '[metrics]\ntextfile = "a.prom"', 'textfile = "@top/a.prom"'),
    "[conditions] pressure": ("[conditions]\npressure = 60", "[conditions]\npressure = 0", "pressure = 60"),
}


def fixture():
    m = ready("keys")
    m.write_tree("src", {"a": "one\n"})
    m.names = {"@src": m.path("src"), "@repo": m.path("repo"), "@password": m.password_file, "@top": m.top}
    return m


def filled(m, value):
    if isinstance(value, list):
        return [filled(m, one) for one in value]
    for name, path in m.names.items():
        value = value.replace(name, path) if isinstance(value, str) else value
    return value


def whole(m, base, lines):
    """The base without the keys that the lines give, then the lines."""
    given = {line.split(" = ")[0] for line in lines.splitlines()}
    kept = "".join(line + "\n" for line in base.splitlines() if line.split(" = ")[0] not in given)
    return filled(m, kept + lines + "\n")


def reload_bad(m, file, text, key):
    name = key.split(" ")[-1]
    m.write(file, text)
    line = next(i for i, one in enumerate(text.splitlines(), 1) if one.startswith(name + " = "))
    reply = m.ctl("config", "reload").expect(2)
    contains(reply.err + reply.out, f"{os.path.basename(file)}:{line}: ", name if name != "repository" else "mian")
    m.ctl("config", "check").expect(2)


def documented(section, until):
    """The keys of a part of the manual: (table, key)."""
    with open(os.path.join(HERE, "../../man/backupd.toml.5.in")) as f:
        text = f.read()
    lines = text[text.index(".SH " + section) : text.index(".SH " + until)].replace("\\-", "-").splitlines()
    keys, table, depth = [], [], 0
    for i, line in enumerate(lines):
        if line == ".RS":
            depth += 1
        elif line == ".RE":
            depth, table = depth - 1, []
        elif lines[i - 1] == ".TP" and line.startswith((".B ", ".BR ", ".BI ")):
            words = re.findall(r"\[[a-z.]+\]|[a-z][a-z-]*", line.split(" ", 1)[1])
            if words and words[0].startswith("["):
                table = words
            elif depth:
                keys += [f"{one} {word}" for one in table for word in words]
            else:
                keys += words
    return sorted(keys)


@promise("what the manual documents is what is tried here, no more and no less")
def _(m):
    equal(documented("SETS.D", "PRESETS"), sorted(SET))
    equal(documented("REPOSITORIES.D", "SETS.D"), sorted(REPOSITORY))
    # And the tables of a repository and of a set, which have the keys of their files.
    equal([k for k in documented("BACKUPD.TOML", "REPOSITORIES.D") if k not in ("repository", "set")], sorted(MAIN))


@promise("each key of a set: taken, shown by set show, and back in its file after an edit; a bad value names file and line, the old policy stays")
def _(m):
    base = 'repository = "main"\npaths = ["@src"]\n'
    file = "config/sets.d/probe.toml"
    for key, (good, bad, where, wanted) in SET.items():
        m.write(file, whole(m, base, good))
        m.ctl("config", "reload").expect(0)
        for again in range(2):
            shown = m.json("set", "show", "probe")["config"]
            for part in where.split("."):
                shown = shown[part]
            equal(shown, filled(m, wanted), key, "after an edit" if again else "")
            if not again:
                m.ctl("set", "edit", "probe", *(["--title", "Papers"] if key == "title" else ["--title", "edited"])).expect(0)
        before = m.json("set", "show", "probe")["config"]
        reload_bad(m, file, whole(m, base, bad), key)
        equal(m.json("set", "show", "probe")["config"], before, key, "the old policy stays")
    m.write(file, filled(m, base))
    m.ctl("config", "reload").expect(0)


@promise("each key of a repository: taken, and shown by config show; a bad value names file and line")
def _(m):
    file = "config/repositories.d/main.toml"
    with open(m.path(file)) as f:
        base = f.read()
    for key, (good, bad, wanted) in REPOSITORY.items():
        m.write(file, whole(m, base, good))
        m.ctl("config", "reload").expect(0)
        contains(m.ctl("config", "show").expect(0).out, filled(m, wanted))
        reload_bad(m, file, whole(m, base, bad), key)
        contains(m.ctl("config", "show").expect(0).out, filled(m, wanted))
    m.write(file, base)
    m.ctl("config", "reload").expect(0)


@promise("each key of backupd.toml likewise, and presets.d")
def _(m):
    file = "config/backupd.toml"
    for key, (good, bad, wanted) in MAIN.items():
        m.write(file, whole(m, "", good))
        m.ctl("config", "reload").expect(0)
        contains(m.ctl("config", "show").expect(0).out, filled(m, wanted))
        reload_bad(m, file, whole(m, "", bad), key)
    os.unlink(m.path(file))
    m.write("config/presets.d/mine.toml", 'title = "Mine"\nexclude = ["*.mine"]\n')
    m.write("config/sets.d/probe.toml", filled(m, 'repository = "main"\npaths = ["@src"]\npresets = ["mine"]\n'))
    m.ctl("config", "reload").expect(0)
    equal(m.json("set", "show", "probe")["config"]["exclude"], ["*.mine"])
    for bad in ("exclude = [5]", "title = 5\nexclude = []"):
        key = bad.split(" ")[0]
        reload_bad(m, "config/presets.d/mine.toml", bad + "\n", key)
    check(m.json("set", "show", "probe")["config"]["exclude"] == ["*.mine"])


@promise("an unknown key or table names the nearest one")
def _(m):
    m.write("config/presets.d/mine.toml", 'exclude = ["*.mine"]\n')
    for lines, nearest in (("exlude = []", "exclude"), ("[hook]\nbefore = []", "hooks"), ("[limits.hard]\nitem = 5", "items"), ("preset = []", "presets")):
        m.write("config/sets.d/probe.toml", filled(m, f'repository = "main"\npaths = ["@src"]\n{lines}\n'))
        m.ctl("config", "reload").expect(2, f'did you mean "{nearest}"', "probe.toml:")


if __name__ == "__main__":
    main(fixture)
