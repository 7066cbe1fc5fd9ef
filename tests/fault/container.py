"""A process in namespaces of its own, as a container has them, that does what a test asks.

As root it takes any uid after its start. Python is imported before: another user need not be able
to read its files, nor a process whose root is elsewhere.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

NAMESPACES = ("--mount", "--pid", "--fork", "--mount-proc")


def _user_ids():
    """How many user ids there are here: as root of a user namespace perhaps one."""
    try:
        with open("/proc/self/uid_map") as file:
            return sum(int(line.split()[2]) for line in file)
    except OSError:
        return 0


several_users = pytest.mark.skipif(
    os.geteuid() != 0 or _user_ids() < 10_000, reason="only root of all users can be several"
)

CODE = """
import importlib, json, os, pkgutil, sys, traceback
wanted = json.loads(sys.argv[1])
import faultplane
for module in pkgutil.walk_packages(faultplane.__path__, "faultplane."):
    others = ("__main__", "_bootstrap", "_pure", "_core", "integrations", "bench", "demo", "screen")
    if any(part in module.name for part in others):
        continue
    try:
        importlib.import_module(module.name)
    except ImportError:
        pass  # of an extra, or of the other core
import encodings.idna, grp, linecache, pwd, shlex, threading
from faultplane.store import lifecycle, maintain
if wanted["root"]:
    os.chroot(wanted["root"])
    os.chdir("/")
if wanted["umask"] is not None:
    os.umask(wanted["umask"])
if wanted["uid"] is not None:
    os.setgroups(wanted["groups"])
    os.setresgid(*[wanted["gid"]] * 3)
    os.setresuid(*[wanted["uid"]] * 3)
os.environ.update(wanted["environment"])

import faultplane as fp
from contextlib import redirect_stdout
from io import StringIO

def fail(times=1, operation="charge"):
    for _ in range(times):
        try:
            raise ValueError("no")
        except ValueError as error:
            fp.record(error, operation)

def command(*words):
    "What `faultplane` prints, and its exit status."
    from faultplane.cli import main
    with redirect_stdout(StringIO()) as said:
        status = main(list(words))
    return said.getvalue(), status

def seen(name="default", directory=None):
    "What a reader finds: errors counted, rows, hits, deaths."
    with fp.attach(name, directory) as domain:
        counted = sum(row["count"] for row in domain.counts_rows())
        hits = sum(row["value"] for row in domain.counters_rows() if row["name"] == "hits")
        return [counted, len(domain.records()), hits, len(domain.deaths_rows())]

names = dict(globals())
print(json.dumps("ready"), flush=True)
for line in sys.stdin:
    try:
        names["answer"] = None
        exec(json.loads(line), names)
        print(json.dumps(names["answer"], default=str), flush=True)
    except BaseException:
        print(json.dumps({"raised": traceback.format_exc()}), flush=True)
"""


class Container:
    """The process. ``setup``: shell commands of root in its mount namespace, before it starts.

    ``root`` is where it is locked in. ``user`` is ``(uid, gid, *further groups)``.
    """

    def __init__(
        self, environment, *, setup="", user=None, root="", umask=None,
        namespaces=NAMESPACES, variables=(),
    ):  # fmt: skip
        if shutil.which("unshare") is None:
            pytest.skip("unshare is not there")
        mapped = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        if user is not None and mapped:
            pytest.skip("only root can take the places of two other users")
        uid, gid, *groups = user or (None, None)
        wanted = {
            "uid": uid, "gid": gid, "groups": groups, "root": str(root), "umask": umask,
            "environment": dict(variables),
        }  # fmt: skip
        shell = f'set -e; {setup or ":"}; exec "$@"'
        words = ["unshare", *mapped, *namespaces, "--kill-child", "sh", "-c", shell, "sh"]
        self.process = subprocess.Popen(
            [*words, sys.executable, "-W", "error", "-c", CODE, json.dumps(wanted)],
            env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        if self.process.stdout.readline() != '"ready"\n':
            said = self.process.communicate(timeout=60)[1]
            if any(word in said for word in ("unshare", "mount:", "mount failed")):
                pytest.skip(f"not permitted here: {said.strip()}")
            pytest.fail(said, pytrace=False)

    def do(self, code):
        """Run ``code`` in it; what that left in the name ``answer``."""
        self.process.stdin.write(json.dumps(code) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            pytest.fail(f"it ended: {self.process.stderr.read()}", pytrace=False)
        answer = json.loads(line)
        if isinstance(answer, dict) and "raised" in answer:
            pytest.fail(answer["raised"], pytrace=False)
        return answer

    def ask(self, expression):
        return self.do(f"answer = {expression}")

    @property
    def pid(self):
        """Its pid as this process sees it: the child of ``unshare``."""
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        with open(path) as file:
            return int(file.read().split()[0])

    def kill(self):
        """SIGKILL, as if from nowhere; what it was unshared by ends with it."""
        if self.process.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            pipe.close()
        self.process.wait(60)

    def catches(self, number):
        """Whether it has a handler for a signal."""
        with open(f"/proc/{self.pid}/status") as file:
            (mask,) = (line.split()[1] for line in file if line.startswith("SigCgt"))
        return bool(int(mask, 16) >> (number - 1) & 1)

    def end(self):
        """Its last words on standard error, after an orderly end."""
        said = self.process.communicate(timeout=60)[1]
        assert self.process.returncode == 0, said
        return said
