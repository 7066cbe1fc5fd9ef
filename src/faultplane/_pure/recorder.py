"""The state of this process's recorder: binding it to a domain, letting go, settings.

A record looks at two things to know that it may write: `Recorder.live`, which every fork clears,
and the owner's fence, which names another incarnation once this one was declared dead. A forked
child, an unbound process and one that was switched off all take the slow entry, `wake`. What tells
the first of them apart, bound or not, is `Recorder.image`: whoever is about to touch what may be
the parent's looks at it.
"""

from __future__ import annotations

import atexit
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from faultplane.errors import CorruptFile, StorageError
from faultplane.schema import (
    DROP_REASONS,
    KIND_INTERNAL,
    OVERFLOW_CELLS,
    OVERFLOW_CELLS_OFFSET,
    OWNER,
    UNKNOWN_CATEGORY,
)

from . import files, memory
from .aggregate import Aggregate
from .breath import Breath
from .intern import Dictionary
from .ring import Segments
from .writer import Writer

if TYPE_CHECKING:
    from .sighting import Site, TypeInfo

__all__ = [
    "bind",
    "bound",
    "configure",
    "flush_caches",
    "own_cells",
    "own_overflow",
    "unbind",
    "writer_state",
]

DROP: Final = {reason.name: reason.code for reason in DROP_REASONS}
MESSAGES: Final = ("redact", "template", "raw")
RETRY_NANO: Final = 1_000_000_000
LOOK_NANO: Final = 1_000_000_000
"""How often a process that records looks whether its store is where others look for it."""
UNFENCED: Final = (0,)


class Unclassified:
    """What an error is unless `configure` says otherwise."""

    kind_code = KIND_INTERNAL
    category_code = UNKNOWN_CATEGORY
    severity_number = 17
    flag_bits = 0


class Recorder:
    """Everything that the recorder of a process knows. Changed under `memory.process_lock`."""

    def __init__(self) -> None:
        # Settings.
        self.active = True
        self.messages = "redact"
        self.detail_per_second = 0
        self.ignored: tuple[type[BaseException], ...] = ()
        self.classify: Callable[[BaseException], tuple[Any, Any]] | None = None
        self.encode_attributes: Callable[[Mapping[str, Any]], bytes] | None = None
        self.redact_more: Callable[[str], str] | None = None
        self.rebind: Callable[[], None] | None = None
        self.unclassified: Any = Unclassified()
        # Where it writes. Both are one word that every fork clears.
        page = memory.page_wiped_on_fork()
        self.live = page[:1]
        self.image = page[1:2]
        self.image[0] = 1
        self.fence: Sequence[int] | memoryview = UNFENCED
        self.incarnation = 0
        self.was_bound = False
        self.binding: Any = None
        self.writer: Writer | None = None
        self.names: Dictionary | None = None
        self.stacks: Dictionary | None = None
        self.breath: Breath | None = None
        self.aggregate = Aggregate()
        self.overflow = [0] * OVERFLOW_CELLS
        self.handed = [0] * OVERFLOW_CELLS
        self.root = (0, 0)
        self.look_mono_nano = 0
        # Errors by kind, and rows of errors that are counted, for which stack or memory was short:
        # `settle` counts them.
        self.lost = [0] * OVERFLOW_CELLS
        self.lost_rows = 0
        self.has_lost = False
        # What it has seen. ``epoch`` changes with every flush.
        self.types: dict[object, TypeInfo] = {}
        self.sites: dict[tuple[object, ...], Site] = {}
        self.epoch = 0
        self.place_epoch = 0  # changes with each domain bound or let go, and each fork
        # Rows that each fingerprint had in this second, where these are bounded.
        self.spent_second = 0
        self.spent: dict[int, int] = {}
        # What came while this thread was inside.
        self.inside = False
        self.deferred: deque[Callable[[], object]] = deque()
        self._rebinding = False
        self._rebind_mono_nano = 0
        self._handing = False
        # Who it is the state of; another in a forked child.
        self.mark = int.from_bytes(os.urandom(8), "little")

    # ------------------------------------------------------------------------ waking, leaving

    def wake(self) -> bool:
        """The slow entry: before init(), switched off, forked, or declared dead.

        Whether the process may write after all. If not, errors are counted in the process, unless
        the recorder is switched off.
        """
        self.notice_fork()
        with memory.process_lock, self.busy() as alone:
            if not self.active:
                return False  # asked under the lock: another thread may switch it off meanwhile
            if not alone:
                return False  # from inside bind() or the like: what is half done stays as it is
            if self.may_write():
                return True
            if self.binding is not None:
                with suppress(OSError):  # forked in the middle: what it has now is its own
                    self.detach()
                self._rebind_mono_nano = 0
        self.try_storage()
        return self.may_write()

    def may_write(self) -> bool:
        """Whether this process is bound and has not been declared dead."""
        return bool(self.live[0]) and self.fence[0] == self.incarnation

    def why_unbound(self) -> int:
        """Drop reason of a record that found no domain: init() is who says how to bind again."""
        initialised = self.was_bound or self.rebind is not None
        return DROP["no_storage" if initialised else "not_initialised"]

    def try_storage(self) -> None:
        """Ask the store to bind this process again, at most once a second."""
        with memory.process_lock, self.busy():
            now = time.monotonic_ns()
            if self.rebind is None or self._rebinding or now < self._rebind_mono_nano:
                return
            self._rebinding = True
            self._rebind_mono_nano = now + RETRY_NANO
        try:
            self.rebind()
        except Exception:  # noqa: BLE001 - what rebinds is the store's
            return
        finally:
            self._rebinding = False

    def look(self, mono_nano: int) -> None:
        """Is the store where others look for it? If not, the next call lets go of it."""
        self.look_mono_nano = mono_nano + LOOK_NANO
        if self.live[0] and not self._is_in_place():
            self.live[0] = 0

    def _is_in_place(self) -> bool:
        return self.aggregate.is_in_place(self.binding.aggregate_path, self.root)

    def detach(self, *, forked: bool = False, begun: int | None = None) -> None:
        """Let go of the domain and go on counting in private memory.

        From zero: what was counted so far stays in the owner's file, where others fold it. But if
        the file was removed, or moved away, nobody will: then its counts come along. Of one who
        was declared dead they have been folded, or will be; a forked child never wrote to it.

        Raises OSError in a child forked since `memory.forks` was ``begun``: what it has stays.
        """
        begun = memory.forks if begun is None else begun
        if self.has_lost and not forked:
            self.settle()
        memory.refuse_forked(begun)
        self.live[0] = 0
        self.place_epoch += 1
        # In this order: whoever folds removes the file after it has raised the fence.
        gone = not forked and not self._is_in_place()
        memory.refuse_forked(begun)
        fenced = self.fence[0] != self.incarnation
        writer, self.writer = self.writer, None
        if writer is not None:
            if forked:
                writer.forget()
            else:
                writer.stop()
                if not fenced:
                    writer.say_mapped(0)
        self.aggregate.detach(keep=gone and not fenced, begun=begun)
        if gone and not fenced:
            self._take_back(begun)
        memory.refuse_forked(begun)
        self.handed = [0] * OVERFLOW_CELLS
        breath, self.breath = self.breath, None
        if breath is not None:
            breath.close(None if forked or fenced else begun)
        memory.refuse_forked(begun)
        self._close_dictionaries()
        memory.refuse_forked(begun)
        self.fence = UNFENCED  # not released: another thread may be about to look at it
        self.incarnation = 0
        self.binding = None

    # --------------------------------------------------------------------------- dictionaries

    def _close_dictionaries(self) -> None:
        for dictionary in (self.names, self.stacks):
            if dictionary is not None:
                dictionary.close()
        self.names = self.stacks = None

    def open_dictionaries(self, writer: Writer) -> None:
        self.names, self.stacks = _dictionaries(writer)
        writer.resource = self.intern_name(self.binding.resource.encode())

    def renew_dictionaries(self, writer: Writer) -> None:
        """After a claim in a segment of another dictionary generation: codes start anew."""
        self._close_dictionaries()
        self.flush()
        self.open_dictionaries(writer)

    def intern_name(self, name: bytes) -> int:
        """Code of a name in the dictionary of the current segment; 0 when it has no room."""
        if self.names is None:
            return 0
        code = self.names.intern(name)
        if code < 0:
            self.aggregate.drop(DROP["dictionary_full"])
            return 0
        return code

    def flush(self) -> None:
        """Forget every cached type, classification and site.

        The tables are replaced before what they hold is dropped: that may run Python, which
        records an error and finds them empty.
        """
        with memory.process_lock:
            self.epoch += 1
            old = self.types, self.sites
            self.types, self.sites = {}, {}
            del old

    # ------------------------------------------------------------------------------- counting

    def count_overflow(self, cell: int, n: int, reason: int = 0) -> None:
        """Count where no series has room: by kind, exact, shared by all processes.

        With the code of a reason, it has no row either. What raises has not counted.
        """
        self.aggregate.drop(DROP["series_overflow"])
        if reason:
            self.aggregate.drop(reason)
        self.overflow[cell] += n
        if self.binding is not None:
            try:
                self.hand_over()
            except (RecursionError, MemoryError):
                pass  # with the next one

    def settle(self) -> None:
        """Count what stack or memory was too short for; what is left over, the next time."""
        begun = memory.forks
        with memory.process_lock:
            self.has_lost = False
            try:
                for kind, n in enumerate(self.lost):
                    if n:
                        self.aggregate.drop(DROP["series_overflow"], n)
                        if begun != memory.forks:
                            return  # they are the parent's
                        self.lost_rows += n
                        self.overflow[kind] += n
                        self.lost[kind] -= n
                self.aggregate.drop(DROP["row_lost"], self.lost_rows)
                if begun != memory.forks:
                    return
                self.lost_rows = 0
                if self.binding is not None:
                    self.hand_over()
            except (RecursionError, MemoryError):
                self.has_lost = True

    def _take_back(self, begun: int) -> None:
        """What the cells of a domain were given comes along too."""
        for cell, n in enumerate(self.handed):
            memory.refuse_forked(begun)
            if n:
                self.overflow[cell] += n
                try:
                    self.binding.registry.add(OVERFLOW_CELLS_OFFSET + 8 * cell, -n)
                except (OSError, StorageError):
                    continue  # the lock file is gone with the rest: nobody will read the cell

    def hand_over(self) -> None:
        """Add what has overflowed to the cells of the domain; later, where that is not possible.

        What a signal handler counts meanwhile is handed over by the call that it came into: to
        hand over from inside would add what is under way a second time.
        """
        if self._handing:
            return
        begun = memory.forks
        self._handing = True
        try:
            while any(self.overflow):
                for cell, n in enumerate(self.overflow):
                    if n:
                        self.binding.registry.add(OVERFLOW_CELLS_OFFSET + 8 * cell, n)
                        if begun != memory.forks:
                            return  # the parent has handed it over
                        self.overflow[cell] -= n
                        self.handed[cell] += n
        except (OSError, StorageError):
            return
        finally:
            if begun == memory.forks:
                self._handing = False

    @contextmanager
    def busy(self) -> Iterator[bool]:
        """What signal handlers and finalizers record meanwhile waits until the end.

        Gives False to one of those, and to whatever else is called from inside.
        """
        outer, self.inside = self.inside, True
        try:
            yield not outer
        finally:
            self.inside = outer
        if not outer:
            self.run_deferred()

    def run_deferred(self) -> None:
        """Do what came while this thread was inside."""
        while self.deferred:
            self.inside = True
            waiting = self.deferred
            try:
                # Looked at again: a signal handler that came in just before has done it all. What
                # is done goes, with no call in between that another could come into.
                if waiting:
                    waiting[0]()
                    del waiting[0]
            except (RecursionError, MemoryError):
                return  # it has counted nothing: the next time
            except Exception:  # noqa: BLE001 - what was counted twice or not cannot be told
                del waiting[0]
                self.aggregate.drop(DROP["row_lost"])
            finally:
                self.inside = False

    def after_fork_in_child(self) -> None:
        """At once, also where the kernel wipes no page."""
        self.live[0] = self.image[0] = 0
        self.notice_fork()

    def notice_fork(self) -> None:
        """In a forked child that has not noticed yet: lane, counts and all under way are not its.

        Counts start from zero, also when the parent had no domain.
        """
        if self.image[0]:
            return
        self.image[0] = 1
        self.place_epoch += 1
        memory.forget_parent()
        self.mark = int.from_bytes(os.urandom(8), "little")
        self.inside = False
        self.deferred = deque()
        self._rebinding = False
        self._rebind_mono_nano = 0
        self._handing = False
        self.overflow = [0] * OVERFLOW_CELLS
        self.lost = [0] * OVERFLOW_CELLS
        self.lost_rows = 0
        self.has_lost = False
        if self.binding is not None:
            self.detach(forked=True)
        else:
            self.aggregate.detach()


def _dictionaries(writer: Writer) -> tuple[Dictionary | None, Dictionary | None]:
    """Those of names and of stacks for the segment of ``writer``; none before the first one."""
    segments, generation = writer.segments, writer.dictionary_generation
    where = segments.directory_fd, segments.locks_fd
    names = stacks = None
    try:
        names = Dictionary(*where, "dict", generation)
        stacks = Dictionary(*where, "stacks", generation)
    except (OSError, CorruptFile):
        pass  # the first segment of a domain makes them
    return names, stacks


state: Final = Recorder()


def bounded(value: object, name: str, high: int) -> int:
    """``value`` as an int from 0 to ``high``, or an error that names both."""
    if not isinstance(value, int):
        raise TypeError(f"{name} must be an int, got {type(value).__name__}")
    if not 0 <= value <= high:
        raise ValueError(f"{name} must be 0 to {high}, got {value}")
    return value


# ------------------------------------------------------------------------- binding, configuring


def bind(binding: Any) -> None:
    """Start writing into a domain: rows, counts and in-flight slots of this process.

    What was counted before is carried over. Raises OSError when the counts do not fit the file;
    the process goes on counting in its own memory then. So it does in a child that was forked
    since the binding was made: that is its parent's.
    """
    state.notice_fork()
    begun = memory.forks
    if binding.pid != os.getpid():
        begun = -1
    with memory.process_lock, state.busy():
        memory.refuse_forked(begun)
        if state.binding is not None:
            state.detach(begun=begun)
        segments = Segments(
            binding.directory_fd,
            binding.locks_fd,
            binding.registry,
            binding.lanes_per_segment,
            binding.segments_max,
            binding.dictionary_bytes,
            str(binding.owner_slot),
        )
        slot = binding.owner_slot
        writer = Writer(segments, slot, binding.generation, binding.incarnation)
        low = slot * OWNER.size + OWNER.offset["mapped_segment_low"]
        writer.say_mapped = partial(binding.owners.store, low)
        breath = Breath(binding.breath)
        names, stacks = _dictionaries(writer)
        fence_at = slot * OWNER.size + OWNER.offset["fence"]
        fence = memoryview(binding.owners)[fence_at : fence_at + 4].cast("I")
        root, look_mono_nano = files.identity_of_root(), time.monotonic_ns() + LOOK_NANO
        try:
            state.aggregate.move(binding.aggregate, binding.aggregate_fd, keep=True, begun=begun)
        except OSError as error:
            memory.refuse_forked(begun)
            raise OSError("the counts of this process do not fit on storage") from error
        # From here to the flush nothing is called, so no signal handler comes in: one that forks
        # has made the child an owner already, of which nothing may be replaced.
        memory.refuse_forked(begun)
        state.binding, state.writer, state.breath = binding, writer, breath
        state.names, state.stacks, state.fence = names, stacks, fence
        state.incarnation, state.was_bound = binding.incarnation, True
        state.place_epoch += 1
        state.root, state.look_mono_nano = root, look_mono_nano
        state.flush()
        state.hand_over()
        if begun == memory.forks:
            breath.keep_frames(binding.directory_fd, f"breath-{slot}")
        writer.resource = state.intern_name(binding.resource.encode())
        if begun == memory.forks:
            state.live[0] = state.active


def unbind(exiting: bool = False) -> None:
    """Stop writing: close the lane, and count in the process from here on.

    ``exiting`` says that the process ends; nothing differs yet, since an orderly end and a
    change of domain leave the same way.
    """
    state.notice_fork()
    begun = memory.forks
    with memory.process_lock, state.busy():
        if state.binding is not None and begun == memory.forks:
            state.detach(begun=begun)


def bound() -> bool:
    """Whether this process writes into a domain."""
    return state.binding is not None and bool(state.image[0])


def configure(
    *,
    active: bool | None = None,
    messages: str | None = None,
    detail_per_second: int | None = None,
    ignore: tuple[type[BaseException], ...] | None = None,
    classify: Callable[[BaseException], tuple[Any, Any]] | None = None,
    encode_attributes: Callable[[Mapping[str, Any]], bytes] | None = None,
    redact_more: Callable[[str], str] | None = None,
    rebind: Callable[[], None] | None = None,
    unclassified: Any = None,
) -> None:
    """Change settings; what is not given stays as it is.

    ``active`` bool; ``messages`` "redact", "template" or "raw"; ``detail_per_second`` rows per
    fingerprint and second in this process, 0 to 2**32 - 1, 0 = no bound; ``ignore`` a tuple of
    exception types; ``classify`` a callable that takes an exception and gives (classification,
    what it may be remembered by: 0 nothing, 1 the type and errno, 2 those and the causes', or a
    callable that reads a key from an exception, with the key); ``encode_attributes`` one that takes
    a mapping and gives bytes; ``redact_more`` one from str to str; ``rebind`` one without arguments
    that binds again; ``unclassified`` the classification of what the classifier gave no answer to,
    because the stack or memory was too short for it. Raises ValueError naming value and bound.
    """
    if messages is not None and messages not in MESSAGES:
        raise ValueError(f"messages must be redact, template or raw, got {messages!r}")
    if detail_per_second is not None:
        bounded(detail_per_second, "detail_per_second", 2**32 - 1)
    kinds: tuple[object, ...] = ignore or ()
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise ValueError(f"ignore must hold exception types, got {kind!r}")  # noqa: TRY004
    state.notice_fork()
    with memory.process_lock:
        state.messages = state.messages if messages is None else messages
        if detail_per_second is not None:
            state.detail_per_second = detail_per_second
        state.ignored = state.ignored if ignore is None else tuple(ignore)
        if classify is not None:
            state.classify = classify
        if encode_attributes is not None:
            state.encode_attributes = encode_attributes
        if redact_more is not None:
            state.redact_more = redact_more
        if rebind is not None:
            state.rebind = rebind
        if unclassified is not None:
            state.unclassified = unclassified
        if ignore is not None or classify is not None:
            state.flush()
        if active is not None:
            state.active = bool(active)
            state.live[0] = state.active and state.binding is not None


def flush_caches() -> None:
    """Forget every cached type, classification and site; the next sighting finds out anew."""
    state.flush()


def own_overflow() -> list[int]:
    """What has overflowed here and was handed to no domain, by cell of its registry."""
    state.notice_fork()
    with memory.process_lock:
        if state.has_lost:
            state.settle()
        return list(state.overflow)


def own_cells() -> bytes:
    """The counts of this process as bytes of an aggregate file."""
    state.notice_fork()
    with memory.process_lock:
        if state.has_lost:
            state.settle()
        return state.aggregate.cells()


def writer_state() -> dict[str, Any]:
    """Numbers about the writer of this process, for diagnosis."""
    writer = state.writer
    names = (
        "seq", "incarnation", "segment_number", "dictionary_generation", "lanes_claimed",
        "segments_mapped", "rehomed",
    )  # fmt: skip
    return {
        "bound": bound(),
        "active": state.active,
        **{name: 0 if writer is None else getattr(writer, name) for name in names},
        "types_cached": len(state.types),
        "sites_cached": len(state.sites),
        "cache_flushes": state.epoch,
        "series": state.aggregate.series_count,
        "refusal": 0 if writer is None else writer.refusal,
    }


os.register_at_fork(after_in_child=state.after_fork_in_child)
atexit.register(state.settle)
