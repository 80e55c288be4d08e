/* Calls of the library from a signal handler, at any moment: within its own calls, its locks held. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/time.h>

#include "spprof.h"

/* What the handler got, and how often it ran. */
volatile sig_atomic_t handled, wrong;
volatile int expect_active; /* -1: either */

static void call_what_may_be_called(int number) {
    (void)number;
    bool active = spprof_is_active();
    uint64_t first = spprof_code_died(NULL), second = spprof_code_died(NULL);
    wrong += expect_active >= 0 && active != (bool)expect_active;
    wrong += second <= first;
    wrong += strcmp(spprof_reason_name(SPPROF_TORN), "torn") != 0;
    handled++;
}

void handle(void) {
    struct sigaction action = {.sa_handler = call_what_may_be_called, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGALRM, &action, NULL);
}

/* A sink during which the signal comes: the session's locks are held. */
void interrupted_sink(void *context, const struct spprof_sample *sample) {
    (void)context, (void)sample;
    raise(SIGUSR1);
}

/* SIGALRM every so many microseconds of real time; 0: no more. */
void signal_every(long microseconds) {
    struct itimerval time = {{0, microseconds}, {0, microseconds}};
    setitimer(ITIMER_REAL, &time, NULL);
}
