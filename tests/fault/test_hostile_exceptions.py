"""Exceptions that do not behave: never an exception, a crash or a hang in the application.

Each scene of the package ``hostile`` runs in a process of its own and leaves a ledger; rows and
counts are then read from the bytes of the domain and held against it.
"""

from __future__ import annotations

import os

import pytest
from playing import TIMEOUT_SECONDS, played, scenes

from faultplane import schema

pytestmark = pytest.mark.fault

MODULES = ("messages", "texts", "kinds", "stacks", "places")


@pytest.fixture
def play(run_python, tmp_domain_dir, core, core_name):
    """Function ``(module, scene, *flags) -> Played``."""

    def run(module, scene, *flags, **options):
        return played(run_python, tmp_domain_dir, core_name, module, scene, flags, **options)

    return run


@pytest.mark.parametrize(("module", "scene"), list(scenes(*MODULES)))
def test_what_misbehaves_is_recorded_whole(play, module, scene):
    play(module, scene).check()


IN_DEVELOPMENT = (
    ("messages", "odd_arguments"), ("texts", "raises"), ("texts", "meddles"),
    ("kinds", "metaclass_that_meddles"), ("stacks", "globals_that_meddle"), ("stacks", "groups"),
    ("places", "in_hooks_of_the_interpreter"), ("places", "tracebacks_taken_away"),
    ("places", "at_exit"),
)  # fmt: skip


@pytest.mark.parametrize(("module", "scene"), IN_DEVELOPMENT)
def test_nothing_is_said_in_development_mode(play, module, scene):
    play(module, scene, "-X", "dev").check()


@pytest.mark.parametrize(("module", "scene"), list(scenes("limits", "crowded", "memory")))
def test_every_record_that_returned_is_counted(play, module, scene):
    left = play(module, scene)
    returned = left.facts["returned"] + len(left.entries)
    assert left.facts["returned"] > 10
    assert left.counted() == returned
    rows = len(left.rows)
    left.check_sequence(rows)
    lost = sum(n for reason, n in left.drops.items() if reason != "series_overflow")
    assert rows + lost == returned
    assert left.drops.get("series_overflow", 0) == sum(left.overflow)
    assert left.rows[-1]["message"] == "an ordinary error afterwards"


def fingerprints(left):
    """Count of each fingerprint, what is in the ledger left out."""
    counted = {}
    for cell in left.cells:
        if cell["series"] == schema.SERIES_ERROR and cell["count"]:
            key = str(cell["fingerprint"])
            counted[key] = counted.get(key, 0) + cell["count"]
    for entry in left.entries:
        counted[str(entry[2])] -= 1
    return {key: n for key, n in counted.items() if n}


@pytest.mark.timeout(TIMEOUT_SECONDS)
@pytest.mark.parametrize(("module", "scene"), list(scenes("created")))
def test_what_is_made_at_an_address_that_is_used_again_is_not_taken_for_what_was(
    play, module, scene
):
    """At full length: HOSTILE_CREATED=1000000."""
    options = {name: os.environ[name] for name in ("HOSTILE_CREATED",) if name in os.environ}
    left = play(module, scene, **options)
    assert fingerprints(left) == left.facts["expected"]
    assert left.facts["reused"] > 0, "no address was used again: nothing was tested"
    assert left.facts["flushes"] > 0


def test_a_cache_without_references_is_found_out(play, pure):
    """Negative control; the compiled core has no function that could be taken out."""
    left = play("controls", "functions_that_nobody_keeps")
    assert fingerprints(left) != left.facts["expected"]
