#define _GNU_SOURCE /* register names, process_vm_readv */
#include "load.h"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

/* The table's ends, from the linker. */
extern const struct load_site __start_spprof_loads[] __attribute__((visibility("hidden")));
extern const struct load_site __stop_spprof_loads[] __attribute__((visibility("hidden")));

#if defined(__x86_64__)
#define PROGRAM_COUNTER(context) ((context)->uc_mcontext.gregs[REG_RIP])
#define STACK_POINTER(context) ((context)->uc_mcontext.gregs[REG_RSP])
#define RED_ZONE 128 /* bytes below the stack pointer that a function may use (System V ABI) */
#elif defined(__aarch64__)
#define PROGRAM_COUNTER(context) ((context)->uc_mcontext.pc)
#define STACK_POINTER(context) ((context)->uc_mcontext.sp)
#define RED_ZONE 0
#endif

__thread volatile bool load_looking __attribute__((tls_model("initial-exec")));

bool load_recover(void *ucontext) {
    ucontext_t *context = ucontext;
    uintptr_t counter = (uintptr_t)PROGRAM_COUNTER(context);
    for (const struct load_site *site = __start_spprof_loads; site < __stop_spprof_loads; site++) {
        if (counter != (uintptr_t)&site->instruction + (intptr_t)site->instruction)
            continue;
        PROGRAM_COUNTER(context) = (uintptr_t)&site->landing + (intptr_t)site->landing;
        return true;
    }
    return false;
}

/* Nothing but a fault's handler can run, and raise, in the midst of a thread's loads. */
bool load_sent_again(const void *siginfo) {
    const siginfo_t *info = siginfo;
    return load_looking && info->si_code == SI_TKILL;
}

uintptr_t interrupted_stack(const void *ucontext) {
    const ucontext_t *context = ucontext;
    return (uintptr_t)STACK_POINTER(context) - RED_ZONE;
}

bool read_by_syscall(void *context, uintptr_t address, unsigned size, uint64_t *value) {
    (void)context;
    *value = 0;
    struct iovec to = {.iov_base = value, .iov_len = size};
    struct iovec from = {.iov_base = (void *)address, .iov_len = size}; // NOLINT: an address on purpose
    return syscall(SYS_process_vm_readv, getpid(), &to, 1UL, &from, 1UL, 0UL) == (long)size;
}

bool copy_by_syscall(const struct iovec *from, size_t count, void *to, size_t size) {
    struct iovec whole = {.iov_base = to, .iov_len = size};
    return syscall(SYS_process_vm_writev, getpid(), from, count, &whole, 1UL, 0UL) == (long)size;
}
