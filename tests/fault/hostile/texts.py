"""What ``str(error)`` may do instead of giving a text."""

from __future__ import annotations

import gc
import os
import sys
import threading

import faultplane as fp
from faultplane import _backend

from .ledger import raised

UNPRINTABLE = "<exception str() failed>"
core = _backend.core


class Doing(Exception):
    """Its text is what ``do`` gives."""

    def __init__(self, do):
        super().__init__("of the base")
        self.do = do

    def __str__(self):
        return self.do(self)


def fail(ledger, do, message=UNPRINTABLE):
    ledger.record(raised(Doing, do), message)


def raises(ledger):
    for kind in (
        ValueError, RecursionError, MemoryError, KeyboardInterrupt, SystemExit, GeneratorExit,
        StopIteration, StopAsyncIteration, BaseException, AssertionError,
    ):  # fmt: skip

        def throw(_, kind=kind):
            raise kind

        fail(ledger, throw)
    fail(ledger, lambda _: sys.exit(3))
    fail(ledger, lambda _: 1 / 0)
    fail(ledger, lambda error: error.missing)

    def throw_itself(error):
        raise error

    def throw_group(error):
        raise BaseExceptionGroup("several", [error, SystemExit()])

    ledger.record(raised(Doing, throw_itself), UNPRINTABLE, fingerprint=0)
    ledger.record(raised(Doing, throw_group), UNPRINTABLE, fingerprint=0)


def gives_no_text(ledger):
    for odd in (None, 7, b"bytes", [], object(), NotImplemented):
        fail(ledger, lambda _, odd=odd: odd)
    fail(ledger, lambda _: type("Sub", (str,), {"encode": None, "__len__": None})("sub"), "sub")


def recurses(ledger):
    fail(ledger, str)
    fail(ledger, repr, None)
    fail(ledger, lambda error: f"{error}")


def gives_another_each_time(ledger):
    said = iter(range(1000))
    error = raised(Doing, lambda _: f"number {next(said)}")
    for i in range(100):
        ledger.record(error, f"number {i}")


def records_another(ledger):
    def other(_):
        ledger.record(raised(KeyError, "inner"))
        return "outer"

    fail(ledger, other, "outer")


def records_itself(ledger):
    def once(error):
        if not depth:
            depth.append(1)
            ledger.record(error, "inner")
            return "outer"
        return "inner"

    depth = []
    fail(ledger, once, "outer")


def meddles(ledger):
    """With the exception, with the recorder, with the interpreter."""

    def forget(error):
        error.args = ()
        error.__traceback__ = None
        error.__cause__ = None
        error.__dict__.clear()
        return "forgot"

    def collect(_):
        gc.collect()
        return "collected"

    def start(_):
        thread = threading.Thread(target=lambda: ledger.record(raised(KeyError, "in a thread")))
        thread.start()
        thread.join()
        return "started"

    def init(_):
        fp.init()
        return "init"

    def flush(_):
        core.flush_caches()
        return "flushed"

    def rules(_):
        fp.register_rule("hostile.texts.Nothing", kind="Timeout").unregister()
        return "ruled"

    def hooks(_):
        fp.install_hooks()
        fp.uninstall_hooks()
        return "hooked"

    ledger.record(raised(Doing, forget), "forgot", fingerprint=0)
    for do, text in (
        (collect, "collected"), (start, "started"), (init, "init"), (flush, "flushed"),
        (rules, "ruled"), (hooks, "hooked"),
    ):  # fmt: skip
        fail(ledger, do, text)


def switches_recording_off(ledger):
    """What is off when the row would be written: counted it is, since the call began before."""

    def off(_):
        fp.set_active(False)
        return "off"

    fail(ledger, off, "off")
    fp.record(raised(KeyError, "while it is off"), "charge")
    fp.set_active(True)


def forks(ledger):
    """Child and parent both finish the record, each as a process of its own."""

    def fork(_):
        if os.fork() == 0:
            return "child"
        os.wait()
        return "parent"

    parent = os.getpid()
    error = raised(Doing, fork)
    answer = fp.record(error, "charge")
    if os.getpid() != parent:
        fp.record(raised(KeyError, "in the child"), "charge")
        os._exit(0)
    ledger.note(error, answer, "child")  # its rows come first
    ledger.note(raised(KeyError, "in the child"), answer, fingerprint=0)
    ledger.note(error, answer, "parent")


def drops_the_type(ledger):
    """The last reference to the type, while it is recorded."""

    def make():
        class Gone(Exception):
            def __str__(self):
                holder.clear()
                error.__class__ = Doing
                gc.collect()
                return "gone"

        holder = [Gone]
        error = raised(Gone)
        return error

    for _ in range(50):
        ledger.record(make(), "gone", "", 0)
