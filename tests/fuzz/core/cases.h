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
    uint32_t start, end;
} part_t;

/* A real file, and where it is changed: `now` is the file itself, mapped, or a copy of it. Its
   parts that are not as in `data` are `dirty`. */
typedef struct {
    const uint8_t *data;
    size_t size;
    const place_t *places;
    size_t place_count;
    uint8_t *now;
    part_t dirty[CHANGES_MAX + 6];
    size_t dirty_count;
} base_t;

extern base_t fuzz_bases[16];
extern size_t fuzz_base_count;

/* Makes `now` of a base what a case says; the size that the file is to have: it is cut there, or
   zeros are added. `index` is the base's number. Texts, which grow and shrink, are not for the
   core: INSERT writes over and CUT does nothing. */
size_t fuzz_apply(const uint8_t *data, size_t size, size_t *index);

/* Says that a part of `now` is not as in `data` any more; one within the base. */
void fuzz_dirty(base_t *base, size_t start, size_t end);

/* Makes `now` of a base as `data` again. */
void fuzz_clean(base_t *base);

#endif
