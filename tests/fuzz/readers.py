"""What reads each kind of file, called as the library calls it.

A reader may refuse a file by an error of the library. Anything else that it raises is a failure,
as is a crash, a hang, or memory out of proportion.
"""

from __future__ import annotations

import json
import math
import os
import random
from collections.abc import Callable
from functools import cache, cached_property
from typing import Any

from pyarrow import ArrowInvalid

from faultplane import arrow, control_schema, schema
from faultplane._backend import core
from faultplane.cli import deaths as cli_deaths
from faultplane.errors import CorruptFile, FaultplaneError, InvalidSetting
from faultplane.store import (
    aggregate,
    control,
    counts,
    deaths,
    dependencies,
    dictionaries,
    domain,
    fold,
    host,
    lanes,
    manner,
    owners,
    reader,
    records,
    segment_header,
    stacks,
    strings,
    tables,
)
from faultplane.store.cursor import Cursor
from fuzz.scene import Scene

ROWS_READ = 3
SEGMENTS_FEW = 8


class Bench:
    """The store of a scene, open for as long as the fuzzer runs, and what was read of it whole.

    What costs most is done once in a while (`every`), unless the bench is ``thorough``: by chance,
    so that no part of a reader always meets the same turn.
    """

    def __init__(self, scene: Scene, thorough: bool) -> None:
        self.scene = scene
        self.thorough = thorough
        self._chance = random.Random(scene.path.name).random
        self.me = host.this_process()
        self.store = domain.Store.open(str(scene.path))
        self.directory_fd = self.store.directory_fd
        self.reader = reader.StoreReader(self.store)
        self.position = self.reader.read(None).position
        self.owners = owners.read_owners(self.store)
        self.header = self.store.header

    @cached_property
    def writable(self) -> domain.Store:
        """The store as a process has it that writes."""
        return domain.Store.open(str(self.scene.path), writable=True)

    def every(self, turns: int) -> bool:
        """Whether to do what is done once in so many turns."""
        return self.thorough or self._chance() * turns < 1

    def one_of(self, things: list[Any]) -> Any:
        """One of some, by chance."""
        return things[int(self._chance() * len(things))]

    def wide(self, store: domain.Store) -> bool:
        """Whether a registry tells of so many segments that looking for them is the whole cost."""
        oldest, newest = store.load("segment_oldest"), store.load("segment_newest")
        return max(newest - oldest, oldest - self.position.floor) > SEGMENTS_FEW

    def close(self) -> None:
        self.reader.close()
        if "writable" in self.__dict__:
            self.writable.close()


def plain(name: str, rows: list[Any]) -> None:
    """Rows as the tables, the query engine and ``--json`` take them."""
    found = [row if isinstance(row, dict) else row._asdict() for row in rows]
    for column, values in tables.columns(name, found).items():
        kind = tables.TABLES[name][column]
        bounds = BOUNDS.get(kind)
        for value in values:
            if value is None:
                continue
            if kind == "f64":
                assert math.isfinite(value), f"{name}.{column} cannot be {value!r}"
                continue
            if bounds is not None and not (isinstance(value, int) and fits(value, *bounds)):
                raise AssertionError(f"{name}.{column} cannot be {value!r}")
            if bounds is None:
                str.encode(value)


BOUNDS = {
    "u64": (0, (1 << 64) - 1),
    "i64": (-(1 << 63), (1 << 63) - 1),
    "time": (-(1 << 63), (1 << 63) - 1),
    "flag": (0, 1),
}


def fits(value: int, low: int, high: int) -> bool:
    return low <= value <= high


# ------------------------------------------------------------------------------------- by kind


def read_registry(bench: Bench, name: str, size: int) -> None:
    if size == schema.REGISTRY_BYTES and bench.store._read_header() == bench.header:
        bench.reader.problems.clear()
        _read_words(bench.reader, bench)
        return
    with domain.Store.open(str(bench.scene.path)) as store:
        _read_words(reader.StoreReader(store), bench)


def _read_words(found: reader.StoreReader, bench: Bench) -> None:
    wide = bench.wide(found.store)
    if wide:
        # Said before it is done: who looks for all that a word can say never comes back.
        looked_for = len(found._numbers(found.store.load("segment_oldest"), found.newest()))
        assert looked_for <= 2 * found.store.header.segments_max + 257
    for since in (None, bench.position):
        if not bench.every(32 if wide else 2):
            continue
        reading = found.read(since)
        assert reading.lost >= 0
        cursor = Cursor({found.store.name: reading.position})
        try:
            assert Cursor.parse(str(cursor)) == cursor
        except InvalidSetting as error:
            raise AssertionError(f"{cursor} cannot be read again") from error
        for run in reading.runs:
            assert run.rows > 0
    if bench.every(32 if wide else 4):
        found.map_new(bench.position)
    tallies: aggregate.Tallies = {}
    counts._add_overflow(found.store, tallies)
    _show_tallies(bench, tallies)


def _show_tallies(bench: Bench, tallies: aggregate.Tallies) -> None:
    if bench.every(4):
        plain("counts", counts.count_rows(tallies))
        plain("counters", counts.counter_rows(tallies))
        plain("drops", counts.drop_rows(tallies))


def read_owners(bench: Bench, name: str, size: int) -> None:
    if size != len(bench.scene.contents[name]):
        with domain.Store.open(str(bench.scene.path)) as store:
            owners.read_owners(store)
        return
    found = owners.read_owners(bench.store)
    if not bench.every(4):
        for row in found:
            str.encode(row.resource)
        return
    rows = []
    for row in found:
        life = owners.life(bench.store, row, bench.me)
        owners.is_settled(row, life, 1 << 60)
        rows.append({
            "store": "", "incarnation": row.incarnation, "slot": row.slot, "state": row.state,
            "life": life.value, "service": row.service, "pid": row.pid,
            "start_unix_nano": row.start_unix_nano, "end_unix_nano": row.end_unix_nano,
            "exit_code": row.exit_code, "mapped_segment_low": row.mapped_segment_low,
            "resource": row.attributes,
        })  # fmt: skip
    plain("owners", rows)
    if bench.every(4):
        for row in found:
            deaths.is_missing(bench.store, row)


def read_dictionary(bench: Bench, name: str, size: int) -> None:
    file = dictionaries.DictionaryFile(bench.directory_fd, name)
    names = strings.Names(file)
    found = names.strings()
    assert found.count <= file.entries_max
    for code in range(-1, min(found.count, 8) + 1) if bench.every(4) else (-1, 1):
        str.encode(found[code])
    if bench.every(8):
        names.strings()


def read_stacks(bench: Bench, name: str, size: int) -> None:
    file = dictionaries.DictionaryFile(bench.directory_fd, name)
    total, shown = 0, bench.every(4)
    for stack in stacks.read_all(file):
        total += len(str(stack).encode()) if shown else 1
    if total and bench.every(16):
        stacks.find(file, 1)
        stacks.find(file, stack.fingerprint)
        stacks.with_source(stack)
    # A dictionary hands each of its bytes out once: a byte of a frame is 24 characters at most.
    assert total <= 32 * size


def read_segment(bench: Bench, name: str, size: int) -> None:
    number = int(name[4:])
    for row in bench.owners if bench.every(16) else ():
        for found in lanes.last_rows(bench.store, row.slot, row.generation, row.incarnation, 2):
            json.dumps(found).encode()
    segment = reader.Segment(bench.directory_fd, number)
    seen = segment.counts()
    spans = segment.spans()
    assert sum(rows for _, rows in spans) == sum(seen) <= segment.lanes * schema.LANE_ROWS
    strings = bench.reader._strings(1)
    runs = [reader.Run(segment.columns, strings, start, rows) for start, rows in spans]
    for row in records.Records(runs, None).rows(last=ROWS_READ) if bench.every(4) else ():
        json.dumps(row, default=bytes.hex).encode()
    if bench.every(8):
        lanes.dictionary_generation(bench.store, number)
    if runs and bench.every(32):
        try:
            arrow.pyarrow_table(runs).validate(full=True)
        except ArrowInvalid:
            pass  # as docs/protocol.md has it: views and codes are the writer's, until validated


def read_counts(bench: Bench, name: str, size: int) -> None:
    found = aggregate.read(bench.directory_fd, name)
    _show_tallies(bench, found.tallies)
    if bench.every(8):
        for row in bench.owners:
            fold.read_tallies(bench.store, row)


def read_retired(bench: Bench, name: str, size: int) -> None:
    retired, _ = fold.read_retired(bench.store)
    _show_tallies(bench, retired.tallies)
    if not bench.every(32):
        return
    fold.read_head(bench.store)
    # A folder writes what it read: the same has to come out again.
    again = aggregate.render(
        retired.tallies.items(), aggregate.RETIRED_SLOT, retired.epoch_or_incarnation, (1,)
    )
    parsed = aggregate.parse(again, name)
    assert not parsed.problem and parsed.tallies.keys() == retired.tallies.keys()


def read_breath(bench: Bench, name: str, size: int) -> None:
    for row in bench.owners:
        if owners.breath_name(row.slot) != name and not bench.thorough:
            continue
        in_flight, fatal = deaths._last_breath(bench.store, row)
        if not bench.every(8):
            continue
        found = manner.Found(row, fatal)
        death = {
            **manner.of_all([found], [], manner.Counts())[0],
            "fault_address": fatal.get("address", 0),
            "thread_id": fatal.get("thread_id", 0),
            "frames": fatal.get("frames", []),
            "in_flight": in_flight,
        }
        plain("deaths", [death])


def read_deaths(bench: Bench, name: str, size: int) -> None:
    rows = deaths.read_deaths(bench.store, compute_missing=False)
    if bench.every(4):
        plain("deaths", rows)
    if bench.every(16):
        deaths.recorded(bench.store)
        for row in rows[-2:]:
            "\n".join(cli_deaths.lines(row)).encode()


def read_control(bench: Bench, name: str, size: int) -> None:
    """Dependencies as the command line shows them, and calls that are guarded by their cells."""
    found = dependencies.cells(bench.store)
    if bench.every(4):
        plain("dependencies", dependencies.rows(bench.store, now_ms=1))
        plain("transitions", dependencies.transition_rows(bench.store))
    if not bench.every(8):
        return
    bench.scene.spoil(name, size)
    with control.ControlFile.open_to_change(bench.writable) as file:
        file.end_leases([(0, 1)])
        for index in range(min(len(found), 3)):
            _call(file, index)
            assert file.read(index).name == found[index].name


def _call(file: control.ControlFile, index: int) -> None:
    """What a process does with a cell: a call, a retry, a permit, and what the dead left of it."""
    places = file.cell_offset(index), file.lease_offset(index)

    def lend(cell: Any) -> None:
        cell.use(file.mapping, *places, file.owner_slots, file.owners_high_offset, 1, 7)

    cell = core.Cell(lend)
    for failed in (False, True):
        ticket = cell.admit()
        if ticket >= 0:
            cell.ended(ticket, failed)
    cell.deposit()
    if cell.hold() and not cell.send():
        cell.let_go()
    if cell.take():
        cell.give()
    assert cell.wait_ms() >= 0
    assert cell.tokens() >= 0
    assert min(cell.window()) >= 0
    cell.open_for(5, control_schema.CAUSE_ASKED)
    cell.retried(5 << control_schema.REASON_TYPE_SHIFT | 3, helped=True, micros=10)
    for slot, incarnation in file.lease_holders(index):
        cell.reclaim(slot, incarnation)
    file.declare(index, dict.fromkeys(control.CONFIG_NAMES, 3), "{}", 1, 7)
    assert control.state_name(cell.state())


# ------------------------------------------------------------------- what the pure core reads

WORDS = (b"builtins.ValueError", b"charge", b"another name", b"x" * 300)


def read_pure_dictionary(bench: Bench, name: str, size: int) -> None:
    """Names are looked up and interned, as by a process that records."""
    from faultplane._pure import intern

    bench.scene.spoil(name, size)
    prefix, _, number = name.partition("-")
    try:
        dictionary = intern.Dictionary(bench.directory_fd, -1, prefix, int(number))
    except OSError as error:
        raise CorruptFile(str(error)) from error
    words = list(enumerate(WORDS))
    for key, text in words if bench.every(4) else [bench.one_of(words)]:
        found = dictionary.intern(text)
        assert -1 <= found <= size
        assert dictionary.intern_stack(key, text) >= -1
    dictionary.is_nearly_full()
    dictionary.close()


def read_pure_segment(bench: Bench, name: str, size: int) -> None:
    """A lane is claimed, where there is one, and written to, as by a process that records."""
    # Header and lane words: what rows are written over is read by nobody here.
    shape = segment_header.shape(bench.header.lanes_per_segment)
    written = shape.column_offsets[0]
    bench.scene.spoil(name, written)
    if not bench.every(64):
        _write_rows(bench, bench.scene.alone(name, shape.file_bytes), int(name[4:]))
        return
    _write_rows(bench, bench.directory_fd, int(name[4:]))
    # Whoever finds one refused goes on to the next, and makes one where there is none.
    for other in bench.scene.contents:
        if other.startswith("seg-") and other != name:
            bench.scene.clean(other)
            bench.scene.spoil(other, written)
    for other in set(os.listdir(bench.directory_fd)) - bench.scene.contents.keys():
        os.unlink(other, dir_fd=bench.directory_fd)


@cache
def _registry() -> Any:
    from faultplane._pure.memory import Mapping

    return Mapping.anonymous(schema.REGISTRY_BYTES)


def _fresh_registry() -> Any:
    """A registry of zeros, in memory that is mapped once."""
    registry = _registry()
    registry[:] = bytes(schema.REGISTRY_BYTES)
    return registry


@cache
def _codes() -> Any:
    from faultplane._pure.writer import Codes

    codes = Codes()
    for field in Codes.__slots__:
        setattr(codes, field, 1)
    return codes


def _write_rows(bench: Bench, directory_fd: int, number: int) -> None:
    from faultplane._pure import ring, writer

    registry = _fresh_registry()
    for field in ("segment_newest", "segment_oldest", "dictionary_generation"):
        registry.store(schema.REGISTRY.offset[field], 1 if field[0] == "d" else number)
    lanes_there = bench.header.lanes_per_segment
    segments = ring.Segments(directory_fd, -1, registry, lanes_there, 64, 16 << 10, "fuzz")
    found = writer.Writer(segments, 3, 0, 7)
    for _ in range(2):
        if found.room(24) <= 0:
            found.put(_codes(), 1, 1, 1, b"longer than twelve bytes", None, None, 0, 0, 0)
    found.stop()
    if bench.every(4):
        segments.close_lanes_of(3, 0)


Reader = Callable[[Bench, str, int], None]


def refuses(read: Reader, bench: Bench, name: str, size: int) -> bool:
    """Whether a reader refuses the file by an error of the library, which names file and why."""
    try:
        read(bench, name, size)
    except CorruptFile as error:
        assert str(error).strip(), "a refusal says why"
        return True
    except FaultplaneError:
        return True
    return False
