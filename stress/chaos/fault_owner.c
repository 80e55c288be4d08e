/* A library that owns SIGSEGV for a while, as language runtimes and crash reporters do: it saves the handler that it
 * finds, passes on to it what is not its own fault, and puts it back. Its own faults are reads of one page that it has
 * protected; it comes back from them by siglongjmp.
 *
 * For one thread at a time, which calls take, read and give_back. The handler itself may run on any thread.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#define PAGE 4096

static struct sigaction former; /* written by take, before the handler is installed */
static _Atomic(char *) page;    /* written by take; read by the handler of any thread */
static __thread sigjmp_buf back __attribute__((tls_model("initial-exec")));

static void on_fault(int signal, siginfo_t *info, void *context) {
    char *own = atomic_load(&page);
    uintptr_t address = (uintptr_t)info->si_addr;
    if (info->si_code > 0 && own != NULL && address - (uintptr_t)own < PAGE)
        siglongjmp(back, 1);
    if (former.sa_flags & SA_SIGINFO) {
        former.sa_sigaction(signal, info, context);
    } else if (former.sa_handler != SIG_DFL && former.sa_handler != SIG_IGN) {
        former.sa_handler(signal);
    } else {
        sigaction(signal, &former, NULL); /* the fault comes again, and takes its course */
    }
}

/* 0, or -1 where there is no memory. */
int fault_owner_take(void) {
    if (atomic_load(&page) == NULL) {
        char *made = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (made == MAP_FAILED)
            return -1;
        atomic_store(&page, made);
    }
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaction(SIGSEGV, NULL, &former);
    return sigaction(SIGSEGV, &action, NULL);
}

/* How many of `times` reads of the protected page came back by the handler. Errors: none; a handler that is not called
 * ends the process. */
int fault_owner_read(int times) {
    volatile int caught = 0;
    for (volatile int i = 0; i < times; i++) {
        if (sigsetjmp(back, 1) == 0)
            (void)*(volatile char *)atomic_load(&page);
        else
            caught++;
    }
    return caught;
}

int fault_owner_give_back(void) { return sigaction(SIGSEGV, &former, NULL); }
