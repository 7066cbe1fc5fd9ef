"""Tables and times as terminals show them."""

from __future__ import annotations

import json

import pytest

from faultplane.cli import output


def test_a_table_is_never_wider_than_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    lines = output.table(["a", "message"], [["1", "x" * 200], ["2", "日本" * 60]])
    assert max(output.cells(line) for line in lines) <= 50
    assert lines[1].endswith("…")


def test_a_table_that_is_piped_is_whole(monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    lines = output.table(["a", "message"], [["1", "x" * 200]])
    assert lines[1] == "1  " + "x" * 200


@pytest.mark.parametrize(
    "text", ["\x1b[31mred", "a\nb", "\x00", "\u202eright to left", "\x9b2J", "\ud800"]
)
def test_what_an_error_says_cannot_command_a_terminal(text):
    shown = output.plain(text)
    assert shown.isprintable()
    assert shown.encode()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "< 1 µs"),
        (9e-7, "< 1 µs"),
        (1e-6, "1 µs"),
        (2.5e-3, "2 ms"),
        (1, "1.0 s"),
        (90, "90 s"),
        (200_000, "2.3 d"),
    ],
)
def test_durations_have_a_unit_that_suits_them(seconds, text):
    assert output.duration(seconds) == text


def test_sizes_end_at_gibibytes():
    assert output.size(5 << 40) == "5120.0 GiB"


def test_json_keeps_all_bits_of_a_fingerprint(capsys):
    inner = {"fingerprint": 2**63 + 1, "count": 2}
    output.print_json(
        [{"fingerprint": 2**64 - 1, "data": b"\x01", "samples": [inner], "of": inner}]
    )
    told = {"fingerprint": "8000000000000001", "count": 2}
    assert json.loads(capsys.readouterr().out) == {
        "fingerprint": "f" * 16, "data": "01", "samples": [told], "of": told
    }  # fmt: skip


def test_attributes_that_are_none_are_shown_as_their_bytes(capsys):
    output.print_json([{"attributes": b"\x07garbage"}, {"attributes": b""}])
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {"attributes": "0767617262616765"},
        {"attributes": {}},
    ]
    assert output.pairs(b"\x07garbage") == "0767617262616765"


def test_no_colour_without_a_terminal(capsys):
    assert output.paint("late", "red") == "late"
    assert output.clock(0) == output.moment(0) == "-"
