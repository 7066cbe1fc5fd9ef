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

from typing import Final

from faultplane.classify import vocabulary as v
from faultplane.classify.libraries import service_judges as judges
from faultplane.classify.libraries.rows import Group, by_answer

__all__ = ["GROUPS"]

GROUPS: Final[tuple[Group, ...]] = by_answer(
    v.says(
        "Processing",
        "celery.exceptions: TaskPredicate billiard.exceptions: CoroStop billiard.pool: "
        "WorkersJoined celery.contrib.migrate: StopFiltering kombu.asynchronous.hub: Stop "
        "rq.exceptions: StopRequested ShutDownImminentException",
        **v.STOPPED,
    ),
    v.says(
        "Concurrency",
        "celery.exceptions: TaskRevokedError billiard.exceptions: Terminated",
        **v.STOPPED,
    ),
    v.says("Concurrency", "rq.exceptions: DequeueTimeout", **v.FLOW),
    v.says(
        "Concurrency",
        "rq.exceptions: DuplicateJobError DuplicateSchedulerError celery.platforms: LockFailed "
        "kombu.transport.redis: MutexHeld",
        **v.FINAL,
        **v.IGNORED,
    ),
    v.says(
        "Processing",
        "celery.exceptions: CeleryError ChordError MaxRetriesExceededError celery.beat: "
        "SchedulingError celery.utils.serialization: UnpickleableExceptionWrapper "
        "billiard.einfo: RemoteTraceback ExceptionWithTraceback billiard.exceptions: "
        "RestartFreqExceeded",
        judge=judges.by_wrapped,
    ),
    # ------------------------------------------------------------------ time and workers
    v.says("Timeout", "celery.exceptions: TimeoutError", **v.CERTAIN, origin="target"),
    v.says(
        "Timeout",
        "billiard.exceptions: SoftTimeLimitExceeded TimeLimitExceeded "
        "rq.timeouts: BaseTimeoutException",
        **{**v.CERTAIN, **v.TARGET, "retryable": False},
    ),
    v.says(
        "ResourceExhausted",
        "billiard.exceptions: WorkerLostError rq.exceptions: AbandonedJobError",
        **{**v.FINAL, "severity": "High", "origin": "target", "confidence": 0.6},
    ),
    v.says(
        "ResourceExhausted",
        "kombu.exceptions: LimitExceeded",
        **v.AGAIN,
        **v.MEDIUM,
        **v.LOCAL,
        **v.CERTAIN,
    ),
    v.says("ResourceExhausted", "celery.backends.rpc: BacklogLimitExceeded", **v.MEDIUM),
    # ------------------------------------------------------------------ what is wrong on this side
    v.says(
        "Configuration",
        "celery.exceptions: NotRegistered QueueNotFound ImproperlyConfigured "
        "celery.schedules: ParseException kombu.exceptions: SerializerNotInstalled "
        "kombu.matcher: MatcherNotInstalled kombu.transport.virtual.base: NotEquivalentError "
        "rq.exceptions: TimeoutFormatError SchedulerNotFound "
        "rq.connections: NoRedisConnectionException",
    ),
    v.says(
        "Internal",
        "celery.exceptions: AlreadyRegistered celery.utils.graph: CycleError kombu.exceptions: "
        "MessageStateError NotBoundError rq.exceptions: InvalidJobOperation "
        "InvalidJobOperationError",
        **v.BUG,
    ),
    v.says(
        "DataValidation", "celery.exceptions: InvalidTaskError rq.exceptions: InvalidJobDependency"
    ),
    v.says("DataValidation", "rq.exceptions: NoSuchJobError NoSuchGroupError", **v.ANSWERED),
    v.says(
        "Permission",
        "celery.exceptions: SecurityError kombu.exceptions: ContentDisallowed",
    ),
    v.says(
        "Serialization",
        "kombu.exceptions: SerializationError DecodeError billiard.pool: MaybeEncodingError "
        "rq.exceptions: DeserializationError",
        **v.CERTAIN,
    ),
    v.says(
        "Serialization",
        "kombu.exceptions: EncodeError",
        **v.CERTAIN,
        **v.LOCAL,
    ),
    # ------------------------------------------------------------------ brokers and backends
    v.says(
        "DependencyService",
        "kombu.exceptions: KombuError",
        judge=judges.by_wrapped,
        **v.FINAL,
        **v.UNCLEAR,
    ),
    v.says("Transport", "kombu.exceptions: OperationalError", judge=judges.by_wrapped),
    v.says("VersionMismatch", "kombu.exceptions: VersionMismatch"),
    v.says(
        "DependencyService",
        "kombu.exceptions: HttpError",
        judge=judges.by_client_status,
    ),
    v.says(
        "DependencyService",
        "celery.exceptions: BackendError",
        judge=judges.by_wrapped,
        reached_server="unknown",
    ),
    v.says("DependencyService", "billiard.managers: RemoteError", **v.FINAL, **v.GUESS),
    v.says("Transport", "celery.exceptions: IncompleteStream", **v.CERTAIN),
    v.says("DependencyService", "kombu.exceptions: InconsistencyError", **v.FINAL, **v.UNCLEAR),
    v.says("DependencyService", "kombu.exceptions: BatchPublishError"),
)
