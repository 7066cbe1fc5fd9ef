"""Rules of the standard library that look at the exception, not only at its type.

A judge takes the exception, the answer that its type alone would give, and the inquiry under way
(to ask about an exception inside the exception). It returns a judgement: the answer, and what the
answer may be remembered by:

* `NEVER` (0): ask again for each exception.
* `BY_TYPE` (1): by the type, and by the errno of an OSError. A core tells errnos apart that are
  from 1 to 999,999; all others, and none, are one to it.
* `BY_CAUSES` (2): by those of the exception and of each exception along its ``__cause__`` chain.
  A core may keep such an answer for exceptions without a cause and ask again for those with one.

Nothing is imported here to recognise a type: constants come from a module only if the program has
loaded it. Attributes are read defensively, because a subclass may define them as it likes.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, Protocol, cast

from faultplane import schema
from faultplane.classify.classification import RULE_CHARACTERS_MAX, Classification, shared
from faultplane.classify.errno_table import BY_ERRNO
from faultplane.classify.http_status import by_status, parse_retry_after
from faultplane.classify.kinds import CountsAs, ReachedServer, Severity
from faultplane.classify.table import Answers, Row, answers_by_word

__all__ = [
    "BY_CAUSES",
    "BY_TYPE",
    "NEVER",
    "UNKNOWN",
    "Inquiry",
    "Judge",
    "Judgement",
    "narrower",
]

NEVER: Final = 0
BY_TYPE: Final = 1
BY_CAUSES: Final = 2

Judgement = tuple[Classification, int]


class Inquiry(Protocol):
    """What a judge may ask for while one exception is being classified."""

    def judge(self, inner: object) -> Judgement | None:
        """Judgement on ``inner``; None if it is no exception, or a cycle, or nested too deep."""

    def now(self) -> float:
        """Seconds since the epoch."""


Judge = Callable[[BaseException, Classification, Inquiry], Judgement]

UNKNOWN: Final = shared(Classification("Internal", confidence=0.1, rule="default"))
"""The answer where no rule knows better."""

DERIVED_MAX: Final = 1024
"""Derived answers of one sort that are remembered."""
INNER_CONFIDENCE: Final = 0.9
"""An inner exception speaks for the one around it a little less surely than for itself."""


def narrower(first: int, second: int) -> int:
    """What an answer may be remembered by that rests on both: NEVER, else BY_CAUSES, else BY_TYPE.

    >>> narrower(BY_TYPE, BY_CAUSES), narrower(BY_CAUSES, NEVER)
    (2, 0)
    """
    return max(first, second) if first and second else NEVER


# Straight from the base types, so that a subclass cannot put a property in the way; the compiled
# core reads the same C fields.
_errno_of: Final[Callable[[BaseException], object]] = OSError.__dict__["errno"].__get__
_cause_of: Final[Callable[[BaseException], object]] = BaseException.__dict__["__cause__"].__get__
_args_of: Final[Callable[[BaseException], tuple[object, ...]]] = BaseException.__dict__[
    "args"
].__get__
_members_of: Final[Callable[[BaseException], tuple[BaseException, ...]]] = (
    BaseExceptionGroup.__dict__["exceptions"].__get__
)

_NEVER: Final[dict[str, Any]] = {"retryable": False, "temporary": False}
_LATER: Final[dict[str, Any]] = {"retryable": True, "temporary": True}
_UNSENT: Final[dict[str, Any]] = {"reached_server": "no"}
_BY_HAND: Final[dict[str, Any]] = {"recovery_strategy": "ManualIntervention"}
_VALIDATE: Final[dict[str, Any]] = {"recovery_strategy": "ValidateConfig"}
_TARGET: Final[dict[str, Any]] = {"origin": "target", "reached_server": "yes"}
_ANSWERED: Final[dict[str, Any]] = {"reached_server": "yes", "counts_as": "success"}


def _attribute(owner: object, name: str) -> Any:
    """Attribute of somebody else's object, or None where reading it fails in whatever way."""
    try:
        return getattr(owner, name, None)
    except Exception:  # noqa: BLE001 - a property may raise anything
        return None


def _whole(value: object) -> int | None:
    """``value`` if it is an int (HTTPStatus included), else None."""
    # By type(): isinstance() would ask the object for its __class__.
    if type(value) is bool or not issubclass(type(value), int):
        return None
    return int.__index__(cast("int", value))


def _text(args: tuple[object, ...]) -> str:
    """The first of ``args`` as text, at most 512 characters; "" if it is neither str nor bytes."""
    first = args[0] if args else None
    if type(first) is bytes:
        return first[:512].decode("latin-1")
    return first[:512] if type(first) is str else ""


@lru_cache(maxsize=DERIVED_MAX)
def _inner(label: str, answer: Classification) -> Classification:
    """``answer`` of an inner exception, as the answer for the one around it."""
    rule = answer.rule if answer.rule.startswith(label) else f"{label}: {answer.rule}"
    confidence = round(answer.confidence * INNER_CONFIDENCE, 4)
    return shared(answer.replace(rule=rule[:RULE_CHARACTERS_MAX], confidence=confidence))


# --------------------------------------------------------------- exceptions inside exceptions


def by_cause(exc: BaseException, answer: Classification, inquiry: Inquiry) -> Judgement:
    """A type that only wraps: its ``__cause__`` answers, where that is known."""
    cause = _cause_of(exc)
    if cause is None:
        return answer, BY_CAUSES
    found = inquiry.judge(cause)
    if found is None:
        return answer, NEVER
    inner, remembered = found
    chosen = answer if inner is UNKNOWN else _inner("cause", inner)
    return chosen, narrower(BY_CAUSES, remembered)


def by_group(exc: BaseException, answer: Classification, inquiry: Inquiry) -> Judgement:
    """An ExceptionGroup: the worst of its first 16 members answers.

    One that must not be retried is worse than one that may; then the more severe is worse, then
    the one that will not go away. All members together give the highest severity, the longest
    wait, the furthest reach, and "failure" where any member counts as one.
    """
    answers = []
    for member in _members_of(exc)[: schema.GROUP_MAX]:
        found = inquiry.judge(member)
        if found is not None:
            answers.append(found[0])
    if not answers:
        return answer, NEVER
    worst = max(answers, key=lambda a: (not a.retryable, a.severity_number, not a.temporary))
    waits = [a.retry_after for a in answers if a.retry_after is not None]
    reach = tuple(ReachedServer)
    merged = _merged(
        worst,
        max(answers, key=lambda a: a.severity_number).severity,
        max(waits, default=None),
        max((a.reached_server for a in answers), key=reach.index),
        any(a.counts_as is CountsAs.FAILURE for a in answers),
    )
    return merged, NEVER


@lru_cache(maxsize=DERIVED_MAX)
def _merged(
    worst: Classification,
    severity: Severity,
    retry_after: float | None,
    reached: ReachedServer,
    failed: bool,
) -> Classification:
    return shared(
        _inner("member", worst).replace(
            severity=severity,
            retry_after=retry_after,
            reached_server=reached,
            counts_as=CountsAs.FAILURE if failed else worst.counts_as,
        )
    )


def by_url_reason(exc: BaseException, answer: Classification, inquiry: Inquiry) -> Judgement:
    """A urllib URLError: the exception that is its ``reason`` answers."""
    found = inquiry.judge(_attribute(exc, "reason"))
    return (answer if found is None else _inner("reason", found[0])), NEVER


# ------------------------------------------------------------------------- operating system


def by_errno(exc: BaseException, answer: Classification, inquiry: Inquiry) -> Judgement:
    """An OSError with a number that is known; else what its type says."""
    number = _errno_of(exc)
    return (BY_ERRNO.get(number, answer) if type(number) is int else answer), BY_TYPE


def by_errno_or_cause(exc: BaseException, answer: Classification, inquiry: Inquiry) -> Judgement:
    """A plain OSError: its number, else its cause."""
    number = _errno_of(exc)
    if type(number) is int and number in BY_ERRNO:
        return BY_ERRNO[number], BY_TYPE
    return by_cause(exc, answer, inquiry)


_RESOLVER: Final = answers_by_word(
    "socket.gaierror",
    {
        "EAI_AGAIN": ("Transport", {**_UNSENT}),
        # The resolver answered that there is no such name: a setting is wrong, most likely.
        "EAI_NONAME EAI_NODATA EAI_ADDRFAMILY": (
            "Configuration",
            {**_UNSENT, "category": "Network", "confidence": 0.9},
        ),
        "EAI_FAIL": ("Transport", {**_UNSENT, **_NEVER, **_VALIDATE}),
        "EAI_MEMORY": ("ResourceExhausted", {**_UNSENT, "retryable": True}),
        "EAI_SERVICE": ("Configuration", {**_UNSENT}),
        "EAI_FAMILY EAI_SOCKTYPE": ("VersionMismatch", {**_UNSENT}),
        "EAI_BADFLAGS EAI_BADHINTS EAI_OVERFLOW EAI_PROTOCOL EAI_MAX": (
            "DataValidation",
            {**_UNSENT},
        ),
    },
)
# netdb.h: values of h_errno, the same on every platform.
_HOST: Final = {1: "EAI_NONAME", 2: "EAI_AGAIN", 3: "EAI_FAIL", 4: "EAI_NODATA"}
_resolver_numbers: dict[int, str] = {}


def by_resolver(exc: BaseException, answer: Classification, inquiry: Inquiry) -> Judgement:
    """A gaierror by its EAI number, which differs between platforms."""
    if not _resolver_numbers and (module := sys.modules.get("_socket")) is not None:
        for symbol in _RESOLVER:
            value = _whole(getattr(module, symbol, None))
            if value is not None:
                _resolver_numbers.setdefault(value, symbol)
    number = _errno_of(exc)
    if type(number) is not int:
        return answer, NEVER
    # Negative with glibc, positive elsewhere: only the latter are part of a core's key.
    known = _RESOLVER.get(_resolver_numbers.get(number, ""), answer)
    return known, BY_TYPE if number > 0 else NEVER


def by_host(exc: BaseException, answer: Classification, inquiry: Inquiry) -> Judgement:
    """A herror by its h_errno."""
    number = _errno_of(exc)
    if type(number) is not int:
        return answer, NEVER
    return _RESOLVER.get(_HOST.get(number, ""), answer), BY_TYPE if number > 0 else NEVER


# ------------------------------------------------------------------------------------ TLS

_TRUST: Final[dict[str, Any]] = {**_UNSENT, "origin": "path", "counts_as": "failure"}

_TLS: Final = answers_by_word(
    "ssl.SSLError",
    {
        # Two sides without a version or cipher in common, or one that speaks no TLS at all.
        "WRONG_VERSION_NUMBER UNSUPPORTED_PROTOCOL UNKNOWN_PROTOCOL NO_PROTOCOLS_AVAILABLE "
        "TLSV1_ALERT_PROTOCOL_VERSION VERSION_TOO_LOW NO_SHARED_CIPHER HTTP_REQUEST "
        "HTTPS_PROXY_REQUEST SSLV3_ALERT_HANDSHAKE_FAILURE INAPPROPRIATE_FALLBACK "
        "TLSV1_ALERT_INAPPROPRIATE_FALLBACK PACKET_LENGTH_TOO_LONG RECORD_LAYER_FAILURE "
        "TLSV1_ALERT_INSUFFICIENT_SECURITY NO_CIPHERS_AVAILABLE": ("VersionMismatch", _TRUST),
        "CERTIFICATE_VERIFY_FAILED TLSV1_ALERT_UNKNOWN_CA SSLV3_ALERT_BAD_CERTIFICATE "
        "SSLV3_ALERT_CERTIFICATE_EXPIRED SSLV3_ALERT_CERTIFICATE_REVOKED "
        "SSLV3_ALERT_CERTIFICATE_UNKNOWN SSLV3_ALERT_UNSUPPORTED_CERTIFICATE "
        "TLSV13_ALERT_CERTIFICATE_REQUIRED TLSV1_ALERT_ACCESS_DENIED "
        "PEER_DID_NOT_RETURN_A_CERTIFICATE TLSV1_ALERT_DECRYPT_ERROR": ("Permission", _TRUST),
        "TLSV1_UNRECOGNIZED_NAME TLSV1_ALERT_NO_APPLICATION_PROTOCOL": ("Configuration", _TRUST),
        # Keys and files of our own, read before anybody is called.
        "NO_CERTIFICATE_OR_CRL_FOUND KEY_VALUES_MISMATCH PEM_LIB NO_START_LINE "
        "X509_LIB EE_KEY_TOO_SMALL CA_MD_TOO_WEAK": ("Configuration", {**_UNSENT}),
        "TLSV1_ALERT_INTERNAL_ERROR": ("DependencyService", {**_UNSENT}),
        "UNEXPECTED_EOF_WHILE_READING DECRYPTION_FAILED_OR_BAD_RECORD_MAC "
        "SSLV3_ALERT_BAD_RECORD_MAC APPLICATION_DATA_AFTER_CLOSE_NOTIFY": ("Transport", {}),
    },
)
# X.509 verification results: the server's own certificate is out of its dates.
_CERTIFICATE_DATES: Final = frozenset({9, 10})


def by_tls_reason(exc: BaseException, answer: Classification, inquiry: Inquiry) -> Judgement:
    """An SSLError by OpenSSL's reason, which for some is only in its text."""
    reason = _attribute(exc, "reason")
    if reason is None:
        # The text of such a one is like this: [SSL] PEM lib (_ssl.c:3905)
        text = _text(_args_of(exc)[1:2])
        reason = text.partition("] ")[2].partition(" (")[0].replace(" ", "_").upper()
    return (_TLS.get(reason, answer) if type(reason) is str else answer), NEVER


def by_certificate(exc: BaseException, answer: Classification, inquiry: Inquiry) -> Judgement:
    """A certificate that was refused: out of its dates is the server's doing."""
    if _whole(_attribute(exc, "verify_code")) in _CERTIFICATE_DATES:
        return shared(answer.replace(origin="target")), NEVER
    return answer, NEVER


# ----------------------------------------------------------------------------------- HTTP


def by_http_error(exc: BaseException, answer: Classification, inquiry: Inquiry) -> Judgement:
    """A urllib HTTPError or an xmlrpc ProtocolError: status and Retry-After."""
    status = _whole(_attribute(exc, "code"))
    if status is None:
        status = _whole(_attribute(exc, "errcode"))
    if status is None:
        return answer, NEVER
    get = _attribute(_attribute(exc, "headers"), "get")
    wait = None
    try:
        value = get("Retry-After") if get is not None else None
        if isinstance(value, (str, bytes)):
            wait = parse_retry_after(value, inquiry.now())
    except Exception:  # noqa: BLE001 - headers may be any mapping
        wait = None
    # A date leaves fractions of a second; rounded up, equal waits are one object.
    return by_status(status, None if wait is None else float(math.ceil(wait))), NEVER


# ----------------------------------------------------------- mail, FTP: replies of three digits

_REPLY_ROWS: Final[dict[str, Row]] = {
    "421": ("DependencyService", {}),
    "425 426": ("Transport", {}),
    "430 530 532 534 535 538": ("Permission", {**_ANSWERED}),
    "450 451 454": ("DependencyService", {"recovery_strategy": "RetryWithBackoff"}),
    "452": ("ResourceExhausted", {**_LATER, **_TARGET, "severity": "High"}),
    "500 501 502 503 504 555": ("VersionMismatch", {**_ANSWERED}),
    "550 551 553 556": ("DataValidation", {**_ANSWERED}),
    "552": ("ResourceExhausted", {**_NEVER, **_TARGET, "severity": "High"}),
    "554": ("BusinessLogic", {}),
    "4xx": ("DependencyService", {"confidence": 0.7}),
    "5xx": ("DependencyService", {**_NEVER, **_BY_HAND, "confidence": 0.7}),
}
_SMTP: Final = answers_by_word("smtp", _REPLY_ROWS)
_FTP: Final = answers_by_word("ftp", _REPLY_ROWS)


def _by_reply(table: Answers[str], code: int | None, answer: Classification) -> Classification:
    if code is None or not 400 <= code <= 599:
        return answer
    return table.get(str(code)) or table[f"{code // 100}xx"]


def by_smtp_code(exc: BaseException, answer: Classification, inquiry: Inquiry) -> Judgement:
    """An SMTPResponseException by its reply code (RFC 5321 and 4954)."""
    return _by_reply(_SMTP, _whole(_attribute(exc, "smtp_code")), answer), NEVER


def by_smtp_recipients(exc: BaseException, answer: Classification, inquiry: Inquiry) -> Judgement:
    """All recipients refused: the first final refusal answers, else the first."""
    refused = _attribute(exc, "recipients")
    codes = []
    if type(refused) is dict:
        for reply in list(refused.values())[: schema.GROUP_MAX]:
            code = _whole(reply[0]) if type(reply) is tuple and reply else None
            if code is not None:
                codes.append(code)
    codes.sort(key=lambda code: code < 500)
    return _by_reply(_SMTP, codes[0] if codes else None, answer), NEVER


def by_ftp_code(exc: BaseException, answer: Classification, inquiry: Inquiry) -> Judgement:
    """An ftplib error by the reply code that its text starts with (RFC 959)."""
    code = _text(_args_of(exc))[:3]
    return _by_reply(_FTP, int(code) if code.isascii() and code.isdigit() else None, answer), NEVER


_BRACKETS: Final = answers_by_word(
    "mail",
    {
        "AUTH AUTHENTICATIONFAILED AUTHORIZATIONFAILED EXPIRED PRIVACYREQUIRED NOPERM": (
            "Permission",
            {**_ANSWERED},
        ),
        "IN-USE INUSE": ("Concurrency", {**_TARGET}),
        "LOGIN-DELAY LIMIT": ("RateLimit", {}),
        "SYS/TEMP UNAVAILABLE": ("DependencyService", {}),
        "SYS/PERM SERVERBUG CORRUPTION CONTACTADMIN": (
            "DependencyService",
            {**_NEVER, **_BY_HAND},
        ),
        "OVERQUOTA": ("ResourceExhausted", {**_NEVER, **_TARGET, "severity": "High"}),
        "NONEXISTENT TRYCREATE CANNOT ALREADYEXISTS": ("DataValidation", {**_ANSWERED}),
        "CLIENTBUG": ("Internal", {**_ANSWERED}),
    },
)


def by_bracket_code(exc: BaseException, answer: Classification, inquiry: Inquiry) -> Judgement:
    """A POP3 or IMAP refusal by its response code in brackets (RFC 2449, 3206, 5530)."""
    before, opened, rest = _text(_args_of(exc)).partition("[")
    if not opened or len(before) > 64:
        return answer, NEVER
    code = rest.partition("]")[0].partition(" ")[0].upper()
    return _BRACKETS.get(code, answer), NEVER


# ------------------------------------------------------------------------------ databases

_SQLITE: Final = answers_by_word(
    "sqlite3",
    {
        "ERROR MISUSE RANGE INTERNAL NOTFOUND": (
            "Internal",
            {**_UNSENT, "counts_as": "ignored"},
        ),
        "PERM AUTH READONLY": ("Permission", {**_UNSENT}),
        "ABORT INTERRUPT": (
            "Concurrency",
            {**_NEVER, "severity": "Low", "recovery_strategy": "Fallback", "counts_as": "ignored"},
        ),
        "BUSY LOCKED PROTOCOL SCHEMA": ("Concurrency", {**_UNSENT}),
        "NOMEM": ("ResourceExhausted", {**_UNSENT, "retryable": True}),
        "FULL": ("ResourceExhausted", {**_UNSENT, **_NEVER}),
        "IOERR CORRUPT NOTADB": (
            "Internal",
            {**_BY_HAND, "category": "Data", "severity": "Critical", "origin": "target"},
        ),
        "CANTOPEN NOLFS": ("Configuration", {**_UNSENT}),
        "TOOBIG CONSTRAINT MISMATCH EMPTY": ("DataValidation", {**_ANSWERED}),
        "FORMAT": ("VersionMismatch", {}),
    },
)
# sqlite3.h: primary result codes from 1, a stable part of its interface.
_SQLITE_WORDS: Final = (
    "ERROR INTERNAL PERM ABORT BUSY LOCKED NOMEM READONLY INTERRUPT IOERR CORRUPT NOTFOUND FULL "
    "CANTOPEN PROTOCOL EMPTY SCHEMA TOOBIG CONSTRAINT MISMATCH MISUSE NOLFS AUTH FORMAT RANGE "
    "NOTADB"
)
_SQLITE_NUMBERS: Final = dict(enumerate(_SQLITE_WORDS.split(), 1))


def by_sqlite_code(exc: BaseException, answer: Classification, inquiry: Inquiry) -> Judgement:
    """A sqlite3 error by its primary result code (the low byte)."""
    code = _whole(_attribute(exc, "sqlite_errorcode"))
    word = None if code is None else _SQLITE_NUMBERS.get(code & 0xFF)
    return (answer if word is None else _SQLITE[word]), NEVER


# ----------------------------------------------------------------------- programs, RPC

_RETURN_CODES: Final = answers_by_word(
    "exit",
    {
        # timeout(1); a shell that could not run or find the command; sysexits.h.
        "124": ("Timeout", {"origin": "target"}),
        "126 127 78": ("Configuration", {}),
        "64": ("DataValidation", {}),
        "65": ("DataValidation", {**_ANSWERED}),
        "69": ("DependencyService", {"reached_server": "unknown"}),
        "73 74": ("ResourceExhausted", {**_NEVER, "severity": "High"}),
        "75": ("DependencyService", {"recovery_strategy": "RetryWithBackoff"}),
        "77": ("Permission", {}),
        "-9": ("ResourceExhausted", {"severity": "High", "origin": "path", "confidence": 0.5}),
    },
)


def by_return_code(exc: BaseException, answer: Classification, inquiry: Inquiry) -> Judgement:
    """A program that failed, by its exit status: sysexits.h and the shell's own."""
    return _RETURN_CODES.get(str(_whole(_attribute(exc, "returncode"))), answer), NEVER
