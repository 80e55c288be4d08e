/* `chain SCENARIO`: takes a signal over from an owner and shows whether the owner still gets it. Each scenario is one
 * function; what it prints, and how the process ends, is the answer. */
#define _GNU_SOURCE /* struct sigaction's members */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "handler.h"
#include "ordinary/install.h"

static volatile sig_atomic_t calls;
static sigjmp_buf landing;

static void own(int signal, struct sigaction *owner) {
    if (sigaction(signal, owner, NULL) != 0)
        abort();
}

static void take(int signal) {
    signal_function *ours = signal == SIGPROF ? handler_on_profile_signal : handler_on_fault;
    if (install_handler(signal, ours) != 0 || !signals_installed(signal, ours))
        abort();
}

static void fault(void) {
    volatile int *volatile nowhere = NULL;
    *nowhere = 1;
}

static bool blocked(int signal) {
    sigset_t set;
    pthread_sigmask(SIG_SETMASK, NULL, &set);
    return sigismember(&set, signal) == 1;
}

/* --- owners -------------------------------------------------------------------------------------- */

static void one_argument(int signal) {
    calls++;
    printf("signal %d, blocked %d, other blocked %d\n", signal, blocked(signal), blocked(SIGUSR1));
}

static void three_arguments(int signal, siginfo_t *info, void *ucontext) {
    calls++;
    printf("signal %d, code %d, value %d, context %d\n", signal, info->si_code, info->si_value.sival_int,
           ucontext != NULL);
}

static void leave_by_longjmp(int signal) {
    calls++;
    siglongjmp(landing, signal);
}

/* Keeps our handler as its own former owner, as one does that was installed in between. */
static signal_function *kept;
static void call_back(int signal, siginfo_t *info, void *ucontext) {
    calls++;
    kept(signal, info, ucontext);
}

static void expect_mended(int signal, siginfo_t *info, void *ucontext) {
    (void)info;
    (void)ucontext;
    calls++;
    siglongjmp(landing, signal);
}

/* --- scenarios ------------------------------------------------------------------------------------- */

static void plain(void) {
    own(SIGPROF, &(struct sigaction){.sa_handler = one_argument});
    take(SIGPROF);
    raise(SIGPROF);
    raise(SIGPROF);
    printf("after: blocked %d\n", blocked(SIGPROF));
}

static void masked(void) {
    struct sigaction owner = {.sa_handler = one_argument, .sa_flags = SA_NODEFER};
    sigaddset(&owner.sa_mask, SIGUSR1);
    own(SIGPROF, &owner);
    take(SIGPROF);
    raise(SIGPROF);
    printf("after: blocked %d, other blocked %d\n", blocked(SIGPROF), blocked(SIGUSR1));
}

static void informed(void) {
    own(SIGPROF, &(struct sigaction){.sa_sigaction = three_arguments, .sa_flags = SA_SIGINFO});
    take(SIGPROF);
    sigqueue(getpid(), SIGPROF, (union sigval){.sival_int = 42});
}

static void ignored(void) {
    own(SIGPROF, &(struct sigaction){.sa_handler = SIG_IGN});
    take(SIGPROF);
    raise(SIGPROF);
    printf("still here\n");
}

static void default_action(void) {
    take(SIGPROF);
    raise(SIGPROF);
}

static void default_fault(void) {
    take(SIGSEGV);
    fault();
}

static void default_sent_fault(void) {
    take(SIGBUS);
    raise(SIGBUS);
}

static void ignored_fault(void) {
    own(SIGSEGV, &(struct sigaction){.sa_handler = SIG_IGN});
    take(SIGSEGV);
    fault();
}

/* The owner mends the fault, here by going elsewhere. */
static void mended_fault(void) {
    own(SIGSEGV, &(struct sigaction){.sa_sigaction = expect_mended, .sa_flags = SA_SIGINFO});
    take(SIGSEGV);
    for (int i = 0; i < 20; i++)
        if (sigsetjmp(landing, 1) == 0)
            fault();
    printf("mended %d\n", (int)calls);
}

/* A handler that was left by longjmp does not count as one that is still running. */
static void left_by_longjmp(void) {
    own(SIGPROF, &(struct sigaction){.sa_handler = leave_by_longjmp});
    take(SIGPROF);
    for (int i = 0; i < 100; i++)
        if (sigsetjmp(landing, 1) == 0)
            raise(SIGPROF);
    printf("left %d, blocked %d\n", (int)calls, blocked(SIGPROF));
}

static void count_only(int signal) {
    (void)signal;
    calls++;
}

static __attribute__((noinline)) int signal_at_each_level(int levels) {
    volatile char room[256] = {0};
    raise(SIGPROF);
    return levels == 0 ? room[0] : signal_at_each_level(levels - 1) + room[1];
}

/* Each signal finds the stack deeper than the one before, and still no handler running. */
static void deeper_each_time(void) {
    own(SIGPROF, &(struct sigaction){.sa_handler = count_only});
    take(SIGPROF);
    signal_at_each_level(99);
    printf("calls %d\n", (int)calls);
}

static __attribute__((noinline)) int fault_at_each_level(int levels) {
    volatile char room[256] = {0};
    if (sigsetjmp(landing, 1) == 0)
        fault();
    return levels == 0 ? room[0] : fault_at_each_level(levels - 1) + room[1];
}

/* The same with an owner that leaves by longjmp: what it left behind looks like a handler that is still running. */
static void mended_deeper_each_time(void) {
    own(SIGSEGV, &(struct sigaction){.sa_handler = leave_by_longjmp});
    take(SIGSEGV);
    fault_at_each_level(99);
    printf("mended %d\n", (int)calls);
}

static void circle(void) {
    kept = handler_on_profile_signal;
    own(SIGPROF, &(struct sigaction){.sa_sigaction = call_back, .sa_flags = SA_SIGINFO});
    take(SIGPROF);
    raise(SIGPROF);
    int once = calls;
    raise(SIGPROF);
    printf("ended, %s, %s\n", once > 0 && once <= 2 ? "few calls" : "many calls",
           calls == 2 * once ? "the same again" : "different");
}

static void circle_of_faults(void) {
    kept = handler_on_fault;
    own(SIGSEGV, &(struct sigaction){.sa_sigaction = call_back, .sa_flags = SA_SIGINFO});
    take(SIGSEGV);
    fault();
}

/* Taken twice: the handler is not made its own former owner. */
static void taken_twice(void) {
    own(SIGPROF, &(struct sigaction){.sa_handler = one_argument});
    take(SIGPROF);
    take(SIGPROF);
    raise(SIGPROF);
    printf("calls %d\n", (int)calls);
}

static void given_back(void) {
    own(SIGPROF, &(struct sigaction){.sa_handler = one_argument});
    take(SIGPROF);
    install_restore(SIGPROF, handler_on_profile_signal);
    printf("ours %d\n", signals_installed(SIGPROF, handler_on_profile_signal));
    raise(SIGPROF);
    own(SIGPROF, &(struct sigaction){.sa_handler = SIG_IGN});
    install_restore(SIGPROF, handler_on_profile_signal); /* somebody else's now: stays */
    raise(SIGPROF);
    printf("calls %d\n", (int)calls);
}

static const struct {
    const char *name;
    void (*run)(void);
} scenarios[] = {
    {"plain", plain},
    {"masked", masked},
    {"informed", informed},
    {"ignored", ignored},
    {"default_action", default_action},
    {"default_fault", default_fault},
    {"default_sent_fault", default_sent_fault},
    {"ignored_fault", ignored_fault},
    {"mended_fault", mended_fault},
    {"left_by_longjmp", left_by_longjmp},
    {"deeper_each_time", deeper_each_time},
    {"mended_deeper_each_time", mended_deeper_each_time},
    {"circle", circle},
    {"circle_of_faults", circle_of_faults},
    {"taken_twice", taken_twice},
    {"given_back", given_back},
};

int main(int count, char **arguments) {
    setrlimit(RLIMIT_CORE, &(struct rlimit){0});
    alarm(20); /* a circle that does not end */
    for (size_t i = 0; count == 2 && i < sizeof scenarios / sizeof *scenarios; i++) {
        if (strcmp(arguments[1], scenarios[i].name) != 0)
            continue;
        scenarios[i].run();
        return 0;
    }
    return 2;
}
