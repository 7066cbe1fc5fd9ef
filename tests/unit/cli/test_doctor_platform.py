"""What `doctor` says of a system that is not Linux."""

from __future__ import annotations

import sys

from faultplane.cli import doctor_notes


def test_a_system_that_is_not_tested_is_named_with_what_it_lacks(monkeypatch):
    assert list(doctor_notes._platform()) == []
    monkeypatch.setattr(sys, "platform", "darwin")
    (note,) = doctor_notes._platform()
    assert note.startswith("darwin is not tested: without /proc ")
