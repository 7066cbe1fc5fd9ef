"""SQL over the records where they lie, and over small tables: counts, deaths, dependencies, others.

The tables are read by DuckDB without a copy. Needs the query extra.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, Final

from faultplane.cli import add_domain, add_json, attach
from faultplane.cli.output import (
    IDS,
    fingerprint_text,
    id_text,
    pairs,
    print_json,
    print_table,
)
from faultplane.errors import QueryError
from faultplane.store.query import VIEWS

EXAMPLES: Final = (
    'faultplane query "select kind_name, count(*) from records group by 1 order by 2 desc"',
    'faultplane query "select service, sum(count) from counts group by 1"',
    'faultplane query --json "from deaths select pid, how, summary"',
)
_ANSWER: Final = "_answer_of_the_query"
_NUMBERS: Final = ("INT", "DOUBLE", "FLOAT", "DECIMAL")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    add_domain(parser)
    add_json(parser)
    parser.add_argument("sql", help=f"a query; tables and views: {', '.join(VIEWS)}")


def run(options: argparse.Namespace) -> int:
    """Print the answer."""
    with attach(options) as domain:
        relation = domain.query(options.sql)
        if relation is None:
            return 0
        import duckdb  # which made the relation

        kinds = [str(kind) for kind in relation.types]
        heads = list(relation.columns)
        try:
            rows = (_exact(relation, heads, kinds) if options.json else relation).fetchall()
        except duckdb.Error as error:  # in the rows: what is wrong in the text is told before
            raise QueryError(str(error)) from error
    if options.json:
        names = unique(heads)
        print_json(dict(zip(names, row, strict=True)) for row in rows)
        return 0
    right = [
        head for head, kind in zip(heads, kinds, strict=True) if any(n in kind for n in _NUMBERS)
    ]
    print_table(heads, [list(map(_cell, heads, row)) for row in rows], right)
    return 0


def unique(heads: Sequence[str]) -> list[str]:
    """Names for the keys of an object: what comes again gets a number, as DuckDB gives them.

    >>> unique(["a", "a", "A", "a", "a_1"])
    ['a', 'a_2', 'A', 'a_3', 'a_1']
    """
    taken, names = set(heads), set[str]()
    found = []
    for head in heads:
        name, number = head, 0
        while name in names or (number and name in taken):
            number += 1
            name = f"{head}_{number}"
        names.add(name)
        found.append(name)
    return found


def _exact(relation: Any, heads: Sequence[str], kinds: Sequence[str]) -> Any:
    """The relation with times as what their names say: a time of Python has no nanoseconds."""
    numbered = [f"c{number}" for number in range(len(heads))]  # names may come twice
    columns = [
        f"epoch_ns({column})"
        if head.endswith("_unix_nano") and kind.startswith("TIMESTAMP")
        else column
        for column, head, kind in zip(numbered, heads, kinds, strict=True)
    ]
    named = f"{_ANSWER} AS answer({', '.join(numbered)})"
    return relation.query(_ANSWER, f"SELECT {', '.join(columns)} FROM {named}")  # noqa: S608


def _cell(head: str, value: Any) -> Any:
    if value is None:
        return ""
    if head == "fingerprint" and isinstance(value, int):
        return fingerprint_text(value)
    if head in IDS and isinstance(value, bytes):
        return id_text(value)
    return pairs(value) if head == "attributes" and isinstance(value, bytes) else value
