/* Redaction of one message, in one pass over its UTF-8 bytes.

   Most messages hold nothing to hide, so the price is that of finding out. Blocks of 64 bytes are
   turned into bit masks (SSE2, or eight bytes at a time in a register elsewhere): one bit for each
   byte at which a rule could begin, and one for each digit. A rule looks at the few bytes around
   such a place and mostly says no at the first. Nothing is written until a rule says yes. */
#ifndef FAULTPLANE_REDACT_SCAN_H
#define FAULTPLANE_REDACT_SCAN_H

#include "redact_shapes.h"

#if defined(__SSE2__) && !defined(REDACT_PORTABLE)
#include <emmintrin.h>
#endif

/* Bytes of a message that are looked at; the rest is dropped. Four times what a record keeps
   (MESSAGE_BYTES_MAX), so that a secret across that limit is still seen whole. */
#define REDACT_BYTES_MAX 4096

typedef struct {
    uint64_t triggers; /* : ; < = > ? @ A B J % - _ */
    uint64_t digits;
    uint64_t r, e; /* "rer": the end of "bearer" in lower case */
} redact_masks;

#if defined(__SSE2__) && !defined(REDACT_PORTABLE)

/* Bytes low to high, as 0xFF. */
static inline __m128i redact_range(__m128i v, int low, int high) {
    __m128i moved = _mm_add_epi8(v, _mm_set1_epi8((char)(-128 - low)));
    return _mm_cmplt_epi8(moved, _mm_set1_epi8((char)(-128 + (high - low + 1))));
}

static inline __m128i redact_same(__m128i v, char c) {
    return _mm_cmpeq_epi8(v, _mm_set1_epi8(c));
}

/* Masks of 16 bytes, added at bit `shift`. */
static inline void redact_masks16(redact_masks *m, __m128i v, unsigned skip, unsigned shift) {
    __m128i special = _mm_or_si128(redact_same(v, '-'), redact_same(v, '_'));
    special = _mm_or_si128(special, _mm_or_si128(redact_same(v, '%'), redact_same(v, 'J')));
    special = _mm_or_si128(special, redact_range(v, ':', 'B'));
    m->triggers |= ((uint64_t)(unsigned)_mm_movemask_epi8(special) >> skip) << shift;
    m->digits |=
        ((uint64_t)(unsigned)_mm_movemask_epi8(redact_range(v, '0', '9')) >> skip) << shift;
    m->r |= ((uint64_t)(unsigned)_mm_movemask_epi8(redact_same(v, 'r')) >> skip) << shift;
    m->e |= ((uint64_t)(unsigned)_mm_movemask_epi8(redact_same(v, 'e')) >> skip) << shift;
}

#define REDACT_LOAD(p) _mm_loadu_si128((const __m128i *)(const void *)(p))

/* Masks of the block of `size` (1 to 64) bytes at `block`, inside a message of `n` bytes that
   begins at `s`. The last bytes are read with the ones before them: never past the end. */
static inline redact_masks redact_block(const uint8_t *s, size_t n, const uint8_t *block,
                                        size_t size) {
    redact_masks m = {0, 0, 0, 0};
    unsigned k = 0;
    for (; k + 16 <= size; k += 16)
        redact_masks16(&m, REDACT_LOAD(block + k), 0, k);
    if (k < size) {
        if (n >= 16) {
            redact_masks16(&m, REDACT_LOAD(block + size - 16), 16 - (unsigned)(size - k), k);
        } else {
            uint8_t padded[16] = {0};
            memcpy(padded, s, n);
            redact_masks16(&m, REDACT_LOAD(padded), 0, 0);
        }
    }
    return m;
}

#else /* without SSE2: eight bytes in a register */

#define REDACT_EACH UINT64_C(0x0101010101010101)

/* The high bit of each byte that is c, exactly. */
static inline uint64_t redact_same(uint64_t v, uint8_t c) {
    uint64_t x = v ^ (REDACT_EACH * c);
    return ~(((x & (REDACT_EACH * 0x7F)) + REDACT_EACH * 0x7F) | x) & (REDACT_EACH * 0x80);
}

/* The high bit of each byte low to high, both below 128. */
static inline uint64_t redact_range(uint64_t v, uint8_t low, uint8_t high) {
    uint64_t x = v & (REDACT_EACH * 0x7F);
    uint64_t from = x + REDACT_EACH * (uint8_t)(0x80 - low);
    uint64_t past = x + REDACT_EACH * (uint8_t)(0x7F - high);
    return from & ~past & ~v & (REDACT_EACH * 0x80);
}

/* High bits to eight neighbouring bits, that of the first byte lowest. */
static inline uint64_t redact_gather(uint64_t high) {
    return ((high >> 7) * UINT64_C(0x0102040810204080)) >> 56;
}

static inline redact_masks redact_block(const uint8_t *s, size_t n, const uint8_t *block,
                                        size_t size) {
    redact_masks m = {0, 0, 0, 0};
    (void)s;
    (void)n;
    for (unsigned k = 0; k < size; k += 8) {
        uint64_t v = 0;
        memcpy(&v, block + k, size - k < 8 ? size - k : 8);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        v = __builtin_bswap64(v);
#endif
        m.triggers |= redact_gather(redact_same(v, '-') | redact_same(v, '_') |
                                    redact_same(v, '%') | redact_same(v, 'J') |
                                    redact_range(v, ':', 'B'))
                      << k;
        m.digits |= redact_gather(redact_range(v, '0', '9')) << k;
        m.r |= redact_gather(redact_same(v, 'r')) << k;
        m.e |= redact_gather(redact_same(v, 'e')) << k;
    }
    return m;
}

#endif

typedef struct {
    redact_text text;
    uint8_t *out;
    size_t cap, size; /* room in out, bytes written */
    size_t copied;    /* of the text, up to here */
    size_t mail;      /* nothing before it belongs to another e-mail address */
    int changed, full;
} redact_state;

static inline void redact_put(redact_state *state, const uint8_t *data, size_t size) {
    size_t room = state->cap - state->size;
    if (size > room) {
        size = room;
        state->full = 1;
    }
    memcpy(state->out + state->size, data, size);
    state->size += size;
}

/* The last two letters of the keys: bit (penultimate & 31) of entry (last & 31). */
static const uint32_t redact_key_ends[32] = {
#define REDACT_BIT(c) (UINT32_C(1) << ((c) & 31))
    ['d' & 31] = REDACT_BIT('r') | REDACT_BIT('w') | REDACT_BIT('i'),
    ['e' & 31] = REDACT_BIT('i') | REDACT_BIT('s') | REDACT_BIT('d') | REDACT_BIT('r') |
                 REDACT_BIT('u'),
    ['g' & 31] = REDACT_BIT('i'), ['h' & 31] = REDACT_BIT('t') | REDACT_BIT('s'),
    ['l' & 31] = REDACT_BIT('a') | REDACT_BIT('i'), ['m' & 31] = REDACT_BIT('r'),
    ['n' & 31] = REDACT_BIT('e') | REDACT_BIT('o'),
    ['s' & 31] = REDACT_BIT('l') | REDACT_BIT('s') | REDACT_BIT('r'), ['t' & 31] = REDACT_BIT('e'),
    ['y' & 31] = REDACT_BIT('e'),
};

/* Whether byte i, a place where a rule could begin, is worth asking the rules. Rejects nearly
   all of the colons, dashes and numbers of ordinary text by the byte or two beside them. */
static inline int redact_worth(redact_text t, size_t i) {
    uint8_t before = i > 0 ? t.s[i - 1] : ' ', after = i + 1 < t.n ? t.s[i + 1] : ' ';
    switch (t.s[i]) {
    case ':':
        if (after == '/')
            return 1;
        /* fall through */
    case '=':
        if (redact_is(before, REDACT_LETTER))
            return i > 1 && redact_key_ends[before & 31] >> (t.s[i - 2] & 31) & 1;
        if (redact_is(before, REDACT_DIGIT))
            return i > 1 && (t.s[i - 2] | 0x20) == 'd';
        return redact_is(before, REDACT_GAP);
    case '-':
        return after == '-' || (REDACT_BIT('k') | REDACT_BIT('t') | REDACT_BIT('i')) >>
                                       (before & 31) & 1 ||
               (i > 3 && t.s[i - 4] == 'x');
    case '_':
        return i > 1 && (t.s[i - 2] == 'h' || t.s[i - 2] == 'u' || before == 'k' ||
                         before == 'm' || before == 'f' || before == 'c');
    case 'J':
        return before == 'y';
    case '@':
    case '%':
    case 'A':
    case 'B':
    case 'r':
        return 1;
    default: /* a run of digits: after four of them a fifth, or a separator and one */
        return i + 12 < t.n && (redact_is(t.s[i + 4], REDACT_DIGIT) ||
                                redact_is(t.s[i + 5], REDACT_DIGIT));
    }
}

/* Asks the rules that can begin with byte i. */
static inline int redact_rule(redact_state *state, size_t i, redact_span *span) {
    redact_text t = state->text;
    size_t floor = state->copied, mail;
    switch (t.s[i]) {
    case ':':
        if (REDACT_STARTS(t, i + 1, "//"))
            return redact_userinfo(t, i, span);
        return redact_separator(t, i, span);
    case '=':
        return redact_separator(t, i, span);
    case '@':
        mail = state->mail > floor ? state->mail : floor;
        state->mail = i + 1;
        return redact_mail(t, i, 1, mail, span);
    case '%':
        if (!REDACT_STARTS(t, i + 1, "40"))
            return 0;
        mail = state->mail > floor ? state->mail : floor;
        state->mail = i + 3;
        return redact_mail(t, i, 3, mail, span);
    case '-':
        return redact_dash(t, i, floor, span);
    case '_':
        return redact_underscore(t, i, floor, span);
    case 'A':
        return redact_key_id(t, i, span);
    case 'B':
        return redact_capital_b(t, i, span);
    case 'J':
        return redact_jwt(t, i, floor, span);
    case 'r':
        return i >= floor + 5 && REDACT_STARTS(t, i - 5, "bearer") &&
               redact_bearer(t, i - 5, 6, span);
    default:
        return redact_is(t.s[i], REDACT_DIGIT) && redact_card(t, i, span);
    }
}

/* Writes what came before the span and *** for it. Returns where to go on. */
static inline size_t redact_replace(redact_state *state, redact_span span, size_t i) {
    redact_put(state, state->text.s + state->copied, span.start - state->copied);
    redact_put(state, (const uint8_t *)"***", 3);
    state->copied = span.end;
    state->changed = 1;
    return span.end > i ? span.end : i + 1;
}

/* Where rules may begin in this block: triggers, "rer", and runs of four digits. Bits of the
   block before are carried over; digits that run into the next block count as four. */
static inline uint64_t redact_places(redact_masks m, redact_masks before, size_t size) {
    uint64_t more = size == 64 ? ~UINT64_C(0) : 0;
    uint64_t rer = m.r & (m.e << 1 | before.e >> 63) & (m.r << 2 | before.r >> 62);
    uint64_t starts = m.digits & ~(m.digits << 1 | before.digits >> 63);
    uint64_t four = (m.digits >> 1 | more << 63) & (m.digits >> 2 | more << 62) &
                    (m.digits >> 3 | more << 61);
    return m.triggers | rer | (starts & four);
}

/* Redacts src[0 .. n) into out (room for cap bytes, no overlap).

   Returns -1 when nothing had to be hidden in the first REDACT_BYTES_MAX bytes: out is then as it
   was and the message is src. Otherwise the bytes written, cut at a code point where they did not
   fit or where the message was longer than REDACT_BYTES_MAX; *cut (NULL: not wanted) says so. */
static inline ptrdiff_t redact_into_cut(const uint8_t *src, size_t n, uint8_t *out, size_t cap,
                                        int *cut) {
    size_t limit = n, next = 0;
    redact_masks before = {0, 0, 0, 0};
    if (limit > REDACT_BYTES_MAX) {
        limit = REDACT_BYTES_MAX;
        while (limit > 0 && (src[limit] & 0xC0) == 0x80)
            limit--;
    }
    redact_state state = {{src, limit}, out, cap, 0, 0, 0, 0, 0};
    for (size_t base = 0; base < limit; base += 64) {
        size_t size = limit - base < 64 ? limit - base : 64;
        redact_masks m = redact_block(src, limit, src + base, size);
        uint64_t places = redact_places(m, before, size);
        before = m;
        while (places) {
            size_t i = base + (size_t)__builtin_ctzll(places);
            redact_span span;
            places &= places - 1;
            if (i >= next && redact_worth(state.text, i) && redact_rule(&state, i, &span))
                next = redact_replace(&state, span, i);
        }
    }
    if (!state.changed)
        return -1;
    redact_put(&state, src + state.copied, limit - state.copied);
    if (state.full) { /* drop the beginning of a code point that did not fit */
        size_t k = state.size;
        while (k > 0 && (out[k - 1] & 0xC0) == 0x80)
            k--;
        if (k > 0 && out[k - 1] >= 0xC0) {
            size_t need = out[k - 1] >= 0xF0 ? 4 : out[k - 1] >= 0xE0 ? 3 : 2;
            if (state.size - (k - 1) < need)
                state.size = k - 1;
        }
    }
    if (cut)
        *cut = state.full || limit < n;
    return (ptrdiff_t)state.size;
}

static inline ptrdiff_t redact_into(const uint8_t *src, size_t n, uint8_t *out, size_t cap) {
    return redact_into_cut(src, n, out, cap, NULL);
}

#endif
