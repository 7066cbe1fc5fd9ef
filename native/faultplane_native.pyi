"""Batch kernels of faultplane over Arrow columns."""

from typing import Final, Protocol, final

__all__ = ["BUILD_PROFILE", "MESSAGE_BYTES_MAX", "Templates", "__version__", "templates"]

BUILD_PROFILE: Final[str]
"""``"release"`` or ``"debug"``; a benchmark refuses the second."""

MESSAGE_BYTES_MAX: Final[int]
"""Bytes of a message that are read, and bytes that its template has at most."""

__version__: Final[str]
"""Version of this distribution; ``faultplane`` works with its own version only."""

class _ArrowArray(Protocol):
    def __arrow_c_array__(
        self, requested_schema: object | None = None
    ) -> tuple[object, object]: ...

class _ArrowStream(Protocol):
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...

@final
class Templates:
    """A column of templates, one for each row; null where the message was null."""

    def __len__(self) -> int: ...
    def __arrow_c_schema__(self) -> object: ...
    def __arrow_c_array__(
        self, requested_schema: object | None = None
    ) -> tuple[object, object]: ...

def templates(column: _ArrowArray | _ArrowStream) -> Templates:
    """Return the templates of a column of messages."""
