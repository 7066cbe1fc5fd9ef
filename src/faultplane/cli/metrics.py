"""The metrics of a domain, for Prometheus: printed once, or served over HTTP.

Counts are exact and those of all processes of the domain, the dead included. Of each service the
largest series are told apart, the rest is summed as other.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import os
import signal
import sys
from typing import Final

from faultplane import MetricsApp
from faultplane.cli import EXIT_OK, EXIT_USAGE, add_domain, add_json, attach, whole
from faultplane.cli.output import print_json
from faultplane.errors import InvalidSetting
from faultplane.monitor.metrics import Limits
from faultplane.monitor.metrics_server import MetricsServer, parse_address

EXAMPLES: Final = (
    "faultplane metrics",
    "faultplane metrics --serve 9464                 # http://127.0.0.1:9464/metrics",
    "faultplane metrics --serve 0.0.0.0:9464 --domain checkout --fingerprints 50",
    "faultplane metrics --json | jq 'select(.name==\"faultplane_errors_total\")'",
)

_ADVICE: Final = {
    errno.EADDRINUSE: "; name another port, or 0 for one that is free",
    errno.EACCES: "; ports below 1024 are for root, name another, such as 9464",
    errno.EADDRNOTAVAIL: "; no interface has that address, 0.0.0.0 is all of them",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    add_domain(parser)
    add_json(parser)
    parser.add_argument(
        "--openmetrics", action="store_true", help="print OpenMetrics 1.0.0, not Prometheus text"
    )
    parser.add_argument(
        "--serve",
        type=_address,
        metavar="[HOST:]PORT",
        help="serve /metrics there until stopped; on 127.0.0.1 unless a host is named, port 0 is "
        "one that is free",
    )
    parser.add_argument(
        "--read-only",
        action="store_true",
        help="with --serve: leave processes that are found dead to others to tidy up",
    )
    told = {
        "services": "services",
        "operations": "pairs of operation and kind of each service",
        "fingerprints": "fingerprints of each service",
        "events": "counters of each service",
        "dependencies": "dependencies of each store",
    }
    for name, most in Limits()._asdict().items():
        parser.add_argument(
            f"--{name}", type=whole(1), default=most, metavar="N",
            help=f"{told[name]} that are told apart ({most})",
        )  # fmt: skip


def _address(text: str) -> tuple[str, int]:
    try:
        return parse_address(text)
    except InvalidSetting as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def run(options: argparse.Namespace) -> int:
    """Print the metrics, or serve them until told to stop."""
    if options.json and (options.openmetrics or options.serve):
        options.parser.error("--json goes with neither --openmetrics nor --serve")
    app = MetricsApp(
        options.domain,
        options.directory,
        maintain=bool(options.serve) and not options.read_only,
        **{name: getattr(options, name) for name in Limits._fields},
    )
    try:
        if options.serve:
            return _serve(app, *options.serve)
        with attach(options):
            pass  # says what is wrong with a domain that cannot be read
        if options.json:
            print_json(
                {"name": family.sample_name, "labels": labels.pairs, "value": value}
                for family in app.families()
                for labels, value in family.samples
            )
        else:
            print(app.text(openmetrics=options.openmetrics), end="")
        for problem in app.problems:
            print(f"faultplane metrics: {problem}", file=sys.stderr)
    finally:
        app.close()
    return EXIT_OK


def _serve(app: MetricsApp, host: str, port: int) -> int:
    """Serve until SIGTERM or SIGHUP, which end it in order, or Ctrl-C."""

    def started(url: str) -> None:
        print(f"serving {url}", file=sys.stderr, flush=True)

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        serving = loop.create_task(MetricsServer(app, host, port).run(started))
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, serving.cancel)
        # Ctrl-C cancels this function instead, which asyncio turns into KeyboardInterrupt.
        await asyncio.wait([serving])
        if not serving.cancelled():
            serving.result()

    try:
        asyncio.run(serve())
    except OSError as error:
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        print(f"faultplane metrics: cannot serve {where}: {_reason(error)}", file=sys.stderr)
        return EXIT_USAGE
    return EXIT_OK


def _reason(error: OSError) -> str:
    """What the system says, and what to do; asyncio puts the address around it."""
    # From Python 3.13 on asyncio passes over an address that is of no interface, and says in an
    # error without a number that none was left.
    number = errno.EADDRNOTAVAIL if error.errno is None else error.errno
    said = os.strerror(number) if number > 0 else str(error.strerror or error)
    return said + _ADVICE.get(number, "")
