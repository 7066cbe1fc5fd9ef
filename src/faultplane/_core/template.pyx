"""A message without its variable parts, so that equal errors have equal text.

The rules are in docs/templates.md, readably in the pure core's module of the same name, and here
over UTF-8 bytes. A letter of U+00C0 to U+07FF begins with a byte of 0xC3 to 0xDF, so a table of
256 bytes knows every class of character that a rule asks for.
"""

from libc.stdint cimport uint8_t
from libc.string cimport memcmp, memcpy

from .layout cimport MESSAGE_BYTES_MAX

cdef extern from "Python.h":
    object PyUnicode_DecodeUTF8(const char* data, Py_ssize_t n, const char* errors)
    const char* AS_UTF8 "PyUnicode_AsUTF8AndSize"(object text, Py_ssize_t* n) except NULL

cdef enum:
    HEX_LENGTH_MIN = 8
    ID_LENGTH_MIN = 16
    ID_DIGITS_MIN = 4
    WORD_DIGITS_MAX = 4

cdef extern from "template.h" nogil:
    enum:
        HEX_LETTER "FP_HEX_LETTER"
        LETTER "FP_LETTER"
        DIGIT "FP_DIGIT"
        LEAD "FP_LEAD"
        IN_PATH "FP_IN_PATH"
        IN_URL "FP_IN_URL"
        PATH_START "FP_PATH_START"
        SPECIAL "FP_SPECIAL"
    const uint8_t* CLASS "fp_class"
    const char** NAMES "fp_placeholder"
    const uint8_t* LENGTHS "fp_placeholder_bytes"

cdef enum:
    HEXADECIMAL = 5  # HEX_LETTER | DIGIT
    WORD = 15        # letters and digits
    # What Scan.previous holds after a word or a placeholder, whichever it was.
    AFTER_WORD = 97

cdef enum:
    # Indexes of NAMES and LENGTHS.
    UUID, IP, HEX, NUM, PATH, STR, ID, CUT, PLACEHOLDER_COUNT


cdef struct Scan:
    const uint8_t* src
    size_t end
    uint8_t* out
    size_t limit
    size_t used      # bytes of out that are written
    bint full        # the template is longer than limit: it will be cut
    bint cut         # src is only the beginning of the message
    uint8_t previous  # the character before at, or AFTER_WORD
    size_t at        # the next byte to look at
    size_t kept      # start of what is kept as it is and not yet in out
    size_t signed_at  # 1 + where a number would start whose sign was read
    size_t url_path_at  # 1 + where the path of the last URL starts
    size_t[3] unclosed  # for each kind of quote: up to where it is known to have no end


# ------------------------------------------------------------------------------ classes of bytes


cdef inline uint8_t char_at(const Scan* s, size_t at) noexcept nogil:
    """The byte at ``at``; 0 past the end, which no rule tells from other punctuation."""
    return s.src[at] if at < s.end else 0


cdef inline uint8_t class_at(const Scan* s, size_t at) noexcept nogil:
    return CLASS[char_at(s, at)]


cdef inline bint is_digit(const Scan* s, size_t at) noexcept nogil:
    return class_at(s, at) & DIGIT


cdef inline bint is_space(uint8_t c) noexcept nogil:
    return c == 32 or 9 <= c <= 13


cdef inline bint is_sign_before(uint8_t c) noexcept nogil:
    return is_space(c) or c in (b"(", b"[", b"{", b"=", b":", b",", b";", b"<", b">")


cdef inline bint is_path_end(uint8_t c) noexcept nogil:
    """Punctuation that at the end of a path is the sentence's."""
    return c in (b".", b",", b":", b";", b"!", b"?", b")", b"]", b"\\")


cdef inline bint is_authority(uint8_t c) noexcept nogil:
    return CLASS[c] & IN_URL and c not in (b"/", b"?", b"#", b",", b";", b"(", b")", b"^", b"\\")


# ------------------------------------------------------------------------------------ writing


cdef inline void write(Scan* s, const uint8_t* data, size_t n) noexcept nogil:
    """Append ``n`` bytes; past the limit nothing but the fact is kept."""
    if n > s.limit - s.used:
        s.full = True
        n = s.limit - s.used
    memcpy(s.out + s.used, data, n)
    s.used += n


cdef inline bint put(Scan* s, int name, size_t start, size_t end) noexcept nogil:
    """Replace [start, end) and go on after it."""
    write(s, s.src + s.kept, start - s.kept)
    write(s, <const uint8_t*>NAMES[name], LENGTHS[name])
    s.at = s.kept = end
    s.previous = AFTER_WORD
    return True


cdef size_t placeholder_in(const uint8_t* text, size_t n) noexcept nogil:
    """Length of the placeholder that ``text`` of ``n`` bytes begins with, else 0."""
    cdef int name
    if n < 4 or text[0] != b"<":
        return 0
    for name in range(PLACEHOLDER_COUNT):
        if n >= LENGTHS[name] and memcmp(text, NAMES[name], LENGTHS[name]) == 0:
            return LENGTHS[name]
    return 0


cdef void cut_output(Scan* s) noexcept nogil:
    """Shorten out to its limit, <cut> included, inside no code point and no placeholder."""
    cdef size_t end = s.limit - LENGTHS[CUT] if s.limit > LENGTHS[CUT] else 0
    cdef size_t start = end - LENGTHS[PATH] if end > LENGTHS[PATH] else 0
    if s.limit < LENGTHS[CUT]:
        s.used = 0
        return
    while end > 0 and s.out[end] & 0xC0 == 0x80:
        end -= 1
    while start < end:
        if start + placeholder_in(s.out + start, s.limit - start) > end:
            end = start
        start += 1
    memcpy(s.out + end, NAMES[CUT], LENGTHS[CUT])
    s.used = end + LENGTHS[CUT]


# ------------------------------------------------------------------------------ looking ahead


cdef inline bint word_at(const Scan* s, size_t at) noexcept nogil:
    """Whether a word character or a placeholder stands at ``at``."""
    if at >= s.end:
        return False
    if CLASS[s.src[at]] & WORD:
        return True
    return s.src[at] == b"<" and placeholder_in(s.src + at, s.end - at) > 0


cdef inline size_t run_end(const Scan* s, size_t at, int classes, size_t most) noexcept nogil:
    """End of the run of ``classes`` at ``at``, at most ``most`` of them."""
    cdef size_t end = at + most if most < s.end - at else s.end
    while at < end and CLASS[s.src[at]] & classes:
        at += 1
    return at


cdef inline size_t digits_end(const Scan* s, size_t at) noexcept nogil:
    while at < s.end and CLASS[s.src[at]] & DIGIT:
        at += 1
    return at


cdef size_t closing(Scan* s, size_t opening) noexcept nogil:
    """End of the text quoted from ``opening``, 0 if the quote is not closed."""
    cdef uint8_t quote = s.src[opening]
    cdef int kind = 0 if quote == b"'" else 1 if quote == b'"' else 2
    cdef size_t at = opening + 1
    cdef uint8_t c
    if opening < s.unclosed[kind]:
        return 0
    while at < s.end:
        c = s.src[at]
        if c == b"\n":
            break
        if c == b"\\" and char_at(s, at + 1) != b"\n":
            at += 1
        elif c == quote and not word_at(s, at + 1):
            return at + 1
        at += 1
    if at >= s.end and s.cut:
        return s.end
    # No later quote of this kind has an end before here either: the scan stays linear.
    s.unclosed[kind] = at
    return 0


cdef size_t path_end(const Scan* s, size_t start, size_t shortest, int classes) noexcept nogil:
    """End of the path at ``start``, 0 if it has not ``shortest`` bytes."""
    cdef size_t end = run_end(s, start, classes, s.end)
    while end > start and is_path_end(s.src[end - 1]):
        end -= 1
    return end if end >= start + shortest else 0


cdef size_t uuid_end(const Scan* s, size_t start) noexcept nogil:
    cdef size_t i
    if s.end - start < 36:
        return 0
    for i in range(36):
        if i == 8 or i == 13 or i == 18 or i == 23:
            if s.src[start + i] != b"-":
                return 0
        elif not CLASS[s.src[start + i]] & HEXADECIMAL:
            return 0
    return 0 if word_at(s, start + 36) else start + 36


cdef size_t ipv4_end(const Scan* s, size_t start) noexcept nogil:
    """End of an IPv4 address, 0 if none stands at ``start``."""
    cdef size_t at = start
    cdef size_t end = start
    cdef int part, value
    for part in range(4):
        value = 0
        while end < at + 3 and is_digit(s, end):
            value = value * 10 + s.src[end] - 48
            end += 1
        if end == at or value > 255:
            return 0
        if part < 3:
            if char_at(s, end) != b".":
                return 0
            end += 1
            at = end
    if word_at(s, end) or (char_at(s, end) == b"." and is_digit(s, end + 1)):
        return 0
    return end


cdef size_t pairs_end(const Scan* s, size_t start) noexcept nogil:
    """End of six or more pairs of hex digits (a MAC address), else 0."""
    cdef size_t at = start
    cdef size_t end = 0
    cdef int pairs = 0
    while run_end(s, at, HEXADECIMAL, 2) == at + 2 and not word_at(s, at + 2):
        pairs += 1
        end = at + 2
        if char_at(s, end) != b":":
            break
        at = end + 1
    return end if pairs >= 6 else 0


cdef size_t ipv6_end(const Scan* s, size_t start) noexcept nogil:
    """End of an IPv6 address, 0 if none stands at ``start``."""
    cdef size_t at = start
    cdef size_t end
    cdef int groups = 0
    cdef bint gap = False
    cdef bint digit = False
    while groups < 8:
        if char_at(s, at) == b":" and char_at(s, at + 1) == b":":
            if gap:
                return 0
            gap = True
            at += 2
            if not class_at(s, at) & HEXADECIMAL:
                break
        elif groups:
            if char_at(s, at) != b":" or not class_at(s, at + 1) & HEXADECIMAL:
                break
            at += 1
        end = ipv4_end(s, at) if groups <= 6 else 0
        if end:
            groups += 2
            digit = True
            at = end
            break
        end = at
        while end < at + 4 and class_at(s, end) & HEXADECIMAL:
            digit = digit or is_digit(s, end)
            end += 1
        if end == at or word_at(s, end):
            return 0
        groups += 1
        at = end
    if not digit or (groups < 1 or groups > 7 if gap else groups != 8) or word_at(s, at):
        return 0
    # After eight groups nothing has looked at what follows a colon yet.
    if char_at(s, at) == b":" and (word_at(s, at + 1) or char_at(s, at + 1) == b":"):
        return 0
    return at


cdef size_t zone_end(const Scan* s, size_t at) noexcept nogil:
    """End of the zone (%eth0) after an IPv6 address."""
    cdef size_t end
    if char_at(s, at) != b"%":
        return at
    end = run_end(s, at + 1, DIGIT | LETTER | HEX_LETTER, s.end)
    return at if end == at + 1 or word_at(s, end) else end


cdef size_t port_end(const Scan* s, size_t at) noexcept nogil:
    """End of the port after an address."""
    cdef size_t end
    if char_at(s, at) != b":":
        return at
    end = run_end(s, at + 1, DIGIT, 5)
    return at if end == at + 1 or word_at(s, end) else end


# -------------------------------------------------------------------------------------- words


cdef bint address(Scan* s, size_t start, size_t end, int seen) noexcept nogil:
    """Replace what a word of the classes ``seen`` can be the beginning of, besides a number."""
    cdef size_t length = end - start
    cdef size_t found
    cdef uint8_t follows = char_at(s, end)
    cdef uint8_t second
    if length == 8 and follows == b"-" and not seen & ~HEXADECIMAL:
        found = uuid_end(s, start)
        if found:
            return put(s, UUID, start, found)
    if follows == b":" and length <= 4 and not seen & ~HEXADECIMAL:
        found = pairs_end(s, start) if length == 2 else 0
        if found:
            return put(s, HEX, start, found)
        found = ipv6_end(s, start)
        if found:
            return put(s, IP, start, zone_end(s, found))
    if follows == b"." and length <= 3 and seen == DIGIT:
        found = ipv4_end(s, start)
        if found:
            return put(s, IP, start, port_end(s, found))
    if length == 1 and follows == b":" and seen & (LETTER | HEX_LETTER):
        second = char_at(s, end + 1)
        if (second == b"/" or second == b"\\") and class_at(s, end + 2) & PATH_START:
            found = path_end(s, end + 2, 1, IN_PATH)
            if found:
                return put(s, PATH, start, found)
    if length == 1 and (follows == b"'" or follows == b'"') and s.src[start] == b"b":
        found = closing(s, end)
        if found:
            return put(s, STR, end, found)
    return False


cdef void digit_runs(Scan* s, size_t start) noexcept nogil:
    """Replace each run of digits in the rest of a word, keep the letters."""
    cdef int kind
    s.at = start
    while s.at < s.end:
        kind = CLASS[s.src[s.at]]
        if kind & DIGIT:
            put(s, NUM, s.at, digits_end(s, s.at))
        elif kind & WORD:
            s.at += 2 if kind & LEAD and s.at + 1 < s.end else 1
        else:
            break


cdef void number(Scan* s, size_t start) noexcept nogil:
    """Replace the number at ``start``, and the digits of the unit that sticks to it."""
    cdef size_t end = digits_end(s, start)
    cdef size_t power, power_end
    while char_at(s, end) == b"." and is_digit(s, end + 1):
        end = digits_end(s, end + 1)
    if char_at(s, end) | 0x20 == b"e":
        power = end + 1
        if char_at(s, power) == b"+" or char_at(s, power) == b"-":
            power += 1
        if is_digit(s, power):
            power_end = digits_end(s, power)
            if not word_at(s, power_end):
                end = power_end
    put(s, NUM, start - 1 if s.signed_at == start + 1 else start, end)
    digit_runs(s, end)


cdef void number_word(Scan* s, size_t start, size_t end, int seen) noexcept nogil:
    """Decide about a word that has digits."""
    cdef size_t length = end - start
    cdef size_t digits = 0
    cdef size_t runs = 0
    cdef size_t i
    cdef bint before = False
    if not seen & ~HEXADECIMAL and seen != DIGIT and length >= HEX_LENGTH_MIN:
        # Before a placeholder it may be half of a longer word that <cut> cut.
        if not word_at(s, end):
            put(s, HEX, start, end)
            return
    if (
        length > 2
        and s.src[start] == b"0"
        and s.src[start + 1] | 0x20 == b"x"
        and run_end(s, start + 2, HEXADECIMAL, length - 2) == end
    ):
        put(s, HEX, start, end)
        return
    for i in range(start, end):
        if CLASS[s.src[i]] & DIGIT:
            digits += 1
            runs += not before
            before = True
        else:
            before = False
    if not seen & LEAD and length >= ID_LENGTH_MIN and digits >= ID_DIGITS_MIN and runs > 1:
        put(s, ID, start, end)
    elif CLASS[s.src[start]] & DIGIT:
        number(s, start)
    elif digits > WORD_DIGITS_MAX:
        digit_runs(s, start)
    else:
        s.at = end


cdef inline void word(Scan* s) noexcept nogil:
    """Read the word at ``at``: letters and digits without anything between."""
    cdef size_t start = s.at
    cdef size_t end = start
    cdef int seen = 0
    cdef int kind
    while end < s.end:
        kind = CLASS[s.src[end]]
        if not kind & WORD:
            break
        seen |= kind
        end += 2 if kind & LEAD and end + 1 < s.end else 1
    seen &= WORD
    if s.previous != AFTER_WORD and address(s, start, end, seen):
        return
    if seen & DIGIT:
        number_word(s, start, end, seen)
    else:
        s.at = end


# --------------------------------------------------------------- punctuation that begins something
# Each returns whether it has moved ``at``; else the character is kept as it is.


cdef void authority(Scan* s, size_t start) noexcept nogil:
    """Find where the host of a URL ends; the host itself is read like any other text."""
    cdef size_t end = start
    cdef size_t host = start
    while end < s.end and is_authority(s.src[end]):
        end += 1
        if s.src[end - 1] == b"@":
            host = end
    if char_at(s, end) in (b"/", b"?", b"#"):
        s.url_path_at = end + 1
    if host > start + 1:
        put(s, STR, start, host - 1)
    else:
        s.at = start
        s.previous = b"/"


cdef bint url_path(Scan* s) noexcept nogil:
    cdef size_t end = path_end(s, s.at, 1, IN_URL) if s.url_path_at == s.at + 1 else 0
    if end == s.at + 1 and word_at(s, end):
        return False  # half of the next :// may be left before <cut>
    return end and put(s, PATH, s.at, end)


cdef bint unix_path(Scan* s) noexcept nogil:
    cdef size_t end
    if s.previous == AFTER_WORD or s.previous == b"<" or not class_at(s, s.at + 1) & PATH_START:
        return False
    end = path_end(s, s.at, 2, IN_PATH)
    return end and put(s, PATH, s.at, end)


cdef bint colon(Scan* s) noexcept nogil:
    cdef size_t end
    if s.previous == AFTER_WORD:
        if char_at(s, s.at + 1) == b"/" and char_at(s, s.at + 2) == b"/":
            authority(s, s.at + 3)
            return True
    elif char_at(s, s.at + 1) == b":":
        end = ipv6_end(s, s.at)
        return end and put(s, IP, s.at, zone_end(s, end))
    return False


cdef bint bracket(Scan* s) noexcept nogil:
    cdef size_t end = ipv6_end(s, s.at + 1)
    if end:
        end = zone_end(s, end)
    return end and char_at(s, end) == b"]" and put(s, IP, s.at, port_end(s, end + 1))


cdef bint special(Scan* s, uint8_t c) noexcept nogil:
    cdef size_t end
    if c == b"<":
        end = placeholder_in(s.src + s.at, s.end - s.at)
        s.at += end
        if end:
            s.previous = AFTER_WORD
        return end
    if c == b"/":
        return url_path(s) if s.url_path_at == s.at + 1 else unix_path(s)
    if c == b":":
        return colon(s)
    if c == b"[":
        return bracket(s)
    if c == b"?" or c == b"#":
        return url_path(s)
    if c == b"+" or c == b"-":
        if is_sign_before(s.previous) and is_digit(s, s.at + 1):
            s.signed_at = s.at + 2
        return False
    end = closing(s, s.at) if s.previous != AFTER_WORD else 0
    return end and put(s, STR, s.at, end)


# ----------------------------------------------------------------------------------- the scan


cdef size_t source_end(const uint8_t* src) noexcept nogil:
    """How much is read of a text longer than MESSAGE_BYTES_MAX."""
    cdef size_t end = MESSAGE_BYTES_MAX
    while end and not is_space(src[end - 1]):
        end -= 1
    if end:
        return end
    end = MESSAGE_BYTES_MAX
    while end and src[end] & 0xC0 == 0x80:
        end -= 1
    return end


cdef size_t template_bytes(
    const uint8_t* src, size_t n, uint8_t* out, size_t cap
) noexcept nogil:
    cdef Scan s
    cdef uint8_t c
    s.src = src
    s.cut = n > MESSAGE_BYTES_MAX
    s.end = source_end(src) if s.cut else n
    s.out = out
    s.limit = cap if cap < MESSAGE_BYTES_MAX else MESSAGE_BYTES_MAX
    s.used = s.at = s.kept = s.signed_at = s.url_path_at = 0
    s.unclosed[0] = s.unclosed[1] = s.unclosed[2] = 0
    s.full = False
    s.previous = b" "
    while s.at < s.end and not s.full:
        c = src[s.at]
        if CLASS[c] & WORD:
            word(&s)
            s.previous = AFTER_WORD
        elif not CLASS[c] & SPECIAL or not special(&s, c):
            s.previous = c
            s.at += 1
    write(&s, src + s.kept, s.end - s.kept)
    if s.cut:
        write(&s, <const uint8_t*>NAMES[CUT], LENGTHS[CUT])
    if s.full:
        cut_output(&s)
    return s.used


def template(text):
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
    cdef uint8_t[MESSAGE_BYTES_MAX] out
    cdef const char* data
    cdef Py_ssize_t n = 0
    cdef size_t used
    if not isinstance(text, str):
        raise TypeError(f"text must be a str, got {type(text).__name__}")
    if len(text) > MESSAGE_BYTES_MAX:
        # One character more than is read: that there is more must still be seen.
        text = text[: MESSAGE_BYTES_MAX + 1]
    try:
        data = AS_UTF8(text, &n)
    except UnicodeEncodeError:
        text = "".join(["\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text])
        data = AS_UTF8(text, &n)
    used = template_bytes(<const uint8_t*>data, <size_t>n, out, MESSAGE_BYTES_MAX)
    return PyUnicode_DecodeUTF8(<const char*>out, <Py_ssize_t>used, NULL)
