"""Redaction of values by the name before them: password=..., "token": "...", X-Api-Key: ...

A message is a str in which each character stands for one UTF-8 byte: everything that delimits a
secret is ASCII, and the limits count bytes.
"""

import re
from string import ascii_letters, ascii_lowercase, ascii_uppercase, digits
from typing import Final, NamedTuple

Span = tuple[int, int]
"""Start and end of what is hidden."""
LETTERS: Final = frozenset(ascii_letters)
ALNUM: Final = frozenset(ascii_letters + digits)

# ------------------------------------------------------------------------------------------ keys

_JOINTS: Final = ("", "_", "-", " ", ".")


def _compounds(words: str, last: str) -> list[str]:
    return [word + joint + last for word in words.split() for joint in _JOINTS]


_KEYS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    (
        "strong",
        (
            *("password", "passwd", "passphrase", "passcode", "secret", "authorization"),
            *("password_hash", "password_confirm", "password_confirmation"),
            *("password-hash", "password-confirm", "password-confirmation"),
            *(f"password{digit}" for digit in digits),
            *("_pass", "-pass", ".pass"),
            *_compounds("api access secret account signing encryption auth master storage", "key"),
        ),
    ),
    ("pwd", tuple(_compounds("private", "key"))),
    ("weak", ("token", "credential", "credentials", "sessid", *_compounds("session", "id"))),
    ("cookie", ("cookie",)),
    ("signature", ("signature", "?sig", "&sig")),
    ("input", ("input_value",)),
)
"""Names of values to hide, as they end, in lower case. ``strong``: any value. ``weak``: in prose,
only a value that looks random. ``cookie``: as weak, or the rest of the line when it holds
name=value. ``pwd``: strong, but a path is a directory or a key file. ``signature``: strong, but
only with "="."""
_BOUNDED_KEYS: Final = (("pwd", "pwd"), ("session", "weak"), ("auth", "weak"))
"""Names that count only at the beginning of a word: ``compwd`` and ``oauth`` are others."""
_KEY_BYTES_MAX: Final = 24
_GAP: Final = frozenset(" \"')]\\")
"""Bytes that may stand between a key and its separator, four of them at most."""


def match_key(s: str, end: int) -> str | None:
    """What the word that ends before ``end`` promises about its value."""
    exact = s[max(0, end - _KEY_BYTES_MAX) : end]
    head = exact.lower()
    for kind, names in _KEYS:
        if head.endswith(names):
            return kind
    for name, kind in _BOUNDED_KEYS:
        if head.endswith(name) and _word_begins(exact, len(exact) - len(name)):
            return kind
    if exact.endswith("[parameters"):
        return "parameters"
    return "detail" if exact.endswith("DETAIL") else None


def _word_begins(s: str, i: int) -> bool:
    """After no letter, or as the capital of a camelCase word."""
    before = s[i - 1 : i] if i else ""
    return before not in LETTERS or (before in ascii_lowercase and s[i] in ascii_uppercase)


# ---------------------------------------------------------------------------------------- values

_STOP: Final = frozenset("\t\n\r \"&'),;<>]`|}")
"""Bytes that end an unquoted value."""
_BARE: Final = re.compile(r"""(?:[^\t\n\r "&'),;<>\]`|}\\]|\\(?![nrt"']))*""")
_QUOTED: Final = {
    quote: re.compile(rf"[^{quote}\\]*(?:\\.?[^{quote}\\]*)*", re.DOTALL) for quote in "\"'"
}
_STRING: Final = re.compile(r"""[bBuU]?["']""")
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,63}")
_BRACKETED: Final = re.compile(r"[^\t\n\r \"'<>()\[\]{}]*")
_BLANKS: Final = re.compile(r"[ \t]*")
_SCHEME: Final = re.compile(
    r"(?:(bearer|basic|token|apikey)|digest|negotiate|aws4-hmac-sha256) +", re.IGNORECASE | re.ASCII
)
_KEPT: Final = re.compile(
    r"[*.]*|(?i:none|null|nil|true|false|undefined)"
    r"|\?|%(?:\(.*|[srd])|\$(?:\{.*|[A-Z0-9_]+)",
    re.DOTALL,
)
"""Values that say nothing: empty, masked already, a null of some language, a placeholder."""
_PROSE_WORDS: Final = """
a already an and any are argument at be been bool bytes can cannot could denied did do does
empty enter error expected expired failed failure field flag for found from got had has
have if in incorrect input int invalid is it length may mismatch missing must no not object
of on only option optional or parameter please rejected required requires shall should str
string that the this to token too unable unknown unset value values was with without wrong
your
"""
_PROSE: Final = frozenset(_PROSE_WORDS.split())
"""Words that follow "password:" in sentences."""
_RISE: Final = re.compile(r"[a-z](?=[A-Z])")
_DIGIT: Final = re.compile(r"[0-9]")
_CLOSING: Final = {"(": ")", "[": "]", "{": "}"}
_CREDENTIAL_KEYS: Final = frozenset({"strong", "pwd"})


class Field(NamedTuple):
    key: str
    prose: bool
    """``key: value`` with the key unquoted: perhaps a sentence."""
    spaced: bool
    """Not ``key=value``."""


def _line_end(s: str, i: int) -> int:
    found = s.find("\n", i)
    return len(s) if found < 0 else found


def _bare_end(s: str, i: int, limit: int) -> int:
    """End of an unquoted value: a stop byte, an escaped line break or quote, or the limit."""
    match = _BARE.match(s, i, limit)
    return match.end() if match else i


def quoted_end(s: str, i: int, limit: int, quote: str) -> int:
    """The closing quote of text that begins at ``i``, or the limit where there is none."""
    match = _QUOTED[quote].match(s, i, limit)
    return match.end() if match else limit


def _bracket_end(s: str, i: int, limit: int) -> int:
    """The bracket that closes the one at ``i``, skipping what is quoted, or the limit."""
    depth = 0
    while i < limit:
        if s[i] in "\"'":
            i = quoted_end(s, i + 1, limit, s[i])
        elif s[i] in "([{":
            depth += 1
        elif s[i] in ")]}":
            depth -= 1
            if depth == 0:
                return i
        i += 1
    return limit


def _identifier_end(s: str, i: int) -> int:
    match = _IDENTIFIER.match(s, i)
    return match.end() if match else i


def looks_random(s: str, a: int, b: int) -> bool:
    """Tokens have digits or change case often; words do neither."""
    head = s[a : min(b, a + 64)]
    return b - a >= 8 and (_DIGIT.search(head) is not None or len(_RISE.findall(head)) >= 3)


def accept(s: str, a: int, b: int) -> Span | None:
    return None if _KEPT.fullmatch(s, a, b) else (a, b)


def _after_scheme(s: str, a: int, b: int) -> tuple[int, bool]:
    """Past ``Bearer`` and the like; and whether the rest of the line belongs to the value."""
    match = _SCHEME.match(s, a, b)
    return (match.end(), match[1] is None) if match else (a, False)


def _quoted_value(s: str, field: Field, a: int, b: int) -> Span | None:
    """Text between quotes. Parsers quote short tokens: prose needs six bytes and no blank."""
    credential = field.key in _CREDENTIAL_KEYS
    if field.prose and not credential and (b - a < 6 or " " in s[a:b]):
        return None
    if field.key == "pwd" and s[a : a + 1] == "/":
        return None
    return accept(s, _after_scheme(s, a, b)[0], b)


def _bare_value(s: str, field: Field, p: int) -> Span | None:
    a, whole = _after_scheme(s, p, min(len(s), p + 64))
    near = _bare_end(s, a, min(len(s), a + 64))
    if near == a or (field.key == "pwd" and s[a] == "/"):
        return None
    if whole:
        return accept(s, a, _line_end(s, a))
    if field.spaced:
        head = s[a:near]
        if field.key == "cookie" and "=" in head and head.index("=") < len(head) - 1:
            return a, _line_end(s, a)
        if field.key in ("weak", "cookie"):
            if not looks_random(s, a, near):
                return None
        elif len(head) < 16 and head.rstrip(".:!").lower() in _PROSE:
            return None
    if _KEPT.fullmatch(s, a, near):
        return None
    return a, _bare_end(s, near, len(s))


def _bracketed_value(s: str, field: Field, p: int) -> Span | None:
    """A value that opens with ( [ or {.

    A quoted first element: all of them, unless it is a sentence in a list, as validation errors
    have it. A mapping or a call is left to its own keys.
    """
    q = p + 1
    if q >= len(s) or (field.prose and field.key not in _CREDENTIAL_KEYS):
        return None
    string = _STRING.match(s, q)
    if string:
        first = string.end()
        end = quoted_end(s, first, len(s), s[first - 1])
        if s[p] == "{" or (s[p] == "[" and " " in s[first:end]):
            return None
        return accept(s, q, _bracket_end(s, p, _line_end(s, p)))
    if s[q] in "([{" or s[q] in _STOP:
        return None
    k = _identifier_end(s, q)
    if k > q and s[k : k + 1] in ("(", ":", "=", "}"):
        return None
    inner = _BRACKETED.match(s, q, q + 256)
    k = inner.end() if inner else q
    if k < min(len(s), q + 256) and s[k] == _CLOSING[s[p]]:
        return accept(s, q, k)
    return _bare_value(s, field, p)


def value(s: str, field: Field, p: int) -> Span | None:
    """The value of a key, from ``p`` on."""
    blanks = _BLANKS.match(s, p)
    p = blanks.end() if blanks else p
    if p >= len(s):
        return None
    if s[p : p + 2] in ("\\'", '\\"'):
        end = s.find(s[p : p + 2], p + 2)
        return _quoted_value(s, field, p + 2, len(s) if end < 0 else end)
    if s[p] in _CLOSING:
        return _bracketed_value(s, field, p)
    k = _identifier_end(s, p)
    call = k > p and s[k : k + 1] == "("
    string = _STRING.match(s, k + 1 if call else p)
    if string:  # '...', b'...', SecretStr('...')
        a = string.end()
        return _quoted_value(s, field, a, quoted_end(s, a, len(s), s[a - 1]))
    if call and field.key not in _CREDENTIAL_KEYS:  # session=Session(id=5)
        return None
    return _bare_value(s, field, p)


def _input_value(s: str, p: int) -> Span | None:
    """All between ``input_value=`` and ``, input_type=`` (pydantic), whatever its repr is like."""
    b = s.find(", input_type=", p, p + 512)
    if b < 0:
        return value(s, Field("strong", prose=False, spaced=False), p)
    if b - p >= 2 and s[p] in "\"'" and s[b - 1] == s[p]:
        return accept(s, p + 1, b - 1)
    return accept(s, p, b)


def _parameters(s: str, p: int) -> Span | None:
    """SQLAlchemy's ``[parameters: (...)]``."""
    blanks = _BLANKS.match(s, p)
    p = blanks.end() if blanks else p
    line = _line_end(s, p)
    if p < len(s) and s[p] in "([{":
        return accept(s, p + 1, _bracket_end(s, p, line))
    return accept(s, p, line - 1 if line > p and s[line - 1] == "]" else line)


def _failing_row(s: str, p: int) -> Span | None:
    """PostgreSQL's ``DETAIL:  Failing row contains (...)``."""
    blanks = _BLANKS.match(s, p)
    p = blanks.end() if blanks else p
    if not s.startswith("Failing row contains (", p):
        return None
    p += len("Failing row contains (")
    line = _line_end(s, p)
    close = s.rfind(")", p, line)
    return accept(s, p, line if close < 0 else close)


def separator(s: str, i: int) -> Span | None:
    """A ``:`` or ``=`` that may stand between a name and its value."""
    end, p = i, i + 1
    while end > 0 and i - end < 4 and s[end - 1] in _GAP:
        end -= 1
    key = match_key(s, end)
    equals = s[i] == "="
    if key is None or (not equals and s.startswith("::", i)):
        return None
    if key == "parameters":
        return None if equals else _parameters(s, p)
    if key == "detail":
        return None if equals else _failing_row(s, p)
    if s[p : p + 1] == "=" or (equals and s[p : p + 1] == ">"):
        p += 1
    if key == "input":
        return _input_value(s, p) if equals else None
    if key == "signature":
        if not equals:
            return None
        key = "strong"
    quoted = any(c in "\"'" for c in s[end:i])
    return value(s, Field(key, prose=not equals and not quoted, spaced=not equals), p)
