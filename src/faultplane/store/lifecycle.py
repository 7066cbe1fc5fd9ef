"""This process as an owner: `init`, fork, fence, storage that comes and goes, exit.

A process writes to one domain at most. Where storage fails, it counts in its own memory, exactly,
remembers why, and tries again later; nothing here raises into the application because of it.
"""

import atexit
import os
import sys
import threading
import time
from contextlib import suppress
from typing import Final, NamedTuple

from faultplane import settings
from faultplane._backend import CORE_NAME, core
from faultplane.errors import DomainNotFound, FaultplaneError, InvalidSetting, StorageError
from faultplane.store import (
    aggregate,
    counts,
    domain,
    files,
    host,
    location,
    locks,
    maintain,
    owners,
    resource,
)
from faultplane.store.binding import Binding
from faultplane.store.domain import Store
from faultplane.store.owners import Registration

RETRY_SECONDS_MIN: Final = 1.0
RETRY_SECONDS_MAX: Final = 60.0
"""A process without storage tries again after one second, then after twice as long each time."""
JOIN_ATTEMPTS_MAX: Final = 3


class Wanted(NamedTuple):
    """What `init` was asked for. ``given``: the fields that its caller named."""

    service: str
    domain: str
    directory: str | None
    given: frozenset[str]


class Status(NamedTuple):
    """Where this process stands. ``reason`` says why it has no storage, "" when it has."""

    initialised: bool = False
    bound: bool = False
    reason: str = "init() was not called"
    service: str = ""
    domain: str = ""
    base_path: str = ""
    base_origin: str = ""
    domain_path: str = ""
    store_path: str = ""
    owner_slot: int = -1
    incarnation: int = 0
    problems: tuple[str, ...] = ()


class _Process:
    """The state of this process; a forked child starts from its parent's wishes alone."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.pid = os.getpid()
        self.settings: settings.Settings | None = None
        self.wanted: Wanted | None = None
        self.base: location.Base | None = None
        self.base_of: str | None = None  # the directory that was wanted when it was chosen
        self.store: Store | None = None
        self.registration: Registration | None = None
        self.reason = ""
        self.retry_at = 0.0
        self.retry_seconds = RETRY_SECONDS_MIN
        self.exiting = False
        self.joining = False


_process = _Process()
_hooked = False
_finalizing = False


# --------------------------------------------------------------------------------------- init


def init(
    service: str | None = None,
    domain: str | None = None,
    directory: str | None = None,
    *,
    loaded: settings.Settings | None = None,
) -> Status:
    """Make this process an owner of ``domain`` and bind the core to it; idempotent.

    What is not given comes from the environment (``loaded``, default: `settings.load`). What a
    caller names may replace what came from the environment before, or was the default: the
    process then registers anew, at once. Raises InvalidName for a bad name, and InvalidSetting
    when two callers name different domains, directories or services: a process writes to one
    domain. Never raises for storage: the status says why there is none.
    """
    asked = {"service": service, "domain": domain, "directory": directory}
    _check_names(service, domain, directory)
    _notice_fork()
    with _process.lock:
        first = _process.settings is None
        found = loaded or _process.settings or settings.load()
        wanted = _merge(found, {name: value for name, value in asked.items() if value is not None})
        changed = wanted != _process.wanted
        _process.settings, _process.wanted = found, wanted
        if first or loaded is not None:
            # Once: what the program has changed since stays as it is.
            core.configure(
                active=False if found.disabled else None,
                messages=found.messages,
                detail_per_second=found.detail_per_second,
                rebind=_rebind,
            )
        if found.disabled:
            _process.reason = "FAULTPLANE_DISABLED is set"
            return status()
        _install_exit()
        if not _process.joining and (changed or not _is_bound()):
            _renew()
        return status()


def _check_names(service: str | None, domain_name: str | None, directory: str | None) -> None:
    """Refuse bad arguments before anything has changed."""
    if service is not None:
        location.check_service_name(service)
    if domain_name is not None:
        location.check_domain_name(domain_name)
    path: object = directory
    if path is not None and (not isinstance(path, str | os.PathLike) or not path):
        raise InvalidSetting(f"directory must be a path, got {directory!r}")


def _merge(found: settings.Settings, asked: dict[str, str]) -> Wanted:
    """What to do now, from the environment, earlier calls and this one."""
    if "directory" in asked:
        asked["directory"] = os.path.abspath(os.fspath(asked["directory"]))
    before = _process.wanted
    if before is None:
        before = Wanted(found.service, found.domain, found.directory, frozenset())
    for name, value in asked.items():
        known = getattr(before, name)
        if name in before.given and known != value:
            raise InvalidSetting(
                f"{name} must be {known!r}, with which this process was initialised, got {value!r}"
            )
    return before._replace(**asked, given=before.given | set(asked))


def status() -> Status:
    """Where this process stands; works at any time and changes nothing."""
    wanted, store, registration = _process.wanted, _process.store, _process.registration
    if wanted is None:
        return Status()
    base = _process.base
    problems = _process.settings.problems if _process.settings else ()
    bound = bool(core.bound()) and registration is not None
    return Status(
        initialised=True,
        bound=bound,
        reason="" if bound else _process.reason or "the process has not registered",
        service=wanted.service,
        domain=wanted.domain,
        base_path=base.path if base else "",
        base_origin=base.origin if base else "",
        domain_path=os.path.join(base.path, wanted.domain) if base else "",
        store_path=store.path if store else "",
        owner_slot=registration.slot if bound and registration else -1,
        incarnation=registration.incarnation if bound and registration else 0,
        problems=problems,
    )


def owned() -> tuple[Store, Registration] | None:
    """The store that this process writes to and its place there; None where it has none."""
    store, registration = _process.store, _process.registration
    if store is None or registration is None or not core.bound():
        return None
    return store, registration


def _is_bound() -> bool:
    """Whether the core writes to a store that is still where others look for it."""
    store, registration = _process.store, _process.registration
    if not core.bound() or store is None or registration is None or not store.in_place():
        return False
    path = owners.aggregate_path(store, registration.slot)
    return owners.is_fenced(store, registration) or location.names_file(path, registration.identity)


# -------------------------------------------------------------------------- joining and leaving


def _renew() -> None:
    """Leave the slot and the store that this process has, if any, and take others.

    Never from inside itself: what a signal handler or a finalizer records meanwhile is counted in
    the process. It would take a slot of its own, which whoever it came into would never give back.
    """
    forks = files.forks
    _process.joining = True
    try:
        try:
            _leave(forks)
        except (FaultplaneError, OSError):
            if forks == files.forks:
                raise
        _join(forks)
    finally:
        if forks == files.forks:
            _process.joining = False
        # Else a signal handler forked, and this is the child, an owner of its own.


def _join(forks: int) -> None:
    """Open or make the store, take a slot, bind the core; remember why where that fails.

    ``forks`` says whose call this is: in a child that a signal handler has forked since, it fails.
    """
    try:
        for attempt in range(JOIN_ATTEMPTS_MAX):
            try:
                _open_store(forks)
                _register(forks)
                break
            except DomainNotFound:
                # A gc came between opening and registering: the next store is made anew.
                if attempt == JOIN_ATTEMPTS_MAX - 1:
                    raise
        _process.reason = ""
        _process.retry_seconds = RETRY_SECONDS_MIN
    except (FaultplaneError, OSError, ValueError, MemoryError) as error:
        if forks != files.forks:
            return  # a signal handler forked: the child has joined, or remembers why not
        _process.reason = str(error)
        _process.retry_at = time.monotonic() + _process.retry_seconds
        _process.retry_seconds = min(2 * _process.retry_seconds, RETRY_SECONDS_MAX)


def _open_store(forks: int) -> None:
    found, wanted = _process.settings, _process.wanted
    assert found is not None
    assert wanted is not None
    store = _process.store
    in_place = store is not None and _is_wanted(store) and store.in_place()
    files.refuse_forked(forks)
    if in_place:
        return
    if store is not None:
        # Before another is opened: its descriptors may get the same numbers.
        _process.store = None
        store.close()
    base = _process.base
    stays = base is not None and base.private and _process.base_of == wanted.directory
    if base is None or not stays or not os.path.isdir(base.path):
        base = location.writable_base(
            wanted.directory,
            found.runtime_directory,
            found.group_readable,
            found.temporary_directory,
        )
        files.refuse_forked(forks)
        _process.base, _process.base_of = base, wanted.directory
    opened = domain.open_or_create(
        base, wanted.domain, CORE_NAME, found.budget_bytes, found.group_readable
    )
    if forks != files.forks:
        opened.close()
        raise StorageError("forked while it opened the store")
    _process.store = opened


def _register(forks: int) -> None:
    """Take a slot and hand it to the core; FaultplaneError or OSError when that fails."""
    files.refuse_forked(forks)
    store, found, wanted = _process.store, _process.settings, _process.wanted
    assert store is not None
    assert found is not None
    assert wanted is not None
    text = resource.render(resource.describe(wanted.service, found))
    registration = owners.register(store, text)
    if registration is None:
        # Slots of the dead are given back here, if nobody has been there to do it.
        maintain.maintain_store(store)
        registration = owners.register(store, text)
    if registration is None:
        raise FaultplaneError(
            f"all {store.header.owner_slots} owner slots of {store.path} are taken; this process "
            "counts in its own memory and writes no rows"
        )
    try:
        _bind(store, registration, wanted.service, text, forks)
    except BaseException:
        if forks != files.forks:
            raise  # it is the parent's
        owners.say_exited(store, registration, 0)
        owners.disown(store, registration)
        registration.close()
        raise
    files.refuse_forked(forks)
    _process.registration = registration
    _finalize_with_multiprocessing()
    maintain.maintain_store(store)


def _bind(store: Store, registration: Registration, service: str, text: str, forks: int) -> None:
    binding = Binding(
        directory_fd=store.directory_fd,
        locks_fd=store.locks.descriptor,
        registry=store.registry,
        owners=store.owners,
        owner_slot=registration.slot,
        incarnation=registration.incarnation,
        generation=registration.generation,
        aggregate=registration.aggregate,
        aggregate_fd=registration.aggregate_fd,
        breath=registration.breath,
        service=service,
        resource=text,
        lanes_per_segment=store.header.lanes_per_segment,
        segments_max=store.header.segments_max,
        dictionary_bytes=store.header.dictionary_bytes,
        aggregate_path=owners.aggregate_path(store, registration.slot),
        pid=_process.pid,
    )
    files.refuse_forked(forks)
    core.bind(binding)


def _leave(forks: int) -> None:
    """Stop writing to the slot and the store that this process has, if any.

    What was counted stays in the slot's file, which others fold when the process is gone, and
    this process at its next maintenance. ``forks``: as in `_join`.
    """
    store, registration, bound = _process.store, _process.registration, core.bound()
    if forks != files.forks:
        return
    _process.registration = None
    if bound:
        core.unbind(False)
    if store is None or forks != files.forks:
        return
    if registration is not None:
        _drop_slot(store, registration, forks)
    wanted, base = _process.wanted, _process.base
    if wanted is None or base is None:
        return
    stays, moves = _is_wanted(store), _process.base_of != wanted.directory
    if stays or forks != files.forks:
        return
    _process.store = None
    if moves and base.private:
        with suppress(FaultplaneError, OSError):
            _remove_private(store, base)
    if moves or not base.private:
        _process.base = None
    store.close()


def _is_wanted(store: Store) -> bool:
    """Whether this process is to write to that store, and not in another domain or directory."""
    wanted, base = _process.wanted, _process.base
    if wanted is None or base is None or _process.base_of != wanted.directory:
        return False
    return store.domain_path == os.path.join(base.path, wanted.domain)


def _drop_slot(store: Store, registration: Registration, forks: int) -> None:
    try:
        if store.locks.is_open():
            _give_up(store, registration, forks)
        else:
            _give_up_anew(store, registration, forks)
    except (FaultplaneError, OSError):
        pass  # it cannot be reached: the slot goes when the process does
    registration.close()


def _give_up(store: Store, registration: Registration, forks: int) -> None:
    owners.say_exited(store, registration, 0, forks)
    files.refuse_forked(forks)
    owners.disown(store, registration)


def _give_up_anew(store: Store, registration: Registration, forks: int) -> None:
    """The same where the application closed the descriptors of the store, as a daemon does.

    Their numbers may be those of its own files by now, so the store is opened once more. Else
    the slot would be that of a process which runs, and then of one that left without a word.
    """
    files.refuse_forked(forks)
    with Store.open(store.path, writable=True) as again:
        if again.locks.identity == store.locks.identity:
            _give_up(again, registration, forks)


def _rebind() -> None:
    """Called by the core: forked past all handlers, fenced, or without storage for a while.

    Never raises and never waits for another thread.
    """
    if _notice_fork():
        return
    lock = _process.lock
    if _process.wanted is None or _process.exiting or not lock.acquire(blocking=False):
        return
    try:
        if _process.joining or _is_bound():
            return
        if _process.registration is None and time.monotonic() < _process.retry_at:
            return
        _renew()
    except Exception as error:  # noqa: BLE001  # the recorder calls this in the middle of a record
        _process.reason = f"storage could not be tried again: {error!r}"
    finally:
        lock.release()


# --------------------------------------------------------------------------------------- fork


def _notice_fork() -> bool:
    """Whether this is a child that was forked past all handlers, those of other modules too."""
    if _process.pid == os.getpid():
        return False
    files.forget_parent()
    locks.forget_parent()
    owners.forget_parent()
    _after_fork_in_child()
    return True


def _after_fork_in_child() -> None:
    """A forked child is an owner of its own from its first moment, if its parent was one."""
    parent = _process.registration
    interrupted = domain.held_at_fork()
    if _process.store is not None and (_process.joining or _process.store in interrupted):
        interrupted.add(_process.store)
        _process.store = None
    _process.joining = True
    _process.lock = threading.RLock()
    _process.pid = os.getpid()
    _process.registration = None
    _process.retry_at = 0.0
    _process.retry_seconds = RETRY_SECONDS_MIN
    try:
        _join_as_child(parent)
        # Last, so that what was opened meanwhile has other numbers than what is closed here.
        for store in interrupted:
            store.abandon()
    except Exception as error:  # noqa: BLE001  # fork() must go on
        _process.reason = f"the forked child could not register: {error!r}"
    finally:
        _process.joining = False


def _join_as_child(parent: Registration | None) -> None:
    found = _process.settings
    if _process.wanted is None or found is None or found.disabled or _process.exiting:
        return
    # Counts start from zero: the parent's are the parent's.
    core.unbind(False)
    _join(files.forks)
    if parent is not None:
        parent.close()


os.register_at_fork(after_in_child=_after_fork_in_child)


# --------------------------------------------------------------------------------------- exit


def _install_exit() -> None:
    global _hooked
    if not _hooked:
        _hooked = True
        atexit.register(shutdown)


def _finalize_with_multiprocessing() -> None:
    """Children of multiprocessing end in os._exit; what they run before that is its finalizers.

    They are cleared when such a child starts, so a forked one registers behind that.
    """
    global _finalizing
    util = sys.modules.get("multiprocessing.util")
    process = sys.modules.get("multiprocessing.process")
    if _finalizing or util is None or process is None:
        return
    _finalizing = True  # forked children inherit both, this and what is registered
    util.register_after_fork(_process, _finalize)
    if process.parent_process() is not None:
        _finalize(_process)


def _finalize(process: _Process) -> None:
    util = sys.modules["multiprocessing.util"]
    util.Finalize(None, shutdown, exitpriority=-1000)
    del process


def shutdown(exit_code: int | None = None) -> None:
    """Say EXITED, once. The core stays bound: what happens after is still recorded and counted.

    A process without storage looks for it once more; what it cannot place anywhere, it tells.
    Without ``exit_code`` it is 1 after an exception that nobody caught, else 0.
    """
    if _process.wanted is None or _process.pid != os.getpid() or _process.exiting:
        return  # a spawned child of multiprocessing comes here twice
    if not _is_bound():
        _process.retry_at = 0.0
        _rebind()
    _process.exiting = True
    store, registration = _process.store, _process.registration
    try:
        if store is not None and registration is not None:
            if exit_code is None:
                failed = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
                exit_code = 1 if failed is not None else 0
            owners.say_exited(store, registration, exit_code)
        else:
            _place_or_tell(store)
        if _process.base is not None and _process.base.private and store is not None:
            _remove_private(store, _process.base)
    except (FaultplaneError, OSError, ValueError, ImportError):
        return


def _place_or_tell(store: Store | None) -> None:
    """Counts of a process without a slot: into the cells that all share, else onto stderr."""
    own = counts.own_snapshot().tallies
    if store is not None and store.in_place() and not core.bound():
        counts.add_to_overflow(store, own)
    else:
        _tell(own, _process.reason)


def _tell(tallies: aggregate.Tallies, reason: str) -> None:
    from faultplane.store import unplaced  # most processes end without

    unplaced.tell(tallies, reason)


def _remove_private(store: Store, base: location.Base) -> None:
    """A private directory goes with its last process: nobody else knows where it is."""
    me = host.this_process()
    for row in owners.read_owners(store):
        if row.pid != me.pid and owners.life(store, row, me) is owners.Life.ALIVE:
            return
    _tell(counts.snapshot(store).tallies, "there was no directory to share")
    domain_path = store.domain_path
    descriptor = location.open_directory(domain_path)
    try:
        domain.remove_tree(descriptor, store.name)
    finally:
        os.close(descriptor)
    os.rmdir(domain_path)
    os.rmdir(base.path)


def own_counts() -> counts.Snapshot:
    """What only this process knows, because it has no storage; empty when it has.

    That is also what it counted in a store that was removed since, or moved away.
    """
    return counts.Snapshot({}, []) if _is_bound() else counts.own_snapshot()
