"""A domain to read: records, counts, counters, deaths, owners, stacks, dependencies, queries.

Read-only, from any process, also after all that wrote to it are gone. Several stores (one for
each layout version and core) are shown as one.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any, Final, Self

from faultplane import settings
from faultplane.errors import (
    DomainNotFound,
    FaultplaneError,
    InvalidSetting,
    StackNotFound,
    StorageError,
)
from faultplane.store import aggregate, counts, deaths, lifecycle, location, owners, unowned
from faultplane.store import domain as domains

# `init` makes a Domain in every process that records: what only readers need is imported by the
# methods that need it.
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from faultplane.store import query, stacks, tables
    from faultplane.store.cursor import Cursor
    from faultplane.store.dictionaries import DictionaryFile
    from faultplane.store.domain import Store
    from faultplane.store.follow import Follow
    from faultplane.store.reader import StoreReader
    from faultplane.store.records import Records

_STACK_FIELDS: Final = ("fingerprint", "type", "site", "template", "message")
_NAMES_LISTED: Final = 20
_CLOCK_STEP_NANO: Final = 20_000_000
"""Times of change are this coarse on some file systems: a younger one is not relied on."""


def names(directory: str | None = None, runtime_directory: str | None = None) -> list[str]:
    """Names of the domains in a directory, or in the directories that a reader looks at."""
    found = set()
    for base in location.readable_bases(directory, runtime_directory):
        try:
            entries = os.listdir(base)
        except OSError:
            continue
        for entry in entries:
            path = os.path.join(base, entry)
            if settings.DOMAIN_NAME.fullmatch(entry) and os.path.isdir(path):
                found.update([entry] if _has_stores(path) else [])
    return sorted(found)


def listed(found: Sequence[str]) -> str:
    """Names for a sentence: the first 20, and how many more there are.

    >>> listed(["a", "b"])
    'a, b'
    """
    more = len(found) - _NAMES_LISTED
    return ", ".join(found[:_NAMES_LISTED]) + (f" and {more:,} more" if more > 0 else "")


def _has_stores(path: str) -> bool:
    try:
        return bool(domains.store_paths(path))
    except DomainNotFound:
        return False


class Domain:
    """A domain to read. ``path`` is its directory, ``name`` its name.

    Tables come as ``pyarrow.Table``; each has a sibling ``…_rows()`` that gives a list of dicts
    and needs no other package. Use it in a ``with`` statement, or `close` it; what was made from
    it lives on. Threads may share it.
    """

    def __init__(self, path: str) -> None:
        """Read the domain directory ``path``; it may be missing, or have no store yet.

        An empty path stands for the domain of this process, wherever that is or will be.
        """
        self._own = not path
        self.path, self.name = _own_place() if self._own else (path, os.path.basename(path))
        self._pid = os.getpid()
        self._readers: dict[str, StoreReader] = {}
        self._refused: dict[str, str] = {}
        self._listed: tuple[int, int] = (0, 0)
        self._engine: query.Engine | None = None
        self._lock = threading.RLock()
        self._closed = False

    @classmethod
    def attach(
        cls, domain: str | None = None, directory: str | os.PathLike[str] | None = None
    ) -> Self:
        """The domain of that name, in any process, also after its writers died.

        What is not given comes from ``FAULTPLANE_DOMAIN`` and ``FAULTPLANE_DIR``. Raises
        DomainNotFound, naming the domains there are, InvalidName, InvalidSetting for a directory
        that is no path, and StorageError for a domain of which nothing can be read.
        """
        found = settings.load()
        name = found.domain if domain is None else domain
        given: object = directory  # whatever a caller without a type checker gave
        path = os.fspath(given) if isinstance(given, os.PathLike) else given
        if path is not None and not isinstance(path, str):
            raise InvalidSetting(f"directory must be a path, got {given!r}")
        base = found.directory if path is None else path
        try:
            attached = cls(domains.find(name, base, found.runtime_directory))
        except DomainNotFound as error:
            there = names(base, found.runtime_directory)
            none = "there are no domains; a process makes one when it calls init()"
            known = f"domains there: {listed(there)}" if there else none
            raise DomainNotFound(f"{error}; {known}") from None
        if not attached._stores() and attached._refused:
            problems = "; ".join(attached.problems())
            raise StorageError(f"domain {name!r} cannot be read: {problems}")
        return attached

    @classmethod
    def own(cls) -> Self:
        """The domain that this process records into; never raises for storage.

        Without storage it shows what the process counts in its own memory, and the records as
        soon as there is storage.
        """
        return cls("")

    def __repr__(self) -> str:
        where = f"in {os.path.dirname(self.path)}" if self.path else "without storage"
        return f"<Domain {self.name!r} {where}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files; idempotent. Reading a closed domain raises StorageError."""
        self._closed = True
        self._engine = None
        self._close_readers({})

    # --------------------------------------------------------------------------------- stores

    def _stores(self) -> dict[str, StoreReader]:
        """Readers of the stores there are, by name; new ones are noticed."""
        if self._pid != os.getpid():
            # A thread of the parent may have been in the middle of something: start over.
            self._pid, self._lock, self._engine = os.getpid(), threading.RLock(), None
            self._close_readers({})
        with self._lock:
            if self._closed:
                raise StorageError(f"domain {self.name!r} is closed")
            if self._own:
                self.path, self.name = _own_place()
            try:
                status = os.stat(self.path)
            except OSError:
                return self._readers
            listed = (status.st_ino, status.st_mtime_ns)
            if listed != self._listed:
                self._list()
                fresh = time.time_ns() - status.st_mtime_ns < _CLOCK_STEP_NANO
                self._listed = (0, 0) if fresh else listed
            return self._readers

    def stores(self) -> list[Store]:
        """The stores there are, open to read until the domain is closed; new ones are noticed.

        Those that cannot be opened are left out: `problems` names them.
        """
        return [reader.store for reader in self._stores().values()]

    def refused(self) -> list[str]:
        """Stores that cannot be opened, a sentence each."""
        return [f"{name}: {problem}" for name, problem in list(self._refused.items())]

    def _list(self) -> None:
        from faultplane.store.reader import StoreReader

        try:
            paths = {os.path.basename(path): path for path in domains.store_paths(self.path)}
        except DomainNotFound:
            return
        self._refused = {}
        readers = {}
        for name, path in paths.items():
            reader = self._readers.get(name)
            if reader is None or not reader.store.in_place():
                try:
                    reader = StoreReader(domains.Store.open(path))
                except (FaultplaneError, OSError) as error:
                    self._refused[name] = str(error)
                    continue
            readers[name] = reader
        self._close_readers(readers)

    def _close_readers(self, kept: dict[str, StoreReader]) -> None:
        """Go on with ``kept`` and close the rest."""
        before, self._readers, self._listed = self._readers, kept, (0, 0)
        for name, reader in before.items():
            if kept.get(name) is not reader:
                reader.close()

    def problems(self) -> list[str]:
        """What could not be read, a sentence each; everything else is shown.

        Rows, and the names in them, are looked at by `records`; the rest is looked at here.
        """
        self._stack_files()
        found = self.refused() + self.dependency_problems()
        for name, reader in self._stores().items():
            found += [f"{name}: {problem}" for problem in list(reader.problems.values())]
            try:
                found += counts.snapshot(reader.store).problems
                found += deaths.problems(reader.store)
                found += unowned.problems(reader.store)
            except (FaultplaneError, OSError) as error:
                found.append(f"{name}: {error}")
        return found

    # -------------------------------------------------------------------------------- records

    def records(self, since: Cursor | str | None = None) -> Records:
        """Rows committed since a cursor, or every row there is.

        ``since`` is the ``cursor`` of other records, or its text. Raises InvalidSetting for a
        text that is not a cursor's.
        """
        from faultplane.store.cursor import Cursor
        from faultplane.store.records import Records

        cursor = Cursor.of(since) or Cursor()
        positions = dict(cursor.positions)
        runs, lost = [], 0
        for name, reader in self._stores().items():
            reading = reader.read(cursor.positions.get(name))
            positions[name] = reading.position
            runs += reading.runs
            lost += reading.lost
        return Records(runs, Cursor(positions), lost)

    def cursor(self) -> Cursor:
        """The cursor behind every row that is there now: for following what comes."""
        return self.records().cursor

    def follow(
        self,
        poll_seconds: float = 0.1,
        *,
        since: Cursor | str | None = None,
        timeout_seconds: float | None = None,
        maintain: bool | None = None,
    ) -> Follow:
        """New rows as they come, as an iterator of `Records` for ``for`` and ``async for``.

        Starts with every row there is, or behind ``since``; ``since=domain.cursor()`` leaves out
        what is there. See `Follow` for the rest.
        """
        from faultplane.store.follow import Follow

        return Follow(self, since, poll_seconds, timeout_seconds, maintain)

    def map_new(self, since: Cursor) -> dict[str, tuple[int, int]]:
        """Map segments that ``since`` has not finished, so that retirement cannot take them.

        Gives (number of the newest segment, segments kept) of each store.
        """
        return {
            name: (reader.map_new(since.positions.get(name)), reader.store.header.segments_max)
            for name, reader in self._stores().items()
        }

    # --------------------------------------------------------------------------------- counts

    def _tallies(self) -> aggregate.Tallies:
        tallies: aggregate.Tallies = {}
        for reader in self._stores().values():
            aggregate.add_all(tallies, counts.snapshot(reader.store).tallies)
        if self._own:
            # A process without storage has its counts in its own memory.
            aggregate.add_all(tallies, lifecycle.own_counts().tallies)
        return tallies

    def counts_rows(self) -> list[dict[str, Any]]:
        """Exact counts of errors, most frequent first, whether or not their rows are still there.

        Each has service, operation, kind, type, fingerprint, count, first_seen_unix_nano,
        last_seen_unix_nano and suppressed (how many of them were counted without a row).
        """
        return [row._asdict() for row in counts.count_rows(self._tallies())]

    def counters_rows(self) -> list[dict[str, Any]]:
        """Exact values of counters: service, name, value.

        first_seen_unix_nano and last_seen_unix_nano are 0: a counter reads no clock.
        """
        return [row._asdict() for row in counts.counter_rows(self._tallies())]

    def drops_rows(self) -> list[dict[str, Any]]:
        """What was not written, by reason: reason, count."""
        return [row._asdict() for row in counts.drop_rows(self._tallies())]

    def deaths_rows(self) -> list[dict[str, Any]]:
        """Death records, oldest first; their fields are `deaths.FIELDS`."""
        rows = [row for r in self._stores().values() for row in deaths.read_deaths(r.store)]
        return sorted(rows, key=lambda row: row["time_unix_nano"])

    def owners_rows(self) -> list[dict[str, Any]]:
        """Processes that have a slot: store, incarnation, state, life, service, pid and more.

        ``state`` is what was last written, ``life`` (alive, gone or silent) what is found now.
        """
        return [
            {
                "store": name,
                "incarnation": owner.incarnation,
                "slot": owner.slot,
                "state": owner.state,
                "life": owners.life(reader.store, owner).value,
                "service": owner.service,
                "pid": owner.pid,
                "start_unix_nano": owner.start_unix_nano,
                "end_unix_nano": owner.end_unix_nano,
                "exit_code": owner.exit_code,
                "mapped_segment_low": owner.mapped_segment_low,
                "resource": owner.attributes,
            }
            for name, reader in self._stores().items()
            for owner in owners.read_owners(reader.store)
        ]

    def counts(self) -> Any:
        """`counts_rows` as a ``pyarrow.Table``; the sum of ``count`` is exact."""
        return self._table("counts")

    def counters(self) -> Any:
        """`counters_rows` as a ``pyarrow.Table``."""
        return self._table("counters")

    def drops(self) -> Any:
        """`drops_rows` as a ``pyarrow.Table``."""
        return self._table("drops")

    def deaths(self) -> Any:
        """`deaths_rows` as a ``pyarrow.Table``; nested values are JSON."""
        return self._table("deaths")

    def owners(self) -> Any:
        """`owners_rows` as a ``pyarrow.Table``; the resource is JSON."""
        return self._table("owners")

    def _table(self, name: str) -> Any:
        from faultplane.store import tables

        return tables.to_pyarrow(name, self._rows_of(name))

    def _rows_of(self, name: str) -> Sequence[tables.Row]:
        rows: Sequence[tables.Row] = getattr(self, f"{name}_rows")()
        return rows

    # --------------------------------------------------------------------------- dependencies

    def dependencies_rows(self) -> list[dict[str, Any]]:
        """What the processes of the host share of what they call: breakers, budgets, limits.

        A row for each dependency and store, by name; fields are `dependencies.FIELDS`.
        """
        from faultplane.store import dependencies

        rows = [row for r in self._stores().values() for row in dependencies.rows(r.store)]
        return sorted(rows, key=lambda row: (row["name"], row["store"]))

    def transitions_rows(self) -> list[dict[str, Any]]:
        """The last 16 transitions of each breaker, oldest first; why each opened and closed.

        Fields are `dependencies.TRANSITION_FIELDS`.
        """
        from faultplane.store import dependencies

        stores = [reader.store for reader in self._stores().values()]
        rows = [row for store in stores for row in dependencies.transition_rows(store)]
        return sorted(rows, key=lambda row: row["time_unix_nano"])

    def dependencies(self) -> Any:
        """`dependencies_rows` as a ``pyarrow.Table``; nested values are JSON."""
        return self._table("dependencies")

    def transitions(self) -> Any:
        """`transitions_rows` as a ``pyarrow.Table``."""
        return self._table("transitions")

    def dependency_problems(self) -> list[str]:
        """Files of dependencies that cannot be read, a sentence each: their rows are missing."""
        from faultplane.store import dependencies

        return [
            f"{name}: {problem}"
            for name, reader in self._stores().items()
            for problem in dependencies.problems(reader.store)
        ]

    # --------------------------------------------------------------------------------- stacks

    def _stack_files(self) -> list[DictionaryFile]:
        """Stack dictionaries that can be read, newest generation of each store first."""
        from faultplane.store.dictionaries import DictionaryFile

        found = []
        for reader in self._stores().values():
            for generation in range(reader.store.load("dictionary_generation"), 0, -1):
                name = f"stacks-{generation}"
                try:
                    found.append(DictionaryFile(reader.store.directory_fd, name))
                    reader.problems.pop(name, None)
                except (FaultplaneError, OSError) as error:
                    reader.problems[name] = str(error)
                    if isinstance(error, DomainNotFound):
                        break  # a generation that is damaged would count for ever
        return found

    def stack_problems(self) -> list[str]:
        """Files of stacks that cannot be read, a sentence each: `stack` may miss what was there."""
        self._stack_files()
        return [
            f"{store}: {problem}"
            for store, reader in self._stores().items()
            for name, problem in list(reader.problems.items())
            if name.startswith("stacks-")
        ]

    def stack(self, fingerprint: int) -> stacks.Stack:
        """The stack of an error; StackNotFound when none is kept.

        With the source text of its lines if this user wrote it: a stack of somebody else's could
        name any file that this user may read. Raises TypeError for a fingerprint that is not a
        number, as its digits are not.
        """
        given: object = fingerprint  # whatever a caller without a type checker gave
        if not hasattr(given, "__index__"):
            raise TypeError(f"fingerprint must be a whole number, got {given!r}")
        from faultplane.store import stacks

        for file in self._stack_files():
            if (stack := stacks.find(file, fingerprint)) is not None:
                return stacks.with_source(stack) if file.user == os.geteuid() else stack
        raise StackNotFound(f"domain {self.name!r} keeps no stack of {fingerprint:016x}")

    def stacks_rows(self) -> list[dict[str, Any]]:
        """Every stack kept: fingerprint, type, site, template, message, stack (without source)."""
        from faultplane.store import stacks

        found: dict[int, dict[str, Any]] = {}
        for file in self._stack_files():
            for stack in stacks.read_all(file):
                row = {name: getattr(stack, name) for name in _STACK_FIELDS}
                found.setdefault(stack.fingerprint, {**row, "stack": str(stack)})
        return list(found.values())

    def stacks(self) -> Any:
        """`stacks_rows` as a ``pyarrow.Table``."""
        return self._table("stacks")

    # ---------------------------------------------------------------------------------- query

    def query(self, sql: str) -> Any:
        """The answer to a DuckDB query, as a relation: ``fetchall()``, ``arrow()``, ``pl()`` ….

        Tables are counts, counters, drops, deaths, owners, stacks, dependencies and transitions;
        the view ``records`` is scanned where it lies and has ``kind_name``, ``category_name`` and
        ``severity_name`` besides the record's columns. Times are UTC, without saying so. Gives None
        where DuckDB does, as some versions do for SET. Raises QueryError and MissingExtra.
        """
        from faultplane.store import query

        self._stores()
        if self._engine is None:
            self._engine = query.Engine()
        return self._engine.run(sql, self.records, self._rows_of)


def _own_place() -> tuple[str, str]:
    """(Directory, name) of the domain that this process records into; the first may be ""."""
    status = lifecycle.status()
    return status.domain_path, status.domain
