/* The core with files whose opening is watched: by whose table of descriptors. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "arguments.h"

/* A descriptor of the program's that stays open: it is one in the program's table alone. */
int sentinel = -1;

/* Files opened in the program's table, those of them that have a thread's name, and files opened in another. */
atomic_uint in_the_programs, names_in_the_programs, in_another;

/* No thread gets a table of its own. */
bool forbidden;

/* There is no /proc. */
bool no_proc;

static void note(const char *path) {
    int error = errno;
    bool ours = fcntl(sentinel, F_GETFD) >= 0;
    atomic_fetch_add(ours ? &in_the_programs : &in_another, 1);
    if (ours && strstr(path, "/comm") != NULL)
        atomic_fetch_add(&names_in_the_programs, 1);
    errno = error;
}

__attribute__((visibility("hidden"))) int open(const char *path, int flags, ...) {
    note(path);
    if (no_proc) {
        errno = ENOENT;
        return -1;
    }
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, 0);
}

__attribute__((visibility("hidden"))) FILE *fopen(const char *path, const char *mode) {
    FILE *(*real)(const char *, const char *);
    *(void **)&real = dlsym(RTLD_DEFAULT, "fopen");
    note(path);
    errno = ENOENT;
    return no_proc ? NULL : real(path, mode);
}

__attribute__((visibility("hidden"))) long syscall(long number, ...) {
    long arguments[6];
    va_list list;
    va_start(list, number);
    take_arguments(arguments, list);
    va_end(list);
    if (number == SYS_close_range && forbidden) {
        errno = ENOSYS;
        return -1;
    }
    long (*real)(long, ...);
    *(void **)&real = dlsym(RTLD_DEFAULT, "syscall");
    return real(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
}
