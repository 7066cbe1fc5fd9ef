"""What a core writes into a row is read back byte for byte."""

from __future__ import annotations

import domain_fixture
import pytest
import raising

from faultplane import schema

TRUNCATED, REDACTED = schema.FLAG_TRUNCATED, schema.FLAG_REDACTED
CLOCKS = {"time_unix_nano", "mono_nano"}


def without_clocks(rows):
    return [{name: value for name, value in row.items() if name not in CLOCKS} for row in rows]


def test_every_field_of_a_row_is_what_was_given(core_name, child, reader):
    child(core_name, "every_field", reader.path)
    full, short, long = reader.rows()
    assert all(row["time_unix_nano"] > 1 << 60 and row["mono_nano"] > 0 for row in (full, short))
    expected = {
        "seq": 1,
        "duration_nano": 2**63 - 1,
        "user": 0,
        "span_id": bytes(8),
        "trace_id": bytes(16),
        "message": "lost",
        "attributes": b"a=" + b"b" * 20,
        "type": "ConnectionError",
        "operation": "charge",
        "resource": domain_fixture.RESOURCE,
        "owner": 1,
        "attempt": 65_535,
        "severity_number": 13,
        "kind": 1,
        "category": 2,
        "flags": 6,
    }
    assert {name: full[name] for name in expected} == expected
    assert full["site"].startswith("children:raised:")
    assert (short["message"], short["attributes"], short["attempt"]) == ("twelve bytes", b"", 0)
    assert (short["operation"], short["flags"]) == ("", 6 | schema.FLAG_HANDLED)
    assert (long["message"], long["attributes"], long["seq"]) == ("thirteen byte", b"k=1", 3)


def test_the_message_is_the_text_of_the_exception(core_name, child, reader):
    child(core_name, "messages", reader.path)
    expected = [text for text, _ in raising.messages()]
    rows = reader.rows()
    assert [row["message"] for row in rows] == expected
    whole = [str_bytes(error) for _, error in raising.messages()]
    for row, size in zip(rows, whole, strict=True):
        cut = size > schema.MESSAGE_BYTES_MAX
        assert row["flags"] == schema.FLAG_HANDLED | (TRUNCATED if cut else 0), row["message"][:40]


def str_bytes(error):
    try:
        return len(str(error).encode("utf-8", "surrogatepass"))
    except BaseException:
        return 0


def test_modes_of_messages_hide_what_they_say(core_name, child, reader):
    child(core_name, "messages_by_mode", reader.path)
    texts = raising.texts_to_redact()
    rows = reader.rows()
    n = len(texts)
    raw, redacted, templates, more = rows[:n], rows[n : 2 * n], rows[2 * n : 3 * n], rows[3 * n :]
    for row, text in zip(raw, texts, strict=True):
        assert row["message"] == text.encode()[:1024].decode("utf-8", "ignore")
        assert not row["flags"] & REDACTED
        assert bool(row["flags"] & TRUNCATED) == (len(text.encode()) > 1024)
    for row, text in zip(redacted, texts, strict=True):
        assert "hunter2" not in row["message"] and "alice" not in row["message"]
        hides = "hunter2" in text or "alice" in text or "4111" in text
        assert bool(row["flags"] & REDACTED) == hides, text[:60]
        assert ("***" in row["message"]) == (
            hides and "x" * 1100 not in text and "é" * 600 not in text
        )
    assert all("<num>" in row["message"] for row in templates if "4096" in row["message"])
    assert templates[-2]["message"] == "user <num> of <num> at <hex> in <path>"
    assert [row["message"] for row in more[:2]] == ["no such user ***", "<redaction failed>"]
    assert len(more[2]["message"]) == 1024 and more[2]["flags"] & TRUNCATED


def test_both_cores_write_the_same_messages(child, tmp_domain_dir, both_cores):
    found = []
    for core_name in both_cores:
        reader = domain_fixture.Reader(domain_fixture.make(tmp_domain_dir / core_name))
        child(core_name, "messages_by_mode", reader.path)
        found.append(without_clocks(reader.rows(decode=False)))
    assert found[0] == found[1]


def test_attributes_that_cannot_be_kept_are_left_out_and_flagged(core_name, child, reader):
    child(core_name, "attributes", reader.path)
    rows = reader.rows()
    assert [len(row["attributes"]) for row in rows] == [0, 4096, 0, 0, 0]
    flagged = [bool(row["flags"] & schema.FLAG_NO_ATTRIBUTES) for row in rows]
    assert flagged == [False, False, True, True, True]


def test_trace_ids_come_from_the_current_span_once_opentelemetry_is_loaded(
    core_name, child, reader
):
    pytest.importorskip("opentelemetry.trace")
    token = child(core_name, "traced", reader.path, flags=("-W", "ignore"))
    rows = reader.rows()
    ids = [(row["trace_id"], row["span_id"]) for row in rows]
    zeros = bytes(16), bytes(8)
    assert ids == [zeros, zeros, (bytes(range(1, 17)), bytes(range(17, 25))), zeros]
    (slot,) = reader.inflight()
    assert (slot["slot"] + 1, slot["trace_id"]) == (token & 0x1FF, bytes(range(1, 17)))


def test_operations_are_kept_whole_or_cut_at_a_code_point(core_name, child, reader):
    child(core_name, "operation_names", reader.path)
    rows = reader.rows()
    plain = ["", "é" * 127 + "ab", "é" * 130, "sub", "?", "\ufffd", "a\ufffd"]
    assert [row["operation"] for row in rows] == [*plain, "x" + "é" * 511]
    counted = [key[0] for key in domain_fixture.errors(reader.cells())]
    assert counted == ["", "é" * 127 + "a", "é" * 127, *plain[3:], "x" + "é" * 127]
    shown = [slot["operation"][: slot["operation_bytes"]].decode() for slot in reader.inflight()]
    assert shown == ["", "é" * 32, "é" * 32, *plain[3:], "x" + "é" * 31]


def test_a_name_of_a_counter_has_no_lone_surrogates(core_name, child, reader):
    child(core_name, "counter_names", reader.path)
    cells = reader.cells()
    assert domain_fixture.counters(cells) == {"?": 1, "\ufffd": 6, "\U0001f389": 8}


def test_a_counter_begins_again_past_its_bound(core_name, child, reader):
    child(core_name, "counter_values", reader.path)
    found = domain_fixture.counters(reader.cells())
    assert found == {"below": 2**64 - 1, "at": 0, "above": 1}


def test_one_string_has_one_code(core_name, child, reader):
    child(core_name, "dictionary_codes", reader.path)
    names = reader.names(1)
    assert len(names) == len(set(names)) and names[0] == b""
    assert {row["operation"] for row in reader.rows()} == {"a", "b"}


def test_every_form_of_a_call_is_the_same_record(core_name, child, reader):
    refused = child(core_name, "call_forms", reader.path)
    assert refused == [*["TypeError"] * 6, "ValueError", "ValueError", *["TypeError"] * 3]
    rows = [{**row, "seq": 0} for row in without_clocks(reader.rows())]
    named, plain = rows[:8], rows[8:]
    assert (named[0]["operation"], named[0]["attempt"]) == ("a", 3)
    assert (plain[0]["operation"], plain[0]["attempt"]) == ("", 0)
    assert named == [named[0]] * 8
    assert plain == [plain[0]] * 4


def test_refused_values_leave_no_trace(core_name, child, reader):
    found = child(core_name, "refusals", reader.path)
    rows = reader.rows()
    kinds = [one and one[0] for one in found]
    assert kinds == [
        *("TypeError", "TypeError", "TypeError"),
        *("ValueError", None, None, "ValueError", "TypeError", "TypeError", "TypeError", None),
        *("ValueError", None, None, "ValueError", "TypeError"),
        *("ValueError", None, None, "ValueError", "TypeError", "TypeError"),
        *("TypeError", "TypeError"),
        *("ValueError", None, "ValueError"),
        *("ValueError", "ValueError", "ValueError", "ValueError"),
    ]
    texts = [one[1] for one in found if one]
    assert "exc must be an exception, got str" in texts
    assert "attempt must be 0 to 65535, got 65536" in texts
    assert "attempt must be an int, got float" in texts
    assert "duration_nano must be 0 to 9223372036854775807, got -1" in texts
    assert "n must be 0 to 9223372036854775807, got 9223372036854775808" in texts
    assert "name must be 1 to 255 bytes, got 0" in texts
    assert "operation must be a str or None, got int" in texts
    accepted = sum(one is None for one in found[:16])
    assert len(rows) == accepted == domain_fixture.errors(reader.cells())["", "ValueError"]
    assert domain_fixture.counters(reader.cells()) == {"n": 2**63 - 1, "n" * 255: 0}


def test_refusals_read_the_same_in_both_cores(child, tmp_domain_dir, both_cores):
    found = [
        child(core_name, "refusals", domain_fixture.make(tmp_domain_dir / core_name))
        for core_name in both_cores
    ]
    assert found[0] == found[1]
