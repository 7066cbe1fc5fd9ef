#!/usr/bin/env python3
"""Draw docs/images/top.svg and docs/images/deaths.svg from a demo that runs for it.

    python tools/pictures.py [--seed N]

The demo's service fails and its workers die for real; what ``faultplane top`` and ``faultplane
deaths`` show of it, at 80 columns, is exported as SVG. Two things are changed: directories are cut
from the file names of frames, because they say something about the machine only, and the fonts
are those of the reader, because a picture must not fetch any. Needs Linux, the demo's extras and
half a minute.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.text import Text

import faultplane
from faultplane.cli import deaths
from faultplane.cli.top_screen import Top
from faultplane.cli.top_view import View
from faultplane.errors import DomainNotFound

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
SHARED = Path("/dev/shm")
COLUMNS = 80
TOP_LINES = 18
DEMO_SECONDS = 20
START_SECONDS_MAX = 60.0
FRAMES_SHOWN = 4

FONT_FACE = re.compile(r"@font-face\s*\{[^}]*\}\s*")
FONT_FAMILY = re.compile(r"font-family:\s*[^;]*;")
NOTE = re.compile(r"<!--.*?-->\s*", re.DOTALL)
DIRECTORY = re.compile(r'(File ")[^"]*/(?=[^"/]*/[^"/]*")')
"""The path of a frame, but for its last folder and its file."""


@contextmanager
def demo(seed: int) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A running ``faultplane demo`` and the directory of its domain."""
    before = set(SHARED.glob("faultplane-demo-*"))
    process = subprocess.Popen(
        [sys.executable, "-m", "faultplane", "demo", "--keep", "--seconds", str(DEMO_SECONDS),
         "--seed", str(seed)],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        yield process, wait_for_directory(process, before)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def wait_for_directory(process: subprocess.Popen[str], before: set[Path]) -> Path:
    """The directory that the demo made, once its domain is there."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline and process.poll() is None:
        for directory in set(SHARED.glob("faultplane-demo-*")) - before:
            try:
                faultplane.attach("demo", str(directory)).close()
            except DomainNotFound:
                continue
            return directory
        time.sleep(0.1)
    raise SystemExit("the demo did not start")


def watch(domain: faultplane.Domain) -> str:
    """``faultplane top`` over the loaded service, when two of its workers have died."""
    end = time.monotonic() + DEMO_SECONDS
    # The demo first measures a price with some thousand records; rates begin after those.
    while time.monotonic() < end and not any(
        row["operation"].startswith("charge.") for row in domain.counts_rows()
    ):
        time.sleep(0.1)
    view = View(domain)
    view.look()
    while time.monotonic() < end and view.deaths < 2:
        time.sleep(1)
        view.look()

    async def photograph() -> str:
        app = Top(view, 1.0, None)
        async with app.run_test(size=(COLUMNS, TOP_LINES)) as pilot:
            await pilot.pause()
            return app.export_screenshot(title="faultplane top")

    return asyncio.run(photograph())


def bury(domain: faultplane.Domain) -> str:
    """What ``faultplane deaths`` says of the workers that died."""
    deaths.FRAMES_SHOWN = FRAMES_SHOWN  # type: ignore[misc]
    rows = [row for row in domain.deaths_rows() if row["how"] != "exit"][:2]
    text = Text("$ faultplane deaths\n\n")
    for row in rows:
        for number, line in enumerate(deaths.lines(row)):
            short = DIRECTORY.sub(r"\1", line)
            if len(short) > COLUMNS:
                short = short[: COLUMNS - 1] + "…"
            name, gap, summary = short.partition("  ")
            if number == 0:
                text.append(name, "bold").append(gap).append(summary, "red")
            else:
                text.append(short)
            text.append("\n")
        text.append("\n")
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(text, end="", highlight=False, soft_wrap=True)
    return console.export_svg(title="faultplane deaths")


def save(name: str, svg: str) -> None:
    """Write a picture that fetches nothing."""
    svg = FONT_FAMILY.sub("font-family: ui-monospace, Menlo, Consolas, monospace;", svg)
    svg = FONT_FACE.sub("", svg)
    svg = NOTE.sub("", svg)
    svg = "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"
    IMAGES.mkdir(exist_ok=True)
    path = IMAGES / name
    path.write_text(svg)
    print(f"{path.relative_to(IMAGES.parent.parent)}: {len(svg):,} bytes")


def main() -> int:
    """Run the demo, draw both pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--seed", type=int, default=7, help="order of the failures (7)")
    options = parser.parse_args()
    with (
        demo(options.seed) as (process, directory),
        faultplane.attach("demo", str(directory)) as domain,
    ):
        save("top.svg", watch(domain))
        for line in process.stdout or ():
            if line.startswith("The service goes on"):
                break
        save("deaths.svg", bury(domain))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
