"""One exception becomes one row: the path of every record."""

from collections.abc import Mapping
from typing import Any

def record(
    exc: BaseException,
    operation: str | None = None,
    attempt: int = 0,
    duration_nano: int = 0,
    attributes: Mapping[str, Any] | None = None,
    handled: bool = True,
) -> Any:
    """Count an exception and write it as a row of the domain; give its classification.

    ``operation`` says what was being done (str), ``attempt`` how many tries came before (0 to
    65,535), ``duration_nano`` how long it had run (0 to 2**63 - 1, in nanoseconds), ``attributes``
    is a mapping of further facts (4,096 encoded bytes at most), ``handled`` whether the program
    goes on. Raises TypeError or ValueError for arguments out of bounds, before anything is
    written; never raises because of storage. Before init() errors are counted in the process.
    """

def classify(exc: BaseException) -> Any:
    """Classification of an exception: what kind of error it is and what helps.

    A cached lookup for a type that was seen before. Raises TypeError for anything but an
    exception.
    """

def seen(exc: object) -> bool:
    """Whether this very exception object was recorded in this process."""
