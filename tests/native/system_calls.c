/* The core with every system call of a read announced, so that memory can change between any two of them. To be linked
 * with --wrap=syscall. */
#define _GNU_SOURCE /* the numbers */
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "arguments.h"

/* Called with the first address that is about to be read, and with how many pieces. */
void (*before_read)(uintptr_t address, uint64_t pieces);

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...) {
    if (number != SYS_process_vm_readv && number != SYS_process_vm_writev)
        abort(); /* how many arguments it has is not known here */
    long arguments[6];
    va_list list;
    va_start(list, number);
    take_arguments(arguments, list);
    va_end(list);
    int read = number == SYS_process_vm_readv ? 3 : 1; /* the pieces that are read; where they go is the other one */
    const struct iovec *pieces = (const struct iovec *)arguments[read]; // NOLINT: an address on purpose
    before_read((uintptr_t)pieces->iov_base, (uint64_t)arguments[read + 1]);
    return __real_syscall(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
}
