"""What recording asks of the kernel, as strace sees it: nothing, lanes and segments apart."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter

import pytest

pytestmark = [pytest.mark.slow]

CALLS = 60
RECORDING = ("raw", "KeyError", "OSError", "operation and attempt", "redacted", "a secret")

# Each section lies between two writes to /dev/null, whose text names it. Together they record
# fewer rows than a lane has.
SECTIONS = """
import gc, json, os, sys, time
import faultplane as fp
from faultplane import _backend

def raised(error):
    try:
        raise error
    except BaseException as caught:
        return caught

class Asking(Exception):
    def __str__(self):
        return f"of process {os.getppid()}"

plain = raised(ValueError("order 12 is lost"))
secret = raised(ValueError("login of alice@example.org failed, password=hunter2"))
key, asking = raised(KeyError("order")), raised(Asking())
refused = raised(ConnectionRefusedError(111, "Connection refused"))

def in_block():
    with fp.capture("charge"):
        pass

def asked_between():
    fp.record(plain)
    os.getppid()

fp.init(service="svc", domain="default")
sections = {
    "nothing": lambda: None,
    "clock": time.monotonic_ns,
    "raw": lambda: fp.record(plain),
    "KeyError": lambda: fp.record(key),
    "OSError": lambda: fp.record(refused),
    "operation and attempt": lambda: fp.record(plain, operation="charge", attempt=1),
    "redacted": lambda: fp.record(plain),
    "a secret": lambda: fp.record(secret),
    "counter": fp.counter("events").add,
    "classify": lambda: fp.classify(plain),
    "capture block": in_block,
    "a call between records": asked_between,
    "a call in __str__": lambda: fp.record(asking),
}
marks = os.open("/dev/null", os.O_WRONLY)
gc.disable()
for name, call in sections.items():
    redacting = name in ("redacted", "a secret")
    _backend.core.configure(messages="redact" if redacting else "raw")
    for _ in range(2):
        call()
    os.write(marks, f"begin {name};".encode())
    for _ in range(int(sys.argv[1])):
        call()
    os.write(marks, f"end {name};".encode())
state = _backend.core.writer_state()
print(json.dumps({name: state[name] for name in ("seq", "lanes_claimed", "segments_mapped")}))
"""

SEGMENTS = """
import gc, json, os, sys, time
import faultplane as fp
from faultplane import _backend

fp.init(service="svc", domain="default")
try:
    raise ValueError("order 12 is lost")
except ValueError as error:
    kept = error

def until(segments):
    while _backend.core.writer_state()["segments_mapped"] < segments:
        for _ in range(64):
            fp.record(kept)

marks = os.open("/dev/null", os.O_WRONLY)
gc.disable()
os.write(marks, b"begin clock;")
time.monotonic_ns()
os.write(marks, b"end clock;")
until(int(sys.argv[1]))
before = _backend.core.writer_state()
os.write(marks, b"begin run;")
until(int(sys.argv[1]) + int(sys.argv[2]))
os.write(marks, b"end run;")
after = _backend.core.writer_state()
print(json.dumps({name: after[name] - before[name] for name in ("lanes_claimed", "seq")}))
"""

# One name for the calls that C libraries and machines choose between.
SAME = {"newfstatat": "fstat", "fstat64": "fstat", "statx": "fstat", "renameat2": "renameat"}
# The interpreter's allocator; its mmap cannot be told from the core's.
ALLOCATOR = {"brk"}

# docs/protocol.md, "System calls": which, and at most how many for a segment and each lane of it.
DOCUMENTED = {
    "close", "fcntl", "fstat", "linkat", "mmap", "munmap", "openat", "pwrite64", "unlinkat",
}  # fmt: skip
UNPREPARED = {"fallocate"}
OF_ITS_OWN = {"cython": {"madvise"}, "python": {"renameat"}}
BOUND = {"cython": (48, 10), "python": (64, 22)}


@pytest.fixture
def trace(child_environment, tmp_path):
    """Function ``(core, code, *args) -> (result, sections)``: a child, and its calls by section."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    if subprocess.run([strace, "-o", "/dev/null", "true"], capture_output=True).returncode:
        pytest.skip("this process may not trace another")

    def run(core, code, *args, **variables):
        log = tmp_path / "strace"
        done = subprocess.run(
            [strace, "-f", "-qq", "-e", "signal=none", "-o", log, sys.executable, "-c", code]
            + [str(argument) for argument in args],
            env=child_environment(core, **variables),
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout), by_section(log.read_text())

    return run


def by_section(log):
    """{section: Counter of calls} of what strace wrote."""
    sections, current = {}, None
    for line in log.splitlines():
        if mark := re.search(r' write\(\d+, "(begin|end) ([^;]*);"', line):
            current = mark[2] if mark[1] == "begin" else None
            sections.setdefault(mark[2], Counter())
        elif current is not None and (call := re.match(r"\d+ +(\w+)\(", line)):
            sections[current][SAME.get(call[1], call[1])] += 1
    return sections


def test_no_system_call_lies_between_two_records(core_name, core, trace):
    state, sections = trace(
        core_name, SECTIONS, CALLS, FAULTPLANE_MESSAGES="raw", FAULTPLANE_BUDGET_BYTES="16MiB"
    )
    rows = (len(RECORDING) + 2) * (CALLS + 2)
    assert state == {"seq": rows, "lanes_claimed": 1, "segments_mapped": 1}
    assert rows < 512

    # Negative controls: what is between is seen, whoever's it is.
    assert sections.pop("a call between records")["getppid"] == CALLS
    assert sections.pop("a call in __str__")["getppid"] == CALLS

    # Empty where the clock is read without the kernel, as on nearly every host.
    clock = set(sections.pop("clock"))
    found = {
        name: {call: n for call, n in calls.items() if call not in clock}
        for name, calls in sections.items()
    }
    expected = {name: {} for name in found}
    # Once a second it looks whether its store is where others look for it.
    assert max(calls.pop("fstat", 0) for calls in found.values()) <= 1
    assert found == expected


@pytest.mark.parametrize("budget", ["2MiB", "16MiB"])
def test_segments_take_the_calls_that_are_documented(core_name, core, trace, budget):
    # Past the budget from the start, so that each new segment retires one.
    warm, segments = 12, 16
    run, sections = trace(
        core_name, SEGMENTS, warm, segments,
        FAULTPLANE_MESSAGES="raw", FAULTPLANE_BUDGET_BYTES=budget,
    )  # fmt: skip
    calls = sections["run"]
    for call in sections["clock"]:  # none where the clock is read without the kernel
        del calls[call]
    documented = DOCUMENTED | OF_ITS_OWN[core_name]
    seen = set(calls) - ALLOCATOR - UNPREPARED
    assert seen == documented
    once, a_lane = BOUND[core_name]
    assert calls.total() <= segments * once + run["lanes_claimed"] * a_lane
    assert calls.total() < run["seq"] / 8
