"""Processes that call the other side through one dependency, each doing what it is told.

A `Part` is what one process does; a `Caller` is another process that does it, and its end of the
line to it: a word and arguments go there as JSON, one answer comes back.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from other_side import OtherSide

import faultplane as fp
from faultplane import errors
from faultplane.store.control import CellState, ControlFile

RECLAIM_SECONDS = 0.02
"""A process that is refused looks whose owners died so often at most: `RECLAIM_MS` of guard.pyx."""
TICK_SECONDS = 0.011
"""What a clock that is read coarsely, and in milliseconds, may be behind: a tick of Linux at most.
"""
PR_SET_PDEATHSIG = 1
END = "end"


class Part:
    """What a process does with a dependency. Each method that a caller may be told gives JSON."""

    def __init__(self, dependency: fp.Dependency, side: OtherSide) -> None:
        self.dependency, self.side = dependency, side
        self.stay: Callable[[], None] = lambda: None
        self.say: Callable[[object], None] = lambda answer: None
        self.listen: Callable[[], Any] = lambda: None

    # ----------------------------------------------------------------------- the other side

    def visit(self, how: str) -> str:
        """Be there: ``ok``, ``fail``, ``ignore``, ``hang``, or ``wait`` for one of these words."""
        self.side.note("in")
        try:
            self.stay()
            if how == "wait":
                self.say("in")
                how = self.listen()
            if how == "fail":
                raise ConnectionError("down")
            if how == "ignore":
                raise NotImplementedError("about the caller")
            if how == "stop":
                raise KeyboardInterrupt
            return how
        finally:
            self.side.note("out")

    async def visit_async(self, how: str, entered: asyncio.Event | None = None) -> str:
        """The same for a coroutine; ``hang`` is for as long as nobody cancels it."""
        self.side.note("in")
        try:
            if entered is not None:
                entered.set()
            if how == "hang":
                await asyncio.Event().wait()
            if how == "fail":
                raise ConnectionError("down")
            return how
        finally:
            self.side.note("out")

    # ------------------------------------------------------------------------------- calling

    def call(self, how: str, times: int = 1) -> str:
        """How a call ended, the last of ``times`` or the first that was rejected."""
        answer = ""
        for _ in range(times):
            answer = outcome(lambda: self.dependency.call(self.visit, how))
            if answer in {"rejected", "full"}:
                break
        return answer

    def refused(self, times: int) -> int:
        """How many of so many calls were rejected."""
        return sum(self.call("ok") in {"rejected", "full"} for _ in range(times))

    def cancelled(self) -> str:
        """A coroutine's call that is cancelled, when told so, while it is there."""

        async def main() -> str:
            entered = asyncio.Event()
            task = asyncio.create_task(self.dependency.acall(self.visit_async, "hang", entered))
            await entered.wait()
            self.say("in")
            self.listen()
            task.cancel()
            try:
                return await task
            except asyncio.CancelledError:
                return "cancelled"

        return asyncio.run(main())

    def timed(self) -> str:
        """A coroutine's call that ends with the timeout of the dependency."""

        async def main() -> str:
            try:
                return await self.dependency.acall(self.visit_async, "hang")
            except TimeoutError:
                return "failed"

        return asyncio.run(main())

    def dropped(self) -> str:
        """A call of which nobody says how it ended."""
        call = self.dependency.guard.begin()
        self.say("in")
        self.listen()
        del call
        return "dropped"

    def closed(self) -> str:
        """A generator that is closed before its end."""

        @self.dependency
        def stream() -> Any:
            yield "one"

        values = stream()
        next(values)
        self.say("in")
        self.listen()
        values.close()
        return "closed"

    def begun(self) -> str:
        """A probe that nobody gives back, or says anything of, while its process lives on."""
        self.dependency.cell.admit()
        self.say("in")
        self.listen()
        return "forgotten"

    # ------------------------------------------------------------------------------- looking

    def state(self) -> str:
        """The breaker's state."""
        return self.dependency.state

    def read(self) -> CellState:
        """The whole cell, as any process reads it."""
        file, index = self.place()
        return file.read(index)

    def place(self) -> tuple[ControlFile, int]:
        """Where the cell is."""
        self.state()  # has it attach, if it has not yet
        place = self.dependency._place
        assert place._file is not None, place.problem
        return place._file, place._index


def outcome(call: Callable[[], str]) -> str:
    """What a call gave, or in a word what it raised."""
    try:
        return call()
    except errors.BreakerOpen:
        return "rejected"
    except errors.LimitExceeded:
        return "full"
    except (ConnectionError, TimeoutError):
        return "failed"
    except NotImplementedError:
        return "ignored"
    except KeyboardInterrupt:
        return "stopped"


class Caller:
    """Another process that plays ``part``: a fork of this one."""

    def __init__(self, part: Part) -> None:
        theirs, self._calls = os.pipe()
        self._answers, answers = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            play(part, theirs, answers)
        os.close(theirs)
        os.close(answers)
        self._heard = b""

    def tell(self, *words: object) -> None:
        """Have it do something: the name of a method of its part, and arguments; or a word."""
        os.write(self._calls, json.dumps(words).encode() + b"\n")

    def hear(self) -> Any:
        """Its next answer."""
        while b"\n" not in self._heard:
            data = os.read(self._answers, 65_536)
            assert data, f"caller {self.pid} ended with {os.waitpid(self.pid, 0)[1]:#x}"
            self._heard += data
        line, _, self._heard = self._heard.partition(b"\n")
        return json.loads(line)

    def ask(self, *words: object) -> Any:
        """Tell and hear."""
        self.tell(*words)
        return self.hear()

    def kill(self) -> int:
        """kill -9, and wait until it is gone; a time at which it still was there."""
        before = time.monotonic_ns()
        os.kill(self.pid, signal.SIGKILL)
        self._gone()
        return before

    def end(self) -> None:
        """Let it end in order."""
        self.tell(END)
        assert self._gone() == 0

    def _gone(self) -> int:
        os.close(self._calls)
        os.close(self._answers)
        return os.waitpid(self.pid, 0)[1]


def play(part: Part, calls: int, answers: int) -> None:
    """Do what comes in on a line until it is `END`, then end the process."""

    def say(answer: object) -> None:
        os.write(answers, json.dumps(answer).encode() + b"\n")

    status = 97
    try:
        with os.fdopen(calls) as lines:
            part.say, part.listen = say, lambda: json.loads(lines.readline())[0]
            while (words := json.loads(lines.readline()))[0] != END:
                name, *words = words
                say(getattr(part, name)(*words))
        status = 0
    except BaseException:  # whatever it is, the code of the parent must not go on here
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


class Started(Caller):
    """The same in a process that was not forked from this one: ``program`` makes its part."""

    def __init__(self, program: str) -> None:
        theirs, self._calls = os.pipe()
        self._answers, answers = os.pipe()
        code = f"import callers, {program}; callers.play({program}.part(), {theirs}, {answers})"
        for descriptor in (theirs, answers):
            os.set_inheritable(descriptor, True)
        self.pid = os.posix_spawn(
            sys.executable, [sys.executable, "-W", "error", "-c", code], os.environ
        )
        os.close(theirs)
        os.close(answers)
        self._heard = b""


def admitted_soon(call: Callable[[], str], refusals: frozenset[str]) -> str:
    """The first answer of ``call`` that is no refusal: what a dead process held has come back.

    A call that begins `RECLAIM_SECONDS` after another was refused must not be: whoever is refused
    looks for the dead, and not again for that long. So the bound is not one on how fast it is.
    """
    first = None
    while True:
        begun = time.monotonic()
        answer = call()
        if answer not in refusals:
            return answer
        first = begun if first is None else first
        assert begun <= first + RECLAIM_SECONDS + 2 * TICK_SECONDS, (
            f"what a dead process held has not come back after {begun - first:.3f} s"
        )


REJECTED = frozenset({"rejected"})
FULL = frozenset({"full"})
