"""A process that records and counts as often as it is told, and what anybody finds of it."""

from __future__ import annotations

import subprocess
import sys
import time

from faultplane.errors import FaultplaneError
from faultplane.store import Domain

CODE = """
import os, sys
if len(sys.argv) > 1:
    # Another user need not be able to read the files of Python: everything is imported before.
    import importlib, pkgutil
    for name in ("faultplane.capture", "faultplane.classify", "faultplane.store"):
        package = importlib.import_module(name)
        for module in pkgutil.iter_modules(package.__path__, name + "."):
            if not module.name.endswith("_bootstrap"):
                importlib.import_module(module.name)
    os.setgroups([])
    os.setgid(int(sys.argv[1]))
    os.setuid(int(sys.argv[1]))
import faultplane as fp
fp.init(service="worker")
try:
    raise ValueError("again")
except ValueError as caught:
    error = caught
hits = fp.counter("hits")
for line in sys.stdin:
    word, _, n = line.partition(" ")
    for _ in range(int(n)):
        if word == "record":
            fp.record(error, "charge")
        else:
            hits.add(2)
    print("done", flush=True)
"""


class Worker:
    """The process; ``told`` is what it has done. ``user``: the uid that it takes, as root."""

    def __init__(self, environment, user=None):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [
            sys.executable,
            "-W",
            "error",
            "-c",
            CODE,
            *([] if user is None else [str(user)]),
        ]
        self.process = subprocess.Popen(command, env=environment, text=True, **pipes)
        self.told = {"record": 0, "add": 0}

    def do(self, word, times):
        self.process.stdin.write(f"{word} {times}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n", self.process.stderr.read()
        self.told[word] += times

    def end(self):
        """Its last words, on standard error."""
        _, said = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, said
        return said

    def kill(self):
        self.process.kill()
        self.process.communicate()


def found(directory, name="default"):
    """(Errors, hits) that anybody finds in a domain; None while there is none to read."""
    try:
        with Domain.attach(name, directory) as domain:
            hits = sum(row["value"] for row in domain.counters_rows() if row["name"] == "hits")
            return sum(row["count"] for row in domain.counts_rows()), hits
    except FaultplaneError:
        return None


def expected(*workers):
    told = [one.told for one in workers]
    return sum(one["record"] for one in told), 2 * sum(one["add"] for one in told)


def settle(directory, *workers, word="record", times=1):
    """Go on, a little each, until everything is found."""
    end = time.monotonic() + 60
    while found(directory) != expected(*workers):
        assert time.monotonic() < end, (found(directory), expected(*workers))
        for one in workers:
            one.do(word, times)
