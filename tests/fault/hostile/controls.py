"""Negative controls: the same scenes with a core that has one fault."""

from __future__ import annotations

import importlib

from . import created


def functions_that_nobody_keeps(ledger):
    """The pure core with cache entries that hold no reference to the code of their key."""
    importlib.import_module("faultplane._pure.sighting").references = lambda _: ()
    created.functions_with_names_in_turn(ledger)
