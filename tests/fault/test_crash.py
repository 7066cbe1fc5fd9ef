"""Processes die in every way there is: nothing that they were told was recorded is lost.

Each round forks a worker that records, and acknowledges in memory shared with the parent only
after ``record()`` and ``add()`` returned. Then it dies: by SIGKILL at a moment that it does not
choose, by ``os._exit``, by a segmentation fault. The parent compares what was acknowledged with
rows, counts and the death record. ``CRASH_ROUNDS=200`` in the environment makes a longer run.
"""

from __future__ import annotations

import json
import os

import pytest

pytestmark = pytest.mark.fault

ROUNDS = int(os.environ.get("CRASH_ROUNDS") or 12)

DRIVER = """
import json, mmap, os, random, signal, struct, sys, time
from faultplane import schema
from faultplane._backend import core
from faultplane.store import counts, deaths, domain, lanes, lifecycle, maintain, owners

how, rounds, rng = sys.argv[1], int(sys.argv[2]), random.Random(int(sys.argv[3]))
RECORDS_MAX = 1500 if core.NAME == "cython" else 300
COLUMNS = {column.name: index for index, column in enumerate(schema.COLUMNS)}
# One store a word: a kill in the middle of struct.pack_into would leave zeros.
ack = memoryview(mmap.mmap(-1, 4096)).cast("Q")
lifecycle.init(service="crash")
store = lifecycle._process.store
records, adds = core.record, core.Counter("hits").add

class Refused(Exception):
    pass

def work(number, limit):
    try:
        raise Refused(f"round {number}")
    except Refused as caught:
        error = caught
    core.enter(f"charge {number}")
    ack[2] = 1
    for n in range(1, limit + 1):
        records(error, operation="charge")
        ack[0] = n
        adds(2)
        ack[1] = 2 * n
    if how == "kill":
        signal.pause()

def die():
    if how == "exit":
        os._exit(3)
    if how == "segfault":
        import ctypes
        core.install_fatal_handler()
        ctypes.string_at(0)

def rows_of(incarnation):
    "Sequence numbers of one owner's rows, as any reader finds them."
    found = []
    for number in store.segments():
        with lanes._segment(store, number, whole=True) as mapping, memoryview(mapping) as view:
            offsets = schema.SEGMENT.read(view, 0, "column_offsets")
            words = core.lane_words(mapping, store.header.lanes_per_segment)
            for lane, word in enumerate(words):
                for row in range(word & schema.LANE_COUNT_MASK):
                    at = lane * schema.LANE_ROWS + row
                    owner, = struct.unpack_from("<I", view, offsets[COLUMNS["owner"]] + 4 * at)
                    if owner == incarnation:
                        found += struct.unpack_from("<Q", view, offsets[COLUMNS["seq"]] + 8 * at)
    return sorted(found)

def sums():
    read = counts.snapshot(store)
    assert read.problems == [], read.problems
    return (sum(row.count for row in counts.count_rows(read.tallies)),
            sum(row.value for row in counts.counter_rows(read.tallies)))

total = [0, 0]
died = 0
for number in range(rounds):
    ack[0] = ack[1] = ack[2] = 0
    limit = rng.randrange(1, RECORDS_MAX)
    child = os.fork()
    if child == 0:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 2)
        work(number, limit)
        die()
        os._exit(99)
    if how == "kill":
        wanted = rng.randrange(0, limit + 1)
        while ack[0] < wanted or not ack[2]:
            time.sleep(0)
        os.kill(child, signal.SIGKILL)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # dead, not yet collected
    acknowledged = ack[0], ack[1]
    row, = [row for row in owners.read_owners(store) if row.pid == child]
    seqs = rows_of(row.incarnation)
    before = sums()
    for base, counted, said in zip(total, before, acknowledged):
        # One call that had not returned may be in; it is never more, and never less.
        assert said <= counted - base <= said + (2 if said is acknowledged[1] else 1), (
            number, acknowledged, before, total)
    assert seqs == list(range(1, len(seqs) + 1)), (number, seqs[:5], seqs[-5:])
    assert acknowledged[0] <= len(seqs) <= acknowledged[0] + 1, (number, acknowledged, len(seqs))
    assert before[0] - total[0] in (len(seqs), len(seqs) + 1)
    computed = deaths.read_deaths(store)[-1]
    report = maintain.maintain_store(store)
    assert report.folded == 1 and report.problems == [], report
    assert report.lanes_closed == 1 or len(seqs) % schema.LANE_ROWS == 0, report
    assert sums() == before, (number, "folding changed the sum")
    assert rows_of(row.incarnation) == seqs, (number, "closing changed the rows")
    for death in (computed, report.died[0], deaths.read_deaths(store)[-1]):
        assert death["pid"] == child and death["service"] == "crash"
        entered = [entry["operation"] for entry in death["in_flight"]]
        assert entered == [f"charge {number}"], death
        assert [r["seq"] for r in death["records"]] == seqs[-10:], (seqs[-10:], death["records"])
        for record in death["records"]:
            assert record["message"] == f"round {number}" and record["operation"] == "charge"
    total = list(before)
    died += 1
    os.waitpid(child, 0)
print(json.dumps({"died": died, "records": total[0], "how": report.died[0]["how"],
                  "signal": report.died[0]["signal_name"],
                  "frames": [f.rpartition(" in ")[2] for f in report.died[0]["frames"]],
                  "deaths": len(deaths.read_deaths(store)),
                  "owners": len(owners.read_owners(store))}))
"""


def crash(run_python, rng, how, core_name, driver=DRIVER, **options):
    seed = rng.randrange(1 << 32)
    print(f"seed {seed}")
    done = run_python(driver, how, ROUNDS, seed, core=core_name, timeout=110, **options)
    return json.loads(done.stdout) if done.returncode == 0 else done


@pytest.mark.parametrize("how", ["kill", "exit", "segfault"])
def test_no_acknowledged_record_nor_count_is_lost(run_python, rng, core, core_name, how):
    found = crash(run_python, rng, how, core_name)
    assert (found["died"], found["deaths"], found["owners"]) == (ROUNDS, ROUNDS, 1)
    assert found["records"] > ROUNDS
    if how == "segfault":
        assert (found["how"], found["signal"]) == ("signal", "SIGSEGV")
        assert found["frames"][-2:] == ["die", "<module>"]
    else:
        assert found["how"] == "unknown"


# A worker that acknowledges before it records is caught: the comparison can fail.
EARLY = DRIVER.replace(
    '        records(error, operation="charge")\n        ack[0] = n\n',
    '        ack[0] = n + 1\n        records(error, operation="charge")\n',
)


def test_a_worker_that_acknowledges_too_early_is_found_out(run_python, rng, core, core_name):
    """Negative control."""
    assert EARLY != DRIVER
    done = crash(run_python, rng, "exit", core_name, EARLY, check=False)
    assert "AssertionError" in done.stderr


SWARM = """
import mmap, os, random, signal, sys, time
from faultplane._backend import core
from faultplane.store import counts, deaths, lifecycle, maintain, owners
seed, rounds, workers = int(sys.argv[1]), int(sys.argv[2]), 4
rng = random.Random(seed)
ack = memoryview(mmap.mmap(-1, 4096)).cast("Q")
lifecycle.init(service="swarm")
store = lifecycle._process.store

def work(slot):
    add = core.Counter("hits").add
    n = 0
    while True:
        add()
        n += 1
        ack[slot] = n
        if n % 64 == 0:
            maintain.maintain_store(store)

total = counting = 0
for _ in range(rounds):
    for slot in range(workers):
        ack[slot] = 0
    children = []
    for slot in range(workers):
        child = os.fork()
        if child == 0:
            work(slot)
        children.append(child)
    for child in rng.sample(children, len(children)):
        # Others go on, and fold the one that is killed while its killer looks away.
        goal = sum(ack[:workers]) + rng.randrange(200)
        while sum(ack[:workers]) < goal:
            time.sleep(0)
        os.kill(child, signal.SIGKILL)
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    said = sum(ack[:workers])
    counted = sum(row.value for row in counts.read_counters(store))
    assert said <= counted - total <= said + workers, (said, counted, total)
    total = counted
    counting += sum(n > 0 for n in ack[:workers])
    for child in children:
        os.waitpid(child, 0)
maintain.maintain_store(store)
assert sum(row.value for row in counts.read_counters(store)) == total
assert len(owners.read_owners(store)) == 1
found = [death["incarnation"] for death in deaths.read_deaths(store)]
# One that was killed before it had registered has no death, and nobody has two.
assert counting <= len(set(found)) == len(found) <= rounds * workers, (counting, found)
print("exact")
"""


def test_workers_that_fold_each_other_while_they_are_killed_stay_exact(
    run_python, rng, core, core_name
):
    """Maintainers die in the middle of maintenance, at moments that nobody chose."""
    seed = rng.randrange(1 << 32)
    print(f"seed {seed}")
    done = run_python(SWARM, seed, max(ROUNDS // 2, 6), core=core_name, timeout=110)
    assert done.stdout == "exact\n"


def test_ids_are_never_reused_and_slots_are(run_python, core, core_name):
    code = """
import os
from faultplane._backend import core
from faultplane.store import lifecycle, owners
lifecycle.init()
store = lifecycle._process.store
seen = []
said, say = os.pipe()
for _ in range(60):
    child = os.fork()
    if child == 0:
        status = lifecycle.status()
        row = owners.read_owner(store, status.owner_slot)
        os.write(say, b"%d %d %d\\n" % (status.owner_slot, status.incarnation, row.generation))
        os._exit(0)
    os.waitpid(child, 0)
os.close(say)
rows = [tuple(map(int, line.split())) for line in os.fdopen(said)]
assert len({incarnation for _, incarnation, _ in rows}) == 60
assert len({(slot, generation) for slot, _, generation in rows}) == 60
assert len({slot for slot, _, _ in rows}) <= 4
print("unique")
"""
    assert run_python(code, core=core_name, FAULTPLANE_BUDGET_BYTES="2MiB").stdout == "unique\n"
