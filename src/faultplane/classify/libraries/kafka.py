"""Kafka by error code, for kafka-python, aiokafka and confluent-kafka.

From 0 the codes are the protocol's, the same in each client (``errno`` of a class, or ``code()`` of
the KafkaError in a KafkaException); below -1 they are those of librdkafka alone. What the protocol
calls retriable is retryable here, whatever the version of a client says. For a code without a
row the flag of the client decides (``retriable``), and an error that is ``fatal()`` is final.

Decisions that could have gone another way:

* A consumer that a rebalance has left behind (22, 25, 27, CommitFailedError) is a temporary
  conflict: it has to join again, and the same call does not help.
* A producer that was fenced by its successor stops: Concurrency, final, Fallback.
* An unknown topic is Configuration, and retryable as the protocol says: metadata may be old.
* The queue of a producer that is full is ResourceExhausted on this side, and ``ignored``.
"""

from __future__ import annotations

from typing import Any, Final

from faultplane.classify import vocabulary as v
from faultplane.classify.judgement import keyed
from faultplane.classify.libraries import rows as r
from faultplane.classify.table import Row, answers_by_word

__all__ = ["CODES", "GROUPS", "by_kafka_code"]

_REJOIN: Final[Row] = ("Concurrency", {**v.LATER, **v.ANSWERED})
_FENCED: Final[Row] = ("Concurrency", {**v.FINAL, **v.ANSWERED, **v.WITHOUT})
_UNKNOWN_HERE: Final[Row] = ("Configuration", {**v.AGAIN, **v.ANSWERED, **v.LIKELY})

CODES: Final = answers_by_word(
    "kafka",
    {
        "-1 8 11 55 57 77 96 97 98 101 102 104 107 116 119 125 126 127 129": r.BROKEN,
        "1 69 73 91 105 117": r.ABSENT,
        "2 13": r.LOST,
        "3 100 103": _UNKNOWN_HERE,
        "5 6 9 14 15 16 19 20 41 56 70 71 72 74 75 78 80 83 84 106 122 123 133": r.UNAVAILABLE,
        "7": r.SLOW_SERVER,
        "4 10 12 17 18 21 24 26 28 32 36 37 38 39 42 44 50 67 87 92 99 118 128": r.INVALID,
        "22 25 27 79 110 111 113 120": _REJOIN,
        "68 60 86 94 95": r.OUTDATED,
        "47 52 82 90 124": _FENCED,
        "45 46 48 49 59 34 85 108 109 121": r.MISTAKE,
        "51 88": r.CONFLICT,
        "23 33 40 54 114": r.REFUSED_SETTING,
        "29 30 31 53 61 62 63 64 65 66 93": r.DENIED,
        "58": r.LOCKED_OUT,
        "35 43 76 112 115": r.UNSUPPORTED,
        "81": r.FULL,
        "89": r.THROTTLED,
        # librdkafka's own.
        "-195": r.LOST,
        "-187": r.UNREACHED,
        "-193": ("Configuration", {"category": "Network", "confidence": 0.9}),
        "-192 -185": r.SLOW,
        "-166": r.UNREACHED_IN_TIME,
        "-184": r.POOL_EMPTY,
        "-194": ("ResourceExhausted", {**v.UNSENT}),
        "-181": ("Transport", {**v.UNSENT, **v.FINAL, **v.GUESS, **v.VALIDATE}),
        "-169": r.LOCKED_OUT,
        "-186 -145": r.SETTING,
        "-190 -188": ("Configuration", {**v.LIKELY}),
        "-199 -198 -155": ("Serialization", {**v.TARGET}),
        "-162 -161": ("Serialization", {**v.LOCAL}),
        "-160 -159": ("Serialization", {"reached_server": "yes"}),
        "-197 -152 -151 -163 -137": r.STOPPED,
        "-191 -141": ("BusinessLogic", {}),
        "-180 -178 -177 -164 -153": ("Concurrency", {**v.LOCAL}),
        "-172 -176 -175 -174 -154 -157 -156": r.MISUSE,
        "-171 -170 -165": ("VersionMismatch", {**v.UNSENT}),
        "-168 -140 -139": r.ABSENT,
        "-150 -149 -148": ("DependencyService", {**r.BROKEN[1], "severity": "Critical"}),
        "-147": ("Timeout", {**v.LOCAL, "origin": "caller"}),
        "-144": _FENCED,
        "-142": _REJOIN,
        # By the flags of a client.
        "retriable": ("DependencyService", {**r.UNAVAILABLE[1], "confidence": 0.6}),
        "fatal": ("DependencyService", {**r.BROKEN[1], "severity": "Critical"}),
    },
)  # fmt: skip
"""Answers by error code: the protocol's, and below -1 those of librdkafka."""


_WORDS: Final = {int(word): word for word in CODES if not word.isalpha()}


def _word(code: object, retriable: object) -> str:
    word = _WORDS.get(code) if type(code) is int else None
    return word or ("retriable" if retriable is True else "")


def _code_key(exc: Any) -> object:
    return _word(getattr(exc, "errno", None), getattr(exc, "retriable", None))


def _confluent_key(exc: BaseException) -> object:
    error: Any = exc.args[0] if exc.args else None
    if not hasattr(type(error), "retriable"):
        return ""
    if error.fatal() is True:
        return "fatal"
    retriable = error.retriable()
    word = _word(error.code(), retriable)
    return word + r.MAY_BE_MADE_AGAIN if retriable is True and word != "retriable" else word


by_kafka_code: Final = keyed(_code_key, CODES.get)
"""An error of kafka-python or aiokafka by its code."""
by_confluent_error: Final = keyed(_confluent_key, r.by_word_or_again(CODES))
"""A KafkaException by the KafkaError that it is around."""

_BASE: Final[r.Written] = ("DependencyService", {**r.BROKEN[1], **v.GUESS}, by_kafka_code)
# The same in both clients.
_CLIENT: Final[dict[str, r.Written]] = {
    "KafkaError": _BASE,
    "KafkaConnectionError": r.LOST,
    "KafkaTimeoutError": r.SLOW,
    "NoBrokersAvailable NodeNotReadyError KafkaUnavailableError": r.UNREACHED,
    "KafkaConfigurationError UnrecognizedBrokerVersion": r.SETTING,
    "IncompatibleBrokerVersion": r.UNSUPPORTED,
    "UnsupportedCodecError": ("VersionMismatch", {**v.UNSENT}),
    "IllegalStateError": r.MISUSE,
    "IllegalArgumentError": r.UNFIT,
    "CommitFailedError": _REJOIN,
    "NoOffsetForPartitionError": r.ABSENT,
    "KafkaProtocolError CorrelationIdError": ("Serialization", {"origin": "path"}),
    "QuotaViolationError": r.THROTTLED,
    "Cancelled": ("Transport", {**v.LIKELY}),
    "StaleMetadata MetadataEmptyBrokerList TooManyInFlightRequests": (
        "DependencyService", {**r.NOT_OPEN[1], **v.LIKELY},
    ),
}  # fmt: skip

GROUPS: Final[tuple[r.Group, ...]] = (
    (
        "kafka.errors",
        {
            **_CLIENT,
            "LogTruncationError": r.ABSENT,
            "TransactionAbortedError": _REJOIN,
            "AuthorizationError": (*r.DENIED, by_kafka_code),
        },
    ),
    (
        "aiokafka.errors",
        {
            **_CLIENT,
            "AuthenticationFailedError": r.LOCKED_OUT,
            "AuthenticationMethodNotSupported": r.SETTING,
            "ConsumerStoppedError ProducerClosed": r.STOPPED,
            "IllegalOperation": r.MISUSE,
            "RecordTooLargeError": r.UNFIT,
            "ProducerFenced": _FENCED,
        },
    ),
    (
        "cimpl",
        {
            "KafkaException": (*_BASE[:2], by_confluent_error),
            "IllegalStateException ConcurrentModificationException": r.MISUSE,
        },
    ),
    (
        "confluent_kafka.serialization",
        {"SerializationError": ("Serialization", {**v.LOCAL})},
    ),
    (
        "confluent_kafka.error",
        {
            "KeyDeserializationError ValueDeserializationError": (
                "Serialization", {"reached_server": "yes"},
            ),
            "KeySerializationError ValueSerializationError": (
                "Serialization", {**v.LOCAL},
            ),
        },
    ),
)  # fmt: skip
