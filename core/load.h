/* Guarded loads: reads of memory that may not be there.
 *
 * A load is one labelled instruction. If it faults, the fault handler finds the instruction's address in a table, and
 * execution goes on at the load's landing: the function returns false. Matched is the address of the instruction,
 * never the address that faulted, so a fault anywhere else is never taken for one of ours.
 *
 * Where the installed fault handler is not ours, or the thread has the fault signals blocked, a reader goes through
 * process_vm_readv instead, which fails instead of faulting; harnesses put a function of their own there.
 *
 * All of this is async-signal-safe, takes no lock, and each load is wait-free.
 */
#ifndef SPPROF_LOAD_H
#define SPPROF_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct iovec; /* sys/uio.h */

/* Reads `size` (1, 4 or 8) bytes at `address` into the low bytes of *value. False where they cannot be read. */
typedef bool read_function(void *context, uintptr_t address, unsigned size, uint64_t *value);

/* How to read. `through` NULL means: directly, guarded by the fault handler. */
struct reader {
    read_function *through;
    void *context;
};

/* A read_function (the context is not used): this process's own memory, by process_vm_readv. Changes errno. */
bool read_by_syscall(void *context, uintptr_t address, unsigned size, uint64_t *value);

/* Copies `count` (1 to COPY_PIECES) pieces of this process's own memory one after the other to `to`, which has room for
 * the `size` bytes that they are together. False where any of it cannot be read. The kernel takes the lock of the address
 * space before it copies and not between the pieces, so they are read within as short a time as guarded loads would take,
 * unless a page has to be brought in. Changes errno. */
bool copy_by_syscall(const struct iovec *from, size_t count, void *to, size_t size);
#define COPY_PIECES 1024 /* the kernel's UIO_MAXIOV */

/* To be called first by the handler of SIGSEGV and SIGBUS. True where the fault was a guarded load's: `ucontext` then
 * continues at its landing and the handler must return. */
bool load_recover(void *ucontext);

/* The lowest address of its C stack that the code which a signal interrupted may be using. */
uintptr_t interrupted_stack(const void *ucontext);

/* One entry of the table of loads: both are distances from the field itself, so the table needs no relocation. */
struct load_site {
    int32_t instruction;
    int32_t landing;
};

#define LOAD_SITE                                                                                                      \
    ".pushsection spprof_loads, \"aR\"\n"                                                                              \
    ".balign 4\n"                                                                                                      \
    ".long 1b - .\n"                                                                                                   \
    ".long %l[fault] - .\n"                                                                                            \
    ".popsection\n"

/* What differs between processors stands here and in load.c.
 * ADDRESS_HIGH: the first address that no user space reaches. 47 bits on x86-64, where more has to be asked for; up to 52
 * on aarch64, where the kernel gives 48 unless asked. A pointer with a tag in its top byte, or signed, is past it; one
 * between what the kernel gives and this is not mapped.
 * LOAD_OPERAND: the constraint for memory that the load can address, which spares an addition where offsets are added. */
#if !defined(__linux__) || !defined(__LP64__) || defined(__AARCH64EB__)
#define LOAD_UNSUPPORTED
#elif defined(__x86_64__)
#define ADDRESS_HIGH (UINT64_C(1) << 47)
#define LOAD_OPERAND "m"
#define LOAD_8 "movzbl %1, %k0"
#define LOAD_32 "movl %1, %k0"
#define LOAD_64 "movq %1, %0"
#define LOAD_64_ACQUIRE LOAD_64 /* every load on x86-64 is an acquire */
#elif defined(__aarch64__)
#define ADDRESS_HIGH (UINT64_C(1) << 52)
#define LOAD_OPERAND "Q" /* a base register alone: ldar takes nothing else */
#define LOAD_8 "ldrb %w0, %1"
#define LOAD_32 "ldr %w0, %1"
#define LOAD_64 "ldr %0, %1"
#define LOAD_64_ACQUIRE "ldar %0, %1"
#else
#define LOAD_UNSUPPORTED
#endif
#ifdef LOAD_UNSUPPORTED
#error "spprof runs on Linux on x86-64 and on 64-bit ARM (aarch64), and this compiler makes code for something else"
#endif

#if !defined(__CPROVER__)
#define GUARDED_LOAD(name, instruction, size, loaded, address)                                                         \
    const unsigned char (*there)[size] = (const void *)address; /* NOLINT: an address on purpose */                    \
    __asm__ goto("1: " instruction " /* " #name " */\n" LOAD_SITE : "=r"(loaded) : LOAD_OPERAND(*there) : : fault)
#else /* a prover that knows no assembly, and reads through a function of its own: this is never reached */
#define GUARDED_LOAD(name, instruction, size, loaded, address)                                                         \
    __CPROVER_assert(0, "an unguarded reader");                                                                        \
    if ((loaded = address) != 0)                                                                                       \
    goto fault
#endif

#define DEFINE_LOAD(name, instruction, size)                                                                           \
    static inline __attribute__((always_inline)) bool name(const struct reader *reader, uintptr_t address,             \
                                                           uint64_t *value) {                                          \
        if (__builtin_expect(reader->through != NULL, 0))                                                              \
            return reader->through(reader->context, address, size, value);                                             \
        uint64_t loaded;                                                                                               \
        GUARDED_LOAD(name, instruction, size, loaded, address);                                                        \
        *value = loaded;                                                                                               \
        return true;                                                                                                   \
    fault:                                                                                                             \
        return false;                                                                                                  \
    }

DEFINE_LOAD(load_byte, LOAD_8, 1)
DEFINE_LOAD(load_int, LOAD_32, 4)
DEFINE_LOAD(load_word, LOAD_64, 8)
/* A link of a frame chain: what the writer stored before it published the link is seen after it, where the writer
 * published it with a release. CPython does not always; safety comes from validation, not from this. */
DEFINE_LOAD(load_link, LOAD_64_ACQUIRE, 8)

/* Whether the calling thread is making guarded loads: it writes, its fault handler reads. A neighbour may put a fault handler
 * before ours in their midst, and so take a load's fault for one of the program's. */
extern __thread volatile bool load_looking __attribute__((tls_model("initial-exec")));

/* To be called second. True where such a neighbour gave the signal back to its former owner, who is the caller, and sent it
 * again to get past itself, as faulthandler does: the handler must return, and the load is made again. */
bool load_sent_again(const void *siginfo);

#endif
