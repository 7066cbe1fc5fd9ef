#!/usr/bin/env python3
"""What redaction hides, leaks and mangles, class by class, and its price per message.

    python tools/redaction_table.py [--json] [--rounds N]

The table is counted over tests/golden/redaction.jsonl, with each core that is there. A message
counts as hidden when every secret in it became ``***`` and nothing else changed; as leaked when a
secret is still to be read; as mangled when innocent text changed. Prices are the minimum of
interleaved rounds, in nanoseconds a call of ``redact(text)``, net of what Python asks for calling
a C function with one argument.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT / "tests" / "golden" / "redaction.jsonl"
CORES = {"cython": "faultplane._core.redact", "python": "faultplane._pure.redact"}
CALLS = {"cython": 20_000, "python": 1_000}
COLUMNS = ("cases", "hidden", "unchanged", "leaked", "mangled")

MESSAGES = {
    "innocent, plain": "the payment gateway did not answer in the time it has g",
    "innocent, : = digits": "[Errno 111] Connection refused: host=db1, port=5432 (x)",
    "innocent, time and UUID": "2024-05-01T12:00:00Z order 550e8400-e29b-41d4 not found",
    "URL userinfo": "cannot connect to postgresql://app:hunter2@db/orders now",
    "key=value": "password=hunter2 for user bob at host db1 was not taken.",
    "e-mail address": "the mail to alice@example.com bounced at mx1 for a week",
    "card number": "card 4111 1111 1111 1111 declined by the issuer bank :(",
}
"""Messages of 55 or 56 bytes whose price is told."""


def load_cores() -> dict[str, Any]:
    """The redact module of each core that is there."""
    found = {}
    for name, module in CORES.items():
        try:
            found[name] = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if not (error.name or "").startswith("faultplane"):
                raise
    return found


def verdict(case: dict[str, str], redacted: str) -> str:
    """hidden, unchanged, leaked or mangled."""
    if redacted != case["expected"]:
        return "wrong"
    match case.get("flaw"):
        case "leak":
            return "leaked"
        case "mangle":
            return "mangled"
    return "unchanged" if redacted == case["message"] else "hidden"


def count(redact: Callable[[str], str]) -> dict[str, Counter[str]]:
    """Verdicts per class, in the order of the corpus."""
    classes: dict[str, Counter[str]] = {}
    for line in CORPUS.read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        row = classes.setdefault(case["class"], Counter())
        row["cases"] += 1
        row[verdict(case, redact(case["message"]))] += 1
    return classes


def price(cores: dict[str, Any], rounds: int) -> dict[str, dict[str, float]]:
    """Nanoseconds a message and core, net of the call."""
    best: dict[tuple[str, str], float] = {}
    functions = {name: module.redact for name, module in cores.items()}
    calls: dict[str, Callable[[str], object]] = {**functions, "call": callable}
    for _ in range(rounds):
        for core, function in calls.items():
            number = CALLS.get(core, CALLS["cython"])
            for label, text in MESSAGES.items():
                start = time.perf_counter_ns()
                for _call in range(number):
                    function(text)
                spent = (time.perf_counter_ns() - start) / number
                best[core, label] = min(spent, best.get((core, label), spent))
    return {
        label: {core: best[core, label] - best["call", label] for core in cores}
        for label in MESSAGES
    }


def print_tables(classes: dict[str, Counter[str]], prices: dict[str, dict[str, float]]) -> None:
    """Both tables as text."""
    print(f"{'class':<12}" + "".join(f"{name:>11}" for name in COLUMNS))
    total: Counter[str] = Counter()
    for name, row in classes.items():
        total += row
        print(f"{name:<12}" + "".join(f"{row[column]:>11}" for column in COLUMNS))
    print(f"{'total':<12}" + "".join(f"{total[column]:>11}" for column in COLUMNS))
    cores = list(next(iter(prices.values())))
    print(f"\n{'ns a message':<26}" + "".join(f"{core:>11}" for core in cores))
    for label, row_of in prices.items():
        print(f"{label:<26}" + "".join(f"{row_of[core]:>11.0f}" for core in cores))


def main() -> int:
    """Command line entry; returns 1 when a core does not do what the corpus says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parser.add_argument("--rounds", type=int, default=15, help="rounds of the prices, default 15")
    arguments = parser.parse_args()
    cores = load_cores()
    tables = {name: count(module.redact) for name, module in cores.items()}
    prices = price(cores, max(arguments.rounds, 1))
    if arguments.json:
        print(json.dumps({"classes": tables, "nanoseconds": prices}, indent=1))
    else:
        print_tables(next(iter(tables.values())), prices)
    wrong = {name: sum(row["wrong"] for row in table.values()) for name, table in tables.items()}
    for name, number in wrong.items():
        if number:
            print(f"{name}: {number} messages are not as the corpus has them", file=sys.stderr)
    return 1 if any(wrong.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
