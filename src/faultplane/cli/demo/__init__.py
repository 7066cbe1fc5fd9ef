"""Run a real service, fail it, kill its workers, and explain what happened.

gunicorn with 4 workers under ``faultplane run`` calls an upstream that fails over real sockets.
While it is under load one worker is killed by SIGKILL, one dies of a segmentation fault, one takes
more memory than the server's cgroup has, and one hangs in C until gunicorn kills it. Where no
memory cgroup can be made that is said, and three die. Then four processes call an upstream that
goes down for a while, twice: with retries alone, and with a retry budget and a circuit breaker that
they share. All traffic stays on loopback.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import faultplane
from faultplane.cli import EXIT_FOUND_TROUBLE, EXIT_OK, ends_in_order, this_command, whole
from faultplane.cli.demo import outage, report
from faultplane.cli.demo.load import Load, ask, somebody_at_work
from faultplane.cli.demo.memory_cgroup import MemoryCgroup, NotPermitted
from faultplane.cli.demo.upstream import Upstream, unused_port
from faultplane.cli.output import coloured, paint
from faultplane.cli.top_view import View, lines
from faultplane.errors import DomainNotFound, MissingExtra

EXAMPLES: Final = (
    "faultplane demo",
    "faultplane demo --seconds 60 --seed 7",
    "faultplane demo --keep        # leaves it running for faultplane top",
)
WORKERS: Final = 4
CLIENTS: Final = 6
SECONDS_MIN: Final = 16
NEXT: Final = (
    "demo --keep    # the service goes on; it says how to watch it",
    "run -- python your_program.py",
    "top            # what your program recorded",
)
HANG_SECONDS: Final = 3
MEMORY_BYTES: Final = 512 << 20
"""What the server and its workers have together, where a cgroup can be made."""
START_SECONDS_MAX: Final = 30.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    parser.add_argument(
        "--seconds",
        type=whole(SECONDS_MIN),
        default=20,
        help=f"how long to fail, from {SECONDS_MIN} on (20)",
    )
    parser.add_argument("--seed", type=int, help="order of the failures (default: a new one)")
    parser.add_argument("--keep", action="store_true", help="leave the service running")


def run(options: argparse.Namespace) -> int:
    """Run the demo; status 1 when the ledger, the answers or the deaths are not as they must be."""
    if find_spec("gunicorn") is None:
        raise MissingExtra("the demo", package="gunicorn", extra="demo")
    seed = options.seed if options.seed is not None else secrets.randbits(32)
    with contextlib.ExitStack() as stack:
        stack.enter_context(ends_in_order())
        directory = Path(_directory())
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        upstream = stack.enter_context(Upstream())
        port = unused_port()
        group, why_not = _memory_cgroup(stack)
        server = stack.enter_context(_server(directory, port, upstream.port, group))
        _wait_for(port, server, directory / "gunicorn.log")
        print(f"core {faultplane.core}, {WORKERS} workers, {CLIENTS} clients, seed {seed}")
        print(why_not or f"{MEMORY_BYTES >> 20} MiB of memory for all of them, in a cgroup")
        kinds = 3 if group is None else 4
        status = _fail(directory, port, options.seconds, seed, kinds)
        if not _outage(directory):
            status = EXIT_FOUND_TROUBLE
        if options.keep:
            _stay(directory, server)
        else:
            print("\nWhat to try next:")
            for words in NEXT:
                print(f"  {this_command()} {words}")
        return status


def _outage(directory: Path) -> bool:
    """The upstream goes down, without policies and with them; whether it was spared."""
    seconds = outage.DOWN_UNTIL - outage.DOWN_FROM
    print("\n" + paint(f"An upstream that is down for {seconds:g} s", "bold") + "\n", flush=True)
    without = outage.run(directory, policies=False)
    policies = outage.run(directory, policies=True)
    print("\n".join(outage.lines(without, policies)))
    return outage.adds_up(without, policies)


def _directory() -> str:
    shared = Path("/dev/shm")  # noqa: S108 - where shared memory is on Linux
    usable = shared.is_dir() and os.access(shared, os.W_OK)
    return tempfile.mkdtemp(prefix="faultplane-demo-", dir=shared if usable else None)


def _memory_cgroup(stack: contextlib.ExitStack) -> tuple[MemoryCgroup | None, str]:
    """A cgroup that goes with ``stack``, or None and a sentence about what refused it."""
    try:
        group = MemoryCgroup(f"faultplane-demo-{os.getpid()}", MEMORY_BYTES)
    except NotPermitted as error:
        return None, f"no kill for want of memory, since no cgroup can be made here: {error}"
    return stack.enter_context(group), ""


@contextlib.contextmanager
def _server(
    directory: Path, port: int, upstream_port: int, group: MemoryCgroup | None
) -> Iterator[subprocess.Popen[bytes]]:
    """A gunicorn below ``faultplane run``, ended with its workers at the end.

    It is in ``group`` before its first instruction, and so are its workers: a process notes its
    cgroup when it begins to record.
    """
    environment = {
        **os.environ,
        "DEMO_UPSTREAM_PORT": str(upstream_port),
        "DEMO_UNUSED_PORT": str(unused_port()),
        "FAULTPLANE_BUDGET_BYTES": os.environ.get("FAULTPLANE_BUDGET_BYTES", str(32 << 20)),
    }
    command = [
        sys.executable, "-m", "faultplane", "run", "--service", "shop", "--domain", "demo",
        "--directory", str(directory), "--",
        sys.executable, "-m", "gunicorn", "--workers", str(WORKERS), "--bind",
        f"127.0.0.1:{port}", "--timeout", str(HANG_SECONDS), "--graceful-timeout", "3",
        "--no-control-socket", "--worker-tmp-dir", str(directory),
        "faultplane.cli.demo.shop:application",
    ]  # fmt: skip
    if group is not None:
        command = ["/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group.entrance), *command]
    with (directory / "gunicorn.log").open("wb") as log:
        server = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield server
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while (answer := ask(port, "/who", 1.0)) is None or not answer.said:
        if server.poll() is not None or time.monotonic() > deadline:
            raise DomainNotFound(f"the demo's server did not start:\n{log.read_text()[-2000:]}")
        time.sleep(0.1)


def _fail(directory: Path, port: int, seconds: int, seed: int, kinds: int) -> int:
    """Load, as many ``kinds`` of deaths, live table, report; the exit status."""
    with faultplane.attach("demo", str(directory)) as domain:
        with Load(port, CLIENTS, seed) as load:
            killer = threading.Thread(target=_kill, args=(port, seconds, kinds), daemon=True)
            killer.start()
            _watch(domain, seconds)
            killer.join(HANG_SECONDS + 10)
        measured = ask(port, "/price")
        _settle(domain)
        died = [row for row in domain.deaths_rows() if row["how"] != "exit"]
        book, adds_up = report.ledger(domain, load)
        told, answered = report.answers(load, len(died))
        print("\n" + paint("Every failure, three times over", "bold") + "\n")
        print("\n".join(book + told))
        print("\n" + paint(f"{len(died)} workers died", "bold") + "\n")
        print("\n".join(report.deaths_side_by_side(domain, directory / "gunicorn.log")))
        print(paint("SQL over the memory of the dead", "bold") + "\n")
        print("\n".join(report.query(domain)))
        print("\n" + paint("The price", "bold") + "\n")
        print("\n".join(report.price(measured)))
    explained = not _manners(kinds) - Counter((row["how"], row["signal_name"]) for row in died)
    return EXIT_OK if adds_up and answered and explained else EXIT_FOUND_TROUBLE


def _manners(kinds: int) -> Counter[tuple[str, str]]:
    """How the workers must be told to have died: (how, name of the signal)."""
    # gunicorn aborts the one that hangs before it kills it, which takes a handler in C to notice.
    aborted = ("signal", "SIGABRT") if faultplane.core == "cython" else ("unknown", "")
    return Counter([("unknown", ""), ("signal", "SIGSEGV"), aborted, ("oom", "")][:kinds])


def _kill(port: int, seconds: int, kinds: int) -> None:
    """SIGKILL, a segmentation fault, perhaps too much memory, a hang in C, spread over the run."""
    pause = (seconds - 3 * HANG_SECONDS) / kinds
    time.sleep(pause)
    worker = somebody_at_work(port)
    if worker is not None:
        time.sleep(0.2)
        os.kill(worker, signal.SIGKILL)
    time.sleep(pause)
    ask(port, "/crash")
    time.sleep(pause)
    if kinds > 3:
        ask(port, "/hoard")
        time.sleep(pause)
    ask(port, "/hang", 2.0 * HANG_SECONDS + 4)


def _watch(domain: faultplane.Domain, seconds: int) -> None:
    """The live table, for as long as the load lasts."""
    view = View(domain)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        view.look()
        if coloured():
            print("\x1b[H\x1b[2J" + "\n".join(lines(view)), flush=True)
        else:
            print(lines(view)[0], flush=True)
        time.sleep(1.0 if coloured() else 4.0)


def _settle(domain: faultplane.Domain) -> None:
    """Wait until the counts stand still: the last requests have been answered."""
    before = -1
    for _ in range(20):
        now = sum(row["count"] for row in domain.counts_rows())
        if now == before:
            return
        before = now
        time.sleep(0.2)


def _stay(directory: Path, server: subprocess.Popen[bytes]) -> None:
    print(f"\nThe service goes on. In another terminal:\n  export FAULTPLANE_DIR={directory}")
    print(f"  {this_command()} top --domain demo\nCtrl-C ends it.", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        server.wait()
