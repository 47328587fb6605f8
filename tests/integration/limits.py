#!/usr/bin/env python3
"""Limits of a set: what is protected stays, what goes beyond is left out, listed, and told; simulations say it before."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from machine import ready  # noqa: E402
from promises import check, contains, equal, main, promise, wait_for  # noqa: E402

KIB = 1 << 10


def fixture():
    m = ready("limits")
    m.env["BACKUPD_CLOCK_STEP"] = m.write("clock", "0")
    m.restart()
    m.write_tree("src", {"a": "one\n", "b": "two\n"})
    m.set("home", m.path("src"), extra=["--no-automatic"])
    m.backup("home")
    m.above = m.path("src").count("/")  # the directories down to the set's path are items, too
    return m


def names(m, path="src"):
    return sorted(line.rstrip("/") for line in m.ctl("ls", m.path(path)).expect(0).out.splitlines())


def home(m):
    return [s for s in m.json("status")["sets"] if s["id"] == "home"][0]


def limit(m, *words):
    m.ctl("set", "edit", "home", *[part for word in words for part in ("--limit", word)]).expect(0)


@promise("a limit is set, shown, changed one by one, and taken away")
def _(m):
    limit(m, "items=1000", "soft-bytes=1GiB")
    equal(m.json("set", "show", "home")["config"]["limits"], "items=1000 soft-bytes=1GiB")
    contains(m.ctl("set", "show", "home").expect(0).out, "items=1000 soft-bytes=1GiB")
    limit(m, "items=none", "revisions=50")
    equal(m.json("set", "show", "home")["config"]["limits"], "revisions=50 soft-bytes=1GiB")
    m.ctl("set", "edit", "home", "--limit", "size=5").expect(2, "size=5", "file-size")
    m.ctl("set", "edit", "home", "--limit", "bytes=1", "--limit", "soft-bytes=2").expect(2, "above the hard one")
    limit(m, "none")
    equal(m.json("set", "show", "home")["config"]["limits"], "none")


@promise("beyond a hard limit nothing new comes in, exit code 8, and what was protected stays and follows its changes")
def _(m):
    limit(m, f"items={m.above + 3}")
    m.write_tree("src", {"a": "changed\n", "c": "three\n", "d": "four\n", "e/f": "five\n"})
    run = m.backup("home", code=8)
    equal((run["outcome"], run["error"]), ("exceptions", "org.backupd1.Error.QuotaExceeded"), run)
    equal((run["counts"]["left_out_items"], run["counts"]["limit_items"]), (3, m.above + 3))
    contains(run["message"], f"limit of {m.above + 3} items", "set check home --simulate")
    equal(m.ctl("cat", m.path("src/a")).expect(0).out, "changed\n")
    m.ctl("cat", m.path("src/c")).expect(0)
    m.ctl("cat", m.path("src/d")).expect(5)
    m.ctl("jobs", str(run["job"])).expect(0, "src/d", "src/e", "left out")
    m.restic("check", "--read-data").expect(0)


@promise("explain names the limit and the remedy, for what is left out and for nothing else")
def _(m):
    told = m.ctl("explain", m.path("src/d")).expect(0, "a limit of its set leaves it out", "A limit stops it", "items", "--limit items=N").out
    check("Now: backupctl run" not in told and "Mind: waits" not in told, told)
    found = m.json("explain", m.path("src/e/f"))["sets"][0]
    equal(found["limit"]["limit"], "items")
    check("limit" in found["blocked_by"], found)
    check("limit" not in m.json("explain", m.path("src/a"))["sets"][0])


@promise("status, health and notices tell of it; the bus has it as properties")
def _(m):
    facts = home(m)
    equal((facts["limits_hit"], facts["left_out_items"]), (["items"], 3))
    contains("\n".join(m.json("status")["notices"]), "3 items", "items=N")
    wait_for("health to tell", lambda: m.json("health", code=20)["health"] == "degraded", seconds=20)
    check(any(f["code"] == "limit" for f in m.json("health", code=20)["findings"]))
    contains(m.ctl("metrics").expect(0).out, 'backupd_backup_left_out_items{set="home"} 3')
    m.restart()
    equal(home(m)["limits_hit"], ["items"], "it is remembered")


@promise("what is left out does not hold the rest up: all but so many is protected until now, and who asks is told which")
def _(m):
    # The comparison after the restart does not know that they were tried.
    wait_for("tracking", lambda: home(m)["tracking"] == "live", seconds=30)

    def goes_on():
        # What is told late, while a run is under way, is for the next one; by itself nothing runs here.
        m.backup("home", code=8)
        until = home(m)["protected_until"]
        time.sleep(0.05)
        return home(m)["protected_until"] > until

    wait_for("time to go on", goes_on, every=0.3)
    facts = home(m)
    equal(facts["unprotected_items"], 3)
    until = facts["protected_until"]
    m.ctl("status").expect(0, "all but 3", "3 files or folders are not protected as they are now", f"backupctl jobs {facts['unprotected_job']} -v")
    m.ctl("jobs", str(facts["unprotected_job"]), "-v").expect(0, "src/d", "src/e")
    text = m.ctl("metrics").expect(0).out
    contains(text, 'backupd_backup_unprotected_items{set="home"} 3', 'backupd_backup_protection_lag_seconds{set="home"} 0')
    # What happens now is another matter: it is not in a revision yet.
    m.write("src/b", "two, changed\n")
    wait_for("the change to be known", lambda: home(m)["protected_until"] <= until, seconds=10)
    wait_for("all but them", goes_on, every=0.3)
    check(home(m)["protected_until"] > until, home(m))


@promise("a simulation says what the limits let in and leave out, and stores nothing")
def _(m):
    before = len(m.revisions("home"))
    m.ctl("set", "check", "home", "--simulate").expect(8, "beyond it", m.path("src/d"), "left out by limits: 3 items")
    found = m.json("set", "check", "home", "--simulate", code=8)["sets"][0]["simulation"]
    equal([os.path.relpath(one["path"], m.path("src")) for one in found["left_out"]], ["d"])
    equal(found["total"]["left_out_items"], 3)
    equal([(one["limit"], one["hit"]) for one in found["limits"]], [("items", True)])
    equal(found["paths"][0]["items"], 7, "a b c d e e/f and the path itself")
    equal(len(m.revisions("home")), before)


@promise("with room again the next run takes in what was left out, though nobody touched it")
def _(m):
    limit(m, "items=1000")
    run = m.backup("home")
    equal((run["outcome"], run["counts"]["files_new"]), ("complete", 2), run)
    equal(m.ctl("cat", m.path("src/e/f")).expect(0).out, "five\n")
    check(run["counts"]["dirs_read"] >= 1)
    equal(home(m)["limits_hit"], [])
    m.ctl("set", "check", "home", "--simulate").expect(0)
    check("limit" not in m.json("explain", m.path("src/d"))["sets"][0])


@promise("a symbolic link counts as an item of the run that brings it in, and of no later one")
def _(m):
    limit(m, f"items={m.above + 7}")  # one more than there is
    for name in ("l1", "l2"):
        os.symlink("a", m.path("src", name))
    run = m.backup("home", code=8)
    equal(run["counts"]["left_out_items"], 1)
    check("l1" in names(m) and "l2" not in names(m), names(m))
    equal(m.backup("home")["outcome"], "complete")
    check("l2" in names(m), names(m))
    for name in ("l1", "l2"):
        os.unlink(m.path("src", name))
    m.backup("home")


@promise("a file that outgrew the limit of one file keeps its last content and is listed")
def _(m):
    limit(m, f"file-size={100 * KIB}", f"soft-file-size={50 * KIB}")
    m.write("src/a", "x" * (101 * KIB))
    m.write("src/large", "x" * (60 * KIB))
    run = m.backup("home", code=8)
    equal(run["counts"]["kept_old"], 1)
    equal(m.ctl("cat", m.path("src/a")).expect(0).out, "changed\n")
    m.ctl("explain", m.path("src/a")).expect(0, "keeps out what it is now", "A limit stops it", "for one file")
    check("limit" not in m.json("explain", m.path("src/large"))["sets"][0])
    contains("\n".join(m.json("status")["notices"]), "soft limit")
    limit(m, "none")
    m.backup("home")
    equal(len(m.ctl("cat", m.path("src/a")).expect(0).out), 101 * KIB)


@promise("over a soft limit somebody is told, and nothing is left out")
def _(m):
    limit(m, "soft-items=3", "soft-bytes=10KiB")
    m.write("src/g", "more\n")
    equal(m.backup("home")["outcome"], "complete")
    equal(home(m)["limits_near"], ["items", "bytes"])
    contains("\n".join(m.json("status")["notices"]), "soft limit of 3 items", "soft limit of 10KiB")


@promise("a day's changes are limited; what waits comes by itself when the day is over")
def _(m):
    limit(m, "none")
    limit(m, f"churn={100 * KIB}")
    m.ctl("set", "edit", "home", "--automatic", "--settle", "0", "--min-interval", "0").expect(0)
    m.set_clock(40 * 3600)  # what came before is of another day
    m.write("src/h", os.urandom(80 * KIB))
    wait_for("the first", lambda: m.ctl("cat", m.path("src/h")).code == 0)
    m.write("src/i", os.urandom(80 * KIB))
    wait_for("a run that leaves it out", lambda: home(m)["limits_hit"] == ["churn"])
    m.ctl("explain", m.path("src/i")).expect(0, "changes a day", "by itself")
    m.ctl("cat", m.path("src/i")).expect(5)
    m.restart()
    m.set_clock((40 + 25) * 3600)
    wait_for("the next day's run", lambda: m.ctl("cat", m.path("src/i")).code == 0, seconds=60)
    equal(home(m)["limits_hit"], [])


@promise("no more revisions than the limit: the run fails with exit code 8 and says how to go on")
def _(m):
    wait_for("rest", lambda: home(m)["state"] == "idle")
    m.ctl("set", "edit", "home", "--no-automatic").expect(0)
    count = len(m.revisions("home"))
    limit(m, "none")
    limit(m, f"revisions={count}")
    m.write("src/j", "last\n")
    run = m.backup("home", code=8)
    equal((run["outcome"], run["error"]), ("failed", "org.backupd1.Error.QuotaExceeded"))
    contains(run["message"], "forget --policy")
    equal(len(m.revisions("home")), count)
    equal(home(m)["limits_hit"], ["revisions"])
    limit(m, f"revisions={count + 1}")
    m.backup("home")


@promise("set create first shows what would be protected and what is left out, with sizes")
def _(m):
    m.write_tree("new", {"a": "x" * 1000, "cache/b": "y" * 5000, "lost+found/c": "z" * 300, "k/CACHEDIR.TAG": "Signature: 8a477f597d28d172789f06886806bc55\n", "k/d": "w" * 70})
    tried = ("set", "create", "new", "--repo", "main", m.path("new"), "--exclude", "cache/")
    m.ctl(*tried, "-n").expect(0, "protects", "leaves out", "pattern cache/", "lost+found", "preset caches", "cachedir-tag")
    preview = m.json(*tried, "-n")["preview"]
    equal([(p["items"], p["bytes"]) for p in preview["paths"]], [(4, 1000 + 44)], preview)
    rules = {r.get("pattern", r["rule"]): (r["items"], r["bytes"]) for r in preview["rules"]}
    equal(rules, {"cache/": (2, 5000), "lost+found/": (2, 300), "cachedir-tag": (1, 70)})
    m.ctl("set", "show", "new").expect(5)
    m.ctl(*tried).expect(0, "protects")
    m.backup("new")
    equal(names(m, "new"), ["a", "k"])
    contains(open(m.path("config/sets.d/new.toml")).read(), 'presets = ["caches"]')
    m.ctl("explain", m.path("new/lost+found/c")).expect(0, "preset caches")
    m.ctl("set", "edit", "new", "--no-exclude", "lost+found/").expect(2, "preset caches", "!lost+found/")
    m.ctl("set", "edit", "new", "--preset", "none", "--no-exclude", "cache/").expect(0)
    m.backup("new")
    equal(names(m, "new"), ["a", "cache", "k", "lost+found"])
    m.ctl("set", "edit", "new", "--preset", "caches").expect(0)
    m.ctl("set", "edit", "new", "--preset", "cahces").expect(2, 'did you mean "caches"')


if __name__ == "__main__":
    main(fixture)
