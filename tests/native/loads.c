/* Guarded loads, one function for each width, and the table that tells the fault handler of them. */
#define _GNU_SOURCE /* register names */
#include "load.h"

#include <signal.h>
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

static struct sigaction former;
static volatile int taken;

/* As faulthandler does it: the former owner gets the signal back, and then the signal. */
static void give_back_and_send_again(int signal) {
    taken++;
    sigaction(signal, &former, NULL);
    raise(signal);
}

/* A load from a page that is not there, by a thread that looks or does not, where a neighbour has put its handler before
 * ours. Returns how often that one ran; negative where the load gave a value. */
int load_behind_a_neighbour(const struct reader *reader, uintptr_t address, uint64_t *value, bool looking, int signal) {
    struct sigaction neighbour = {.sa_handler = give_back_and_send_again, .sa_flags = SA_NODEFER};
    taken = 0;
    sigaction(signal, &neighbour, &former);
    load_looking = looking;
    bool done = load_word(reader, address, value);
    load_looking = false;
    return done ? -1 : taken;
}

/* From here on this thread is one that looks. */
void look(void) { load_looking = true; }

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
