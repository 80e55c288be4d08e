/* Calls the handlers as the kernel would, and watches them: an allocation while one runs ends the process. What a thread
 * has used of the processor is what a test says, where it says something.
 *
 * The watch works where this library is preloaded (LD_PRELOAD), so that its malloc is everybody's. */
#define _GNU_SOURCE /* register names, RTLD_NEXT */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "handler.h"
#include "signals.h"

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void __libc_free(void *memory);

static __thread bool watched __attribute__((tls_model("initial-exec")));

static void look(void) {
    if (watched)
        abort();
}

void *malloc(size_t size) {
    look();
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    look();
    return __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size) {
    look();
    return __libc_realloc(memory, size);
}

void free(void *memory) {
    look();
    __libc_free(memory);
}

/* What must end the process where the watch works. */
void allocate_while_watched(void) {
    void *(*volatile allocate)(size_t) = malloc;
    watched = true;
    void *memory = allocate(16);
    watched = false;
    free(memory);
}

/* What the next readings of a thread's CPU clock give, nanoseconds, or a negative errno value; after them the real clock. */
int64_t cpu_times[3];
unsigned cpu_times_left;

/* The core's calls in this library come here. */
__attribute__((visibility("hidden"))) int clock_gettime(clockid_t clock, struct timespec *time) {
    if (clock >= 0 || cpu_times_left == 0) /* those of threads are negative */
        return (int)syscall(SYS_clock_gettime, clock, time);
    int64_t told = cpu_times[3 - cpu_times_left--];
    if (told < 0) {
        errno = (int)-told;
        return -1;
    }
    *time = (struct timespec){.tv_sec = told / 1000000000, .tv_nsec = told % 1000000000};
    return 0;
}

#if defined(__x86_64__)
#define STACK_POINTER(context) ((context)->uc_mcontext.gregs[REG_RSP])
#else
#define STACK_POINTER(context) ((context)->uc_mcontext.sp)
#endif

/* What the core's timers carry. */
uint64_t tick_value_of(uint32_t slot, uint32_t lease) { return tick_value(slot, lease); }

#define MARK 1234

/* What stands in the kernel for the signal, which is ours, called as by a neighbour in front of us. */
static int call_handler(int signal, siginfo_t *info, ucontext_t *context) {
    struct sigaction present;
    if (sigaction(signal, NULL, &present) != 0)
        abort();
    errno = MARK;
    watched = true;
    present.sa_sigaction(signal, info, context);
    watched = false;
    return errno;
}

/* Delivers SIGPROF; returns what errno is afterwards: MARK where the handler has kept it. */
int deliver(int code, uint64_t value, int overrun, uintptr_t stack_pointer, int blocked) {
    siginfo_t info = {.si_signo = SIGPROF, .si_code = code};
    info.si_value.sival_ptr = (void *)(uintptr_t)value; // NOLINT: a number on purpose
    info.si_overrun = overrun;
    ucontext_t context;
    memset(&context, 0, sizeof context);
    pthread_sigmask(SIG_SETMASK, NULL, &context.uc_sigmask);
    STACK_POINTER(&context) = (__typeof__(STACK_POINTER(&context)))stack_pointer;
    if (blocked != 0)
        sigaddset(&context.uc_sigmask, blocked);
    return call_handler(SIGPROF, &info, &context);
}

/* The same for a fault that no guarded load made. */
int deliver_foreign_fault(void) {
    siginfo_t info = {.si_signo = SIGSEGV, .si_code = SEGV_MAPERR};
    ucontext_t context;
    memset(&context, 0, sizeof context);
    pthread_sigmask(SIG_SETMASK, NULL, &context.uc_sigmask);
    return call_handler(SIGSEGV, &info, &context);
}

static int calls;

static void spoil_errno(int signal) {
    calls += signal == SIGPROF || signal == SIGSEGV;
    errno = 1;
}

/* Takes the signals from an owner that changes errno. */
void take_from_an_owner(void) {
    struct sigaction owner = {.sa_handler = spoil_errno};
    sigaction(SIGPROF, &owner, NULL);
    sigaction(SIGSEGV, &owner, NULL);
    if (signals_take(SIGPROF, handler_on_profile_signal) != 0 || signals_take(SIGSEGV, handler_on_fault) != 0)
        abort();
}

int owner_calls(void) { return calls; }

/* Uses CPU time until that many signals have come; returns what errno is then, or at once where it is not kept. 0 where
 * no signal comes. */
int spin(const struct slot *slot, uint64_t runs) {
    clock_t end = clock() + 20 * CLOCKS_PER_SEC;
    errno = MARK;
    while (errno == MARK && slot->counters.handler_runs < runs)
        if (clock() > end)
            return 0;
    return errno;
}
