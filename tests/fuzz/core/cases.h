/* Cases (fuzz/cases.py) applied and changed without Python in between. */
#ifndef FAULTPLANE_FUZZ_CASES_H
#define FAULTPLANE_FUZZ_CASES_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { REPAIRED = 1, RESIZED = 2, CHANGES_MAX = 24, GROWTH_MAX = 8192 };

int LLVMFuzzerRunDriver(int *argc, char ***argv, int (*one)(const uint8_t *data, size_t size));

typedef struct {
    uint32_t offset, width;
} place_t;

typedef struct {
    const uint8_t *data;
    size_t size;
    const place_t *places;
    size_t place_count;
} base_t;

extern base_t fuzz_bases[16];
extern size_t fuzz_base_count;

/* The file that a case makes, in `out` of `room` bytes; its size. `index` is the base's number.
   Texts, which grow and shrink, are not for the core: INSERT writes over and CUT does nothing. */
size_t fuzz_apply(const uint8_t *data, size_t size, size_t *index, uint8_t *out, size_t room);

#endif
