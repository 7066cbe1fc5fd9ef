/* Places to die in that are no Python: called through ctypes, which lets the GIL go. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define WORKERS 4

static volatile int *nowhere;

/* Allocate and free for ever, small and large, so that a signal finds malloc() with its lock held. */
static void *churn(void *unused) {
    void *held[64] = {0};
    (void)unused;
    for (unsigned k = 0;; k++) {
        free(held[k % 64]);
        held[k % 64] = malloc(16 + (k * 7919u) % 5000);
    }
    return NULL;
}

/* Send `number` to one of some threads that do nothing but malloc(), after `rounds` of our own. */
void die_in_malloc(int number, int rounds) {
    pthread_t threads[WORKERS];
    for (int k = 0; k < WORKERS; k++)
        pthread_create(&threads[k], NULL, churn, NULL);
    for (volatile int k = 0; k < rounds; k++)
        free(malloc(100));
    pthread_kill(threads[rounds % WORKERS], number);
    for (;;)
        pause();
}

/* What malloc() finds out about a heap that was written over, and aborts for with its lock held. */
void corrupt_the_top_of_the_heap(void) {
    /* Chunks too large for bins of old ones come from the top, next to it. */
    char *last = malloc(100000);
    memset(last, 0xFF, 100000 + 64);
    for (int k = 0; k < 100; k++)
        malloc(100000);
}

void free_twice(void) {
    void *once = malloc(24);
    free(once);
    free(once);
}

static void *fail(void *how) {
    if ((intptr_t)how == SIGSEGV)
        *nowhere = 1;
    if ((intptr_t)how == SIGABRT)
        abort();
    raise((int)(intptr_t)how);
    return NULL;
}

/* A thread that Python knows nothing of, with `bytes` of stack. */
void die_on_a_thread(int number, long bytes) {
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, (size_t)bytes);
    if (pthread_create(&thread, &attributes, fail, (void *)(intptr_t)number) != 0)
        _exit(99);
    pthread_join(thread, NULL);
}

/* Two threads at once, each with a signal of its own. */
void die_twice(int one, int other) {
    pthread_t threads[2];
    pthread_create(&threads[0], NULL, fail, (void *)(intptr_t)one);
    pthread_create(&threads[1], NULL, fail, (void *)(intptr_t)other);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
}

int overflow(int depth) {
    volatile char here[1024];
    here[depth % 1024] = 1;
    return overflow(depth + 1) + here[(depth + 1) % 1024];
}

/* ---------------------------------------------------------------------- handlers of others */

static struct sigaction before;
static int fails_itself;

static void theirs(int number, siginfo_t *info, void *context) {
    static const char said[] = "theirs\n";
    if (write(2, said, sizeof said - 1) < 0)
        _exit(98);
    if (fails_itself)
        *nowhere = 1;
    if (before.sa_flags & SA_SIGINFO) {
        before.sa_sigaction(number, info, context);
        return;
    }
    sigaction(number, &before, NULL);
    raise(number);
}

/* Another crash reporter: says so on stderr, then passes on to what was there. */
int install_theirs(int number, int fails) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    fails_itself = fails;
    action.sa_sigaction = theirs;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    return sigaction(number, &action, &before);
}
