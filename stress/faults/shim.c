/* What the core calls in place of libc (build.sh renames the calls in its objects): each fails where a fault is planned for it, does
 * its work otherwise, and notes what was handed out. A file is closed though close says EIO, as Linux does it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "faults.h"
#include "kernel.h"

#define SHIM(result, name, ...)                                                                                        \
    result fault_##name(__VA_ARGS__);                                                                                  \
    result fault_##name(__VA_ARGS__)

static void hold(long *what, long change) { __atomic_add_fetch(what, change, __ATOMIC_RELAXED); }

/* --- memory ------------------------------------------------------------------------------------------ */

SHIM(void *, malloc, size_t size) {
    if (fault_due(CALL_malloc))
        return NULL;
    void *memory = malloc(size);
    hold(&holdings.blocks, memory != NULL);
    return memory;
}

SHIM(void *, calloc, size_t count, size_t size) {
    if (fault_due(CALL_calloc))
        return NULL;
    void *memory = calloc(count, size);
    hold(&holdings.blocks, memory != NULL);
    return memory;
}

SHIM(void *, aligned_alloc, size_t alignment, size_t size) {
    if (fault_due(CALL_aligned_alloc))
        return NULL;
    void *memory = aligned_alloc(alignment, size);
    hold(&holdings.blocks, memory != NULL);
    return memory;
}

SHIM(void *, realloc, void *before, size_t size) {
    if (fault_due(CALL_realloc))
        return NULL;
    void *memory = realloc(before, size);
    hold(&holdings.blocks, before == NULL && memory != NULL);
    return memory;
}

SHIM(void, free, void *memory) {
    hold(&holdings.blocks, -(memory != NULL));
    free(memory);
}

SHIM(void *, mmap, void *at, size_t size, int protection, int flags, int file, off_t offset) {
    if (fault_due(CALL_mmap))
        return MAP_FAILED;
    void *memory = mmap(at, size, protection, flags, file, offset);
    hold(&holdings.mappings, memory != MAP_FAILED);
    return memory;
}

SHIM(int, munmap, void *at, size_t size) {
    if (fault_due(CALL_munmap)) {
        int error = errno;
        holdings.refused_unmaps++;
        munmap(at, size); /* who was refused must not use it any more; millions of refusals must not fill the memory */
        errno = error;
        return -1;
    }
    hold(&holdings.mappings, -1);
    return munmap(at, size);
}

/* --- signals, threads, the process --------------------------------------------------------------------- */

static struct {
    int signal; /* 0: no neighbour insists on one */
    struct sigaction action;
} insisting;

void faults_insist(int signal, const struct sigaction *neighbour) {
    insisting.signal = neighbour != NULL ? signal : 0;
    if (neighbour != NULL)
        insisting.action = *neighbour;
}

SHIM(int, sigaction, int number, const struct sigaction *new, struct sigaction *old) {
    if (fault_due(CALL_sigaction)) {
        holdings.refused_actions++; /* a question too: who does not know whose handler it is must leave it */
        return -1;
    }
    int result = sigaction(number, new, old);
    if (new != NULL && number == insisting.signal)
        sigaction(number, &insisting.action, NULL);
    return result;
}

/* The session's thread, for which the one that made it waits until it waits itself. */
static struct {
    void *(*function)(void *);
    int maker;
} made;

static void *run_made(void *argument) {
    fault_waiting = made.maker;
    return made.function(argument);
}

SHIM(int, pthread_create, pthread_t *thread, const pthread_attr_t *attributes, void *(*function)(void *),
     void *argument) {
    if (fault_due(CALL_pthread_create))
        return errno;
    made.function = function;
    made.maker = gettid();
    return kernel_thread(thread, attributes, run_made, argument);
}

SHIM(int, pthread_join, pthread_t thread, void **result) {
    (void)result; /* the session's thread has none */
    return kernel_join(thread);
}

SHIM(int, pthread_getcpuclockid, pthread_t thread, clockid_t *clock) {
    return fault_due(CALL_pthread_getcpuclockid) ? errno : pthread_getcpuclockid(thread, clock);
}

SHIM(int, pthread_cond_timedwait, pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until) {
    fault_waiting = 0;
    return kernel_wait(condition, mutex, until);
}

SHIM(int, pthread_cond_signal, pthread_cond_t *condition) {
    kernel_wake();
    return pthread_cond_signal(condition);
}

SHIM(int, pthread_atfork, void (*prepare)(void), void (*parent)(void), void (*child)(void)) {
    return fault_due(CALL_pthread_atfork) ? errno : kernel_atfork(prepare, parent, child);
}

SHIM(ssize_t, getrandom, void *bytes, size_t count, unsigned flags) {
    return fault_due(CALL_getrandom) ? -1 : getrandom(bytes, count, flags);
}

SHIM(unsigned long, getauxval, unsigned long type) { return fault_due(CALL_getauxval) ? 0 : getauxval(type); }

SHIM(void *, dlsym, void *library, const char *name) { return fault_due(CALL_dlsym) ? NULL : dlsym(library, name); }

/* CLOCK_MONOTONIC is there in every Linux; the clock of a thread is there while the thread is. */
SHIM(int, clock_getres, clockid_t clock, struct timespec *time) {
    return fault_due(CALL_clock_getres) ? -1 : kernel_clock_step(clock, time);
}

SHIM(int, clock_gettime, clockid_t clock, struct timespec *time) {
    if (clock != CLOCK_MONOTONIC && fault_due(CALL_clock_gettime))
        return -1;
    return kernel_clock(clock, time);
}

/* --- files --------------------------------------------------------------------------------------------- */

SHIM(int, open, const char *path, int flags, ...) {
    if (fault_due(CALL_open))
        return -1;
    int file = kernel_open(path, flags);
    hold(&holdings.files, file >= 0);
    return file;
}

SHIM(ssize_t, read, int file, void *bytes, size_t count) {
    return fault_due(CALL_read) ? -1 : read(file, bytes, count);
}

SHIM(int, ioctl, int file, unsigned long request, ...) {
    if (fault_due(CALL_ioctl))
        return -1;
    va_list arguments;
    va_start(arguments, request);
    int result = ioctl(file, request, va_arg(arguments, void *));
    va_end(arguments);
    return result;
}

SHIM(int, close, int file) {
    bool failing = fault_due(CALL_close);
    int error = errno;
    hold(&holdings.files, -1);
    int result = close(file);
    if (failing)
        errno = error;
    return failing ? -1 : result;
}

SHIM(FILE *, fopen, const char *path, const char *mode) {
    if (fault_due(CALL_fopen))
        return NULL;
    FILE *file = kernel_fopen(path, mode);
    hold(&holdings.files, file != NULL);
    return file;
}

SHIM(int, fclose, FILE *file) {
    bool failing = fault_due(CALL_fclose);
    int error = errno;
    hold(&holdings.files, -1);
    int result = fclose(file);
    if (failing)
        errno = error;
    return failing ? EOF : result;
}

/* The line's memory is libc's at first and the caller's to free, so it is noted here. */
SHIM(ssize_t, __getdelim, char **line, size_t *room, int end, FILE *file) {
    if (fault_due(CALL___getdelim))
        return -1;
    bool had = *line != NULL;
    ssize_t length = __getdelim(line, room, end, file);
    hold(&holdings.blocks, !had && *line != NULL);
    return length;
}

/* --- syscall ------------------------------------------------------------------------------------------- */

static bool system_call_due(long number) {
    switch (number) {
    case SYS_timer_create:
        return fault_due(CALL_timer_create);
    case SYS_timer_settime:
        return fault_due(CALL_timer_settime);
    case SYS_timer_delete:
        if (!fault_due(CALL_timer_delete))
            return false;
        holdings.refused_deletes++;
        return true;
    case SYS_process_vm_readv:
        return fault_due(CALL_process_vm_readv);
    case SYS_process_vm_writev:
        return fault_due(CALL_process_vm_writev);
    case SYS_close_range:
        return fault_due(CALL_close_range);
    case SYS_timer_gettime:
    case SYS_tgkill:
    case SYS_rt_tgsigqueueinfo:
    case SYS_rt_sigqueueinfo:
    case SYS_rt_sigprocmask:
    case SYS_gettid:
        return false;
    default:
        fprintf(stderr, "system call %ld is not in stress/faults/calls.def; add it there and to shim.c\n", number);
        abort();
    }
}

/* As many as are passed: more must not be read. */
static int arguments_of(long number) {
    switch (number) {
    case SYS_gettid:
        return 0;
    case SYS_timer_delete:
        return 1;
    case SYS_timer_gettime:
        return 2;
    case SYS_timer_settime:
        return 4;
    case SYS_process_vm_readv:
    case SYS_process_vm_writev:
        return 6;
    default:
        return 3;
    }
}

long fault_syscall(long number, ...);
long fault_syscall(long number, ...) {
    long arguments[6] = {0};
    va_list list;
    va_start(list, number);
    for (int i = 0; i < arguments_of(number); i++)
        arguments[i] = va_arg(list, long);
    va_end(list);
    return system_call_due(number) ? -1 : kernel_system_call(number, arguments);
}
