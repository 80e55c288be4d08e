#define _GNU_SOURCE /* gettid, getline */
#include "stack.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

uintptr_t stack_initial_high(void) { return getauxval(AT_EXECFN) & ~(uintptr_t)7; }

struct mapping {
    uintptr_t below; /* end of the mapping before */
    uintptr_t low, high;
};

/* PROCMAP_QUERY of Linux 6.11, which many systems' headers do not have yet. */
struct map_query {
    uint64_t size, flags, address;
    uint64_t start, end, page_flags, page_size, offset, inode;
    uint32_t major, minor, name_size, build_id_size;
    uint64_t name, build_id;
};
#define MAP_QUERY _IOWR('f', 17, struct map_query)

/* The mapping that holds `address`, but for `below`. False too where the kernel cannot be asked for one. */
static bool query_mapping(uintptr_t address, struct mapping *mapping) {
    int maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (maps < 0)
        return false;
    struct map_query query = {.size = sizeof query, .address = address};
    bool found = ioctl(maps, MAP_QUERY, &query) == 0;
    close(maps);
    *mapping = (struct mapping){.low = query.start, .high = query.end};
    return found;
}

/* The same from the whole list: with a thousand threads to find, their start takes seconds. The
 * file is read line by line: a program can have thousands. */
static bool find_mapping(uintptr_t address, struct mapping *mapping) {
    FILE *maps = fopen("/proc/self/maps", "re");
    if (maps == NULL)
        return false;
    char *line = NULL;
    size_t room = 0;
    bool found = false;
    *mapping = (struct mapping){0};
    while (!found && getline(&line, &room, maps) > 0) {
        unsigned long low, high;
        if (sscanf(line, "%lx-%lx", &low, &high) != 2)
            continue;
        *mapping = (struct mapping){.below = mapping->high, .low = low, .high = high};
        found = low <= address && address < high;
    }
    free(line);
    fclose(maps);
    return found;
}

/* The process's first thread runs on the initial stack, except in a child that another thread forked: there it goes on
 * with that thread's stack. */
static struct {
    uintptr_t here, descriptor; /* where it stood when it was noted, and its pthread_t; 0: nothing new was noted */
    bool elsewhere;
    uintptr_t low; /* how far down the initial stack may grow */
} first_thread;

#define USUAL_STACK (UINT64_C(8) << 20) /* bytes */
#define MOST_STACK (UINT64_C(1) << 30)

void stack_note_caller(void) {
    if (gettid() != getpid())
        return;
    first_thread.here = (uintptr_t)__builtin_frame_address(0);
    first_thread.descriptor = (uintptr_t)pthread_self();
}

/* Where the kernel's mappings cannot be read (no /proc, no descriptor left): as far down as the limit lets the stack grow,
 * which nothing else may be mapped into, or as far as is usual where there is none. */
static uintptr_t low_by_limit(void) {
    struct rlimit limit;
    uintptr_t size = USUAL_STACK;
    if (getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur <= MOST_STACK)
        size = limit.rlim_cur;
    return stack_initial_high() - size;
}

/* Libc keeps a thread's descriptor at the end of the stack that it made for it; that of the initial thread lies in memory
 * of its own, and nothing is promised of where. */
void stack_learn_first(void) {
    struct mapping mapping;
    uintptr_t here = first_thread.here, descriptor = first_thread.descriptor;
    if (descriptor != 0 && find_mapping(descriptor - 1, &mapping))
        first_thread.elsewhere = mapping.low <= here && here < descriptor;
    first_thread.descriptor = 0;
    first_thread.low = find_mapping(stack_initial_high() - 1, &mapping) ? mapping.below : low_by_limit();
}

/* --- libc's own note ------------------------------------------------------------------------------------ */

/* Where in a thread's descriptor libc keeps the address and then the size of the block that its
 * stack is in, bytes; 0: not known. glibc has had both since 2.3 (`stackblock` in nptl/descr.h),
 * at places that differ from build to build. */
static uintptr_t noted_at;

#define NOTED_WITHIN 4096
#define ABOVE_MOST (UINT64_C(1) << 20) /* bytes of the block that are the descriptor and what else libc keeps there */

/* `low` to `high` is the part of the block that is stack; there may be a guard below. */
static void look_for_note(uintptr_t descriptor, uintptr_t low, uintptr_t high, size_t guard) {
    const uintptr_t *words = (const uintptr_t *)descriptor; // NOLINT: a pthread_t is the descriptor's address
    size_t count = (high - descriptor < NOTED_WITHIN ? high - descriptor : NOTED_WITHIN) / sizeof *words;
    for (size_t i = 1; i + 1 < count && noted_at == 0; i++)
        if ((words[i] == low || words[i] == low - guard) && words[i] + words[i + 1] == high)
            noted_at = i * sizeof *words;
}

void stack_learn(void) {
    pthread_t thread = pthread_self();
    pthread_attr_t attributes;
    void *low;
    size_t size, guard;
    uintptr_t descriptor = (uintptr_t)thread;
    if (noted_at != 0 || pthread_getattr_np(thread, &attributes) != 0)
        return;
    bool is_told =
        pthread_attr_getstack(&attributes, &low, &size) == 0 && pthread_attr_getguardsize(&attributes, &guard) == 0;
    pthread_attr_destroy(&attributes);
    uintptr_t first = (uintptr_t)low;
    if (is_told && descriptor % sizeof(uintptr_t) == 0 && descriptor - first < size)
        look_for_note(descriptor, first, first + size, guard);
}

/* A thread's descriptor lies at the end of the block; what is above it is no stack. */
static bool read_note(const struct reader *reader, uintptr_t descriptor, uintptr_t *low) {
    uint64_t block, size;
    if (noted_at == 0 || !load_word(reader, descriptor + noted_at, &block) ||
        !load_word(reader, descriptor + noted_at + sizeof(uintptr_t), &size))
        return false;
    if (block == 0 || descriptor - block >= size || block + size - descriptor > ABOVE_MOST)
        return false;
    *low = block;
    return true;
}

void stack_find(const struct reader *reader, int32_t tid, uintptr_t thread_id, uintptr_t *low, uintptr_t *high) {
    struct mapping mapping;
    bool initial = tid == getpid() && !first_thread.elsewhere;
    *low = *high = 0;
    if (initial) {
        *low = first_thread.low;
        *high = stack_initial_high();
    } else if (read_note(reader, thread_id, low)) {
        *high = thread_id;
    } else if (query_mapping(thread_id - 1, &mapping) || find_mapping(thread_id - 1, &mapping)) {
        *low = mapping.low;
        *high = thread_id;
    }
}
