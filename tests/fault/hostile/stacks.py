"""Frames, tracebacks and chains."""

from __future__ import annotations

import gc
import sys
import threading
import types

from .ledger import caught, raised, throw

SOURCE = "def f(n):\n  if n: f(n - 1)\n  raise ValueError('x')\n\nf({depth})"


def executed(scope, depth=2, filename="<made>"):
    return caught(exec, compile(SOURCE.format(depth=depth), filename, "exec"), scope)


def odd_globals(ledger):
    class Text(str):
        __slots__ = ()

        def encode(self, *_):
            raise AssertionError("asked")

    for name in (
        None, 7, b"m", "", "m" * 1_000_000, "\ud800", "a\0b", "a\0c", "a\nb", Text("m"), [],
    ):  # fmt: skip
        ledger.record(executed({"__name__": name}))
        ledger.record(executed({"__name__": name}))
    ledger.record(executed({}))
    ledger.record(executed({7: 8, None: 9}))


def globals_that_meddle(ledger):
    """Looking for ``__name__`` compares it with a key that takes the traceback away."""

    class Key:
        def __hash__(self):
            return hash("__name__")

        def __eq__(self, _other):
            if victims:
                victim = victims.pop()
                victim.__traceback__ = victim.__cause__ = None
                kept.append([bytes(n) for n in range(16, 600)])
                gc.collect()
            return False

    victims, kept = [], []
    for depth in (0, 1, 30, 100):
        error = executed({Key(): 1}, depth)
        victims.append(error)
        ledger.record(error, fingerprint=0)
        ledger.record(error)
        outer = raised(KeyError, "outer")
        outer.__cause__ = executed({Key(): 1}, depth)
        victims.append(outer)
        ledger.record(outer, fingerprint=0)
        ledger.record(outer)


def odd_code(ledger):
    scope = {"__name__": "made"}
    code = compile("def f():\n  raise ValueError('x')\n", "<made>", "exec").co_consts[0]
    for change in (
        {}, {"co_name": ""}, {"co_qualname": ""}, {"co_filename": ""}, {"co_name": "n" * 100_000},
        {"co_qualname": "q" * 100_000}, {"co_filename": "f" * 100_000}, {"co_qualname": "a\0b"},
        {"co_qualname": "a\0c"}, {"co_qualname": "\ud800"}, {"co_filename": "a\nb\0c"},
        {"co_filename": "\udcff"}, {"co_linetable": b""}, {"co_firstlineno": 0},
        {"co_firstlineno": 2**30}, {"co_exceptiontable": b""}, {"co_qualname": "a\x1fb\x1ec"},
    ):  # fmt: skip
        error = caught(types.FunctionType(code.replace(**change), scope))
        ledger.record(error)
        ledger.record(error)


def odd_frames(ledger):
    def generator():
        yield
        raise ValueError("generator")

    async def coroutine():
        raise ValueError("coroutine")

    async def asynchronous():
        raise ValueError("asynchronous generator")
        yield

    running = generator()
    next(running)
    ledger.record(caught(next, running))
    ledger.record(caught(coroutine().send, None))
    ledger.record(caught(asynchronous().__anext__().send, None))
    ledger.record(caught(lambda: throw(ValueError("lambda"))))
    ledger.record(caught(lambda: [throw(ValueError(i)) for i in range(3)]))
    ledger.record(caught(lambda: sorted([1, 2], key=lambda _: throw(ValueError("key")))))
    ledger.record(caught(eval, "1 / 0"))
    ledger.record(caught(type, "Kind", (throw,), {}))


def tracebacks_by_hand(ledger):
    def frame():
        return sys._getframe()

    here = frame()
    for lasti in (0, 1, 2, 3, -1, -2, 10_000, 2**31 - 1, -(2**31)):
        for line in (0, 1, -1, 2**31 - 1):
            made = types.TracebackType(None, here, lasti, line)
            ledger.record(ValueError("x").with_traceback(made))
            made = types.TracebackType(made, here, lasti, line)
            ledger.record(ValueError("x").with_traceback(made))
    made = types.TracebackType(None, here, 0, 1)
    assert isinstance(caught(setattr, made, "tb_next", made), ValueError)
    live = raised(ValueError, "x")
    live.__traceback__ = types.TracebackType(live.__traceback__, here, 0, 1)
    ledger.record(live)


def ten_thousand_frames(ledger):
    here = sys._getframe()
    made = None
    for i in range(10_000):
        made = types.TracebackType(made, here, 2 * (i % 50), 1)
    deep = ValueError("deep").with_traceback(made)
    for _ in range(3):
        ledger.record(deep)
    made = types.TracebackType(made, here, 4, 1)
    ledger.record(ValueError("deeper").with_traceback(made))
    # Let go of one by one: the interpreter would recurse into them.
    deep.__traceback__ = None


def groups(ledger):
    members = [raised(KeyError, i) for i in range(10_000)]
    wide = raised(ExceptionGroup, "wide", members)
    for _ in range(3):
        ledger.record(wide)
    ledger.record(raised(ExceptionGroup, "wider", [*members, raised(OSError, 5, "last")]))
    nested = raised(ValueError, "innermost")
    for _ in range(1_000):
        nested = raised(ExceptionGroup, "nested", [nested, raised(KeyError, "k")])
    for _ in range(3):
        ledger.record(nested)
    inner = raised(ValueError, "inner")
    group = raised(ExceptionGroup, "in itself", [inner])
    inner.__cause__ = inner.__context__ = group
    ledger.record(group)
    ledger.record(inner)
    twice = raised(ExceptionGroup, "twice", [group, group])
    group.__cause__ = twice
    ledger.record(twice)
    ledger.record(group)


def cycles(ledger):
    for length in (1, 2, 3, 7, 8, 9, 10, 1_000):
        for link in ("__cause__", "__context__"):
            ring = [raised(ValueError, i) for i in range(length)]
            for one, other in zip(ring, ring[1:] + ring[:1], strict=True):
                # The interpreter breaks cycles of contexts where it raises; here nothing raises.
                setattr(one, link, other)
            for error in ring[:10]:
                ledger.record(error)
            for error in ring:
                setattr(error, link, None)


def hundred_thousand_causes(ledger):
    error = raised(ValueError, "first")
    chain = [error]
    for i in range(100_000):
        error = ValueError(i)
        error.__cause__ = chain[-1]
        chain.append(error)
    for _ in range(3):
        ledger.record(error)
    while chain:  # from the end: dropping the last would drop all in one recursion
        chain.pop().__cause__ = None


def down(depth, last):
    return down(depth - 1, last) if depth else last()


def ten_thousand_deep(ledger):
    """Recorded from the innermost of ten thousand calls, and again from outside."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(12_000)

    def record_here():
        error = raised(ValueError, "innermost")
        ledger.record(error)
        raise error

    error = caught(down, 10_000, record_here)
    ledger.record(error)
    sys.setrecursionlimit(before)


def in_threads_of_every_size(ledger):
    """A thread with a small stack records a first sighting, and one that is known."""
    before = threading.stack_size()
    for size in (32, 40, 48, 56, 64, 96, 128, 192, 256, 8192):
        threading.stack_size(size << 10)

        def work(size=size):
            error = raised(ValueError, f"password=hunter2 {size}")
            ledger.record(error, f"password=*** {size}")
            ledger.record(error, f"password=*** {size}")

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    threading.stack_size(before)
