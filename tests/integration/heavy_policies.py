#!/usr/bin/env python3
"""Policies at their full size: minutes of time and gigabytes of disk.

    ./check policies [--files N] [--gib N] [--only REGEX]       defaults: 1,500,000 files, 4 GiB

A directory bomb in one set beside another set; a window that closes inside one large file; what the machine is in the middle of, and
rates over half a minute, counted at a slow storage.
"""
import atexit
import os
import re
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from machine import Machine  # noqa: E402
from conditions import set_pressure  # noqa: E402
from slow_storage import SlowStorage  # noqa: E402
from stand_ins import StandIns  # noqa: E402
from promises import PROMISES, check, contains, main, options, promise, wait_for  # noqa: E402
from windows import home, jobs, set_time, stored  # noqa: E402

PROMISES.clear()  # those of the others are their own

MIB = 1 << 20


def fixture():
    m = Machine("policies")
    m.env["BACKUPD_CLOCK_STEP"] = m.write("clock", "0")
    m.write("config/backupd.toml", '[engine]\ncheckpoint = "64MiB"\n')
    m.write_tree("src", {"a": "one\n"})
    m.write_tree("other", {"a": "one\n"})
    m.host = StandIns(m)
    atexit.register(m.host.close)
    set_pressure(m, 0)
    m.env["BACKUPD_PRESSURE_DIR"] = m.path("pressure")
    for name in ("upower", "network", "logind"):
        m.host.serve(name)
    m.start()
    m.repository(cheap=True)
    m.repository("second", "second", cheap=True)
    with open(m.path("config/repositories.d/main.toml"), "a") as f:
        f.write('collect = "off"\n')
    m.ctl("config", "reload").expect(0)
    set_time(m, 12)
    m.set("home", m.path("src"), extra=["--jitter", "off", "--min-interval", "0", "--settle", "1s", "--guard", "off"])
    m.set("other", m.path("other"), repository="second", extra=["--min-interval", "0", "--settle", "200ms"])
    m.backup("home")
    m.backup("other")
    return m


def resident(m):
    with open(f"/proc/{m.daemon.pid}/status") as f:
        return int(re.search(r"VmRSS:\s+(\d+) kB", f.read()).group(1)) * 1024


@promise("a directory bomb: the limit acts before the upload, memory is bounded, the other set keeps its pace, explain says so")
def _(m):
    files = int(options.files)
    room = files // 100
    above = m.path("src").count("/")
    m.ctl("set", "edit", "home", "--limit", f"items={above + 1 + room}").expect(0)
    before, lags = stored(m), []
    # Many directories of many files each, as a program gone wild makes them.
    bomb = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os,sys\ntop,n=sys.argv[1],int(sys.argv[2])\n"
            "for i in range(n):\n"
            "    if i%10000==0: os.makedirs(f'{top}/bomb/{i//10000:04}',exist_ok=True)\n"
            "    os.close(os.open(f'{top}/bomb/{i//10000:04}/{i:07}',os.O_CREAT|os.O_WRONLY))\n",
            m.path("src"),
            str(files),
        ]
    )

    def lag_of_other():
        text = f"{time.monotonic_ns()}\n"
        begin = time.monotonic()
        m.write("other/a", text)
        wait_for("the other set", lambda: m.ctl("cat", m.path("other/a")).out == text, seconds=120, every=0.2)
        lags.append(time.monotonic() - begin)

    while bomb.poll() is None:
        lag_of_other()
    check(bomb.returncode == 0)
    # To the end of the run that sees all of it.
    end = time.monotonic() + 600
    while time.monotonic() < end:
        lag_of_other()
        facts = home(m)
        if facts["state"] == "idle" and facts["left_out_items"] >= files - room - files // 10000 - 2:
            break
        m.ctl("run", "home", "--no-wait")
    facts = home(m)
    print(f"     left out {facts['left_out_items']}, peak {m.peak_memory() / MIB:.0f} MiB, {resident(m) / MIB:.0f} MiB now, stored {(stored(m) - before) / MIB:.1f} MiB; "
          f"lag of the other set: {max(lags):.1f} s at most, {sorted(lags)[len(lags) // 2]:.1f} s in the middle of {len(lags)}", flush=True)
    check(facts["limits_hit"] == ["items"], facts["limits_hit"])
    check(m.peak_memory() < 512 * MIB, "peak", m.peak_memory() / MIB, "MiB")
    check(stored(m) - before < 64 * MIB, "stored", stored(m) - before)
    check(max(lags) < 30, "the other set waited", max(lags))
    last = m.path(f"src/bomb/{(files - 1) // 10000:04}/{files - 1:07}")
    m.ctl("explain", last).expect(0, "A limit stops it", "items")
    m.ctl("cat", m.path("src/a")).expect(0)
    subprocess.run(["rm", "-rf", m.path("src/bomb")])
    m.ctl("set", "edit", "home", "--limit", "none").expect(0)
    m.ctl("run", "home", "--wait")


def noise_to(m, name, size):
    with open(m.path(name), "wb") as to, open("/dev/urandom", "rb") as noise:
        for at in range(0, size, 16 * MIB):
            to.write(noise.read(min(16 * MIB, size - at)))


def slow_line(m, rate):
    """Four connections; packs so small that the memory which uploads may take holds one for each of them."""
    m.stop()
    m.write("config/backupd.toml", '[engine]\ncheckpoint = "64MiB"\npack-size = "4MiB"\n')
    line = SlowStorage(m, rate)
    m.start()
    wait_for("rest", lambda: home(m)["tracking"] == "live" and home(m)["state"] == "idle", seconds=120)
    return line


@promise("a window that closes inside of a file of gigabytes: nothing goes after it, the next one finishes it, nothing is sent twice")
def _(m):
    size = int(options.gib) << 30
    check(shutil.disk_usage(m.top).free > 3 * size, "not enough room at", m.top)
    m.ctl("set", "edit", "home", "--window", "22:00-06:00").expect(0)
    line = slow_line(m, 32 * MIB)
    noise_to(m, "src/large", size)
    before = stored(m)
    set_time(m, 23)
    wait_for("the upload", lambda: stored(m) > before + size // 4, seconds=900, every=0.2)
    closed = time.monotonic()
    set_time(m, 6, 0, 1, day=1)
    time.sleep(15)
    late = line.sent(closed + 5)
    last = max(at for at, _, _ in line.chunks()) - closed
    print(f"     last payload {last:.2f} s behind the window's end, {late} bytes between 5 s and 15 s; {line.sent() / MIB:.0f} MiB sent", flush=True)
    check(late == 0, late, "bytes later than 5 s")
    check(stored(m) < before + size, "it closed inside of the file")
    wait_for("the run to be parked", lambda: jobs(m)[0]["outcome"], seconds=120)
    set_time(m, 22, 0, 1, day=1)
    wait_for("the end", lambda: m.ctl("ls", m.path("src/large")).code == 0, seconds=1800, every=1)
    grown = stored(m) - before
    print(f"     {grown / MIB:.0f} MiB stored and {line.sent() / MIB:.0f} MiB sent for a file of {size / MIB:.0f}", flush=True)
    check(line.sent() < size * 1.01 + 32 * MIB, "sent", line.sent())
    check(size <= grown < size * 1.01 + 32 * MIB, "stored", grown)
    m.ctl("set", "edit", "home", "--window", "none").expect(0)


@promise("unplugged, metered, offline, asleep, shut down: no payload byte 5 s later at a slow storage, the inhibitor released within 3 s")
def _(m):
    conditions = ("battery", "metered", "offline")
    m.ctl("set", "edit", "home", *[word for one in conditions for word in ("--avoid", one)]).expect(0)
    switches = [
        ("unplugged", "battery", lambda on: m.host.set("upower", "OnBattery", "b", "true" if on else "false")),
        ("metered", "metered", lambda on: m.host.set("network", "Metered", "u", "1" if on else "4")),
        ("offline", "offline", lambda on: m.host.set("network", "Connectivity", "u", "1" if on else "4")),
        ("suspend", "sleep", lambda on: m.host.going("PrepareForSleep", on)),
        ("shutdown", "sleep", lambda on: m.host.going("PrepareForShutdown", on)),
    ]
    m.ctl("set", "edit", "other", "--no-automatic").expect(0)
    for rate, size in ((4 * MIB, 256 * MIB), (64 << 10, 16 * MIB)):
        line = slow_line(m, rate)
        for word, reason, switch in switches:
            before = line.sent()
            noise_to(m, "src/slow", size)
            line.wait_for(size // 16, seconds=120)
            begin = time.monotonic()
            switch(True)
            released = None
            while time.monotonic() < begin + 15:
                if reason == "sleep" and released is None and m.host.inhibitors() == []:
                    released = time.monotonic() - begin
                time.sleep(0.1)
            late = line.sent(begin + 5)
            last = max(at for at, _, _ in line.chunks()) - begin
            waiting = home(m)["waiting_for"]
            print(f"     {word}, 4 connections of {rate >> 10} KiB/s: last payload after {last:.2f} s, {late} bytes between 5 s and 15 s"
                  + (f", inhibitor released after {released:.2f} s" if released is not None else ""), flush=True)
            check(late == 0, late, "bytes later than 5 s")
            check(line.sent() - before < size, "it stopped inside of the file")
            check(waiting == [reason], waiting)
            if reason == "sleep":
                check(released is not None and released < 3, "the inhibitor was released after", released)
            switch(False)
            line.wait_for(size // 64)
            # The next one begins with nothing on its way.
            m.kill()
            os.truncate(m.path("src/slow"), 0)
            m.start()
            m.ctl("run", "home", "--wait").expect(0)
    m.ctl("set", "edit", "home", "--avoid", "none").expect(0)


@promise("20 MiB/s over half a minute within 5 %, over four slow connections; another rate counts within a second; downloads likewise")
def _(m):
    line = slow_line(m, 7 * MIB)
    m.ctl("set", "edit", "home", "--upload-rate", "20MiB/s").expect(0)
    noise_to(m, "src/more", 1024 * MIB)
    line.wait_for(32 * MIB)
    begin = time.monotonic()
    time.sleep(30)
    used = line.connections(begin, begin + 30)
    rate = line.rate(begin, begin + 30)
    print(f"     20 MiB/s over {len(used)} connections of 7 MiB/s: {rate / MIB:.2f} MiB/s over 30 s", flush=True)
    check(abs(rate / (20 * MIB) - 1) < 0.05, rate / MIB)
    check(len(used) == 4, used)
    m.ctl("set", "edit", "home", "--upload-rate", "5MiB/s").expect(0)
    begin = time.monotonic()
    time.sleep(11)
    rate = line.rate(begin + 1, begin + 11)
    print(f"     changed to 5 MiB/s: {line.sent(begin, begin + 1) / MIB:.2f} MiB in the first second, then {rate / MIB:.2f} MiB/s over 10 s", flush=True)
    check(abs(rate / (5 * MIB) - 1) < 0.05, rate / MIB)
    # Of all sets together, over the one of the set.
    config = "[rates]\nupload = \"2MiB/s\"\n"
    with open(m.path("config/backupd.toml")) as f:
        before = f.read()
    m.write("config/backupd.toml", before + config)
    m.ctl("config", "reload").expect(0)
    begin = time.monotonic()
    time.sleep(11)
    rate = line.rate(begin + 1, begin + 11)
    print(f"     2 MiB/s for all: {rate / MIB:.2f} MiB/s over 10 s", flush=True)
    check(abs(rate / (2 * MIB) - 1) < 0.05, rate / MIB)
    m.write("config/backupd.toml", before)
    m.ctl("config", "reload").expect(0)
    m.ctl("set", "edit", "home", "--upload-rate", "none").expect(0)
    begin = time.monotonic()
    time.sleep(5)
    rate = line.rate(begin + 1, begin + 5)
    print(f"     without a limit: {rate / MIB:.2f} MiB/s", flush=True)
    check(rate > 21 * MIB, rate / MIB)
    wait_for("the end", lambda: m.ctl("ls", m.path("src/more")).code == 0, seconds=300, every=1)

    m.ctl("set", "edit", "home", "--download-rate", "10MiB/s").expect(0)
    restore = m.ctl_spawn("restore", m.path("src/more"), "--to", m.path("out"))
    wait_for("the download", lambda: line.sent(way="down") > 16 * MIB, seconds=60)
    begin = time.monotonic()
    time.sleep(20)
    rate = line.rate(begin, begin + 20, way="down")
    print(f"     download at 10 MiB/s: {rate / MIB:.2f} MiB/s over 20 s", flush=True)
    check(abs(rate / (10 * MIB) - 1) < 0.05, rate / MIB)
    m.ctl("set", "edit", "home", "--download-rate", "none").expect(0)
    begin = time.monotonic()
    time.sleep(4)
    rate = line.rate(begin + 1, begin + 4, way="down")
    print(f"     without a limit: {rate / MIB:.2f} MiB/s", flush=True)
    check(rate > 15 * MIB, rate / MIB)
    check(restore.wait(300) == 0, "the restore ended with", restore.returncode)
    for name in ("src/more", "out"):
        subprocess.run(["rm", "-rf", m.path(name)])
    m.ctl("run", "home", "--wait")


@promise("a restore outranks uploads: none beside it, it keeps nine tenths of the rate that it has alone, and the upload goes on behind it")
def _(m):
    line = slow_line(m, 8 * MIB)
    noise_to(m, "src/back", 256 * MIB)
    m.ctl("run", "home", "--wait").expect(0)

    def restored(to):
        begin = time.monotonic()
        m.ctl("restore", m.path("src/back"), "--to", m.path(to)).expect(0)
        chunks = [at for at, _, _ in line.chunks("down") if at >= begin]
        return min(chunks), max(chunks), line.rate(min(chunks), max(chunks), way="down")

    _, _, alone = restored("out1")
    noise_to(m, "src/on-its-way", 512 * MIB)
    line.wait_for(32 * MIB)
    begin, end, beside = restored("out2")
    late = line.sent(begin + 1, end)
    print(f"     restore alone {alone / MIB:.2f} MiB/s, while an upload is under way {beside / MIB:.2f} MiB/s; {late} bytes went up beside it", flush=True)
    check(beside > 0.9 * alone, beside / alone)
    check(late == 0, late, "bytes went up beside the restore")
    check(m.ctl("ls", m.path("src/on-its-way")).code == 5, "the upload was over too soon")
    line.wait_for(32 * MIB)
    subprocess.run(["rm", "-rf", m.path("out1"), m.path("out2")])


if __name__ == "__main__":
    main(fixture, **{"--files": {"default": "1500000"}, "--gib": {"default": "4"}})
