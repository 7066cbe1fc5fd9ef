"""Following a domain: every new row, soon, until one has had enough."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from faultplane import schema
from faultplane._backend import CORE_NAME
from faultplane.errors import InvalidSetting
from faultplane.store.follow import Follow, Keeper

ROWS = schema.LANE_ROWS


class Clock:
    """Time that goes on by itself, a little at every look, and when it is told to."""

    def __init__(self, step=0.001):
        self.now, self.step = 100.0, step

    def __call__(self):
        self.now += self.step
        return self.now


@pytest.fixture
def store(build_store):
    return build_store(lanes=2, segments_max=4)


def seqs(records):
    return [row["seq"] for row in records.rows()]


def test_rows_come_as_they_are_written(store, attach):
    store.write(1, 3)
    with attach().follow(poll_seconds=0, timeout_seconds=60) as follow:
        assert seqs(next(follow)) == [1, 2, 3]
        store.write(1, 2)
        assert seqs(next(follow)) == [4, 5]
        thread = threading.Timer(0.02, store.write, (1, 1))
        thread.start()
        assert seqs(next(follow)) == [6]
        thread.join()


def test_it_starts_where_it_is_told(store, attach):
    store.write(1, 3)
    domain = attach()
    cursor = domain.cursor()
    store.write(1, 2)
    for since in (cursor, str(cursor)):
        with domain.follow(0, since=since) as follow:
            assert seqs(next(follow)) == [4, 5]
            assert follow.cursor == domain.cursor()


def test_the_time_is_bounded_and_what_is_there_at_the_end_is_handed_out(store, attach):
    store.write(1, 1)
    follow = Follow(attach(), poll_seconds=50, timeout_seconds=9, clock=Clock(step=1.0))
    assert seqs(next(follow)) == [1]
    store.write(1, 1)
    assert [seqs(records) for records in follow] == [[2]]
    store.write(1, 1)
    assert list(follow) == []


def test_writers_that_never_stop_do_not_keep_it_from_ending(store, attach):
    store.write(1, 1)
    follow = Follow(attach(), poll_seconds=0, timeout_seconds=0.5, clock=Clock(step=0.1))
    handed_out = 0
    for _ in follow:
        handed_out += 1
        store.write(1, 1)
        assert handed_out < 20
    assert handed_out > 1


def test_nothing_to_tell_is_not_told(store, attach):
    assert list(Follow(attach(), timeout_seconds=0.1, clock=Clock(step=0.01))) == []


def test_it_does_not_read_before_its_time(store, attach):
    store.write(1, 1)
    clock = Clock()
    follow = Follow(attach(), poll_seconds=30, clock=clock)
    assert len(next(follow)) == 1
    store.write(1, 1)
    assert follow._look() == (None, False)
    clock.now += 30
    assert seqs(follow._look()[0]) == [2]
    follow.close()


def test_it_reads_early_when_waiting_would_lose_rows(store, attach):
    store.write(1, 1)
    follow = Follow(attach(), poll_seconds=3600, clock=Clock())
    assert len(next(follow)) == 1
    store.write(1, 2 * ROWS)  # fills a segment; the store keeps four
    assert len(next(follow)) == 2 * ROWS
    follow.close()


def test_it_looks_again_before_another_segment_is_full(store, attach):
    clock = Clock(step=0)
    follow = Follow(attach(), poll_seconds=0.1, clock=clock)
    follow._look()
    clock.now += 0.008
    store.write(1, 4 * ROWS)
    store.new_segment()
    follow._look()
    assert follow._pause() == pytest.approx(0.0005, rel=0.1)  # two segments in eight milliseconds
    for _ in range(10):
        follow._look()
        pause = follow._pause()
    assert pause == pytest.approx(0.01)  # and no more than this in silence
    follow.close()


def test_what_it_has_mapped_it_does_not_lose(store, attach):
    store.write(1, 1)
    clock = Clock(step=0)
    follow = Follow(attach(), poll_seconds=10, clock=clock)
    follow._look()
    total = 1
    for _ in range(6):
        store.write(1, 2 * ROWS)
        total += 2 * ROWS
        follow._watch(clock())
        store.retire_oldest()
    clock.now += 11
    records, _ = follow._look()
    assert (len(records), records.lost) == (total - 1, 0)
    follow.close()


def test_what_it_lost_is_said_and_summed(store, attach):
    store.write(1, 1)
    clock = Clock(step=0)
    follow = Follow(attach(), poll_seconds=10, clock=clock)
    follow._look()
    store.write(1, 8 * ROWS)
    lost = [store.retire_oldest() for _ in range(3)]
    clock.now += 11
    records, _ = follow._look()
    # The first segment was mapped, the two after it were not.
    assert records.lost == follow.lost == sum(lost[1:])
    assert len(records) + records.lost == 8 * ROWS
    follow.close()


def test_closing_wakes_the_one_who_waits(store, attach):
    follow = attach().follow(poll_seconds=3600)
    thread = threading.Timer(0.05, follow.close)
    thread.start()
    assert list(follow) == []
    thread.join()
    assert list(follow) == []


def test_async_for(store, attach):
    store.write(1, 2)

    async def main():
        found, ticks = [], 0

        async def tick():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        ticking = asyncio.ensure_future(tick())
        async with attach().follow(poll_seconds=0, timeout_seconds=60) as follow:
            async for records in follow:
                found += seqs(records)
                if len(found) >= 10:
                    break
                store.write(1, 2)
        ticking.cancel()
        return found, ticks

    found, ticks = asyncio.run(main())
    assert found == list(range(1, 11))
    assert ticks >= 5


def test_async_for_ends_in_time(store, attach):
    async def main():
        follow = Follow(attach(), timeout_seconds=0.1, clock=Clock(step=0.02))
        return [records async for records in follow]

    assert asyncio.run(main()) == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"poll_seconds": -0.1}, "poll_seconds must be 0 to 3600, got -0.1"),
        ({"poll_seconds": 3600.1}, "poll_seconds must be 0 to 3600, got 3600.1"),
        ({"poll_seconds": float("nan")}, "poll_seconds must be 0 to 3600, got nan"),
        ({"timeout_seconds": -1}, "timeout_seconds must be at least 0, got -1"),
        ({"timeout_seconds": "x"}, "timeout_seconds must be at least 0, got 'x'"),
        ({"poll_seconds": None}, "poll_seconds must be 0 to 3600, got None"),
        ({"since": "now"}, "cursor must start with"),
    ],
)
def test_bounds_are_held(options, text, store, attach):
    with pytest.raises(InvalidSetting, match=text):
        attach().follow(**options)


# ------------------------------------------------------------------------------------- keeping


def prepared(store):
    return [name for name in os.listdir(store.path) if name.startswith("tmp-")]


def test_it_keeps_the_next_segment_ready(make_store, attach):
    store = make_store()
    follow = attach().follow(timeout_seconds=0)
    assert list(follow) == []
    names = prepared(store)
    assert len(names) == 1
    status = os.stat(os.path.join(store.path, names[0]))
    lanes = store.header.lanes_per_segment
    assert status.st_size == schema.segment_shape(lanes).file_bytes
    assert status.st_blocks * 512 >= status.st_size  # its pages are there


def test_it_keeps_nothing_ready_when_told_not_to(make_store, attach):
    store = make_store()
    assert list(attach().follow(timeout_seconds=0, maintain=False)) == []
    assert prepared(store) == []


KILLED = """
import os, signal
from faultplane import _backend
from faultplane.store import lifecycle
lifecycle.init("svc", "default")
_backend.core.Counter("declined").add(3)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_dead_are_buried_while_it_runs(run_python, attach):
    assert run_python(KILLED, core=CORE_NAME, check=False).returncode == -9
    domain = attach()
    assert [(row["state"], row["life"]) for row in domain.owners_rows()] == [("live", "gone")]
    assert [row["stored"] for row in domain.deaths_rows()] == [False]
    assert list(domain.follow(timeout_seconds=0)) == []
    assert domain.owners_rows() == []
    assert [row["value"] for row in domain.counters_rows()] == [3]
    assert [row["stored"] for row in domain.deaths_rows()] == [True]


def test_a_keeper_without_a_store_does_nothing(tmp_domain_dir):
    keeper = Keeper(str(tmp_domain_dir / "nowhere"))
    assert not keeper.active
    keeper.prepare()
    keeper.maintain()
    keeper.close()


def test_a_keeper_leaves_the_other_cores_store_alone(build_store, attach):
    other = build_store(core="python" if CORE_NAME == "cython" else "cython")
    keeper = Keeper(str(other.path.parent))
    assert not keeper.active
    keeper.close()


def test_a_keeper_goes_on_with_a_store_that_was_made_again(make_store):
    store = make_store()
    keeper = Keeper(store.domain_path)
    assert keeper.active
    for name in os.listdir(store.path):
        os.unlink(os.path.join(store.path, name))
    os.rmdir(store.path)
    keeper.prepare()
    keeper.maintain()
    assert not keeper.active
    again = make_store()
    keeper.maintain()
    keeper.prepare()
    assert len(prepared(again)) == 1
    keeper.close()
