"""SQL over a domain, by DuckDB: the records where they lie, the rest as small tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from faultplane import schema
from faultplane.errors import QueryError
from faultplane.store import tables
from faultplane.store.extras import require
from faultplane.store.records import Records

VIEWS: Final = ("records", *tables.TABLES)
SQL_CHARS_MAX: Final = 1 << 20
_SCANNED: Final = "_records_in_shared_memory"


class Engine:
    """A DuckDB database in memory; every query gets a connection of its own."""

    def __init__(self) -> None:
        self._database: Any = None

    def run(
        self,
        sql: str,
        records: Callable[[], Records],
        rows: Callable[[str], Sequence[tables.Row]],
    ) -> Any:
        """The answer to ``sql`` as a DuckDB relation.

        ``records()`` and ``rows(table)`` are asked for what the text mentions, and for nothing
        else. None for a statement without an answer, where DuckDB says so. Raises MissingExtra
        without DuckDB, QueryError for what DuckDB refuses and for a text without a statement.
        """
        given: object = sql  # whatever a caller without a type checker gave
        if not isinstance(given, str):
            raise QueryError(f"sql must be text, got {given!r}")
        if len(sql) > SQL_CHARS_MAX:
            raise QueryError(f"sql must be at most {SQL_CHARS_MAX} characters, got {len(sql)}")
        duckdb = require("duckdb", "Domain.query()")
        if self._database is None:
            self._database = duckdb.connect()
            # A name that is no table must not turn out to be a variable of some function here.
            self._database.execute("SET python_enable_replacements = false")
        connection = self._database.cursor()
        mentioned = {word.lower() for word in re.findall(r"\w+", sql)}
        for name in tables.TABLES:
            if name in mentioned:
                tables.create_in_duckdb(connection, name, rows(name))
        if "records" in mentioned:
            connection.register(_SCANNED, records().without_time_zone())
            connection.execute(_VIEW)
        try:
            relation = connection.sql(sql)
            if relation is None and not connection.extract_statements(sql):
                raise QueryError(f"sql must have a statement, got none in {sql!r}")
        except duckdb.Error as error:
            # What DuckDB says may end with a caret below a place in the text.
            raise QueryError(f"{error}\n(tables and views: {', '.join(VIEWS)})") from error
        return relation


def _words() -> str:
    """Columns that say in words what ``kind``, ``category`` and ``severity_number`` mean."""
    lists = {
        "kind_name": ("kind", [term.name for term in schema.KINDS]),
        "category_name": ("category", [term.name for term in schema.CATEGORIES]),
    }
    fields = [
        f"[{', '.join(repr(name) for name in names)}][{column}] AS {field}"
        for field, (column, names) in lists.items()
    ]
    cases = " ".join(
        f"WHEN severity_number >= {severity.number} THEN '{severity.name}'"
        for severity in reversed(schema.SEVERITIES)
    )
    return ", ".join([*fields, f"CASE {cases} END AS severity_name"])


_VIEW: Final = f"CREATE TEMP VIEW records AS SELECT *, {_words()} FROM {_SCANNED}"  # noqa: S608
