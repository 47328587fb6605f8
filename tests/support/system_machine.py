"""A machine whose daemon serves a system bus of the test's own, with polkit's stand-in (python3-dbusmock): callers are other people.

    with SystemMachine() as m:              # needs root; skips without it
        m.start()
        m.ctl("status")                     # as root
        m.as_user(9, "ls", "/x")            # as somebody else (whom the machine knows by name); groups=(50,)
        m.allow("browse")                   # what polkit lets people do from now on; nothing at first
"""
import os
import shutil
import subprocess

from machine import Machine
from promises import skip, wait_for
from stand_ins import python_with_mocks

POLKIT = "org.freedesktop.PolicyKit1"


class SystemMachine(Machine):
    scope = "--system"

    def __init__(self, name="system", directory=None):
        if os.geteuid() != 0 or not shutil.which("setpriv") or not shutil.which("busctl"):
            skip("needs root, setpriv and busctl")
        super().__init__(name, directory)
        self.polkit = None
        # Where somebody else can run it.
        self.theirs = shutil.copy(self.backupctl, self.path("backupctl"))

    def user(self, uid, groups=()):
        given = ["--groups=" + ",".join(map(str, groups))] if groups else ["--clear-groups"]
        return ["setpriv", f"--reuid={uid}", f"--regid={uid}", *given, "--"]

    def as_user(self, uid, *args, groups=(), **how):
        return self.run([*self.user(uid, groups), self.theirs, "--system", *args], **how)

    def busctl(self, *args):
        return self.run(["busctl", "--address=" + self.address, *args])

    def serve_polkit(self):
        self.polkit = subprocess.Popen(
            [python_with_mocks(), "-m", "dbusmock", "--system", "--template", "polkitd"],
            env=self.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for("polkit's stand-in", lambda: POLKIT in self.busctl("list", "--no-legend").out, seconds=20)

    def mock(self, method, *args):
        self.busctl("call", POLKIT, "/org/freedesktop/PolicyKit1/Authority", "org.freedesktop.DBus.Mock", method, *args).expect(0)

    def allow(self, *actions):
        if self.polkit is None:
            self.serve_polkit()
        self.mock("SetAllowed", "as", str(len(actions)), *("org.backupd1." + action for action in actions))

    def restart_polkit(self):
        self.polkit.terminate()
        self.polkit.wait()
        wait_for("it to go", lambda: POLKIT not in self.busctl("list", "--no-legend").out, seconds=20)
        self.polkit = None

    def own(self, uid, *names, mode=None):
        for name in names:
            os.chown(self.path(name), uid, uid, follow_symlinks=False)
            if mode is not None:
                os.chmod(self.path(name), mode)

    def close(self):
        if self.polkit is not None:
            self.polkit.terminate()
            self.polkit.wait()
        super().close()
