#!/usr/bin/env python3
"""backupctl against a stand-in for the daemon: what is badly timed, badly ended, or not there at all.

usage: client_test.py BACKUPCTL FAKE_SERVICE
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

BACKUPCTL, FAKE = map(os.path.abspath, sys.argv[1:3])
BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path={0}/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>"""
OURS = "org.backupd1.Error."
PATIENCE = 60


class Bench:
    def __init__(self):
        self.top = tempfile.mkdtemp(prefix="backupctl-test-")
        self.env = dict(
            PATH=os.environ["PATH"],
            HOME=self.top,
            LC_ALL="C.UTF-8",
            TZ="Europe/Berlin",
            XDG_RUNTIME_DIR=self.top,
            DBUS_SESSION_BUS_ADDRESS=f"unix:path={self.top}/bus",
            DBUS_SYSTEM_BUS_ADDRESS=f"unix:path={self.top}/no-such-bus",
        )
        for name in ("ASAN_OPTIONS", "LSAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"):
            if name in os.environ:
                self.env[name] = os.environ[name]
        with open(self.top + "/bus.conf", "w") as f:
            f.write(BUS.format(self.top))
        self.bus = subprocess.Popen(["dbus-daemon", f"--config-file={self.top}/bus.conf", "--nofork", "--nopidfile"])
        end = time.monotonic() + PATIENCE
        while not os.path.exists(self.top + "/bus"):
            assert self.bus.poll() is None and time.monotonic() < end, "no private bus"
            time.sleep(0.01)

    def close(self):
        self.bus.terminate()
        self.bus.wait()
        shutil.rmtree(self.top)

    def ctl(self, *args, **env):
        p = subprocess.run(
            [BACKUPCTL, *args],
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
            cwd=self.top,
        )
        p.out, p.err = (t.decode("utf-8", "surrogateescape") for t in (p.stdout, p.stderr))
        return p


class Fake:
    """The stand-in, for as long as the block lasts."""

    def __init__(self, bench, *scenario):
        self.p = subprocess.Popen([FAKE, *scenario], env=bench.env, stdout=subprocess.PIPE)

    def __enter__(self):
        assert self.p.stdout.readline() == b"ready\n", "the stand-in does not start"
        return self

    def __exit__(self, *_):
        self.p.kill()
        self.p.wait()
        self.p.stdout.close()


def equal(a, b, more=""):
    assert a == b, f"{a!r} is not {b!r} {more}"


def result_of(p):
    last = json.loads(p.out.splitlines()[-1])
    equal((last["schema"], last["type"], last["exit_code"]), (1, "result", p.returncode), p.out)
    return last


def an_end_before_the_answer_is_not_missed(b):
    with Fake(b, "early"):
        p = b.ctl("--json", "run", "home", "--wait")
        equal(p.returncode, 0, p.err)
        r = result_of(p)
        equal((r["outcome"], r["job"], r["kind"], r["revision"]), ("complete", 12, "backup", "a" * 64))
        equal((r["counts"], r["seconds"]), ({"files_new": 3}, 0.25))
        p = b.ctl("run", "home", "--wait")
        equal(p.returncode, 0)
        assert "home/7" in p.out and "3 new" in p.out, p.out


def errors_become_their_exit_codes(b):
    codes = dict(NoSuchPath=5, Conflict=7, QuotaExceeded=8, RepositoryMissing=10, RepositoryLocked=11, WrongPassword=12)
    codes.update(RepositoryUnavailable=13, RepositoryDamaged=14, Paused=75, NeverHeardOf=1)
    for name, code in codes.items():
        for scenario in ("refuse", "early"):
            with Fake(b, scenario, OURS + name):
                p = b.ctl("--json", "run", "home", "--wait")
                equal(p.returncode, code, (scenario, name, p.err))
                equal(result_of(p)["outcome"], "failed")
                assert "as the scenario wants" in p.err + p.out, p.err
    with Fake(b, "refuse", "org.freedesktop.DBus.Error.AccessDenied"):
        equal(b.ctl("run", "home", "--wait").returncode, 4)
    with Fake(b, "refuse", "org.freedesktop.DBus.Error.InvalidArgs"):
        equal(b.ctl("run", "home", "--wait").returncode, 2)


def exceptions_are_listed_with_names_in_any_bytes(b):
    with Fake(b, "exceptions"):
        p = b.ctl("--json", "run", "home", "--wait")
        equal((p.returncode, result_of(p)["outcome"]), (3, "exceptions"))
        entries = [json.loads(line) for line in p.out.splitlines()]
        equal([e["path_b64"] for e in entries if e["type"] == "exception"], ["L3j/eQ=="])
        p = b.ctl("run", "home", "--wait")
        equal(p.returncode, 3)
        assert "/x\\xffy: cannot be read" in p.err, p.err


def off_a_terminal_a_run_returns_once_it_started(b):
    with Fake(b, "endless"):
        p = b.ctl("run", "home")
        equal(p.returncode, 0)
        assert "backupctl attach 12" in p.out, p.out
        equal(result_of(b.ctl("--json", "run", "home"))["outcome"], "running")


def wait_with_a_limit_ends_with_9(b):
    with Fake(b, "endless"):
        p = b.ctl("run", "home", "--wait=1")
        equal(p.returncode, 9)
        assert "job 12 goes on; follow it with: backupctl attach 12" in p.err, p.err
        equal(result_of(b.ctl("--json", "attach", "12", "--wait=1"))["exit_code"], 9)


def control_c_detaches_and_the_job_goes_on(b):
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        with Fake(b, "endless"):
            p = subprocess.Popen([BACKUPCTL, "--json", "run", "home", "--wait"], env=b.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            assert b'"type":"job"' in p.stdout.readline()
            p.send_signal(signal_number)
            out, err = p.communicate(timeout=PATIENCE)
            equal(p.returncode, 130, err)
            assert b"job 12 goes on" in err, err
            equal(json.loads(out.splitlines()[-1])["exit_code"], 130)
            equal(b.ctl("cancel", "12").returncode, 0)  # it is still there to be cancelled


def a_daemon_that_goes_away_is_told(b):
    with Fake(b, "vanish"):
        p = b.ctl("--json", "run", "home", "--wait")
        equal((p.returncode, result_of(p)["outcome"]), (6, "interrupted"), p.err)
    with Fake(b, "vanish"):
        p = b.ctl("run", "home", "--wait")
        equal(p.returncode, 6)
        assert "backupd went away" in p.err, p.err


def a_listing_that_breaks_off_is_a_failure(b):
    with Fake(b, "torn"):
        p = b.ctl("ls", "/x")
        equal(p.returncode, 1)
        assert "broke off" in p.err, p.err
        equal(result_of(b.ctl("--json", "ls", "/x"))["outcome"], "failed")


def names_cannot_steer_the_terminal_and_null_gives_them_raw(b):
    with Fake(b, "early"):
        p = b.ctl("ls", "/x")
        equal(p.returncode, 0, p.err)
        equal(p.stdout.splitlines(), [rb"a\x1b[31m\x0ab", rb"x\xffy"])
        assert "home/7 of 2023-11-14 23:13:20" in p.err, p.err
        equal(b.ctl("ls", "-0", "/x").stdout, b"a\x1b[31m\nb\0x\xffy\0")
        entries = [json.loads(line) for line in b.ctl("--json", "ls", "/x").out.splitlines()]
        equal([e["type"] for e in entries], ["listing", "entry", "entry", "result"])
        equal((entries[2]["path_b64"], entries[1]["path"]), ("L3gveP95", "/x/a\x1b[31m\nb"))


def cancelling_says_how_it_ended(b):
    with Fake(b, "endless"):
        p = b.ctl("cancel", "12")
        equal(p.returncode, 0, p.err)
        assert "cancelled" in p.out, p.out
        equal(b.ctl("cancel", "12").returncode, 5)  # it has ended
        equal(b.ctl("attach", "13").returncode, 5)


def without_a_daemon_or_a_bus_it_says_how_to_start_one(b):
    p = b.ctl("status")
    equal(p.returncode, 6)
    assert "backupd is not running" in p.err and "systemctl" in p.err, p.err
    p = b.ctl("--user", "status", DBUS_SESSION_BUS_ADDRESS="unix:path=/nowhere/bus")
    equal(p.returncode, 6)
    assert "session bus cannot be reached" in p.err, p.err
    equal(json.loads(b.ctl("--json", "status").out)["exit_code"], 6)
    equal(result_of(b.ctl("--json", "run", "home", "--wait"))["exit_code"], 6)
    equal(b.ctl("version").returncode, 0)


def the_queue_is_shown_with_ages_and_names_in_any_bytes(b):
    with Fake(b, "degraded"):
        p = b.ctl("queue", "home")
        equal(p.returncode, 0, p.err)
        lines = p.out.splitlines()
        assert lines[0].split() == ["AGE", "KIND", "SIZE", "PATH"], p.out
        assert rb"/home/a\x1b[31m\x0ab".decode() in lines[1] and "modified, open" in lines[1], p.out
        assert r"/home/x\xffy" in lines[2] and "created" in lines[2], p.out
        assert "change" in lines[3] and "degraded (inotify): the limit of watches is reached" in " ".join(lines[4:]), p.out
        equal(b.ctl("queue", "home", "-0").stdout, b"/home/a\x1b[31m\nb\0/home/x\xffy\0")
        q = json.loads(b.ctl("--json", "queue", "home").out)
        equal((q["schema"], q["type"], q["set"], q["tracking"], q["gaps"]), (1, "queue", "home", "degraded", 1))
        assert q["pending"] > 0 and q["bytes"] == 4096 * q["pending"] and q["oldest_seconds"] > 1, q
        equal([(e.get("path"), e.get("path_b64"), e["kind"]) for e in q["entries"]][1], (None, "L2hvbWUveP95", "created"))
        equal(q["entries"][1]["since"], "2023-11-14T23:13:21.5+01:00")
        equal(b.ctl("queue", "home", "--top", "0").returncode, 2)
        equal(b.ctl("queue", "nosuch").returncode, 5)
    with Fake(b, "torn"):
        p = b.ctl("queue", "home")
        equal(p.returncode, 1, p.out)
        assert "broke off" in p.err, p.err


def explain_tells_what_waits_and_what_stands_in_the_way(b):
    with Fake(b, "live"):
        p = b.ctl("explain", "/home/x")
        equal(p.returncode, 0, p.err)
        for words in (r"/home/\xff is protected in an earlier state", "Waits: modified", "home/7", "--enable", "something-new"):
            assert words in p.out, (words, p.out)
        e = json.loads(b.ctl("--json", "explain", "/home/x").out)
        equal((e["type"], e["state"], e["path_b64"], e["exit_code"]), ("explain", "pending", "L2hvbWUv/w==", 0))
        s = e["sets"][0]
        equal((s["set"], s["version"]["number"], s["pending"]["kind"]), ("home", 7, "modified"))
        equal((s["excluded"], s["blocked_by"]), (None, ["disabled", "something-new"]))
    with Fake(b, "gone"):
        equal(b.ctl("explain", "/home/x").returncode, 5)
        equal(json.loads(b.ctl("--json", "explain", "/home/x").out)["exit_code"], 5)


def status_says_why_tracking_is_degraded(b):
    with Fake(b, "degraded"):
        p = b.ctl("status")
        equal(p.returncode, 0, p.err)
        for words in ("degraded", "the limit of watches is reached: raise it", "/home (ext4, inotify, live): 7 folders"):
            assert words in p.out, (words, p.out)
        s = json.loads(b.ctl("--json", "status").out)["sets"][0]
        equal((s["tracking"], s["watching"], s["gaps"], s["volumes"][0]["place"]), ("degraded", "inotify", 1, "/home"))
    # Who may not ask for details still sees the plain facts.
    with Fake(b, "refuse", "org.freedesktop.DBus.Error.AccessDenied"):
        p = b.ctl("status")
        equal(p.returncode, 0, p.err)
        assert "degraded" in p.out and "raise it" not in p.out, p.out


class Watch:
    """backupctl watch, read line by line."""

    running = []

    def __init__(self, b, *args):
        self.p = subprocess.Popen([BACKUPCTL, *args], env=b.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.seen = []
        Watch.running.append(self.p)

    def until(self, found):
        """The first line from here on that is found; the alarm of the test ends a wait for nothing."""
        for line in self.p.stdout:
            self.seen.append(line.decode())
            if found(self.seen[-1]):
                return self.seen[-1]
        raise AssertionError(f"it ended: {self.seen} {self.p.stderr.read()}")

    def type(self, name, **fields):
        def found(line):
            o = json.loads(line)
            return o["type"] == name and all(o[k] == v for k, v in fields.items())

        return json.loads(self.until(found))

    def interrupt(self):
        self.p.send_signal(signal.SIGINT)
        out, err = self.p.communicate(timeout=PATIENCE)
        equal(self.p.returncode, 130, err)
        return out.decode()


def watch_tells_all_that_happens(b):
    def too_long(*_):
        raise AssertionError("nothing more comes")

    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(PATIENCE)
    with Fake(b, "early"):
        w = Watch(b, "--json", "watch", "--set", "home")
        first = w.type("tracking", set="home", tracking="degraded")
        equal(first["reason"], "the limit of watches is reached: raise it")
        # Counters have no signal: they are looked at while something waits.
        assert w.type("tracking")["pending"] > first["pending"]
        equal(b.ctl("run", "home", "--wait").returncode, 0)
        equal(w.type("job-begin")["job"], 12)
        equal(w.type("revision")["revision"], "a" * 64)
        end = w.type("job-end", outcome="complete")
        equal((end["counts"], end["revision"]), ({"files_new": 3}, "a" * 64))
    equal(w.type("daemon")["state"], "gone")
    with Fake(b, "live"):
        equal(w.type("daemon")["state"], "back")
        w.type("tracking", tracking="live")
        last = json.loads(w.interrupt().splitlines()[-1])
        equal((last["type"], last["kind"], last["exit_code"]), ("result", "watch", 130))
    with Fake(b, "early"):
        w = Watch(b, "watch")
        w.until(lambda line: "home: tracking is degraded (inotify)" in line)
        equal(b.ctl("run", "home", "--wait").returncode, 0)
        w.until(lambda line: "backup begins (job 12" in line)
        w.until(lambda line: "home/7 (aaaaaaaa)" in line)
        w.until(lambda line: "complete in 250 ms; files: 3 new" in line)
        equal(w.interrupt(), "")
        equal(b.ctl("watch", "--set", "nosuch").returncode, 5)
    equal(b.ctl("watch").returncode, 6)
    signal.alarm(0)


def a_full_disk_is_not_taken_for_success(b):
    with Fake(b, "early"), open("/dev/full", "wb") as full:
        p = subprocess.run([BACKUPCTL, "revisions"], env=b.env, stdout=full, stderr=subprocess.PIPE, timeout=PATIENCE)
        equal(p.returncode, 1, p.stderr)


def main():
    bench = Bench()
    failed = 0
    try:
        for name, test in list(globals().items()):
            if getattr(test, "__code__", None) is None or test.__code__.co_varnames[:1] != ("b",) or test.__code__.co_argcount != 1:
                continue
            try:
                test(bench)
                print("ok  ", name.replace("_", " "))
            except Exception as problem:  # noqa: BLE001: the others are worth running
                failed += 1
                print("FAIL", name.replace("_", " "), "\n    ", repr(problem))
    finally:
        for p in Watch.running:
            p.kill()
        bench.close()
    sys.exit(1 if failed else 0)


main()
