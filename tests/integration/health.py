#!/usr/bin/env python3
"""How well all is: by exit code, told once per change, and measured."""
import json
import os
import shutil
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from machine import Machine  # noqa: E402
from promises import check, contains, equal, main, promise, skip, wait_for  # noqa: E402

DAY = 86400


def fixture():
    m = Machine("health")
    m.env["BACKUPD_CLOCK_STEP"] = m.write("clock", "0")
    tell = '#!/bin/sh\n{ echo "$BACKUPD_HEALTH_BEFORE > $BACKUPD_HEALTH | $BACKUPD_REASON | $BACKUPD_REMEDY"; cat >/dev/null; } >> "$1"\n'
    m.told = m.path("told")
    m.write("tell", tell, 0o755)
    m.prom = m.path("backupd.prom")
    m.write(
        "config/backupd.toml",
        f'[health]\ncommand = ["{m.path("tell")}", "{m.told}"]\n[metrics]\ntextfile = "{m.prom}"\n',
    )
    m.write_tree("src", {"a": "one\n"})
    m.start()
    return m


def told(m):
    if not os.path.exists(m.told):
        return []
    with open(m.told) as f:
        return f.read().splitlines()


def pass_time(m, begin, seconds):
    """The daemon's clock goes on, without a jump that looks like a sleep."""
    for ahead in range(0, seconds + 5, 5):
        m.set_clock(begin + ahead)
        time.sleep(0.1)


def metric(m, name, text=None):
    """{labels: value} of one family."""
    found = {}
    for line in (text or m.ctl("metrics").expect(0).out).splitlines():
        head, _, value = line.rpartition(" ")
        if head == name or head.startswith(name + "{"):
            found[head[len(name) :]] = float(value)
    return found


@promise("without a set nothing is known: exit 22")
def _(m):
    m.ctl("health").expect(22)
    equal(m.ctl("--json", "health").expect(22).result["health"], "unknown")


@promise("a set that was never backed up is at risk, one that was is well; each change is told once, with reason and remedy")
def _(m):
    m.repository(cheap=True)
    m.set("home", m.path("src"), extra=["--no-automatic"])
    reply = m.json("health", code=21)
    equal([(f["level"], f["code"], f["subject"]) for f in reply["findings"]], [("at-risk", "never", "set home")])
    m.ctl("health").expect(21, "never backed up", "backupctl run home")
    wait_for("the first word", lambda: len(told(m)) == 1)
    contains(told(m)[0], "unknown > at-risk | set home: it was never backed up | `backupctl run home")
    m.backup()
    m.ctl("health").expect(0)
    wait_for("the second word", lambda: len(told(m)) == 2)
    contains(told(m)[1], "at-risk > ok")
    time.sleep(1)
    m.restart()
    time.sleep(1.5)
    equal(len(told(m)), 2, "a restart is no change")


@promise("a promise that is exceeded degrades, later it is a risk; a set that is watched and unchanged keeps it")
def _(m):
    m.set_clock(DAY // 2)
    wait_for("tracking", lambda: m.json("status")["sets"][0]["tracking"] == "live")
    m.write("src/a", "two\n")
    wait_for("the change", lambda: m.json("status")["sets"][0]["pending"] > 0)
    m.set_clock(2 * DAY)
    # A machine that was asleep is given ten minutes.
    wait_for("the grace", lambda: m.ctl("health").code == 0)
    pass_time(m, 2 * DAY, 650)
    wait_for("degraded", lambda: m.ctl("health").code == 20)
    equal([f["code"] for f in m.json("health", code=20)["findings"]], ["late"])
    wait_for("the word", lambda: len(told(m)) == 3)
    contains(told(m)[2], "ok > degraded | set home: it was last known to be protected at")
    m.set_clock(12 * DAY)
    pass_time(m, 12 * DAY, 650)
    wait_for("at risk", lambda: m.ctl("health").code == 21)
    m.backup()
    wait_for("well", lambda: m.ctl("health").code == 0)
    # What is watched without a gap and does not change needs no run, whatever others write beside it.
    m.write("elsewhere/a", "one\n")
    os.link(m.path("elsewhere/a"), m.path("elsewhere/b"))
    m.write("elsewhere/b", "two\n")
    m.set_clock(30 * DAY)
    pass_time(m, 30 * DAY, 650)
    wait_for("what others wrote to be weighed", lambda: m.json("status")["sets"][0]["pending"] == 0)
    wait_for("what is watched and unchanged to be well", lambda: m.ctl("health").code == 0)


@promise("a configuration that does not load degrades")
def _(m):
    path = m.path("config/sets.d/home.toml")
    with open(path) as f:
        good = f.read()
    m.write("config/sets.d/home.toml", good + "wether = 1\n")
    m.ctl("config", "reload").expect(2, "wether")
    equal([f["code"] for f in m.json("health", code=20)["findings"]], ["configuration"])
    m.write("config/sets.d/home.toml", good)
    m.ctl("config", "reload").expect(0)
    # The set is known to be unchanged as soon as it is tracked again.
    wait_for("well again", lambda: m.ctl("health").code == 0)


@promise("metrics: families of backups, restores, collections and verifications are apart")
def _(m):
    m.ctl("restore", m.path("src/a"), "--to", m.path("out")).expect(0)
    restores = metric(m, "backupd_restore_jobs_total")
    equal(restores, {'{set="home",outcome="complete"}': 1})
    equal(metric(m, "backupd_restore_success_ratio"), {"": 1})
    check(metric(m, "backupd_restore_first_byte_seconds_count") == {"": 1}, m.ctl("metrics").out)
    check(0 < metric(m, "backupd_restore_first_byte_seconds_sum")[""] < 60)
    before = [line for line in m.ctl("metrics").out.splitlines() if line.startswith("backupd_restore")]
    # A storm of errors of backups.
    os.rename(m.path("repo/config"), m.path("repo/config.away"))
    os.rename(m.path("src"), m.path("src.away"))
    for _ in range(3):
        m.ctl("run", "home", "--wait")
    os.rename(m.path("src.away"), m.path("src"))
    os.rename(m.path("repo/config.away"), m.path("repo/config"))
    backups = metric(m, "backupd_backup_jobs_total")
    equal(backups['{set="home",outcome="failed"}'], 3)
    after = [line for line in m.ctl("metrics").out.splitlines() if line.startswith("backupd_restore")]
    equal(before, after)
    m.ctl("gc", "--wait").expect(0)
    equal(list(metric(m, "backupd_gc_jobs_total")), ['{repository="main",outcome="complete"}'])
    m.ctl("verify", "--wait").expect(0)
    equal(sum(metric(m, "backupd_verify_jobs_total").values()), 1)
    equal(metric(m, "backupd_verify_last_good"), {'{repository="main"}': 1})


@promise("the counters of restores can be read by programs that do not know Prometheus: Metrics.Restore")
def _(m):
    if not shutil.which("busctl"):
        skip("no busctl")
    read = ["busctl", "--address=" + m.address, "--json=short", "get-property", "org.backupd1", "/org/backupd1", "org.backupd1.Metrics"]
    sums = json.loads(m.run([*read, "Restore"]).expect(0).out)
    equal(sums["type"], "a{st}")
    equal((sums["data"]["jobs"], sums["data"]["complete"], sums["data"]["failed"], sums["data"]["first-byte-count"]), (1, 1, 0, 1))
    check(sums["data"]["duration-usec"] > 0 and sums["data"]["bytes"] == 4, sums)
    check(json.loads(m.run([*read, "Backup"]).expect(0).out)["data"]["failed"] >= 3)
    equal(sum(metric(m, "backupd_restore_duration_seconds_count").values()), 1)


@promise("the text is well-formed: each family has its type once, before its values")
def _(m):
    types, last = {}, None
    for line in m.ctl("metrics").expect(0).out.splitlines():
        if line.startswith("# TYPE "):
            _, _, last, kind = line.split(" ")
            check(last not in types, "twice:", last)
            types[last] = kind
        elif not line.startswith("#"):
            name = line.split("{")[0].split(" ")[0]
            bases = {name, name.removesuffix("_sum"), name.removesuffix("_count"), name.removesuffix("_bucket")}
            check(last in bases, line, "stands behind", last)
            float(line.rsplit(" ", 1)[1])


@promise("the textfile has the same, whole at any time")
def _(m):
    wait_for("the file", lambda: os.path.exists(m.prom))
    m.backup()
    wait_for(
        "the last backup in the file",
        lambda: metric(m, "backupd_backup_jobs_total", open(m.prom).read()) == metric(m, "backupd_backup_jobs_total"),
    )
    equal([n for n in os.listdir(m.top) if n.startswith("backupd.prom")], ["backupd.prom"])
    equal(os.stat(m.prom).st_mode & 0o777, 0o644)


@promise("commands around a run: told what it is about; one before that fails ends it, unless the policy does not insist")
def _(m):
    note = m.write("note", '#!/bin/sh\necho "$1 $BACKUPD_SET $BACKUPD_TRIGGER $BACKUPD_OUTCOME" >> "$2"\n[ ! -e "$2.fail" ] || { echo no volume >&2; exit 3; }\n', 0o755)
    out = m.path("hooks")
    path = m.path("config/sets.d/home.toml")
    with open(path) as f:
        plain = f.read()
    m.write("config/sets.d/home.toml", plain + f'[hooks]\nbefore = ["{note}", "before", "{out}"]\nafter = ["{note}", "after", "{out}"]\n')
    m.ctl("config", "reload").expect(0)
    m.backup()
    equal(m.read("hooks").decode().splitlines(), ["before home user ", "after home user complete"])
    m.write("hooks.fail", "")
    reply = m.ctl("run", "home", "--wait").expect(1, "no volume", "status 3")
    check("nothing was read" in reply.err + reply.out, reply)
    m.ctl("set", "edit", "home", "--title", "kept").expect(0)
    with open(path) as f:
        contains(f.read(), "[hooks]")
    m.write("config/sets.d/home.toml", plain + f'[hooks]\nbefore = ["{note}", "before", "{out}"]\nmust-succeed = false\n')
    m.ctl("config", "reload").expect(0)
    m.backup()
    m.write("config/sets.d/home.toml", plain + '[hooks]\nafter = ["/bin/false"]\n')
    m.ctl("config", "reload").expect(0)
    run = m.backup()
    equal(run["outcome"], "complete")
    m.ctl("jobs", str(run["job"])).expect(0, "the command behind the run ended with status 1")
    m.write("config/sets.d/home.toml", plain + '[hooks]\nbefore = ["sh -c x"]\n')
    m.ctl("config", "reload").expect(2, "absolute path")
    m.write("config/sets.d/home.toml", plain + '[hooks]\nbefore = ["/bin/sleep", "1000"]\ntimeout = "1s"\n')
    m.ctl("config", "reload").expect(0)
    m.ctl("run", "home", "--wait").expect(1, "too long")
    m.write("config/sets.d/home.toml", plain)
    m.ctl("config", "reload").expect(0)


@promise("a command before the run may name what stands for a path of the set: it is stored in its place, as if it were the live one")
def _(m):
    m.write_tree("live", {"same": "1\n", "table": "torn\n"})
    m.set("db", m.path("live"), extra=["--no-automatic"])
    # A snapshot, as a volume manager would mount it; the application goes on writing behind it.
    hook = m.write(
        "snap.sh",
        f"""#!/bin/sh
set -e
if [ "$1" = before ]; then
    rm -rf {m.path("snap")}; cp -a {m.path("live")} {m.path("snap")}; echo whole > {m.path("snap/table")}
    echo later > {m.path("live/after")}
    echo 'taking a snapshot'; echo 'replace {m.path("live")}={m.path("snap")}'
else
    rm -rf {m.path("snap")}
fi
""",
        0o755,
    )
    with open(m.path("config/sets.d/db.toml")) as f:
        plain = f.read()
    m.write("config/sets.d/db.toml", plain + f'[hooks]\nbefore = ["{hook}", "before"]\nafter = ["{hook}", "after"]\n')
    m.ctl("config", "reload").expect(0)
    run = m.backup("db")
    equal(m.ctl("cat", m.path("live/table")).expect(0).out, "whole\n")
    m.ctl("cat", m.path("live/after")).expect(5)
    m.ctl("ls", m.path("snap")).expect(5)
    check(not os.path.exists(m.path("snap")), "the command behind the run takes it away")
    nodes = [json.loads(line) for line in m.restic("ls", "--json", run["revision"]).expect(0).out.splitlines()]
    equal(sorted(n["path"] for n in nodes if n.get("path", "").startswith(m.path("live"))), [m.path("live"), m.path("live/same"), m.path("live/table")])
    # What happened behind the snapshot waits for the next run.
    wait_for("the mark", lambda: any(e["path"].endswith("/after") or e["path"] == m.path("live") for e in m.json("queue", "db")["entries"]))
    m.backup("db")
    equal(m.ctl("cat", m.path("live/after")).expect(0).out, "later\n")
    m.write("config/sets.d/db.toml", plain + f'[hooks]\nbefore = ["/bin/echo", "replace {m.path("live")}={m.path("gone")}"]\n')
    m.ctl("config", "reload").expect(0)
    m.ctl("run", "db", "--wait").expect(5, "gone", "stands for")
    m.write("config/sets.d/db.toml", plain + f'[hooks]\nbefore = ["/bin/echo", "replace /elsewhere={m.path("gone")}"]\n')
    m.ctl("config", "reload").expect(0)
    m.ctl("run", "db", "--wait").expect(1, "does not name a path of the set", "nothing was read")
    m.ctl("--yes", "set", "remove", "db").expect(0)


@promise("the examples for mail and webhooks say host, health, reason and remedy")
def _(m):
    here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../systemd")
    for name in ("sendmail", "curl"):
        m.write(f"bin/{name}", f'#!/bin/sh\necho "$@" > {m.path(name + ".args")}\ncat > {m.path(name + ".in")}\n', 0o755)
    said = {
        "PATH": m.path("bin") + ":" + os.environ["PATH"],
        "BACKUPD_HOST": "box",
        "BACKUPD_HEALTH": "at-risk",
        "BACKUPD_HEALTH_BEFORE": "ok",
        "BACKUPD_REASON": 'set "home": \\ never',
        "BACKUPD_REMEDY": "run it",
    }
    m.run([os.path.join(here, "health-mail"), "root"], env=said, input=b"all of it\n").expect(0)
    mail = m.read("sendmail.in").decode()
    for part in ("To: root\n", "Subject: backups of box: at-risk (was ok)\n", said["BACKUPD_REASON"], "run it", "all of it"):
        contains(mail, part)
    m.run([os.path.join(here, "health-webhook"), "http://127.0.0.1:1/"], env=said).expect(0)
    posted = json.loads(m.read("curl.in"))
    equal((posted["host"], posted["health"], posted["before"], posted["reason"]), ("box", "at-risk", "ok", said["BACKUPD_REASON"]))
    contains(m.read("curl.args").decode(), "http://127.0.0.1:1/")


if __name__ == "__main__":
    main(fixture)
