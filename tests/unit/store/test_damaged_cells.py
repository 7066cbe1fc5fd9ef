"""Calls go on, whatever is in a cell: other processes of the host may have written anything."""

from __future__ import annotations

import os

import pytest

import faultplane as fp
from faultplane import control_schema as layout
from faultplane._backend import core
from faultplane.errors import CorruptFile
from faultplane.store import control, files, lifecycle
from faultplane.store.control import ControlFile

CELL = layout.CONTROL_CELL
HIGH = CELL.size
LEASES = HIGH + layout.LEASE.size
SLOTS = 3
ODD = (0, 1, (1 << 32) - 1, 1 << 63, (1 << 64) - 1)
CONFIG = {
    **dict.fromkeys(control.CONFIG_NAMES, 0),
    "window_ms": 10_000, "calls_min": 2, "failure_rate": 500_000, "slow_rate": 500_000,
    "slow_call_nano": 10**9, "consecutive": 3, "probes": 2, "probe_ms": 1000, "open_ms": 1000,
    "open_ms_max": 9000, "open_factor_milli": 2000, "ratio_milli": 200, "floor_milli": 10_000,
    "capacity_milli": 100_000, "limit": 5, "asked_ms_min": 100,
}  # fmt: skip
OPEN = layout.BREAKER_OPEN << layout.BREAKER_STATE_SHIFT
HALF_OPEN = layout.BREAKER_HALF_OPEN << layout.BREAKER_STATE_SHIFT


def use(words):
    """Have a cell with these words at these offsets, and do with it what calls do."""
    memory = core.Mapping.anonymous(LEASES + SLOTS * layout.LEASE.size)
    control.configure(memory, 0, CONFIG, files.forks)
    for at, word in words:
        memory.store(at, word)
    cell = core.Cell(lambda one: one.use(memory, 0, LEASES, SLOTS, HIGH, 1, 7))
    for failed in (False, True, True):
        ticket = cell.admit()
        assert ticket >= -2
        if ticket >= 0:
            cell.ended(ticket, failed, False, None, 500)
    cell.deposit()
    if cell.hold() and not cell.send():
        cell.let_go()
    if cell.take():
        cell.give()
    assert cell.tokens() >= 0
    assert cell.wait_ms() >= 0
    assert min(cell.window()) >= 0
    assert control.state_name(cell.state())
    cell.move(layout.BREAKER_OPEN, layout.CAUSE_FORCED, 1)
    cell.reclaim(2, 9)


def test_any_word_may_be_odd():
    for at in (*range(CELL.offset[control.CONFIG_NAMES[0]], CELL.size, 8), *range(HIGH, LEASES, 8)):
        for word in ODD:
            use([(at, word)])


def test_words_may_be_odd_together(rng):
    words = range(CELL.offset[control.CONFIG_NAMES[0]], LEASES + SLOTS * layout.LEASE.size, 8)
    states = [OPEN, HALF_OPEN, 6 << layout.BREAKER_STATE_SHIFT, 7 << layout.BREAKER_STATE_SHIFT]
    for _ in range(2000):
        odd = [(at, rng.choice((*ODD, rng.getrandbits(64)))) for at in rng.choices(words, k=5)]
        use([(CELL.offset["breaker"], rng.choice(states)), *odd])


@pytest.mark.parametrize("name", ["declared", "differs", "config_version"])
def test_counters_of_declarations_stay_within_their_words(name):
    fp.init()
    fp.Dependency(name, limit=1).call(len, "")
    owned = lifecycle.owned()
    assert owned is not None
    with ControlFile.open_to_change(owned[0]) as file:
        index = file.find(name)
        assert index is not None
        base = file.cell_offset(index)
        at = control._VERSION_OFFSET if name == "config_version" else CELL.offset[name]
        file.mapping.store(base + at, (1 << 64) - 1)
        for text in ("{}", '{"limit":2}'):
            file.declare(index, CONFIG, text, 1 << 62, 7)
        assert file.read(index).name == name


def test_leases_that_begin_elsewhere_are_refused():
    fp.init()
    fp.Dependency("elsewhere", limit=1).call(len, "")
    owned = lifecycle.owned()
    assert owned is not None
    store = owned[0]
    path = os.path.join(store.path, "control")
    with open(path, "rb") as file:
        good = file.read(layout.CONTROL.size)
    head = bytearray(good)
    layout.CONTROL.write(head, 0, leases_offset=1 << 30)
    layout.CONTROL.write(head, 0, crc=control.crc32(head[: layout.CONTROL.offset["crc"]]))
    try:
        with open(path, "r+b") as file:
            file.write(head)
        with pytest.raises(CorruptFile, match="must have leases from"):
            ControlFile.open(store)
    finally:
        with open(path, "r+b") as file:
            file.write(good)
