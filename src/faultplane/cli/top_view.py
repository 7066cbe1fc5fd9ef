"""What ``faultplane top`` shows: groups of a domain in order, their rates, and their lines."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
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
    def rate(self) -> float | None:
        """Errors per second, of all groups together; None until there are two looks."""
        if self._span() is None:
            return None
        return float(sum(group["rate_per_second"] for group in self.groups()))

    def groups(self) -> list[dict[str, Any]]:
        """Groups in order, each with ``rate_per_second`` (None until there are two looks)."""
        span = self._span()
        groups = []
        for row in self._rows:
            more = row["count"] - self._looks[0][1].get(_key(row), 0)
            groups.append({**row, "rate_per_second": round(more / span, 2) if span else None})
        field = {"rate": "rate_per_second", "count": "count", "recent": "last_seen_unix_nano"}
        return sorted(groups, key=lambda g: (g[field[self.order]] or 0, g["count"]), reverse=True)

    def _span(self) -> float | None:
        """Seconds between the first look that counts and the last one."""
        return self._looks[-1][0] - self._looks[0][0] or None if self._looks else None


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return (row["service"], row["operation"], row["kind"], row["type"], row["fingerprint"])


def summary(view: View) -> str:
    """The line above the table."""
    deaths = f"  deaths {view.deaths}" if view.deaths else ""
    dropped = f"  without a row {view.dropped:,}" if view.dropped else ""
    return (
        f"{view.domain.name}  {clock(time.time_ns())[:8]}  errors {view.total:,}  "
        f"{_rate_text(view.rate)}/s  processes {len(view.owners)}{deaths}{dropped}"
    )


HEADS: Final = ("rate/s", "count", "fingerprint", "service", "kind", "operation", "type", "last")


def heads_of(groups: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """Heads of the columns; the service is one where groups of several would look alike."""
    several = len({group["service"] for group in groups}) > 1
    return tuple(head for head in HEADS if several or head != "service")


def cells_of(group: dict[str, Any], heads: Sequence[str]) -> list[str]:
    """One group as the cells of its line."""
    cells = {
        "rate/s": _rate_text(group["rate_per_second"]),
        "count": f"{group['count']:,}",
        "fingerprint": fingerprint_text(group["fingerprint"])[:8],
        "service": plain(group["service"]) or "-",
        "kind": group["kind"],
        "operation": plain(group["operation"]) or "-",
        "type": plain(group["type"]).rpartition(".")[2],
        "last": clock(group["last_seen_unix_nano"])[:8],
    }
    return [cells[head] for head in heads]


def _rate_text(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:,.1f}"


def lines(view: View) -> list[str]:
    """The whole table for a plain terminal."""
    groups = view.groups()
    out = [paint(summary(view), "bold"), ""]
    shown = groups[:GROUPS_SHOWN]
    heads = heads_of(shown)
    out += table(heads, [cells_of(group, heads) for group in shown], ("rate/s", "count"))
    if len(groups) > GROUPS_SHOWN:
        out.append(f"… {len(groups) - GROUPS_SHOWN} more groups")
    return out
