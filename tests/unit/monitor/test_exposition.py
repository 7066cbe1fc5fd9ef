"""Text that every parser takes, whatever names and values say."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faultplane.monitor import exposition
from faultplane.monitor.exposition import Family, Labels, clean

HOSTILE = 'a"b\\c\nd\r\te\x00\x1b[31m\x85\u2028\ud800\udfff{}=,# }日本'


def one(**labels):
    return [Family("faultplane_x", "counter", "Hostile.", [(Labels(**labels), 2**64 - 1)])]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(), max_size=40))
def test_any_text_is_a_label_that_parsers_give_back(parse, text):
    families = one(operation=text)
    (found,) = parse(exposition.text(families))
    assert dict(found[1])["operation"] == clean(text)
    assert parse(exposition.openmetrics(families), openmetrics=True).keys() == {found}


def test_hostile_text_passes_both_parsers_and_promtool(valid):
    ((_, labels),) = valid(one(operation=HOSTILE, kind="x"))
    assert dict(labels)["operation"] == 'a"b\\c\nd��e��[31m���' + "�{}=,# }日本"


def test_text_that_is_not_escaped_is_refused(parse, promtool):
    """Negative control: the parsers see what `escape` prevents."""
    with pytest.raises(ValueError):
        parse('# TYPE x counter\nx_total{a="b"c"} 1\n')
    with pytest.raises(ValueError):
        parse("# TYPE x counter\nx_total 1\n", openmetrics=True)  # no end
    assert promtool('x{a="b\nc"} 1\n') != ""


def test_values_are_exact_and_of_both_kinds(valid):
    families = [
        Family("faultplane_a", "gauge", "A\nB\\.", [(Labels(), 0), (Labels(n="1"), 2**53)]),
        Family("faultplane_age_seconds", "gauge", "B.", [(Labels(), 0.25)], "seconds"),
        Family("faultplane_c", "info", "C.", [(Labels(version="1"), 1)]),
        Family("faultplane_d", "counter", "Nothing yet.", []),
    ]
    assert valid(families) == {
        ("faultplane_a", ()): 0,
        ("faultplane_a", (("n", "1"),)): 2**53,
        ("faultplane_age_seconds", ()): 0.25,
        ("faultplane_c_info", (("version", "1"),)): 1,
    }
    assert "# UNIT faultplane_age_seconds seconds\n" in exposition.openmetrics(families)
    assert "# HELP faultplane_a A\\nB\\\\.\n" in exposition.text(families)


def test_labels_of_one_text_are_one_series():
    assert Labels(a="\x00") == Labels(a="\x01") == Labels(a="\ufffd")
    assert len({Labels(a="x"), Labels(a="x"), Labels(a="y")}) == 2
    assert Labels().text == ""
