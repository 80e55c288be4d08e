/* The memory of the rings from the heap, for builds with ThreadSanitizer: it watches what is freed there, and does not
 * what is unmapped. threads.c is compiled with these names in place of mmap and munmap. */
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/types.h>

void *heap_mmap(void *address, size_t size, int protection, int flags, int file, off_t offset);
int heap_munmap(void *address, size_t size);

void *heap_mmap(void *address, size_t size, int protection, int flags, int file, off_t offset) {
    (void)address, (void)protection, (void)flags, (void)file, (void)offset;
    void *memory = calloc(1, size);
    return memory != NULL ? memory : MAP_FAILED;
}

int heap_munmap(void *address, size_t size) {
    (void)size;
    free(address);
    return 0;
}
