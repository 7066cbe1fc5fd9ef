"""Bytes of counted series: what is written is read, and damage costs what lies behind it only."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faultplane import schema
from faultplane.errors import CorruptFile
from faultplane.store import aggregate
from faultplane.store.aggregate import Series, Tally

TEXT = st.binary(max_size=255)
SERIES = st.builds(
    Series, st.integers(1, 3), st.integers(0, 15), st.integers(0, 2**64 - 1), TEXT, TEXT, TEXT
)
WORD, TIME = st.integers(0, 2**64 - 1), st.integers(0, 2**63 - 1)
TALLY = st.builds(Tally, WORD, TIME, TIME, WORD)


def test_the_struct_is_the_declared_cell():
    assert aggregate._WHOLE.size == schema.CELL.size
    data = aggregate.entry(Series(1, 2, 3, b"s", b"op", b"name"), Tally(4, 5, 6, 7))
    found = schema.CELL.read_all(data)
    assert found.pop("pad") == bytes(7)
    assert found == {
        "size": 128,
        "series": 1,
        "kind": 2,
        "service_bytes": 1,
        "operation_bytes": 2,
        "fingerprint": 3,
        "count": 4,
        "first_seen_unix_nano": 5,
        "last_seen_unix_nano": 6,
        "suppressed": 7,
        "name_bytes": 4,
    }
    assert data[64:] == b"sopname".ljust(64, b"\0")


@given(
    st.dictionaries(SERIES, TALLY, max_size=20), st.lists(st.integers(1, 2**32 - 1), max_size=24)
)
def test_what_is_rendered_is_parsed_again(tallies, folded):
    data = aggregate.render(tallies.items(), 5, 77, tuple(folded))
    assert len(data) % 64 == 0
    found = aggregate.parse(data, "agg-5")
    assert found == aggregate.Aggregate(5, 77, tuple(folded), tallies)


@given(st.lists(st.tuples(SERIES, TALLY), max_size=12), st.randoms())
def test_adding_is_the_same_in_any_order(pairs, random):
    first, second = {}, {}
    for series, tally in pairs:
        aggregate.add(first, series, tally)
    random.shuffle(pairs)
    for series, tally in pairs:
        aggregate.add(second, series, tally)
    assert first == second
    assert sum(t.count for t in first.values()) == sum(t.count for _, t in pairs)


def test_the_file_of_a_new_owner_begins_with_the_drop_reasons_by_code():
    data = aggregate.first_bytes(3, 9)
    assert len(data) == schema.AGGREGATE.size + 128 * len(schema.DROP_REASONS)
    for term in schema.DROP_REASONS:
        position = schema.AGGREGATE.size + 128 * (term.code - 1)
        name = data[position + 64 :][: schema.CELL.read(data, position, "name_bytes")]
        assert name == term.name.encode()
        assert schema.CELL.read(data, position, "series") == schema.SERIES_DROP
    found = aggregate.parse(data, "agg-3")
    assert (found.owner_slot, found.epoch_or_incarnation) == (3, 9)
    assert not any(tally.count for tally in found.tallies.values())


@pytest.mark.parametrize("size", [0, 63, 65, 128 + 64 * 1000])
def test_a_bad_entry_costs_itself_and_what_lies_behind_it(size):
    series = [Series(2, 0, 0, b"", b"", name) for name in (b"a", b"b", b"c")]
    data = bytearray(aggregate.render([(one, Tally(1)) for one in series], 0, 1))
    schema.CELL.write(data, schema.AGGREGATE.size + 128, size=size)
    found = aggregate.parse(bytes(data), "agg-0")
    assert list(found.tallies) == series[:1]
    if size % 64:
        assert found.problem == f"agg-0: the entry at 384 cannot have {size} bytes"


def test_strings_that_do_not_fit_their_entry_are_refused():
    data = bytearray(aggregate.render([(Series(2, 0, 0, b"", b"", b"a"), Tally(1))], 0, 1))
    schema.CELL.write(data, schema.AGGREGATE.size, service_bytes=255)
    assert aggregate.parse(bytes(data), "x").problem


def test_used_beyond_the_end_of_the_file_is_read_to_the_end():
    data = bytearray(aggregate.render([(Series(2, 0, 0, b"", b"", b"a"), Tally(1))], 0, 1))
    schema.AGGREGATE.write(data, 0, used=1 << 40)
    assert len(aggregate.parse(bytes(data), "x").tallies) == 1


def test_a_file_is_read_while_its_owner_counts(store, owner):
    one = owner(hits=5)
    found = aggregate.read(store.directory_fd, "agg-0")
    series = Series(schema.SERIES_COUNTER, 0, 0, b"", b"", b"hits")
    assert found.tallies[series] == Tally(5)
    one.count("later", 2)
    assert len(aggregate.read(store.directory_fd, "agg-0").tallies) == len(found.tallies) + 1


def test_a_file_too_short_for_a_header_is_corrupt(store):
    for data in (b"", b"x" * 255):
        with open(f"{store.path}/agg-0", "wb") as file:
            file.write(data)
        for reading in (aggregate.read, aggregate.read_head):
            with pytest.raises(CorruptFile, match="at least 256 bytes"):
                reading(store.directory_fd, "agg-0")


def test_the_head_alone_tells_epoch_and_batch(store):
    data = aggregate.render([(Series(2, 0, 0, b"", b"", b"a"), Tally(1))], 7, 12, (4, 5))
    with open(f"{store.path}/agg-x", "wb") as file:
        file.write(data)
    head = aggregate.read_head(store.directory_fd, "agg-x")
    assert (head.epoch_or_incarnation, head.folded, head.tallies) == (12, (4, 5), {})
    assert os.path.getsize(f"{store.path}/agg-x") == len(data)
