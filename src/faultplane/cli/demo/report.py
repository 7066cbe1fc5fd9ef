"""What the demo says at the end, from the domain and from what gunicorn wrote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from faultplane import Domain
from faultplane.cli import deaths
from faultplane.cli.demo.load import Load
from faultplane.cli.output import paint, table
from faultplane.errors import MissingExtra

SQL = (
    "select d.pid, d.how, r.kind_name, r.operation, count(*) as rows, max(r.message) as message "
    "from records r join deaths d on r.owner = d.incarnation "
    "group by all order by d.pid, rows desc limit 8"
)


def counts_by_mode(domain: Domain) -> Counter[str]:
    """Exact counts of the domain, by the failure that was asked for."""
    found: Counter[str] = Counter()
    for row in domain.counts_rows():
        operation, _, mode = row["operation"].partition(".")
        if operation == "charge" and mode:
            found[mode] += row["count"]
    return found


def ledger(domain: Domain, load: Load) -> tuple[list[str], bool]:
    """The table injected / acknowledged / counted, and whether it adds up."""
    counted = counts_by_mode(domain)
    rows, right = [], True
    for mode in sorted(load.injected):
        injected, acknowledged = load.injected[mode], load.acknowledged[mode]
        fits = acknowledged <= counted[mode] <= injected
        right = right and fits
        rows.append([
            mode, load.kinds.get(mode, "-"), injected, acknowledged, counted[mode],
            "yes" if fits else "NO",
        ])  # fmt: skip
    rows.append([
        "all", "", load.injected.total(), load.acknowledged.total(), counted.total(),
        "yes" if right else "NO",
    ])  # fmt: skip
    heads = ["failure", "kind", "injected", "acknowledged", "counted", "in order"]
    return table(heads, rows, ("injected", "acknowledged", "counted")), right


def server_words(log: Path, pid: int) -> list[str]:
    """Lines of the server's log that speak of a worker."""
    lines = log.read_text(errors="replace").splitlines()
    return [line for line in lines if f"pid:{pid}" in line or f"pid: {pid}" in line]


def deaths_side_by_side(domain: Domain, log: Path) -> Iterator[str]:
    """For each worker that died: what gunicorn said, what faultplane says."""
    for row in domain.deaths_rows():
        if row["how"] == "exit":
            continue
        words = [
            line for line in server_words(log, row["pid"])
            if not line.rstrip().endswith(f"Booting worker with pid: {row['pid']}")
        ]  # fmt: skip
        yield paint("gunicorn:", "dim")
        yield from (f"  {line}" for line in words or ["(nothing)"])
        yield paint("faultplane deaths:", "dim")
        yield from (f"  {line}" for line in deaths.lines(row))
        yield ""


def query(domain: Domain) -> Iterator[str]:
    """One DuckDB query over the shared memory of the dead."""
    yield paint(SQL, "dim")
    try:
        relation = domain.query(SQL)
    except MissingExtra as error:
        yield str(error)
        return
    rows: list[tuple[Any, ...]] = relation.fetchall()
    yield from table(list(relation.columns), rows, ("rows",))


def price(measured: dict[str, Any] | None) -> Iterator[str]:
    """What a record cost inside the service."""
    if measured is None:
        yield "the service did not answer"
        return
    record, logged = measured["record_nano"], measured["logging_nano"]
    yield (
        f"record() {record:,.0f} ns, logging.exception to memory {logged:,.0f} ns: "
        f"{logged / record:,.0f} times, minimum of interleaved rounds in one worker"
    )
