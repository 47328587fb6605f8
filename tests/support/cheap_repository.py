#!/usr/bin/env python3
"""cheap_repository: repositories whose keys open in a millisecond instead of half a second, for tests that are not about keys.

    make(path, password, version=2)     an empty repository
    add_snapshot(path, password, {...})  a snapshot that nobody made; its id
    cheapen(path, password)             the keys of an existing one are replaced by one cheap key; the master key stays

scrypt is meant to be slow, and each command of restic and each daemon runs it once. Opened with the usual means all the same.
"""
import base64
import hashlib
import json
import os
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hostile_repository import Key, b64, sha  # noqa: E402

POLYNOMIAL = "3da3358b4dc173"


def derived(password, salt, n, r, p):
    u = hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, dklen=64, maxmem=1 << 28)
    return Key(u[:32], u[32:48], u[48:])


def write(path, content):
    with open(path, "wb", opener=lambda p, flags: os.open(p, flags | os.O_EXCL, 0o600)) as f:
        f.write(content)


def add_key(path, master, password):
    salt, cost = os.urandom(64), dict(n=1024, r=8, p=1)
    sealed = derived(password, salt, **cost).seal(master)
    key = {
        "created": "2024-01-01T00:00:00Z",
        "username": "tests",
        "hostname": "tests",
        "kdf": "scrypt",
        "N": cost["n"],
        "r": cost["r"],
        "p": cost["p"],
        "salt": b64(salt),
        "data": b64(sealed),
    }
    raw = json.dumps(key).encode()
    write(os.path.join(path, "keys", sha(raw)), raw)


def make(path, password, version=2):
    for folder in ("index", "keys", "locks", "snapshots", *(f"data/{i:02x}" for i in range(256))):
        os.makedirs(os.path.join(path, folder), 0o700)
    master = Key(os.urandom(32), os.urandom(16), os.urandom(16))
    plain = {"mac": {"k": b64(master.k), "r": b64(master.r)}, "encrypt": b64(master.enc)}
    add_key(path, json.dumps(plain).encode(), password)
    config = {"version": version, "id": os.urandom(32).hex(), "chunker_polynomial": POLYNOMIAL}
    write(os.path.join(path, "config"), master.seal(json.dumps(config).encode()))


def cheapen(path, password):
    keys = os.path.join(path, "keys")
    old = os.listdir(keys)
    with open(os.path.join(keys, old[0])) as f:
        key = json.load(f)
    raw = lambda name: base64.b64decode(key[name])
    add_key(path, derived(password, raw("salt"), key["N"], key["r"], key["p"]).open(raw("data")), password)
    for name in old:
        os.unlink(os.path.join(keys, name))


def master_of(path, password):
    """The master key of a repository with one key."""
    keys = os.path.join(path, "keys")
    with open(os.path.join(keys, os.listdir(keys)[0])) as f:
        key = json.load(f)
    raw = lambda name: base64.b64decode(key[name])
    plain = json.loads(derived(password, raw("salt"), key["N"], key["r"], key["p"]).open(raw("data")))
    mac = plain["mac"]
    return Key(base64.b64decode(plain["encrypt"]), base64.b64decode(mac["k"]), base64.b64decode(mac["r"]))


def add_snapshot(path, password, snapshot):
    """A snapshot of any content; its id."""
    sealed = master_of(path, password).seal(json.dumps(snapshot).encode())
    write(os.path.join(path, "snapshots", sha(sealed)), sealed)
    return sha(sealed)


def selftest():
    """The program that made the format opens what we make, and what we made cheaper."""
    import shutil
    import subprocess

    if not shutil.which("restic"):
        print("restic is not installed", file=sys.stderr)
        return 77
    with tempfile.TemporaryDirectory() as top:
        env = dict(os.environ, RESTIC_PASSWORD="x y")

        def restic(repo, *args):
            argv = ["restic", "--no-cache", "-r", os.path.join(top, repo), *args]
            return subprocess.run(argv, env=env, check=True, capture_output=True, text=True).stdout

        for version in (1, 2):
            make(os.path.join(top, f"made{version}"), "x y", version)
            restic("inited" + str(version), "init", "--repository-version", str(version))
            was = json.loads(restic(f"inited{version}", "cat", "masterkey"))
            cheapen(os.path.join(top, f"inited{version}"), "x y")
            assert json.loads(restic(f"inited{version}", "cat", "masterkey")) == was
            for repo in (f"made{version}", f"inited{version}"):
                assert json.loads(restic(repo, "cat", "config"))["version"] == version
                restic(repo, "backup", "-q", __file__)
                assert "no errors were found" in restic(repo, "check", "--read-data")
                keys = os.listdir(os.path.join(top, repo, "keys"))
                assert len(keys) == 1, keys
    print("ok")
    return 0


if __name__ == "__main__":
    sys.exit(selftest() if sys.argv[1:] == ["--selftest"] else __doc__)
