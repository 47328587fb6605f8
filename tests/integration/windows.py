#!/usr/bin/env python3
"""Runs keep to their windows, say why they wait, and go on where a window ended. The clock is the test's."""
import datetime
import os
import sys
import time
import zoneinfo

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from machine import Machine  # noqa: E402
from promises import check, contains, equal, main, promise, wait_for  # noqa: E402

MIB = 1 << 20
ZONE = zoneinfo.ZoneInfo("Europe/Berlin")


def fixture():
    m = Machine("window")
    m.env["BACKUPD_CLOCK_STEP"] = m.write("clock", "0")
    m.write("config/backupd.toml", '[engine]\npack-size = "4MiB"\ncheckpoint = "1MiB"\n')
    m.write_tree("src", {"a": "one\n"})
    m.start()
    m.repository(cheap=True)
    # No collection comes between, for whom these jumps are days.
    with open(m.path("config/repositories.d/main.toml"), "a") as f:
        f.write('collect = "off"\n')
    m.ctl("config", "reload").expect(0)
    set_time(m, 12)
    m.set("home", m.path("src"), extra=["--window", "22:00-06:00", "--jitter", "off", "--min-interval", "0", "--settle", "1s"])
    m.backup("home", "--ignore", "window")  # a first run is never begun by itself
    m.write("src/a", "another\n")
    return m


def set_time(m, hour, minute=0, second=0, day=0):
    """The daemon's wall clock, on a day of November (no change of the clocks is near)."""
    base = datetime.datetime(2026, 11, 24, hour, minute, second, tzinfo=ZONE) + datetime.timedelta(days=day)
    m.set_clock(int(base.timestamp() - time.time()))


def home(m):
    return [s for s in m.json("status")["sets"] if s["id"] == "home"][0]


def done(m):
    return [j for j in jobs(m) if j["outcome"] in ("complete", "exceptions")]


def is_backed_up(m):
    """Nothing waits for a revision."""
    facts = home(m)
    return facts["tracking"] == "live" and facts["pending"] == 0 and facts["state"] == "idle"


def jobs(m, kind="backup"):
    return [j for j in m.json("jobs")["jobs"] if j["kind"] == kind]


def stored(m):
    return sum(os.path.getsize(os.path.join(top, n)) for top, _, names in os.walk(m.path("repo/data")) for n in names if "-tmp-" not in n)


def written(m):
    """Bytes that the daemon gave to write calls."""
    with open(f"/proc/{m.daemon.pid}/io") as f:
        return int(dict(line.split(": ") for line in f.read().splitlines())["wchar"])


@promise("outside of its windows a set waits, and says for what, since when, until when")
def _(m):
    # An event that arrives late moves the run once more: until the set has settled again nothing waits.
    wait_for("the last event to have settled", lambda: "no window is open" in m.ctl("explain", m.path("src/a")).out, seconds=30)
    facts = wait_for("the set to wait", lambda: next((f for f in [home(m)] if f["waiting_for"] == ["window"]), None), seconds=30)
    equal([w["condition"] for w in facts["waiting"]], ["window"])
    check(facts["waiting"][0]["until"].startswith("2026-11-24T22:00:00"), facts["waiting"])
    check(facts["waiting"][0]["since"].startswith("2026-11-24T12:0"), facts["waiting"])
    check(facts["next_run"].startswith("2026-11-24T22:00:00"), facts["next_run"])
    check(facts["deferred_since"], facts)
    check(not is_backed_up(m))
    m.ctl("status").expect(0, "home waits", "no window is open", "22:00")
    m.ctl("explain", m.path("src/a")).expect(0, "no window is open", "22:00")
    equal([w["condition"] for w in m.json("explain", m.path("src/a"))["sets"][0]["waiting"]], ["window"])
    contains(m.ctl("log").expect(0).out, "set 'home' waits (window)")


@promise("on the bus ExplainSchedule names the condition that is not met")
def _(m):
    out = m.run(
        ["busctl", "--address=" + m.address, "call", "org.backupd1", "/org/backupd1/set/home", "org.backupd1.Set", "ExplainSchedule", "a{sv}", "0"]
    ).expect(0).out
    contains(out, '"window" false')
    contains(out, '"paused" true')


@promise("a run that is asked for is put off with exit code 75, and begins with the window")
def _(m):
    reply = m.ctl("run", "home", "--wait").expect(75, "no window is open", "--ignore window")
    check(reply.seconds < 20, "it does not wait for the window", reply)
    equal(m.ctl("--json", "run", "home").expect(75).result["exit_code"], 75)
    equal(len(jobs(m)), 1)
    set_time(m, 22, 0, 1)
    wait_for("the run", lambda: len(done(m)) >= 2, seconds=30)
    equal(done(m)[-2]["trigger"], "user")
    wait_for("nothing to wait", lambda: is_backed_up(m), seconds=30)
    equal(home(m)["waiting_for"], [])


@promise("--ignore window backs up at any time; what cannot be ignored is named")
def _(m):
    set_time(m, 12, day=1)
    m.write("src/a", "two\n")
    m.ctl("--json", "run", "home", "--wait", "--ignore", "window").expect(0)
    m.ctl("run", "home", "--ignore", "guard").expect(2)
    m.ctl("run", "home", "--ignore", "wether").expect(2)


@promise("a clock that is set by years, forth and back, opens and closes windows at its own time")
def _(m):
    m.write("src/a", "three\n")
    wait_for("the set to wait", lambda: home(m)["waiting_for"] == ["window"], seconds=30)
    set_time(m, 23, day=10 * 365)
    wait_for("a run in ten years", lambda: is_backed_up(m), seconds=30)
    set_time(m, 12, day=-365)
    m.write("src/a", "four\n")
    wait_for("the set to wait", lambda: home(m)["waiting_for"] == ["window"], seconds=30)
    set_time(m, 23, day=-365)
    wait_for("a run last year", lambda: is_backed_up(m), seconds=30)
    set_time(m, 12)


@promise("the end of a window stops uploads inside a file within 5 s; opened again, they go on")
def _(m):
    m.ctl("set", "edit", "home", "--upload-rate", "6MiB/s").expect(0)
    with open("/dev/urandom", "rb") as noise:
        m.write("src/large", noise.read(64 * MIB))
    m.before = stored(m)
    set_time(m, 23)
    wait_for("the upload", lambda: stored(m) > m.before + 8 * MIB, seconds=60)
    set_time(m, 6, 0, 1, day=1)
    # Acts within 5 s: then nothing is written but the journal's lines.
    wait_for("the pause", lambda: home(m)["state"] in ("paused", "idle"), seconds=5)
    time.sleep(1)
    first = written(m)
    time.sleep(2)
    check(written(m) - first < MIB, "bytes are written while the window is closed:", written(m) - first)
    check(stored(m) < m.before + 60 * MIB, "the window closed inside of the file")
    equal(home(m)["waiting_for"], ["window"])


@promise("held for long, the run ends in order, and the next window finishes it without sending anything twice")
def _(m):
    wait_for("the run to be parked", lambda: jobs(m)[0]["outcome"], seconds=60)
    equal(jobs(m)[0]["outcome"], "interrupted")
    contains(m.ctl("jobs", str(jobs(m)[0]["id"])).expect(0).out, "goes on when it may")
    m.ctl("ls", m.path("src/large")).expect(5)
    m.restic("check", "--read-data").expect(0)
    m.ctl("set", "edit", "home", "--upload-rate", "none").expect(0)
    set_time(m, 22, 0, 1, day=1)
    parked = jobs(m)[0]["id"]
    wait_for("the next window's run", lambda: m.ctl("ls", m.path("src/large")).code == 0, seconds=60)
    first = lambda: min((j for j in jobs(m) if j["id"] > parked), key=lambda j: j["id"])  # noqa: E731
    wait_for("its end", lambda: first()["outcome"])
    resumed = first()
    equal((resumed["outcome"], resumed["trigger"]), ("complete", "resume"))
    grown = stored(m) - m.before
    check(64 * MIB <= grown < 66 * MIB, "stored", grown / MIB, "MiB for a file of 64")
    m.ctl("restore", m.path("src/large"), "--to", m.path("out")).expect(0)
    equal(m.read("out/large"), m.read("src/large"))


@promise("a rate is kept, and counts within a second when it is changed")
def _(m):
    m.ctl("set", "edit", "home", "--window", "none", "--upload-rate", "2MiB/s").expect(0)
    with open("/dev/urandom", "rb") as noise:
        m.write("src/more", noise.read(32 * MIB))
    begin, first = time.monotonic(), stored(m)
    wait_for("the run", lambda: home(m)["state"] == "running", seconds=30)
    wait_for("some of it", lambda: stored(m) >= first + 8 * MIB, seconds=60)
    took = time.monotonic() - begin
    # Packs appear whole: four streams of 4 MiB each may be ahead of what is seen.
    check(8 * MIB / took < 2.2 * MIB, f"8 MiB in {took:.1f} s at 2 MiB/s")
    m.ctl("set", "edit", "home", "--upload-rate", "none").expect(0)
    begin = time.monotonic()
    wait_for("the rest", lambda: m.ctl("ls", m.path("src/more")).code == 0, seconds=60)
    check(time.monotonic() - begin < 8, "24 MiB more took", time.monotonic() - begin, "s although the limit is gone")


@promise("a pause holds runs, outlasts the daemon, and ends by itself or by resume")
def _(m):
    wait_for("the end of what runs", lambda: is_backed_up(m), seconds=60)
    m.ctl("pause", "--for", "2h").expect(0, "paused until")
    m.write("src/a", "five\n")
    wait_for("the set to wait", lambda: home(m)["waiting_for"] == ["paused"], seconds=30)
    equal(m.json("status")["state"], "paused")
    m.ctl("run", "home", "--wait").expect(75, "paused")
    m.restart()
    wait_for("the set to wait", lambda: home(m)["waiting_for"] == ["paused"], seconds=30)
    m.ctl("resume").expect(0)
    wait_for("the run", lambda: is_backed_up(m), seconds=30)
    m.ctl("pause", "--for", "2h").expect(0)
    m.write("src/a", "six\n")
    wait_for("the set to wait", lambda: home(m)["waiting_for"] == ["paused"], seconds=30)
    set_time(m, 23, 30, day=3)
    wait_for("the run", lambda: is_backed_up(m), seconds=30)
    m.ctl("pause", "--until", "yesterday").expect(2)
    m.ctl("resume").expect(0, "were not paused")


@promise("a request that was put off, and since when it waits, outlast the daemon")
def _(m):
    wait_for("the end of what runs", lambda: is_backed_up(m), seconds=60)
    m.ctl("pause").expect(0)
    m.write("src/a", "asked for\n")
    m.ctl("run", "home", "--full", "--wait").expect(75, "paused")
    wait_for("the set to wait", lambda: home(m)["waiting_for"] == ["paused"], seconds=30)
    since, last = home(m)["waiting"][0]["since"], jobs(m)[0]["id"]
    m.kill()
    m.start()
    wait_for("the set to wait", lambda: home(m)["waiting_for"] == ["paused"], seconds=30)
    equal(home(m)["waiting"][0]["since"], since)
    m.ctl("resume").expect(0)
    wait_for("the run", lambda: jobs(m)[0]["id"] > last and jobs(m)[0]["outcome"], seconds=60)
    asked = [j for j in jobs(m) if j["id"] > last][-1]
    equal((asked["trigger"], asked["outcome"]), ("user", "complete"))
    wait_for("rest", lambda: is_backed_up(m), seconds=60)


@promise("a run that is put off for more than a day degrades health, and says so once")
def _(m):
    m.ctl("pause").expect(0)
    m.write("src/a", "seven\n")
    # The pause is told without a change, too: time may go on when the change is known.
    wait_for("the set to wait", lambda: home(m)["waiting_for"] == ["paused"] and home(m)["pending"] > 0, seconds=30)
    set_time(m, 23, 30, day=5)
    wait_for("the escalation", lambda: "waits for too long" in m.ctl("log").out, seconds=30)
    whole = m.json("status")
    equal(whole["health"], "degraded")
    check(any("waits for too long" in notice for notice in whole["notices"]), whole["notices"])
    time.sleep(1)
    equal(m.ctl("log").out.count("set 'home' waits for too long"), 1)
    m.ctl("resume").expect(0)
    wait_for("health", lambda: m.json("status")["health"] == "ok", seconds=30)


if __name__ == "__main__":
    main(fixture)
