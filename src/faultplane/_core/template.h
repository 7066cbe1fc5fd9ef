/* Classes of bytes for template.pyx, by the rules of docs/templates.md. */
#ifndef FAULTPLANE_TEMPLATE_H
#define FAULTPLANE_TEMPLATE_H

#include <stdint.h>

enum {
    FP_HEX_LETTER = 1,  /* a-f, A-F */
    FP_LETTER = 2,      /* any other ASCII letter */
    FP_DIGIT = 4,
    FP_LEAD = 8,        /* first byte of a letter of U+00C0 to U+07FF */
    FP_IN_PATH = 16,
    FP_IN_URL = 32,     /* in the path, query or fragment of a URL */
    FP_PATH_START = 64, /* right after the first slash of a path */
    FP_SPECIAL = 128,   /* something other than a word may begin here */
    FP_ANYWHERE = FP_IN_PATH | FP_IN_URL | FP_PATH_START,
    FP_INSIDE = FP_IN_PATH | FP_IN_URL
};

static const uint8_t fp_class[256] = {
    ['0' ... '9'] = FP_DIGIT | FP_ANYWHERE,
    ['a' ... 'f'] = FP_HEX_LETTER | FP_ANYWHERE,
    ['A' ... 'F'] = FP_HEX_LETTER | FP_ANYWHERE,
    ['g' ... 'z'] = FP_LETTER | FP_ANYWHERE,
    ['G' ... 'Z'] = FP_LETTER | FP_ANYWHERE,
    [0x80 ... 0xC2] = FP_ANYWHERE,
    [0xC3 ... 0xDF] = FP_LEAD | FP_ANYWHERE,
    [0xE0 ... 0xFF] = FP_ANYWHERE,
    ['_'] = FP_ANYWHERE,
    ['.'] = FP_ANYWHERE,
    ['~'] = FP_ANYWHERE,
    ['%'] = FP_ANYWHERE,
    ['$'] = FP_ANYWHERE,
    ['@'] = FP_ANYWHERE,
    ['/'] = FP_SPECIAL | FP_INSIDE,
    ['?'] = FP_SPECIAL | FP_INSIDE,
    ['#'] = FP_SPECIAL | FP_INSIDE,
    ['+'] = FP_SPECIAL | FP_INSIDE,
    ['-'] = FP_SPECIAL | FP_INSIDE,
    ['&'] = FP_INSIDE,
    ['='] = FP_INSIDE,
    ['*'] = FP_INSIDE,
    ['!'] = FP_INSIDE,
    ['^'] = FP_INSIDE,
    ['\\'] = FP_INSIDE,
    [':'] = FP_SPECIAL | FP_IN_URL,
    ['['] = FP_SPECIAL | FP_IN_URL,
    [']'] = FP_IN_URL,
    [','] = FP_IN_URL,
    [';'] = FP_IN_URL,
    ['('] = FP_IN_URL,
    [')'] = FP_IN_URL,
    ['\''] = FP_SPECIAL,
    ['"'] = FP_SPECIAL,
    ['`'] = FP_SPECIAL,
    ['<'] = FP_SPECIAL,
};

static const char *const fp_placeholder[] = {
    "<uuid>", "<ip>", "<hex>", "<num>", "<path>", "<str>", "<id>", "<cut>",
};
static const uint8_t fp_placeholder_bytes[] = {6, 4, 5, 5, 6, 5, 4, 5};

#endif
