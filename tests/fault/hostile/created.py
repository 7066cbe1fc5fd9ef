"""Types and functions that are made at run time, at addresses that are used again.

Each record is held against the slow fingerprint, by counting: ``facts["expected"]`` is how often
each fingerprint must have been counted. ``HOSTILE_CREATED`` in the environment is how many there
are; neighbours differ in what their address stands for, so that a stale hit counts another error.
"""

from __future__ import annotations

import gc
import os
import sys
import types

import faultplane as fp
from faultplane import _backend

from .ledger import slow_fingerprint, throw

core = _backend.core
MADE = int(os.environ.get("HOSTILE_CREATED") or (12_000 if fp.core == "cython" else 4_000))
TYPES_MAX, SITES_MAX = 1_536, 3_072
GROWTH_BYTES_MAX = 8 << 20


def memory():
    """Private bytes and objects, when everything that a cache may hold has been let go."""
    core.flush_caches()
    gc.collect()
    with open("/proc/self/status") as status:
        (line,) = (line for line in status if line.startswith("RssAnon"))
    return int(line.split()[1]) << 10, sys.getallocatedblocks()


def record_each(ledger, make):
    """``make(i)`` gives a function that raises."""
    expected, addresses, reused, start = {}, set(), 0, (0, 0)
    for i in range(MADE):
        function = make(i)
        try:
            function()
        except Exception as error:  # of a type that was made a moment ago
            fp.record(error, "charge")
            found = core.fingerprint(error)
            if i % 97 == 0:
                assert found == slow_fingerprint(error)
            entry = error.__traceback__.tb_next or error.__traceback__
            address = id(type(error)), id(entry.tb_frame.f_code)
        del function, entry
        expected[found] = expected.get(found, 0) + 1
        reused += address in addresses
        if len(addresses) < 1_000:
            addresses.add(address)
        if i % 1_000 == 0:
            state = core.writer_state()
            assert state["types_cached"] <= TYPES_MAX and state["sites_cached"] <= SITES_MAX, state
        if i == MADE // 2:
            start = memory()
    grown = [after - before for after, before in zip(memory(), start, strict=True)]
    assert grown[0] < GROWTH_BYTES_MAX and grown[1] < MADE // 20, grown
    flushes = core.writer_state()["cache_flushes"]
    ledger.facts.update(expected=expected, reused=reused, flushes=flushes)


def types_with_names_in_turn(ledger):
    """Seven names in five modules, of which no two neighbours are the same."""

    def make(i):
        kind = type(f"Made{i % 7}", (ValueError,), {"__module__": f"m{i % 5}"})
        return lambda: throw(kind("x"))

    record_each(ledger, make)


def functions_with_names_in_turn(ledger):
    """Code objects, each another one, with eleven names and three first lines."""
    code = compile("def f():\n  raise ValueError('x')\n", "<made>", "exec").co_consts[0]
    scope = {"__name__": "made"}

    def make(i):
        made = code.replace(co_qualname=f"f{i % 11}", co_firstlineno=1 + i % 3)
        return types.FunctionType(made, scope)

    record_each(ledger, make)


def modules_and_classes_in_turn(ledger):
    """Modules that are executed anew, with a class and a function of the same names."""
    text = "class Made(Exception):\n  pass\n{}def f():\n  raise Made('x')\n"
    codes = [compile(text.format(f"x = {i}\n"), "<made>", "exec") for i in range(13)]

    def make(i):
        scope = {"__name__": f"module{i % 13}"}
        exec(codes[i % 13].replace(), scope)
        return scope["f"]

    record_each(ledger, make)


def named_tuples_of_one_name(ledger):
    """What generates a class for each call, as ORMs and schema libraries do."""

    def make(i):
        space = {"__module__": "models", "__qualname__": "outer.<locals>.Row"}
        kind = type("Row", ((ValueError, KeyError, OSError)[i % 3],), space)
        return lambda: throw(kind("x"))

    record_each(ledger, make)
