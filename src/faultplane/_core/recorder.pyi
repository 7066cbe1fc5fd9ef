"""The state of this process's recorder: binding it to a domain, letting go, settings."""

from collections.abc import Callable, Mapping
from typing import Any

def bind(binding: Any) -> None:
    """Start writing into a domain: rows, counts and in-flight slots of this process.

    What was counted before is carried over. Raises OSError when the counts do not fit the file;
    the process goes on counting in its own memory then. So it does in a child that was forked
    since the binding was made: that is its parent's.
    """

def unbind(exiting: bool = False) -> None:
    """Stop writing: close the lane, and count in the process from here on.

    ``exiting`` says that the process ends; nothing differs yet, since an orderly end and a
    change of domain leave the same way.
    """

def bound() -> bool:
    """Whether this process writes into a domain."""

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

def flush_caches() -> None:
    """Forget every cached type, classification and site; the next sighting finds out anew."""

def own_overflow() -> list[int]:
    """What has overflowed here and was handed to no domain, by cell of its registry."""

def own_cells() -> bytes:
    """The counts of this process as bytes of an aggregate file."""

def writer_state() -> dict[str, Any]:
    """Numbers about the writer of this process, for diagnosis."""
