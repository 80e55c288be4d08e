/* A libc that does not tell where a thread's stack is, for a program that this is loaded into first. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>

int pthread_getattr_np(pthread_t thread, pthread_attr_t *attributes) {
    (void)thread, (void)attributes;
    return ENOSYS;
}
