"""The tables for what other people's libraries raise, and which module has which.

A type belongs to a library by the first part of its module's name, and a library to a module of
this package. A module is read when it is first of use: by `prepare`, for the libraries that the
program has loaded by then, and else with the first error of one of its libraries. So a program
pays for the tables of what it uses, and `import faultplane` for none.

A table that cannot be read in the middle of an error (no descriptor is left, the root directory
was changed, a signal came while this thread was reading it) is `Unread`: the bases of the type
answer, and the answer is not remembered, so that the next error asks again.
"""

from __future__ import annotations

import sys
from _thread import get_ident
from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from faultplane.classify.table import Table
    from faultplane.classify.vocabulary import Entry

__all__ = ["MODULES", "Unread", "prepare", "row_of", "table_named"]

# One line each: the module, and the first parts of the names of the modules it knows types of.
MODULES: Final = {
    "amqp": "pika amqp",
    "aws": "botocore boto3 s3transfer",
    "data_formats": "google pydantic pydantic_core pydantic_settings",
    "grpc_status": "grpc",
    "http_clients": "urllib3 requests httpx httpcore h11 anyio aiohttp",
    "kafka": "kafka aiokafka cimpl confluent_kafka",
    "mongodb": "pymongo gridfs bson",
    "mysql": "pymysql MySQLdb mysql asyncmy",
    "postgresql": "psycopg psycopg2 psycopg_pool asyncpg",
    "redis": "redis",
    "sqlalchemy": "sqlalchemy",
    "task_queues": "celery kombu billiard rq",
    "web_frameworks": "werkzeug starlette fastapi django jinja2",
}
"""Libraries by the module of this package that has their table."""

_MODULE_OF: Final = {root: module for module, roots in MODULES.items() for root in roots.split()}
_tables: Final[dict[str, Table[str, object, Entry]]] = {}
_reading: Final[set[int]] = set()
"""The threads that read a table at this moment."""


class Unread(Exception):
    """The table of a library could not be read now; it may be read later."""


def table_named(module: str) -> Table[str, object, Entry]:
    """The rows of one module, by the name of the type.

    Raises:
        Unread: it cannot be read at this moment.
    """
    table = _tables.get(module)
    if table is None:
        me = get_ident()
        if me in _reading:  # an import from within an import would find half a module
            raise Unread(module)
        try:
            _reading.add(me)
            table_of = import_module(f"{__name__}.rows").table_of
            groups = import_module(f"{__name__}.{module}").GROUPS
            table = _tables.setdefault(module, table_of(groups))
        except (ImportError, OSError) as error:
            raise Unread(module) from error
        finally:
            _reading.discard(me)
    return table


def row_of(name: str) -> Entry | None:
    """The row of a type by its name; None for one that is in no table.

    Raises:
        Unread: the table that may have it cannot be read at this moment.
    """
    module = _MODULE_OF.get(name.partition(".")[0])
    return None if module is None else table_named(module).get(name)


def prepare() -> None:
    """Read the tables of the libraries that the program has loaded."""
    for root, module in _MODULE_OF.items():
        if root in sys.modules:
            try:
                table_named(module)
            except Unread:
                return
