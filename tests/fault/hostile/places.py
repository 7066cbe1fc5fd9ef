"""Where an application may record: wherever Python runs.

``later`` takes what is recorded when the ledger has been printed, at the end of the interpreter; an
answer that is not right there is an error on stderr.
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import importlib.abc
import logging
import signal
import sys
import threading
import types
import warnings
import weakref

import faultplane as fp

from .ledger import caught, raised, throw


class Recording:
    """Records when it goes; holds what it needs, for globals may be gone by then."""

    def __init__(self, record, error, do=lambda: None):
        self.record, self.error, self.do = record, error, do

    def __del__(self):
        self.record(self.error)
        self.do()


def in_finalizers(ledger):
    Recording(ledger.record, raised(ValueError, "by count"))
    cycle = [Recording(ledger.record, raised(ValueError, "by collection"))]
    cycle.append(cycle)
    del cycle
    gc.collect()
    thing = Recording(lambda _: None, None)
    weakref.finalize(thing, ledger.record, raised(ValueError, "by weak reference"))
    called = weakref.ref(thing, lambda _: ledger.record(raised(ValueError, "by its callback")))
    del thing
    assert called() is None


def in_collector_callbacks(ledger):
    def callback(phase, info):
        if not done:
            done.append(phase)
            ledger.record(raised(ValueError, f"at {phase}"))

    done = []
    gc.callbacks.append(callback)
    gc.collect()
    gc.callbacks.remove(callback)
    assert done == ["start"]


def in_signal_handlers(ledger):
    def handle(number, _frame):
        ledger.record(raised(ValueError, f"signal {number}"))

    class Signalled(Exception):
        def __str__(self):
            signal.raise_signal(signal.SIGUSR1)
            return "text"

    signal.signal(signal.SIGUSR1, handle)
    for _ in range(10):
        signal.raise_signal(signal.SIGUSR1)
        ledger.record(raised(Signalled), "text")


def while_another_is_handled(ledger):
    """What is being handled stays so, and a bare raise gives the same object and traceback."""

    def handle():
        try:
            raise KeyError("first")
        except KeyError as first:
            before = first.__traceback__, sys.exc_info()
            ledger.record(first)
            ledger.record(raised(ValueError, "second"))
            assert sys.exc_info() == before[1]
            assert first.__traceback__ is before[0]
            assert first.__context__ is None and first.__cause__ is None
            assert not hasattr(first, "__notes__")
            raise

    error = caught(handle)
    assert (type(error), error.args) == (KeyError, ("first",))
    ledger.record(error)


def in_tracing_functions(ledger):
    def traced():
        return 1

    def callback(_frame, event, _argument):
        if event in ("call", "c_call") and len(ledger.entries) < 20:
            ledger.record(raised(ValueError, event))

    for set_function in (sys.settrace, sys.setprofile):
        set_function(callback)
        traced()
        set_function(None)


def in_logging(ledger):
    """A handler that records what it handles, and logs while it does."""

    class Handler(logging.Handler):
        def emit(self, record):
            if record.exc_info and not deep:
                deep.append(1)
                ledger.record(raised(KeyError, "from the handler"))
                logging.getLogger("hostile").error("failed", exc_info=raised(OSError, "nested"))
                # The hook of logging saw that one as it was logged.
                ledger.entries.append(["nested", "OSError", 0, True])
                deep.pop()

    class Logging(Exception):
        def __str__(self):
            if not deep:
                deep.append(1)
                logging.getLogger("hostile").error("again", exc_info=self)
                deep.pop()
            return "logged"

    deep = []
    fp.install_hooks(logging=True)
    logger = logging.getLogger("hostile")
    logger.propagate = False
    logger.addHandler(Handler())
    logger.error("outer", exc_info=raised(ValueError, "outer"))
    nested = [entry for entry in ledger.entries if entry[0] == "nested"]
    ledger.entries[:] = [["outer", "ValueError", 0, True], *ledger.entries]
    assert len(nested) == 1
    for odd in ((), (1,), (None, "text", None), (1, 2, 3), (None, None, None), ((), (), ())):
        logger.handle(logging.LogRecord("n", logging.ERROR, "p", 1, "m", (), None))
        logging.getLogRecordFactory()("n", logging.ERROR, "p", 1, "m", (), odd)
    logger.removeHandler(logger.handlers[0])
    logger.addHandler(logging.NullHandler())
    ledger.facts["operations"] = ["hostile"]
    fp.uninstall_hooks()


def in_hooks_of_the_interpreter(ledger):
    def unraisable(what):
        ledger.record(what.exc_value)

    def uncaught(_kind, error, _traceback):
        ledger.record(error)

    def in_thread(arguments):
        ledger.record(arguments.exc_value)

    class Failing:
        def __del__(self):
            raise ValueError("in __del__")

    before = sys.unraisablehook, sys.excepthook, threading.excepthook
    sys.unraisablehook, sys.excepthook, threading.excepthook = unraisable, uncaught, in_thread
    Failing()
    error = raised(ValueError, "uncaught")
    sys.excepthook(type(error), error, error.__traceback__)
    thread = threading.Thread(target=throw, args=(ValueError("in a thread"),))
    thread.start()
    thread.join()
    sys.unraisablehook, sys.excepthook, threading.excepthook = before


def in_imports_and_audits(ledger):
    class Finder(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path, target=None):
            if name == "hostile_missing":
                ledger.record(raised(ValueError, "in a finder"))

    def audit(event, _arguments):
        if event == "hostile.event":
            ledger.record(raised(ValueError, "in an audit hook"))

    def show(*_):
        ledger.record(raised(ValueError, "in a warning"))

    sys.meta_path.insert(0, Finder())
    ledger.record(caught(__import__, "hostile_missing"))
    sys.meta_path.pop(0)
    sys.addaudithook(audit)
    sys.audit("hostile.event")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = show
        warnings.warn("shown", stacklevel=1)


def in_an_event_loop(ledger):
    """Exceptions that are no exceptions, to the hook of a loop's handler."""
    fp.install_hooks(asyncio=True)

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda *_: None)
        for odd in (None, "text", 7, ValueError, types.SimpleNamespace()):
            loop.call_exception_handler({"message": "odd", "exception": odd})
        ledger.record(raised(ValueError, "in a coroutine"))

    asyncio.run(main())
    fp.uninstall_hooks()


def tracebacks_taken_away(ledger):
    """As frameworks do against cycles of references."""
    error = raised(ValueError, "x")
    error.__traceback__ = None
    ledger.record(error)
    ledger.record(ValueError("y").with_traceback(None))
    outer = raised(KeyError, "outer")
    outer.__cause__ = error
    ledger.record(outer)
    ledger.record(raised(ExceptionGroup, "group", [error, ValueError("z").with_traceback(None)]))
    cleared = raised(ValueError, "cleared")
    cleared.__traceback__.tb_next.tb_frame.clear()
    ledger.record(cleared)
    cleared.__traceback__.tb_next = None
    ledger.record(cleared)


def at_exit(ledger):
    """Before and behind the exit of the recorder, and when modules are taken apart."""
    errors = [raised(ValueError, f"exit {i}") for i in range(4)]
    atexit.register(fp.record, errors[0])
    module = types.ModuleType("hostile_module")
    sys.modules["hostile_module"] = module
    module.thing = Recording(fp.record, errors[1])
    module.itself = module
    ledger.facts["later"] = 2
    if fp.core == "cython":
        # When this goes, the globals of every module are None, those of the pure core too.
        sys.hostile = Recording(fp.record, errors[2])
        ledger.facts["later"] += 1
