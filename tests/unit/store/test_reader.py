"""Reading a store: every committed row once, no other row ever, whatever happens to the files."""

from __future__ import annotations

import functools
import os
import struct
import subprocess
import sys
import threading
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faultplane import schema
from faultplane.store import Domain
from faultplane.store import reader as reader_module
from faultplane.store.reader import Segment, spans

ROWS = schema.LANE_ROWS


def rows_of(reading):
    """(Owner, seq) of every row, through nothing but the mapped bytes."""
    found = []
    for columns, _, start, rows in reading.runs:
        with memoryview(columns.keep) as view:
            for row in range(start, start + rows):
                offsets = columns.shape.column_offsets
                (seq,) = struct.unpack_from("<Q", view, offsets[0] + 8 * row)
                (owner,) = struct.unpack_from("<I", view, offsets[14] + 4 * row)
                found.append((owner, seq))
    return found


def written(store):
    return [(row["owner"], row["seq"]) for row in store.expected_rows()]


# ----------------------------------------------------------------------------------------- runs


@given(st.lists(st.integers(0, ROWS) | st.just(ROWS), min_size=1, max_size=40), st.data())
def test_runs_cover_exactly_the_new_rows_and_are_maximal(counts, data):
    seen = [data.draw(st.integers(0, count)) for count in counts]
    seen = seen[: data.draw(st.integers(0, len(seen)))]
    runs = list(spans(counts, seen))
    covered = [row for start, rows in runs for row in range(start, start + rows)]
    had = [*seen, *[0] * len(counts)]
    new = [
        lane * ROWS + row
        for lane, count in enumerate(counts)
        for row in range(had[lane], count)
    ]  # fmt: skip
    assert covered == new
    assert all(a + n < b for (a, n), (b, _) in pairwise(runs))


def test_full_lanes_are_one_run_and_a_partial_lane_ends_it(build_store, open_reader):
    store = build_store(lanes=6)
    store.write(1, 2 * ROWS + 5)
    store.write(2, ROWS)
    reading = open_reader(store).read(None)
    assert [(run.start, run.rows) for run in reading.runs] == [(0, 2 * ROWS + 5), (3 * ROWS, ROWS)]
    assert rows_of(reading) == written(store)


# -------------------------------------------------------------------------------------- cursors


def test_a_cursor_gives_what_came_after_it(build_store, open_reader):
    store = build_store()
    reader = open_reader(store)
    store.write(1, 10)
    first = reader.read(None)
    store.write(1, 5)
    store.write(2, 3)
    second = reader.read(first.position)
    assert rows_of(first) == [(1, seq) for seq in range(1, 11)]
    assert rows_of(second) == [(1, seq) for seq in range(11, 16)] + [
        (2, seq) for seq in range(1, 4)
    ]
    assert rows_of(reader.read(second.position)) == []
    assert rows_of(reader.read(first.position)) == rows_of(second)


def test_any_interleaving_shows_every_row_once_and_in_order(build_store, open_reader, rng):
    store = build_store()
    reader, position, found = open_reader(store), None, []
    for _ in range(120):
        step = rng.random()
        if step < 0.6:
            store.write(rng.randrange(1, 6), rng.choice([1, 7, 300, ROWS]))
        elif step < 0.9:
            reading = reader.read(position)
            assert reading.lost == 0
            position = reading.position
            found += rows_of(reading)
        else:
            segment = store.segments[rng.choice(list(store.segments))]
            segment.close_lane(rng.randrange(segment.lanes))
    found += rows_of(reader.read(position))
    assert sorted(found) == sorted(written(store))
    for owner in store.writers:
        seqs = [seq for who, seq in found if who == owner]
        assert seqs == sorted(seqs) == list(range(1, len(seqs) + 1))


def test_a_row_appears_with_its_commit_and_not_before(build_store, open_reader, builder):
    store = build_store()
    store.write(1, 1)
    reader = open_reader(store)
    position = reader.read(None).position
    segment = store.segments[1]
    word = int(segment.words[0])
    codes = dict.fromkeys(("type", "site", "operation", "resource"), 0)
    segment.put(0, builder.expected(2, 1), codes)
    committed = int(segment.words[0])
    segment.words[0] = word
    assert reader.read(position).runs == []
    segment.words[0] = committed
    assert rows_of(reader.read(position)) == [(1, 2)]


def test_a_quiet_writer_hides_nothing_and_a_closed_lane_ends(build_store, open_reader):
    store = build_store(lanes=2)
    store.write(1, 3)  # stays open in the first segment
    store.write(2, 5 * ROWS)
    reader = open_reader(store)
    position = reader.read(None).position
    assert position.floor == 1  # the first segment can still grow
    store.write(1, 2)
    reading = reader.read(position)
    assert rows_of(reading) == [(1, 4), (1, 5)]
    store.segments[1].close_all()
    assert reader.read(reading.position).position.floor == 4


def test_a_cursor_of_a_store_that_was_made_again_counts_as_none(
    tmp_domain_dir, build_store, open_reader, attach
):
    store = build_store()
    store.write(1, 20)
    domain = attach()
    cursor = domain.records().cursor
    os.rename(tmp_domain_dir / "default", tmp_domain_dir / "before")
    again = build_store()
    again.write(1, 7)
    records = domain.records(cursor)
    assert len(records) == 7
    assert records.lost == 0


class StoppedAt:
    """A mapping whose reader is stopped at some of its loads, while a writer goes on."""

    def __init__(self, mapping, loads, stops, write):
        self._mapping, self._loads, self._stops, self._write = mapping, loads, stops, write

    def load(self, offset):
        word = self._mapping.load(offset)
        self._loads.append(offset)
        if len(self._loads) in self._stops:
            self._write()
        return word


class LaneByLane:
    """The core, except that the words of lanes are loaded by Python."""

    @staticmethod
    def lane_words(mapping, lanes):
        places = (schema.LANE_WORDS_OFFSET + n * schema.LANE_WORD_STRIDE for n in range(lanes))
        return [mapping.load(place) for place in places]


@pytest.mark.parametrize("owners", [[1], [1, 2, 3]])
@pytest.mark.parametrize("rows", [420, 600])
def test_no_row_is_shown_before_those_its_writer_committed_earlier(
    build_store, open_reader, monkeypatch, owners, rows
):
    """The reader is stopped at any one or two of its loads, while a writer goes on.

    Owner 1 goes on in the same segment, or, where others took its other lanes, in the next.
    """
    for number, stops in enumerate(combinations(range(1, 10), 2)):
        store = build_store(domain=f"domain-{number}", lanes=2 if len(owners) > 1 else 6)
        for owner in owners:
            store.write(owner, 100)
        reader, loads = open_reader(store), []
        reader.map_new(None)
        for segment in reader._segments.values():
            segment.mapping = StoppedAt(
                segment.mapping, loads, stops, functools.partial(store.write, 1, rows)
            )
        with monkeypatch.context() as patched:
            patched.setattr(reader_module, "core", LaneByLane)
            first = reader.read(None)
        second = open_reader(store).read(first.position)
        found = [seq for owner, seq in rows_of(first) + rows_of(second) if owner == 1]
        assert found == list(range(1, store.writers[1].next_number))
        assert len(loads) >= 6


def test_rows_retired_before_they_were_read_are_counted_as_lost(build_store, open_reader):
    store = build_store(lanes=2)
    store.write(1, 100)
    position = open_reader(store).read(None).position
    store.write(1, 4 * ROWS)
    lost = store.retire_oldest() - 100 + store.retire_oldest()
    reading = open_reader(store).read(position)  # another process with the same cursor
    assert reading.lost == lost == 3 * ROWS + ROWS - 100
    assert rows_of(reading) == written(store)
    assert open_reader(store).read(reading.position).lost == 0


def test_rows_retired_before_the_first_reading_are_not_this_readers_loss(build_store, open_reader):
    store = build_store(lanes=2)
    store.write(1, 4 * ROWS)
    store.retire_oldest()
    reading = open_reader(store).read(None)
    assert reading.lost == 0
    assert rows_of(reading) == written(store)


def test_what_is_mapped_is_read_though_it_was_retired(build_store, open_reader):
    store = build_store(lanes=2)
    store.write(1, 100)
    reader = open_reader(store)
    position = reader.read(None).position
    store.write(1, 4 * ROWS)
    assert reader.map_new(position) == 3
    everything = written(store)[100:]
    store.retire_oldest()
    store.retire_oldest()
    reading = reader.read(position)
    assert reading.lost == 0
    assert rows_of(reading) == everything
    assert rows_of(reader.read(reading.position)) == []
    assert sorted(reader._segments) == [3]


# ------------------------------------------------------------------------------------ bad files


def overwrite(path, offset, data):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


OFFSET = schema.SEGMENT.offset
DAMAGE = {
    "short": lambda path: os.truncate(path, 100),
    "cut": lambda path: os.truncate(path, 40_000),
    "empty": lambda path: os.truncate(path, 0),
    "magic": lambda path: overwrite(path, 0, b"NOTHING!"),
    "crc": lambda path: overwrite(path, OFFSET["number"], b"\x09"),
    "columns": lambda path: overwrite(path, OFFSET["column_offsets"], b"\xff" * 8),
    "counts": lambda path: overwrite(path, schema.LANE_WORDS_OFFSET, struct.pack("<I", ROWS + 1)),
    "directory": lambda path: (os.unlink(path), os.mkdir(path)),
    "link": lambda path: (os.rename(path, f"{path}.away"), os.symlink(f"{path}.away", path)),
    "fifo": lambda path: (os.unlink(path), os.mkfifo(path)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_one_bad_segment_hides_no_other(damage, build_store, attach):
    store = build_store(lanes=2)
    store.write(1, 5 * ROWS)
    DAMAGE[damage](store.segments[2].path)
    domain = attach()
    records = domain.records()
    assert len(records) == 3 * ROWS
    assert [problem for problem in domain.problems() if "seg-2" in problem]
    assert len(domain.records(records.cursor)) == 0


def test_a_segment_that_says_another_number_is_refused(build_store, tmp_domain_dir):
    store = build_store(lanes=1)
    os.rename(store.path / "seg-1", store.path / "seg-7")
    descriptor = os.open(store.path, os.O_RDONLY)
    try:
        with pytest.raises(Exception, match="number of seg-7 must be 7, got 1"):
            Segment(descriptor, 7)
    finally:
        os.close(descriptor)


def test_the_same_rows_are_read_when_nothing_is_damaged(build_store, attach):
    """Negative control of the damage."""
    build_store(lanes=2).write(1, 5 * ROWS)
    domain = attach()
    assert (len(domain.records()), domain.problems()) == (5 * ROWS, [])


def test_without_its_dictionary_a_segment_shows_rows_without_names(build_store, attach):
    store = build_store()
    store.write(1, 600)
    os.unlink(store.path / "dict-1")
    domain = attach()
    records = domain.records()
    table = records.to_pyarrow()
    table.validate(full=True)
    assert set(table.column("type").to_pylist()) == {""}
    assert table.column("seq").to_pylist() == list(range(1, 601))
    assert records.rows(last=1)[0]["site"] == ""
    assert any("dict-1" in problem for problem in domain.problems())


def test_generations_of_dictionaries_live_side_by_side(build_store, attach):
    store = build_store(lanes=1)
    store.write(1, ROWS)
    store.new_generation()
    store.write(2, 3)
    table = attach().records().to_pyarrow()
    table.validate(full=True)
    names = table.column("resource").to_pylist()
    assert [names[0], names[-1]] == [
        '{"service.name": "service-1"}',
        '{"service.name": "service-2"}',
    ]
    dictionaries = [chunk.dictionary.to_pylist() for chunk in table.column("type").chunks]
    assert dictionaries[0] != dictionaries[1]


def test_names_grow_where_they_are(build_store, attach):
    store = build_store()
    store.write(1, 4)
    domain = attach()
    before = domain.records().to_pyarrow()
    store.write(2, 4)
    after = domain.records().to_pyarrow()
    one, two = (table.column("type").chunk(0).dictionary for table in (before, after))
    assert one.buffers()[2].address == two.buffers()[2].address
    assert len(two) == len(one) + 1
    assert before.column("resource").to_pylist() == ['{"service.name": "service-1"}'] * 4


def test_a_name_that_is_published_late_is_seen_late(build_store, attach):
    store = build_store()
    store.names.add("stopped in the middle", published=False)
    store.write(1, 3)
    domain = attach()
    first = domain.records().to_pyarrow().column("type").chunk(0).dictionary
    assert first[1].as_py() == ""
    store.names.publish("stopped in the middle")
    store.names.save()
    second = domain.records().to_pyarrow().column("type").chunk(0).dictionary
    assert second[1].as_py() == "stopped in the middle"
    assert first[1].as_py() == ""
    assert second.to_pylist()[2:] == first.to_pylist()[2:]


def test_rows_without_any_name_are_valid(build_store, attach, builder):
    store = build_store()
    codes = dict.fromkeys(("type", "site", "operation", "resource"), 0)
    lane = store.segments[1].open_lane(1)
    store.segments[1].put(lane, builder.expected(1, 1), codes)
    table = attach().records().to_pyarrow()
    table.validate(full=True)
    assert table.column("site").to_pylist() == [""]


def test_a_name_that_is_just_being_published_costs_no_second_copy(build_store, attach):
    store = build_store()
    store.write(1, 3)
    store.names.add("soon there", published=False)
    store.names.save()
    domain = attach()
    first = domain.records().to_pyarrow().column("type").chunk(0).dictionary
    store.names.publish("soon there")
    store.names.save()
    second = domain.records().to_pyarrow().column("type").chunk(0).dictionary
    assert second.to_pylist() == [*first.to_pylist(), "soon there"]
    assert second.buffers()[2].address == first.buffers()[2].address


def test_names_are_valid_text_whatever_is_in_the_file(build_store, attach):
    store = build_store()
    store.names.add(b"caf\xe9 \xff")
    code = store.names.add("points nowhere")
    store.write(1, 3)
    store.names.entry(code, 5000 << 32 | 0xFFFF_FF00, 1)
    store.names.save()
    table = attach().records().to_pyarrow()
    table.validate(full=True)
    values = table.column("type").chunk(0).dictionary.to_pylist()
    assert values[1:3] == ["caf\ufffd \ufffd", ""]


# --------------------------------------------------------------------------------------- stores


def test_the_stores_of_a_domain_are_shown_as_one(build_store, attach):
    compiled, pure = build_store(), build_store(core="python")
    compiled.write(1, 700)
    pure.write(9, 30)
    domain = attach()
    records = domain.records()
    assert len(records) == 730
    assert sorted(records.cursor.positions) == ["1-cython", "1-python"]
    pure.write(9, 2)
    compiled.write(1, 1)
    more = domain.records(str(records.cursor))
    assert [(row["owner"], row["seq"]) for row in more.rows()] == [(9, 31), (9, 32), (1, 701)]


def test_a_store_that_appears_later_is_noticed(build_store, attach):
    build_store().write(1, 5)
    domain = attach()
    cursor = domain.records().cursor
    build_store(core="python").write(2, 6)
    assert len(domain.records(cursor)) == 6


def test_a_layout_from_the_future_is_a_problem_and_no_more(build_store, attach):
    store = build_store()
    store.write(1, 5)
    os.mkdir(store.path.parent / "9-cython", 0o700)
    domain = attach()
    assert len(domain.records()) == 5
    assert any("9-cython" in problem and "layout" in problem for problem in domain.problems())


WRITER = """
import sys
import faultplane
from faultplane.store import lifecycle
lifecycle.init("svc", "default")
for number in range(1, int(sys.argv[1]) + 1):
    try:
        raise ValueError(f"row {number} " + "x" * (number % 70))
    except ValueError as error:
        faultplane.record(error, operation="write")
print("done")
"""


def test_rows_of_live_writers_are_whole_and_all_there(
    core_name, core, child_environment, tmp_domain_dir, attach
):
    """Two processes write while this one reads; the stores of both cores are read by either."""
    assert core_name == core.NAME
    total = 20_000 if core_name == "cython" else 2_000
    environment = child_environment(core_name, FAULTPLANE_MESSAGES="raw")
    command = [sys.executable, "-c", WRITER, str(total)]
    writers = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) for _ in "ab"]
    try:
        while not (tmp_domain_dir / "default").exists():
            assert all(writer.poll() in (None, 0) for writer in writers)
            threading.Event().wait(0.01)
        last, rows = {}, 0
        domain = attach()
        for records in domain.follow(poll_seconds=0.005, timeout_seconds=60):
            assert records.lost == 0
            table = records.to_pyarrow(compat=True)
            for owner, seq, message in zip(
                *(table.column(name).to_pylist() for name in ("owner", "seq", "message")),
                strict=True,
            ):
                assert seq == last.get(owner, 0) + 1
                assert message == f"row {seq} " + "x" * (seq % 70)
                last[owner] = seq
            rows += len(records)
            if rows == 2 * total:
                break
        assert list(last.values()) == [total, total]
        assert [writer.communicate()[0] for writer in writers] == [b"done\n"] * 2
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
            writer.stdout.close()


def test_segments_are_mapped_for_reading_only(build_store, open_reader):
    store = build_store()
    store.write(1, 1)
    mapping = open_reader(store).read(None).runs[0].columns.keep
    assert not mapping.writable
    with memoryview(mapping) as view:
        assert view.readonly


def test_threads_may_share_a_reader(build_store, open_reader):
    store, found, failed = build_store(), [], []
    store.write(1, 3000)
    reader = open_reader(store)

    def read():
        try:
            found.append(len(rows_of(reader.read(None))))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (failed, found) == ([], [3000] * 8)


def test_a_forked_child_reads_on_its_own(build_store, tmp_domain_dir, run_python):
    store = build_store()
    store.write(1, 30)
    code = """
import os
from faultplane.store import Domain
domain = Domain.attach("default")
kept = domain.records()
child = os.fork()
if child == 0:
    os._exit(0 if len(domain.records()) == len(kept.rows()) == 30 else 1)
print(os.waitpid(child, 0)[1], len(domain.records()))
"""
    assert run_python(code).stdout == "0 30\n"


def test_a_reader_may_have_no_permission_to_write(build_store, attach):
    store = build_store()
    store.write(1, 30)
    for path in store.path.iterdir():
        path.chmod(0o400)
    store.path.chmod(0o500)
    store.path.parent.chmod(0o500)
    try:
        with Domain(str(store.path.parent)) as domain:
            assert len(domain.records()) == 30
            assert domain.problems() == []
    finally:
        store.path.parent.chmod(0o700)
        store.path.chmod(0o700)
