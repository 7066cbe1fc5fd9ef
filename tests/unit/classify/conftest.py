"""Failures that really happen, their golden answers, and a registry left as it was found."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
GOLDEN = HERE.parents[1] / "golden" / "classification_stdlib.json"

if "failures" not in sys.modules:
    # Known by its plain name, since its siblings and the child processes import it so.
    spec = importlib.util.spec_from_file_location("failures", HERE / "failures.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["failures"] = module
    spec.loader.exec_module(module)

failures = sys.modules["failures"]


@pytest.fixture(scope="session")
def golden():
    """Answers by the name of the failure, each a dict; ``type`` is the name of the exception."""
    table = json.loads(GOLDEN.read_text())
    return {
        name: dict(zip(table["fields"], row, strict=True))
        for name, row in table["failures"].items()
    }


@pytest.fixture(autouse=True)
def _no_rules_left_over():
    from faultplane.classify import registered_rules

    yield
    left = registered_rules()
    for registration in left:
        registration.unregister()
    assert left == []


@pytest.fixture
def classify():
    """Classification by the core that this process runs."""
    from faultplane.classify import classify

    return classify
