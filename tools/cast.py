#!/usr/bin/env python3
"""Record the demo in a terminal as an asciinema cast, and draw an animated picture from the cast.

    python tools/cast.py [--seconds N] [--seed N]    run, record and draw
    python tools/cast.py --draw                      draw docs/images/demo.svg again from the cast

docs/images/demo.cast (asciicast v2; ``asciinema play`` shows it at its own pace) is what a real run
wrote into a terminal of 100 columns, with its times. Directories are cut from the file names of
frames and the interpreter is called ``python``, because they say something about the machine only.
docs/images/demo.svg shows the table while the workers die, then the report, page by page at the
pace of a reader: nothing but SVG and CSS, and a still picture where motion is not wanted or not
known. Needs Linux, the demo's extras, and root or a session of systemd for the kill for want of
memory.
"""

from __future__ import annotations

import argparse
import fcntl
import html
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from string import Template
from typing import NamedTuple

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
CAST = IMAGES / "demo.cast"
PICTURE = IMAGES / "demo.svg"
COLUMNS, ROWS = 100, 34
BYTES_MAX = 256 << 10
RUN_SECONDS_MAX = 120
PROMPT = "$ faultplane demo\r\n"

CLEAR = "\x1b[H\x1b[2J"
STYLE = re.compile(r"\x1b\[([0-9;]*)m")
DIRECTORY = re.compile(r'(File ")[^"]*/(?=[^"/]*/[^"/]*")')
"""The path of a frame, but for its last folder and its file."""

TABLE_SECONDS, PAGE_SECONDS = 0.6, 6.0
CELL_WIDTH, LINE_HEIGHT, MARGIN = 8.4, 18, 12
CLASSES = {1: "b", 2: "d", 31: "r", 32: "g", 33: "y", 34: "u"}
SVG = Template("""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 $width $height" width="$width" \
height="$height" role="img" xml:space="preserve">
<title>faultplane demo: workers die, and what is known of each</title>
<style>
text{font:14px ui-monospace,Menlo,Consolas,monospace;fill:#d8dee9}
.b{font-weight:bold}.d{fill:#8a93a5}.r{fill:#ff7b72}.g{fill:#7ee787}.y{fill:#e3b341}.u{fill:#79c0ff}
#strip{animation:strip ${seconds}s step-end infinite}
@keyframes strip{$keys}
@media(prefers-reduced-motion:reduce){#strip{animation:none}}
</style>
<rect width="$width" height="$height" rx="8" fill="#161b22"/>
<g id="strip" transform="translate($still)">
$strip
</g>
</svg>
""")


class Event(NamedTuple):
    """What the terminal was sent at a moment of the run."""

    seconds: float
    text: str


# ---------------------------------------------------------------------------------- recording


def record(seconds: int, seed: int) -> list[Event]:
    """A run of the demo in a terminal, line by line; raises SystemExit if it fails."""
    screen, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", ROWS, COLUMNS, 0, 0))
    started = time.monotonic()
    demo = subprocess.Popen(
        [sys.executable, "-m", "faultplane", "demo", "--seconds", str(seconds), "--seed",
         str(seed)],
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        env={**os.environ, "TERM": "xterm-256color"},
    )  # fmt: skip
    os.close(theirs)
    events, held, since = [Event(0.0, PROMPT)], b"", 0.0
    while time.monotonic() - started < RUN_SECONDS_MAX:
        try:
            data = os.read(screen, 1 << 16)
        except OSError:  # EIO: nobody has the terminal any more
            break
        since = since if held else time.monotonic() - started
        lines = (held + data).splitlines(keepends=True)
        # A path that is cut is cut in a whole line.
        held = b"" if lines[-1].endswith(b"\n") else lines.pop()
        events.append(Event(round(since, 3), shortened(b"".join(lines).decode())))
    os.close(screen)
    if demo.wait(RUN_SECONDS_MAX) != 0 or held:
        raise SystemExit(f"the demo ended with status {demo.returncode}, at {held!r}")
    return [event for event in events if event.text]


def shortened(text: str) -> str:
    """Without what is of the machine: directories of frames, the path of the interpreter."""
    return DIRECTORY.sub(r"\1", text).replace(sys.executable, "python")


def write_cast(events: Iterable[Event], path: Path) -> None:
    """Write an asciicast; refuses one that is too large to be kept among sources."""
    head = {"version": 2, "width": COLUMNS, "height": ROWS, "title": "faultplane demo"}
    lines = [json.dumps(head), *(json.dumps([e.seconds, "o", e.text]) for e in events)]
    text = "\n".join(lines) + "\n"
    if len(text) > BYTES_MAX:
        raise SystemExit(f"the cast must have at most {BYTES_MAX} bytes, got {len(text)}")
    path.write_text(text)


def read_cast(path: Path) -> list[Event]:
    """The events of an asciicast."""
    lines = path.read_text().splitlines()
    if json.loads(lines[0])["version"] != 2:
        raise SystemExit(f"{path} must be an asciicast of version 2")
    return [Event(seconds, text) for seconds, _, text in map(json.loads, lines[1:])]


# ------------------------------------------------------------------------------------ drawing

Run = tuple[frozenset[str], str]
"""Classes of a piece of a line, and its text."""


def styled(text: str) -> Iterator[Run]:
    """The pieces of a line between the codes that change its style."""
    classes: frozenset[str] = frozenset()
    for index, piece in enumerate(STYLE.split(text)):
        if index % 2 == 0:
            if piece:
                yield classes, piece
        elif piece in ("", "0"):
            classes = frozenset()
        else:
            classes |= {CLASSES[int(code)] for code in piece.split(";") if int(code) in CLASSES}


def wrapped(text: str) -> list[list[Run]]:
    """A line as the terminal breaks it."""
    rows: list[list[Run]] = [[]]
    room = COLUMNS
    for classes, piece in styled(text):
        rest = piece
        while rest:
            if not room:
                rows.append([])
                room = COLUMNS
            rows[-1].append((classes, rest[:room]))
            room, rest = room - len(rest[:room]), rest[room:]
    return rows


def frames(events: Iterable[Event]) -> Iterator[tuple[list[list[Run]], float]]:
    """(Rows, seconds) of each picture: every table, then the pages of the report."""
    whole = "".join(event.text for event in events)
    before, *tables = whole.split(CLEAR)
    last, _, report = tables[-1].partition("\r\n\r\n\x1b[1mEvery failure")
    report = "\x1b[1mEvery failure" + report
    for text in (before, *tables[:-1], last):
        yield rows_of(text)[:ROWS], TABLE_SECONDS
    page: list[list[Run]] = []
    for part in report.replace("\r\n\r\n\x1b[2mgunicorn", "\r\n\f\x1b[2mgunicorn").split("\f"):
        rows = rows_of(part)
        if page and len(page) + len(rows) > ROWS:
            yield page, PAGE_SECONDS
            page = []
        while len(rows) > ROWS:
            yield rows[:ROWS], PAGE_SECONDS
            rows = rows[ROWS:]
        page = [*page, *([[]] if page else []), *rows]
    yield page, PAGE_SECONDS


def rows_of(text: str) -> list[list[Run]]:
    """The rows that a text takes in the terminal."""
    return [row for line in text.strip("\r\n").split("\r\n") for row in wrapped(line)]


def draw(events: Iterable[Event]) -> str:
    """An animated SVG: one strip of pictures, of which one at a time is seen."""
    shown = list(frames(events))
    width, height = COLUMNS * CELL_WIDTH + 2 * MARGIN, ROWS * LINE_HEIGHT + 2 * MARGIN
    total = sum(seconds for _, seconds in shown)
    keys: list[str] = []
    strip: list[str] = []
    at = 0.0
    for number, (rows, seconds) in enumerate(shown):
        keys.append(f"{100 * at / total:.3f}%{{transform:translateX({-number * width:g}px)}}")
        strip += drawn(rows, number * width + MARGIN)
        at += seconds
    still = next(n for n, (_, seconds) in enumerate(shown) if seconds == PAGE_SECONDS)
    return SVG.substitute(
        width=f"{width:g}",
        height=f"{height:g}",
        seconds=f"{total:g}",
        keys="".join(keys),
        still=f"{-still * width:g}",
        strip="\n".join(strip),
    )


def drawn(rows: Iterable[list[Run]], left: float) -> Iterator[str]:
    """Lines of SVG; each piece begins at its column whatever the font."""
    for number, row in enumerate(rows):
        y = MARGIN + (number + 1) * LINE_HEIGHT - 4
        column = 0
        for classes, text in row:
            stripped = text.strip(" ")
            if stripped:
                x = left + (column + len(text) - len(text.lstrip(" "))) * CELL_WIDTH
                style = f' class="{" ".join(sorted(classes))}"' if classes else ""
                length = len(stripped) * CELL_WIDTH
                yield (
                    f'<text x="{x:g}" y="{y}" textLength="{length:g}"{style}>'
                    f"{html.escape(stripped, quote=False)}</text>"
                )
            column += len(text)


def main() -> int:
    """Command line entry; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--seconds", type=int, default=16, help="how long the demo fails (16)")
    parser.add_argument("--seed", type=int, default=7, help="order of the failures (7)")
    parser.add_argument("--draw", action="store_true", help="draw from the cast that is there")
    options = parser.parse_args()
    if not options.draw:
        write_cast(record(options.seconds, options.seed), CAST)
    PICTURE.write_text(draw(read_cast(CAST)))
    for path in (CAST, PICTURE):
        print(f"{path.relative_to(IMAGES.parent.parent)}: {path.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
