"""What the interpreter and modules without input or output raise."""

from __future__ import annotations

import sys
import warnings

from failures import NotPossible, failure


class Unheard(Exception):
    """A type that no rule knows."""


@failure("attribute missing")
def _():
    object().nothing


@failure("name missing")
def _():
    exec("nothing_of_that_name")


@failure("local unbound")
def _():
    exec("def f():\n    x\n    x = 1\nf()")


@failure("wrong type")
def _():
    1 + "1"


@failure("assertion")
def _():
    assert sys.argv is None


@failure("not implemented")
def _():
    raise NotImplementedError("later")


@failure("syntax")
def _():
    compile("def (", "x", "exec")


@failure("indentation")
def _():
    compile("if 1:\nx", "x", "exec")


@failure("iteration leaked")
def _():
    next(iter(()))


@failure("buffer exported")
def _():
    held = bytearray(4)
    with memoryview(held):
        held.append(1)


@failure("weak reference dead")
def _():
    import weakref

    str(weakref.proxy(type("Gone", (), {})()))


@failure("system error")
def _():
    raise SystemError("NULL result without error")


@failure("runtime error")
def _():
    values = {1: 1}
    for value in values:
        values[value + 1] = 1


@failure("runtime error from a refused connection")
def _():
    raise RuntimeError("cannot charge") from ConnectionRefusedError(111, "refused")


@failure("unknown type")
def _():
    raise Unheard("?")


@failure("unknown type from a timeout")
def _():
    raise Unheard("?") from TimeoutError("slow")


@failure("plain exception")
def _():
    raise Exception("?")


@failure("unknown base exception")
def _():
    raise type("Stop", (BaseException,), {})


@failure("key missing")
def _():
    {}["k"]


@failure("index out of range")
def _():
    tuple(sys.argv)[1_000_000]


@failure("division by zero")
def _():
    1 / 0


@failure("overflow")
def _():
    2.0**10000


@failure("value")
def _():
    int("x")


@failure("module missing")
def _():
    import no_such_module_at_all  # noqa: F401


@failure("name not in module")
def _():
    from json import no_such_name  # noqa: F401


@failure("codec unknown")
def _():
    "x".encode("no-such-codec")


@failure("end of input")
def _():
    import io

    old, sys.stdin = sys.stdin, io.StringIO("")
    try:
        input()
    finally:
        sys.stdin = old


@failure("out of memory")
def _():
    bytearray(1 << 62)


@failure("recursion")
def _():
    def down():
        down()

    down()


@failure("warning as error")
def _():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.warn("look", UserWarning, stacklevel=1)


@failure("deprecation as error")
def _():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.warn("old", DeprecationWarning, stacklevel=1)


@failure("resource warning as error")
def _():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.warn("unclosed", ResourceWarning, stacklevel=1)


@failure("interrupted by the user")
def _():
    import signal

    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, old)


@failure("exit")
def _():
    sys.exit(3)


@failure("generator closed")
def _():
    held = []

    def generate():
        try:
            yield
        except GeneratorExit as error:
            held.append(error)
            raise

    running = generate()
    next(running)
    running.close()
    raise held[0]


@failure("group: refused, and a bug")
def _():
    raise ExceptionGroup("two", [ConnectionRefusedError(111, "refused"), TypeError("bug")])


@failure("group: all may be retried")
def _():
    raise ExceptionGroup("two", [TimeoutError("slow"), ConnectionResetError(104, "reset")])


@failure("group within a group")
def _():
    inner = ExceptionGroup("inner", [OSError(28, "full"), TimeoutError("slow")])
    raise ExceptionGroup("outer", [TimeoutError("slow"), inner])


@failure("group with an exit")
def _():
    raise BaseExceptionGroup("two", [SystemExit(1), TimeoutError("slow")])


@failure("group: cancelled tasks")
def _():
    import asyncio

    raise BaseExceptionGroup("one", [asyncio.CancelledError()])


@failure("frozen dataclass")
def _():
    import dataclasses

    point = dataclasses.make_dataclass("Point", ["x"], frozen=True)(1)
    point.x = 2


@failure("copy impossible")
def _():
    import copy

    raise copy.Error("un(deep)copyable object")


@failure("pattern")
def _():
    import re

    re.compile("(")


@failure("decimal invalid")
def _():
    import decimal

    decimal.Decimal("x")


@failure("decimal division")
def _():
    import decimal

    decimal.Decimal(1) / 0


@failure("statistics without data")
def _():
    import statistics

    statistics.mean([])


@failure("address")
def _():
    import ipaddress

    ipaddress.IPv4Address("300.1.1.1")


@failure("graph with a cycle")
def _():
    import graphlib

    list(graphlib.TopologicalSorter({1: [2], 2: [1]}).static_order())


@failure("time zone unknown")
def _():
    import zoneinfo

    zoneinfo.ZoneInfo("No/Where")


@failure("locale unknown")
def _():
    import locale

    locale.setlocale(locale.LC_ALL, "xx_XX")


@failure("option unknown")
def _():
    import getopt

    getopt.getopt(["-x"], "")


@failure("argument refused")
def _():
    import argparse

    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("-n", type=int)
    parser.parse_args(["-n", "x"])


@failure("foreign function argument")
def _():
    import ctypes

    function = ctypes.CDLL(None).strlen
    function.argtypes = [ctypes.c_char_p]
    function(1.5)


@failure("digest unknown")
def _():
    import hmac

    hmac.new(b"k", b"m", "no-such-digest")


@failure("queue empty")
def _():
    import queue

    queue.Queue().get_nowait()


@failure("queue full")
def _():
    import queue

    full = queue.Queue(1)
    full.put_nowait(1)
    full.put_nowait(2)


@failure("barrier broken")
def _():
    import threading

    barrier = threading.Barrier(2)
    barrier.abort()
    barrier.wait()


@failure("asynchronous iteration leaked")
def _():
    async def nothing():
        return
        yield

    nothing().__anext__().send(None)


@failure("future warning as error")
def _():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.warn("soon", FutureWarning, stacklevel=1)


@failure("import warning as error")
def _():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.warn("odd", ImportWarning, stacklevel=1)


@failure("bytes warning as error")
def _():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.warn("str of bytes", BytesWarning, stacklevel=1)


@failure("network mask")
def _():
    import ipaddress

    ipaddress.IPv4Network("10.0.0.0/99")


@failure("month")
def _():
    import calendar

    calendar.monthrange(2020, 13)


@failure("weekday")
def _():
    import calendar

    calendar.setfirstweekday(9)


@failure("digest of OpenSSL unknown")
def _():
    import _hashlib

    _hashlib.hmac_digest(b"k", b"m", "no-such-digest")


@failure("option declared wrongly")
def _():
    import optparse

    optparse.Option("x")


@failure("queue shut down")
def _():
    import queue

    closed = queue.Queue()
    if not hasattr(closed, "shutdown"):
        raise NotPossible("before Python 3.13")
    closed.shutdown()
    closed.put(1)


@failure("interval timer")
def _():
    import signal

    signal.setitimer(99, 1)


@failure("browser missing")
def _():
    import webbrowser

    webbrowser.get("no-such-browser-at-all")


@failure("Tcl")
def _():
    try:
        import tkinter as tk
    except ImportError:
        raise NotPossible("no tkinter") from None
    tk.Tcl().eval("no such command")


@failure("test skipped")
def _():
    import unittest

    raise unittest.SkipTest("not here")


@failure("error of this library")
def _():
    from faultplane.classify import Classification

    Classification("no such kind")
