"""``init`` and ``attach``: where a process begins to record, and where one begins to read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from faultplane import settings
from faultplane.capture import recorder
from faultplane.capture.filters import Ignored, ignored_types
from faultplane.classify import load, load_entry_points
from faultplane.errors import InvalidSetting
from faultplane.store import lifecycle

if TYPE_CHECKING:
    from faultplane.store import Domain

__all__ = ["attach", "begin", "init", "shutdown"]


def init(
    service: str | None = None,
    domain: str | None = None,
    directory: str | None = None,
    *,
    ignore: Ignored = (),
    redact: Callable[[str], str] | None = None,
) -> Domain:
    """Begin recording in this process and return its domain; idempotent, and patches nothing.

    What is not given comes from the environment (FAULTPLANE_SERVICE, FAULTPLANE_DOMAIN,
    FAULTPLANE_DIR, …). ``ignore`` gives exception types, or their names, that are not recorded,
    beside those of FAULTPLANE_IGNORE. ``redact`` is applied to each message and attribute text
    after the built-in redaction, unless FAULTPLANE_MESSAGES is ``raw``.

    A library may call it and name nothing: the first call that names a service, a domain or a
    directory replaces what the environment or the default said, and the process records there from
    then on; what it recorded before stays where it is.

    What was counted before is handed over. A forked child records as a process of its own without
    another call. Storage that cannot be had raises nothing: the process counts in its own memory,
    tries again later, and ``faultplane doctor`` says why. Raises `InvalidName` for a name that
    cannot be one, and `InvalidSetting` for a service, domain or directory other than an earlier
    call named, for an ``ignore`` that is no exception type, and for a ``redact`` that cannot be
    called.
    """
    begin(service, domain, directory, ignore=ignore, redact=redact)
    # `capture` too: the first who asks for it may be a signal handler in the middle of an import.
    from faultplane.capture import block  # noqa: F401
    from faultplane.store import Domain

    return Domain.own()


def begin(
    service: str | None = None,
    domain: str | None = None,
    directory: str | None = None,
    *,
    ignore: Ignored = (),
    redact: Callable[[str], str] | None = None,
) -> lifecycle.Status:
    """`init` for a process that only writes: nothing that reads is imported."""
    loaded = settings.load()
    # Refused before anything is changed; and an iterator can be asked once.
    ignored = ignored_types(ignore)
    if redact is not None and not callable(redact):
        raise InvalidSetting(f"redact must be a function of text that gives text, got {redact!r}")
    if not loaded.disabled:
        load()  # before: what a signal handler records from then on finds the rules
    status = lifecycle.init(service, domain, directory, loaded=loaded)
    recorder.configure(loaded, ignored, redact)
    if not loaded.disabled:
        load_entry_points()
    return status


def shutdown() -> None:
    """Say that this process ends in order, where its end would not say so: before `os._exit`.

    Ends by `sys.exit`, at the end of the program and of children of multiprocessing say it by
    themselves; one that is not said is a death record of a process that left without a word. What
    is recorded after it is counted as ever. Does nothing in a process without ``init()``, and
    nothing the second time.

    >>> shutdown()
    """
    lifecycle.shutdown()


def attach(domain: str | None = None, directory: str | None = None) -> Domain:
    """Open a domain to read it; creates nothing.

    Any process that may read the files can, also after the processes that wrote are gone. What is
    not given comes from the environment. Use it in a ``with`` statement, or close it. Raises
    `DomainNotFound` where there is no such domain.
    """
    from faultplane.store import Domain

    return Domain.attach(domain, directory)
