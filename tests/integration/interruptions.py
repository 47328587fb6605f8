#!/usr/bin/env python3
"""SIGTERM, kill -9, cancel and a lost client in the middle of a backup and of a restore."""
import os
import signal
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
from machine import ready, tree_diff  # noqa: E402
from promises import check, contains, equal, main, promise, wait_for  # noqa: E402

SIZE = 24  # files of 16 MiB: some 24 packs


def fixture():
    m = ready("cut")
    m.write_tree("src", {"small": "first\n"})
    m.set("home", m.path("src"))
    m.first = m.backup()["revision"]
    for i in range(SIZE):
        m.write(f"src/big{i:02}", os.urandom(16 << 20))
    # Gates hold the daemon where a pack has been stored, and where the tenth file of a restore gets its name.
    m.env["BACKUPD_FAILPOINTS"] = f"pack.stored=gate:{m.path('gate')}@1+;restore.place=gate:{m.path('gate')}@10+"
    m.restart()
    return m


def close_gate(m):
    m.write("gate", "")


def open_gate(m):
    for name in ("gate", "gate.reached"):
        if os.path.exists(m.path(name)):
            os.unlink(m.path(name))


def at_the_gate(m, *command):
    close_gate(m)
    client = m.ctl_spawn(*command)
    wait_for("the daemon to reach the gate", lambda: os.path.exists(m.path("gate.reached")) or client.poll() is not None)
    check(client.poll() is None, "it ended before it could be interrupted", client)
    return client


def in_the_middle(m):
    """A backup of which some packs, but by far not all, are stored, and that is held there; the client."""
    return at_the_gate(m, "--json", "run", "home", "--wait")


def only_the_first(m):
    equal([r["id"] for r in m.revisions()], [m.first], "a half revision is listed")
    equal(len(os.listdir(m.path("repo/snapshots"))), 1)


def last_job(m, kind="backup"):
    return next(j for j in m.json("jobs")["jobs"] if j["kind"] == kind)


@promise("cancel stops a backup in seconds: outcome cancelled, no revision, no lock left")
def _(m):
    client = in_the_middle(m)
    job = last_job(m)
    equal(job["state"], "running")
    m.ctl("cancel", str(job["id"])).expect(0)
    open_gate(m)
    out, _ = client.communicate(timeout=30)
    check(client.returncode not in (0, 3), client.returncode, out)
    equal(last_job(m)["outcome"], "cancelled")
    only_the_first(m)
    equal(os.listdir(m.path("repo/locks")), [])
    m.restic("check").expect(0)


@promise("Ctrl-C on the client detaches: the job goes on, and the client says how to attach")
def _(m):
    client = in_the_middle(m)
    job = last_job(m)["id"]
    client.send_signal(signal.SIGINT)
    out, err = client.communicate(timeout=30)
    equal(client.returncode, 130)
    contains((out + err).decode(), "attach", str(job))
    equal(last_job(m)["state"], "running")
    open_gate(m)
    m.ctl("attach", str(job)).expect(0)
    equal(last_job(m)["outcome"], "complete")
    # back to one revision for what follows
    for r in m.revisions()[:-1]:
        m.restic("forget", r["id"]).expect(0)
    m.restic("prune", "--max-unused", "0").expect(0)
    m.restart()
    only_the_first(m)


@promise("SIGTERM in the middle of a backup ends the daemon cleanly within seconds, with status 0")
def _(m):
    client = in_the_middle(m)
    m.daemon.send_signal(signal.SIGTERM)
    wait_for("the daemon to hear it", lambda: "stopping" in m.daemon_log(3))
    open_gate(m)
    equal(m.stop(seconds=20), 0)
    client.communicate(timeout=30)
    check(client.returncode in (1, 6), client.returncode)
    equal(os.listdir(m.path("repo/locks")), [], "a clean end leaves a lock")
    equal(len(os.listdir(m.path("repo/snapshots"))), 1)
    m.restic("check", "--no-lock").expect(0)
    m.start()
    check(last_job(m)["outcome"] in ("cancelled", "interrupted"), last_job(m))
    only_the_first(m)


@promise("kill -9 in the middle of a backup: no revision appears and restic check is clean right after")
def _(m):
    client = in_the_middle(m)
    m.kill()
    open_gate(m)
    out, err = client.communicate(timeout=30)
    check(client.returncode in (1, 6), client.returncode, out, err)
    equal(len(os.listdir(m.path("repo/snapshots"))), 1)
    m.restic("check", "--no-lock").expect(0)


@promise("after the restart the job shows as interrupted within 5 s, and its lock is gone")
def _(m):
    m.start()
    wait_for("the record", lambda: last_job(m)["outcome"] == "interrupted", seconds=5)
    equal(last_job(m)["state"], "done")
    only_the_first(m)
    wait_for("the stale lock to go", lambda: os.listdir(m.path("repo/locks")) == [], seconds=60)
    m.restic("check").expect(0)


@promise("the next run completes and restores exactly")
def _(m):
    result = m.backup()
    equal(result["outcome"], "complete")
    m.restic("check", "--read-data").expect(0)
    m.ctl("restore", m.path("src"), "--to", m.path("out")).expect(0)
    equal(tree_diff(m.path("src"), m.path("out/src")), [])


@promise("kill -9 in the middle of a restore: every path is whole or absent, and running it again completes")
def _(m):
    m.restart()
    client = at_the_gate(m, "restore", m.path("src"), "--to", m.path("cut"))
    there = lambda: [n for n in os.listdir(m.path("cut/src")) if n.startswith("big")] if os.path.isdir(m.path("cut/src")) else []
    m.kill()
    open_gate(m)
    client.communicate(timeout=30)
    for name in there():
        check(m.read("cut/src/" + name) == m.read("src/" + name), name, "is neither whole nor absent")
    m.start()
    equal(last_job(m, "restore")["outcome"], "interrupted")
    m.ctl("restore", m.path("src"), "--to", m.path("cut")).expect(0)
    equal(tree_diff(m.path("src"), m.path("cut/src")), [])


@promise("a client that is killed takes nothing with it: the job completes")
def _(m):
    for i in range(0, SIZE, 2):
        m.write(f"src/big{i:02}", os.urandom(16 << 20))
    client = in_the_middle(m)
    client.kill()
    client.communicate()
    open_gate(m)
    wait_for("the job to end", lambda: last_job(m)["state"] == "done", seconds=120, every=0.1)
    equal(last_job(m)["outcome"], "complete")


@promise("two runs of one set at the same time are one job")
def _(m):
    for i in range(1, SIZE, 2):
        m.write(f"src/big{i:02}", os.urandom(16 << 20))
    client = in_the_middle(m)
    job = last_job(m)["id"]
    again = m.ctl("--json", "run", "home", "--no-wait").expect(0).result
    open_gate(m)
    equal(again["job"], job)
    client.communicate(timeout=60)
    equal(client.returncode, 0)


if __name__ == "__main__":
    main(fixture)
