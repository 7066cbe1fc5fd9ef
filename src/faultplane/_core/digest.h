/* BLAKE2b with an 8-byte digest and no key (RFC 7693), for fingerprints and string hashes. The
   same answer as Python's hashlib.blake2b(data, digest_size=8), which the pure core uses. */
#ifndef FAULTPLANE_DIGEST_H
#define FAULTPLANE_DIGEST_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    uint64_t h[8];
    uint64_t length;
    size_t filled;
    uint8_t block[128];
} fp_digest;

static const uint64_t fp_digest_iv[8] = {
    0x6a09e667f3bcc908ull, 0xbb67ae8584caa73bull, 0x3c6ef372fe94f82bull, 0xa54ff53a5f1d36f1ull,
    0x510e527fade682d1ull, 0x9b05688c2b3e6c1full, 0x1f83d9abfb41bd6bull, 0x5be0cd19137e2179ull};

static const uint8_t fp_digest_sigma[12][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
    {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
    {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
    {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
    {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3}};

static inline uint64_t fp_rotr64(uint64_t x, int n) { return (x >> n) | (x << (64 - n)); }

#define FP_MIX(a, b, c, d, x, y)                                                                   \
    do {                                                                                           \
        v[a] += v[b] + (x);                                                                        \
        v[d] = fp_rotr64(v[d] ^ v[a], 32);                                                         \
        v[c] += v[d];                                                                              \
        v[b] = fp_rotr64(v[b] ^ v[c], 24);                                                         \
        v[a] += v[b] + (y);                                                                        \
        v[d] = fp_rotr64(v[d] ^ v[a], 16);                                                         \
        v[c] += v[d];                                                                              \
        v[b] = fp_rotr64(v[b] ^ v[c], 63);                                                         \
    } while (0)

static void fp_digest_compress(fp_digest *s, int last) {
    uint64_t v[16], m[16];
    for (int i = 0; i < 8; i++) {
        v[i] = s->h[i];
        v[i + 8] = fp_digest_iv[i];
    }
    v[12] ^= s->length;
    if (last) v[14] = ~v[14];
    for (int i = 0; i < 16; i++) {
        const uint8_t *p = s->block + 8 * i; /* little-endian whatever the machine */
        m[i] = (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24 |
               (uint64_t)p[4] << 32 | (uint64_t)p[5] << 40 | (uint64_t)p[6] << 48 |
               (uint64_t)p[7] << 56;
    }
    for (int r = 0; r < 12; r++) {
        const uint8_t *g = fp_digest_sigma[r];
        FP_MIX(0, 4, 8, 12, m[g[0]], m[g[1]]);
        FP_MIX(1, 5, 9, 13, m[g[2]], m[g[3]]);
        FP_MIX(2, 6, 10, 14, m[g[4]], m[g[5]]);
        FP_MIX(3, 7, 11, 15, m[g[6]], m[g[7]]);
        FP_MIX(0, 5, 10, 15, m[g[8]], m[g[9]]);
        FP_MIX(1, 6, 11, 12, m[g[10]], m[g[11]]);
        FP_MIX(2, 7, 8, 13, m[g[12]], m[g[13]]);
        FP_MIX(3, 4, 9, 14, m[g[14]], m[g[15]]);
    }
    for (int i = 0; i < 8; i++) s->h[i] ^= v[i] ^ v[i + 8];
}

static inline void fp_digest_start(fp_digest *s) {
    for (int i = 0; i < 8; i++) s->h[i] = fp_digest_iv[i];
    s->h[0] ^= 0x01010000u ^ 8u; /* fanout 1, depth 1, no key, 8 bytes out */
    s->length = 0;
    s->filled = 0;
}

static inline void fp_digest_update(fp_digest *s, const void *data, size_t n) {
    const uint8_t *p = (const uint8_t *)data;
    while (n) {
        if (s->filled == 128) { /* a full block is compressed only when more follows */
            s->length += 128;
            fp_digest_compress(s, 0);
            s->filled = 0;
        }
        size_t k = 128 - s->filled;
        if (k > n) k = n;
        memcpy(s->block + s->filled, p, k);
        s->filled += k;
        p += k;
        n -= k;
    }
}

static inline uint64_t fp_digest_end(fp_digest *s) {
    s->length += s->filled;
    memset(s->block + s->filled, 0, 128 - s->filled);
    fp_digest_compress(s, 1);
    return s->h[0];
}

static inline uint64_t fp_digest_of(const void *data, size_t n) {
    fp_digest s;
    fp_digest_start(&s);
    fp_digest_update(&s, data, n);
    return fp_digest_end(&s);
}

/* CRC-32 as zlib computes it; only headers of some eighty bytes go through it. */
static inline uint32_t fp_crc32(const uint8_t *p, size_t n) {
    uint32_t crc = ~0u;
    while (n--) {
        crc ^= *p++;
        for (int i = 0; i < 8; i++) crc = crc >> 1 ^ (0xEDB88320u & (0u - (crc & 1u)));
    }
    return ~crc;
}

#endif
