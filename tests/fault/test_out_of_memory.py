"""Workers that the kernel kills because their cgroup has no memory left, told from SIGKILL.

The kills are real: a child eats memory in a cgroup of the test's own until it is gone.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec

import pytest
from memory_cgroup import MemoryCgroup

from faultplane.store import Domain

pytestmark = [
    pytest.mark.fault,
    pytest.mark.skipif(sys.platform != "linux", reason="cgroups are Linux's"),
]

CODE = """
import os, sys
open(sys.argv[1], "w").write(str(os.getpid()))
import faultplane as fp
fp.init("shop")
print("ready", flush=True)
for word in map(str.strip, sys.stdin):
    if word == "fail":
        try:
            raise ValueError("no")
        except ValueError as error:
            fp.record(error, "charge")
    elif word == "eat":
        with fp.capture("import catalogue"):
            held = []
            while True:
                held.append(b"x" * (1 << 20))
    elif word == "feed a child that eats":
        child = os.fork()
        if not child:
            os.execv(sys.executable, [sys.executable, "-c",
                "held = []\\nwhile True: held.append(b'x' * (1 << 20))"])
        os.waitpid(child, 0)
    print("done", flush=True)
"""


@pytest.fixture
def group(request):
    """A cgroup of 96 MiB, or as many as the test's parameter says."""
    try:
        made = MemoryCgroup(f"faultplane-test-{os.getpid()}", getattr(request, "param", 96) << 20)
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made here: {error}")
    yield made
    made.remove()


class Eater:
    def __init__(self, group, environment):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [sys.executable, "-c", CODE, str(group.entrance)]
        self.process = subprocess.Popen(command, env=environment, text=True, **pipes)
        assert self.process.stdout.readline() == "ready\n", self.process.stderr.read()
        self.pid = self.process.pid

    def tell(self, word):
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def do(self, word):
        self.tell(word)
        assert self.process.stdout.readline() == "done\n", self.process.stderr.read()

    def end(self):
        """How its parent sees that it ended."""
        self.process.communicate(timeout=60)
        return self.process.returncode


@pytest.fixture
def eater(group, core_name, core, child_environment):
    """Function ``() -> Eater``: a worker in the cgroup."""
    started = []

    def start():
        environment = child_environment(core_name, FAULTPLANE_BUDGET_BYTES="2MiB")
        started.append(Eater(group, environment))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.process.communicate()


def deaths(directory):
    with Domain.attach("default", str(directory)) as domain:
        return {death["pid"]: death for death in domain.deaths_rows()}


def test_a_kill_for_want_of_memory_is_told_from_a_kill_by_hand(
    eater, group, tmp_domain_dir, core_name
):
    one, two = eater(), eater()
    one.tell("eat")
    assert one.end() == -signal.SIGKILL
    assert group.kills() == 1
    first = deaths(tmp_domain_dir)[one.pid]
    assert (first["how"], first["oom_kills_since"]) == ("oom", 1), first
    assert first["memory_cgroup"] == os.stat(group.path).st_ino & 0xFFFF_FFFF
    assert [entry["operation"] for entry in first["in_flight"]] == ["import catalogue"]
    three = eater()  # buries the first, as the worker does that a server starts in its place
    two.process.kill()
    assert two.end() == -signal.SIGKILL, "the parent sees the same of both"
    second = deaths(tmp_domain_dir)[two.pid]
    assert (second["how"], second["oom_kills_since"]) == ("unknown", 0), second
    assert "not out of memory" in second["summary"]
    three.process.kill()
    three.end()
    eater()
    found = deaths(tmp_domain_dir)
    assert [found[each.pid]["how"] for each in (one, two, three)] == ["oom", "unknown", "unknown"]
    assert all(found[each.pid]["stored"] for each in (one, two, three))


def test_of_a_kill_and_an_oom_kill_found_together_neither_is_claimed(eater, group, tmp_domain_dir):
    one, two = eater(), eater()
    two.process.kill()
    two.end()
    one.tell("eat")
    one.end()
    found = deaths(tmp_domain_dir)
    assert [found[each.pid]["how"] for each in (one, two)] == ["unknown", "unknown"]
    assert "2 processes of its cgroup did, 1 was killed for that" in found[one.pid]["summary"]


def test_a_child_that_was_killed_for_want_of_memory_is_not_held_against_its_parent(
    eater, group, tmp_domain_dir
):
    one = eater()
    one.do("feed a child that eats")
    assert group.kills() == 1
    eater()  # it looks after all who live, and notes the count for them
    one.process.kill()
    one.end()
    death = deaths(tmp_domain_dir)[one.pid]
    assert (death["how"], death["oom_kills_since"]) == ("unknown", 0), death


def test_a_maintainer_that_does_not_see_the_cgroup_leaves_it_open(
    eater, group, tmp_domain_dir, core_name, run_python
):
    one = eater()
    one.tell("eat")
    one.end()
    code = """
import sys
from faultplane.store import cgroup, maintain
cgroup.CGROUP = "/nowhere"  # as in a container, which sees its own group alone
(report,) = maintain.maintain(sys.argv[1])
print(report.died[0]["how"], report.died[0]["oom_kills_since"], report.died[0]["summary"])
"""
    said = run_python(code, tmp_domain_dir / "default", core=core_name).stdout
    assert said.startswith("unknown -1 left without a word, no signal seen (SIGKILL, out of memory")


APPLICATION = """
import os

def app(environ, start_response):
    if environ["PATH_INFO"] == "/eat":
        held = []
        while True:
            held.append(b"x" * (1 << 20))
    if environ["PATH_INFO"] == "/kill":
        os.kill(os.getpid(), 9)
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
"""


def request(path, target):
    """The answer's body; "" when the worker died of it, or the server is not there yet."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
            connection.sendall(f"GET {target} HTTP/1.0\r\n\r\n".encode())
            with connection.makefile("rb") as answer:
                return answer.read().rpartition(b"\r\n\r\n")[2].decode()
        except OSError:
            return ""


# Room for the server and two workers, so that none but the one that eats is killed.
@pytest.mark.parametrize("group", [384], indirect=True)
def test_of_two_workers_that_gunicorn_says_the_same_of_we_say_which_was_which(
    group, child_environment, tmp_path, tmp_domain_dir
):
    if find_spec("gunicorn") is None:
        pytest.skip("gunicorn is not there")
    (tmp_path / "shop.py").write_text(APPLICATION)
    bound = tmp_path / "socket"
    command = [sys.executable, "-m", "faultplane", "run", "--", sys.executable, "-m", "gunicorn"]
    # A worker that is told to end before it has its handlers never hears of it.
    options = ["-w", "2", "-b", f"unix:{bound}", "--graceful-timeout", "2", "shop:app"]
    enter = f'echo $$ > {group.entrance}; exec "$@"'
    with open(tmp_path / "log", "wb") as log:
        server = subprocess.Popen(
            ["sh", "-c", enter, "sh", *command, *options],
            cwd=tmp_path, stdout=log, stderr=log,
            env=child_environment(FAULTPLANE_BUDGET_BYTES="2MiB", HOME=str(tmp_path)),
        )  # fmt: skip
    try:
        end = time.monotonic() + 60
        died = []
        for target in ("/eat", "/kill"):
            while not request(bound, "/"):
                assert time.monotonic() < end, (tmp_path / "log").read_text()
            request(bound, target)
            while len(found := deaths(tmp_domain_dir)) == len(died) or not all(
                death["stored"] for death in found.values()
            ):
                assert time.monotonic() < end, (tmp_path / "log").read_text()
            died += [pid for pid in found if pid not in died]
    finally:
        server.terminate()
        server.wait(60)
    assert [found[pid]["how"] for pid in died] == ["oom", "unknown"], found
    assert "not out of memory" in found[died[1]]["summary"]
    told = [line for line in (tmp_path / "log").read_text().splitlines() if "SIGKILL" in line]
    assert ["out of memory?" in line for line in told] == [True, True], "as gunicorn has it"
