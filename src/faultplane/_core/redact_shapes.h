/* Redaction of what gives itself away by its shape: URL userinfo, e-mail addresses, card numbers,
   bearer tokens, JWTs, keys with a vendor's prefix, PEM blocks, --password options. */
#ifndef FAULTPLANE_REDACT_SHAPES_H
#define FAULTPLANE_REDACT_SHAPES_H

#include "redact_fields.h"

static inline int redact_take(size_t a, size_t b, redact_span *span) {
    span->start = a;
    span->end = b;
    return 1;
}

/* ------------------------------------------------------------------------------ URL and e-mail */

static inline int redact_authority_byte(uint8_t c) {
    return c > ' ' && !redact_quote(c) && c != '<' && c != '>' && c != '`' && c != '\\';
}

/* A password with / ? or # in it cuts the authority short: user:pa/ss@host. At k, the byte after
   what looks like user:pa, find the @, or return 0. */
static inline size_t redact_late_at(redact_text t, size_t a, size_t k) {
    size_t limit = redact_min(t.n, a + 256), colon = k;
    for (size_t i = a; i < k; i++)
        if (t.s[i] == ':')
            colon = i;
    if (t.s[a] == '[' || colon == k || redact_run(t, colon + 1, k, REDACT_DIGIT) == k)
        return 0;
    for (; k < limit && redact_authority_byte(t.s[k]); k++)
        if (t.s[k] == '@')
            return k;
    return 0;
}

/* "://" at i, after a scheme: scheme://user:password@host. */
static inline int redact_userinfo(redact_text t, size_t i, redact_span *span) {
    size_t a = i + 3, k = a, at = 0;
    if (i == 0 || !redact_is(t.s[i - 1], REDACT_ALNUM))
        return 0;
    for (; k < t.n && redact_authority_byte(t.s[k]); k++) {
        if (t.s[k] == '/' || t.s[k] == '?' || t.s[k] == '#')
            break;
        if (t.s[k] == '@')
            at = k;
    }
    if (!at && k < t.n && k > a && (t.s[k] == '/' || t.s[k] == '?' || t.s[k] == '#'))
        at = redact_late_at(t, a, k);
    if (!at || redact_equals(t, a, at, "git"))
        return 0;
    return redact_accept(t, a, at, span);
}

/* A dot and two letters make a domain of what follows the @; user@host stays as it is. */
static inline int redact_domain_letter(uint8_t c) {
    return redact_is(c, REDACT_LETTER) || c >= 0x80;
}

static inline int redact_domain(redact_text t, size_t d) {
    for (size_t k = d; k + 2 < t.n && redact_is(t.s[k], REDACT_DOMAIN); k++)
        if (t.s[k] == '.' && k > d && redact_domain_letter(t.s[k + 1]) &&
            redact_domain_letter(t.s[k + 2]))
            return 1;
    return 0;
}

/* "@" (width 1) or "%40" (width 3) at i; nothing before `floor` is looked at again. */
static inline int redact_mail(redact_text t, size_t i, size_t width, size_t floor,
                              redact_span *span) {
    size_t a = i, d = i + width;
    while (a > floor && redact_is(t.s[a - 1], REDACT_LOCAL))
        a--;
    if (a == i)
        return 0;
    if (redact_domain(t, d))
        return !redact_equals(t, a, i, "git") && redact_take(a, i, span);
    /* user:password@host, without a scheme */
    return width == 1 && a >= 2 && t.s[a - 1] == ':' && redact_is(t.s[a - 2], REDACT_ALNUM) &&
           d < t.n && redact_is(t.s[d], REDACT_ALNUM) && redact_take(a, i, span);
}

/* -------------------------------------------------------------------------------- card numbers */

static inline int redact_luhn(redact_text t, size_t a, size_t b) {
    unsigned sum = 0, twice = 0;
    while (b > a) {
        unsigned digit = (unsigned)t.s[--b] - '0';
        if (digit > 9)
            continue;
        digit <<= twice;
        sum += digit > 9 ? digit - 9 : digit;
        twice ^= 1;
    }
    return sum % 10 == 0;
}

/* Milli-, micro- and nanoseconds since 1970 in the years 2017 to 2033; no card begins so. */
static inline int redact_epoch(redact_text t, size_t a, size_t b) {
    size_t size = b - a;
    return (size == 13 || size == 16 || size == 19) && t.s[a] == '1' && t.s[a + 1] >= '5' &&
           redact_run(t, a, b, REDACT_DIGIT) == b;
}

static inline int redact_number_ends(redact_text t, size_t k) {
    if (k == t.n)
        return 1;
    if (t.s[k] == '.')
        return k + 1 == t.n || !redact_is(t.s[k + 1], REDACT_DIGIT);
    return !redact_is(t.s[k], REDACT_ALNUM);
}

/* A run of digits begins at r. 13 to 19 digits, in one group or in several with one blank or dash
   between, all but the last of four digits or more. The longest that passes Luhn counts. */
static inline int redact_card(redact_text t, size_t r, redact_span *span) {
    size_t k = r, digits = 0, best = 0;
    if (t.s[r] == '0' || (r > 0 && redact_is(t.s[r - 1], REDACT_LETTER)) ||
        (r > 1 && t.s[r - 1] == '.' && redact_is(t.s[r - 2], REDACT_DIGIT)))
        return 0;
    for (;;) {
        size_t group = redact_run(t, k, redact_min(t.n, k + 20), REDACT_DIGIT) - k;
        k += group;
        digits += group;
        if (digits > 19)
            break;
        if (digits >= 13 && redact_number_ends(t, k) && !redact_epoch(t, r, k) &&
            redact_luhn(t, r, k))
            best = k;
        if (group < 4 || k + 1 >= t.n || (t.s[k] != ' ' && t.s[k] != '-') ||
            !redact_is(t.s[k + 1], REDACT_DIGIT))
            break;
        k++;
    }
    return best && redact_take(r, best, span);
}

/* -------------------------------------------------------------------------------------- tokens */

typedef int (*redact_test)(uint8_t c);

static inline int redact_alnum(uint8_t c) { return redact_is(c, REDACT_ALNUM); }
static inline int redact_capital(uint8_t c) { return redact_is(c, REDACT_UPPER | REDACT_DIGIT); }
static inline int redact_slack(uint8_t c) { return redact_alnum(c) || c == '-'; }
static inline int redact_base64(uint8_t c) {
    return redact_alnum(c) || c == '+' || c == '/' || c == '=';
}

/* A vendor's prefix ends before a; at least `least` bytes that pass must follow. */
static inline int redact_secret(redact_text t, size_t a, redact_test test, size_t least,
                                redact_span *span) {
    size_t k = a;
    while (k < t.n && test(t.s[k]))
        k++;
    return k - a >= least && redact_take(a, k, span);
}

/* Whether the bytes before i are `prefix`, and no longer word. */
static inline int redact_prefix(redact_text t, size_t i, size_t floor, const char *prefix,
                                size_t size) {
    return i >= floor + size && memcmp(t.s + i - size, prefix, size) == 0 &&
           (i == size || !redact_is(t.s[i - size - 1], REDACT_ALNUM));
}
#define REDACT_PREFIX(prefix) redact_prefix(t, i, floor, prefix, sizeof(prefix) - 1)

/* "A" at i: AWS access key ids, Google API keys. */
static inline int redact_key_id(redact_text t, size_t i, redact_span *span) {
    if (i + 3 >= t.n || (i > 0 && redact_is(t.s[i - 1], REDACT_ALNUM)))
        return 0;
    if (REDACT_STARTS(t, i, "AKIA") || REDACT_STARTS(t, i, "ASIA"))
        return redact_secret(t, i + 4, redact_capital, 16, span);
    return REDACT_STARTS(t, i, "AIza") && redact_secret(t, i + 4, redact_base64url, 30, span);
}

/* "_" at i: GitHub, Stripe, npm, Hugging Face. */
static inline int redact_underscore(redact_text t, size_t i, size_t floor, redact_span *span) {
    if (i < 2)
        return 0;
    switch (t.s[i - 1]) {
    case 'p':
    case 'o':
    case 'u':
    case 's':
    case 'r':
        return i >= floor + 3 && t.s[i - 3] == 'g' && t.s[i - 2] == 'h' &&
               (i == 3 || !redact_is(t.s[i - 4], REDACT_ALNUM)) &&
               redact_secret(t, i + 1, redact_alnum, 20, span);
    case 'b':
        return REDACT_PREFIX("github") && REDACT_STARTS(t, i + 1, "pat_") &&
               redact_secret(t, i + 5, redact_word, 20, span);
    case 'k':
        return (REDACT_PREFIX("sk") || REDACT_PREFIX("rk")) &&
               (REDACT_STARTS(t, i + 1, "live_") || REDACT_STARTS(t, i + 1, "test_")) &&
               redact_secret(t, i + 6, redact_alnum, 8, span);
    case 'm':
        return REDACT_PREFIX("npm") && redact_secret(t, i + 1, redact_alnum, 30, span);
    case 'f':
        return REDACT_PREFIX("hf") && redact_secret(t, i + 1, redact_alnum, 30, span);
    case 'c':
        return REDACT_PREFIX("whsec") && redact_secret(t, i + 1, redact_base64, 16, span);
    default:
        return 0;
    }
}

/* -----BEGIN ... PRIVATE KEY----- at i: all up to -----END, or to the end. */
static inline int redact_pem(redact_text t, size_t i, redact_span *span) {
    size_t a = i + 11, k = a, name;
    if (!REDACT_STARTS(t, i, "-----BEGIN "))
        return 0;
    while (k < t.n && k - a < 48 && (redact_capital(t.s[k]) || t.s[k] == ' '))
        k++;
    if (!REDACT_STARTS(t, k, "-----"))
        return 0;
    name = k > a + 6 && REDACT_STARTS(t, k - 6, " BLOCK") ? k - 6 : k;
    if (name < a + 11 || !REDACT_STARTS(t, name - 11, "PRIVATE KEY"))
        return 0;
    return redact_accept(t, k + 5, redact_find(t, k + 5, t.n, "-----END", 8), span);
}

/* --password hunter2, or '--password', 'hunter2' as a list of arguments is shown. */
static inline int redact_option(redact_text t, size_t i, redact_span *span) {
    size_t end = i + 2;
    redact_field f = {REDACT_NO_KEY, 1, 1};
    while (end < t.n && end - i < 42 && redact_base64url(t.s[end]))
        end++;
    if (end == i + 2 || end >= t.n || (t.s[end] != ' ' && !redact_quote(t.s[end])))
        return 0;
    f.key = redact_match_key(t, end);
    if (f.key != REDACT_STRONG && f.key != REDACT_WEAK && f.key != REDACT_PWD)
        return 0;
    if (t.s[end] == ' ')
        return !redact_at(t, end + 1, '-') && redact_value(t, f, end + 1, span);
    if (!REDACT_STARTS(t, end + 1, ", ") || !redact_at(t, end + 3, t.s[end]))
        return 0;
    return redact_accept(t, end + 4, redact_quoted_end(t, end + 4, t.n, t.s[end]), span);
}

/* End of the run of base64url at a, 64 bytes further at most. */
static inline size_t redact_near_end(redact_text t, size_t a) {
    size_t k = a, limit = redact_min(t.n, a + 64);
    while (k < limit && redact_base64url(t.s[k]))
        k++;
    return k;
}

/* "-" at i: options, PEM blocks, Slack, GitLab, PyPI, sk-... */
static inline int redact_dash(redact_text t, size_t i, size_t floor, redact_span *span) {
    uint8_t before = i > 0 ? t.s[i - 1] : ' ';
    if (redact_at(t, i + 1, '-')) {
        if (before == '-')
            return 0;
        if (redact_at(t, i + 2, '-'))
            return redact_pem(t, i, span);
        return !redact_base64url(before) && redact_option(t, i, span);
    }
    if (before == 'k')
        return REDACT_PREFIX("sk") && redact_looks_random(t, i + 1, redact_near_end(t, i + 1)) &&
               redact_secret(t, i + 1, redact_base64url, 20, span);
    if (before == 't')
        return REDACT_PREFIX("glpat") && redact_secret(t, i + 1, redact_base64url, 16, span);
    if (before == 'i')
        return REDACT_PREFIX("pypi") && REDACT_STARTS(t, i + 1, "Ag") &&
               redact_secret(t, i + 1, redact_base64url, 30, span);
    if (i < 4 || !redact_is(before, REDACT_LOWER))
        return 0;
    if (t.s[i - 4] == 'x' && t.s[i - 3] == 'o' && t.s[i - 2] == 'x')
        return i >= floor + 4 && memchr("abeoprs", before, 7) &&
               (i == 4 || !redact_is(t.s[i - 5], REDACT_ALNUM)) &&
               redact_secret(t, i + 1, redact_slack, 10, span);
    return REDACT_PREFIX("xapp") && redact_secret(t, i + 1, redact_slack, 10, span);
}

/* "J" at i: eyJ..., the beginning of {" in base64, as in every JWT. */
static inline int redact_jwt(redact_text t, size_t i, size_t floor, redact_span *span) {
    size_t k = i + 1;
    if (i < floor + 2 || t.s[i - 1] != 'y' || t.s[i - 2] != 'e' ||
        (i > 2 && redact_base64url(t.s[i - 3])))
        return 0;
    while (k < t.n && redact_base64url(t.s[k]))
        k++;
    if (k < i + 11 || k + 4 >= t.n || t.s[k] != '.' || !redact_base64url(t.s[k + 1]) ||
        !redact_base64url(t.s[k + 2]) || !redact_base64url(t.s[k + 3]) ||
        !redact_base64url(t.s[k + 4]))
        return 0;
    while (k < t.n && (redact_base64url(t.s[k]) || t.s[k] == '.' || t.s[k] == '='))
        k++;
    while (t.s[k - 1] == '.')
        k--;
    return redact_take(i + 1, k, span);
}

/* "Bearer" or "Basic" at i, a blank, and what looks like a token. */
static inline int redact_bearer(redact_text t, size_t i, size_t size, redact_span *span) {
    size_t a = i + size;
    if ((i > 0 && redact_word(t.s[i - 1])) || !redact_at(t, a, ' '))
        return 0;
    while (a < t.n && t.s[a] == ' ')
        a++;
    if (!redact_looks_random(t, a, redact_run(t, a, redact_min(t.n, a + 64), REDACT_TOKEN)))
        return 0;
    return redact_take(a, redact_run(t, a, t.n, REDACT_TOKEN), span);
}

static inline int redact_capital_b(redact_text t, size_t i, redact_span *span) {
    if (REDACT_STARTS(t, i, "Bearer") || REDACT_STARTS(t, i, "BEARER"))
        return redact_bearer(t, i, 6, span);
    if (REDACT_STARTS(t, i, "Basic") || REDACT_STARTS(t, i, "BASIC"))
        return redact_bearer(t, i, 5, span);
    return 0;
}

#endif
