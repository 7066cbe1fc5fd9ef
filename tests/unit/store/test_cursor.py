"""Cursors: their text says everything, and no other text is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faultplane.errors import InvalidSetting
from faultplane.store.cursor import LANES_MAX, TEXT_MAX, Cursor, Position

numbers = st.integers(0, (1 << 64) - 1)
positions = st.builds(
    Position,
    created_unix_nano=numbers,
    floor=numbers,
    rows_before=numbers,
    seen=st.dictionaries(numbers, st.lists(st.integers(0, 512), max_size=40).map(tuple), max_size=4)
    .map(lambda seen: {number: counts for number, counts in seen.items() if counts}),
)  # fmt: skip
stores = st.sampled_from(["1-cython", "1-python", "2-cython", "17-python"])


@given(st.dictionaries(stores, positions).map(Cursor))
def test_the_text_of_a_cursor_is_the_cursor(cursor):
    assert Cursor.parse(str(cursor)) == cursor


def test_the_text_is_short_where_lanes_are_alike():
    counts = (512,) * 30 + (0,) * 6
    assert (
        str(Cursor({"1-cython": Position(5, 2, 9, {2: counts})})) == "1;1-cython:5:2:9:2=512x30.0x6"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2;1-cython:5:2:9:",
        "1;1-cython:5:2:9",
        "1;1-rust:5:2:9:",
        "1;../x:5:2:9:",
        "1;1-cython:-5:2:9:",
        "1;1-cython:5:²:9:",
        f"1;1-cython:{1 << 64}:2:9:",
        "1;1-cython:5:2:9:3",
        "1;1-cython:5:2:9:3=",
        "1;1-cython:5:2:9:3=1x",
        "1;1-cython:5:2:9:3=512..1",
        f"1;1-cython:5:2:9:3=1x{LANES_MAX}.1",
        "1;1-cython:5:2:9:3=1x99999.1x99999",
        "1;" + "x" * TEXT_MAX,
    ],
)
def test_other_texts_are_refused(text):
    with pytest.raises(InvalidSetting, match="cursor"):
        Cursor.parse(text)


@given(st.text(alphabet="0123456789;:=,.x-cythonp", max_size=60))
def test_no_text_does_anything_but_parse_or_be_refused(text):
    try:
        cursor = Cursor.parse("1;" + text)
    except InvalidSetting:
        return
    assert Cursor.parse(str(cursor)) == cursor


def test_the_number_of_lanes_is_bounded_from_both_sides():
    assert (
        len(Cursor.parse(f"1;1-cython:5:2:9:3=1x{LANES_MAX}").positions["1-cython"].seen[3])
        == LANES_MAX
    )


@pytest.mark.parametrize("since", [5, b"1", ["1"], object()])
def test_what_is_no_cursor_is_refused_with_its_value(since):
    with pytest.raises(InvalidSetting, match="since must be a cursor or its text, got"):
        Cursor.of(since)
    assert Cursor.of(None) is None
    assert Cursor.of("1") == Cursor()
