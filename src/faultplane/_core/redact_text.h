/* What the redaction rules say about single bytes, words and bracketed stretches of a message.

   Every function reads s[0 .. n) only, and looks at a number of bytes that is bounded or that the
   caller consumes, so that redaction as a whole is linear in the message. */
#ifndef FAULTPLANE_REDACT_TEXT_H
#define FAULTPLANE_REDACT_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    REDACT_UPPER = 1,   /* A-Z */
    REDACT_LOWER = 2,   /* a-z */
    REDACT_DIGIT = 4,   /* 0-9 */
    REDACT_TOKEN = 8,   /* what bearer tokens are made of */
    REDACT_STOP = 16,   /* ends an unquoted value */
    REDACT_LOCAL = 32,  /* the part of an e-mail address before the @ */
    REDACT_DOMAIN = 64, /* the part after it */
    REDACT_GAP = 128,   /* may stand between a key and its separator */
};
#define REDACT_LETTER (REDACT_UPPER | REDACT_LOWER)
#define REDACT_ALNUM (REDACT_LETTER | REDACT_DIGIT)

static const uint8_t redact_class[256] = {
    ['\t'] = REDACT_STOP, ['\n'] = REDACT_STOP, ['\r'] = REDACT_STOP,
    [' '] = REDACT_STOP | REDACT_GAP, ['"'] = REDACT_STOP | REDACT_GAP,
    ['%'] = REDACT_LOCAL, ['&'] = REDACT_STOP, ['\''] = REDACT_STOP | REDACT_GAP,
    [')'] = REDACT_STOP | REDACT_GAP, ['+'] = REDACT_TOKEN | REDACT_LOCAL,
    [','] = REDACT_STOP, ['-'] = REDACT_TOKEN | REDACT_LOCAL | REDACT_DOMAIN,
    ['.'] = REDACT_TOKEN | REDACT_LOCAL | REDACT_DOMAIN, ['/'] = REDACT_TOKEN,
    ['0' ... '9'] = REDACT_DIGIT | REDACT_TOKEN | REDACT_LOCAL | REDACT_DOMAIN,
    [';'] = REDACT_STOP, ['<'] = REDACT_STOP, ['='] = REDACT_TOKEN, ['>'] = REDACT_STOP,
    ['A' ... 'Z'] = REDACT_UPPER | REDACT_TOKEN | REDACT_LOCAL | REDACT_DOMAIN,
    ['\\'] = REDACT_GAP, [']'] = REDACT_STOP | REDACT_GAP, ['_'] = REDACT_TOKEN | REDACT_LOCAL,
    ['`'] = REDACT_STOP,
    ['a' ... 'z'] = REDACT_LOWER | REDACT_TOKEN | REDACT_LOCAL | REDACT_DOMAIN,
    ['|'] = REDACT_STOP, ['}'] = REDACT_STOP, ['~'] = REDACT_TOKEN,
    [0x80 ... 0xFF] = REDACT_LOCAL | REDACT_DOMAIN,
};

typedef struct {
    const uint8_t *s;
    size_t n;
} redact_text;

typedef struct {
    size_t start, end; /* these bytes become *** */
} redact_span;

static inline int redact_is(uint8_t c, int classes) { return (redact_class[c] & classes) != 0; }
static inline int redact_quote(uint8_t c) { return c == '"' || c == '\''; }
static inline int redact_word(uint8_t c) { return redact_is(c, REDACT_ALNUM) || c == '_'; }
static inline int redact_base64url(uint8_t c) { return redact_word(c) || c == '-'; }
static inline size_t redact_min(size_t a, size_t b) { return a < b ? a : b; }

/* Whether byte i is there and is c. */
static inline int redact_at(redact_text t, size_t i, uint8_t c) { return i < t.n && t.s[i] == c; }

/* Whether the bytes before end are `word`, a lower-case literal, in any case. */
static inline int redact_ends(redact_text t, size_t end, const char *word, size_t size) {
    if (end < size)
        return 0;
    for (size_t i = 1; i <= size; i++) {
        uint8_t c = t.s[end - i], w = (uint8_t)word[size - i];
        if (c != w && !((w >= 'a' && w <= 'z') && (c | 0x20) == w))
            return 0;
    }
    return 1;
}
#define REDACT_ENDS(t, end, word) redact_ends(t, end, word, sizeof(word) - 1)

/* Whether the bytes from i on are `word`, exactly. */
static inline int redact_starts(redact_text t, size_t i, const char *word, size_t size) {
    return i <= t.n && t.n - i >= size && memcmp(t.s + i, word, size) == 0;
}
#define REDACT_STARTS(t, i, word) redact_starts(t, i, word, sizeof(word) - 1)

/* Whether bytes a to b are `word`, a lower-case literal, in any case. */
static inline int redact_equals(redact_text t, size_t a, size_t b, const char *word) {
    size_t size = strlen(word);
    return b - a == size && redact_ends(t, b, word, size);
}

/* Whether a name may begin at i: after no letter, or as the capital of a camelCase word. */
static inline int redact_boundary(redact_text t, size_t i) {
    if (i == 0 || !redact_is(t.s[i - 1], REDACT_LETTER))
        return 1;
    return redact_is(t.s[i - 1], REDACT_LOWER) && redact_is(t.s[i], REDACT_UPPER);
}

static inline size_t redact_run(redact_text t, size_t i, size_t limit, int classes) {
    while (i < limit && redact_is(t.s[i], classes))
        i++;
    return i;
}

static inline size_t redact_skip_blanks(redact_text t, size_t i) {
    while (i < t.n && (t.s[i] == ' ' || t.s[i] == '\t'))
        i++;
    return i;
}

static inline size_t redact_line_end(redact_text t, size_t i) {
    const uint8_t *found = i < t.n ? memchr(t.s + i, '\n', t.n - i) : NULL;
    return found ? (size_t)(found - t.s) : t.n;
}

/* First `word` in [i, limit), or limit. */
static inline size_t redact_find(redact_text t, size_t i, size_t limit, const char *word,
                                 size_t size) {
    for (; i + size <= limit; i++)
        if (t.s[i] == (uint8_t)word[0] && memcmp(t.s + i, word, size) == 0)
            return i;
    return limit;
}

/* End of an unquoted value: a stop byte, an escaped line break or quote, or the limit. */
static inline size_t redact_bare_end(redact_text t, size_t i, size_t limit) {
    for (; i < limit && !redact_is(t.s[i], REDACT_STOP); i++) {
        if (t.s[i] == '\\' && i + 1 < limit) {
            uint8_t c = t.s[i + 1];
            if (c == 'n' || c == 'r' || c == 't' || redact_quote(c))
                break;
        }
    }
    return i;
}

/* The closing quote of text that begins at i, or the limit where there is none. */
static inline size_t redact_quoted_end(redact_text t, size_t i, size_t limit, uint8_t quote) {
    while (i < limit) {
        if (t.s[i] == quote)
            return i;
        i += t.s[i] == '\\' ? 2 : 1;
    }
    return limit;
}

/* The bracket that closes the one at i, skipping what is quoted; the limit where none does. */
static inline size_t redact_bracket_end(redact_text t, size_t i, size_t limit) {
    size_t depth = 0;
    for (; i < limit; i++) {
        uint8_t c = t.s[i];
        if (redact_quote(c)) {
            i = redact_quoted_end(t, i + 1, limit, c);
        } else if (c == '(' || c == '[' || c == '{') {
            depth++;
        } else if (c == ')' || c == ']' || c == '}') {
            if (--depth == 0)
                return i;
        }
    }
    return limit;
}

/* End of `Name(` or `package.name(` at i, or i where there is no such call. */
static inline size_t redact_identifier(redact_text t, size_t i) {
    size_t k = i;
    if (k < t.n && (redact_is(t.s[k], REDACT_LETTER) || t.s[k] == '_'))
        while (k < t.n && k - i < 64 && (redact_word(t.s[k]) || t.s[k] == '.'))
            k++;
    return k;
}

/* Tokens have digits or change case often; words do neither. Looks at 64 bytes at most. */
static inline int redact_looks_random(redact_text t, size_t a, size_t b) {
    int rises = 0;
    if (b - a < 8)
        return 0;
    b = redact_min(b, a + 64);
    for (size_t i = a; i < b; i++) {
        if (redact_is(t.s[i], REDACT_DIGIT))
            return 1;
        if (i > a && redact_is(t.s[i], REDACT_UPPER) && redact_is(t.s[i - 1], REDACT_LOWER))
            if (++rises == 3)
                return 1;
    }
    return 0;
}

/* $1, $NAME, ${..}, %s, %(..)s, ?: a place for a value, not a value. */
static inline int redact_placeholder(redact_text t, size_t a, size_t b) {
    uint8_t c = t.s[a], d = b - a > 1 ? t.s[a + 1] : 0;
    if (c == '?')
        return b - a == 1;
    if (c == '%')
        return d == '(' || (b - a == 2 && (d == 's' || d == 'r' || d == 'd'));
    if (c != '$' || b - a == 1)
        return 0;
    if (d == '{')
        return 1;
    for (size_t i = a + 1; i < b; i++)
        if (!redact_is(t.s[i], REDACT_UPPER | REDACT_DIGIT) && t.s[i] != '_')
            return 0;
    return 1;
}

/* Values that say nothing: empty, masked already, a null of some language, a placeholder. */
static inline int redact_keeps(redact_text t, size_t a, size_t b) {
    static const char *const words[] = {"none", "null", "nil", "true", "false", "undefined"};
    size_t i = a;
    while (i < b && (t.s[i] == '*' || t.s[i] == '.'))
        i++;
    if (i == b)
        return 1;
    for (size_t k = 0; k < sizeof(words) / sizeof(words[0]); k++)
        if (redact_equals(t, a, b, words[k]))
            return 1;
    return redact_placeholder(t, a, b);
}

/* Words that follow "password:" in sentences. */
static inline int redact_prose(redact_text t, size_t a, size_t b) {
    static const char *const words[] = {
        "a", "already", "an", "and", "any", "are", "argument", "at", "be", "been", "bool", "bytes",
        "can", "cannot", "could", "denied", "did", "do", "does", "empty", "enter", "error",
        "expected", "expired", "failed", "failure", "field", "flag", "for", "found", "from", "got",
        "had", "has", "have", "if", "in", "incorrect", "input", "int", "invalid", "is", "it",
        "length", "may", "mismatch", "missing", "must", "no", "not", "object", "of", "on", "only",
        "option", "optional", "or", "parameter", "please", "rejected", "required", "requires",
        "shall", "should", "str", "string", "that", "the", "this", "to", "token", "too", "unable",
        "unknown", "unset", "value", "values", "was", "with", "without", "wrong", "your",
    };
    while (b > a && (t.s[b - 1] == '.' || t.s[b - 1] == ':' || t.s[b - 1] == '!'))
        b--;
    for (size_t k = 0; k < sizeof(words) / sizeof(words[0]); k++)
        if (redact_equals(t, a, b, words[k]))
            return 1;
    return 0;
}

#endif
