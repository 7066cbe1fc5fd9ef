/* Included before everything of a core that is built for ThreadSanitizer: a file is mapped at one
   address, whoever maps it. The sanitizer goes by addresses, and would take two mappings of one
   file for two memories, between which nothing can race. */
#ifndef ONE_MAPPING_H
#define ONE_MAPPING_H

#include <stddef.h>
#include <sys/mman.h>
#include <sys/types.h>

void *one_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset);
int one_munmap(void *address, size_t size);

#define mmap one_mmap
#define munmap one_munmap

#endif
