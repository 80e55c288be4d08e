#include "thunks.h"

#define THUNK_BYTES 32
#define TEXT_OF(number) #number
#define TEXT(number) TEXT_OF(number)

/* The first three arguments stay where they are; the fourth and fifth are the function's address
 * and the stack pointer. Each begins with what processors with branch protection ask of a
 * function that is called through a pointer. */
#if defined(__x86_64__)
#define THUNK "endbr64\n lea 1b(%rip), %rcx\n mov %rsp, %r8\n jmp signals_enter\n"
#elif defined(__aarch64__)
#define THUNK "hint #34 /* bti c */\n adr x3, 1b\n mov x4, sp\n b signals_enter\n"
#endif

__asm__(
    ".pushsection .text.spprof_thunks, \"ax\", %progbits\n"
    ".hidden signals_enter\n"
    ".hidden spprof_thunks\n"
    ".globl spprof_thunks\n"
    ".type spprof_thunks, %function\n"
    ".balign " TEXT(
        THUNK_BYTES) "\n"
                     "spprof_thunks:\n"
                     ".cfi_startproc\n"
                     ".rept " TEXT(THUNKS) "\n"
                                           ".balign " TEXT(
                                               THUNK_BYTES) "\n"
                                                            "1: " THUNK ".endr\n"
                                                            ".balign " TEXT(
                                                                THUNK_BYTES) "\n"
                                                                             ".cfi_endproc\n"
                                                                             ".size spprof_thunks, . - spprof_thunks\n"
                                                                             ".popsection\n");

extern const char spprof_thunks[THUNKS][THUNK_BYTES] __attribute__((visibility("hidden")));

signal_function *thunk_of(int place) {
    return (signal_function *)(uintptr_t)spprof_thunks[place]; // NOLINT: an address on purpose
}

int thunk_place(signal_function *function) {
    uintptr_t distance = (uintptr_t)function - (uintptr_t)spprof_thunks;
    bool is_one = distance < sizeof spprof_thunks && distance % THUNK_BYTES == 0;
    return is_one ? (int)(distance / THUNK_BYTES) : -1;
}

bool thunk_called_by_kernel(uintptr_t stack, const siginfo_t *info, const void *ucontext) {
#if defined(__x86_64__)
    (void)info;
    return (uintptr_t)ucontext == stack + sizeof(void *); /* behind the return address (struct rt_sigframe) */
#elif defined(__aarch64__)
    (void)ucontext;
    return (uintptr_t)info == stack; /* the frame's first member (struct rt_sigframe) */
#endif
}
