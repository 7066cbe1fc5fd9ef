"""What the other side asked for: to wait so long, or not to come back.

`wait_asked` reads every form of it: the headers ``Retry-After`` (seconds or a date),
``retry-after-ms`` and ``x-ms-retry-after-ms``; the trailer ``grpc-retry-pushback-ms`` and a
``google.rpc.RetryInfo`` in ``grpc-status-details-bin``; an attribute ``retry_after``; and what a
rule of the application gives as ``retry_after`` of its classification, which comes first.

To stop is said by a pushback that is negative or no number (gRPC's proposal A6), by
RESOURCE_EXHAUSTED without a word of when to come back, and by a ``partial_success`` that is
populated (both OpenTelemetry's exporter protocol, OTLP 1.9). It is said of this very call: whoever
retries a type of error for good reasons must not retry that one.

>>> class Busy(Exception):
...     retry_after = 90
>>> wait_asked(Busy(), None, now=0.0)
Wait(seconds=90.0, stop=False, capped=False)
>>> wait = wait_asked(Busy(), None, now=0.0, wait_seconds_max=30.0)
>>> wait, fits(wait, deadline_left=45.0), fits(wait, deadline_left=30.0)
(Wait(seconds=30.0, stop=False, capped=True), True, False)
"""

# Annotations that are text become code objects in a NamedTuple: none from __future__ here.
import builtins
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, cast

from faultplane import schema
from faultplane.classify.classification import RETRY_AFTER_SECONDS_MAX, Classification
from faultplane.classify.evidence import args_of, attribute_of, cause_of, int_of, members_of
from faultplane.classify.retry_after import wait_in_headers, wait_said_by
from faultplane.classify.rules import EXAMINED_MAX, type_name
from faultplane.resilience.backoff import Backoff, Random

__all__ = ["Wait", "fits", "next_delay", "wait_asked"]


class Wait(NamedTuple):
    """What was asked for.

    ``seconds`` to wait, None where nothing is said; ``stop``: not to come back with this call;
    ``capped``: a longer wait was asked for than is kept to.
    """

    seconds: float | None = None
    stop: bool = False
    capped: bool = False


NOTHING: Final = Wait()


def wait_asked(
    exc: object,
    classification: Classification | None,
    now: float,
    wait_seconds_max: float = RETRY_AFTER_SECONDS_MAX,
) -> Wait:
    """What the other side asks for by an error, or by an answer that is taken for one.

    Args:
        exc: the exception, or the answer itself: an HTTP response, a response of OTLP. Looked at
            are its causes and what it wraps, too, and the members of a group: at most 64 objects.
        classification: of ``exc``, None for an answer. Its ``retry_after`` counts before all else.
        now: seconds since the epoch, which dates are counted from.
        wait_seconds_max: a longer wait is cut to it. 0 to 86,400 seconds, checked by who sets it.

    Where several waits are found, the longest is taken. Nothing is raised, whatever ``exc`` is.
    """
    stop, longest = False, None
    known = None if classification is None else classification.retry_after
    # Only a rule of the application makes an exhausted server worth a retry.
    hoped = classification is not None and classification.retryable
    for one in () if _is_silent(exc) else _examined(exc):
        wait, told_to_stop, exhausted = _said_by(one, now)
        stop = stop or told_to_stop or (exhausted and not hoped)
        if wait is not None and (longest is None or wait > longest):
            longest = wait
    seconds = longest if known is None else known
    if seconds is None:
        return Wait(None, stop) if stop else NOTHING
    return Wait(min(seconds, wait_seconds_max), stop, seconds > wait_seconds_max)


def next_delay(
    backoff: Backoff, attempt: int, previous: float, random: Random, wait: Wait = NOTHING
) -> float:
    """Seconds until the next try: what is asked for, else what ``backoff`` says.

    Exactly what is asked for, as gRPC's proposal A6 has it, so also less than the backoff. Whether
    to try again at all is another question: `Wait.stop`, and `fits`. The other arguments are those
    of `Backoff.delay`; `Backoff.total_max` bounds the sum.
    """
    if wait.seconds is not None:
        return wait.seconds
    return backoff.delay(attempt, previous, random)


def fits(wait: Wait | float, deadline_left: float | None) -> bool:
    """Whether a try after that wait would begin before the deadline.

    ``wait`` is what was asked for, or seconds; ``deadline_left`` is in seconds, None without a
    deadline. A wait up to the deadline leaves no time to try and does not fit, nor does a stop.

    >>> fits(0.5, 0.5), fits(0.25, 0.5), fits(3600.0, None), fits(Wait(stop=True), None)
    (False, True, True, False)
    """
    seconds: float | None
    if isinstance(wait, Wait):
        if wait.stop:
            return False
        seconds = wait.seconds
    else:
        seconds = wait
    return deadline_left is None or (seconds or 0.0) < deadline_left


# ---------------------------------------------------------------------- somebody else's objects

_mro_of: Final[Callable[[type], tuple[type, ...]]] = type.__dict__["__mro__"].__get__

_SILENT_TYPES: Final = frozenset(
    kind for kind in vars(builtins).values()
    if type(kind) is type and issubclass(kind, BaseException)
    and not issubclass(kind, BaseExceptionGroup)
)  # fmt: skip
_SILENT_VALUES: Final = frozenset({str, int, float, bytes, bool, type(None)})


def _is_silent(exc: Any) -> bool:
    """Whether it is an exception of Python's own that has nothing to say: most of them, cheaply."""
    kind = type(exc)
    if type(kind) is not type or kind not in _SILENT_TYPES or exc.__dict__:
        return False
    if cause_of(exc) is not None:
        return False
    return all(type(value) in _SILENT_VALUES for value in args_of(exc))


_Said = tuple[float | None, bool, bool]
"""Seconds to wait; told to stop; the server is exhausted and says no more."""


def _examined(exc: object) -> Iterator[object]:
    """``exc``, its causes, what they wrap and the members of groups; each once, at most 64."""
    found: list[object] = [exc]
    for one in found:
        yield one
        for inner in _inside(one):
            if len(found) == EXAMINED_MAX:
                break
            if not any(inner is known for known in found):
                found.append(inner)


def _inside(exc: object) -> list[object]:
    # By type(): isinstance() would ask the object for its __class__.
    kind = type(exc)
    if not issubclass(kind, BaseException):
        return []
    error = cast("BaseException", exc)
    inner: list[object] = [*args_of(error)[:2], attribute_of(exc, "reason"), cause_of(error)]
    if issubclass(kind, BaseExceptionGroup):
        inner += members_of(error)[: schema.GROUP_MAX]
    return [one for one in inner if issubclass(type(one), BaseException)]


def _said_by(one: object, now: float) -> _Said:
    """What one object says, the ones inside it left out."""
    refused = _partially_accepted(one)
    try:
        if _is_rpc_error(type(one)):
            return _said_by_grpc(one)
        return _said_by_answer(one, now), refused, False
    except Exception:  # noqa: BLE001 - attributes are the application's
        return None, refused, False


def _is_rpc_error(kind: type) -> bool:
    return issubclass(kind, BaseException) and any(
        type_name(cls) == "grpc.RpcError" for cls in _mro_of(kind)
    )


def _said_by_grpc(exc: Any) -> _Said:
    # Read by who has such an error, as all tables of libraries are.
    from faultplane.classify.libraries.grpc_status import STOP, pushback

    code, wait = pushback(exc)
    if wait == STOP:
        return None, True, False
    return wait, False, wait is None and code == "RESOURCE_EXHAUSTED"


def _said_by_answer(one: object, now: float) -> float | None:
    """Seconds that an HTTP response asks to wait, or an exception that stands for one."""
    response = attribute_of(one, "response")
    if type(response) is dict:
        # As botocore keeps an answer.
        return wait_in_headers(response["ResponseMetadata"]["HTTPHeaders"], now)
    wait = None if response is None else wait_said_by(response, now)
    return wait_said_by(one, now) if wait is None else wait


# The fields of the four messages of OTLP that say how much was refused.
_REFUSED: Final = ("rejected_spans", "rejected_data_points", "rejected_log_records",
                   "rejected_profiles")  # fmt: skip


def _partially_accepted(one: object) -> bool:
    """Whether it is, or is about, a response of OTLP whose ``partial_success`` is populated."""
    owners = [one, attribute_of(one, "response")]
    if issubclass(type(one), BaseException):
        owners += args_of(cast("BaseException", one))[:2]
    for owner in owners:
        said = attribute_of(owner, "partial_success")
        if said is None:
            continue
        text = attribute_of(said, "error_message")
        if type(text) is str and text:
            return True
        if any((int_of(attribute_of(said, name)) or 0) > 0 for name in _REFUSED):
            return True
    return False
