"""What a scene records, and what it was told: the ledger that rows and counts are held against.

A scene is a function of a module of this package. It gets a `Ledger` and records through it. The
last entry of every ledger is an ordinary error: what came before must not have spoilt it.
"""

from __future__ import annotations

import importlib
import json
import sys

import faultplane as fp
from faultplane import _backend, schema
from faultplane.classify import Classification

SENTINEL = "an ordinary error afterwards"
OPERATION = "charge"
READ = 4 * schema.MESSAGE_BYTES_MAX  # bytes of a text that are looked at
ITS_STR = object()
# Asked of the readable core, whichever of them records.
slow_fingerprint = importlib.import_module("faultplane._pure").fingerprint


def throw(error):
    raise error


def caught(function, *args):
    try:
        function(*args)
    except BaseException as error:  # whatever it is: scenes raise what nobody should
        return error
    raise AssertionError("did not raise")


def raised(make, *args):
    """An exception that was raised and caught."""
    return caught(throw, make(*args))


def shown(text):
    """What a row keeps of a text: the first bytes, cut at a code point, U+FFFD for surrogates."""
    text = text[: READ + 2].encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text.encode()[: schema.MESSAGE_BYTES_MAX].decode("utf-8", "ignore")


def name_of(error):
    """The ``type`` column, from the slots of the type itself."""
    kind = type(error)
    module = type.__dict__["__module__"].__get__(kind)
    name = type.__dict__["__qualname__"].__get__(kind)
    return name if module == "builtins" else f"{module}.{name}"


class Ledger:
    """Every acknowledged record, in order, as [message, type, fingerprint, has a row]."""

    def __init__(self):
        self.entries = []
        self.facts = {}

    def record(self, error, message=ITS_STR, name=None, fingerprint=None, row=True, **options):
        """Record, look at the answer, note what the row must say; gives the answer.

        A message of None, a name of "" and a fingerprint of 0 stand for any: of an exception that
        changes while it is looked at. ``row=False``: the pure core is inside another record, so
        that this one is counted and has no row.
        """
        answer = fp.record(error, OPERATION, **options)
        self.note(error, answer, message, name, fingerprint, row or fp.core != "python")
        return answer

    def note(self, error, answer, message=ITS_STR, name=None, fingerprint=None, row=True):
        """The same for what somebody else has recorded."""
        assert type(answer) is Classification, answer
        assert answer.kind.value and answer.retryable in (True, False), answer
        self.entries.append(
            [
                shown(str(error)) if message is ITS_STR else message,
                name_of(error) if name is None else name,
                slow_fingerprint(error) if fingerprint is None else fingerprint,
                row,
            ]
        )


def main(module, scene):
    """Run a scene and print its ledger as JSON."""
    fp.init(service="hostile")
    ledger = Ledger()
    getattr(importlib.import_module(f"hostile.{module}"), scene)(ledger)
    ledger.record(raised(ValueError, SENTINEL))
    state = _backend.core.writer_state()
    sys.stdout.write(json.dumps([ledger.entries, ledger.facts, state]))
