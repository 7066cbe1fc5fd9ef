"""``python step_driver.py SCENE kill|hold [STRIDE]``: stop a process after each of its steps.

Run with ``tracer.c`` preloaded. Prints what was done as JSON; a claim that does not hold is an
AssertionError that names the step.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from pathlib import Path

from step_checks import Beginning, Expectation
from step_scenes import OTHERS, SCENES, SHORT, Actor, Scene
from stepping import Ledger, Tracer, done, ended, fresh, go_on, in_child, is_held, orphans_ended

import faultplane as fp
from faultplane import schema
from faultplane._backend import core
from faultplane.store import lifecycle, locks

PLACE = Path(os.environ["FAULTPLANE_DIR"])
TEMPLATE, LIVE = PLACE / "template", PLACE / "live"


def import_all() -> None:
    """Import here what the processes would import, each for itself, while they are stopped."""
    said, say = os.pipe()

    def work() -> None:
        fp.init("first", "default", str(PLACE / "first"))
        fp.record(SHORT, "first")
        core.leave(core.enter("first"))
        lifecycle.shutdown()
        os.write(say, "\n".join(sorted(sys.modules)).encode())

    done(work)
    os.close(say)
    with os.fdopen(said) as modules:
        for name in modules.read().split():
            if name not in sys.modules:
                importlib.import_module(name)


class Run:
    """A scene, again and again."""

    def __init__(self, scene: Scene, tracer: Tracer) -> None:
        self.scene, self.tracer, self.ledger = scene, tracer, Ledger()
        TEMPLATE.mkdir(mode=0o700)
        scene.template(TEMPLATE)
        fresh(TEMPLATE, LIVE)
        self._beginning = Beginning.of(LIVE)
        self.expectation = self.expect()

    def expect(self) -> Expectation:
        """What the scene, begun anew, must come to."""
        return Expectation(LIVE, self.ledger, self._beginning)

    def start(self, number: int, how: int) -> int:
        """A process that is sent ``how`` right after its step ``number``; its pid."""
        fresh(TEMPLATE, LIVE)
        self.ledger.clear()
        self.ledger.alone = number == 0

        def work() -> None:
            actor = Actor(self.ledger, LIVE, self.tracer.steps)
            self.tracer.watch(LIVE, self.scene.finest, self.scene.named)
            self.scene.before(actor)
            self.tracer.arm(number, how)
            self.scene.act(actor)
            self.ledger.steps = max(self.ledger.steps, self.tracer.steps())
            self.ledger.is_over = 1

        return in_child(work)

    def steps(self) -> str:
        """The steps of a process that nobody stops."""
        fresh(TEMPLATE, LIVE)
        status = ended(self.start(0, signal.SIGKILL))
        assert status == 0 and self.ledger.is_over, status
        return self.tracer.kinds(self.ledger.steps)


def work_of_another(found: Expectation, rows: int, message: BaseException, number: int) -> int:
    """What a process records that nobody stops; 0 where it was kept from it by one that is."""
    said = Ledger()

    def work() -> None:
        if found.is_held:
            wait_less()
        fp.init("other", "default", str(LIVE))
        if found.is_held and not core.bound():
            return
        for index in range(rows):
            fp.record(message, "other", number and number + index)
        fp.counter("hits").add()
        core.unbind(False)
        lifecycle.shutdown()
        said.told = rows

    done(work)
    return said.told


def wait_less() -> None:
    """Locks that a stopped process holds stay held: those that others wait for are few."""
    locks.LockFile.held.__wrapped__.__kwdefaults__["wait_seconds_max"] = 0.02
    if core.NAME == "python":
        sys.modules["faultplane._pure.memory"].WAIT_SECONDS_MAX = 0.02


def join_and_record(found: Expectation) -> None:
    """Another process joins, maintains what it finds, records, leaves."""
    told = work_of_another(found, 2, SHORT, OTHERS + found.others)
    found.others += told
    found.others_hits += told and 1


def turn_the_ring(found: Expectation) -> None:
    """Another process writes until every segment that there was is retired."""
    shape = schema.geometry(2 << 20)
    rows = shape.segments_max * shape.lanes_per_segment * schema.LANE_ROWS + 1
    found.before_turn()
    told = work_of_another(found, rows, SHORT, 0)
    found.turned += told
    found.others_hits += told and 1


def killed(run: Run, number: int, turned: bool) -> None:
    """Kill it after that step; whoever comes later finds everything."""
    child = run.start(number, signal.SIGKILL)
    status = ended(child)
    assert status in (-signal.SIGKILL, 0), f"ended with {status}"
    orphans_ended()
    found = run.expectation
    found.check(removed=run.scene.removes)
    join_and_record(found)
    found.check()
    found.bury(child)
    if turned:
        turn_the_ring(found)
        found.bury(0)


def held(run: Run, number: int, turned: bool, declared: bool) -> None:
    """Hold it after that step while others do all there is to do; then it goes on."""
    child = run.start(number, signal.SIGSTOP)
    found = run.expectation
    found.is_held = found.was_held = is_held(child)
    found.check(removed=run.scene.removes)
    join_and_record(found)
    if declared:
        found.declare_dead(child)
    if turned:
        turn_the_ring(found)
    found.check()
    found.settled = None
    go_on(child)
    status = ended(child)
    assert status == 0 and run.ledger.is_over, f"ended with {status}"
    found.is_held = False
    found.check(exact=True)
    join_and_record(found)
    found.bury(child)


def chosen(kinds: str, stride: int) -> list[int]:
    """Steps to stop after. Of rows that become visible one after the other, the first few."""
    steps, rows = [], 0
    for number, kind in enumerate(kinds, 1):
        rows = rows + 1 if kind == "r" else 0
        if rows <= 2 or number == len(kinds):
            steps.append(number)
    return steps[::stride]


def main(words: list[str]) -> None:
    name, mode, stride = words[0], words[1], int(words[2])
    import_all()
    run = Run(SCENES[name], Tracer())
    kinds = run.steps()
    steps = chosen(kinds, stride)
    for index, number in enumerate(steps):
        run.expectation = run.expect()
        try:
            if mode == "kill":
                killed(run, number, turned=index % 8 == 0)
            else:
                held(run, number, turned=index % 3 == 0, declared=index % 2 == 0)
        except BaseException:
            print(f"{name}: {mode} after step {number} of {kinds}", file=sys.stderr)
            raise
    print(json.dumps({"steps": len(kinds), "stopped": len(steps), "kinds": kinds}))


if __name__ == "__main__":
    main(sys.argv[1:])
