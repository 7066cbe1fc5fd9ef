/* The pieces of the protocol in which one thread stores and another loads, through the functions of
   atomics.h that the core uses, for ThreadSanitizer: it knows the memory model of C and not that of
   this processor, so an order that only x86-64 keeps is a race to it.

   Each piece can be built with the wrong order (-DWRONG=<piece>): a relaxed operation in the place
   of the one that publishes, or of the one that takes. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "atomics.h"
#include "layout.h"

#define LANE 1           /* the commit is relaxed */
#define LANE_READER 2    /* the reader loads the lane word relaxed */
#define ENTRY 3          /* the entry's word is stored relaxed */
#define BUCKET 4         /* the bucket is loaded relaxed */
#define USED 5           /* `used` of the counts is stored relaxed */
#define NEWEST 6         /* the newest segment is announced by a relaxed store */
#ifndef WRONG
#define WRONG 0
#endif

enum { ROWS = 200 };

static struct { uint64_t word, row[ROWS]; } lane;
static struct { uint64_t word, hash, next; uint32_t bucket; char text[16]; } dictionary;
static struct { uint64_t used, cell[ROWS]; } counts;
static struct { uint64_t newest, header[ROWS]; } segments;
static uint64_t sum; /* of what was read, so that it is read */

static void relaxed_cas(uint64_t *word, uint64_t expected, uint64_t value) {
    __atomic_compare_exchange_n(word, &expected, value, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

static void *writer(void *unused) {
    (void)unused;
    for (uint64_t r = 0; r < ROWS; r++) {
        uint64_t word = LANE_OPEN_WORD | r;
        lane.row[r] = r + 1;
        if (WRONG == LANE) relaxed_cas(&lane.word, word, word + 1);
        else if (!fp_cas_release(&lane.word, word, word + 1)) break; /* closed under us */
    }
    uint64_t id = fp_add(&dictionary.next, 1);
    memcpy(dictionary.text, "a name", 7);
    dictionary.hash = 42 + id;
    if (WRONG == ENTRY) fp_store_relaxed(&dictionary.word, 1);
    else fp_store_release(&dictionary.word, 1);
    fp_cas32(&dictionary.bucket, 0, 1);
    for (uint64_t i = 0; i < ROWS; i++) {
        counts.cell[i] = i;
        if (WRONG == USED) fp_store_relaxed(&counts.used, i + 1);
        else fp_store_release(&counts.used, i + 1);
    }
    for (uint64_t n = 0; n < ROWS; n++) {
        segments.header[n] = n;
        if (WRONG == NEWEST) fp_store_relaxed(&segments.newest, n + 1);
        else fp_cas(&segments.newest, n, n + 1);
    }
    return NULL;
}

/* Anybody closes the lane. That the swap carries on what the writer released is shown by litmus.py:
   the sanitizer does not see where a release sequence is broken off. */
static void *closer(void *unused) {
    (void)unused;
    uint64_t word;
    do word = fp_load_acquire(&lane.word);
    while ((word & LANE_COUNT_MASK) < ROWS / 2);
    for (;;) {
        uint64_t closed = (word & ~LANE_STATE_MASK_WORD) | LANE_CLOSED_WORD;
        if (fp_cas(&lane.word, word, closed)) break;
        word = fp_load_acquire(&lane.word);
    }
    return NULL;
}

static void *reader(void *unused) {
    (void)unused;
    uint64_t word, seen = 0;
    do {
        word = WRONG == LANE_READER ? fp_load_relaxed(&lane.word) : fp_load_acquire(&lane.word);
        for (uint64_t r = 0; r < (word & LANE_COUNT_MASK); r++) seen += lane.row[r];
    } while ((word & LANE_STATE_MASK_WORD) != LANE_CLOSED_WORD);
    while (!(WRONG == BUCKET ? fp_load32_relaxed(&dictionary.bucket)
                             : fp_load32_acquire(&dictionary.bucket)))
        ;
    if (WRONG == BUCKET) seen += dictionary.hash;
    if (WRONG != ENTRY && WRONG != BUCKET) seen += dictionary.hash + dictionary.text[0];
    for (uint64_t used = 0; used < ROWS;) {
        used = fp_load_acquire(&counts.used);
        for (uint64_t i = 0; i < used; i++) seen += counts.cell[i];
    }
    for (uint64_t newest = 0; newest < ROWS;) {
        newest = fp_load_acquire(&segments.newest);
        for (uint64_t n = 0; n < newest; n++) seen += segments.header[n];
    }
    __atomic_fetch_add(&sum, seen, __ATOMIC_RELAXED);
    return NULL;
}

/* A reader of names takes no look at the bucket: it goes by the entry's word. */
static void *reader_of_names(void *unused) {
    (void)unused;
    while (!fp_load_acquire(&dictionary.word))
        ;
    __atomic_fetch_add(&sum, dictionary.hash + (uint64_t)dictionary.text[0], __ATOMIC_RELAXED);
    return NULL;
}

int main(void) {
    void *(*const roles[])(void *) = {reader, reader_of_names, closer, writer};
    pthread_t threads[4];
    lane.word = LANE_OPEN_WORD;
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, roles[i], NULL);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    printf("sum %llu\n", (unsigned long long)sum);
    return 0;
}
