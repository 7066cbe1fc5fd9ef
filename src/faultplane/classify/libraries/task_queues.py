"""What Celery with kombu and billiard, and RQ raise.

Decisions that could have gone another way:

* What a task raises to steer its worker (Retry, Ignore, Reject), and what stops a worker, is
  Processing, Low and ``ignored``: whether there is another try has been decided by then.
* A task that ran out of its time is a Timeout that is temporary but not retryable: it was begun,
  and as long a limit would not do for the next either. A worker that died is ResourceExhausted, as
  a broken pool of processes is.
* An error of kombu around another one is what that says: a broker that refuses a connection is
  ECONNREFUSED.
* Content of a type that is not accepted is Permission: it is refused for what it could do.
"""

from __future__ import annotations

from typing import Any, Final

from faultplane.classify.libraries import service_judges as judges
from faultplane.classify.libraries.rows import Group, by_answer
from faultplane.classify.stdlib import (
    _ANSWERED,
    _BUG,
    _CERTAIN,
    _FLOW,
    _GUESS,
    _LATER,
    _MEDIUM,
    _NEVER,
    _STOPPED,
    _UNSENT,
    _says,
)

__all__ = ["GROUPS"]

_SUCCESS: Final[dict[str, Any]] = {"reached_server": "yes", "counts_as": "success"}
_BASE: Final[dict[str, Any]] = {**_NEVER, **_GUESS, "reached_server": "unknown"}

GROUPS: Final[tuple[Group, ...]] = by_answer(
    _says(
        "Processing",
        "celery.exceptions: TaskPredicate billiard.exceptions: CoroStop billiard.pool: "
        "WorkersJoined celery.contrib.migrate: StopFiltering kombu.asynchronous.hub: Stop "
        "rq.exceptions: StopRequested ShutDownImminentException",
        **_STOPPED,
    ),
    _says(
        "Concurrency",
        "celery.exceptions: TaskRevokedError billiard.exceptions: Terminated",
        **_STOPPED,
    ),
    _says("Concurrency", "rq.exceptions: DequeueTimeout", **_FLOW),
    _says(
        "Concurrency",
        "rq.exceptions: DuplicateJobError DuplicateSchedulerError celery.platforms: LockFailed "
        "kombu.transport.redis: MutexHeld",
        **{**_NEVER, "counts_as": "ignored"},
    ),
    _says(
        "Processing",
        "celery.exceptions: CeleryError ChordError MaxRetriesExceededError celery.beat: "
        "SchedulingError celery.utils.serialization: UnpickleableExceptionWrapper "
        "billiard.einfo: RemoteTraceback ExceptionWithTraceback billiard.exceptions: "
        "RestartFreqExceeded",
        judge=judges.by_wrapped,
    ),
    # ------------------------------------------------------------------ time and workers
    _says("Timeout", "celery.exceptions: TimeoutError", **_CERTAIN, origin="target"),
    _says(
        "Timeout",
        "billiard.exceptions: SoftTimeLimitExceeded TimeLimitExceeded "
        "rq.timeouts: BaseTimeoutException",
        **{**_CERTAIN, **_ANSWERED, "retryable": False},
    ),
    _says(
        "ResourceExhausted",
        "billiard.exceptions: WorkerLostError rq.exceptions: AbandonedJobError",
        **{**_NEVER, "severity": "High", "origin": "target", "confidence": 0.6},
    ),
    _says(
        "ResourceExhausted",
        "kombu.exceptions: LimitExceeded",
        **{**_LATER, **_MEDIUM, **_UNSENT, **_CERTAIN, "counts_as": "ignored"},
    ),
    _says("ResourceExhausted", "celery.backends.rpc: BacklogLimitExceeded", **_MEDIUM),
    # ------------------------------------------------------------------ what is wrong on this side
    _says(
        "Configuration",
        "celery.exceptions: NotRegistered QueueNotFound ImproperlyConfigured "
        "celery.schedules: ParseException kombu.exceptions: SerializerNotInstalled "
        "kombu.matcher: MatcherNotInstalled kombu.transport.virtual.base: NotEquivalentError "
        "rq.exceptions: TimeoutFormatError SchedulerNotFound "
        "rq.connections: NoRedisConnectionException",
    ),
    _says(
        "Internal",
        "celery.exceptions: AlreadyRegistered celery.utils.graph: CycleError kombu.exceptions: "
        "MessageStateError NotBoundError rq.exceptions: InvalidJobOperation "
        "InvalidJobOperationError",
        **_BUG,
    ),
    _says(
        "DataValidation", "celery.exceptions: InvalidTaskError rq.exceptions: InvalidJobDependency"
    ),
    _says("DataValidation", "rq.exceptions: NoSuchJobError NoSuchGroupError", **_SUCCESS),
    _says(
        "Permission",
        "celery.exceptions: SecurityError kombu.exceptions: ContentDisallowed",
    ),
    _says(
        "Serialization",
        "kombu.exceptions: SerializationError DecodeError billiard.pool: MaybeEncodingError "
        "rq.exceptions: DeserializationError",
        **_CERTAIN,
    ),
    _says(
        "Serialization",
        "kombu.exceptions: EncodeError",
        **{**_CERTAIN, **_UNSENT, "counts_as": "ignored"},
    ),
    # ------------------------------------------------------------------ brokers and backends
    _says("DependencyService", "kombu.exceptions: KombuError", judge=judges.by_wrapped, **_BASE),
    _says("Transport", "kombu.exceptions: OperationalError", judge=judges.by_wrapped),
    _says("VersionMismatch", "kombu.exceptions: VersionMismatch"),
    _says(
        "DependencyService",
        "kombu.exceptions: HttpError",
        judge=judges.by_client_status,
    ),
    _says(
        "DependencyService",
        "celery.exceptions: BackendError",
        judge=judges.by_wrapped,
        reached_server="unknown",
    ),
    _says("DependencyService", "billiard.managers: RemoteError", **_NEVER, **_GUESS),
    _says("Transport", "celery.exceptions: IncompleteStream", **_CERTAIN),
    _says("DependencyService", "kombu.exceptions: InconsistencyError", **_BASE),
    _says("DependencyService", "kombu.exceptions: BatchPublishError"),
)
