"""What the demo says at the end, from the domain and from what gunicorn wrote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from faultplane import Domain
from faultplane.cli import deaths
from faultplane.cli.demo.load import MODES, Answer, Load
from faultplane.cli.output import paint, table
from faultplane.errors import MissingExtra

BROKEN_PER_DEATH_MAX: Final = 2
"""The one request that a worker is at when it dies, and one that it just took."""
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
    """The table injected / acknowledged / counted with its sum, and whether it adds up.

    It does when each failure was acknowledged at least once, with its kind, and stands in order.
    """
    counted = counts_by_mode(domain)
    rows, wrong = [], []
    asked = acknowledged = found = 0
    for mode in sorted(set(MODES) - {"ok"}):
        kind = load.kinds.get(mode, "-")
        numbers = load.injected[mode], load.acknowledged[mode], counted[mode]
        fits = 0 < numbers[1] <= numbers[2] <= numbers[0] and kind != "-"
        if not fits:
            wrong.append(mode)
        rows.append([mode, kind, *numbers, "yes" if fits else "NO"])
        asked, acknowledged, found = (
            asked + numbers[0],
            acknowledged + numbers[1],
            found + numbers[2],
        )
    rows.append(["all", "", asked, acknowledged, found, "NO" if wrong else "yes"])
    numeric = ("injected", "acknowledged", "counted")
    lines = table(["failure", "kind", *numeric, "in order"], rows, numeric)
    lines.append(
        f"{acknowledged:,} acknowledged {_order(acknowledged, found)} {found:,} counted "
        f"{_order(found, asked)} {asked:,} injected"
        + (f"; not in order: {', '.join(wrong)}" if wrong else "")
    )
    return lines, not wrong


def _order(left: int, right: int) -> str:
    return "≤" if left <= right else ">"


def answers(load: Load, deaths: int) -> tuple[list[str], bool]:
    """What became of the requests without their answer, and whether deaths account for it."""
    bound = BROKEN_PER_DEATH_MAX * deaths
    lines = [f"{load.broken:,} requests broke off; {deaths} deaths account for {bound} at most"]
    lines += [
        f"{count:,} requests were answered with status {status} instead of what was asked"
        for status, count in sorted(load.unexpected.items())
    ]
    return lines, load.broken <= bound and not load.unexpected


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


def price(measured: Answer | None) -> Iterator[str]:
    """What a record cost inside the service."""
    if measured is None or not measured.said:
        yield "the service did not answer"
        return
    record, logged = measured.said["record_nano"], measured.said["logging_nano"]
    yield (
        f"record() {record:,.0f} ns, logging.exception to memory {logged:,.0f} ns: "
        f"{logged / record:,.0f} times, minimum of interleaved rounds in one worker"
    )
