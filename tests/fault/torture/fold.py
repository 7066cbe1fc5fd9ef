"""Counts of the dead: owners and those who fold them are killed, ids come round again.

* kill: owners are killed while they count and register, maintainers while they fold, at moments
  that nobody chose; readers sum all the while. No sum falls, or is less than what had returned, or
  more than was attempted; in the end it is the same before and after everybody is buried.
* ids: one slot has 70,000 owners, one after the other; its generation passes the 16 bits that a
  lane word has of it, where real processes record and die.
* sleeper: a stopped process of another PID namespace wakes up when its slot and the 16 bits of its
  generation are somebody else's.
* incarnations: the last of the 2^32 numbers that owners have.
* series: owners with tens of thousands of series between them.

After each, no file is left that should not be, and none is larger than it may be.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from torture import command

EXAMPLE = "python -m torture fold --parts kill ids --deaths 200 --times 1000"
PARTS = ("kill", "ids", "sleeper", "incarnations", "series")


def main(words: list[str]) -> int:
    """Run the parts that were asked for, each in a domain of its own."""
    parser = command.parser("fold", str(__doc__), EXAMPLE)
    parser.add_argument("--deaths", type=int, default=1_000, help="owners that are killed")
    parser.add_argument("--kills", type=int, default=1_000, help="maintainers that are killed")
    parser.add_argument("--times", type=int, default=70_000, help="owners that one slot has")
    parser.add_argument("--owners", type=int, default=16, help="with series of their own")
    parser.add_argument("--series", type=int, default=3_500, help="of each of these")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args(words)
    seed = command.seed_of(options)
    asked: dict[str, dict[str, Any]] = {
        "kill": {
            "seed": seed, "deaths": options.deaths, "kills": options.kills, "workers": 3,
            "maintainers": 2, "readers": 2, "calls": 400, "pause_seconds": 0.01,
            "budget_bytes": 4 << 20,
        },
        "ids": {"times": options.times, "real": 6, "budget_bytes": 4 << 20},
        "sleeper": {"generation": 5, "budget_bytes": 4 << 20},
        "incarnations": {"budget_bytes": 2 << 20},
        "series": {"owners": options.owners, "series": options.series, "budget_bytes": 16 << 20},
    }  # fmt: skip
    found: dict[str, object] = {"core": options.core, "seed": seed}
    problems: list[str] = []
    for part in options.parts:
        with command.place(options) as directory:
            command.say(f"{part}: {asked[part]}")
            report, problem = run(options.core, part, asked[part], directory, None)
        found |= {f"{part}: {name}": value for name, value in report.items()}
        problems += [f"{part}: {problem}"] if problem else []
    return command.finish(options, found, problems)


def run(
    core: str, part: str, asked: dict[str, Any], directory: Path, said: int | None = subprocess.PIPE
) -> tuple[dict[str, Any], str]:
    """(Figures of a part, what was wrong with it or nothing). ``said``: where its progress goes."""
    done = subprocess.run(
        [sys.executable, "-m", "torture.folding", part, json.dumps(asked)],
        env=command.environment(core, directory),
        stdout=subprocess.PIPE,
        stderr=said,
        text=True,
        check=False,
    )
    if done.returncode:
        words = done.stderr[-4000:] if done.stderr else "see above"
        return {}, f"ended with {done.returncode}: {words}"
    return json.loads(done.stdout), ""
