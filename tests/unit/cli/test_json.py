"""``--json`` is JSON whatever was recorded and whatever SQL answers, on a terminal too."""

from __future__ import annotations

import json
import unicodedata

import pytest

from faultplane.cli import output

FLOATS = """
import faultplane as fp
fp.init()
inf = float("inf")
told = {"r": float("nan"), "in": [inf, 0.5, None], "of": {"x": -inf}, "none": None}
fp.record(ValueError("x"), attributes=told)
"""


def strict(answer):
    """Lines of JSON, in which NaN and Infinity are none."""

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in answer.lines]


def test_floats_that_json_has_no_number_for_are_text_among_attributes(command, run_python):
    run_python(FLOATS)
    told = {"r": "NaN", "in": ["Infinity", 0.5, None], "of": {"x": "-Infinity"}, "none": None}
    (tailed,) = strict(command("tail", "--no-follow", "--json"))
    (queried,) = strict(command("query", "--json", "from records"))
    (shown,) = strict(command("show", tailed["fingerprint"], "--json"))
    for row in (tailed, queried, *shown["samples"]):
        assert row["attributes"] == told


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("'nan'::double", None),
        ("'inf'::float", None),
        ("['-inf'::double, 1.5]", [None, 1.5]),
        ("{'x': 'nan'::double}", {"x": None}),
        ("map([date '2026-01-02'], ['nan'::double])", {"2026-01-02": None}),
        ("map(['nan'::double], [1])", {"nan": 1}),
        ("map(['\\xAB'::blob], [1])", {"ab": 1}),
        ("map([true], [1])", {"true": 1}),
    ],
)
def test_what_sql_answers_is_json(command, run_python, sql, told):
    run_python("import faultplane as fp; fp.init()")
    assert strict(command("query", "--json", f"select {sql} as answer")) == [{"answer": told}]


HOSTILE = "a\x00\x1b[31mb\x7fc\x9b31md\u202ee\u2066f\u2028g\u200eh\ufeffi\U000e0001j"


def test_json_passes_no_control_characters_to_a_terminal(command, run_python):
    run_python(
        "import faultplane as fp; fp.init(); "
        f"fp.record(ValueError({HOSTILE!r} + 'é日本🙂'), attributes={{{HOSTILE!r}: 1}})"
    )
    shown = command("tail", "--no-follow", "--json")
    (row,) = strict(shown)
    for words in (("show", row["fingerprint"]), ("query", "from records")):
        assert command(*words, "--json").out.rstrip("\n").isprintable()
    assert shown.out.rstrip("\n").isprintable()
    assert row["message"].endswith("é日本🙂")
    assert "é日本🙂" in shown.out
    assert row["message"].startswith(HOSTILE)
    assert list(row["attributes"]) == [HOSTILE]


def test_every_character_comes_back_and_none_of_them_commands(capsys):
    text = "".join(map(chr, range(0x11_0000)))
    output.print_json([{"text": text}])
    printed = capsys.readouterr().out.removesuffix("\n")
    assert json.loads(printed) == {"text": json.loads(json.dumps(text))}
    assert not {unicodedata.category(c) for c in printed} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


def test_an_output_that_cannot_encode_a_character_gets_its_escape(command, run_python):
    run_python("import faultplane as fp; fp.init(); fp.record(ValueError('é🙂'))")
    (row,) = strict(command("tail", "--no-follow", "--json", PYTHONIOENCODING="ascii"))
    assert row["message"] == "é🙂"


def test_columns_of_one_name_are_all_told(command, run_python):
    done = run_python(
        "import faultplane as fp; fp.init(); fp.record(ValueError('x'))\n"
        "print(fp.attach().records().rows()[0]['time_unix_nano'])"
    )
    time = int(done.stdout)
    for sql, told in (
        ("select 1 as a, 2 as a", {"a": 1, "a_1": 2}),
        ("select 1 as a, 2 as a, 3 as a_1, 4 as a", {"a": 1, "a_2": 2, "a_1": 3, "a_3": 4}),
        ('select 1 as a, 2 as "A"', {"a": 1, "A": 2}),
        ('select 1 as "x""y"', {'x"y': 1}),
        (
            "select time_unix_nano, time_unix_nano, 1 as attributes from records",
            {"time_unix_nano": time, "time_unix_nano_1": time, "attributes": 1},
        ),
    ):
        assert strict(command("query", "--json", sql)) == [told]


TRACED = """
import faultplane as fp
from opentelemetry import context, trace
fp.init()
fp.record(ValueError("without"))
span = trace.NonRecordingSpan(trace.SpanContext(0xAB << 120, 0xCD, is_remote=False))
context.attach(trace.set_span_in_context(span))
fp.record(ValueError("with"))
"""


def test_ids_of_traces_and_spans_read_alike_from_tail_and_query(command, run_python):
    pytest.importorskip("opentelemetry")
    run_python(TRACED)
    names = ("trace_id", "span_id")
    told = [("", ""), ("ab" + 30 * "0", 14 * "0" + "cd")]
    sql = "select message, trace_id, span_id from records order by seq"
    tailed = strict(command("tail", "--no-follow", "--json"))
    queried = strict(command("query", "--json", sql))
    for rows in (tailed, queried):
        assert [tuple(row[name] for name in names) for row in rows] == told
    assert [line.split() for line in command("query", sql).lines[1:]] == [
        ["without"], ["with", *told[1]]
    ]  # fmt: skip
