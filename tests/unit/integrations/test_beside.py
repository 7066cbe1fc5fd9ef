"""Where an integration stands among others, and that it is nobody's receiver."""

from __future__ import annotations

import pytest

from faultplane.integrations.beside import place_inside_tracing, told_of


def test_the_place_is_behind_the_last_that_traces():
    tracing = type("Tracing", (), {"__module__": "opentelemetry.instrumentation.shop"})
    other = type("Other", (), {"__module__": "opentelemetryish.shop"})
    assert place_inside_tracing([]) == 0
    assert place_inside_tracing([other, other]) == 0
    assert place_inside_tracing([other, tracing, other]) == 2
    assert place_inside_tracing([tracing(), "shop.a", "opentelemetry.b.C", other]) == 3


def test_a_function_is_told_first_and_once_and_is_no_receiver():
    signal = pytest.importorskip("blinker").Signal()
    calls = []

    def ours(sender, **said):
        calls.append(("ours", sender, said))

    def theirs(sender, **said):
        calls.append(("theirs", sender, said))
        return "answer"

    signal.connect(theirs)
    told_of(signal, ours)
    told_of(signal, ours)
    assert signal.send("shop", n=1) == [(theirs, "answer")]
    assert calls == [("ours", "shop", {"n": 1}), ("theirs", "shop", {"n": 1})]
    assert list(signal.receivers_for("shop")) == [theirs]
