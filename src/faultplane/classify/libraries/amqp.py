"""AMQP by reply code, for pika and py-amqp.

The codes are the constants of AMQP 0-9-1, which a broker gives when it closes a channel (403 to
406, 311 to 313) or a connection (the others).

Decisions that could have gone another way:

* 404 (no such queue) is DataValidation of low confidence, as in HTTP. 406 is Configuration: a
  queue was declared otherwise than it is, or a consumer took longer than its broker allows.
* A channel or a connection in the wrong state was closed before; what closed it was raised
  earlier, so this is the program's own. It is ``ignored``.
* A message that was refused (NackError) may be published again, one that no queue takes
  (UnroutableError) needs another binding.
"""

from __future__ import annotations

from typing import Any, Final

from faultplane.classify import vocabulary as v
from faultplane.classify.judgement import keyed
from faultplane.classify.libraries import rows as r
from faultplane.classify.table import answers_by_word

__all__ = ["CODES", "GROUPS", "by_reply_code"]

CODES: Final = answers_by_word(
    "amqp",
    {
        "200": r.STOPPED,
        "311": r.INVALID,
        "312 402 406": r.REFUSED_SETTING,
        "313 320": r.UNAVAILABLE,
        "403 530": r.DENIED,
        "404": r.ABSENT,
        "405": r.CONFLICT,
        "501 502 503 504 505": r.MISTAKE,
        "506": r.CROWDED,
        "540": r.UNSUPPORTED,
        "541": r.BROKEN,
    },
)
"""Answers by reply code."""


_WORDS: Final = {int(word): word for word in CODES}


def _reply_key(exc: Any) -> object:
    code = getattr(exc, "reply_code", None)
    if code is None:
        code = getattr(exc, "code", None)
    return _WORDS.get(code, "") if type(code) is int else ""


by_reply_code: Final = keyed(_reply_key, CODES.get)
"""A channel or connection that was closed, by the reply code."""

_CLOSED: Final[r.Written] = (
    "DependencyService", {**r.BROKEN[1], "confidence": 0.6}, by_reply_code,
)  # fmt: skip

GROUPS: Final[tuple[r.Group, ...]] = (
    (
        "pika.exceptions",
        {
            "AMQPError AMQPChannelError": r.UNTOLD,
            "AMQPConnectionError StreamLostError ConnectionOpenAborted": r.LOST,
            "AMQPHeartbeatTimeout": r.SLOW,
            "ConnectionClosed ConnectionClosedByBroker": _CLOSED,
            "ChannelClosed ChannelClosedByBroker": _CLOSED,
            "ConnectionClosedByClient ChannelClosedByClient": r.STOPPED,
            "AuthenticationError ProbableAuthenticationError ProbableAccessDeniedError": (
                r.LOCKED_OUT
            ),
            "IncompatibleProtocolError ProtocolVersionMismatch": (
                "VersionMismatch", {**v.UNSENT, "origin": "path"},
            ),
            "ProtocolSyntaxError": ("Serialization", {"origin": "path"}),
            "ConnectionBlockedTimeout": r.CROWDED,
            "NoFreeChannels": r.POOL_EMPTY,
            "NackError ConsumerCancelled": r.UNAVAILABLE,
            "UnroutableError": r.REFUSED_SETTING,
            "ChannelWrongStateError ConnectionWrongStateError": (
                "Internal", {**r.MISUSE[1], "confidence": 0.6},
            ),
            "ChannelError DuplicateConsumerTag DuplicateGetOkCallback InvalidChannelNumber "
            "MethodNotImplemented ReentrancyError": r.MISUSE,
            "ShortStringTooLong UnsupportedAMQPFieldException InvalidFieldTypeException": r.UNFIT,
        },
    ),
    (
        "pika.adapters.utils.connection_workflow",
        {
            "AMQPConnectorException AMQPConnectorAMQPHandshakeError": r.LOST,
            "AMQPConnectorSocketConnectError AMQPConnectorTransportSetupError "
            "AMQPConnectionWorkflowFailed": r.UNREACHED,
            "AMQPConnectorStackTimeout": r.UNREACHED_IN_TIME,
            "AMQPConnectorAborted AMQPConnectionWorkflowAborted": r.STOPPED,
            "AMQPConnectorWrongState AMQPConnectionWorkflowWrongState": r.MISUSE,
        },
    ),
    (
        "amqp.exceptions",
        {
            "AMQPError": _CLOSED,
            "RecoverableConnectionError RecoverableChannelError": (*r.LOST, by_reply_code),
            "MessageNacked": r.UNAVAILABLE,
        },
    ),
)  # fmt: skip
