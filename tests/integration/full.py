#!/usr/bin/env python3
"""A full run reads everything, equals the incremental one, and tells what does not; it comes round by itself."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from machine import Machine  # noqa: E402
from promises import check, contains, equal, main, promise, wait_for  # noqa: E402


def fixture():
    m = Machine("full")
    m.env["BACKUPD_CLOCK_STEP"] = m.write("clock", "0")
    m.start()
    m.write_tree("src", {f"d{i % 4}/f{i}.txt": f"file {i}\n" * 50 for i in range(60)})
    m.repository()
    m.set("home", m.path("src"), extra=["--no-automatic"])
    m.backup()
    return m


def home(m):
    return [s for s in m.json("status")["sets"] if s["id"] == "home"][0]


def live(m):
    wait_for("the set to be live", lambda: home(m)["tracking"] == "live")


@promise("a full run reads every file, gives the same tree, and 0 differences are its evidence")
def _(m):
    live(m)
    result = m.backup("home", "--full")
    equal((result["outcome"], result["counts"]["files_read"]), ("complete", 60))
    equal((result["counts"]["differences"], result["counts"]["files_unmodified"]), (0, 60))
    contains(m.ctl("log", str(result["job"])).out, "0 differences")
    check(home(m)["last_full"] is not None)


@promise("changes that are known explain what differs: edits, new and removed files, renames, links")
def _(m):
    live(m)
    m.write("src/d1/f1.txt", "edited\n")
    m.write("src/new/below/file", "new\n")
    os.unlink(m.path("src/d2/f2.txt"))
    os.rename(m.path("src/d3"), m.path("src/moved"))
    os.symlink("f0.txt", m.path("src/d0/link"))
    os.chmod(m.path("src/d0/f4.txt"), 0o600)
    result = m.backup("home", "--full")
    equal((result["outcome"], result["counts"]["differences"]), ("complete", 0))
    check(result["counts"]["compared"] >= 6, result["counts"])
    # And the incremental run after it has nothing to do.
    result = m.backup()
    equal((result["counts"]["files_read"], result["counts"]["files_changed"]), (0, 0))


@promise("a change that no watch told of is an alarm: an exception with its path, degraded health, and gone with the next clean one")
def _(m):
    m.stop()
    m.env["BACKUPD_FAILPOINTS"] = "events.dropped=fail@1+"
    m.start()
    # After a start everything is compared; then the events are lost without a trace.
    m.backup()
    live(m)
    m.write("src/d1/f5.txt", "nobody was told\n")
    time.sleep(0.2)
    result = m.backup("home", "--full", code=3)
    equal((result["outcome"], result["counts"]["differences"] >= 1), ("exceptions", True))
    contains(m.ctl("log", str(result["job"])).out, "f5.txt", "no watch told")
    equal(m.json("status")["health"], "degraded")
    check(home(m)["full_differences"] >= 1)
    m.ctl("status").expect(0, "no change explains")
    m.stop()
    del m.env["BACKUPD_FAILPOINTS"]
    m.start()
    check(home(m)["full_differences"] >= 1, "remembered over a restart")
    result = m.backup("home", "--full")
    equal(result["counts"]["differences"], 0)
    equal((home(m)["full_differences"], m.json("status")["health"]), (0, "ok"))


@promise("it comes round by itself within 30 days")
def _(m):
    m.ctl("set", "edit", "home", "--automatic").expect(0)
    jobs = [j["id"] for j in m.json("jobs")["jobs"]]

    def newer():
        # What others write on this file system under several names may ask for a run that finds nothing: it is no full one.
        made = [j for j in m.json("jobs")["jobs"] if j["id"] > max(jobs) and j["kind"] == "backup" and j["state"] == "done"]
        return [j for j in made if j["mode"] == "full"]

    m.write("clock", str(20 * 86400))
    m.ctl("config", "reload").expect(0)
    time.sleep(2.5)
    equal(newer(), [])
    m.write("clock", str(30 * 86400 + 600))
    m.ctl("config", "reload").expect(0)
    wait_for("the full run", newer, seconds=40)
    job = m.json("jobs", str(newer()[0]["id"]))["jobs"][0]
    check(job["trigger"] in ("schedule", "change"), job)
    equal((job["counts"]["files_read"], job["counts"]["differences"]), (60, 0))
    m.ctl("set", "edit", "home", "--reconcile", "none", "--no-automatic").expect(0)
    contains(m.read("config/sets.d/home.toml").decode(), 'reconcile = "off"')


if __name__ == "__main__":
    main(fixture)
