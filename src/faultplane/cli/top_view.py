"""What ``faultplane top`` shows: groups of a domain in order, their rates, and their lines."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Final

from faultplane import Domain
from faultplane.cli.output import clock, fingerprint_text, paint, plain, table
from faultplane.store.maintain import maintain

RATE_SECONDS: Final = 10.0
"""Rates are averages over this long."""
GROUPS_SHOWN: Final = 40
ORDERS: Final = ("rate", "count", "recent")


class View:
    """Groups of a domain with their rates, from one look to the next."""

    def __init__(self, domain: Domain, order: str = "rate") -> None:
        """Watch ``domain``; ``order`` is one of `ORDERS`."""
        self.domain = domain
        self.order = order
        self._looks: deque[tuple[float, dict[tuple[Any, ...], int]]] = deque(maxlen=600)
        self._rows: list[dict[str, Any]] = []
        self.owners: list[dict[str, Any]] = []
        self.deaths = 0
        self.dropped = 0

    def look(self) -> None:
        """Read the domain once more, and bury its dead where this process may."""
        now = time.monotonic()
        maintain(self.domain.path)
        self._rows = self.domain.counts_rows()
        self.owners = [row for row in self.domain.owners_rows() if row["life"] == "alive"]
        self.deaths = len([r for r in self.domain.deaths_rows() if r["how"] != "exit"])
        self.dropped = sum(row["count"] for row in self.domain.drops_rows())
        self._looks.append((now, {_key(row): row["count"] for row in self._rows}))
        while len(self._looks) > 2 and self._looks[1][0] <= now - RATE_SECONDS:
            self._looks.popleft()

    @property
    def total(self) -> int:
        """Errors counted since the domain was made."""
        return int(sum(row["count"] for row in self._rows))

    @property
    def rate(self) -> float:
        """Errors per second, of all groups together."""
        return float(sum(group["rate_per_second"] for group in self.groups()))

    def groups(self) -> list[dict[str, Any]]:
        """Groups in order, each with ``rate_per_second`` besides its counts."""
        if not self._looks:
            return []
        (start, before), (end, _) = self._looks[0], self._looks[-1]
        span = end - start
        groups = []
        for row in self._rows:
            more = row["count"] - before.get(_key(row), 0)
            groups.append({**row, "rate_per_second": round(more / span, 2) if span else 0.0})
        field = {"rate": "rate_per_second", "count": "count", "recent": "last_seen_unix_nano"}
        return sorted(groups, key=lambda g: (g[field[self.order]], g["count"]), reverse=True)


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return (row["service"], row["operation"], row["kind"], row["type"], row["fingerprint"])


def summary(view: View) -> str:
    """The line above the table."""
    deaths = f"  deaths {view.deaths}" if view.deaths else ""
    dropped = f"  without a row {view.dropped:,}" if view.dropped else ""
    return (
        f"{view.domain.name}  {clock(time.time_ns())[:8]}  errors {view.total:,}  "
        f"{view.rate:,.1f}/s  processes {len(view.owners)}{deaths}{dropped}"
    )


HEADS: Final = ("rate/s", "count", "fingerprint", "kind", "operation", "type", "last")


def cells_of(group: dict[str, Any]) -> list[str]:
    """One group as the cells of its line."""
    return [
        f"{group['rate_per_second']:,.1f}",
        f"{group['count']:,}",
        fingerprint_text(group["fingerprint"])[:8],
        group["kind"],
        plain(group["operation"]) or "-",
        plain(group["type"]).rpartition(".")[2],
        clock(group["last_seen_unix_nano"])[:8],
    ]


def lines(view: View) -> list[str]:
    """The whole table for a plain terminal."""
    groups = view.groups()
    out = [paint(summary(view), "bold"), ""]
    out += table(HEADS, [cells_of(g) for g in groups[:GROUPS_SHOWN]], ("rate/s", "count"))
    if len(groups) > GROUPS_SHOWN:
        out.append(f"… {len(groups) - GROUPS_SHOWN} more groups")
    return out
