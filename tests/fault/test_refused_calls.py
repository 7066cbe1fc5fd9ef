"""The file system refuses a call, whichever it is: nothing is raised, and no count is lost.

A preloaded library (``refuser.c``) refuses the n-th call that allocates or names something below
the directory of domains, or all from the n-th on, as a full disk does. The scenario goes through
everything that allocates: joining, first sightings, segments, counters past the first piece of
their file, a fork, maintenance, folding, a death record, a new generation of names, the end. Then
the disk is well again, and what anybody finds is exact. ``SWEEP=all`` tries every n.
"""

from __future__ import annotations

import errno
import os
import sys

import pytest

pytestmark = [pytest.mark.fault, pytest.mark.skipif(sys.platform != "linux", reason="preloads")]

SAMPLE = {"cython": 10, "python": 8}

SWEEP = r"""
import errno, json, mmap, os, random, shutil, struct, sys, traceback
import faultplane as fp
from faultplane._backend import core
from faultplane.store import Domain, deaths, domain as domains, host, lifecycle, maintain, owners

base, number, alone, numbers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
with open(os.environ["REFUSE_WORDS"], "r+b") as file:
    words = memoryview(mmap.mmap(file.fileno(), 4096)).cast("q")
SEGMENTS, ROWS = 2, 2_200

def forked(work, *args):
    "Run in a child that leaves in order; its exit status and what it gave."
    said, say = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(said)
        status = 1
        try:
            os.write(say, json.dumps(work(*args)).encode())
            status = 0
        except BaseException:  # whatever it is, the parent's code must not go on here
            traceback.print_exc()
        finally:
            lifecycle.shutdown()
            os._exit(status)
    os.close(say)
    with os.fdopen(said, "rb") as file:
        told = file.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status, json.loads(told or b"null")

class Refused(Exception):
    pass

def fail(text, operation=None):
    try:
        raise Refused(text)
    except Refused as error:
        fp.record(error, operation)

def dies(say):
    status = lifecycle.status()
    if status.bound:
        fail("of a child")
        core.enter("in flight")
        os.write(say, b"x" if lifecycle._is_bound() else b"-")
    os.kill(os.getpid(), 9)

def earlier(name):
    "Somebody who was here before: its counts are good, and stay so."
    fp.init(service="earlier", domain=name)
    fail("before")
    fp.counter("hits").add(3)

def scenario(name, first):
    words[1], words[2], words[3], words[4], words[5] = first, number, alone, 0, 0
    words[0] = 1
    errors = hits = 0
    fp.init(service="scenario", domain=name)
    for index in range(8):
        fail(f"number {index}", f"operation {index}")
        errors += 1
    for index in range(600):
        fp.counter(f"series {index}").add(2)
        hits += 2
    said, say = os.pipe()
    child = os.fork()
    if child == 0:
        dies(say)
    os.close(say)
    os.waitpid(child, 0)
    errors += os.read(said, 1) == b"x"
    os.close(said)
    for segment in range(SEGMENTS):
        for _ in range(ROWS):
            fail("again")
            errors += 1
        for index in range(300):  # as many names as begin another generation
            fail("named", f"operation {segment} {index}")
            errors += 1
        for report in maintain.maintain(os.path.join(base, name)) if os.path.isdir(
            os.path.join(base, name)
        ) else ():
            del report
    refused, calls = words[5], words[4]
    words[0] = 0
    # The disk is well: whoever was without storage tries again.
    lifecycle._process.retry_at = 0.0
    lifecycle._rebind()
    assert lifecycle.status().bound, lifecycle.status()
    with Domain.own() as own:
        assert sum(row["count"] for row in own.counts_rows()) == errors + 1
    return errors, hits, refused, calls

def check(name, errors, hits):
    with fp.attach(name) as there:
        found = (sum(row["count"] for row in there.counts_rows()),
                 sum(row["value"] for row in there.counters_rows()))
        assert found == (errors + 1, hits + 3), (found, errors + 1, hits + 3)
        len(there.records())
        there.deaths_rows()
        assert there.problems() == [], there.problems()
    for report in maintain.maintain(os.path.join(base, name)):
        assert report.problems == [] and not report.skipped, report
    with fp.attach(name) as there:
        assert sum(row["count"] for row in there.counts_rows()) == errors + 1
        assert there.problems() == []

tried, first, calls = 0, 1, 0
numbers = json.loads(numbers)
while True:
    if numbers is not None:
        if not numbers:
            break
        first = numbers.pop(0)
    name = f"d{first}"
    status, _ = forked(earlier, name)
    assert status == 0
    status, told = forked(scenario, name, first)
    assert status == 0, ("refused from", first)
    errors, hits, refused, calls = told
    status, _ = forked(check, name, errors, hits)
    assert status == 0, ("refused from", first)
    shutil.rmtree(os.path.join(base, name))
    tried += refused > 0
    if not refused and numbers is None:
        break
    first += 1
print(json.dumps([tried, calls]))
"""


@pytest.fixture
def sweep(core_name, core, run_python, refuser, tmp_path, tmp_domain_dir):
    """Function ``(errno, alone, numbers) -> (how many were refused, calls of a whole run)``."""
    import json

    def run(code, alone, numbers, script=SWEEP, check=True):
        place = tmp_path / "words"
        place.write_bytes(bytes(4096))
        done = run_python(
            script, tmp_domain_dir, code, int(alone), json.dumps(numbers),
            core=core_name, timeout=3600 if numbers is None else 110, check=check,
            LD_PRELOAD=str(refuser), REFUSE_WORDS=str(place), REFUSE_DIRECTORY=str(tmp_domain_dir),
            FAULTPLANE_BUDGET_BYTES="2MiB",
        )  # fmt: skip
        return tuple(json.loads(done.stdout)) if check else done

    return run


def chosen(sweep, rng, core_name, code, alone, share=1):
    """Numbers of calls to refuse, at random; None for every one there is."""
    if os.environ.get("SWEEP") == "all":
        return None
    _, calls = sweep(code, alone, [1_000_000])
    assert calls > 40
    return sorted(rng.sample(range(1, calls + 1), SAMPLE[core_name] // share))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("alone", [True, False], ids=["one call", "all from there on"])
def test_a_full_disk_at_any_call_costs_no_count_and_raises_nothing(sweep, rng, core_name, alone):
    numbers = chosen(sweep, rng, core_name, errno.ENOSPC, alone)
    tried, calls = sweep(errno.ENOSPC, alone, numbers)
    print(f"{tried} of {calls} calls were refused")
    assert tried == (len(numbers) if numbers is not None else calls)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ["EDQUOT", "EROFS", "EACCES", "EMFILE", "ENOMEM", "EIO"])
def test_any_other_refusal_costs_no_count_and_raises_nothing(sweep, rng, core_name, name):
    code = getattr(errno, name)
    numbers = chosen(sweep, rng, core_name, code, False, share=8)
    tried, _ = sweep(code, rng.random() < 0.5, numbers)
    assert tried


def test_a_scenario_that_loses_counts_is_found_out(sweep):
    """Negative control: a record that is counted by the scenario alone."""
    script = SWEEP.replace(
        '        fail(f"number {index}"', '        index or fail(f"number {index}"'
    )
    assert script != SWEEP
    done = sweep(errno.ENOSPC, True, [1], script, check=False)
    assert "AssertionError" in done.stderr


INTERRUPTED = """
import mmap, os
import faultplane as fp
with open(os.environ["REFUSE_WORDS"], "r+b") as file:
    words = memoryview(mmap.mmap(file.fileno(), 4096)).cast("q")
words[7] = 1
fp.init(service="interrupted")
for index in range(700):  # past the first piece of the file of counts
    fp.counter(f"series {index}").add()
for index in range(500):
    try:
        raise ValueError("again")
    except ValueError as error:
        fp.record(error, f"operation {index % 50}")
with fp.attach() as there:
    drops = {row["reason"]: row["count"] for row in there.drops_rows() if row["count"]}
    assert drops == {}, drops
    assert len(there.records().rows()) == 500 and len(there.counters_rows()) == 700
print(words[8])
"""


def test_signals_that_interrupt_the_reserving_of_space_cost_no_row(
    run_python, core, core_name, refuser, tmp_path, tmp_domain_dir
):
    """The tmpfs of older kernels gives up reserving where a signal, say a profiler's, comes in."""
    (place := tmp_path / "words").write_bytes(bytes(4096))
    done = run_python(
        INTERRUPTED, core=core_name, LD_PRELOAD=str(refuser), REFUSE_WORDS=str(place),
        REFUSE_DIRECTORY=str(tmp_domain_dir), FAULTPLANE_BUDGET_BYTES="2MiB",
    )  # fmt: skip
    assert int(done.stdout) > 8
