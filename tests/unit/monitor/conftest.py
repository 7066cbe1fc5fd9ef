"""Metrics of a domain, read by both parsers that there are for them."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from faultplane.monitor import exposition


def labelled(sample):
    return sample.name, tuple(sorted(sample.labels.items()))


@pytest.fixture
def parse():
    """Function ``(text, openmetrics=False)``: (name, labels) -> value, as prometheus_client has it.

    What is there twice fails the test.
    """
    pytest.importorskip("prometheus_client", reason="prometheus_client is not there")
    from prometheus_client import parser as text_parser
    from prometheus_client.openmetrics import parser as openmetrics_parser

    def read(text, openmetrics=False):
        parser = openmetrics_parser if openmetrics else text_parser
        found = {}
        for family in parser.text_string_to_metric_families(text):
            for sample in family.samples:
                assert labelled(sample) not in found, f"{labelled(sample)} twice"
                found[labelled(sample)] = sample.value
        return found

    return read


@pytest.fixture
def promtool():
    """Function ``(text)``: what promtool says against it, None where there is no promtool."""
    path = shutil.which("promtool")

    def check(text):
        if path is None:
            return None
        done = subprocess.run(
            [path, "check", "metrics"], input=text.encode(), capture_output=True, timeout=60
        )
        return (done.stdout + done.stderr).decode()

    return check


@pytest.fixture
def valid(parse, promtool):
    """Function ``(families)``: their samples, once every parser has taken both texts."""

    def check(families):
        text, openmetrics = exposition.text(families), exposition.openmetrics(families)
        assert not promtool(text)
        found = parse(text)
        assert parse(openmetrics, openmetrics=True) == found
        return found

    return check
