"""How commands print: tables that fit a terminal, JSON lines, colour on a terminal only."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from faultplane import decode_attributes

IDS: Final = ("trace_id", "span_id")
WIDTH_MIN: Final = 40
CELL_MIN: Final = 6
_COLOURS: Final = {"red": 31, "green": 32, "yellow": 33, "blue": 34, "bold": 1, "dim": 2}


def coloured(stream: TextIO | None = None) -> bool:
    """Whether ``stream`` (default: stdout) wants colour: a terminal, and NO_COLOR unset."""
    stream = stream or sys.stdout
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str) -> str:
    """``text`` in a colour, where stdout wants colour.

    >>> paint("late", "red")
    'late'
    """
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if coloured() else text


def clear() -> None:
    """Have what comes take the place of what a terminal shows, where stdout wants colour."""
    if coloured():
        print("\x1b[H\x1b[2J", end="")


def plain(text: str) -> str:
    r"""One line without control characters: what an error says is data, never a terminal command.

    >>> plain("a\n\x1b[31mred")
    'a\\n\\x1b[31mred'
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def cells(text: str) -> int:
    """How many cells of a terminal ``text`` takes.

    >>> cells("naïve"), cells("日本")
    (5, 4)
    """
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def fit(text: str, width: int) -> str:
    """``text`` cut to ``width`` cells, an ellipsis where something is missing.

    >>> fit("connection refused", 12)
    'connection …'
    """
    if cells(text) <= width:
        return text
    kept = ""
    for c in text:
        if cells(kept) + cells(c) > width - 1:
            break
        kept += c
    return kept + "…"


def clock(time_unix_nano: int) -> str:
    """Local wall time of a timestamp, to the millisecond; "-" for 0."""
    if not time_unix_nano:
        return "-"
    moment = datetime.fromtimestamp(time_unix_nano / 1e9, UTC).astimezone()
    return moment.strftime("%H:%M:%S.") + f"{time_unix_nano // 1_000_000 % 1000:03d}"


def moment(time_unix_nano: int) -> str:
    """Local date and time of a timestamp; "-" for 0."""
    if not time_unix_nano:
        return "-"
    return (
        datetime.fromtimestamp(time_unix_nano / 1e9, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    )


def duration(seconds: float) -> str:
    """A length of time with a unit that suits it; what is told here is known to the microsecond.

    >>> duration(0), duration(0.0000123), duration(4.2), duration(7300)
    ('< 1 µs', '12 µs', '4.2 s', '2.0 h')
    """
    if seconds < 1e-6:
        return "< 1 µs"
    for bound, factor, unit in (
        (1e-3, 1e6, "µs"), (1, 1e3, "ms"),
        (120, 1, "s"), (7200, 1 / 60, "min"), (172_800, 1 / 3600, "h"),
    ):  # fmt: skip
        if seconds < bound:
            value = seconds * factor
            digits = 1 if value < 10 and unit in ("s", "min", "h") else 0
            return f"{value:.{digits}f} {unit}"
    return f"{seconds / 86_400:.1f} d"


def size(count: float) -> str:
    """Bytes with a binary unit.

    >>> size(900), size(64 << 20)
    ('900 B', '64.0 MiB')
    """
    if count < 1024:
        return f"{count:.0f} B"
    for unit in ("KiB", "MiB"):
        count /= 1024
        if count < 1024:
            return f"{count:.1f} {unit}"
    return f"{count / 1024:.1f} GiB"


def counted(number: int, one: str, more: str = "") -> str:
    """A number with what it counts: ``one`` of it, else ``more`` (default: with an s).

    >>> counted(1, "death"), counted(1200, "death"), counted(0, "process", "processes")
    ('1 death', '1,200 deaths', '0 processes')
    """
    return f"{number:,} {one if number == 1 else more or one + 's'}"


def fingerprint_text(fingerprint: int) -> str:
    """A fingerprint as users see and type it: 16 hexadecimal digits."""
    return f"{fingerprint:016x}"


def id_text(value: bytes) -> str:
    """A trace or span id as its hexadecimal digits; zeros stand for none.

    >>> id_text(bytes(8)), id_text(bytes(7) + bytes([26]))
    ('', '000000000000001a')
    """
    return value.hex() if any(value) else ""


def print_json(rows: Iterable[Mapping[str, Any]]) -> None:
    """One JSON object a line; fingerprints as text, because JSON readers lose the low bits.

    A fingerprint is what is called so, at any depth; attributes likewise, told as the mapping that
    they stand for, and ids of traces and spans as their digits, "" for none. JSON has no NaN and no
    infinity: among attributes they are text, as in OTLP's JSON, because null is a value of its own
    there; elsewhere they are null. What `plain` does not pass on to a terminal is escaped as JSON
    escapes, and so is what the output cannot encode.
    """
    for row in rows:
        text = json.dumps(_jsonable(row), ensure_ascii=False, allow_nan=False, default=_unknown)
        print(_escaped(text, sys.stdout.encoding or "utf-8"), flush=True)


def _escaped(text: str, encoding: str) -> str:
    r"""JSON without control characters and what else is not printable; a reader sees no difference.

    >>> print(_escaped('"é\x9b\u202e"', "utf-8"), _escaped('"é"', "ascii"))
    "é\u009b\u202e" "\u00e9"
    """
    if not text.isprintable():
        text = "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = "".join(c if c.isascii() else json.dumps(c)[1:-1] for c in text)
    return text


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_key(key): _jsonable(_told(key, inner)) for key, inner in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return [_jsonable(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _key(key: Any) -> Any:
    """A key of an object; those of a map in SQL may be dates, bytes and more."""
    finite = isinstance(key, float) and math.isfinite(key)
    return key if isinstance(key, (str, int)) or finite else _unknown(key)


def _told(name: Any, value: Any) -> Any:
    if name == "fingerprint" and isinstance(value, int):
        return fingerprint_text(value)
    if name == "attributes" and isinstance(value, bytes):
        return _with_names_of_floats(decoded(value))
    if name in IDS and isinstance(value, bytes):
        return id_text(value)
    return value


def _with_names_of_floats(value: Any) -> Any:
    """Attributes with "NaN", "Infinity" and "-Infinity" for what JSON has no number for."""
    if isinstance(value, dict):
        return {key: _with_names_of_floats(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_names_of_floats(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def decoded(attributes: bytes) -> dict[str, Any] | bytes:
    """The mapping that the bytes of a record stand for; the bytes where they stand for none."""
    try:
        return decode_attributes(attributes)
    except ValueError:
        return attributes


def pairs(attributes: bytes) -> str:
    r"""Attributes in a line.

    >>> pairs(b"\n\x0c\n\x05order\x12\x03\x18\xe7$")
    'order=4711'
    """
    told = decoded(attributes)
    if isinstance(told, bytes):
        return told.hex()
    return " ".join(
        f"{key}={value if isinstance(value, str) else json.dumps(value, default=_unknown)}"
        for key, value in told.items()
    )


def _unknown(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def terminal_width() -> int:
    """Cells in a line of the terminal, or of COLUMNS; what is piped has no end of the line."""
    if not sys.stdout.isatty() and not os.environ.get("COLUMNS"):
        return sys.maxsize
    return max(shutil.get_terminal_size((80, 24)).columns, WIDTH_MIN)


def table(
    heads: Sequence[str], rows: Sequence[Sequence[Any]], right: Iterable[str] = ()
) -> list[str]:
    """Lines of a table as wide as `terminal_width`: the widest columns give way first.

    ``right`` names the columns that are set flush right.

    >>> print(*table(["kind", "count"], [["Timeout", 12], ["Internal", 3]], ["count"]), sep=chr(10))
    kind      count
    Timeout      12
    Internal      3
    """
    texts = [[plain(str(cell)) for cell in row] for row in rows]
    widths = [max([cells(head), *(cells(row[i]) for row in texts)]) for i, head in enumerate(heads)]
    spare = terminal_width() - 2 * (len(heads) - 1)
    while sum(widths) > spare and max(widths) > CELL_MIN:
        widths[widths.index(max(widths))] -= 1
    flush_right = set(right)
    lines = []
    for number, row in enumerate([list(heads), *texts]):
        parts = []
        for head, text, width in zip(heads, row, widths, strict=True):
            cut = fit(text, width)
            space = " " * (width - cells(cut))
            parts.append(space + cut if head in flush_right else cut + space)
        line = "  ".join(parts).rstrip()
        lines.append(paint(line, "bold") if number == 0 else line)
    return lines


def print_table(
    heads: Sequence[str], rows: Sequence[Sequence[Any]], right: Iterable[str] = ()
) -> None:
    """Print `table`."""
    for line in table(heads, rows, right):
        print(line)
