"""Programs that these tests call: Spin and the C compiler, and an exhaustive search with them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

HERE = Path(__file__).parent


def tool(name: str) -> str:
    """Path of a program; without it a test is skipped, or fails where everything is required."""
    found = shutil.which(name)
    if found is None:
        if os.environ.get("FAULTPLANE_REQUIRE_CORE") == "1":
            pytest.fail(f"{name} is required and not there", pytrace=False)
        pytest.skip(f"{name} is not there")
    return found


def run(*command: object, cwd: Path, check: bool = True, timeout: float = 600) -> str:
    """What a program prints; with ``check`` one that fails fails the test."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )
    if check and done.returncode != 0:
        pytest.fail(f"{command[0]} exited with {done.returncode}\n{done.stdout}", pytrace=False)
    return done.stdout


class Verdict(NamedTuple):
    """What an exhaustive search found."""

    errors: int
    states: int
    depth: int
    seconds: float
    violated: str
    unreached: list[str]
    output: str


def search(
    model: str,
    switches: tuple[str, ...],
    cwd: Path,
    *,
    liveness: bool = False,
    fair: bool = False,
    level: str = "-O2",
) -> Verdict:
    """Every state of a model; with ``liveness``, every cycle without progress.

    With ``fair``, only those in which no process that can go on is passed over for ever. Where a
    search ends soon, a ``level`` of optimisation below the usual one costs less than it saves.
    """
    run(tool("spin"), "-a", *switches, HERE / f"{model}.pml", cwd=cwd)
    kind = "-DNP" if liveness else "-DSAFETY"
    options = [level, "-w", kind, "-DCOLLAPSE", "-DVECTORSZ=1024", "-DMEMLIM=2000"]
    run(tool("gcc"), *options, "-o", "pan", "pan.c", cwd=cwd)
    arguments = ["-l"] * liveness + ["-f"] * fair
    output = run("./pan", *arguments, "-m100000", cwd=cwd, check=False)
    counted = re.search(r"depth reached (\d+), errors: (\d+)", output)
    states = re.search(r"([\d.e+]+) states, stored", output)
    seconds = re.search(r"elapsed time ([\d.e+-]+) seconds", output)
    if not (counted and states and seconds):
        pytest.fail(f"the search of {model} did not end\n{output}", pytrace=False)
    violated = re.search(r"pan:1: (.*) \(at depth", output)
    unreached = re.findall(r'^\t.*?(\w+\.pml:\d+), state \d+, "(.*)"$', output, re.MULTILINE)
    return Verdict(
        int(counted[2]),
        int(float(states[1])),
        int(counted[1]),
        float(seconds[1]),
        violated[1] if violated else "",
        [f"{where} {what}" for where, what in unreached],
        output,
    )
