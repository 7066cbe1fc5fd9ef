"""What ``capture`` shows as in flight, read from the file that outlives the process."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

import faultplane as fp
from faultplane.capture import block


@pytest.fixture
def innermost() -> Callable[[], int]:
    """Function: token of the operation that the next one would have as its parent."""
    return block._innermost.get


@pytest.fixture
def held(run_python: Any) -> Callable[[str], list[Any]]:
    """Function: run code that calls ``show()``; the in-flight rows at each call, outermost first.

    A row is (operation, operation of the parent).
    """
    prelude = """
import asyncio, json, os, sys, threading
import faultplane as fp
from faultplane import schema
fp.init(service="test")

def slots():
    import glob
    (path,) = [p for p in glob.glob(os.environ["FAULTPLANE_DIR"] + "/*/*/breath-*")]
    data = open(path, "rb").read()
    found = {}
    for n in range(schema.INFLIGHT_SLOTS):
        base = schema.BREATH_INFLIGHT_OFFSET + n * schema.INFLIGHT.size
        row = schema.INFLIGHT.read_all(data, base)
        if row["word"]:
            found[n + 1] = row
    return found

def show():
    rows = sorted(slots().items(), key=lambda item: item[1]["word"])
    names = {n: row["operation"][:row["operation_bytes"]].decode() for n, row in rows}
    print(json.dumps([[names[n], names.get(row["parent"], "")] for n, row in rows]))
"""

    def run(code: str) -> list[Any]:
        done = run_python(prelude + code)
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


def test_blocks_are_shown_in_flight_and_name_their_parent(held: Any) -> None:
    assert held("""
with fp.capture("outer"):
    with fp.capture("inner"):
        show()
    with fp.capture("second"):
        show()
show()
""") == [
        [["outer", ""], ["inner", "outer"]],
        [["outer", ""], ["second", "outer"]],
        [],
    ]


def test_a_decorated_call_is_the_parent_of_what_runs_inside_it_only(held: Any) -> None:
    assert held("""
@fp.capture("inner")
def inner():
    show()

@fp.capture("outer")
def outer():
    inner()

@fp.capture("task")
async def task():
    inner()
    await asyncio.sleep(0)
    inner()

outer()
async def main():
    await task()
    inner()
asyncio.run(main())
inner()
""") == [
        [["outer", ""], ["inner", "outer"]],
        [["task", ""], ["inner", "task"]],
        [["task", ""], ["inner", "task"]],
        [["inner", ""]],
        [["inner", ""]],
    ]


def test_entries_of_one_object_nest(held: Any) -> None:
    assert held("""
again = fp.capture("again")
with again:
    with again:
        show()
    show()
show()
""") == [[["again", ""], ["again", "again"]], [["again", ""]], []]


def test_a_block_that_nobody_can_leave_any_more_has_ended(held: Any) -> None:
    assert held("""
kept, dropped = fp.capture("kept").enter(), fp.capture("dropped").enter()
show()
del dropped
show()
fp.capture("at once").enter()
with fp.capture("inner"):
    show()
kept.leave()
with fp.capture("other"):
    kept.leave()
    show()
""") == [
        [["kept", ""], ["dropped", "kept"]],
        [["kept", ""]],
        [["kept", ""], ["inner", "kept"]],
        [["other", ""]],
    ]


def test_a_block_that_was_entered_twice_and_dropped_has_ended(held: Any) -> None:
    assert held("""
twice = fp.capture("twice").enter().enter()
show()
del twice
show()
""") == [[["twice", ""], ["twice", "twice"]], []]


@pytest.mark.parametrize("key", ["", "k" * 32])
def test_blocks_that_the_garbage_collector_finds_change_no_context(
    run_python: Any, core: Any, core_name: str, key: str
) -> None:
    """It comes in the middle of a change of the context, too: interpreters have crashed."""
    done = run_python(
        """
import contextvars, gc
import faultplane as fp
from faultplane._backend import core
fp.init()
class Own(fp.capture):
    pass
others = [contextvars.ContextVar(str(n)) for n in range(40)]
gc.set_threshold(3)
for n in range(4000):
    block = Own("of a cycle")
    block.itself = [block]
    block.enter()
    others[n % 40].set([n])
    del block
gc.disable()
block = Own("of a cycle")
block.itself = block
block.enter()
with fp.capture("now"):
    del block
    inside = core.innermost.get()
    gc.collect()
    assert core.innermost.get() == inside
blocks = [fp.capture("one").enter() for _ in range(256)]
print(sum(1 for block in blocks if block._slot))
""",
        core=core_name,
        **({"FAULTPLANE_USER_KEY": key} if key else {}),
    )
    assert done.stdout == "256\n"


def test_a_block_that_could_not_be_made_ends_without_a_word(run_python: Any) -> None:
    done = run_python("""
import faultplane as fp
for given in ({"operation": 7}, {"operation": "charge", "ignore": 7}):
    try:
        fp.capture(**given)
    except (TypeError, ValueError) as exc:
        print(type(exc).__name__)
""")
    assert (done.stdout.split(), done.stderr) == (["TypeError", "InvalidSetting"], "")


def test_a_subclass_that_refuses_its_arguments_ends_without_a_word(
    run_python: Any, core: Any, core_name: str
) -> None:
    done = run_python(
        """
import faultplane as fp
class Ours(fp.capture):
    def __init__(self, operation):
        if not operation:
            raise ValueError("no operation")
        super().__init__(operation)
try:
    Ours("")
except ValueError as exc:
    print(exc)
""",
        core=core_name,
    )
    assert (done.stdout, done.stderr) == ("no operation\n", "")


def test_a_copy_of_a_block_is_that_block(held: Any) -> None:
    assert held("""
import copy
block = fp.capture("kept").enter()
copied = copy.copy(block)
del copied
show()
block.leave()
show()
""") == [[["kept", ""]], []]


INTERRUPTED = """
import json, random, signal, sys
import faultplane as fp
from faultplane import schema
from faultplane.capture import user
fp.init()
sys.unraisablehook = lambda unraisable: None  # the end of a block may be where it comes

def interrupt(*_):
    global is_over
    is_over = True
    raise KeyboardInterrupt

def run(make):
    global is_over
    is_over = False
    signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 3e-4))
    outer = make("outer")(make("inner")(lambda: None))
    while not is_over:
        if "decorated" in sys.argv:
            outer()
        else:
            with make("outer"), make("inner"):
                pass

def free():
    blocks = [fp.capture("one").enter() for _ in range(schema.INFLIGHT_SLOTS)]
    taken = sum(1 for block in blocks if block._slot)
    while blocks:
        blocks.pop().leave()
    return taken

signal.signal(signal.SIGALRM, interrupt)
for _ in range(1000):
    try:
        run(fp.capture)
    except KeyboardInterrupt:
        pass
held = user._held.get()
print(json.dumps([free(), held is not None and held.is_open]))
"""


@pytest.mark.parametrize("way", ["with", "decorated"])
def test_a_signal_handler_that_raises_costs_no_slot_and_holds_no_user(
    run_python: Any, core: Any, core_name: str, way: str
) -> None:
    """At any moment, of which these are some: a leak of one in twenty lost all slots here."""
    assert json.loads(run_python(INTERRUPTED, way, core=core_name).stdout) == [256, False]
    done = run_python(INTERRUPTED, way, core=core_name, FAULTPLANE_USER_KEY="k" * 32)
    assert json.loads(done.stdout) == [256, False]


def test_a_block_that_cannot_begin_stays_as_it_was(
    run_python: Any, core: Any, core_name: str
) -> None:
    done = run_python(
        """
import json
import faultplane as fp
from faultplane._backend import core
from faultplane.capture import user
fp.init()
block = fp.capture("charge")
for begin in (user.begin, lambda: 1 / 0):
    core.hold_users(user.begin, user.end)
    with block:
        core.hold_users(begin, user.end)
        before = block._slot, block._start_nano, block._outer_entries
        block.operation = 7 if begin is user.begin else "charge"
        try:
            block.enter()
        except (TypeError, ZeroDivisionError) as exc:
            print(type(exc).__name__)
        assert (block._slot, block._start_nano, block._outer_entries) == before
        core.hold_users(user.begin, user.end)
    block.operation = "charge"
    held = user._held.get()
    print(held is not None and held.is_open, core.innermost.get())
    core.hold_users(None, user.end)
""",
        core=core_name,
    )
    assert done.stdout.split("\n")[:-1] == ["TypeError", "False 0", "ZeroDivisionError", "False 0"]


def test_a_kept_block_works_with_and_without_a_slot(held: Any) -> None:
    assert held("""
kept = fp.capture("kept")
with kept:
    show()
fp.set_active(False)
with kept:
    show()
fp.set_active(True)
with kept, fp.capture("inner"):
    show()
""") == [[["kept", ""]], [], [["kept", ""], ["inner", "kept"]]]


def test_a_block_that_fails_leaves_no_slot(held: Any) -> None:
    assert held("""
for _ in range(schema.INFLIGHT_SLOTS + 10):
    with fp.capture("fails", reraise=False):
        raise KeyError
    try:
        fp.capture("f")(lambda: 1 / 0)()
    except ZeroDivisionError:
        pass
show()
""") == [[]]


def test_tasks_nest_each_in_its_own_parent(held: Any) -> None:
    assert held("""
async def request(name, inside, go):
    with fp.capture(name):
        inside.set()
        await go.wait()
        with fp.capture(name + ".query"):
            if name == "b":
                show()
            await asyncio.sleep(0)

async def main():
    go = asyncio.Event()
    with fp.capture("main"):
        tasks = []
        for name in "ab":
            inside = asyncio.Event()
            tasks.append(asyncio.create_task(request(name, inside, go)))
            await inside.wait()
        go.set()
        await asyncio.gather(*tasks)
    show()

asyncio.run(main())
""") == [
        [["main", ""], ["a", "main"], ["b", "main"], ["a.query", "a"], ["b.query", "b"]],
        [],
    ]


def test_threads_begin_without_a_parent(held: Any) -> None:
    assert held("""
def work():
    with fp.capture("thread"):
        show()

with fp.capture("main"):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
""") == [[["main", ""], ["thread", ""]]]


def test_a_generator_holds_its_slot_and_is_no_parent_between_its_steps(held: Any) -> None:
    assert held("""
@fp.capture("stream")
def stream():
    yield 1
    yield 2

rows = stream()
show()
next(rows)
with fp.capture("other"):
    show()
rows.close()
show()
""") == [[], [["stream", ""], ["other", ""]], []]


def test_a_forked_child_starts_without_a_parent(held: Any) -> None:
    assert (
        held("""
with fp.capture("parent"):
    child = os.fork()
    if child == 0:
        from faultplane.capture import block
        assert block._innermost.get() == 0
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
""")
        == []
    )


def test_a_block_left_in_another_context_leaves_the_slot(innermost: Callable[[], int]) -> None:
    import contextvars

    opened = fp.capture("fixture")
    contextvars.copy_context().run(opened.__enter__)
    assert opened.__exit__(None, None, None) is False
    assert innermost() == 0


SHORT = """
import resource
from pathlib import Path
import faultplane as fp
fp.init()
name = "\\ud800" + "é" * (200 << 20)  # twice as many bytes; in another encoding once more
pages = int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (64 << 20), -1))
with fp.capture(name):
    print("inside")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.unmeasured
def test_a_block_whose_name_needs_more_memory_than_there_is_runs_all_the_same(
    run_python: Any, core: Any, core_name: str
) -> None:
    assert run_python(SHORT, core=core_name).stdout == "inside\n"


def test_a_block_follows_the_span_that_begins_in_it(held: Any) -> None:
    pytest.importorskip("opentelemetry.sdk")
    shown = held("""
from opentelemetry.sdk.trace import TracerProvider
tracer = TracerProvider().get_tracer("shop")

def traces():
    rows = sorted(slots().items(), key=lambda item: item[1]["word"])
    print(json.dumps([row["trace_id"].hex() for _, row in rows]))

with fp.capture("consume"):
    block = fp.capture("GET /orders").enter()
    with tracer.start_as_current_span("request") as span:
        traces()
        block.follow_span()
        traces()
        show()
        print(json.dumps(f"{span.get_span_context().trace_id:032x}"))
        with fp.capture("charge"):
            show()
    block.leave()
    show()
show()
""")
    before, after, one, trace, inner, left, none = shown
    assert before == ["0" * 32, "0" * 32]
    assert after == ["0" * 32, trace]
    assert one == [["consume", ""], ["GET /orders", "consume"]]
    assert inner == [*one, ["charge", "GET /orders"]]
    assert (left, none) == ([["consume", ""]], [])
