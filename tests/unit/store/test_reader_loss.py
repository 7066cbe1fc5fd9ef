"""What a reader came too late for: each row that was retired unseen is counted, and no other."""

from __future__ import annotations

import pytest

from faultplane import schema

ROWS = schema.LANE_ROWS


@pytest.mark.parametrize("retired", [1, 1023, 1024, 1025, 2500])
@pytest.mark.parametrize("added", [0, 1], ids=["noted", "noted and added"])
def test_the_loss_is_exact_however_many_segments_were_retired(
    build_store, open_reader, retired, added
):
    store = build_store(lanes=1)
    store.write(1, 5)
    position = open_reader(store).read(None).position
    total = 0
    for number in range(1, retired + 1):
        total += 5 + number % 7
        store.note_retired(number, 5 + number % 7)
    # The next is about to be: noted, and the word not moved on, as whoever does it may be killed.
    store.note_retired(retired + 1, 7)
    store.segments.pop(1).path.unlink()
    for field, value in {
        "segment_oldest": retired + 1,
        "segment_newest": retired,
        "retired": (total + 7 * added) << schema.RETIRED_ROWS_SHIFT | retired + added,
    }.items():
        store.word(field, value)
    reading = open_reader(store).read(position)
    assert reading.lost == total - 5
    assert open_reader(store).read(reading.position).lost == 0


def test_what_a_reader_holds_is_not_lost_however_many_segments_were_retired(
    build_store, open_reader
):
    store = build_store(lanes=1)
    store.write(1, 5)
    reader = open_reader(store)
    position = reader.read(None).position
    store.write(1, 3)
    store.note_retired(1, 8)
    retired = 2 * schema.SEGMENT_TABLE_SIZE
    for number in range(2, retired + 1):
        store.note_retired(number, 4)
    store.segments.pop(1).path.unlink()
    total = 8 + 4 * (retired - 1)
    for field, value in {
        "segment_oldest": retired + 1,
        "segment_newest": retired,
        "retired": total << schema.RETIRED_ROWS_SHIFT | retired,
    }.items():
        store.word(field, value)
    reading = reader.read(position)
    assert sum(run.rows for run in reading.runs) == 3
    assert reading.lost == total - 8


def test_a_segment_that_is_missing_is_told_and_lost_when_it_is_retired(build_store, open_reader):
    store = build_store(lanes=1)
    store.write(1, 2 * ROWS)
    position = open_reader(store).read(None).position
    store.write(1, 30)
    path = store.segments[3].path
    content = path.read_bytes()
    path.unlink()  # by somebody else: who retires it moves the word on before
    reader = open_reader(store)
    between = reader.read(position)
    assert (between.lost, between.runs) == (0, [])
    assert reader.problems == {"seg-3": "seg-3 does not exist"}
    path.write_bytes(content)
    for _ in range(3):
        store.retire_oldest()
    assert reader.read(between.position).lost == 30
    assert not reader.problems


@pytest.mark.parametrize("behind", [1000, 1023, 1500])
def test_the_loss_is_exact_while_segments_are_retired_under_the_look_at_it(
    build_store, open_reader, behind
):
    store = build_store(lanes=1)
    store.write(1, 5)
    reader = open_reader(store)
    position = reader.read(None).position
    rows = 0

    def retire(numbers):
        nonlocal rows
        for number in numbers:
            store.note_retired(number, 5 + number % 7)
            rows += 5 + number % 7
        store.word("segment_oldest", numbers.stop)
        store.word("segment_newest", numbers.stop - 1)
        store.word("retired", rows << schema.RETIRED_ROWS_SHIFT | numbers.stop - 1)

    retire(range(1, behind + 1))
    store.segments.pop(1).path.unlink()
    total, reader = rows, open_reader(store)
    final_rows, more = reader.store.final_rows, iter([range(behind + 1, behind + 60)])

    def look(number):
        for numbers in more:  # a writer goes on while the table is read
            retire(numbers)
        return final_rows(number)

    reader.store.final_rows = look
    assert reader.read(position).lost == total - 5
    assert rows > total
