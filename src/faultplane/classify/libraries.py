"""Rows for the exceptions of libraries that are not Python's own, and when they are read.

A module of rows has a `Table` named ``ROWS``, from the name of a type to its `Entry`; `_PACKAGES`
says whose names it holds. It is imported when an error of such a package is first classified, or
by `prepare` when the package is loaded by then: a program without requests never pays for its rows.

Where a module cannot be imported (no descriptor is left, the root directory has changed), the
answer is that of the nearest base with a row that can be read, and it is not remembered.
"""

from __future__ import annotations

import sys
from _thread import get_ident
from collections.abc import Iterator
from importlib import import_module
from typing import Final

from faultplane.classify.stdlib import Entry, _make, _Written
from faultplane.classify.table import Table

__all__ = ["Rows", "names_of", "prepare", "row_of", "rows"]

Rows = Table[str, _Written, Entry]

# Module of rows: the first parts of the names that it holds. A package may be in several.
_PACKAGES: Final[dict[str, str]] = {
    "http_clients": "urllib3 requests httpx httpcore h11 anyio aiohttp",
    "web_frameworks": "aiohttp werkzeug starlette fastapi django jinja2",
    "grpc_status": "grpc",
    "task_queues": "celery kombu billiard amqp rq",
    "data_formats": "google pydantic pydantic_core pydantic_settings",
}


def names_of(written: str) -> Iterator[str]:
    """Names of types; a word that ends with a colon is the module of those that follow it.

    >>> list(names_of("rq.timeouts: JobTimeoutException rq.exceptions: NoSuchJobError"))
    ['rq.timeouts.JobTimeoutException', 'rq.exceptions.NoSuchJobError']
    """
    module = ""
    for word in written.split():
        if word.endswith(":"):
            module = word[:-1] + "."
        else:
            yield module + word


def rows(*written: _Written) -> Rows:
    """The table of these rows, whose names are written as `names_of` reads them."""
    return Table({name: row for row in written for name in names_of(row.names)}, _make)


_modules: Final[dict[str, list[str]]] = {}
for _module, _packages in _PACKAGES.items():
    for _package in _packages.split():
        _modules.setdefault(_package, []).append(_module)

_read: dict[str, Rows] = {}
_readers: set[int] = set()
"""The threads that import a module of rows at this moment: a signal handler may come in between."""


def row_of(name: str) -> tuple[Entry | None, bool]:
    """The row of that type, and whether all that might hold it could be read."""
    complete = True
    for module in _modules.get(name.partition(".")[0], ()):
        table = _read.get(module) or _import(module)
        if table is None:
            complete = False
        elif (row := table.get(name)) is not None:
            return row, True
    return None, complete


def _import(module: str) -> Rows | None:
    me = get_ident()
    if me in _readers:
        return None
    _readers.add(me)
    try:
        table: Rows = import_module(f"faultplane.classify.{module}").ROWS
        return _read.setdefault(module, table)
    except Exception:  # noqa: BLE001 - recording an error must not raise another
        return None
    finally:
        _readers.discard(me)


def prepare() -> None:
    """Read the rows of the packages that the program has loaded by now."""
    for package, modules in _modules.items():
        if package in sys.modules:
            for module in modules:
                if module not in _read:
                    _import(module)
