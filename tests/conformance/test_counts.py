"""Counts are exact, whatever happens to the rows."""

from __future__ import annotations

from collections import Counter

import domain_fixture
import pytest

from faultplane import schema


def test_what_was_counted_before_bind_is_carried_over(core_name, child, reader):
    before, after = child(core_name, "before_bind", reader.path)
    assert before == [{"not_initialised": 3}, {"op/ValueError": 3, "early": 5}]
    cells = reader.cells()
    assert domain_fixture.errors(cells) == {("op", "ValueError"): 4}
    assert domain_fixture.counters(cells) == {"early": 13}
    assert domain_fixture.drops(cells) == {"not_initialised": 3}
    assert len(reader.rows()) == 1
    # What comes after unbind() is counted in the process, from zero.
    assert after == [{"no_storage": 1}, {"op/ValueError": 1, "early": 0}]


def test_the_first_cells_are_the_drop_reasons_in_order(core_name, child, reader):
    child(core_name, "every_field", reader.path)
    data = (reader.path / "agg-0").read_bytes()
    for i, reason in enumerate(schema.DROP_REASONS):
        at = schema.AGGREGATE.size + i * 128
        assert schema.CELL.read(data, at, "size") == 128
        size = schema.CELL.read(data, at, "name_bytes")
        assert data[at + schema.CELL.size :][:size].decode() == reason.name
    assert domain_fixture.drops(reader.cells()) == {}


def test_times_of_a_count_are_those_of_its_rows(core_name, child, reader):
    child(core_name, "dictionary_codes", reader.path)
    rows = reader.rows()
    for cell in reader.cells():
        if cell["series"] == schema.SERIES_ERROR:
            mine = [
                row["time_unix_nano"]
                for row in rows
                if (row["fingerprint"], row["operation"])
                == (cell["fingerprint"], cell["operation"])
            ]
            assert cell["count"] == len(mine) and cell["suppressed"] == 0
            assert (cell["first_seen_unix_nano"], cell["last_seen_unix_nano"]) == (
                min(mine),
                max(mine),
            )


def test_a_counter_has_a_value_and_no_times(core_name, child, reader):
    child(core_name, "before_bind", reader.path)
    times = {
        cell["series"]: (cell["first_seen_unix_nano"], cell["last_seen_unix_nano"])
        for cell in reader.cells()
        if cell["count"]
    }
    assert times[schema.SERIES_COUNTER] == times[schema.SERIES_DROP] == (0, 0)
    assert min(times[schema.SERIES_ERROR]) > 1 << 60


def test_past_the_last_series_counts_go_to_the_overflow_cells(core_name, child, reader):
    count = schema.SERIES_MAX + 10
    child(core_name, "many_series", reader.path, count)
    cells = reader.cells()
    room = schema.SERIES_MAX - len(schema.DROP_REASONS)
    assert len(cells) == schema.SERIES_MAX
    assert sum(domain_fixture.errors(cells).values()) == room + 1
    data = (reader.path / "registry").read_bytes()
    overflow = {
        cell: int.from_bytes(data[schema.OVERFLOW_CELLS_OFFSET + 8 * cell :][:8], "little")
        for cell in range(schema.OVERFLOW_CELLS)
    }
    assert {cell: n for cell, n in overflow.items() if n} == {10: count - room + 1, 31: 3}
    assert domain_fixture.drops(cells)["series_overflow"] == count - room + 1 + 1
    assert len(reader.rows(decode=False)) == count + 2


def test_what_comes_in_while_overflow_is_handed_over_is_added_once(core_name, child, reader):
    found = child(core_name, "handed_over", reader.path)
    assert found[-1][0] == found[-1][1] > 3 + 2 * 121 + 70 or core_name == "cython"
    # What came in last of all may be handed over by the next one; nothing is before it was told.
    assert all(told - 1 <= in_the_domain <= told for told, in_the_domain in found)


def test_the_detail_budget_bounds_rows_and_not_counts(core_name, child, reader):
    child(core_name, "budgeted", reader.path, 3, 2000)
    cells, rows = reader.cells(), reader.rows()[1:]
    assert domain_fixture.errors(cells) == {
        ("", "IndexError"): 1, ("", "ValueError"): 2000, ("", "KeyError"): 2000
    }  # fmt: skip
    assert domain_fixture.drops(cells) == {"detail_budget": 4000 - len(rows)}
    seconds: dict[tuple[str, int], int] = {}
    for row in rows:
        key = row["type"], row["mono_nano"] // 1_000_000_000
        seconds[key] = seconds.get(key, 0) + 1
    assert max(seconds.values()) == 3
    suppressed = sum(cell["suppressed"] for cell in cells)
    assert suppressed == 4000 - len(rows)


def test_the_detail_budget_is_of_a_fingerprint_in_all_its_operations(core_name, child, reader):
    child(core_name, "budgeted_operations", reader.path, 4, 1000)
    cells, rows = reader.cells(), reader.rows()[1:]
    assert domain_fixture.drops(cells) == {"detail_budget": 1000 - len(rows)}
    assert len({row["fingerprint"] for row in rows}) == 1
    seconds = Counter(row["mono_nano"] // 1_000_000_000 for row in rows)
    assert max(seconds.values()) == 4


def test_a_classification_holds_for_a_type_only_where_it_says_so(core_name, child, reader):
    found = child(core_name, "classified", reader.path)
    assert found["answers"] == [
        *(2, 2, 0, 0, 2, 2),
        *(1, 1, 2, 2, 1, 1),
        *(300, 300, 300, 300),
        *(10, 10, 10, 10, 9, 9, 9, 9),
    ]
    assert found["asked"] == [
        *("FileNotFoundError", "BrokenPipeError"),
        *("KeyError",) * 6,
        "IndexError",
        *("RuntimeError",) * 4,
        "ZeroDivisionError",
        "ZeroDivisionError",
    ]
    assert found["asked_after_flush"] == 1
    kinds = [row["kind"] for row in reader.rows()]
    assert kinds == [10, 2, 0, 2, 1, 2, 1, 10, 10, 10, 10, 9, 9, 9]
    severities = {row["severity_number"] for row in reader.rows() if row["kind"] == 9}
    assert severities == {21}


def test_ignored_types_and_an_inactive_recorder_leave_nothing(core_name, child, reader):
    assert child(core_name, "ignored", reader.path) == 10
    assert [row["type"] for row in reader.rows()] == ["ValueError", "KeyError"]
    cells = reader.cells()
    assert sum(domain_fixture.errors(cells).values()) == 2
    assert domain_fixture.counters(cells) == {"n": 0}


def test_an_exception_is_known_by_the_object_and_not_by_its_copies(core_name, child):
    assert child(core_name, "seen_marks") == [True, True, False, False, False, False, False]


def test_records_from_inside_the_recorder_are_counted_exactly(core_name, child, reader):
    signals = child(core_name, "reentrant", reader.path)
    cells, rows = reader.cells(), reader.rows()
    counted = domain_fixture.errors(cells)
    assert counted["", "ValueError"] == 20_000 and signals > 0
    assert counted["signal", "KeyError"] == signals
    assert domain_fixture.counters(cells) == {"signals": 3 * signals}
    assert counted["", "KeyError"] == 1
    dropped = domain_fixture.drops(cells)
    assert set(dropped) <= {"reentrant"}
    assert len(rows) == 20_002 + signals - dropped.get("reentrant", 0)
    assert sorted(row["seq"] for row in rows) == list(range(1, len(rows) + 1))


def test_records_that_come_in_while_others_are_made_up_for_are_counted_exactly(
    core_name, child, reader
):
    came_in = child(core_name, "put_off", reader.path)
    cells = reader.cells()
    assert domain_fixture.errors(cells) == {("", "ValueError"): 40, ("signal", "KeyError"): came_in}
    assert came_in > 40 * 2 or core_name == "cython"
    dropped = domain_fixture.drops(cells)
    assert set(dropped) <= {"reentrant"}
    assert len(reader.rows()) == 40 + came_in - dropped.get("reentrant", 0)


@pytest.mark.unmeasured  # coverage's own lock does not survive such handlers
@pytest.mark.parametrize("base", ["BaseException", "Exception"])
def test_handlers_that_raise_inside_a_record_leave_no_half_row(core_name, child, reader, base):
    acknowledged, attempted = child(core_name, "interrupted", reader.path, base)
    cells, rows = reader.cells(), reader.rows()
    dropped = domain_fixture.drops(cells)
    counted = sum(domain_fixture.errors(cells).values()) + dropped.get("series_overflow", 0)
    assert 0 < acknowledged < attempted, "nothing was interrupted"
    assert acknowledged <= len(rows) <= counted <= attempted
    # Interrupted while the error is seen for the first time, it has no cell yet: counted by kind.
    assert set(dropped) <= {"row_lost", "series_overflow"}
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    for row in rows:
        # A handler that raises inside str() is one more way for str() to fail.
        assert row["message"] in {"<exception str() failed>", *(f"number {i}" for i in range(4))}
        assert row["attributes"] in {b"", *(f"i={i}".encode() for i in range(4000))}


def test_threads_lose_nothing(core_name, child, reader):
    child(core_name, "threads", reader.path, 4, 1500)
    rows, cells = reader.rows(), reader.cells()
    assert sorted(row["seq"] for row in rows) == list(range(1, 6001))
    assert all(row["message"] == row["operation"] for row in rows)
    expected = {(f"t{i}", "ValueError"): 1500 for i in range(4)}
    assert domain_fixture.errors(cells) == expected
    assert domain_fixture.counters(cells) == {"n": 12_000}
