/* Cases without Python in between; part of the library that holds libFuzzer. */
#include "cases.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max);

base_t fuzz_bases[16];
size_t fuzz_base_count;

static uint32_t fuzz_number(const uint8_t *data, size_t size, size_t at, int bytes) {
    uint32_t value = 0;
    for (int i = 0; i < bytes; i++)
        if (at + i < size) value |= (uint32_t)data[at + i] << 8 * i;
    return value;
}

void fuzz_dirty(base_t *base, size_t start, size_t end) {
    base->dirty[base->dirty_count++] = (part_t){(uint32_t)start, (uint32_t)end};
}

void fuzz_clean(base_t *base) {
    for (size_t n = 0; n < base->dirty_count; n++) {
        part_t part = base->dirty[n];
        memcpy(base->now + part.start, base->data + part.start, part.end - part.start);
    }
    base->dirty_count = 0;
}

size_t fuzz_apply(const uint8_t *data, size_t size, size_t *index) {
    size_t at = 2, length, offset, source, left;
    *index = (size ? data[0] : 0) % fuzz_base_count;
    base_t *base = &fuzz_bases[*index];
    uint8_t *now = base->now;
    uint8_t flags = size > 1 ? data[1] : 0;
    fuzz_clean(base);
    if (flags & RESIZED) at = 5;
    for (int n = 0; n < CHANGES_MAX && at < size; n++) {
        int operation = data[at] % 5;
        offset = fuzz_number(data, size, at + 1, 3) % (base->size + 1);
        left = base->size - offset;
        at += 4;
        if (operation == 0 || operation == 3) {
            length = at < size ? data[at] : 0;
            at++;
            if (at > size) break;
            if (length > size - at) length = size - at;
            memcpy(now + offset, data + at, length < left ? length : left);
            at += length;
        } else if (operation == 1) {
            source = fuzz_number(data, size, at, 3) % (base->size + 1);
            length = fuzz_number(data, size, at + 3, 2);
            at += 5;
            if (length > base->size - source) length = base->size - source;
            memmove(now + offset, now + source, length < left ? length : left);
        } else {
            length = operation == 2 ? fuzz_number(data, size, at, 2) : 0;
            if (length > left) length = left;
            if (operation == 2 && at + 2 < size) memset(now + offset, data[at + 2], length);
            at += operation == 2 ? 3 : 2;
        }
        fuzz_dirty(base, offset, offset + (length < left ? length : left));
    }
    if (!(flags & RESIZED)) return base->size;
    return fuzz_number(data, 5, 2, 3) % (base->size + GROWTH_MAX);
}

static uint64_t fuzz_value(uint64_t now, uint64_t file, unsigned width) {
    static const uint64_t near[] = {0, 1, 2, 3, 64, 255, 512, 513, 4096, 16383, 16384, 65535};
    unsigned bits = 8 * width;
    switch (rand() % 6) {
    case 0: return now + (uint64_t)(rand() % 129 - 64);
    case 1: return now ^ (uint64_t)1 << rand() % bits;
    case 2: return near[rand() % (sizeof near / sizeof *near)];
    case 3: return ((uint64_t)1 << rand() % bits) - (uint64_t)(rand() % 3);
    case 4: return file + (uint64_t)(rand() % 17 - 8);
    default: return (uint64_t)rand() << 42 ^ (uint64_t)rand() << 21 ^ (uint64_t)rand();
    }
}

/* A field of the real file gets a value that decides; libFuzzer's own changes are one in six. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed) {
    srand(seed);
    if (size < 2 || size_max < 16) {
        if (size_max < 2) return size;
        data[0] = (uint8_t)rand();
        data[1] = REPAIRED;
        size = 2;
    }
    if (rand() % 6 == 0) return LLVMFuzzerMutate(data, size, size_max);
    if (rand() % 12 == 0) data[0] = (uint8_t)rand();
    if (rand() % 16 == 0) data[1] ^= REPAIRED;
    if (rand() % 8 == 0) size = data[1] & RESIZED ? 5 : 2;
    if (size < 5 && data[1] & RESIZED) data[1] ^= RESIZED;
    for (int n = rand() % 3; n >= 0; n--) {
        const base_t *base = &fuzz_bases[data[0] % fuzz_base_count];
        place_t place = base->places[(size_t)rand() % base->place_count];
        unsigned width = place.width > 8 ? 8 : place.width;
        uint64_t now = 0;
        if (size + 5 + width > size_max) break;
        memcpy(&now, base->data + place.offset, width);
        now = fuzz_value(now, base->size, width);
        data[size++] = 0;
        for (int i = 0; i < 3; i++) data[size++] = (uint8_t)(place.offset >> 8 * i);
        data[size++] = (uint8_t)width;
        memcpy(data + size, &now, width);
        size += width;
    }
    return size;
}
