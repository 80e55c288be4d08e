/* Owners of SIGSEGV and of the signal that asks threads that never give them back: each keeps what it found and passes on
 * to it what is not its own, the first by calling it, the second by putting it back and sending the
 * signal again. As write barriers and pagers do, the first makes a page writable on which a thread
 * faults, and returns.
 *
 * `chained_take` is called once in a process and once more in a session, so that owners come before
 * and during sessions. The handlers may run on any thread.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#define PAGE 4096

/* [owner][0: SIGSEGV, 1: the signal that asks]: what it found the first time; written before its handler is
 * installed. */
static struct sigaction found[2][2];
static int has_found[2][2];
static int asks;              /* number of the second; chained_take writes, before any handler is installed */
static _Atomic(char *) pages; /* of all threads: one each */
static atomic_int pages_given;
#define PAGES 64

/* What the calling thread has sent and mended: its own, read by its own handlers. */
static __thread volatile int mended __attribute__((tls_model("initial-exec")));
static __thread volatile int received[2] __attribute__((tls_model("initial-exec")));
static __thread char *volatile page __attribute__((tls_model("initial-exec")));

static void call(const struct sigaction *action, int signal, siginfo_t *info, void *context) {
    if (action->sa_handler == SIG_DFL) {
        sigaction(signal, action, NULL);
        raise(signal);
    } else if (action->sa_flags & SA_SIGINFO) {
        action->sa_sigaction(signal, info, context);
    } else if (action->sa_handler != SIG_IGN) {
        action->sa_handler(signal);
    }
}

static void mend_or_call(int signal, siginfo_t *info, void *context) {
    uintptr_t distance = (uintptr_t)info->si_addr - (uintptr_t)page;
    if (page == NULL || info->si_code <= 0 || distance >= PAGE) {
        call(&found[0][0], signal, info, context);
        return;
    }
    mended++;
    mprotect(page, PAGE, PROT_READ | PROT_WRITE);
}

/* Where no room is left for what a signal has to say (RLIMIT_SIGPENDING), the kernel makes it one of no sender. */
static int is_sent(const siginfo_t *info) {
    return info->si_code == SI_TKILL || (info->si_code == SI_USER && info->si_pid == 0);
}

static void count_and_call(int signal, siginfo_t *info, void *context) {
    received[0] += is_sent(info);
    if (found[0][1].sa_handler != SIG_DFL)
        call(&found[0][1], signal, info, context);
}

/* The faults of others: it is in front of the first, and is none's but to pass on. */
static void put_back_and_send(int signal, siginfo_t *info, void *context) {
    (void)context;
    struct sigaction own;
    sigaction(signal, &found[1][0], &own);
    if (info->si_code <= 0)
        raise(signal);
    /* A fault happens again, and meets the other. The next call of chained_take puts this one in
     * front again. */
}

static void count_and_call_second(int signal, siginfo_t *info, void *context) {
    received[1] += is_sent(info);
    call(&found[1][1], signal, info, context);
}

static int install(int owner, int signal, void (*handler)(int, siginfo_t *, void *)) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER | SA_RESTART};
    int which = signal != SIGSEGV;
    if (!has_found[owner][which] && sigaction(signal, NULL, &found[owner][which]) != 0)
        return -1;
    has_found[owner][which] = 1;
    return sigaction(signal, &action, NULL);
}

/* The first owner, 0, or the second, 1. 0, or -1 where there is no memory. */
int chained_take(int owner, int asking) {
    asks = asking;
    if (atomic_load(&pages) == NULL) {
        char *made = mmap(NULL, PAGES * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (made == MAP_FAILED)
            return -1;
        atomic_store(&pages, made);
    }
    int error = install(owner, SIGSEGV, owner == 0 ? mend_or_call : put_back_and_send);
    return error == 0 ? install(owner, asks, owner == 0 ? count_and_call : count_and_call_second) : error;
}

/* Writes `times` times to a page that cannot be written to; how often a handler had to make it
 * writable. */
int chained_fault(int times) {
    if (page == NULL)
        page = atomic_load(&pages) + (size_t)(atomic_fetch_add(&pages_given, 1) % PAGES) * PAGE;
    mended = 0;
    for (volatile int i = 0; i < times; i++) {
        mprotect(page, PAGE, PROT_READ);
        *(volatile char *)page = (char)i;
    }
    return mended;
}

/* Sends the calling thread that signal so many times, and waits for each. How many the owner has had: a real-time signal does
 * not become one with a tick of ours. */
int chained_send(int owner, int times) {
    int had = 0;
    for (int i = 0; i < times; i++) {
        received[owner] = 0;
        if (raise(asks) != 0)
            received[owner] = 1; /* nothing was sent: a neighbour has left no room for a signal that waits */
        had += received[owner];
    }
    return had;
}
