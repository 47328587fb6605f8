#!/usr/bin/env python3
"""--json: every field that the command line contract names is there, with its type; a stream ends with its result, also in failure."""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from machine import ready  # noqa: E402
from promises import check, equal, main, promise  # noqa: E402

HEX = re.compile(r"^[0-9a-f]{64}$")
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$")


def hexid(v):
    return isinstance(v, str) and bool(HEX.match(v))


def time(v):
    return isinstance(v, str) and bool(TIME.match(v))


def count(v):
    return isinstance(v, int) and not isinstance(v, bool) and v >= 0


def text(v):
    return isinstance(v, str)


def flag(v):
    return isinstance(v, bool)


def seconds(v):
    return isinstance(v, (int, float)) and not isinstance(v, bool) and v >= 0


def one_of(*words):
    return lambda v: v in words


def or_none(test):
    return lambda v: v is None or v == "" or test(v)


KIND = one_of("backup", "restore", "export", "verify", "check", "gc", "drill", "forget")
OUTCOME = one_of("complete", "exceptions", "failed", "cancelled", "interrupted")
TRIGGER = one_of("change", "schedule", "catchup", "user", "resume", "pre-restore", "drill")
REVISION = dict(
    id=hexid,
    number=count,
    set=text,
    state=one_of("complete", "incomplete"),
    time=time,
    trigger=TRIGGER,
    mode=one_of("incremental", "full"),
    parent=or_none(hexid),
    items=count,
    bytes=count,
    new_bytes=count,
    exceptions=count,
    pinned=flag,
)
JOB = dict(
    id=count,
    kind=KIND,
    set=text,
    state=one_of("queued", "waiting", "running", "paused", "cancelling", "done"),
    outcome=OUTCOME,
    begin=time,
    end=time,
    seconds=seconds,
    trigger=TRIGGER,
    mode=one_of("incremental", "full"),
    exceptions=count,
    parent=or_none(hexid),
    counts=lambda v: isinstance(v, dict) and all(count(n) for n in v.values()),
)
SET = dict(
    id=text,
    state=text,
    tracking=text,
    pending=count,
    protected_until=or_none(time),
    unprotected_items=count,
    last_success=or_none(time),
    next_run=or_none(time),
    waiting_for=lambda v: isinstance(v, list),
)
RESULT = dict(
    schema=one_of(1),
    type=one_of("result"),
    kind=KIND,
    job=count,
    outcome=OUTCOME,
    counts=lambda v: isinstance(v, dict),
    seconds=seconds,
    exit_code=count,
)
COUNTS = "files_new files_changed files_removed files_unmodified dirs_read files_read bytes_read blobs_new bytes_stored".split()


def matches(what, value, fields):
    for name, test in fields.items():
        check(name in value, f"{what}: no {name!r} in {value}")
        check(test(value[name]), f"{what}: {name} is {value[name]!r}")


def fixture():
    m = ready("json")
    m.write_tree("src", {"a": "one\n", "d/b": "two\n"})
    with open(os.path.join(os.fsencode(m.path("src")), b"bad-\xff"), "wb") as f:
        f.write(b"x")
    m.set("home", m.path("src"))
    return m


@promise("run streams JSON Lines and ends with its result")
def _(m):
    for extra in ([], ["--full"]):
        reply = m.ctl("--json", "run", "home", "--wait", *extra).expect(0)
        for line in reply.lines:
            check(line["schema"] == 1 and text(line["type"]), line)
        equal([line["type"] for line in reply.lines].count("result"), 1)
        matches("run", reply.result, {**RESULT, "revision": hexid})
        for name in COUNTS:
            check(count(reply.result["counts"].get(name)), f"counts.{name} in {reply.result['counts']}")
        equal(reply.result["exit_code"], reply.code)
        m.write("src/a", "one and a half\n")


@promise("revisions lists every field, newest first")
def _(m):
    answer = m.json("revisions", "home")
    equal((answer["schema"], answer["type"], len(answer["revisions"])), (1, "revisions", 2))
    check(time(answer["time"]), answer)
    for r in answer["revisions"]:
        matches("revision", r, REVISION)
    new, old = answer["revisions"]
    check(new["number"] > old["number"] and new["time"] >= old["time"])
    equal((new["mode"], new["parent"], new["trigger"]), ("full", old["id"], "user"))


@promise("jobs lists every field, newest first")
def _(m):
    answer = m.json("jobs")
    equal((answer["schema"], answer["type"]), (1, "jobs"))
    for j in answer["jobs"]:
        matches("job", j, JOB)
    check([j["id"] for j in answer["jobs"]] == sorted((j["id"] for j in answer["jobs"]), reverse=True))
    equal([j["mode"] for j in answer["jobs"]], ["full", "incremental"])
    equal(answer["jobs"][0]["parent"], answer["jobs"][1]["revision"])
    one = m.json("jobs", str(answer["jobs"][0]["id"]))["jobs"]
    equal(one, answer["jobs"][:1], "one job is told in the same words")
    for name in COUNTS:
        check(count(one[0]["counts"].get(name)), f"counts.{name} in {one[0]['counts']}")


@promise("status lists every field of each set")
def _(m):
    answer = m.json("status")
    equal((answer["schema"], answer["type"]), (1, "status"))
    check(answer["state"] in ("idle", "waiting", "running", "paused", "locked", "error"), answer)
    check(answer["health"] in ("ok", "degraded", "at-risk", "unknown"), answer)
    for s in answer["sets"]:
        matches("set", s, SET)


@promise("show gives one revision")
def _(m):
    answer = m.json("show", "latest")
    matches("show", answer.get("revision") if isinstance(answer.get("revision"), dict) else answer, REVISION)


@promise("names that are not UTF-8 come as path_b64")
def _(m):
    lines = m.ctl("--json", "ls", "-R", m.path("src")).expect(0).lines
    flat = [e for line in lines for e in (line.get("entries") or [line])]
    import base64

    names = [base64.b64decode(e["path_b64"]) for e in flat if "path_b64" in e]
    check(any(n.endswith(b"bad-\xff") for n in names), lines)


@promise("restore and verify end with their result")
def _(m):
    reply = m.ctl("--json", "restore", m.path("src"), "--to", m.path("out")).expect(0)
    matches("restore", reply.result, RESULT)
    reply = m.ctl("--json", "verify", "--data", "all").expect(0)
    matches("verify", reply.result, RESULT)


@promise("a failing stream ends with a result too")
def _(m):
    reply = m.ctl("--json", "restore", m.path("src"), "--to", m.path("out"), "--revision", "1")
    reply.expect(7)
    matches("refused restore", reply.result, {k: v for k, v in RESULT.items() if k in ("schema", "type", "exit_code", "outcome")})
    equal(reply.result["exit_code"], 7)


@promise("every query answers with one object that names its schema, type and time")
def _(m):
    for args in (
        ["set", "list"],
        ["set", "show", "home"],
        ["repo", "list"],
        ["repo", "show", "main"],
        ["key", "list", "main"],
        ["config", "check"],
        ["config", "show"],
        ["version"],
        ["log"],
        ["jobs"],
        ["status"],
    ):
        reply = m.ctl("--json", *args).expect(0)
        check(reply.lines, "says nothing:", reply)
        for line in reply.lines:
            check(line.get("schema") == 1 and text(line.get("type")) and time(line.get("time")), f"{args}: {line}")


@promise("an error is JSON as well")
def _(m):
    for args, code in ((["show", "abcdef999999"], 5), (["run", "nosuchset", "--wait"], 5), (["ls", "/nowhere"], 5)):
        reply = m.ctl("--json", *args).expect(code)
        last = reply.lines[-1] if reply.out.strip() else None
        check(last and last.get("schema") == 1 and last.get("exit_code") == code, reply)


if __name__ == "__main__":
    main(fixture)
