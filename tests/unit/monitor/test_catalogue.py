"""The documents say what is exported, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from faultplane import cli
from faultplane.cli import metrics as command
from faultplane.monitor.catalogue import METRICS
from faultplane.monitor.exposition import Family
from faultplane.monitor.metrics import Limits

PAGE = Path(__file__).resolve().parents[3] / "docs" / "prometheus.md"


@pytest.fixture
def page():
    if not PAGE.exists():
        pytest.skip("the documents are not here")
    return PAGE.read_text()


def row(metric):
    name = Family(metric.name, metric.kind, "", []).sample_name
    labels = ", ".join(f"`{label}`" for label in metric.labels) or "–"
    return f"| `{name}` | {metric.kind} | {labels} | {metric.help} | {metric.bound} |"


def test_the_table_of_metrics_is_that_of_the_catalogue(page):
    table = [line for line in page.splitlines() if line.startswith("| `faultplane_")]
    assert table == [row(metric) for metric in METRICS]


def test_names_follow_the_conventions():
    for metric in METRICS:
        assert re.fullmatch(r"faultplane(_[a-z]+)+", metric.name)
        assert metric.kind in ("counter", "gauge", "info")
        assert not metric.name.endswith(("_total", "_info", "_count", "_sum", "_bucket"))
        assert metric.name.endswith(f"_{metric.unit}") or not metric.unit
        assert metric.help.endswith((".", "never.")), metric.name


def test_limits_of_the_page_and_of_the_command_are_those_there_are(page, command_options):
    for name, most in Limits()._asdict().items():
        assert re.search(rf"\| `--{name}`, `{name}=` \| .* \| {most} \|", page)
        assert command_options[name] == most
    assert "metrics" in cli.COMMANDS


@pytest.fixture
def command_options():
    import argparse

    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return vars(parser.parse_args([]))
