"""Exceptions that do not behave: never an exception, a crash or a hang in the application.

Each scene of the package ``hostile`` runs in a process of its own and leaves a ledger; rows and
counts are then read from the bytes of the domain and held against it.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from pathlib import Path

import pytest

from faultplane import schema

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "conformance"))

import domain_fixture  # noqa: E402

pytestmark = pytest.mark.fault

MODULES = ("messages", "texts", "kinds", "stacks", "places")
TIMEOUT_SECONDS = 7_200 if os.environ.get("HOSTILE_CREATED") else 110


def scenes(*modules):
    """(Module, scene) of each module, in the order of its lines."""
    for module in modules:
        text = (HERE / "hostile" / f"{module}.py").read_text()
        for line in text.splitlines():
            if line.startswith("def ") and line.endswith("(ledger):"):
                yield module, line[4:].partition("(")[0]


@pytest.fixture
def play(run_python, tmp_domain_dir, core, core_name):
    """Function ``(module, scene, *flags) -> Played``: run a scene and read what it left."""

    def run(module, scene, *flags, **options):
        code = (
            f"import sys; sys.path.insert(0, {str(HERE)!r})\n"
            "from hostile.ledger import main; main(*sys.argv[1:])"
        )
        done = run_python(code, module, scene, core=core_name, flags=flags, timeout=TIMEOUT_SECONDS, **options)
        assert done.stderr == ""
        return Played(json.loads(done.stdout), tmp_domain_dir)

    return run


class Played:
    """The ledger of a scene, and the domain that it left."""

    def __init__(self, told, directory):
        self.entries, self.facts, self.state = told
        (store,) = (directory / "default").glob("1-*")
        self.reader = domain_fixture.Reader(store)
        self.rows = self.reader.rows()
        slots = [int(path.name[4:]) for path in store.glob("agg-[0-9]*")]
        self.cells = [cell for slot in slots for cell in self.reader.cells(slot)]
        self.drops = domain_fixture.drops(self.cells)
        self.overflow = struct.unpack_from(
            f"<{schema.OVERFLOW_CELLS}Q",
            (store / "registry").read_bytes(),
            schema.OVERFLOW_CELLS_OFFSET,
        )

    def counted(self):
        return sum(domain_fixture.errors(self.cells).values()) + sum(self.overflow)

    def check(self):
        """Counts are exact, and there is a whole row for each acknowledged record."""
        later = self.facts.get("later", 0)
        assert self.counted() == len(self.entries) + later
        shown = [entry for entry in self.entries if entry[3]] + [[None, "", 0, True]] * later
        self.check_sequence(len(shown))
        for row, (message, name, fingerprint, _) in zip(self.rows, shown, strict=True):
            what = f"{name}: {str(message)[:60]!r}"
            assert message is None or row["message"] == message, what
            assert not name or row["type"] == name, what
            assert not fingerprint or row["fingerprint"] == fingerprint, what
            assert row["operation"] in ("charge", "hostile", ""), what
        without = sum(not entry[3] for entry in self.entries)
        assert self.drops == ({"reentrant": without} if without else {})

    def check_sequence(self, rows):
        """Each process numbers its rows from 1 and leaves none out."""
        owners = {row["owner"] for row in self.rows}
        for owner in owners:
            seqs = [row["seq"] for row in self.rows if row["owner"] == owner]
            assert seqs == list(range(1, len(seqs) + 1))
        assert len(self.rows) == rows


@pytest.mark.parametrize(("module", "scene"), list(scenes(*MODULES)))
def test_what_misbehaves_is_recorded_whole(play, module, scene):
    play(module, scene).check()


@pytest.mark.parametrize(("module", "scene"), list(scenes("limits", "crowded", "memory")))
def test_every_record_that_returned_is_counted(play, module, scene):
    played = play(module, scene)
    returned = played.facts["returned"] + len(played.entries)
    assert played.facts["returned"] > 10
    assert played.counted() == returned
    rows = len(played.rows)
    played.check_sequence(rows)
    lost = sum(n for reason, n in played.drops.items() if reason != "series_overflow")
    assert rows + lost == returned
    assert played.drops.get("series_overflow", 0) == sum(played.overflow)
    assert played.rows[-1]["message"] == "an ordinary error afterwards"


def fingerprints(played):
    """Count of each fingerprint, what is in the ledger left out."""
    counted = {}
    for cell in played.cells:
        if cell["series"] == schema.SERIES_ERROR and cell["count"]:
            key = str(cell["fingerprint"])
            counted[key] = counted.get(key, 0) + cell["count"]
    for entry in played.entries:
        counted[str(entry[2])] -= 1
    return {key: n for key, n in counted.items() if n}


@pytest.mark.timeout(TIMEOUT_SECONDS)
@pytest.mark.parametrize(("module", "scene"), list(scenes("created")))
def test_what_is_made_at_an_address_that_is_used_again_is_not_taken_for_what_was(
    play, module, scene
):
    """At full length: HOSTILE_CREATED=1000000."""
    options = {name: os.environ[name] for name in ("HOSTILE_CREATED",) if name in os.environ}
    played = play(module, scene, **options)
    assert fingerprints(played) == played.facts["expected"]
    assert played.facts["reused"] > 20, "no address was used again: nothing was tested"
    assert played.facts["flushes"] > 0


def test_a_cache_without_references_is_found_out(play, core_name):
    """Negative control."""
    if core_name != "python":
        pytest.skip("the compiled core has no function to take out")
    played = play("controls", "functions_that_nobody_keeps")
    assert fingerprints(played) != played.facts["expected"]
