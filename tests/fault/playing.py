"""Run a scene of the package ``hostile``, and read what it left in its domain."""

from __future__ import annotations

import json
import os
import struct
import sys
from pathlib import Path

from faultplane import schema

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "conformance"))

import domain_fixture  # noqa: E402

TIMEOUT_SECONDS = 7_200 if os.environ.get("HOSTILE_CREATED") else 110


def scenes(*modules):
    """(Module, scene) of each module, in the order of its lines."""
    for module in modules:
        text = (HERE / "hostile" / f"{module}.py").read_text()
        for line in text.splitlines():
            if line.startswith("def ") and line.endswith("(ledger):"):
                yield module, line[4:].partition("(")[0]


def played(run_python, directory, core_name, module, scene, flags=(), **options):
    """The scene, played to its end in a process of its own, which says nothing on stderr."""
    code = (
        f"import sys; sys.path.insert(0, {str(HERE)!r})\n"
        "from hostile.ledger import main; main(*sys.argv[1:])"
    )
    done = run_python(
        code, module, scene, core=core_name, flags=flags, timeout=TIMEOUT_SECONDS, **options
    )
    assert done.stderr == ""
    return Played(json.loads(done.stdout), directory)


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
