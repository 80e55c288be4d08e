/* One allocation of the interpreter that fails: the n-th of the thread that asks for it, whatever domain it is of. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>

/* PyMemAllocatorEx, and the domains, of CPython's Include/cpython/pymem.h. */
struct allocator {
    void *context;
    void *(*allocate)(void *context, size_t size);
    void *(*allocate_zeros)(void *context, size_t count, size_t size);
    void *(*grow)(void *context, void *memory, size_t size);
    void (*free)(void *context, void *memory);
};
#define DOMAINS 3

static struct allocator usual[DOMAINS];
static __thread unsigned long left; /* allocations until the one that fails; 0: none does */

static int is_it(void) { return left != 0 && --left == 0; }

static void *allocate(void *context, size_t size) {
    const struct allocator *to = context;
    return is_it() ? NULL : to->allocate(to->context, size);
}

static void *allocate_zeros(void *context, size_t count, size_t size) {
    const struct allocator *to = context;
    return is_it() ? NULL : to->allocate_zeros(to->context, count, size);
}

static void *grow(void *context, void *memory, size_t size) {
    const struct allocator *to = context;
    return is_it() ? NULL : to->grow(to->context, memory, size);
}

static void forward_free(void *context, void *memory) {
    const struct allocator *to = context;
    to->free(to->context, memory);
}

/* Once, before there are other threads. Whether the interpreter has what it takes. */
int nomemory_begin(void) {
    void (*get)(int, struct allocator *), (*set)(int, struct allocator *);
    *(void **)&get = dlsym(RTLD_DEFAULT, "PyMem_GetAllocator");
    *(void **)&set = dlsym(RTLD_DEFAULT, "PyMem_SetAllocator");
    for (int domain = 0; get != NULL && set != NULL && domain < DOMAINS; domain++) {
        get(domain, &usual[domain]);
        set(domain, &(struct allocator){&usual[domain], allocate, allocate_zeros, grow, forward_free});
    }
    return get != NULL && set != NULL;
}

/* Of the calling thread. 0: none. Whether the last one that was asked for is still to come. */
int nomemory_at(unsigned long nth) {
    int to_come = left != 0;
    left = nth;
    return to_come;
}
