#!/usr/bin/env python3
"""Policies at their full size: minutes of time and gigabytes of disk.

    ./check policies [--files N] [--gib N] [--only REGEX]       defaults: 1,500,000 files, 4 GiB

A directory bomb in one set beside another set; a window that closes inside one large file; a rate over half a minute.
"""
import os
import re
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from machine import Machine  # noqa: E402
from promises import PROMISES, check, contains, main, options, promise, wait_for  # noqa: E402
from windows import home, jobs, set_time, stored, written  # noqa: E402

PROMISES.clear()  # those of windows.py are its own

MIB = 1 << 20


def fixture():
    m = Machine("policies")
    m.env["BACKUPD_CLOCK_STEP"] = m.write("clock", "0")
    m.write("config/backupd.toml", '[engine]\ncheckpoint = "64MiB"\n')
    m.write_tree("src", {"a": "one\n"})
    m.write_tree("other", {"a": "one\n"})
    m.start()
    m.repository(cheap=True)
    m.repository("second", "second", cheap=True)
    with open(m.path("config/repositories.d/main.toml"), "a") as f:
        f.write('collect = "off"\n')
    m.ctl("config", "reload").expect(0)
    set_time(m, 12)
    m.set("home", m.path("src"), extra=["--jitter", "off", "--min-interval", "0", "--settle", "1s"])
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


@promise("a window that closes inside of a file of gigabytes: nothing goes after it, the next one finishes it, nothing is sent twice")
def _(m):
    size = int(options.gib) << 30
    check(shutil.disk_usage(m.top).free > 3 * size, "not enough room at", m.top)
    m.ctl("set", "edit", "home", "--window", "22:00-06:00").expect(0)
    with open(m.path("src/large"), "wb") as to, open("/dev/urandom", "rb") as noise:
        for _ in range(size // (64 * MIB)):
            to.write(noise.read(64 * MIB))
    before = stored(m)
    set_time(m, 23)
    wait_for("the upload", lambda: stored(m) > before + size // 4, seconds=900, every=0.2)
    set_time(m, 6, 0, 1, day=1)
    time.sleep(5)
    first = written(m)
    time.sleep(10)
    print(f"     {(written(m) - first) / MIB:.2f} MiB were written in ten seconds behind the window; {(stored(m) - before) / MIB:.0f} MiB stored", flush=True)
    check(written(m) - first < MIB, "written behind the window:", written(m) - first)
    check(stored(m) < before + size, "it closed inside of the file")
    wait_for("the run to be parked", lambda: jobs(m)[0]["outcome"], seconds=120)
    set_time(m, 22, 0, 1, day=1)
    wait_for("the end", lambda: m.ctl("ls", m.path("src/large")).code == 0, seconds=1800, every=1)
    grown = stored(m) - before
    print(f"     {grown / MIB:.0f} MiB stored for a file of {size / MIB:.0f}", flush=True)
    check(size <= grown < size * 1.01 + 32 * MIB, "stored", grown)
    m.ctl("set", "edit", "home", "--window", "none").expect(0)


@promise("20 MiB/s over half a minute, within 5 %; another rate counts within a second")
def _(m):
    m.ctl("set", "edit", "home", "--upload-rate", "20MiB/s").expect(0)
    with open(m.path("src/more"), "wb") as to, open("/dev/urandom", "rb") as noise:
        for _ in range(14):
            to.write(noise.read(64 * MIB))
    first = stored(m)
    wait_for("the upload", lambda: stored(m) > first + 32 * MIB, seconds=60)
    begin, bytes_before = time.monotonic(), written(m)
    time.sleep(30)
    rate = (written(m) - bytes_before) / (time.monotonic() - begin)
    print(f"     {rate / MIB:.2f} MiB/s", flush=True)
    check(abs(rate / (20 * MIB) - 1) < 0.05, rate / MIB)
    m.ctl("set", "edit", "home", "--upload-rate", "5MiB/s").expect(0)
    time.sleep(1)
    begin, bytes_before = time.monotonic(), written(m)
    time.sleep(10)
    rate = (written(m) - bytes_before) / (time.monotonic() - begin)
    print(f"     {rate / MIB:.2f} MiB/s", flush=True)
    check(abs(rate / (5 * MIB) - 1) < 0.06, rate / MIB)
    m.ctl("set", "edit", "home", "--upload-rate", "none").expect(0)
    contains(m.ctl("run", "home", "--wait").out + "done", "done")


if __name__ == "__main__":
    main(fixture, **{"--files": {"default": "1500000"}, "--gib": {"default": "4"}})
