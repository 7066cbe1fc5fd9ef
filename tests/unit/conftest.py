"""Stores made by hand for readers, and Arrow exports made in both ways."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest


def _segment_builder():
    name = "segment_builder"
    if name not in sys.modules:
        path = Path(__file__).parent / "store" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture
def builder():
    """The module that makes stores by hand."""
    return _segment_builder()


@pytest.fixture
def build_store(tmp_domain_dir):
    """Function ``(**options) -> StoreBuilder`` in the test's own directory."""
    return lambda **options: _segment_builder().StoreBuilder(tmp_domain_dir, **options)


@pytest.fixture
def attach(tmp_domain_dir):
    """Function ``(name="default") -> Domain`` of the test's own directory, closed afterwards."""
    from faultplane.store import Domain

    attached = []

    def open_domain(name="default"):
        attached.append(Domain.attach(name, tmp_domain_dir))
        return attached[-1]

    yield open_domain
    for domain in attached:
        domain.close()


@pytest.fixture(params=["own", "pyarrow"])
def exporter(request, monkeypatch):
    """Once with the structures that this library makes, once with those that pyarrow makes."""
    from faultplane import arrow

    if request.param == "own":
        monkeypatch.setattr(arrow, "_pyarrow_is_loaded", lambda: False)
    return request.param
