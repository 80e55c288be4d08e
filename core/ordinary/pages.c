#define _GNU_SOURCE /* MAP_ANONYMOUS */
#include "pages.h"

#include <string.h>
#include <sys/mman.h>

/* Copied, and not moved by the kernel: ThreadSanitizer would take the former owner's accesses for the next one's. */
void *pages_grow(void *memory, size_t before, size_t after) {
    void *grown = mmap(NULL, after, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (grown == MAP_FAILED)
        return NULL;
    if (memory != NULL)
        memcpy(grown, memory, before);
    pages_free(memory, before);
    return grown;
}

void pages_free(void *memory, size_t size) {
    if (memory != NULL)
        munmap(memory, size);
}
