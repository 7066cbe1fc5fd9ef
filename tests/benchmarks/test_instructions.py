"""The bounds on instructions a call: which cases exceed them, and where they come from."""

from __future__ import annotations

import importlib.util
import json

import pytest

import faultplane


@pytest.fixture(scope="module")
def instructions(request):
    path = request.config.rootpath / "benchmarks" / "instructions.py"
    spec = importlib.util.spec_from_file_location("instructions", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_one_instruction_too_many_is_found(instructions):
    bounds = {"raw": 100}
    assert instructions.exceeded({"raw": 99}, bounds) == []
    assert instructions.exceeded({"raw": 100}, bounds) == []
    assert instructions.exceeded({"raw": 101}, bounds) == ["raw"]
    assert instructions.exceeded({"new": 1}, bounds) == ["new"]


def test_an_interpreter_without_bounds_is_held_to_those_of_others(instructions):
    table = {"3.11": {"raw": 100, "old": 8}, "3.12": {"raw": 120}}
    assert instructions.bounds_for(table, "3.12") == {"raw": 120}
    assert instructions.bounds_for(table, "3.15") == {"raw": 150, "old": 10}


def test_every_case_has_a_bound(instructions):
    table = json.loads(instructions.TABLE.read_text())
    cases = {*instructions.ALONE, instructions.SPAN}
    assert table and all(set(bounds) == cases for bounds in table.values())


@pytest.mark.slow
def test_what_is_counted_is_the_call(instructions, monkeypatch):
    if faultplane.core != "cython":
        pytest.skip("instructions are counted of the compiled core")
    if instructions.shutil.which("valgrind") is None:
        pytest.skip("valgrind is not installed")
    path = instructions.Path(next(iter(faultplane.__path__))).parent
    monkeypatch.setenv("PYTHONPATH", str(path))
    found = instructions.count("alone")
    assert set(found) == set(instructions.ALONE)
    assert 0 < found["guarded call"] < found["guarded call, rejected"]
    # A frame more is walked, a cause more is followed, a message more is looked through.
    assert 0 < found["classify"] < found["KeyError"] < found["with a cause"] < found["30 frames"]
    assert found["raw"] < found["redacted"] < found["a secret, redacted"]
