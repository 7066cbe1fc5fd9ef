"""Redaction of what gives itself away by its shape, whatever name stands before it.

URL userinfo, e-mail addresses, card numbers, bearer tokens, JWTs, keys with a vendor's prefix, PEM
blocks and --password options. A message is a str of one character a byte, as in redact_fields.
"""

from __future__ import annotations

import re
from string import ascii_letters, digits
from typing import Final

from .redact_fields import (
    ALNUM,
    Field,
    Span,
    accept,
    looks_random,
    match_key,
    quoted_end,
    value,
)

_AUTHORITY: Final = re.compile(r"[^\x00-\x20\"'<>`\\/?#]*")
_AUTHORITY_AND_PATH: Final = re.compile(r"[^\x00-\x20\"'<>`\\@]*")


def userinfo(s: str, i: int) -> Span | None:
    """``scheme://user:password@host``."""
    a = i + 3
    if s[max(0, i - 1) : i] not in ALNUM:
        return None
    authority = _AUTHORITY.match(s, a)
    k = authority.end() if authority else a
    at = s.rfind("@", a, k)
    if at < 0 and k > a and s[k : k + 1] in ("/", "?", "#"):
        at = _late_at(s, a, k)
    if at < 0 or s[a:at].lower() == "git":
        return None
    return accept(s, a, at)


def _late_at(s: str, a: int, k: int) -> int:
    """The @ after an authority that ends early, at ``k``, or -1.

    A password with / ? or # in it cuts the authority short: ``user:pa/ss@host``.
    """
    colon = s.rfind(":", a, k)
    limit = min(len(s), a + 256)
    port = s[colon + 1 : k]
    if s[a] == "[" or colon < 0 or not port.strip("0123456789") or k >= limit:
        return -1
    rest = _AUTHORITY_AND_PATH.match(s, k, limit)
    at = rest.end() if rest else limit
    return at if at < limit and s[at] == "@" else -1


_LOCAL: Final = ascii_letters + digits + "._%+-" + bytes(range(0x80, 0x100)).decode("latin-1")
_DOMAIN: Final = re.compile(r"[A-Za-z0-9.\x80-\xff-]+?\.[A-Za-z\x80-\xff]{2}")
_USER_BEFORE: Final = re.compile(r"[A-Za-z0-9]:\Z")
_HOST: Final = re.compile(r"[A-Za-z0-9]")


def mail(s: str, i: int, width: int, floor: int) -> Span | None:
    """The part before ``@`` (width 1) or ``%40`` (width 3), if it is an e-mail address.

    A dot and two letters make a domain of what follows; ``user@host`` stays as it is. Nothing
    before ``floor`` belongs to this address.
    """
    a = floor + len(s[floor:i].rstrip(_LOCAL)) if floor < i else i
    if a == i:
        return None
    if _DOMAIN.match(s, i + width):
        return None if s[a:i].lower() == "git" else (a, i)
    pair = width == 1 and _USER_BEFORE.search(s, max(0, a - 2), a) and _HOST.match(s, i + width)
    return (a, i) if pair else None


_GROUP: Final = re.compile(r"[0-9]{1,20}")
_NUMBER_ENDS: Final = re.compile(r"(?![A-Za-z0-9]|\.[0-9])")
_NUMBER_GOES_ON: Final = re.compile(r"[A-Za-z]\Z|[0-9]\.\Z")
_LUHN_TWICE: Final = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def _luhn(number: str) -> bool:
    """The check digit of payment cards (ISO/IEC 7812-1)."""
    values = [int(digit) for digit in reversed(number)]
    return (sum(values[::2]) + sum(_LUHN_TWICE[v] for v in values[1::2])) % 10 == 0


def card(s: str, r: int) -> Span | None:
    """A number of 13 to 19 digits that passes Luhn; the longest that begins at ``r``.

    In one group or in several with one blank or dash between, all but the last of four digits or
    more. Not: numbers that begin with 0, decimals, parts of words, and milli-, micro- and
    nanoseconds since 1970 of the years 2017 to 2033 (no card begins so).
    """
    if s[r] == "0" or _NUMBER_GOES_ON.search(s, max(0, r - 2), r):
        return None
    best, number, k = 0, "", r
    while group := _GROUP.match(s, k):
        number, k = number + group[0], group.end()
        if len(number) > 19:
            break
        epoch = k - r in (13, 16, 19) and len(number) == k - r and "15" <= number[:2] < "2"
        if len(number) >= 13 and _NUMBER_ENDS.match(s, k) and not epoch and _luhn(number):
            best = k
        if len(group[0]) < 4 or s[k : k + 1] not in (" ", "-"):
            break
        k += 1
    return (r, best) if best else None


_VENDORS: Final = tuple(
    (place, prefix, re.compile(secret))
    for place, prefix, secret in (
        ("A", "A", r"(?:KIA|SIA)([A-Z0-9]{16,})"),
        ("A", "A", r"Iza([A-Za-z0-9_-]{30,})"),
        *(("_", f"gh{c}_", r"([A-Za-z0-9]{20,})") for c in "pousr"),
        ("_", "github_", r"pat_([A-Za-z0-9_]{20,})"),
        ("_", "sk_", r"(?:live|test)_([A-Za-z0-9]{8,})"),
        ("_", "rk_", r"(?:live|test)_([A-Za-z0-9]{8,})"),
        ("_", "npm_", r"([A-Za-z0-9]{30,})"),
        ("_", "hf_", r"([A-Za-z0-9]{30,})"),
        ("_", "whsec_", r"([A-Za-z0-9+/=]{16,})"),
        ("-", "glpat-", r"([A-Za-z0-9_-]{16,})"),
        ("-", "pypi-", r"(Ag[A-Za-z0-9_-]{28,})"),
        ("-", "xapp-", r"([A-Za-z0-9-]{10,})"),
        *(("-", f"xox{c}-", r"([A-Za-z0-9-]{10,})") for c in "abeoprs"),
    )
)
"""(Byte that makes the place, prefix that ends with it, what follows): the prefix stays."""
_BASE64URL: Final = ascii_letters + digits + "_-"
_BASE64URL_RUN: Final = re.compile(r"[A-Za-z0-9_-]*")
_JWT: Final = re.compile(r"[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{4}(?:[A-Za-z0-9_.=-]*[A-Za-z0-9_=-])?")
_BEARER: Final = re.compile(r"(?:B(?:earer|EARER|asic|ASIC)|bearer) +")
_BEARER_TOKEN: Final = re.compile(r"[A-Za-z0-9+/=_.~-]*")
_PEM: Final = re.compile(r"-----BEGIN ([A-Z0-9 ]{0,48})-----")
_OPTION: Final = re.compile(r"--([A-Za-z0-9_-]{1,40})(?=[ \"'])")


def vendor(s: str, i: int, floor: int) -> Span | None:
    """A key with the prefix of the service that gave it."""
    for place, prefix, secret in _VENDORS:
        start = i + 1 - len(prefix)
        if place == s[i] and s.startswith(prefix, start) and start >= floor:
            match = secret.match(s, i + 1)
            if match and s[max(0, start - 1) : start] not in ALNUM:
                return match.span(1)
    return None


def _sk(s: str, i: int, floor: int) -> Span | None:
    """``sk-...``, where it looks random: hyphens join words, too."""
    start, a = i - 2, i + 1
    if start < floor or not s.startswith("sk-", start) or s[max(0, start - 1) : start] in ALNUM:
        return None
    near = _BASE64URL_RUN.match(s, a, a + 64)
    if not near or near.end() - a < 20 or not looks_random(s, a, near.end()):
        return None
    run = _BASE64URL_RUN.match(s, a)
    return run.span() if run else None


def jwt(s: str, i: int, floor: int) -> Span | None:
    """``eyJ...``, the beginning of ``{"`` in base64, as in every JWT."""
    if i < floor + 2 or (i > 2 and s[i - 3] in _BASE64URL):
        return None
    match = _JWT.match(s, i + 1)
    return match.span() if match else None


def bearer(s: str, i: int) -> Span | None:
    """What follows "Bearer" or "Basic" and looks like a token."""
    word, before = _BEARER.match(s, i), s[max(0, i - 1) : i]
    if not word or before in ALNUM or before == "_":
        return None
    token = _BEARER_TOKEN.match(s, word.end())
    return token.span() if token and looks_random(s, token.start(), token.end()) else None


def dash(s: str, i: int, floor: int) -> Span | None:
    before = s[i - 1] if i else " "
    if not s.startswith("--", i):
        return _sk(s, i, floor) or vendor(s, i, floor)
    if before == "-":
        return None
    if s.startswith("---", i):
        return _pem(s, i)
    return None if before in _BASE64URL else _option(s, i)


def _pem(s: str, i: int) -> Span | None:
    """A private key block, to its end or that of the message."""
    match = _PEM.match(s, i)
    if not match or not match[1].endswith(("PRIVATE KEY", "PRIVATE KEY BLOCK")):
        return None
    end = s.find("-----END", match.end())
    return accept(s, match.end(), len(s) if end < 0 else end)


def _option(s: str, i: int) -> Span | None:
    """``--password hunter2``, or ``'--password', 'hunter2'`` as a list of arguments is shown."""
    match = _OPTION.match(s, i)
    key = match_key(s, match.end()) if match else None
    if not match or key not in ("strong", "pwd", "weak"):
        return None
    end = match.end()
    if s[end] == " ":
        if s.startswith("-", end + 1):
            return None
        return value(s, Field(key, prose=True, spaced=True), end + 1)
    quote = s[end]
    if not s.startswith(", " + quote, end + 1):
        return None
    return accept(s, end + 4, quoted_end(s, end + 4, len(s), quote))
