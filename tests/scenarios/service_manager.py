"""What a service manager does for a daemon with Type=notify and a store of descriptors (sd_notify(3), sd_listen_fds(3))."""
import array
import os
import socket
import subprocess
import sys
import threading

from promises import wait_for

LAUNCH = """
import os, sys
fds = [int(x) for x in sys.argv[1].split(",") if x]
moved = [os.dup(fd) if fd < 100 else fd for fd in fds]
moved = [__import__("fcntl").fcntl(fd, 1030, 200) for fd in moved]
for i, fd in enumerate(moved):
    os.dup2(fd, 3 + i, inheritable=True)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


class ServiceManager:
    def __init__(self, m):
        self.m = m
        self.stored = []  # (name, descriptor)
        self.is_ready = False
        self.path = m.path("manager")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            try:
                text, ancillary, _, _ = self.socket.recvmsg(4096, socket.CMSG_SPACE(4 * 16))
            except OSError:
                return
            lines = dict(line.split("=", 1) for line in text.decode().split("\n") if "=" in line)
            fds = array.array("i")
            for level, kind, data in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    fds.frombytes(data[: len(data) - len(data) % 4])
            if lines.get("FDSTOREREMOVE") == "1":
                for name, fd in self.stored:
                    if name == lines.get("FDNAME"):
                        os.close(fd)
                self.stored = [(n, fd) for n, fd in self.stored if n != lines.get("FDNAME")]
            if lines.get("FDSTORE") == "1":
                self.stored += [(lines.get("FDNAME", "stored"), fd) for fd in fds]
            if lines.get("READY") == "1":
                self.is_ready = True

    def start(self):
        self.is_ready = False
        fds = [fd for _, fd in self.stored]
        env = {**self.m.env, "NOTIFY_SOCKET": self.path, "LISTEN_FDS": str(len(fds)), "LISTEN_FDNAMES": ":".join(n for n, _ in self.stored)}
        with open(self.m.log, "ab") as log:
            self.m.daemon = subprocess.Popen(
                [sys.executable, "-c", LAUNCH, ",".join(map(str, fds)), *self.m.daemon_argv()],
                env=env, pass_fds=fds, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for("the daemon to be ready", lambda: self.is_ready)

    def close(self):
        self.socket.close()
        for _, fd in self.stored:
            os.close(fd)
        self.stored = []
