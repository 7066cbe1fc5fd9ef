"""What many processes learn of retries together: nothing is lost, whoever is killed meanwhile.

``POLICY_ROUNDS=1000`` in the environment has so many writers killed; normally it is 12.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

import faultplane as fp
from faultplane import control_schema as layout
from faultplane.store import Domain
from faultplane.store.control import ControlFile

pytestmark = [
    pytest.mark.fault,
    pytest.mark.skipif(sys.platform != "linux", reason="the size of a pipe is set"),
]

ROUNDS = int(os.environ.get("POLICY_ROUNDS") or 12)
PROCESSES = 6
FAR_MS = 20 * layout.RETRIED_EPOCH_MS
"""From one round to the next: by then what was counted before is forgotten."""
EACH = layout.RETRIED_MAX // PROCESSES
"""Outcomes of each process, so that none is halved."""
KINDS = range(1, layout.RETRIED_KINDS)
WORDS = layout.CONTROL_CELL.offset["retried_kinds"]
WORDS_OF_TYPES = layout.CONTROL_CELL.offset["retried_types"]

BEGIN = """
import os, sys
import faultplane as fp
from faultplane import control_schema as layout
from faultplane.resilience import sharing
fp.init(service="learns")
retry = fp.Retry(attempts=2, adaptive=True, learn="all", backoff=fp.constant(0))
pay = fp.Dependency("pay", retry=retry)
pay.call(len, "")
assert pay.shared, pay.problem
os.write(1, b"!")
sys.stdin.readline()
"""
COUNTS = """
helped, each = int(sys.argv[1]), int(sys.argv[2])
for line in sys.stdin:
    at = int(line)
    for kind in range(1, layout.RETRIED_KINDS):
        for _ in range(each):
            pay.cell.retried(kind, bool(helped), 0, at)
    os.write(1, b".")
"""
TORN = """
helped, each = int(sys.argv[1]), int(sys.argv[2])
mapping, where = sharing._opened[1].mapping, sharing._opened[1].cell_offset(0)
for line in sys.stdin:
    for kind in range(1, layout.RETRIED_KINDS):
        for _ in range(each):
            at = where + int(os.environ["WORDS"]) + 8 * kind
            word = mapping.load(at)
            os.sched_yield()
            epoch = int(line) // layout.RETRIED_EPOCH_MS << 16
            mapping.store(at, (word or kind << 32 | epoch) + (256 if helped else 1))
    os.write(1, b".")
"""
ENDLESS = """
i, first, far = 0, int(sys.argv[1]), int(os.environ["FAR"])
while True:
    pay.cell.retried(1 + i % 14, True, 0, first + i // 280 * far)
    os.write(1, b".")
    i += 1
"""
BESIDE = """
for _ in range(60):
    pay.cell.retried(15, False, 0, int(sys.argv[1]))
    os.write(1, b".")
"""
CALLS = """
odds = [type(f"{sys.argv[1]}{number}", (Exception,), {}) for number in range(3)]
def flaky(types):
    if types: raise types.pop()
for _ in range(10):
    for odd in odds:
        pay.call(flaky, [odd])
os.write(1, b".")
"""


@pytest.fixture
def writer(child_environment, core_name, core, tmp_domain_dir):
    """Function ``(program, *arguments)``: a process that is ready to run it, when told so."""
    started = []

    def start(program, *arguments):
        process = subprocess.Popen(
            [sys.executable, "-c", BEGIN + program, *map(str, arguments)],
            env=child_environment(
                core_name, FAULTPLANE_DIR=str(tmp_domain_dir), WORDS=str(WORDS), FAR=str(FAR_MS)
            ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        started.append(process)
        assert process.stdout.read(1) == b"!"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def known(core_name, core, tmp_domain_dir):
    """Function: what the cell says of retries."""

    def read(at):
        with (
            Domain.attach("default", tmp_domain_dir) as domain,
            ControlFile.open(domain.stores()[0]) as file,
        ):
            return file.read(file.find("pay"), at).retried

    return read


def go(process, text=""):
    process.stdin.write(f"{text}\n".encode())


def answers(process):
    """How many outcomes a process has said it counted, by its end."""
    said = 0
    while data := process.stdout.read(65536):
        said += len(data)
    process.wait()
    return said


def storm(writer, known, program):
    """What is known after each round of processes that count each kind at once."""
    processes = [writer(program, number % 2, EACH) for number in range(PROCESSES)]
    found = []
    for process in processes:
        go(process)  # it begins to listen
    for number in range(1, ROUNDS + 1):
        for process in processes:
            go(process, number * FAR_MS)
        assert [process.stdout.read(1) for process in processes] == [b"."] * PROCESSES
        found.append(known(number * FAR_MS).kinds)
    return found


def test_counts_of_many_processes_are_exact(writer, known):
    half = EACH * PROCESSES // 2
    assert storm(writer, known, COUNTS) == [dict.fromkeys(KINDS, (half, half))] * ROUNDS


def test_counting_without_compare_and_swap_is_found_out(writer, known):
    """Negative control: load, then store."""
    half = EACH * PROCESSES // 2
    assert storm(writer, known, TORN)[:1] != [dict.fromkeys(KINDS, (half, half))]


def test_calls_of_many_processes_teach_one_table(writer, known):
    for name in ("Odd", "Strange", "Queer"):
        processes = [writer(CALLS, name) for _ in range(PROCESSES)]
        begun = time.monotonic_ns() // 1_000_000 // layout.RETRIED_EPOCH_MS
        for process in processes:
            go(process)
        assert [answers(process) for process in processes] == [1] * PROCESSES
        found = known(now := time.monotonic_ns() // 1_000_000).types
        if now // layout.RETRIED_EPOCH_MS == begun:
            break  # else it was halved meanwhile: once more, with other types
    tags = [layout.type_tag(f"__main__.{name}{number}") for number in range(3)]
    assert [found[tag] for tag in tags] == [(60, 0)] * 3


def test_a_writer_that_is_killed_leaves_whole_counts(writer, known, rng):
    for number in range(ROUNDS):
        first = (1 + 100 * number) * FAR_MS
        killed, beside = writer(ENDLESS, first), writer(BESIDE, first)
        fcntl.fcntl(killed.stdout, fcntl.F_SETPIPE_SZ, 4096)
        go(killed)
        go(beside)
        wanted, said = rng.randrange(1, 600), 0
        while said < wanted:
            said += len(killed.stdout.read(64))
        killed.kill()
        said += answers(killed)
        assert (killed.returncode, answers(beside)) == (-9, 60)
        assert known(first).kinds[15] == (0, 60)
        # The last one may have been counted and not told of.
        assert any(of_last(known, first, total) for total in (said, said + 1))


def of_last(known, first, total):
    """Whether so many outcomes are there, as far as they are of the last moment."""
    group, rest = divmod(total - 1, 280)
    found = known(first + group * FAR_MS).kinds
    expected = {}
    for number in range(rest + 1):
        kind = 1 + number % 14
        expected[kind] = expected.get(kind, 0) + 1
    return {kind: helped for kind, (helped, _) in found.items() if kind < 15} == expected


def test_a_file_that_is_damaged_there_is_read_and_called_with(
    writer, known, tmp_domain_dir, run_python, core_name, rng
):
    go(process := writer(CALLS, "Odd"))
    answers(process)
    (path,) = Path(tmp_domain_dir).glob("default/*/control")
    assert (fp.core != core_name) or path.parent.name.endswith(core_name)
    noise = random.Random(rng.random())
    with open(path, "r+b") as file:
        for at in (*range(WORDS_OF_TYPES, 512, 8), layout.CONTROL_CELL.offset["retried_micros"],
                   *range(3968, 4096, 8)):  # fmt: skip
            file.seek(layout.CONTROL.size + at)
            file.write(noise.choice([b"\xff" * 8, bytes(8), noise.randbytes(8)]))
    go(process := writer(CALLS, "Odd"))
    assert answers(process) == 1
    assert process.returncode == 0
    done = run_python(
        "from faultplane.cli import main; import sys; sys.exit(main(['breakers', '--json']))",
        core=core_name, FAULTPLANE_DIR=str(tmp_domain_dir),
    )  # fmt: skip
    row = json.loads(done.stdout.splitlines()[0])
    assert row["name"] == "pay"
    assert all(one["helped"] >= 0 <= one["failed"] for one in row["retries_by_type"])
    run_python(
        "from faultplane.cli import main; import sys; sys.exit(main(['breakers', '-v']))",
        core=core_name, FAULTPLANE_DIR=str(tmp_domain_dir),
    )  # fmt: skip
