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

    from faultplane import errors, testing
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
    from faultplane.resilience.backoff import (
        Backoff,
        constant,
        decorrelated_jitter,
        equal_jitter,
        exponential,
        fibonacci,
        full_jitter,
        linear,
    )
    from faultplane.resilience.deadline import deadline, time_left
    from faultplane.resilience.dependency import Dependency
    from faultplane.resilience.exchange import Exchange
    from faultplane.resilience.fallback import Fallback
    from faultplane.resilience.health import Health, HealthChecks
    from faultplane.resilience.hedge import Hedge, quantile
    from faultplane.resilience.policy import Breaker, Bulkhead, RateLimit, Retry, RetryBudget
    from faultplane.resilience.spellings import circuit_breaker, retry
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
    "Backoff",
    "Breaker",
    "Bulkhead",
    "Category",
    "Classification",
    "Counter",
    "Dependency",
    "Domain",
    "Exchange",
    "Fallback",
    "Health",
    "HealthChecks",
    "Hedge",
    "Kind",
    "MetricsApp",
    "RateLimit",
    "RecordingHandler",
    "Records",
    "RecoveryStrategy",
    "Retry",
    "RetryBudget",
    "Severity",
    "__version__",
    "attach",
    "capture",
    "circuit_breaker",
    "classify",
    "constant",
    "core",
    "counter",
    "deadline",
    "decode_attributes",
    "decorrelated_jitter",
    "equal_jitter",
    "errors",
    "exponential",
    "fibonacci",
    "full_jitter",
    "init",
    "install_hooks",
    "installed_hooks",
    "linear",
    "metrics_app",
    "quantile",
    "record",
    "register_rule",
    "retry",
    "rule",
    "set_active",
    "set_user",
    "shutdown",
    "testing",
    "time_left",
    "uninstall_hooks",
    "unregister_rule",
]

__version__: Final = "0.1.0"

core: Final[str] = _backend.CORE_NAME
"""Which core this process runs: ``"cython"`` or ``"python"``."""

_LAZY: Final = {
    "Backoff": "faultplane.resilience.backoff",
    "Breaker": "faultplane.resilience.policy",
    "Bulkhead": "faultplane.resilience.policy",
    "Category": "faultplane.classify",
    "Classification": "faultplane.classify",
    "Dependency": "faultplane.resilience.dependency",
    "Domain": "faultplane.store",
    "Exchange": "faultplane.resilience.exchange",
    "Fallback": "faultplane.resilience.fallback",
    "Health": "faultplane.resilience.health",
    "HealthChecks": "faultplane.resilience.health",
    "Hedge": "faultplane.resilience.hedge",
    "Kind": "faultplane.classify",
    "MetricsApp": "faultplane.monitor.metrics_app",
    "RateLimit": "faultplane.resilience.policy",
    "RecordingHandler": "faultplane.capture.log_handler",
    "Records": "faultplane.store",
    "RecoveryStrategy": "faultplane.classify",
    "Retry": "faultplane.resilience.policy",
    "RetryBudget": "faultplane.resilience.policy",
    "Severity": "faultplane.classify",
    "attach": "faultplane.capture.start",
    "capture": "faultplane.capture.block",
    "circuit_breaker": "faultplane.resilience.spellings",
    "constant": "faultplane.resilience.backoff",
    "deadline": "faultplane.resilience.deadline",
    "decode_attributes": "faultplane.capture.attributes",
    "decorrelated_jitter": "faultplane.resilience.backoff",
    "equal_jitter": "faultplane.resilience.backoff",
    "exponential": "faultplane.resilience.backoff",
    "fibonacci": "faultplane.resilience.backoff",
    "full_jitter": "faultplane.resilience.backoff",
    "init": "faultplane.capture.start",
    "install_hooks": "faultplane.capture.hooks",
    "installed_hooks": "faultplane.capture.hooks",
    "linear": "faultplane.resilience.backoff",
    "metrics_app": "faultplane.monitor.metrics_app",
    "quantile": "faultplane.resilience.hedge",
    "register_rule": "faultplane.classify",
    "retry": "faultplane.resilience.spellings",
    "rule": "faultplane.classify",
    "set_active": "faultplane.capture.recorder",
    "set_user": "faultplane.capture.user",
    "shutdown": "faultplane.capture.start",
    "time_left": "faultplane.resilience.deadline",
    "uninstall_hooks": "faultplane.capture.hooks",
    "unregister_rule": "faultplane.classify",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in ("errors", "testing"):
        return import_module(f"faultplane.{name}")  # which sets the name
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
