"""A process describes itself in at most 384 bytes of JSON."""

from __future__ import annotations

import json
import os

from hypothesis import given
from hypothesis import strategies as st

from faultplane import settings
from faultplane.store import resource


def test_what_the_settings_say_is_in_it_and_the_service_comes_first():
    found = settings.load(
        {
            "FAULTPLANE_VERSION": "1.2",
            "FAULTPLANE_ENVIRONMENT": "test",
            "FAULTPLANE_INSTANCE": "i-1",
            "OTEL_RESOURCE_ATTRIBUTES": "team=shop,service.name=no,k8s.pod.name=pod-7",
        }
    )
    described = resource.describe("checkout", found)
    assert next(iter(described.items())) == ("service.name", "checkout")
    assert described["process.pid"] == os.getpid()
    assert described["service.version"] == "1.2"
    assert described["deployment.environment.name"] == "test"
    assert described["service.instance.id"] == "i-1"
    assert described["team"] == "shop"
    assert described["k8s.pod.name"] == "pod-7"
    assert described["host.name"]
    assert list(described)[-1] == "team", "what is optional comes last"


def test_what_does_not_fit_is_left_out_whole():
    text = resource.render({"service.name": "s", "long": "x" * 400, "short": "y"})
    assert json.loads(text) == {"service.name": "s", "short": "y"}


@given(st.dictionaries(st.text(max_size=40), st.text(max_size=120) | st.integers(0, 9), max_size=9))
def test_the_text_is_always_json_that_fits(attributes):
    text = resource.render(attributes)
    assert len(text.encode()) <= resource.RESOURCE_BYTES_MAX
    assert len(json.loads(text)) <= len(attributes)
