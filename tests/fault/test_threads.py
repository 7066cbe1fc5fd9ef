"""64 threads that are switched every microsecond: rows, counts and in-flight slots stay exact.

Under the GIL all threads of a process share its one lane, and the pure core gives way anywhere.
"""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.fault

THREADS = 64

PROGRAM = """
import json, random, sys, threading
import faultplane as fp
from faultplane._backend import core

threads, rounds, seed, switching = map(int, sys.argv[1:5])
domain = fp.init(service="threads")
sys.setswitchinterval(1e-6)
hits = fp.counter("hits")
begin = threading.Barrier(threads + 1)
running = True

def dynamic(line, number):
    "A type that was made at run time, and is gone after it was recorded."
    return type(f"Made{line % 7}", (Exception,), {"__str__": lambda self: f"{line} {number}"})

def records(line):
    rng = random.Random(seed + line)
    own = fp.counter(f"own {line % 8}")
    begin.wait()
    for number in range(1, rounds + 1):
        with fp.capture(f"outer {line}"):
            with fp.capture("inner", reraise=False):
                if rng.randrange(2):
                    raise ValueError(f"{line} {number}")
                raise dynamic(line, number)
        hits.add(number)
        own.add()

def switches():
    "Forgets all that is cached, and turns recording off and on again where it may."
    while running:
        core.flush_caches()
        if switching:
            fp.set_active(False)
            fp.set_active(True)

others = [threading.Thread(target=switches)]
work = [threading.Thread(target=records, args=(line,)) for line in range(threads)]
for one in work + others:
    one.start()
begin.wait()
for one in work:
    one.join()
running = False
for one in others:
    one.join()
table = domain.records().to_pyarrow(compat=True)
breath = core.writer_state()
print(json.dumps({
    "messages": table["message"].to_pylist(),
    "seqs": table["seq"].to_pylist(),
    "owners": sorted(set(table["owner"].to_pylist())),
    "counted": sum(row["count"] for row in domain.counts_rows()),
    "counters": {row["name"]: row["value"] for row in domain.counters_rows()},
    "drops": {row["reason"]: row["count"] for row in domain.drops_rows() if row["count"]},
    "in flight": [len(owner["in_flight"]) for owner in domain.owners_rows()
                  if "in_flight" in owner],
}))
"""


@pytest.fixture
def run(run_python, core, core_name, rng):
    """Function ``(*, switching) -> (what was found, rounds of each thread)``."""

    def start(*, switching):
        rounds = 100 if core_name == "cython" else 25
        seed = rng.randrange(1 << 32)
        print(f"seed {seed}")
        done = run_python(
            PROGRAM, THREADS, rounds, seed, int(switching), core=core_name, timeout=110
        )
        assert done.stderr == ""
        return json.loads(done.stdout), rounds

    return start


def test_64_threads_are_exact(run):
    found, rounds = run(switching=False)
    wanted = {f"{line} {number}" for line in range(THREADS) for number in range(1, rounds + 1)}
    assert len(found["messages"]) == len(wanted) and set(found["messages"]) == wanted
    assert sorted(found["seqs"]) == list(range(1, len(wanted) + 1))
    assert found["owners"] == [1] and found["counted"] == len(wanted)
    assert found["counters"].pop("hits") == THREADS * rounds * (rounds + 1) // 2
    assert found["counters"] == {f"own {k}": THREADS * rounds // 8 for k in range(8)}
    assert found["drops"] == {} and not any(found["in flight"])


def test_turning_recording_off_and_on_tears_nothing(run):
    """What is recorded while it is off is not; what is counted then is what has a row."""
    found, rounds = run(switching=True)
    wanted = {f"{line} {number}" for line in range(THREADS) for number in range(1, rounds + 1)}
    assert len(found["messages"]) == len(set(found["messages"])) == found["counted"]
    assert set(found["messages"]) <= wanted
    assert sorted(found["seqs"]) == list(range(1, len(found["messages"]) + 1))
    assert found["drops"] == {} and not any(found["in flight"])
