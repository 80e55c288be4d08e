/* Guarded loads, one function for each width, and the table that tells the fault handler of them. */
#define _GNU_SOURCE /* register names */
#include "load.h"

#include <ucontext.h>

extern const struct load_site __start_spprof_loads[] __attribute__((visibility("hidden")));
extern const struct load_site __stop_spprof_loads[] __attribute__((visibility("hidden")));

bool try_byte(const struct reader *reader, uintptr_t address, uint64_t *value) {
    return load_byte(reader, address, value);
}

bool try_int(const struct reader *reader, uintptr_t address, uint64_t *value) {
    return load_int(reader, address, value);
}

bool try_word(const struct reader *reader, uintptr_t address, uint64_t *value) {
    return load_word(reader, address, value);
}

bool try_link(const struct reader *reader, uintptr_t address, uint64_t *value) {
    return load_link(reader, address, value);
}

int site_count(void) { return (int)(__stop_spprof_loads - __start_spprof_loads); }

uintptr_t site_instruction(int number) {
    const struct load_site *site = &__start_spprof_loads[number];
    return (uintptr_t)&site->instruction + (intptr_t)site->instruction;
}

uintptr_t site_landing(int number) {
    const struct load_site *site = &__start_spprof_loads[number];
    return (uintptr_t)&site->landing + (intptr_t)site->landing;
}

/* Where execution would go on after a fault at `counter`; 0 where the fault is not a load's. */
uintptr_t recovered(uintptr_t counter) {
    ucontext_t context = {0};
#if defined(__x86_64__)
    context.uc_mcontext.gregs[REG_RIP] = (greg_t)counter;
    bool recovered = load_recover(&context);
    uintptr_t now = (uintptr_t)context.uc_mcontext.gregs[REG_RIP];
#else
    context.uc_mcontext.pc = counter;
    bool recovered = load_recover(&context);
    uintptr_t now = context.uc_mcontext.pc;
#endif
    return recovered ? now : now == counter ? 0 : 1; /* 1: changed though it was not one of ours */
}
