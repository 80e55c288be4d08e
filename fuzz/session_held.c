/* core/held.c as the session target has it, in its place: there is one thread, which is the session's and all others' too,
 * and what is sent to it is the program's. */
#include "held.h"

#include <stddef.h>

void held_begin(void) {
    sigset_t faults;
    sigemptyset(&faults);
    sigaddset(&faults, SIGSEGV);
    sigaddset(&faults, SIGBUS);
    pthread_sigmask(SIG_UNBLOCK, &faults, NULL);
}

void held_rest(void) {}
void held_go_on(void) {}

bool held_take(int signal, const siginfo_t *info, void *ucontext) {
    (void)signal;
    (void)info;
    (void)ucontext;
    return false;
}
