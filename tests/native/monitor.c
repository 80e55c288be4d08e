/* What ticks.c does, for the monitor: its timers only count how often they ask, and a thread may go round in step with its
 * looks. */
#include "ticks.c"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>

/* How often a timer was set, the number of the last, and whether it is to signal once its thread runs; the error that setting
 * one gives. */
unsigned asked, asked_timer, asked_later;
int ask_error;
unsigned has_fired; /* any timer that was set */

__attribute__((visibility("hidden"))) long syscall(long number, ...) {
    long arguments[6];
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        arguments[i] = va_arg(list, long);
    va_end(list);
    if (number == SYS_timer_gettime) {
        *(struct itimerspec *)arguments[1] = (struct itimerspec){.it_value = {.tv_nsec = !has_fired}}; // NOLINT
        return 0;
    }
    if (number == SYS_timer_settime) {
        asked++;
        asked_timer = (unsigned)arguments[0];
        asked_later = !(arguments[1] & TIMER_ABSTIME);
        errno = ask_error;
        return ask_error == 0 ? 0 : -1;
    }
    long (*real)(long, ...);
    *(void **)&real = dlsym(RTLD_DEFAULT, "syscall");
    return real(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
}

/* How often the list of the process's mappings was to be opened, and whether there is none. */
unsigned maps_opened;
bool no_maps;

static bool is_there(const char *path) {
    if (strcmp(path, "/proc/self/maps") != 0)
        abort();
    maps_opened++;
    errno = EMFILE;
    return !no_maps;
}

__attribute__((visibility("hidden"))) int open(const char *path, int flags, ...) {
    return is_there(path) ? (int)syscall(SYS_openat, AT_FDCWD, path, flags, 0) : -1;
}

__attribute__((visibility("hidden"))) FILE *fopen(const char *path, const char *mode) {
    FILE *(*real)(const char *, const char *);
    *(void **)&real = dlsym(RTLD_DEFAULT, "fopen");
    return is_there(path) ? real(path, mode) : NULL;
}

/* A thread that goes round in step with the looks: whenever the word at `address` is read it is `seen`, and at all other
 * times it is `otherwise`. */
struct in_step {
    uintptr_t address;
    uint64_t seen, otherwise;
};

bool read_in_step(void *context, uintptr_t address, unsigned size, uint64_t *value) {
    const struct in_step *step = context;
    bool turns = address == step->address;
    if (turns)
        *(volatile uint64_t *)address = step->seen; // NOLINT: an address on purpose
    bool read = read_by_syscall(NULL, address, size, value);
    if (turns)
        *(volatile uint64_t *)address = step->otherwise; // NOLINT: an address on purpose
    return read;
}
