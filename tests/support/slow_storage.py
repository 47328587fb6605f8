"""The storage at the end of a slow line (daemon/backend/slow_backend.h): what arrived there, and when.

    line = SlowStorage(machine, rate=15 << 20)      # before machine.start(), or machine.restart() after it
    first = line.sent()                             # payload so far: bytes of packs
    line.rate(begin, end)                           # bytes a second between two times of time.monotonic()
"""
import time

from promises import check, wait_for


class SlowStorage:
    def __init__(self, machine, rate, connections=4, latency_ms=5):
        self.log = machine.path(f"line-{time.monotonic_ns()}.log")
        machine.write(self.log, "")
        machine.env["BACKUPD_SLOW_STORAGE"] = f"connections={connections} rate={rate} latency-ms={latency_ms} log={self.log}"

    @staticmethod
    def remove(machine):
        machine.env.pop("BACKUPD_SLOW_STORAGE", None)

    def chunks(self, way="up"):
        """(seconds of time.monotonic(), connection, bytes) of each chunk of payload that arrived."""
        with open(self.log) as f:
            text = f.read()
        lines = [line.split() for line in text[: text.rfind("\n") + 1].splitlines()]
        return [(int(at) / 1e6, int(connection), int(size)) for at, to, connection, kind, size in lines if to == way and kind == "pack"]

    def sent(self, begin=0.0, end=float("inf"), way="up"):
        return sum(size for at, _, size in self.chunks(way) if begin <= at < end)

    def connections(self, begin=0.0, end=float("inf")):
        return {connection for at, connection, _ in self.chunks() if begin <= at < end}

    def rate(self, begin, end, way="up"):
        return self.sent(begin, end, way) / (end - begin)

    def wait_for(self, size, seconds=60):
        """Until so much more has arrived."""
        first = self.sent()
        wait_for("the upload", lambda: self.sent() >= first + size, seconds=seconds, every=0.05)

    def is_still(self, least=2.0):
        """What had left when it was stopped arrives, then nothing more: how much arrived late."""
        first = before = self.sent()
        quiet_since = time.monotonic()
        while time.monotonic() < quiet_since + 1:
            now = self.sent()
            if now != before:
                before, quiet_since = now, time.monotonic()
            time.sleep(0.05)
        time.sleep(least)
        check(self.sent() == before, "payload still arrives:", self.sent() - before, "bytes")
        return before - first
