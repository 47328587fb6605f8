"""The frame of our Python tests: functions marked @promise run in order, each prints PASS, FAIL or SKIP and its name.

    @promise("a wrong password is refused with exit code 12")
    def _(m): ...

    if __name__ == "__main__": main(fixture)

`fixture` is a context manager whose value each promise gets (nothing: none). `--only REGEX` runs some, `--build DIR` says
where the programs are, `--keep` leaves temporary directories. Exit 0 when every promise held; the meson test sees the rest.
"""
import argparse
import contextlib
import inspect
import os
import re
import sys
import time
import traceback

PROMISES = []
options = argparse.Namespace(build=None, keep=False, only=None)


class Skip(Exception):
    """This machine cannot try it; the text says why."""


def skip(reason):
    raise Skip(reason)


def promise(name):
    def mark(function):
        PROMISES.append((name, function))
        return function

    return mark


def check(condition, *what):
    if not condition:
        raise AssertionError(" ".join(str(w) for w in what) or "does not hold")


def equal(got, wanted, *what):
    if got != wanted:
        raise AssertionError(" ".join(str(w) for w in what) + f"\n  got    {got!r}\n  wanted {wanted!r}")


def contains(text, *parts):
    for part in parts:
        if part.lower() not in text.lower():
            raise AssertionError(f"no {part!r} in:\n{text}")


def wait_for(what, test, seconds=30, every=0.02):
    """Polls until test() is true; its value. The limit is for a hung program, not a measure of speed."""
    end = time.monotonic() + seconds * float(os.environ.get("TEST_PATIENCE", "1"))
    while True:
        value = test()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s in vain for: {what}")
        time.sleep(every)


def parse(**extra):
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--build", default=os.environ.get("BACKUPD_BUILD", "build"))
    parser.add_argument("--only", help="promises whose name matches this")
    parser.add_argument("--keep", action="store_true")
    for name, settings in extra.items():
        parser.add_argument(name, **settings)
    vars(options).update(vars(parser.parse_args()))
    options.build = os.path.abspath(options.build)
    return options


def main(fixture=None, **extra):
    parse(**extra)
    failed = passed = 0
    with fixture() if fixture else contextlib.nullcontext() as given:
        for name, function in PROMISES:
            if options.only and not re.search(options.only, name):
                continue
            begin = time.monotonic()
            try:
                function(*([given] if inspect.signature(function).parameters else []))
                print(f"PASS {name}", flush=True)
                passed += 1
            except Skip as reason:
                print(f"SKIP {name}: {reason}", flush=True)
            except Exception as problem:  # a failed promise must not hide the others
                failed += 1
                where = "" if isinstance(problem, AssertionError) else f"{type(problem).__name__}: "
                print(f"FAIL {name}: {where}{str(problem).splitlines()[0] if str(problem) else ''}", flush=True)
                traceback.print_exc(limit=-4)
                if given is not None and hasattr(given, "explain"):
                    given.explain()
                sys.stderr.flush()
            if os.environ.get("TEST_TIMES"):
                print(f"     {time.monotonic() - begin:.2f} s", flush=True)
    sys.exit(1 if failed else 0 if passed else 77)
