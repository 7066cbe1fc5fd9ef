"""What the command lines of all runs have in common: core, seed, place, progress, JSON."""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CORES = ("cython", "python")


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Paragraphs as they are written, and each default that is a value."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False) else super()._get_help_string(action)


def parser(name: str, description: str, example: str) -> argparse.ArgumentParser:
    """Options of a run; a run adds its own sizes, whose defaults are its full length."""
    made = argparse.ArgumentParser(
        prog=f"python -m torture {name}",
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=_Help,
    )
    made.add_argument("--core", choices=CORES, default="cython", help="which core")
    made.add_argument("--seed", type=int, help="the same moments again; default: a new one")
    made.add_argument("--directory", help="where domains are made; default: below /dev/shm")
    made.add_argument("--json", action="store_true", help="print what was found as JSON, alone")
    return made


def seed_of(options: argparse.Namespace) -> int:
    """The seed of a run, which is said before anything happens."""
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    say(f"seed {seed} (again with --seed {seed})")
    return seed


@contextmanager
def place(options: argparse.Namespace) -> Iterator[Path]:
    """A fresh directory for domains, removed afterwards."""
    where = options.directory or ("/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    directory = Path(tempfile.mkdtemp(prefix="faultplane-torture-", dir=where))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def environment(core: str, directory: Path, **variables: str) -> dict[str, str]:
    """The environment of a child that records into ``directory`` with ``core``."""
    import faultplane

    kept = {name: value for name, value in os.environ.items() if not name.startswith("FAULTPLANE_")}
    source = str(Path(next(iter(faultplane.__path__))).parent)
    here = str(Path(__file__).resolve().parent.parent)
    searched = [source, here, kept.get("PYTHONPATH", "")]
    kept["PYTHONPATH"] = os.pathsep.join(path for path in searched if path)
    return {**kept, "FAULTPLANE_CORE": core, "FAULTPLANE_DIR": str(directory), **variables}


def say(text: str) -> None:
    """A line of progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


class Progress:
    """Says how far a long run is, at most every ``every_seconds``."""

    def __init__(self, every_seconds: float = 5.0) -> None:
        self.every_seconds = every_seconds
        self.start = self.last = time.monotonic()

    def say(self, text: str) -> None:
        """A line, unless the last one is too near."""
        now = time.monotonic()
        if now - self.last >= self.every_seconds:
            self.last = now
            say(f"{now - self.start:6.0f} s  {text}")


def finish(options: argparse.Namespace, found: dict[str, object], problems: list[str]) -> int:
    """Print what a run found, as a table or as JSON; 1 when something was wrong."""
    if options.json:
        print(json.dumps({**found, "problems": problems}))
    else:
        width = max(map(len, found), default=0)
        for name, value in found.items():
            shown = f"{value:,}" if isinstance(value, int) else value
            print(f"{name:{width}}  {shown}")
        for problem in problems:
            print(f"WRONG: {problem}")
    return 1 if problems else 0
