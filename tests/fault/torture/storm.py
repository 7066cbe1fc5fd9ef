"""A storm of errors from several processes into a small domain: exact, bounded, nobody waits.

One process records alone first, for figures to hold the others against; then all record at once:
alone, with a reader polling, and with a budget of rows for each fingerprint and second. After each:

* the sum of counts, and the count of every (fingerprint, type, operation), are the calls made;
* rows written and rows suppressed, by reason and beside their counts, are the calls made;
* rows that can be read and rows retired are the rows written;
* the private memory of a writer did not grow by more than is said from its first tenth to its end;
* how often a writer gave its processor up of its own will, and how often it was taken away.

The variant ``full`` is for a small file system, named by --directory: all but a little of it is
taken before anybody records, given back when rows have been refused, and taken again.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from argparse import Namespace
from array import array
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from faultplane.cli.bench.stalls import told
from faultplane.store import Domain
from torture import command
from torture.stormer import DOMAIN

EXAMPLE = "python -m torture storm --records 100000 --variants quiet storm"
VARIANTS = ("quiet", "storm", "reader", "detail")
FILE_SYSTEM_BYTES_MAX = 256 << 20
"""A larger one is somebody else's: it is not filled."""
GROWTH_KIB_MAX = 1024
PLACE_KIB_MAX = 3
"""Private memory from a tenth of the way on, and for each place still to come, which half of them
are; one byte a record would be more at full length."""
# These leave a record without a row; the others are about something else.
WITHOUT_ROW = {
    "detail_budget", "no_storage", "no_space", "not_initialised", "reentrant", "row_lost",
}  # fmt: skip
WAIT_SECONDS_MAX = 3_600


def main(words: list[str]) -> int:
    """Run the variants that were asked for."""
    parser = command.parser("storm", str(__doc__), EXAMPLE)
    parser.add_argument("--records", type=int, default=2_500_000, help="of each writer")
    parser.add_argument("--quiet-records", type=int, default=500_000, help="of the one alone")
    parser.add_argument("--writers", type=int, default=4, help="at once")
    parser.add_argument("--budget", default="16MiB", help="of the domain")
    parser.add_argument("--places", type=int, default=600, help="errors that come anew on the way")
    parser.add_argument("--detail", type=int, default=100, help="rows a fingerprint and second")
    parser.add_argument("--variants", nargs="+", choices=(*VARIANTS, "full"), default=VARIANTS)
    parser.add_argument("--leaves", type=int, default=2 << 20, help="bytes that full leaves")
    options = parser.parse_args(words)
    found: dict[str, object] = {"core": options.core}
    problems: list[str] = []
    for variant in options.variants:
        with command.place(options) as directory, TemporaryDirectory() as samples:
            report, wrong = run(options, variant, directory, samples)
        found |= {f"{variant}: {name}": value for name, value in report.items()}
        problems += [f"{variant}: {sentence}" for sentence in wrong]
    return command.finish(options, found, problems)


def run(
    options: Namespace, variant: str, directory: Path, samples: str
) -> tuple[dict[str, Any], list[str]]:
    """(What a variant came to, what was wrong with it)."""
    detail = options.detail if variant == "detail" else 0
    variables = {
        "FAULTPLANE_BUDGET_BYTES": options.budget,
        "FAULTPLANE_MESSAGES": "redact",
        "FAULTPLANE_DETAIL_PER_SECOND": str(detail),
    }
    environment = command.environment(options.core, directory, **variables)
    asked = [
        {
            "number": number,
            "records": options.quiet_records if variant == "quiet" else options.records,
            "places": options.places,
            "samples": f"{samples}/{number}",
        }
        for number in range(1 if variant == "quiet" else options.writers)
    ]
    command.say(f"{variant}: {len(asked)} x {asked[0]['records']:,} records")
    with writers(asked, environment) as started, Domain.attach(DOMAIN, directory) as domain:
        if variant == "full":
            fill(directory, options.leaves)
        begun = time.monotonic()
        for writer in started:
            tell(writer)
        polls = poll(started, domain, variant) if variant == "reader" else 0
        if variant == "full":
            polls = fill_again(started, domain, directory, options.leaves)
        accounts = [json.loads(hear(writer)) for writer in started]
        seconds = time.monotonic() - begun
        problems = check(domain, accounts, options.places)
        if detail:
            problems += check_detail(domain, detail)
        report = summary(domain, accounts, seconds)
        if polls:
            report["times that it was full" if variant == "full" else "polls"] = polls
        report |= latency(asked)
        for writer in started:
            tell(writer)
        ended = [writer.wait(WAIT_SECONDS_MAX) for writer in started]
        if any(ended):
            problems.append(f"writers ended with {ended}")
        # The counts of processes that are gone are the same, and so they are once folded.
        problems += check_counts(domain, accounts)
    return report, problems


# ------------------------------------------------------------------------------------ processes


@contextmanager
def writers(
    asked: list[dict[str, Any]], environment: dict[str, str]
) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes of `torture.stormer` that are ready to record; killed at the end."""
    words = [sys.executable, "-m", "torture.stormer"]
    started: list[subprocess.Popen[str]] = []
    try:
        for account in asked:
            started.append(
                subprocess.Popen(
                    [*words, json.dumps(account)],
                    env=environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
        for writer in started:
            if (line := hear(writer)) != "ready":
                raise RuntimeError(f"a writer said {line!r} where it should have been ready")
        yield started
    finally:
        for writer in started:
            writer.kill()
            writer.communicate()


def tell(writer: subprocess.Popen[str]) -> None:
    """Let a writer go on."""
    assert writer.stdin is not None
    writer.stdin.write("go\n")
    writer.stdin.flush()


def hear(writer: subprocess.Popen[str]) -> str:
    """The next line of a writer."""
    assert writer.stdout is not None
    line = writer.stdout.readline()
    if not line:
        raise RuntimeError(f"a writer ended with {writer.wait(WAIT_SECONDS_MAX)}")
    return line.strip()


def poll(started: list[subprocess.Popen[str]], domain: Domain, variant: str) -> int:
    """Read everything as fast as it comes, until every writer has said something."""
    waiting = [writer.stdout for writer in started]
    progress = command.Progress(30)
    polls, seen, counted = 0, 0, 0
    cursor = domain.cursor()
    while waiting:
        records = domain.records(since=cursor)
        cursor = records.cursor
        seen += len(records) + records.lost
        now = sum(row["count"] for row in domain.counts_rows())
        if now < counted:
            raise AssertionError(f"a reader's sum fell from {counted} to {now}")
        polls, counted = polls + 1, now
        ready, _, _ = select.select(waiting, [], [], 0)
        waiting = [pipe for pipe in waiting if pipe not in ready]
        progress.say(f"{variant}: {polls} polls, {seen:,} rows seen or lost, {counted:,} counted")
    return polls


def fill(directory: Path, leaves: int) -> None:
    """Take all but ``leaves`` bytes of a small file system, by a file named ballast."""
    space = os.statvfs(directory)
    if space.f_blocks * space.f_frsize > FILE_SYSTEM_BYTES_MAX:
        raise ValueError(f"{directory} is on a file system of more than {FILE_SYSTEM_BYTES_MAX} B")
    with (directory / "ballast").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(space.f_bavail * space.f_frsize - leaves, 1))


def fill_again(
    started: list[subprocess.Popen[str]], domain: Domain, directory: Path, leaves: int
) -> int:
    """How often it was full: given back when rows were refused, taken when some were written."""
    ballast = directory / "ballast"
    times = 1
    refused = 0
    while True:
        while no_space(domain) == refused and not all_said(started):
            time.sleep(0)
        ballast.unlink()
        rows = len(domain.records()) + retired_rows(domain)
        while len(domain.records()) + retired_rows(domain) == rows and not all_said(started):
            time.sleep(0)
        if all_said(started):
            return times
        fill(directory, leaves)
        times += 1
        refused = no_space(domain)


def all_said(started: list[subprocess.Popen[str]]) -> bool:
    """Whether every writer has said what it did."""
    pipes = [writer.stdout for writer in started]
    return len(select.select(pipes, [], [], 0)[0]) == len(pipes)


def no_space(domain: Domain) -> int:
    """Rows that were refused for want of space."""
    return sum(row["count"] for row in domain.drops_rows() if row["reason"] == "no_space")


# --------------------------------------------------------------------------------------- checks


def check(domain: Domain, accounts: list[dict[str, Any]], places: int) -> list[str]:
    """What is wrong with counts, rows and memory; nobody records meanwhile."""
    problems = check_counts(domain, accounts)
    growth_max = GROWTH_KIB_MAX + PLACE_KIB_MAX * places // 2
    calls = sum(account["calls"] for account in accounts)
    written = sum(account["rows"] for account in accounts)
    drops = {row["reason"]: row["count"] for row in domain.drops_rows()}
    dropped = sum(drops.get(reason, 0) for reason in WITHOUT_ROW)
    suppressed = sum(row["suppressed"] for row in domain.counts_rows())
    if written + dropped != calls:
        problems.append(f"{written} rows and {dropped} drops ({drops}) of {calls} calls")
    if suppressed != dropped:
        problems.append(f"counts say {suppressed} suppressed, drops {dropped}: {drops}")
    visible, retired = len(domain.records()), retired_rows(domain)
    if visible + retired != written:
        problems.append(f"{visible} rows seen and {retired} retired of {written} written")
    for account in accounts:
        grown = growth_kib(account)
        if grown > growth_max:
            problems.append(f"private memory grew by {grown} KiB: {account['private_kib']}")
    return problems + [f"a store says: {problem}" for problem in domain.problems()]


def check_counts(domain: Domain, accounts: list[dict[str, Any]]) -> list[str]:
    """Where the library's counts differ from what the writers say they did."""
    expected: Counter[tuple[int, str, str]] = Counter()
    for account in accounts:
        for fingerprint, kind, operation, count in account["counts"]:
            expected[fingerprint, kind, operation] += count
    counted: Counter[tuple[int, str, str]] = Counter()
    for row in domain.counts_rows():
        counted[row["fingerprint"], row["type"], row["operation"]] += row["count"]
    calls = sum(account["calls"] for account in accounts)
    problems = []
    if not counted.total() == expected.total() == calls:
        problems.append(f"{counted.total()} counted, {expected.total()} by the writers, {calls}")
    wrong = [key for key in expected | counted if expected[key] != counted[key]]
    problems += [f"{key}: {counted[key]} counted of {expected[key]}" for key in wrong[:5]]
    return problems


def check_detail(domain: Domain, detail: int) -> list[str]:
    """Whether any fingerprint got more rows in a second of a process than the budget."""
    rows: Counter[tuple[int, int, int]] = Counter()
    for row in domain.records().rows():
        rows[row["owner"], row["fingerprint"], row["mono_nano"] // 1_000_000_000] += 1
    over = {key: count for key, count in rows.items() if count > detail}
    return [f"{count} rows of {key}, budget {detail}" for key, count in list(over.items())[:5]]


def retired_rows(domain: Domain) -> int:
    """Rows of segments that are gone, of every store of the domain."""
    return sum(reader.store.retired()[1] for reader in domain._stores().values())


def growth_kib(account: dict[str, Any]) -> int:
    """Private memory at the end over that at a tenth of the way."""
    memory: list[int] = account["private_kib"]
    return memory[-1] - memory[len(memory) // 10 - 1]


# -------------------------------------------------------------------------------------- figures


def summary(domain: Domain, accounts: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Figures of a variant."""
    calls = sum(account["calls"] for account in accounts)
    written = sum(account["rows"] for account in accounts)
    drops = {row["reason"]: row["count"] for row in domain.drops_rows() if row["count"]}
    voluntary = [account["voluntary"] for account in accounts]
    return {
        "calls": calls,
        "counted": sum(row["count"] for row in domain.counts_rows()),
        "series": len(domain.counts_rows()),
        "rows written": written,
        "rows visible": len(domain.records()),
        "rows retired": retired_rows(domain),
        "drops": drops,
        "written again": sum(account["rehomed"] for account in accounts),
        "private KiB at 10 %, at the end": [
            (account["private_kib"][1], account["private_kib"][-1]) for account in accounts
        ],
        "gave up the processor": voluntary,
        "a million records": round(sum(voluntary) * 1e6 / calls, 2),
        "lost the processor": [account["involuntary"] for account in accounts],
        "seconds": round(seconds, 1),
    }


def latency(asked: list[dict[str, Any]]) -> dict[str, str]:
    """Quantiles of single records, in microseconds, net of the clocks."""
    samples: list[tuple[int, int, int]] = []
    for account in asked:
        words = array("Q")
        words.frombytes(Path(account["samples"]).read_bytes())
        samples += zip(words[::3], words[1::3], words[2::3], strict=True)
    figures = told(samples)
    report = {"samples, preempted": f"{figures['samples']:,}, {figures['preempted']:,}"}
    names = {"wall": "µs", "not_preempted": "µs, not preempted", "own": "µs, processor"}
    for name, unit in names.items():
        spread = figures[name]
        report[unit] = ", ".join(f"{share} {value / 1e3:.2f}" for share, value in spread.items())
    return report
