"""SQL over the records where they lie, and over counts, counters, drops, deaths, owners and stacks.

The tables are read by DuckDB without a copy. Needs the query extra.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, Final

from faultplane.cli import add_domain, add_json, attach
from faultplane.cli.output import fingerprint_text, pairs, print_json, print_table
from faultplane.errors import QueryError
from faultplane.store.query import VIEWS

EXAMPLES: Final = (
    'faultplane query "select kind_name, count(*) from records group by 1 order by 2 desc"',
    'faultplane query "select service, sum(count) from counts group by 1"',
    'faultplane query --json "from deaths select pid, how, summary"',
)
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
        print_json(dict(zip(heads, row, strict=True)) for row in rows)
        return 0
    right = [
        head for head, kind in zip(heads, kinds, strict=True) if any(n in kind for n in _NUMBERS)
    ]
    print_table(heads, [list(map(_cell, heads, row)) for row in rows], right)
    return 0


def _exact(relation: Any, heads: Sequence[str], kinds: Sequence[str]) -> Any:
    """The relation with times as what their names say: a time of Python has no nanoseconds."""
    if len(set(heads)) < len(heads):
        return relation
    columns = []
    for head, kind in zip(heads, kinds, strict=True):
        name = '"' + head.replace('"', '""') + '"'
        is_time = head.endswith("_unix_nano") and kind.startswith("TIMESTAMP")
        columns.append(f"epoch_ns({name}) AS {name}" if is_time else name)
    return relation.project(", ".join(columns))


def _cell(head: str, value: Any) -> Any:
    if value is None:
        return ""
    if head == "fingerprint" and isinstance(value, int):
        return fingerprint_text(value)
    return pairs(value) if head == "attributes" and isinstance(value, bytes) else value
