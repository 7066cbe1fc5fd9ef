"""Hooks for exceptions that nobody catches: installed on request, undone on request.

Each hook records and then calls what was there before, with the same arguments, so a program
prints and exits as it did. An exception that ``record()`` or a `capture` block saw already is not
recorded again, and neither is control flow (Ctrl-C, ``sys.exit``, cancellation).

===================  ===================================================  =======
hook                 what it sees                                         handled
===================  ===================================================  =======
``excepthook``       what ends the main thread (``sys.excepthook``)       no
``threading``        what ends another thread (``threading.excepthook``)  no
``multiprocessing``  what ends a ``multiprocessing.Process``              no
``unraisable``       what ``__del__`` and callbacks from C cannot raise   no
``asyncio``          what reaches an event loop's exception handler       no
``logging``          ``exc_info`` of log records from ERROR on            yes
``fatal``            SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT          -
===================  ===================================================  =======

The asyncio hook wraps ``call_exception_handler`` of the loop *classes* (asyncio's own, and
uvloop's), so it covers running loops and later ones, whatever handler they were given, and no
event loop policy is involved. A loop class that derives from neither is not seen. Nor is what ends
a greenlet of gevent, which catches and prints it itself: ``capture`` around its target sees it.

multiprocessing prints what ends a process itself, too, but runs its finalizers while that exception
is on its way. The hook is one of them, so nothing of multiprocessing is replaced, and processes
that install it in their target are covered as well.

The fatal hook also wraps ``signal.signal``: a server that sets its own handler for one of those
signals (gunicorn does, for SIGABRT) gets it, and ours is put in front of it again. And it wraps
``signal.raise_signal``: a server that has shut down and ends by the signal that asked for it
(uvicorn does, whoever started it) passes no ``atexit``, and has ended in order all the same.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from types import ModuleType, TracebackType
from typing import Any, Final

from faultplane import settings
from faultplane._backend import core
from faultplane.capture.filters import is_control_flow
from faultplane.capture.on_import import forget, when_imported
from faultplane.store import lifecycle

__all__ = ["DEFAULT_HOOKS", "install_hooks", "installed_hooks", "uninstall_hooks"]

Undo = Callable[[], None]

DEFAULT_HOOKS: Final = tuple(name for name in settings.HOOKS if name != "logging")
"""What ``install_hooks()`` installs where neither its arguments nor FAULTPLANE_HOOKS say."""

_FATAL_SIGNALS: Final = ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT")

_ENDING_SIGNALS: Final = ("SIGTERM", "SIGINT", "SIGHUP")
"""What a process is asked to end by, and raises again when it has done so."""

_traceback_of: Final[Callable[[BaseException], TracebackType | None]] = BaseException.__dict__[
    "__traceback__"
].__get__

_installed: dict[str, Undo] = {}


def install_hooks(
    *,
    excepthook: bool | None = None,
    threading: bool | None = None,
    multiprocessing: bool | None = None,
    unraisable: bool | None = None,
    asyncio: bool | None = None,
    logging: bool | None = None,
    fatal: bool | None = None,
) -> tuple[str, ...]:
    """Install the hooks asked for and return the names of all that are installed.

    A hook given as None follows ``FAULTPLANE_HOOKS``; where that is unset, every hook but
    ``logging`` is installed. A hook that is installed stays so: a second call adds, and changes
    nothing else. Modules that are not imported yet (asyncio, threading, logging, signal,
    multiprocessing, uvloop) are hooked when they are.
    """
    asked = {
        "excepthook": excepthook,
        "threading": threading,
        "multiprocessing": multiprocessing,
        "unraisable": unraisable,
        "asyncio": asyncio,
        "logging": logging,
        "fatal": fatal,
    }
    loaded = settings.load()
    default = loaded.hooks if "hooks" in loaded.given else DEFAULT_HOOKS
    for name, wanted in asked.items():
        if wanted or (wanted is None and name in default):
            _install(name)
    return installed_hooks()


def installed_hooks() -> tuple[str, ...]:
    """Names of the installed hooks, in the order of the table above."""
    return tuple(name for name in settings.HOOKS if name in _installed)


def uninstall_hooks() -> None:
    """Undo `install_hooks`.

    A hook that somebody has wrapped since cannot be taken out of the chain: it stays there, and
    only passes on. The handler of fatal signals stays armed.
    """
    while _installed:
        _, undo = _installed.popitem()
        undo()


def _install(name: str) -> None:
    def nothing_yet() -> None:
        """Holds the name, so that two threads do not install one hook twice."""

    if _installed.setdefault(name, nothing_yet) is nothing_yet:
        _installed[name] = _INSTALLERS[name]()


def record_unhandled(exc: Any, traceback: TracebackType | None = None) -> None:
    """Record ``exc`` as not handled, unless it is control flow or was recorded before."""
    # An event loop's handler, for one, is given whatever its caller likes.
    if not issubclass(type(exc), BaseException) or is_control_flow(exc) or core.seen(exc):
        return
    if _traceback_of(exc) is None and traceback is not None:
        # What the interpreter's own hook does, so that the stack is not lost.
        BaseException.with_traceback(exc, traceback)
    core.record(exc, handled=False)


class _Switch:
    """Whether a wrapper that may have to stay in a chain still does anything."""

    __slots__ = ("on",)

    def __init__(self) -> None:
        self.on = True


def _replace(
    owner: Any, name: str, wrap: Callable[[Callable[..., Any], _Switch], Callable[..., Any]]
) -> Undo:
    """Put ``wrap(previous, switch)`` in the place of attribute ``name`` of ``owner``."""
    previous = getattr(owner, name)
    switch = _Switch()
    wrapper = wrap(previous, switch)
    setattr(owner, name, wrapper)

    def undo() -> None:
        switch.on = False
        if getattr(owner, name) is wrapper:
            setattr(owner, name, previous)

    return undo


def _replace_when_imported(
    module_name: str,
    replace: Callable[[ModuleType], Undo],
) -> Undo:
    """`_replace` in a module that may not be imported yet."""
    undone: list[Undo] = []

    def callback(module: ModuleType) -> None:
        undone.append(replace(module))

    when_imported(module_name, callback)

    def undo() -> None:
        forget(module_name, callback)
        for undo_one in undone:
            undo_one()

    return undo


# --------------------------------------------------------------- the interpreter's three hooks


def _install_excepthook() -> Undo:
    def wrap(previous: Callable[..., Any], switch: _Switch) -> Callable[..., Any]:
        def excepthook(
            exc_type: type[BaseException], exc: BaseException, traceback: TracebackType | None
        ) -> None:
            try:
                if switch.on:
                    record_unhandled(exc, traceback)
            finally:
                previous(exc_type, exc, traceback)

        return excepthook

    return _replace(sys, "excepthook", wrap)


def _install_threading() -> Undo:
    def wrap(previous: Callable[..., Any], switch: _Switch) -> Callable[..., Any]:
        def excepthook(args: Any) -> None:
            try:
                if switch.on:
                    record_unhandled(args.exc_value, args.exc_traceback)
            finally:
                previous(args)

        return excepthook

    return _replace_when_imported("threading", lambda module: _replace(module, "excepthook", wrap))


def _install_unraisable() -> Undo:
    def wrap(previous: Callable[..., Any], switch: _Switch) -> Callable[..., Any]:
        def unraisablehook(unraisable: Any) -> None:
            try:
                if switch.on:
                    record_unhandled(unraisable.exc_value, unraisable.exc_traceback)
            finally:
                previous(unraisable)

        return unraisablehook

    return _replace(sys, "unraisablehook", wrap)


# ------------------------------------------------------------------- processes of multiprocessing

_FIRST: Final = 1000
"""Exit priority of our finalizer: before those of the application, which may end the process."""


class _EndOfProcess:
    """A finalizer of ``multiprocessing.util`` in this process and in each that is forked off."""

    def __init__(self, util: ModuleType) -> None:
        self._util = util
        util.register_after_fork(self, _EndOfProcess._register)  # for as long as this object lives
        self._register()

    def _register(self) -> None:
        """Again in each child, which starts without the finalizers of its parent."""
        self._finalizer = self._util.Finalize(None, self._finalize, exitpriority=_FIRST)

    def _finalize(self) -> None:
        exc = sys.exception()
        traceback = exc.__traceback__ if exc is not None else None
        # A fork inside an except block leaves its child with an exception that is not its own.
        if traceback is not None and _is_of_multiprocessing(traceback):
            record_unhandled(exc)

    def undo(self) -> None:
        self._finalizer.cancel()


def _install_multiprocessing() -> Undo:
    return _replace_when_imported("multiprocessing.util", lambda util: _EndOfProcess(util).undo)


def _is_of_multiprocessing(traceback: TracebackType) -> bool:
    """Whether the frame that is left with the exception is the one that ran the process."""
    return traceback.tb_frame.f_globals.get("__name__") == "multiprocessing.process"


# --------------------------------------------------------------------------------- event loops


def _install_asyncio() -> Undo:
    def wrap(previous: Callable[..., Any], switch: _Switch) -> Callable[..., Any]:
        @functools.wraps(previous)
        def call_exception_handler(loop: Any, context: dict[str, Any]) -> None:
            try:
                if switch.on:
                    record_unhandled(context.get("exception"))
            finally:
                previous(loop, context)

        return call_exception_handler

    undo_own = _replace_when_imported(
        "asyncio.base_events",
        lambda module: _replace(module.BaseEventLoop, "call_exception_handler", wrap),
    )
    undo_uvloop = _replace_when_imported(
        "uvloop", lambda module: _replace(module.Loop, "call_exception_handler", wrap)
    )

    def undo() -> None:
        undo_own()
        undo_uvloop()

    return undo


# ------------------------------------------------------------------------------------- logging


def _install_logging() -> Undo:
    """Hook the log record factory.

    A handler on the root logger would turn ``basicConfig()`` into nothing, and silence the handler
    of last resort.
    """

    def replace(module: ModuleType) -> Undo:
        from faultplane.capture.log_handler import recording_factory

        previous = module.getLogRecordFactory()
        switch = _Switch()
        factory = recording_factory(previous, lambda: switch.on)
        module.setLogRecordFactory(factory)

        def undo() -> None:
            switch.on = False
            if module.getLogRecordFactory() is factory:
                module.setLogRecordFactory(previous)

        return undo

    return _replace_when_imported("logging", replace)


# --------------------------------------------------------------------------------- fatal signals


def _install_fatal() -> Undo:
    core.install_fatal_handler()

    def replace(module: ModuleType) -> Undo:
        fatal = {getattr(module, name) for name in _FATAL_SIGNALS if hasattr(module, name)}

        def wrap(previous: Callable[..., Any], switch: _Switch) -> Callable[..., Any]:
            @functools.wraps(previous)
            def signal(signalnum: Any, handler: Any) -> Any:
                before = previous(signalnum, handler)
                if switch.on and signalnum in fatal and handler is not module.SIG_IGN:
                    core.install_fatal_handler()
                return before

            return signal

        undo = _replace(module, "signal", wrap)
        undo_raise = _replace(module, "raise_signal", functools.partial(_wrap_raise, module))

        def undo_both() -> None:
            undo()
            undo_raise()

        return undo_both

    return _replace_when_imported("signal", replace)


def _wrap_raise(module: Any, previous: Callable[..., Any], switch: _Switch) -> Callable[..., Any]:
    """``signal.raise_signal`` that says before its signal ends the process that it did so."""
    ending = {getattr(module, name) for name in _ENDING_SIGNALS if hasattr(module, name)}

    @functools.wraps(previous)
    def raise_signal(signalnum: Any, /) -> None:
        if switch.on and signalnum in ending and _ends_process(module, signalnum):
            lifecycle.shutdown(128 + signalnum)
        previous(signalnum)

    return raise_signal


def _ends_process(module: Any, signalnum: int) -> bool:
    """Whether nothing handles or holds up that signal; the kernel spares a namespace's first."""
    if module.getsignal(signalnum) is not module.SIG_DFL or os.getpid() == 1:
        return False
    return signalnum not in module.pthread_sigmask(module.SIG_BLOCK, ())


_INSTALLERS: Final[dict[str, Callable[[], Undo]]] = {
    "excepthook": _install_excepthook,
    "threading": _install_threading,
    "multiprocessing": _install_multiprocessing,
    "unraisable": _install_unraisable,
    "asyncio": _install_asyncio,
    "logging": _install_logging,
    "fatal": _install_fatal,
}
