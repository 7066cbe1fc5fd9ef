"""Rules of the standard library that look at the exception, not only at its type.

A judge takes the exception, the answer that its type alone would give, and the inquiry under way
(to ask about an exception inside the exception). It returns a judgement: the answer, and what the
answer may be remembered by (`faultplane.classify.judgement`).

Nothing is imported here to recognise a type: constants come from a module only if the program has
loaded it. Attributes are read defensively, because a subclass may define them as it likes.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Any, Final, cast

from faultplane import schema
from faultplane.classify import vocabulary as v
from faultplane.classify.classification import RULE_CHARACTERS_MAX, Classification, shared
from faultplane.classify.errno_table import BY_ERRNO
from faultplane.classify.evidence import (
    args_of,
    attribute_of,
    cause_of,
    errno_of,
    int_of,
    members_of,
    text_of,
)
from faultplane.classify.http_status import by_status
from faultplane.classify.judgement import (
    BY_CAUSES,
    BY_TYPE,
    NEVER,
    Inquiry,
    Judgement,
    keyed,
    narrower,
)
from faultplane.classify.kinds import CountsAs, ReachedServer, Severity
from faultplane.classify.retry_after import headers_say_when, wait_in_headers
from faultplane.classify.table import Row, answers_by_word

__all__ = ["UNKNOWN", "inner_answer", "reason_key"]

UNKNOWN: Final = shared(Classification("Internal", confidence=0.1, rule="default"))
"""The answer where no rule knows better."""

DERIVED_MAX: Final = 1024
"""Derived answers of one sort that are remembered."""
INNER_CONFIDENCE: Final = 0.9
"""An inner exception speaks for the one around it a little less surely than for itself."""


@lru_cache(maxsize=DERIVED_MAX)
def inner_answer(label: str, answer: Classification) -> Classification:
    """``answer`` of an inner exception, as the answer for the one around it."""
    rule = answer.rule if answer.rule.startswith(label) else f"{label}: {answer.rule}"
    confidence = round(answer.confidence * INNER_CONFIDENCE, 4)
    return shared(answer.replace(rule=rule[:RULE_CHARACTERS_MAX], confidence=confidence))


# --------------------------------------------------------------- exceptions inside exceptions


def by_cause(exc: BaseException, answer: Classification, inquiry: Inquiry) -> Judgement:
    """A type that only wraps: its ``__cause__`` answers, where that is known."""
    cause = cause_of(exc)
    if cause is None:
        return answer, BY_CAUSES
    found = inquiry.judge(cause)
    if found is None:
        return answer, NEVER
    inner, remembered = found
    chosen = answer if inner is UNKNOWN else inner_answer("cause", inner)
    return chosen, narrower(BY_CAUSES, remembered)


def by_group(exc: BaseException, answer: Classification, inquiry: Inquiry) -> Judgement:
    """An ExceptionGroup: the worst of its first 16 members answers.

    One that must not be retried is worse than one that may; then the more severe is worse, then
    the one that will not go away. All members together give the highest severity, the longest
    wait, the furthest reach, and "failure" where any member counts as one.
    """
    answers = []
    for member in members_of(exc)[: schema.GROUP_MAX]:
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
        inner_answer("member", worst).replace(
            severity=severity,
            retry_after=retry_after,
            reached_server=reached,
            counts_as=CountsAs.FAILURE if failed else worst.counts_as,
        )
    )


def reason_key(reason: object) -> object:
    """Type and errno of a reason; 0 for one that is no exception, None for one of an odd type."""
    kind = type(reason)
    if type(kind) is not type:
        return None  # its metaclass may compare as it likes
    if not issubclass(kind, BaseException):
        return 0
    number = errno_of(cast("OSError", reason)) if issubclass(kind, OSError) else 0
    return kind, number if type(number) is int else 0


def _url_key(exc: Any) -> object:
    return reason_key(exc.reason)


def by_url_reason(exc: BaseException, answer: Classification, inquiry: Inquiry) -> Judgement:
    """A urllib URLError: the exception that is its ``reason`` answers."""
    try:
        reason = cast("Any", exc).reason
    except Exception:  # noqa: BLE001 - a property may raise anything
        return answer, NEVER
    key = reason_key(reason)
    found = inquiry.judge(reason)
    if found is None:
        # No exception: that is in the key. One that is nested too deep is another matter.
        return answer, (_url_key, key) if key == 0 else NEVER
    inner, remembered = found
    # Nobody changed it in between, and type and errno are what its own answer rests on.
    lasting = remembered == BY_TYPE and key is not None and reason_key(reason) == key
    return inner_answer("reason", inner), (_url_key, key) if lasting else NEVER


# ------------------------------------------------------------------------- operating system


def by_errno(exc: BaseException, answer: Classification, inquiry: Inquiry) -> Judgement:
    """An OSError with a number that is known; else what its type says."""
    number = errno_of(exc)
    return (BY_ERRNO.get(number, answer) if type(number) is int else answer), BY_TYPE


def by_errno_or_cause(exc: BaseException, answer: Classification, inquiry: Inquiry) -> Judgement:
    """A plain OSError: its number, else its cause."""
    number = errno_of(exc)
    if type(number) is int and number in BY_ERRNO:
        return BY_ERRNO[number], BY_TYPE
    return by_cause(exc, answer, inquiry)


_RESOLVER: Final = answers_by_word(
    "socket.gaierror",
    {
        "EAI_AGAIN": ("Transport", {**v.UNSENT}),
        # The resolver answered that there is no such name: a setting is wrong, most likely.
        "EAI_NONAME EAI_NODATA EAI_ADDRFAMILY": (
            "Configuration",
            {**v.UNSENT, "category": "Network", "confidence": 0.9},
        ),
        "EAI_FAIL": ("Transport", {**v.UNSENT, **v.FINAL, **v.VALIDATE}),
        "EAI_MEMORY": ("ResourceExhausted", {**v.UNSENT, "retryable": True}),
        "EAI_SERVICE": ("Configuration", {**v.UNSENT}),
        "EAI_FAMILY EAI_SOCKTYPE": ("VersionMismatch", {**v.UNSENT}),
        "EAI_BADFLAGS EAI_BADHINTS EAI_OVERFLOW EAI_PROTOCOL EAI_MAX": (
            "DataValidation",
            {**v.UNSENT},
        ),
    },
)
# netdb.h: values of h_errno, the same on every platform.
_HOST: Final = {1: "EAI_NONAME", 2: "EAI_AGAIN", 3: "EAI_FAIL", 4: "EAI_NODATA"}
_resolver_numbers: dict[int, str] = {}


def _resolver_key(exc: BaseException) -> object:
    if not _resolver_numbers and (module := sys.modules.get("_socket")) is not None:
        for symbol in _RESOLVER:
            value = int_of(getattr(module, symbol, None))
            if value is not None:
                _resolver_numbers.setdefault(value, symbol)
    number = errno_of(exc)
    return _resolver_numbers.get(number, "") if type(number) is int else ""


def _host_key(exc: BaseException) -> object:
    number = errno_of(exc)
    return _HOST.get(number, "") if type(number) is int else ""


by_resolver: Final = keyed(_resolver_key, _RESOLVER.get)
"""A gaierror by its EAI number, which differs between platforms."""
by_host: Final = keyed(_host_key, _RESOLVER.get)
"""A herror by its h_errno."""


# ------------------------------------------------------------------------------------ TLS

_TRUST: Final[dict[str, Any]] = {**v.UNSENT, "origin": "path", "counts_as": "failure"}

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
        "X509_LIB EE_KEY_TOO_SMALL CA_MD_TOO_WEAK": ("Configuration", {**v.UNSENT}),
        "TLSV1_ALERT_INTERNAL_ERROR": ("DependencyService", {**v.UNSENT}),
        "UNEXPECTED_EOF_WHILE_READING DECRYPTION_FAILED_OR_BAD_RECORD_MAC "
        "SSLV3_ALERT_BAD_RECORD_MAC APPLICATION_DATA_AFTER_CLOSE_NOTIFY": ("Transport", {}),
    },
)
# X.509 verification results: the server's own certificate is out of its dates.
_CERTIFICATE_DATES: Final = frozenset({9, 10})


def _tls_key(exc: Any) -> object:
    reason = getattr(exc, "reason", None)
    if reason is None:
        # The text of such a one is like this: [SSL] PEM lib (_ssl.c:3905)
        text = text_of(args_of(exc)[1:2])
        reason = text.partition("] ")[2].partition(" (")[0].replace(" ", "_").upper()
    return reason if type(reason) is str and reason in _TLS else ""


def _certificate_key(exc: Any) -> object:
    return int(int_of(getattr(exc, "verify_code", None)) in _CERTIFICATE_DATES)


def _certificate(out_of_dates: int, answer: Classification) -> Classification:
    return shared(answer.replace(origin="target")) if out_of_dates else answer


by_tls_reason: Final = keyed(_tls_key, _TLS.get)
"""An SSLError by OpenSSL's reason, which for some is only in its text."""
by_certificate: Final = keyed(_certificate_key, _certificate)
"""A certificate that was refused: out of its dates is the server's doing."""


# ----------------------------------------------------------------------------------- HTTP


def _http_key(exc: Any) -> object:
    """The status of an answer that says nothing of when to try again."""
    headers = exc.headers
    if headers is not None and headers_say_when(headers):
        return None
    status = getattr(exc, "code", None)
    if type(status) is not int:
        status = int_of(getattr(exc, "errcode", None)) if status is None else int_of(status)
    return status if status is None or 300 <= status <= 599 else 0


def by_http_error(exc: BaseException, answer: Classification, inquiry: Inquiry) -> Judgement:
    """A urllib HTTPError or an xmlrpc ProtocolError: status, and when to come back.

    The wait is not part of a key: one that is said as a date is another at each moment.
    """
    try:
        key = _http_key(exc)
    except Exception:  # noqa: BLE001 - headers may be any mapping, and attributes anything
        key = None
    if type(key) is int:
        return by_status(key), (_http_key, key)
    status = int_of(attribute_of(exc, "code"))
    if status is None:
        status = int_of(attribute_of(exc, "errcode"))
    if status is None:
        return answer, NEVER
    return by_status(status, _wait_of(exc, inquiry)), NEVER


def _wait_of(exc: BaseException, inquiry: Inquiry) -> float | None:
    try:
        return wait_in_headers(attribute_of(exc, "headers"), inquiry.now())
    except Exception:  # noqa: BLE001 - headers may be any mapping
        return None


# ----------------------------------------------------------- mail, FTP: replies of three digits

_REPLY_ROWS: Final[dict[str, Row]] = {
    "421": ("DependencyService", {}),
    "425 426": ("Transport", {}),
    "430 530 532 534 535 538": ("Permission", {**v.ANSWERED}),
    "450 451 454": ("DependencyService", {**v.BACKOFF}),
    "452": ("ResourceExhausted", {**v.AGAIN, **v.TARGET, "severity": "High"}),
    "500 501 502 503 504 555": ("VersionMismatch", {**v.ANSWERED}),
    "550 551 553 556": ("DataValidation", {**v.ANSWERED}),
    "552": ("ResourceExhausted", {**v.FINAL, **v.TARGET, "severity": "High"}),
    "554": ("BusinessLogic", {}),
    "4xx": ("DependencyService", {**v.LIKELY}),
    "5xx": ("DependencyService", {**v.FINAL, **v.BY_HAND, **v.LIKELY}),
}
_SMTP: Final = answers_by_word("smtp", _REPLY_ROWS)
_FTP: Final = answers_by_word("ftp", _REPLY_ROWS)
_REPLIES: Final = frozenset(_SMTP)


def _reply_key(code: int | None) -> object:
    if code is None or not 400 <= code <= 599:
        return ""
    word = str(code)
    return word if word in _REPLIES else f"{word[0]}xx"


def _smtp_key(exc: Any) -> object:
    return _reply_key(int_of(getattr(exc, "smtp_code", None)))


def _recipients_key(exc: Any) -> object:
    refused = getattr(exc, "recipients", None)
    codes = []
    if type(refused) is dict:
        for reply in list(refused.values())[: schema.GROUP_MAX]:
            code = int_of(reply[0]) if type(reply) is tuple and reply else None
            if code is not None:
                codes.append(code)
    codes.sort(key=lambda code: code < 500)
    return _reply_key(codes[0] if codes else None)


def _ftp_key(exc: BaseException) -> object:
    code = text_of(args_of(exc))[:3]
    return _reply_key(int(code) if code.isascii() and code.isdigit() else None)


by_smtp_code: Final = keyed(_smtp_key, _SMTP.get)
"""An SMTPResponseException by its reply code (RFC 5321 and 4954)."""
by_smtp_recipients: Final = keyed(_recipients_key, _SMTP.get)
"""All recipients refused: the first final refusal answers, else the first."""
by_ftp_code: Final = keyed(_ftp_key, _FTP.get)
"""An ftplib error by the reply code that its text starts with (RFC 959)."""

_BRACKETS: Final = answers_by_word(
    "mail",
    {
        "AUTH AUTHENTICATIONFAILED AUTHORIZATIONFAILED EXPIRED PRIVACYREQUIRED NOPERM": (
            "Permission",
            {**v.ANSWERED},
        ),
        "IN-USE INUSE": ("Concurrency", {**v.TARGET}),
        "LOGIN-DELAY LIMIT": ("RateLimit", {}),
        "SYS/TEMP UNAVAILABLE": ("DependencyService", {}),
        "SYS/PERM SERVERBUG CORRUPTION CONTACTADMIN": (
            "DependencyService",
            {**v.FINAL, **v.BY_HAND},
        ),
        "OVERQUOTA": ("ResourceExhausted", {**v.FINAL, **v.TARGET, "severity": "High"}),
        "NONEXISTENT TRYCREATE CANNOT ALREADYEXISTS": ("DataValidation", {**v.ANSWERED}),
        "CLIENTBUG": ("Internal", {**v.ANSWERED}),
    },
)


def _bracket_key(exc: BaseException) -> object:
    before, opened, rest = text_of(args_of(exc)).partition("[")
    if not opened or len(before) > 64:
        return ""
    code = rest.partition("]")[0].partition(" ")[0].upper()
    return code if code in _BRACKETS else ""


by_bracket_code: Final = keyed(_bracket_key, _BRACKETS.get)
"""A POP3 or IMAP refusal by its response code in brackets (RFC 2449, 3206, 5530)."""


# ------------------------------------------------------------------------------ databases

_SQLITE: Final = answers_by_word(
    "sqlite3",
    {
        "ERROR MISUSE RANGE INTERNAL NOTFOUND": (
            "Internal",
            {**v.LOCAL},
        ),
        "PERM AUTH READONLY": ("Permission", {**v.UNSENT}),
        "ABORT INTERRUPT": (
            "Concurrency",
            {**v.FINAL, **v.FLOW, **v.WITHOUT},
        ),
        "BUSY LOCKED PROTOCOL SCHEMA": ("Concurrency", {**v.UNSENT}),
        "NOMEM": ("ResourceExhausted", {**v.UNSENT, "retryable": True}),
        "FULL": ("ResourceExhausted", {**v.UNSENT, **v.FINAL}),
        "IOERR CORRUPT NOTADB": (
            "Internal",
            {**v.BY_HAND, "category": "Data", "severity": "Critical", "origin": "target"},
        ),
        "CANTOPEN NOLFS": ("Configuration", {**v.UNSENT}),
        "TOOBIG CONSTRAINT MISMATCH EMPTY": ("DataValidation", {**v.ANSWERED}),
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


def _sqlite_key(exc: Any) -> object:
    code = int_of(getattr(exc, "sqlite_errorcode", None))
    return "" if code is None else _SQLITE_NUMBERS.get(code & 0xFF, "")


by_sqlite_code: Final = keyed(_sqlite_key, _SQLITE.get)
"""A sqlite3 error by its primary result code (the low byte)."""


# ----------------------------------------------------------------------- programs, RPC

_RETURN_CODES: Final = answers_by_word(
    "exit",
    {
        # timeout(1); a shell that could not run or find the command; sysexits.h.
        "124": ("Timeout", {"origin": "target"}),
        "126 127 78": ("Configuration", {}),
        "64": ("DataValidation", {}),
        "65": ("DataValidation", {**v.ANSWERED}),
        "69": ("DependencyService", {"reached_server": "unknown"}),
        "73 74": ("ResourceExhausted", {**v.FINAL, "severity": "High"}),
        "75": ("DependencyService", {**v.BACKOFF}),
        "77": ("Permission", {}),
        "-9": ("ResourceExhausted", {"severity": "High", "origin": "path", "confidence": 0.5}),
    },
)


def _return_key(exc: Any) -> object:
    code = str(int_of(getattr(exc, "returncode", None)))
    return code if code in _RETURN_CODES else ""


by_return_code: Final = keyed(_return_key, _RETURN_CODES.get)
"""A program that failed, by its exit status: sysexits.h and the shell's own."""
