/* A pool of threads that are made in C and call Python again and again, each time with another thread state. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <time.h>

#define THREADS 2

struct work {
    void (*callback)(void); /* one of ctypes, which makes the states; NULL: `function` is called, */
    void *function;         /* a Python function without arguments, with states of the pool's own */
    int calls;
    long spin, pause;   /* after each call: nanoseconds of CPU time, and asleep */
    _Atomic long lived; /* nanoseconds, all threads together; set by the pool */
};

static struct {
    int (*ensure)(void);
    void (*release)(int);
    void *(*call)(void *);
    void (*drop)(void *);
} python;

static long now(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return time.tv_sec * 1000000000L + time.tv_nsec;
}

static void call_with_own_state(void *function) {
    int state = python.ensure();
    void *result = python.call(function);
    if (result != NULL)
        python.drop(result);
    python.release(state);
}

static void *serve(void *argument) {
    struct work *work = argument;
    long began = now(CLOCK_MONOTONIC);
    for (int i = 0; i < work->calls; i++) {
        if (work->callback != NULL)
            work->callback();
        else
            call_with_own_state(work->function);
        for (long end = now(CLOCK_THREAD_CPUTIME_ID) + work->spin; now(CLOCK_THREAD_CPUTIME_ID) < end;)
            continue;
        if (work->pause > 0)
            nanosleep(&(struct timespec){.tv_nsec = work->pause}, NULL);
    }
    work->lived += now(CLOCK_MONOTONIC) - began;
    return NULL;
}

/* Whether the pool could be made; its work is done then. */
int pool_run(struct work *work) {
    pthread_t threads[THREADS];
    *(void **)&python.ensure = dlsym(RTLD_DEFAULT, "PyGILState_Ensure");
    *(void **)&python.release = dlsym(RTLD_DEFAULT, "PyGILState_Release");
    *(void **)&python.call = dlsym(RTLD_DEFAULT, "PyObject_CallNoArgs");
    *(void **)&python.drop = dlsym(RTLD_DEFAULT, "Py_DecRef");
    if (!python.ensure || !python.release || !python.call || !python.drop)
        return 0;
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, serve, work) != 0)
            return 0;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    return 1;
}

static void *burn(void *spin) {
    for (long end = now(CLOCK_THREAD_CPUTIME_ID) + *(long *)spin; now(CLOCK_THREAD_CPUTIME_ID) < end;)
        continue;
    return NULL;
}

/* Threads that never meet Python use so many nanoseconds of CPU time each. Whether they could be made. */
int pool_burn(long spin) {
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, burn, &spin) != 0)
            return 0;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    return 1;
}
