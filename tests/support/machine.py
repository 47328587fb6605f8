"""A machine of our own for a test: a private bus, `backupd --user` on it, and `backupctl`, all in a temporary directory.

    with Machine() as m:
        m.start()
        m.repository("main")                        # /.../repo, password "secret"
        m.write_tree("src", {"a/b": "text"})
        m.set("home", m.path("src"))
        run = m.ctl("run", "home", "--wait")        # Reply: .code .out .err
        m.json("revisions", "home")                 # the JSON object, exit code 0 asserted

Nothing outside of the directory is read or written, no bus but the private one is reachable. Root is not needed.
"""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import cheap_repository  # noqa: E402
from promises import check, options, skip, wait_for  # noqa: E402

PATIENCE = float(os.environ.get("TEST_PATIENCE", "1"))
BUS_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path={socket}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy>
</busconfig>
"""


SYSTEM_BUS_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path={socket}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/></policy>
</busconfig>
"""


class Reply:
    def __init__(self, argv, code, out, err, seconds):
        self.argv, self.code, self.raw, self.seconds = argv, code, out, seconds
        self.out, self.err = out.decode("utf-8", "surrogateescape"), err.decode("utf-8", "surrogateescape")

    @property
    def lines(self):
        """The JSON objects of the output, one per line."""
        return [json.loads(line) for line in self.out.splitlines() if line.strip()]

    @property
    def result(self):
        """The last line of a stream, which is its result."""
        return self.lines[-1]

    def __str__(self):
        return f"$ {' '.join(map(str, self.argv))}\n[exit {self.code}, {self.seconds:.1f} s]\n{self.out}{self.err}"

    def expect(self, code, *words):
        """Exit code as documented and every word in what was said to people."""
        check(self.code == code, f"exit code {self.code}, wanted {code}:\n{self}")
        for word in words:
            check(word.lower() in (self.out + self.err).lower(), f"says nothing of {word!r}:\n{self}")
        if code not in (0, 3):
            check(self.err.strip() or self.out.strip(), f"fails without a word:\n{self}")
        return self


class Machine:
    # The bus that the daemon serves; support/on_system_bus.py makes it the other one.
    scope = "--system" if os.environ.get("TEST_SYSTEM_BUS") else "--user"

    def __init__(self, name="t", directory=None):
        self.top = directory or tempfile.mkdtemp(prefix=f"backupd-{name}-", dir=os.environ.get("TEST_TMPDIR"))
        os.makedirs(self.top, exist_ok=True)
        os.chmod(self.top, 0o755)
        self.build = options.build or os.path.abspath("build")
        self.backupd = os.path.join(self.build, "daemon/backupd")
        self.backupctl = os.path.join(self.build, "ctl/backupctl")
        self.bus = self.daemon = None
        self.log = self.path("backupd.log")
        self.log_level = "info"
        for directory in ("home", "run", "config", "state"):
            os.makedirs(self.path(directory), 0o700, exist_ok=True)
        self.password_file = self.write("password", "secret\n")
        os.chmod(self.password_file, 0o600)
        self.address = "unix:path=" + self.path("bus")
        keep = ("PATH", "ASAN_OPTIONS", "LSAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LLVM_PROFILE_FILE")
        self.env = {k: os.environ[k] for k in keep if k in os.environ}
        self.env.update(
            HOME=self.path("home"),
            XDG_RUNTIME_DIR=self.path("run"),
            XDG_CONFIG_HOME=self.path("home/.config"),
            XDG_STATE_HOME=self.path("home/.local/state"),
            XDG_CACHE_HOME=self.path("home/.cache"),
            DBUS_SESSION_BUS_ADDRESS=self.address,
            DBUS_SYSTEM_BUS_ADDRESS=self.address if self.scope == "--system" else "unix:path=" + self.path("no-system-bus"),
            LC_ALL="C.UTF-8",
            TZ="Europe/Berlin",
        )

    # ---- files ----
    def path(self, *parts):
        return os.path.join(self.top, *parts)

    def write(self, name, content, mode=0o644):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(content if isinstance(content, bytes) else content.encode())
        os.chmod(path, mode)
        return path

    def write_tree(self, name, files):
        os.makedirs(self.path(name), exist_ok=True)
        for rel, content in files.items():
            self.write(os.path.join(name, rel), content)
        return self.path(name)

    def read(self, name):
        with open(self.path(name), "rb") as f:
            return f.read()

    def set_clock(self, ahead):
        """Seconds that the daemon's clock is ahead (BACKUPD_CLOCK_STEP names m.path("clock")). Never half written: an empty file
        would be a clock that was set back."""
        os.replace(self.write("clock.new", str(ahead)), self.path("clock"))

    # ---- bus and daemon ----
    def start_bus(self):
        text = SYSTEM_BUS_CONFIG if self.scope == "--system" else BUS_CONFIG
        config = self.write("bus.conf", text.format(socket=self.path("bus")))
        self.bus = subprocess.Popen(
            ["dbus-daemon", "--config-file=" + config, "--nofork", "--nopidfile"],
            env=self.env,
            stderr=open(self.path("bus.log"), "wb"),
        )
        wait_for("the private bus", lambda: os.path.exists(self.path("bus")) or self.bus.poll() is not None)
        check(self.bus.poll() is None, "dbus-daemon did not start:", open(self.path("bus.log")).read())

    def daemon_argv(self):
        return [
            self.backupd,
            self.scope,
            "--config",
            self.path("config"),
            "--state",
            self.path("state"),
            "--runtime",
            self.path("run"),
            "--log-level",
            self.log_level,
        ]

    def start(self, *extra, wrap=(), env=None, ready=60):
        """Starts the daemon; returns when it has told READY=1."""
        if self.bus is None:
            self.start_bus()
        notify = self.path(f"notify-{time.monotonic_ns()}")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
            ear.bind(notify)
            ear.settimeout(0.05)
            with open(self.log, "ab") as log:
                self.daemon = subprocess.Popen(
                    [*wrap, *self.daemon_argv(), *extra],
                    env={**self.env, "NOTIFY_SOCKET": notify, **(env or {})},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            end = time.monotonic() + ready * PATIENCE
            while True:
                check(self.daemon.poll() is None, f"the daemon ended with {self.daemon.returncode}:\n{self.daemon_log()}")
                check(time.monotonic() < end, f"the daemon did not become ready:\n{self.daemon_log()}")
                try:
                    if b"READY=1" in ear.recv(4096).split(b"\n"):
                        break
                except TimeoutError:
                    pass
        os.unlink(notify)
        return self

    def spawn_daemon(self, *extra, env=None, timeout=30):
        """Runs a daemon that is expected to refuse; a Reply."""
        return self.run([*self.daemon_argv(), *extra], env=env, timeout=timeout)

    def daemon_log(self, lines=60):
        try:
            with open(self.log, "rb") as f:
                return "\n".join(f.read().decode("utf-8", "replace").splitlines()[-lines:])
        except OSError:
            return "(no log)"

    def kill(self):
        """kill -9"""
        self.daemon.kill()
        self.daemon.wait()

    def stop(self, seconds=60):
        """SIGTERM; the exit status."""
        if self.daemon is None or self.daemon.poll() is not None:
            return self.daemon and self.daemon.returncode
        self.daemon.send_signal(signal.SIGTERM)
        try:
            return self.daemon.wait(seconds * PATIENCE)
        except subprocess.TimeoutExpired:
            self.daemon.kill()
            self.daemon.wait()
            raise AssertionError(f"SIGTERM did not end the daemon in {seconds} s:\n{self.daemon_log()}") from None

    def restart(self):
        self.stop()
        return self.start()

    def peak_memory(self):
        """The daemon's peak resident memory in bytes."""
        with open(f"/proc/{self.daemon.pid}/status") as f:
            return int(re.search(r"VmHWM:\s+(\d+) kB", f.read()).group(1)) * 1024

    def cpu_seconds(self):
        with open(f"/proc/{self.daemon.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    # ---- programs ----
    def run(self, argv, env=None, timeout=300, input=None, cwd=None, wrap=()):
        begin = time.monotonic()
        p = subprocess.Popen(
            [*wrap, *argv],
            env={**self.env, **(env or {})},
            stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd or self.top,
        )
        try:
            out, err = p.communicate(input, timeout * PATIENCE)
        except subprocess.TimeoutExpired:
            p.kill()
            out, err = p.communicate()
            raise AssertionError(f"hangs ({timeout} s): {' '.join(map(str, argv))}\n{out[-2000:]}{err[-2000:]}") from None
        return Reply(argv, p.returncode, out, err, time.monotonic() - begin)

    def ctl(self, *args, **how):
        return self.run([self.backupctl, self.scope, *args], **how)

    def ctl_spawn(self, *args):
        """backupctl in the background."""
        return subprocess.Popen(
            [self.backupctl, self.scope, *args],
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.top,
        )

    def json(self, *args, code=0, **how):
        """The one object that a query answers with."""
        reply = self.ctl("--json", *args, **how).expect(code)
        return reply.lines[-1]

    def restic(self, *args, repo="repo", password_file=None, **how):
        env = {
            "RESTIC_REPOSITORY": self.path(repo),
            "RESTIC_PASSWORD_FILE": password_file or self.password_file,
            "RESTIC_PROGRESS_FPS": "0.01",
        }
        if not shutil.which("restic"):
            skip("restic is not installed")
        return self.run(["restic", "--no-cache", *args], env=env, **how)

    # ---- everyday steps ----
    def repository(self, name="main", directory="repo", init=True, cheap=False):
        """Makes a repository (password file: self.password_file) and configures it. cheap: made by the test, with a key that
        opens at once."""
        if cheap:
            cheap_repository.make(self.path(directory), "secret")
        verb = "init" if init and not cheap else "add"
        self.ctl("repo", verb, name, self.path(directory), "--password-file", self.password_file).expect(0)
        return self.path(directory)

    def set(self, name, *paths, repository="main", extra=()):
        self.ctl("set", "create", name, "--repo", repository, *paths, *extra).expect(0)

    def backup(self, name="home", *extra, code=0):
        """A run to its end; the result object."""
        return self.ctl("--json", "run", name, "--wait", *extra).expect(code).result

    def revisions(self, name="home"):
        return self.json("revisions", name)["revisions"]

    # ---- end ----
    def explain(self):
        """After a failure: what the daemon said. One that died is started again, so that other promises get their chance."""
        if self.daemon is not None and self.daemon.poll() is not None:
            print(f"--- the daemon ended with {self.daemon.returncode}", file=sys.stderr)
        print(f"--- the daemon's log ({self.log}):\n{self.daemon_log(20)}", file=sys.stderr, flush=True)
        if self.daemon is not None and self.daemon.poll() is not None and self.bus is not None:
            try:
                self.start()
            except AssertionError as problem:
                print(f"--- and does not start again: {problem}", file=sys.stderr)

    def close(self):
        problem = None
        try:
            if self.daemon is not None and self.daemon.poll() is None:
                code = self.stop()
                if code != 0:
                    problem = f"the daemon ended with {code} after SIGTERM:\n{self.daemon_log()}"
            if os.path.exists(self.log):
                with open(self.log, "rb") as f:
                    report = re.search(rb"(?:ERROR|WARNING): \w+Sanitizer|runtime error:", f.read())
                if report:
                    problem = f"a sanitizer reported:\n{self.daemon_log(200)}"
        finally:
            if self.bus is not None:
                self.bus.terminate()
                self.bus.wait()
            if options.keep:
                print(f"kept: {self.top}", file=sys.stderr)
            else:
                subprocess.run(["chmod", "-R", "u+rwx", "--", self.top], stderr=subprocess.DEVNULL)
                # Not shutil: trees may be deeper than Python recurses, and names longer than it joins.
                subprocess.run(["rm", "-rf", "--", self.top])
        check(problem is None, problem)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        try:
            self.close()
        except AssertionError as problem:
            print(f"FAIL the daemon ends cleanly: {str(problem).splitlines()[0]}\n{problem}", flush=True)
            if error[0] is None:
                raise


def ready(name="main", repo=True):
    """A machine whose daemon runs, with an empty repository (its key is cheap) unless told otherwise."""
    m = Machine(name)
    try:
        m.start()
        if repo:
            m.repository(cheap=True)
    except BaseException:
        m.explain()
        m.close()
        raise
    return m


def is_root():
    return os.geteuid() == 0


def tree_diff(a, b, *extra):
    """[] when both trees are the same; else the differences."""
    p = subprocess.run(
        [sys.executable, os.path.join(HERE, "tree_diff.py"), a, b, "--json", "--max", "1000", *extra],
        capture_output=True,
        text=True,
    )
    check(p.returncode in (0, 1), p.stderr)
    return [json.loads(line) for line in p.stdout.splitlines() if line.startswith("{")]
