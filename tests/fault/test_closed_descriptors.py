"""A daemon closes every descriptor it finds, and gets the numbers back for files of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import faultplane as fp
from faultplane.store import maintain

pytestmark = pytest.mark.unmeasured

DAEMON = """
import os, sys
import faultplane as fp
from faultplane import _backend

domain = fp.init(service="daemon")
try:
    raise ValueError("again")
except ValueError as caught:
    error = caught


def record(rows):
    for _ in range(rows):
        fp.record(error)


def series(first):
    for number in range(first, first + 600):
        fp.counter(f"counter number {number}")


record(5_500)  # more than a quarter of a segment: the next one is being prepared
theirs = {512, 513, 514}  # the directory, its locks and the counts
with os.scandir("/proc/self/fd") as entries:
    links = {int(entry.name): os.readlink(entry.path) for entry in entries if entry.is_symlink()}
# A file without a name is shown as "#" and its inode.
theirs |= {n for n, link in links.items() if "/#" in link or "tmp-next" in link}
assert len(theirs) == 4, "nothing is being prepared"
os.closerange(3, 65_536)
own = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
os.write(own, b"mine")
for number in theirs:
    os.dup2(own, number)
record(20_000)
series(0)  # as many as make the file of counts grow
for number in theirs:
    assert os.path.samefile(f"/proc/self/fd/{number}", sys.argv[1]), f"{number} was closed"
with open(sys.argv[1], "rb") as file:
    assert file.read() == b"mine"
state = _backend.core.writer_state()
print(state["seq"] > 19_000, state["refusal"], domain.counts()["count"].to_pylist())
"""


def test_files_of_the_application_are_neither_written_nor_closed(core_name, run_python, tmp_path):
    done = run_python(DAEMON, tmp_path / "own", core=core_name)
    assert done.stdout.split() == ["True", "0", "[25500]"]


JOB = """
import os, sys
import faultplane as fp

fp.init(service="daemon")
with fp.capture("service"):
    fp.counter("seen").add(2)
    os.closerange(3, 4096)
    {then}
    fp.record(KeyError("on"))
    print("ready", flush=True)
    input()
"""
FAILS = 'with fp.capture("job", reraise=False): raise ValueError("no")'
MOVES = 'fp.init(domain="other")'


@pytest.mark.parametrize(
    ("then", "expected"),
    [(FAILS, {"default": (2, 2)}), (MOVES, {"default": (2, 0), "other": (0, 1)})],
    ids=["fails", "moves"],
)
def test_who_goes_on_after_it_is_one_process_and_leaves_no_death(
    core_name, child_environment, tmp_domain_dir, then, expected
):
    """From outside, while it runs and when it has left: where it was before it is not any more."""
    daemon = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", JOB.format(then=then)],
        env=child_environment(core_name),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    last = list(expected)[-1]
    try:
        assert daemon.stdout.readline() == "ready\n"
        for name in expected:
            states = [row["state"] for row in _of(tmp_domain_dir, name, "owners_rows")]
            assert states.count("live") == (name == last), (name, states)
            assert states.count("exited") <= (name != last), (name, states)
    finally:
        daemon.communicate("\n", timeout=60)
    assert daemon.returncode == 0
    for name, (seen, errors) in expected.items():
        for _ in range(2):
            assert _of(tmp_domain_dir, name, "deaths_rows") == []
            assert sum(row["value"] for row in _of(tmp_domain_dir, name, "counters_rows")) == seen
            assert sum(row["count"] for row in _of(tmp_domain_dir, name, "counts_rows")) == errors
            maintain.maintain(os.path.join(tmp_domain_dir, name))


def _of(directory, name, rows):
    with fp.attach(name, directory) as domain:
        return getattr(domain, rows)()


OPERATIONS_THAT_RAN = """
import os, sys
import faultplane as fp
from faultplane import _backend

fp.init(service="daemon")
tokens = [_backend.core.enter(f"operation {number}") for number in range(256)]
fp.init(domain="other")
assert _backend.core.enter("here")
for token in tokens:
    _backend.core.leave(token)
assert fp.attach("default").deaths_rows() == []
os.kill(os.getpid(), 9)
"""


def test_operations_stay_behind_as_ended_where_a_process_moves_on(
    core_name, run_python, tmp_domain_dir
):
    run_python(OPERATIONS_THAT_RAN, core=core_name, check=False)
    assert _of(tmp_domain_dir, "default", "deaths_rows") == []
    (death,) = _of(tmp_domain_dir, "other", "deaths_rows")
    assert "here" in str(death["in_flight"])
    assert death["in_flight_count"] == 1
