/* The way of systems without posix_fallocate, on whatever system this is:
   reserve FILE OFFSET BYTES; prints errno. */
#define FAULTPLANE_NO_FALLOCATE 1
#include "posix.h"

#include <stdlib.h>

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    int fd = open(argv[1], O_RDWR | O_CREAT, 0600);
    printf("%d\n", fp_reserve(fd, atoll(argv[2]), atoll(argv[3])));
    return 0;
}
