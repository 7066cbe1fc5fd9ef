"""Messages of a whole Arrow column without their variable parts (see docs/templates.md).

One message at a time is the core's ``template``. For a column there is a native kernel, which
needs the distribution ``faultplane-native``; without it the core walks the column, which needs
pyarrow and takes longer. The answers are equal.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

from faultplane import _backend, _native
from faultplane.errors import MissingExtra

__all__ = ["ArrowArray", "ArrowStream", "implementation", "templates"]


class ArrowArray(Protocol):
    """Anything that exports one Arrow array."""

    def __arrow_c_array__(self, requested_schema: Any = None) -> tuple[object, object]: ...


class ArrowStream(Protocol):
    """Anything that exports a stream of Arrow arrays, such as a chunked column."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> object: ...


def implementation() -> str:
    """What `templates` runs: ``native`` or the name of the core, ``cython`` or ``python``.

    Raises:
        NativeMismatch: ``faultplane-native`` is installed in another version.
    """
    return _backend.CORE_NAME if _native.kernels() is None else "native"


def templates(column: ArrowArray | ArrowStream) -> ArrowArray:
    """Return the templates of a column of messages: one for each row, null for null.

    ``column`` is of type utf8, large_utf8 or utf8_view. The result is one array, large_utf8 for
    large_utf8 and utf8 otherwise; a null row stays null.

    >>> import pyarrow as pa
    >>> from faultplane.templates import templates
    >>> messages = pa.array(["order 4711 took 3.5s", None])
    >>> pa.array(templates(messages)).to_pylist()
    ['order <num> took <num>s', None]

    Raises:
        TypeError: ``column`` does not export Arrow data, or not strings.
        MissingExtra: neither ``faultplane-native`` nor pyarrow is installed.
        NativeMismatch: ``faultplane-native`` is installed in another version.
    """
    kernels = _native.kernels()
    if kernels is not None:
        return cast("ArrowArray", kernels.templates(column))
    return _walk(column)


def _walk(column: Any) -> ArrowArray:
    """`templates` row by row, with the core that this process runs."""
    try:
        import pyarrow as pa
    except ModuleNotFoundError as error:
        feature = "templates() of a column"
        raise MissingExtra(feature, package="faultplane-native", extra="native") from error
    if hasattr(column, "__arrow_c_array__"):
        rows = pa.array(column)
    elif hasattr(column, "__arrow_c_stream__"):
        rows = pa.chunked_array(column)
    else:
        raise TypeError(
            f"column must have __arrow_c_array__ or __arrow_c_stream__, got {type(column).__name__}"
        )
    if rows.type not in {pa.string(), pa.large_string(), pa.string_view()}:
        raise TypeError(f"column must be utf8, large_utf8 or utf8_view, got {rows.type}")
    template = _backend.core.template
    made = [None if row is None else template(row) for row in rows.to_pylist()]
    result = pa.large_string() if rows.type == pa.large_string() else pa.string()
    return cast("ArrowArray", pa.array(made, result))
