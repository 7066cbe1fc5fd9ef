/* Redaction of values by the name before them: password=..., "token": "...", X-Api-Key: ... */
#ifndef FAULTPLANE_REDACT_FIELDS_H
#define FAULTPLANE_REDACT_FIELDS_H

#include "redact_text.h"

typedef enum {
    REDACT_NO_KEY,
    REDACT_STRONG,     /* password, secret, api_key, authorization: any value */
    REDACT_WEAK,       /* token, session, auth: in prose, only values that look random */
    REDACT_COOKIE,     /* as weak, or to the end of the line when it holds name=value */
    REDACT_PWD,        /* strong, but a path is a directory or a key file */
    REDACT_SIGNATURE,  /* strong, but only with = */
    REDACT_INPUT,      /* pydantic's input_value */
    REDACT_PARAMETERS, /* SQLAlchemy's [parameters: ...] */
    REDACT_DETAIL,     /* PostgreSQL's DETAIL: Failing row contains (...) */
} redact_key;

/* The end of word `end` in front of one of "_- ." or nothing. */
static inline size_t redact_joint(redact_text t, size_t end) {
    uint8_t c = end > 0 ? t.s[end - 1] : 0;
    return c == '_' || c == '-' || c == ' ' || c == '.' ? end - 1 : end;
}

static inline int redact_bounded(redact_text t, size_t end, const char *word, size_t size) {
    return redact_ends(t, end, word, size) && redact_boundary(t, end - size);
}
#define REDACT_BOUNDED(t, end, word) redact_bounded(t, end, word, sizeof(word) - 1)

/* "key" with the word that makes it a secret one: "primary key" is none. */
static inline redact_key redact_compound_key(redact_text t, size_t end) {
    size_t k = redact_joint(t, end - 3);
    if (REDACT_ENDS(t, k, "private"))
        return REDACT_PWD;
    return REDACT_ENDS(t, k, "api") || REDACT_ENDS(t, k, "access") || REDACT_ENDS(t, k, "secret") ||
                   REDACT_ENDS(t, k, "account") || REDACT_ENDS(t, k, "signing") ||
                   REDACT_ENDS(t, k, "encryption") || REDACT_ENDS(t, k, "auth") ||
                   REDACT_ENDS(t, k, "master") || REDACT_ENDS(t, k, "storage")
               ? REDACT_STRONG
               : REDACT_NO_KEY;
}

static inline redact_key redact_key_in_s(redact_text t, size_t end) {
    if (REDACT_ENDS(t, end, "credentials"))
        return REDACT_WEAK;
    if (REDACT_ENDS(t, end, "_pass") || REDACT_ENDS(t, end, "-pass") ||
        REDACT_ENDS(t, end, ".pass"))
        return REDACT_STRONG;
    if (end > 10 && t.s[end - 11] == '[' && REDACT_STARTS(t, end - 10, "parameters"))
        return REDACT_PARAMETERS;
    return REDACT_NO_KEY;
}

static inline redact_key redact_key_in_n(redact_text t, size_t end) {
    if (REDACT_ENDS(t, end, "token") || REDACT_BOUNDED(t, end, "session"))
        return REDACT_WEAK;
    if (REDACT_ENDS(t, end, "authorization") || REDACT_ENDS(t, end, "password_confirmation") ||
        REDACT_ENDS(t, end, "password-confirmation"))
        return REDACT_STRONG;
    return REDACT_NO_KEY;
}

static inline redact_key redact_key_in_e(redact_text t, size_t end) {
    if (REDACT_ENDS(t, end, "cookie"))
        return REDACT_COOKIE;
    if (REDACT_ENDS(t, end, "passphrase") || REDACT_ENDS(t, end, "passcode"))
        return REDACT_STRONG;
    if (REDACT_ENDS(t, end, "signature"))
        return REDACT_SIGNATURE;
    return REDACT_ENDS(t, end, "input_value") ? REDACT_INPUT : REDACT_NO_KEY;
}

static inline redact_key redact_key_in_d(redact_text t, size_t end) {
    if (REDACT_ENDS(t, end, "password") || REDACT_ENDS(t, end, "passwd"))
        return REDACT_STRONG;
    if (REDACT_BOUNDED(t, end, "pwd"))
        return REDACT_PWD;
    if (REDACT_ENDS(t, end, "sessid"))
        return REDACT_WEAK;
    if (REDACT_ENDS(t, end, "id") && REDACT_ENDS(t, redact_joint(t, end - 2), "session"))
        return REDACT_WEAK;
    return REDACT_NO_KEY;
}

/* What the word that ends before `end` promises about its value. The last letter rules out most. */
static inline redact_key redact_match_key(redact_text t, size_t end) {
    uint8_t last = t.s[end - 1];
    switch (last | 0x20) {
    case 'd':
        return redact_key_in_d(t, end);
    case 'n':
        return redact_key_in_n(t, end);
    case 'e':
        return redact_key_in_e(t, end);
    case 's':
        return redact_key_in_s(t, end);
    case 't':
        return REDACT_ENDS(t, end, "secret") ? REDACT_STRONG : REDACT_NO_KEY;
    case 'y':
        return REDACT_ENDS(t, end, "key") ? redact_compound_key(t, end) : REDACT_NO_KEY;
    case 'h':
        if (REDACT_BOUNDED(t, end, "auth"))
            return REDACT_WEAK;
        return REDACT_ENDS(t, end, "password_hash") || REDACT_ENDS(t, end, "password-hash")
                   ? REDACT_STRONG
                   : REDACT_NO_KEY;
    case 'm':
        return REDACT_ENDS(t, end, "password_confirm") || REDACT_ENDS(t, end, "password-confirm")
                   ? REDACT_STRONG
                   : REDACT_NO_KEY;
    case 'l':
        if (REDACT_ENDS(t, end, "credential"))
            return REDACT_WEAK;
        return end >= 6 && REDACT_STARTS(t, end - 6, "DETAIL") ? REDACT_DETAIL : REDACT_NO_KEY;
    case 'g':
        return end > 3 && (t.s[end - 4] == '?' || t.s[end - 4] == '&') &&
                       REDACT_ENDS(t, end, "sig")
                   ? REDACT_SIGNATURE
                   : REDACT_NO_KEY;
    default:
        return redact_is(last, REDACT_DIGIT) && REDACT_ENDS(t, end - 1, "password")
                   ? REDACT_STRONG
                   : REDACT_NO_KEY;
    }
}

/* ------------------------------------------------------------------------------------- values */

typedef struct {
    redact_key key;
    int prose;  /* key: value or --key value with the key unquoted, so perhaps a sentence */
    int spaced; /* not key=value */
} redact_field;

/* Past "Bearer " and the like at a; *whole says that the rest of the line belongs to the value. */
static inline size_t redact_scheme(redact_text t, size_t a, size_t b, int *whole) {
    static const char *const words[] = {"bearer", "basic",     "token",           "apikey",
                                        "digest", "negotiate", "aws4-hmac-sha256"};
    size_t end = a;
    while (end < b && end - a < 17 && t.s[end] != ' ')
        end++;
    if (end == a || end >= b || t.s[end] != ' ')
        return a;
    for (size_t k = 0; k < sizeof(words) / sizeof(words[0]); k++) {
        if (redact_equals(t, a, end, words[k])) {
            *whole = k >= 4;
            while (end < b && t.s[end] == ' ')
                end++;
            return end;
        }
    }
    return a;
}

static inline int redact_string_prefix(uint8_t c) {
    return (c | 0x20) == 'b' || (c | 0x20) == 'u';
}

static inline int redact_accept(redact_text t, size_t a, size_t b, redact_span *span) {
    if (redact_keeps(t, a, b))
        return 0;
    span->start = a;
    span->end = b;
    return 1;
}

/* Text between quotes, a to b. Parsers quote short tokens: prose needs six bytes, no blank. */
static inline int redact_quoted_value(redact_text t, redact_field f, size_t a, size_t b,
                                      redact_span *span) {
    int whole;
    if (f.prose && f.key != REDACT_STRONG && f.key != REDACT_PWD &&
        (b - a < 6 || memchr(t.s + a, ' ', b - a)))
        return 0;
    if (f.key == REDACT_PWD && redact_at(t, a, '/'))
        return 0;
    return redact_accept(t, redact_scheme(t, a, b, &whole), b, span);
}

static inline int redact_bare_value(redact_text t, redact_field f, size_t p, redact_span *span) {
    int whole = 0;
    size_t a = redact_scheme(t, p, redact_min(t.n, p + 64), &whole);
    size_t near = redact_bare_end(t, a, redact_min(t.n, a + 64));
    if (near == a || (f.key == REDACT_PWD && t.s[a] == '/'))
        return 0;
    if (whole)
        return redact_accept(t, a, redact_line_end(t, a), span);
    if (f.spaced) {
        const uint8_t *equals = memchr(t.s + a, '=', near - a);
        if (f.key == REDACT_COOKIE && equals && equals != t.s + near - 1) {
            span->start = a;
            span->end = redact_line_end(t, a);
            return 1;
        }
        if (f.key == REDACT_WEAK || f.key == REDACT_COOKIE) {
            if (!redact_looks_random(t, a, near))
                return 0;
        } else if (near - a < 16 && redact_prose(t, a, near))
            return 0;
    }
    if (!redact_accept(t, a, near, span))
        return 0;
    span->end = redact_bare_end(t, near, t.n);
    return 1;
}

/* A value that opens with ( [ or {. A quoted first element: all of them, unless it is a sentence
   in a list, as validation errors have it. A mapping or a call is left to its own keys. */
static inline int redact_bracketed_value(redact_text t, redact_field f, size_t p,
                                         redact_span *span) {
    uint8_t open = t.s[p], close = open == '(' ? ')' : open == '[' ? ']' : '}';
    size_t q = p + 1, k, first;
    if (q >= t.n || (f.prose && f.key != REDACT_STRONG && f.key != REDACT_PWD))
        return 0;
    k = q + redact_string_prefix(t.s[q]);
    if (k < t.n && redact_quote(t.s[k])) {
        if (open == '{')
            return 0;
        first = redact_quoted_end(t, k + 1, t.n, t.s[k]);
        if (open == '[' && memchr(t.s + k + 1, ' ', first - k - 1))
            return 0;
        return redact_accept(t, q, redact_bracket_end(t, p, redact_line_end(t, p)), span);
    }
    if (redact_is(t.s[q], REDACT_STOP) || t.s[q] == '(' || t.s[q] == '[' || t.s[q] == '{')
        return 0;
    k = redact_identifier(t, q);
    if (k > q && k < t.n && (t.s[k] == '(' || t.s[k] == ':' || t.s[k] == '=' || t.s[k] == '}'))
        return 0;
    for (k = q; k < redact_min(t.n, q + 256); k++) {
        uint8_t c = t.s[k];
        if (c == close)
            return redact_accept(t, q, k, span);
        if (c == ' ' || c == '\t' || c == '\n' || c == '\r' || redact_quote(c) || c == '<' ||
            c == '>' || c == '(' || c == ')' || c == '[' || c == ']' || c == '{' || c == '}')
            break;
    }
    return redact_bare_value(t, f, p, span);
}

/* The value of a key, from p on. */
static inline int redact_value(redact_text t, redact_field f, size_t p, redact_span *span) {
    size_t k;
    uint8_t c;
    int call;
    p = redact_skip_blanks(t, p);
    if (p >= t.n)
        return 0;
    c = t.s[p];
    if (c == '\\' && p + 1 < t.n && redact_quote(t.s[p + 1]))
        return redact_quoted_value(
            t, f, p + 2, redact_find(t, p + 2, t.n, (const char *)t.s + p, 2), span);
    if (c == '(' || c == '[' || c == '{')
        return redact_bracketed_value(t, f, p, span);
    k = redact_identifier(t, p);
    call = k > p && redact_at(t, k, '(');
    k = call ? k + 1 : p;
    if (k + 1 < t.n && redact_string_prefix(t.s[k]) && redact_quote(t.s[k + 1]))
        k++;
    if (k < t.n && redact_quote(t.s[k])) /* '...', b'...', SecretStr('...') */
        return redact_quoted_value(t, f, k + 1, redact_quoted_end(t, k + 1, t.n, t.s[k]), span);
    if (call && f.key != REDACT_STRONG && f.key != REDACT_PWD) /* session=Session(id=5) */
        return 0;
    return redact_bare_value(t, f, p, span);
}

/* input_value=..., input_type=...: all between, whatever its repr looks like. */
static inline int redact_input_value(redact_text t, size_t p, redact_span *span) {
    redact_field f = {REDACT_STRONG, 0, 0};
    size_t limit = redact_min(t.n, p + 512);
    size_t b = redact_find(t, p, limit, ", input_type=", 13);
    if (b == limit)
        return redact_value(t, f, p, span);
    if (b - p >= 2 && redact_quote(t.s[p]) && t.s[b - 1] == t.s[p])
        return redact_accept(t, p + 1, b - 1, span);
    return redact_accept(t, p, b, span);
}

static inline int redact_parameters(redact_text t, size_t p, redact_span *span) {
    size_t line, b;
    p = redact_skip_blanks(t, p);
    line = redact_line_end(t, p);
    if (p < t.n && (t.s[p] == '(' || t.s[p] == '[' || t.s[p] == '{'))
        return redact_accept(t, p + 1, redact_bracket_end(t, p, line), span);
    b = line > p && t.s[line - 1] == ']' ? line - 1 : line;
    return redact_accept(t, p, b, span);
}

static inline int redact_failing_row(redact_text t, size_t p, redact_span *span) {
    size_t b, line;
    p = redact_skip_blanks(t, p);
    if (!REDACT_STARTS(t, p, "Failing row contains ("))
        return 0;
    p += 22;
    line = redact_line_end(t, p);
    b = line;
    while (b > p && t.s[b - 1] != ')')
        b--;
    return redact_accept(t, p, b > p ? b - 1 : line, span);
}

/* A ':' or '=' at i that may stand between a name and its value. */
static inline int redact_separator(redact_text t, size_t i, redact_span *span) {
    size_t end = i, p = i + 1;
    int quoted = 0, equals = t.s[i] == '=';
    redact_key key;
    redact_field f;
    while (end > 0 && i - end < 4 && redact_is(t.s[end - 1], REDACT_GAP))
        quoted |= redact_quote(t.s[--end]);
    if (end == 0 || (key = redact_match_key(t, end)) == REDACT_NO_KEY)
        return 0;
    if (!equals && redact_at(t, p, ':')) /* Session::connect */
        return 0;
    if (key == REDACT_PARAMETERS)
        return !equals && redact_parameters(t, p, span);
    if (key == REDACT_DETAIL)
        return !equals && redact_failing_row(t, p, span);
    if (redact_at(t, p, '=') || (equals && redact_at(t, p, '>'))) /* == => := */
        p++;
    if (key == REDACT_INPUT)
        return equals && redact_input_value(t, p, span);
    if (key == REDACT_SIGNATURE && !equals)
        return 0;
    if (key == REDACT_SIGNATURE)
        key = REDACT_STRONG;
    f = (redact_field){key, !equals && !quoted, !equals};
    return redact_value(t, f, p, span);
}

#endif
