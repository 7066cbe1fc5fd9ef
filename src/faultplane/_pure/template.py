"""A message without its variable parts, so that equal errors have equal text.

One scan from left to right replaces numbers, UUIDs, IP addresses, long hex strings, paths and
quoted text by placeholders. The rules are written down in docs/templates.md; this module is their
readable statement, and the compiled core and the native kernel give the same answers.

Templates are fixed points: placeholders are read as they stand, and count as word characters for
what comes before and after them, so a template's template is the template itself. Every look
ahead is bounded or remembered, which keeps the scan linear.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from faultplane.schema import MESSAGE_BYTES_MAX

UUID: Final = "<uuid>"
IP: Final = "<ip>"
HEX: Final = "<hex>"
NUM: Final = "<num>"
PATH: Final = "<path>"
STR: Final = "<str>"
ID: Final = "<id>"
CUT: Final = "<cut>"
PLACEHOLDERS: Final = (UUID, IP, HEX, NUM, PATH, STR, ID, CUT)

HEX_LENGTH_MIN: Final = 8
"""Shorter words of hex digits (``cafe1``, ``ad2``) are left as words."""
ID_LENGTH_MIN: Final = 16
"""Shorter words of mixed letters and digits are left to the rules for numbers."""
ID_DIGITS_MIN: Final = 4
WORD_DIGITS_MAX: Final = 4
"""A word that starts with a letter (``utf8``, ``sha256``) may keep this many digits."""

DIGITS: Final = frozenset("0123456789")
HEX_DIGITS: Final = frozenset("0123456789abcdefABCDEF")
ASCII_LETTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
ASCII_WORD: Final = ASCII_LETTERS | DIGITS
SPACES: Final = frozenset(" \t\n\r\v\f")
SIGN_BEFORE: Final = SPACES | frozenset("([{=:,;<>")
PATH_PUNCTUATION: Final = frozenset("_-./~%+@#$&=?*!^\\")
URL_PUNCTUATION: Final = PATH_PUNCTUATION | frozenset(":,;()[]")
AUTHORITY_PUNCTUATION: Final = frozenset("_-.~%+@$&=*!:[]")
PATH_START_PUNCTUATION: Final = frozenset("_.~%$@")
PATH_END_PUNCTUATION: Final = frozenset(".,:;!?)]\\")

WORD: Final = "a"
"""What ``previous`` holds after a word or a placeholder, whichever it was."""
END: Final = "\0"
"""Read past the end of the text; no rule tells it from other punctuation."""


def template(text: str) -> str:
    """Return ``text`` with its variable parts replaced by placeholders.

    Of a longer text the first `MESSAGE_BYTES_MAX` UTF-8 bytes are read, up to the last white
    space among them; a template is never longer than that either. Where something was left out,
    the template ends with ``<cut>``. Lone surrogates become U+FFFD. ``template(template(text))``
    is ``template(text)``.

    >>> template("[Errno 111] connect to 10.0.0.7:5432 failed after 2.5s: '/run/db.sock'")
    '[Errno <num>] connect to <ip> failed after <num>s: <str>'

    Raises:
        TypeError: ``text`` is not a str.
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be a str, got {type(text).__name__}")
    source, cut = _source(text)
    return _limited(_Scan(source, cut).run() + (CUT if cut else ""))


def _source(text: str) -> tuple[str, bool]:
    """Return the part of ``text`` that is read, and whether that leaves something out."""
    head = text[: MESSAGE_BYTES_MAX + 1]
    try:
        encoded = head.encode()
    except UnicodeEncodeError:
        head = "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in head)
        encoded = head.encode()
    if len(encoded) <= MESSAGE_BYTES_MAX:
        return head, False
    end = MESSAGE_BYTES_MAX
    while end and chr(encoded[end - 1]) not in SPACES:
        end -= 1
    # Cut in the middle of a word only where there is no space: half an identifier would make a
    # template of its own.
    return encoded[: end or MESSAGE_BYTES_MAX].decode(errors="ignore"), True


def _limited(result: str) -> str:
    """Return ``result``, shortened to `MESSAGE_BYTES_MAX` bytes, ``<cut>`` included."""
    encoded = result.encode()
    if len(encoded) <= MESSAGE_BYTES_MAX:
        return result
    end = MESSAGE_BYTES_MAX - len(CUT)
    for start in range(end - 1, end - len(PATH), -1):
        for placeholder in PLACEHOLDERS:
            if encoded.startswith(placeholder.encode(), start) and start + len(placeholder) > end:
                return encoded[:start].decode() + CUT
    return encoded[:end].decode(errors="ignore") + CUT


def _is_word(char: str) -> bool:
    """Whether ``char`` is an ASCII letter or digit, or a letter of U+00C0 to U+07FF."""
    return char in ASCII_WORD or "\u00c0" <= char <= "\u07ff"


def _is_path(char: str) -> bool:
    return char in ASCII_WORD or char in PATH_PUNCTUATION or char >= "\u0080"


def _is_url(char: str) -> bool:
    return char in ASCII_WORD or char in URL_PUNCTUATION or char >= "\u0080"


def _is_authority(char: str) -> bool:
    return char in ASCII_WORD or char in AUTHORITY_PUNCTUATION or char >= "\u0080"


def _is_path_start(char: str) -> bool:
    return char in ASCII_WORD or char in PATH_START_PUNCTUATION or char >= "\u0080"


class _Scan:
    """One pass over one text.

    ``at`` is the next character to look at, ``kept`` the start of the text that is kept as it is
    but not yet in ``out``, ``previous`` the character before ``at`` (`WORD` after words),
    ``signed`` where a number would start whose sign was read, ``url_path_at`` where the path of
    the last URL starts, ``unclosed`` up to where each kind of quote is known to have no end.
    """

    def __init__(self, text: str, cut: bool) -> None:
        self.text = text
        self.end = len(text)
        self.cut = cut
        self.out: list[str] = []
        self.at = 0
        self.kept = 0
        self.previous = " "
        self.signed = -1
        self.url_path_at = -1
        self.unclosed: dict[str, int] = {}
        self.special: dict[str, Callable[[], bool]] = {
            "'": self._quoted,
            '"': self._quoted,
            "`": self._quoted,
            "<": self._placeholder,
            "/": self._path,
            "?": self._url_path,
            "#": self._url_path,
            ":": self._colon,
            "[": self._bracket,
            "+": self._sign,
            "-": self._sign,
        }

    def run(self) -> str:
        """Return the text with everything replaced that a rule names."""
        while self.at < self.end:
            char = self.text[self.at]
            if _is_word(char):
                self._word()
                self.previous = WORD
            elif char not in self.special or not self.special[char]():
                self.previous = char
                self.at += 1
        self.out.append(self.text[self.kept :])
        return "".join(self.out)

    def _put(self, placeholder: str, start: int, end: int) -> bool:
        """Replace [start, end) and go on after it."""
        self.out.append(self.text[self.kept : start])
        self.out.append(placeholder)
        self.at = self.kept = end
        self.previous = WORD
        return True

    # ------------------------------------------------------------------------- looking ahead

    def _char(self, at: int) -> str:
        return self.text[at] if at < self.end else END

    def _run(self, at: int, digits: frozenset[str], most: int) -> int:
        """Return the end of the run of ``digits`` at ``at``, at most ``most`` of them."""
        end = min(at + most, self.end)
        while at < end and self.text[at] in digits:
            at += 1
        return at

    def _placeholder_end(self, at: int) -> int:
        """Return the end of the placeholder at ``at``, 0 if there is none."""
        for placeholder in PLACEHOLDERS:
            if self.text.startswith(placeholder, at):
                return at + len(placeholder)
        return 0

    def _word_at(self, at: int) -> bool:
        """Whether a word character or a placeholder stands at ``at``."""
        return _is_word(self._char(at)) or self._placeholder_end(at) > 0

    def _closing(self, opening: int) -> int:
        """Return the end of the text quoted from ``opening``, 0 if the quote is not closed.

        A closing quote stands on the same line, not after a backslash, and not before a word
        character, so the apostrophe of ``'it isn't so'`` is none. A quote that found no end is
        remembered up to where it looked: no later one of its kind has an end before there.
        """
        quote = self.text[opening]
        if opening < self.unclosed.get(quote, 0):
            return 0
        at = opening + 1
        while at < self.end and self.text[at] != "\n":
            if self.text[at] == "\\" and self._char(at + 1) != "\n":
                at += 1
            elif self.text[at] == quote and not self._word_at(at + 1):
                return at + 1
            at += 1
        if at >= self.end and self.cut:
            return self.end
        self.unclosed[quote] = at
        return 0

    def _path_end(self, start: int, shortest: int, belongs: Callable[[str], bool]) -> int:
        """Return the end of the path at ``start``, 0 if it has not ``shortest`` characters.

        Punctuation at the end is the sentence's, not the path's.
        """
        end = start
        while end < self.end and belongs(self.text[end]):
            end += 1
        while end > start and self.text[end - 1] in PATH_END_PUNCTUATION:
            end -= 1
        return end if end - start >= shortest else 0

    def _uuid_end(self, start: int) -> int:
        at = start
        for length in (8, 4, 4, 4, 12):
            end = self._run(at, HEX_DIGITS, length)
            if end - at < length or (length < 12 and self._char(end) != "-"):
                return 0
            at = end + 1
        return 0 if self._word_at(end) else end

    def _ipv4_end(self, start: int) -> int:
        """Return the end of an IPv4 address, 0 if none stands at ``start``."""
        at = start
        for part in range(4):
            end = self._run(at, DIGITS, 3)
            if end == at or int(self.text[at:end]) > 255:
                return 0
            if part < 3 and self._char(end) != ".":
                return 0
            at = end + 1
        if self._word_at(end) or (self._char(end) == "." and self._char(end + 1) in DIGITS):
            return 0
        return end

    def _pairs_end(self, start: int) -> int:
        """Return the end of six or more pairs of hex digits (a MAC address), else 0."""
        pairs, at, end = 0, start, 0
        while self._run(at, HEX_DIGITS, 2) == at + 2 and not self._word_at(at + 2):
            pairs, end = pairs + 1, at + 2
            if self._char(end) != ":":
                break
            at = end + 1
        return end if pairs >= 6 else 0

    def _ipv6_end(self, start: int) -> int:
        """Return the end of an IPv6 address, 0 if none stands at ``start``.

        Eight groups, or fewer around one ``::``; the last two may be an IPv4 address. One group
        has a digit, else ``a::b`` would be an address.
        """
        at, groups, gap, digit = start, 0, False, False
        while groups < 8:
            if self.text.startswith("::", at):
                if gap:
                    return 0
                gap = True
                at += 2
                if self._char(at) not in HEX_DIGITS:
                    break
            elif groups:
                if self._char(at) != ":" or self._char(at + 1) not in HEX_DIGITS:
                    break
                at += 1
            end = self._ipv4_end(at)
            if end and groups <= 6:
                groups, digit, at = groups + 2, True, end
                break
            end = self._run(at, HEX_DIGITS, 4)
            if end == at or self._word_at(end):
                return 0
            digit = digit or any(char in DIGITS for char in self.text[at:end])
            groups, at = groups + 1, end
        complete = 1 <= groups <= 7 if gap else groups == 8
        # After eight groups nothing has looked at what follows a colon yet.
        goes_on = self._char(at) == ":" and (self._word_at(at + 1) or self._char(at + 1) == ":")
        return at if complete and digit and not goes_on and not self._word_at(at) else 0

    def _zone_end(self, at: int) -> int:
        """Return the end of the zone (``%eth0``) after an IPv6 address."""
        if self._char(at) != "%":
            return at
        end = self._run(at + 1, ASCII_WORD, self.end)
        return at if end == at + 1 or self._word_at(end) else end

    def _port_end(self, at: int) -> int:
        """Return the end of the port after an address."""
        if self._char(at) != ":":
            return at
        end = self._run(at + 1, DIGITS, 5)
        return at if end == at + 1 or self._word_at(end) else end

    # -------------------------------------------------------------------------------- words

    def _word(self) -> None:
        """Read the word at ``at``: letters and digits without anything between."""
        start = end = self.at
        digits = runs = 0
        ascii_only = only_hex = True
        while end < self.end and _is_word(char := self.text[end]):
            if char in DIGITS:
                digits += 1
                runs += end == start or self.text[end - 1] not in DIGITS
            else:
                only_hex = only_hex and char in HEX_DIGITS
                ascii_only = ascii_only and char < "\u0080"
            end += 1
        length = end - start
        if self.previous != WORD and self._address(start, end, only_hex, digits == length):
            return
        if not digits:
            self.at = end
        elif self._is_hex(start, end, only_hex, digits):
            self._put(HEX, start, end)
        elif ascii_only and length >= ID_LENGTH_MIN and digits >= ID_DIGITS_MIN and runs > 1:
            self._put(ID, start, end)
        elif self.text[start] in DIGITS:
            self._number(start)
        elif digits > WORD_DIGITS_MAX:
            self._digit_runs(start)
        else:
            self.at = end

    def _is_hex(self, start: int, end: int, only_hex: bool, digits: int) -> bool:
        """Whether the word is ``0x`` and hex digits, or long, with both digits and letters."""
        if only_hex and HEX_LENGTH_MIN <= end - start != digits:
            # Before a placeholder it may be half of a longer word that <cut> cut.
            return not self._word_at(end)
        prefixed = self.text[start] == "0" and self._char(start + 1) in ("x", "X")
        return prefixed and end > start + 2 and self._run(start + 2, HEX_DIGITS, end) == end

    def _address(self, start: int, end: int, only_hex: bool, only_digits: bool) -> bool:
        """Replace what a word can be the beginning of, besides a number."""
        length = end - start
        follows = self._char(end)
        if only_hex and length == 8 and follows == "-":
            found = self._uuid_end(start)
            if found:
                return self._put(UUID, start, found)
        if only_hex and length <= 4 and follows == ":":
            found = self._pairs_end(start) if length == 2 else 0
            if found:
                return self._put(HEX, start, found)
            found = self._ipv6_end(start)
            if found:
                return self._put(IP, start, self._zone_end(found))
        if only_digits and length <= 3 and follows == ".":
            found = self._ipv4_end(start)
            if found:
                return self._put(IP, start, self._port_end(found))
        if length == 1 and follows == ":" and self.text[start] in ASCII_LETTERS:
            slash = self._char(end + 1) in ("/", "\\")
            found = self._path_end(end + 2, 1, _is_path) if slash else 0
            if found and _is_path_start(self.text[end + 2]):
                return self._put(PATH, start, found)
        if length == 1 and self.text[start] == "b" and follows in ("'", '"'):
            found = self._closing(end)
            if found:
                return self._put(STR, end, found)
        return False

    def _number(self, start: int) -> None:
        """Replace the number at ``start``, and the digits of the unit that sticks to it."""
        end = self._run(start, DIGITS, self.end)
        while self._char(end) == "." and self._char(end + 1) in DIGITS:
            end = self._run(end + 1, DIGITS, self.end)
        if self._char(end) in ("e", "E"):
            power = end + 2 if self._char(end + 1) in ("+", "-") else end + 1
            power_end = self._run(power, DIGITS, self.end)
            if power_end > power and not self._word_at(power_end):
                end = power_end
        self._put(NUM, start - 1 if start == self.signed else start, end)
        self._digit_runs(end)

    def _digit_runs(self, start: int) -> None:
        """Replace each run of digits in the rest of a word, keep the letters."""
        self.at = start
        while self.at < self.end and _is_word(char := self.text[self.at]):
            if char in DIGITS:
                self._put(NUM, self.at, self._run(self.at, DIGITS, self.end))
            else:
                self.at += 1

    # --------------------------------------------------------- punctuation that begins something
    # Each returns whether it has moved ``at``; else the character is kept as it is.

    def _quoted(self) -> bool:
        end = self._closing(self.at) if self.previous != WORD else 0
        return end > 0 and self._put(STR, self.at, end)

    def _placeholder(self) -> bool:
        end = self._placeholder_end(self.at)
        if end:
            self.at = end
            self.previous = WORD
        return end > 0

    def _path(self) -> bool:
        if self.at == self.url_path_at:
            return self._url_path()
        if self.previous in (WORD, "<") or not _is_path_start(self._char(self.at + 1)):
            return False
        end = self._path_end(self.at, 2, _is_path)
        return end > 0 and self._put(PATH, self.at, end)

    def _url_path(self) -> bool:
        end = self._path_end(self.at, 1, _is_url) if self.at == self.url_path_at else 0
        if end == self.at + 1 and self._word_at(end):
            return False  # half of the next :// may be left before <cut>
        return end > 0 and self._put(PATH, self.at, end)

    def _colon(self) -> bool:
        if self.previous == WORD and self.text.startswith("://", self.at):
            self._authority(self.at + 3)
            return True
        if self.previous != WORD and self._char(self.at + 1) == ":":
            end = self._ipv6_end(self.at)
            return end > 0 and self._put(IP, self.at, self._zone_end(end))
        return False

    def _authority(self, start: int) -> None:
        """Find where the host of a URL ends; the host itself is read like any other text."""
        end, host = start, start
        while end < self.end and _is_authority(self.text[end]):
            end += 1
            if self.text[end - 1] == "@":
                host = end
        if self._char(end) in ("/", "?", "#"):
            self.url_path_at = end
        if host > start + 1:
            self._put(STR, start, host - 1)
        else:
            self.at = start
            self.previous = "/"

    def _bracket(self) -> bool:
        end = self._ipv6_end(self.at + 1)
        end = self._zone_end(end) if end else 0
        if not end or self._char(end) != "]":
            return False
        return self._put(IP, self.at, self._port_end(end + 1))

    def _sign(self) -> bool:
        if self.previous in SIGN_BEFORE and self._char(self.at + 1) in DIGITS:
            self.signed = self.at + 1
        return False
