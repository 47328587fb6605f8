#!/usr/bin/env python3
"""restic restores what we stored and we restore what restic stored, metadata included; neither stores again what the other has."""
import json
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
import cheap_repository  # noqa: E402
from machine import ready, tree_diff, is_root  # noqa: E402
from promises import check, equal, main, options, promise, skip  # noqa: E402

NASTY = os.path.join(HERE, "../support/nasty_tree.py")
ORDINARY = next((d for d in ("/usr/share/doc", "/usr/include") if os.path.isdir(d)), "/etc")

# What the format cannot hold, by name: neither program gives it back. We name each in the report of the backup or leave it out
# as restic does.
FORMAT_LOSES = {
    "links/socket": "sockets are not stored",
    "links/fifo": "a hard link between fifos",
    "links/fifo2": "a hard link between fifos",
    "xattrs/weird-name": "an attribute name that is not UTF-8",
}
# What restic 0.14 cannot give back on top of that. Everything else has to come back from either side.
RESTIC_LOSES = {
    **FORMAT_LOSES,
    "links/raw": "a link target that is not UTF-8",
    "links/dangling": "a hard link between symbolic links",
    "links/dangling2": "a hard link between symbolic links",
}


def fixture():
    m = ready("interop")
    # In a place of its own: restic stores the directories above, too, and those of a busy /tmp change all the time.
    m.quiet = tempfile.mkdtemp(prefix="backupd-interop-", dir="/var/tmp")
    m.nasty = os.path.join(m.quiet, "nasty")
    m.work = os.path.join(m.quiet, "work")
    close = m.close

    def close_all():
        subprocess.run([sys.executable, NASTY, "rm", m.quiet])
        close()

    m.close = close_all
    made = subprocess.run(
        [sys.executable, NASTY, "make", m.nasty, *(["--full"] if is_root() else [])], capture_output=True, text=True
    )
    check(made.returncode == 0, made.stderr)
    m.set("nasty", m.nasty)
    m.set("ordinary", ORDINARY)
    m.manifest = m.path("nasty.manifest")
    subprocess.run(
        [sys.executable, os.path.join(HERE, "../support/tree_diff.py"), "--snap", m.nasty, "-o", m.manifest], check=True
    )
    return m


def unexplained(differences, known):
    return [d for d in differences if not any(d["path"] == k or d["path"].startswith(k + "/") for k in known)]


@promise("we store the nasty tree")
def _(m):
    reply = m.ctl("--json", "run", "nasty", "--wait")
    reply.expect(3)
    lost = [line["path"] for line in reply.lines if line["type"] == "exception"]
    check(os.path.join(m.nasty, "xattrs/weird-name") in lost, "what the format cannot hold is not named:", reply)
    if is_root():
        equal(len(lost), 1, reply)
    m.nasty_revision = reply.result["revision"]
    m.nasty_result = reply.result


@promise("restic check --read-data finds no error in it")
def _(m):
    m.restic("check", "--read-data").expect(0, "no errors were found")


@promise("backupctl restore gives the nasty tree back exactly")
def _(m):
    reply = m.ctl("restore", m.nasty, "--to", m.path("ours"))
    check(reply.code in ((0,) if is_root() else (0, 3)), reply)
    differences = tree_diff(m.manifest, m.path("ours/nasty"), "--sparse", "kept")
    equal(unexplained(differences, [*FORMAT_LOSES, *([] if is_root() else ["modes"])]), [])


@promise("restic restore gives it back too, but for what restic cannot hold, which is named here")
def _(m):
    reply = m.restic("restore", m.nasty_revision, "--target", m.path("theirs"))
    differences = tree_diff(m.manifest, m.path("theirs") + m.nasty)
    known = dict(RESTIC_LOSES, deep="paths longer than PATH_MAX")
    rest = unexplained(differences, known)
    if not is_root():
        rest = unexplained(rest, ["modes"])
    equal(rest, [], reply)
    for name in RESTIC_LOSES:
        if os.path.lexists(os.path.join(m.nasty, name)):
            check(any(d["path"] == name for d in differences), name, "came back after all: take it off the list")


@promise("an unchanged second run of the nasty tree reads no file and stores no tree")
def _(m):
    before = {n for _, _, names in os.walk(m.path("repo/data")) for n in names}
    reply = m.ctl("--json", "run", "nasty", "--wait")  # what was lost is told when the file is read
    check(reply.code in (0, 3), reply)
    result = reply.result
    equal(result["counts"]["files_read"], 0, result)
    equal({n for _, _, names in os.walk(m.path("repo/data")) for n in names}, before)


@promise(f"we store {ORDINARY} and restic restores it identically")
def _(m):
    m.backup("ordinary")
    result = m.backup("ordinary", "--full")
    m.restic("restore", result["revision"], "--target", m.path("theirs2")).expect(0)
    equal(tree_diff(ORDINARY, m.path("theirs2") + ORDINARY), [])
    shutil.rmtree(m.path("theirs2"))


def packs(m, repo):
    return {n for _, _, names in os.walk(m.path(repo, "data")) for n in names}


def above(source):
    """The directories above, as they are now."""
    found = []
    while source != "/":
        source = os.path.dirname(source)
        st = os.stat(source)
        found.append((source, st.st_mode, st.st_mtime_ns, st.st_ctime_ns))
    return found[:-1]


def adopt(m, source, version):
    """Tried again when somebody else changed a directory above the source meanwhile: its metadata is in the revisions."""
    for attempt in range(5):
        before = above(source)
        try:
            return adopt_once(m, source, version, attempt)
        except AssertionError:
            if above(source) == before:
                raise
    skip(f"the directories above {source} are never quiet")


def adopt_once(m, source, version, attempt):
    """restic stores, we adopt: 0 blobs; then restic again: 0 blobs."""
    repo = f"repo-v{version}"
    if not os.path.exists(m.path(repo, "config")):
        m.restic("init", "--repository-version", str(version), repo=repo).expect(0)
        cheap_repository.cheapen(m.path(repo), "secret")
    first = m.restic("backup", "--json", source, repo=repo)
    check(first.code in (0, 3), first)
    summary = json.loads(first.out.splitlines()[-1])
    name = f"adopted{version}"
    if name not in m.ctl("repo", "list").out:
        m.repository(name, repo, init=False)
    set_name = f"{name}-{os.path.basename(source)}"
    if attempt == 0:
        m.set(set_name, source, repository=name)
    before = packs(m, repo)
    reply = m.ctl("--json", "run", set_name, "--wait", "--full")
    check(reply.code in (0, 3), reply)
    equal(packs(m, repo) - before, set(), "packs were added although everything was there:", reply.result)
    equal(reply.result["counts"]["blobs_new"], 0)
    trees = [
        json.loads(m.restic("cat", "snapshot", i, repo=repo).expect(0).out)["tree"]
        for i in (summary["snapshot_id"], reply.result["revision"])
    ]
    equal(trees[0], trees[1], "the root trees differ")
    reply = m.ctl("--json", "run", set_name, "--wait")
    equal(packs(m, repo) - before, set(), "the incremental run added packs")
    again = m.restic("backup", "--json", source, repo=repo)
    check(again.code == first.code, again)
    told = json.loads(again.out.splitlines()[-1])
    equal(
        (
            told["files_new"],
            told["files_changed"],
            told["dirs_new"],
            told["dirs_changed"],
            told["data_blobs"],
            told["tree_blobs"],
        ),
        (0, 0, 0, 0, 0, 0),
        told,
    )
    equal(packs(m, repo) - before, set())
    m.restic("check", "--read-data", repo=repo).expect(0)
    return summary["snapshot_id"], set_name


for version in (2, 1):

    @promise(f"a version {version} repository made by restic is adopted: {ORDINARY} adds 0 blobs, and restic after us adds none")
    def _(m, version=version):
        snapshot, set_name = adopt(m, ORDINARY, version)
        out = m.path(f"adopted-out{version}")
        m.ctl("restore", ORDINARY, "--revision", snapshot, "--to", out).expect(0)
        equal(tree_diff(ORDINARY, os.path.join(out, os.path.basename(ORDINARY))), [])
        shutil.rmtree(out)


@promise("the same with the nasty tree, without what restic cannot read")
def _(m):
    subprocess.run([sys.executable, NASTY, "rm", os.path.join(m.nasty, "deep")], check=True)
    os.unlink(os.path.join(m.nasty, "links/raw"))  # we store the target's very bytes beside what restic 0.14 makes of them
    snapshot, _ = adopt(m, m.nasty, 2)
    m.ctl("restore", m.nasty, "--revision", snapshot, "--to", m.path("of-restic"))
    differences = tree_diff(m.nasty, m.path("of-restic/nasty"))
    if not is_root():
        differences = unexplained(differences, ["modes"])
    equal(unexplained(differences, RESTIC_LOSES), [])


@promise("files that change between our runs and restic's are seen by both")
def _(m):
    m.write_tree(m.work, {f"f{i}": f"{i}\n" * 1000 for i in range(50)})
    adopt(m, m.work, 2)
    m.write(m.work + "/f7", "ours will see this\n")
    result = m.backup("adopted2-work")
    equal((result["counts"]["files_changed"], result["counts"]["files_read"]), (1, 1), result)
    m.write(m.work + "/f8", "restic will see this\n")
    told = json.loads(m.restic("backup", "--json", m.work, repo="repo-v2").expect(0).out.splitlines()[-1])
    equal((told["files_changed"], told["files_unmodified"], told["tree_blobs"] >= 1), (1, 49, True), told)
    m.restic("check", "--read-data", repo="repo-v2").expect(0)


@promise("keys go both ways")
def _(m):
    second, third = m.write("second", "zweites Passwort\n", 0o600), m.write("third", "third ünïcode ✓\n", 0o600)
    m.restic("key", "add", "--new-password-file", second, "--user", "restic", "--host", "there").expect(0)
    m.ctl("repo", "test", "main", "--password-file", second).expect(0)
    m.ctl("key", "add", "main", "--password-file", third).expect(0)
    m.restic("cat", "config", password_file=third).expect(0)
    keys = m.json("key", "list", "main")["keys"]
    equal(len(keys), 3, keys)
    other = next(k for k in keys if k["user"] == "restic" or k.get("host") == "there")
    m.ctl("key", "remove", "main", other["id"], "--yes").expect(0)
    check(m.restic("cat", "config", password_file=second).code != 0)
    m.restic("cat", "config").expect(0)


@promise("what restic forgot and pruned is gone for us too, and the next run is fine")
def _(m):
    m.restic("forget", "--keep-last", "1", "--prune", repo="repo-v2").expect(0)
    m.write(m.work + "/f9", "after the prune\n")
    m.backup("adopted2-work")
    m.ctl("verify", "--data", "all").expect(0)
    m.restic("check", "--read-data", repo="repo-v2").expect(0)


if __name__ == "__main__":
    main(fixture)
