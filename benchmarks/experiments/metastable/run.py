"""One run: a server and its clients, each a process, and what they counted."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field

from benchmarks.experiments.metastable import client, server
from benchmarks.experiments.metastable.model import MODES, Mode, Scenario, Setup

READY_SECONDS = 120.0
END_SECONDS = 60.0
POLL_SECONDS = 0.2
LEAD_SECONDS = 0.3
"""Between the word that it starts and the start."""


class RunFailed(Exception):
    """A process of a run ended early, or did not say in time what it had to say."""


@dataclass
class Run:
    """What was counted, for each tenth of a second from the start, by all processes together.

    The last number of each is of all that came later: what was under way at the end.

    Of clients: ``arrivals`` (requests), ``tries``, ``answered`` (by when the request was made) and
    ``goodput`` (by when it was answered), ``open`` (clients that saw a breaker that was not
    closed). Of the server: ``received``, ``refused``, ``served`` and the length of its ``queue``.
    """

    scenario: str
    mode: str
    setup: Setup
    counts: dict[str, list[int]] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    late_max: float = 0.0
    """The longest that a process was kept waiting by the machine, seconds."""

    def described(self) -> dict:
        """As plain values by name, which `Run.of` reads."""
        return {**asdict(self), "disturbed": self.disturbed}

    @classmethod
    def of(cls, told: dict) -> Run:
        """One that was written as JSON."""
        values = {name: value for name, value in told.items() if name != "disturbed"}
        return cls(**{**values, "setup": Setup(**told["setup"])})

    @property
    def disturbed(self) -> bool:
        """Whether the machine alone could have made tries time out."""
        return self.late_max > self.setup.timeout / 2


class Child:
    """A process and the pipe to it."""

    def __init__(self, context, target, *arguments) -> None:
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=target, args=(theirs, *arguments), daemon=True)
        self.process.start()
        theirs.close()

    def hear(self, seconds: float, called_off: threading.Event):
        """What it says next."""
        until = time.monotonic() + seconds
        try:
            while not self.pipe.poll(POLL_SECONDS):
                if called_off.is_set():
                    raise RunFailed("called off")
                if time.monotonic() > until:
                    raise RunFailed(f"process {self.process.pid} said nothing for {seconds:g} s")
            return self.pipe.recv()
        except (EOFError, ConnectionError):
            self.process.join(5)
            raise RunFailed(f"process ended early: exit code {self.process.exitcode}") from None

    def end(self) -> None:
        """Be sure that it is gone."""
        self.pipe.close()
        self.process.join(1)
        if self.process.is_alive():
            self.process.terminate()
            self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.process.close()


def run(setup: Setup, scenario: Scenario, mode: Mode, called_off: threading.Event) -> Run:
    """Run it; takes ``setup.end`` and a few seconds, less if it is ``called_off`` meanwhile."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    directory = tempfile.mkdtemp(prefix="faultplane-metastable-", dir=memory)
    children: list[Child] = []
    context = multiprocessing.get_context("spawn")
    try:
        path = os.path.join(directory, "socket")
        children.append(Child(context, server.serve, path, setup, scenario))
        children[0].hear(READY_SECONDS, called_off)
        children += [
            Child(context, client.send, path, directory, index, setup, scenario, mode)
            for index in range(setup.clients)
        ]
        for child in children[1:]:
            child.hear(READY_SECONDS, called_off)
        start = time.monotonic() + LEAD_SECONDS
        for child in children:
            child.pipe.send(start)
        told = [child.hear(setup.end + END_SECONDS, called_off) for child in children[1:]]
        children[0].pipe.send("end")
        served = children[0].hear(END_SECONDS, called_off)
        return _added(Run(scenario.name, mode.name, setup), served, told)
    finally:
        for child in children:
            child.end()
        shutil.rmtree(directory, ignore_errors=True)


def _added(found: Run, served: dict, told: list[dict]) -> Run:
    apart = [one for one in told if one["shared"] != MODES[found.mode].shared]
    if apart:
        raise RunFailed(f"{len(apart)} of {len(told)} clients share what they should not, or not")
    found.late_max = max(one["late_max"] for one in (served, *told))
    found.counts = {name: served[name] for name in server.COUNTED}
    for name in client.COUNTED:
        columns = zip(*(one[name] for one in told), strict=True)
        found.counts[name] = [sum(column) for column in columns]
    found.errors = dict(sum((Counter(one["errors"]) for one in told), Counter()))
    return found
