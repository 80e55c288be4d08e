#define _GNU_SOURCE /* gettid, getline */
#include "stack.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
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

/* The same from the whole list: with a thousand threads to find, their start takes seconds. The file is read line by line: a program can have thousands. */
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
 * with that thread's stack. Written by stack_note_caller before anyone asks. */
static bool first_thread_elsewhere;

void stack_note_caller(void) {
    /* Libc keeps a thread's descriptor at the end of the stack that it made for it; that of the initial thread lies in
     * memory of its own, and nothing is promised of where. */
    uintptr_t here = (uintptr_t)__builtin_frame_address(0), descriptor = (uintptr_t)pthread_self();
    struct mapping mapping;
    if (gettid() == getpid() && find_mapping(descriptor - 1, &mapping))
        first_thread_elsewhere = mapping.low <= here && here < descriptor;
}

void stack_find(int32_t tid, uintptr_t thread_id, uintptr_t *low, uintptr_t *high) {
    struct mapping mapping;
    bool initial = tid == getpid() && !first_thread_elsewhere;
    uintptr_t end = initial ? stack_initial_high() : thread_id;
    *low = *high = 0;
    if ((initial || !query_mapping(end - 1, &mapping)) && !find_mapping(end - 1, &mapping))
        return;
    *low = initial ? mapping.below : mapping.low; /* the initial stack may grow down to there */
    *high = end;
}
