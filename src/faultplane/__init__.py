"""faultplane: the fault plane of a Python service.

A caught exception becomes one row in shared memory, counted exactly, that every other process of
the host reads as an Arrow table, also after the process that wrote it died.

>>> import faultplane as fp
>>> domain = fp.init(service="checkout")
>>> try:
...     raise TimeoutError("no answer")
... except TimeoutError as error:
...     answer = fp.record(error, operation="charge")
>>> answer.kind.value, answer.retryable
('Timeout', True)

Importing this package touches no file and needs no other package. What records is here from the
start, because it must cost nothing to reach; the rest is imported when it is first used, and what
an error needs by ``init()`` at the latest, so that no error has to import anything.
"""

from __future__ import annotations

# The packages ``classify`` and ``capture`` come before the functions of the same names: importing
# a subpackage sets its name here, once, and the functions must be what stays.
import faultplane.capture
import faultplane.classify
from faultplane import _backend

TYPE_CHECKING = False  # `typing` takes longer to import than everything that is imported here
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final

    from faultplane import errors
    from faultplane.capture.attributes import decode_attributes
    from faultplane.capture.block import capture
    from faultplane.capture.hooks import install_hooks, installed_hooks, uninstall_hooks
    from faultplane.capture.log_handler import RecordingHandler
    from faultplane.capture.recorder import set_active
    from faultplane.capture.start import attach, init, shutdown
    from faultplane.capture.user import set_user
    from faultplane.classify import (
        Category,
        Classification,
        Kind,
        RecoveryStrategy,
        Severity,
        register_rule,
        rule,
        unregister_rule,
    )
    from faultplane.monitor.metrics_app import MetricsApp, metrics_app
    from faultplane.store import Domain, Records

    class Counter:
        """An exact count, shared by all processes of the domain."""

        def __init__(self, name: str) -> None: ...
        @property
        def name(self) -> str:
            """Name of the counter."""
            ...

        def add(self, n: int = 1) -> None:
            """Add ``n`` (0 or more)."""

    def record(
        exc: BaseException,
        operation: str | None = None,
        attempt: int = 0,
        duration_nano: int = 0,
        attributes: Mapping[str, Any] | None = None,
        handled: bool = True,
    ) -> Classification:
        """Record ``exc`` and return what it is."""
        ...

    def classify(exc: BaseException) -> Classification:
        """What ``exc`` is, without recording it."""
        ...

    def counter(name: str) -> Counter:
        """The counter of that name."""
        ...

else:
    # The core's own objects: a wrapper would cost as much as what it wraps.
    record = _backend.core.record
    classify = _backend.core.classify
    counter = _backend.core.Counter
    Counter = _backend.core.Counter
    del globals()["capture"]  # the class takes its place when it is first asked for

__all__ = [
    "Category",
    "Classification",
    "Counter",
    "Domain",
    "Kind",
    "MetricsApp",
    "RecordingHandler",
    "Records",
    "RecoveryStrategy",
    "Severity",
    "__version__",
    "attach",
    "capture",
    "classify",
    "core",
    "counter",
    "decode_attributes",
    "errors",
    "init",
    "install_hooks",
    "installed_hooks",
    "metrics_app",
    "record",
    "register_rule",
    "rule",
    "set_active",
    "set_user",
    "shutdown",
    "uninstall_hooks",
    "unregister_rule",
]

__version__: Final = "0.1.0"

core: Final[str] = _backend.CORE_NAME
"""Which core this process runs: ``"cython"`` or ``"python"``."""

_LAZY: Final = {
    "Category": "faultplane.classify",
    "Classification": "faultplane.classify",
    "Domain": "faultplane.store",
    "Kind": "faultplane.classify",
    "MetricsApp": "faultplane.monitor.metrics_app",
    "RecordingHandler": "faultplane.capture.log_handler",
    "Records": "faultplane.store",
    "RecoveryStrategy": "faultplane.classify",
    "Severity": "faultplane.classify",
    "attach": "faultplane.capture.start",
    "capture": "faultplane.capture.block",
    "decode_attributes": "faultplane.capture.attributes",
    "init": "faultplane.capture.start",
    "install_hooks": "faultplane.capture.hooks",
    "installed_hooks": "faultplane.capture.hooks",
    "metrics_app": "faultplane.monitor.metrics_app",
    "register_rule": "faultplane.classify",
    "rule": "faultplane.classify",
    "set_active": "faultplane.capture.recorder",
    "set_user": "faultplane.capture.user",
    "shutdown": "faultplane.capture.start",
    "uninstall_hooks": "faultplane.capture.hooks",
    "unregister_rule": "faultplane.classify",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "errors":
        return import_module("faultplane.errors")  # which sets the name
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
