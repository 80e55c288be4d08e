#include "ending.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "atomics.h"
#include "clock.h"
#include "ordinary/ended.h"
#include "spprof.h"

static const int signals[] = {SIGTERM, SIGHUP};
#define SIGNALS (sizeof signals / sizeof signals[0])

#define OVER (UINT32_C(1) << 31) /* in `claims`: the run has ended */

static struct {
    pthread_mutex_t lock; /* begin, end, pause, resume: one at a time; never while attached */

    /* Under `lock`. */
    bool active;
    bool running; /* `thread` is there */
    uint32_t pauses;
    pthread_t thread;
    pid_t tid;         /* of `thread`, which writes it; who joined that reads it */
    PyObject *deliver; /* a strong reference; written before the thread is made, which reads it */

    sem_t told; /* posted by the handler that has the first signal, and by who stops the thread */

    /* Handlers of all threads read and write these. */
    _Atomic uint32_t claims;  /* signals that came; who adds the first has to wake the thread */
    _Atomic pid_t process;    /* whose signals were taken last */
    _Atomic uint32_t first;   /* the first signal's number; 0: none has come */
    _Atomic uint64_t came_at; /* when it came, CLOCK_MONOTONIC, nanoseconds; 0: none has */
} ending = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* --- the handler ----------------------------------------------------------------------------- */

/* What the signal would have done. Async-signal-safe. Where a debugger takes the signal away, or
 * the program sets an action at this very moment, the status is what a shell would say. */
static _Noreturn void die_of(int signal) {
    struct sigaction usual = {.sa_handler = SIG_DFL};
    sigset_t mine;
    sigemptyset(&mine);
    sigaddset(&mine, signal);
    sigaction(signal, &usual, NULL);
    pthread_sigmask(SIG_UNBLOCK, &mine, NULL);
    raise(signal);
    _exit(128 + signal);
}

/* Whether the first signal came long ago; if none has come yet, this one at `now` may be it. */
static bool is_late(uint64_t now) {
    if (atomic_read(cookie, &ending.came_at) == 0)
        atomic_write(cookie, &ending.came_at, now);
    return now >= atomic_read(cookie, &ending.came_at) + ENDING_PATIENCE;
}

/* Async-signal-safe. In a child that has not given the signals back, or where a neighbour calls it
 * after the run, it stands for the default action. */
static void on_signal(int signal) {
    int error = errno;
    if (atomic_read(cookie, &ending.process) != getpid())
        die_of(signal);
    bool late = is_late(clock_now());
    uint32_t claims = atomic_add(counter_shared, &ending.claims, 1);
    if (late || claims == OVER)
        die_of(signal);
    if (claims == 0) {
        atomic_write(cookie, &ending.first, (uint32_t)signal);
        sem_post(&ending.told);
    }
    errno = error;
}

/* Nothing where the program has set an action that is not `present`. */
static void replace_action(int signal, void (*present)(int), const struct sigaction *next) {
    struct sigaction found;
    if (sigaction(signal, NULL, &found) == 0 && found.sa_handler == present)
        sigaction(signal, next, NULL);
}

static void take_signals(void) {
    const struct sigaction ours = {.sa_handler = on_signal, .sa_flags = SA_RESTART | SA_ONSTACK};
    for (size_t i = 0; i < SIGNALS; i++)
        replace_action(signals[i], SIG_DFL, &ours);
}

static void give_signals_back(void) {
    const struct sigaction usual = {.sa_handler = SIG_DFL};
    for (size_t i = 0; i < SIGNALS; i++)
        replace_action(signals[i], on_signal, &usual);
}

/* --- the thread ------------------------------------------------------------------------------ */

static void deliver(void) {
    if (Py_IsFinalizing())
        return;
    PyGILState_Ensure(); /* for good: the process ends with it */
    if (PyObject_CallNoArgs(ending.deliver) == NULL)
        PyErr_WriteUnraisable(ending.deliver);
}

/* Without the thread state that it then takes, the thread is no thread of the session. */
static void *run(void *unused) {
    (void)unused;
    ending.tid = gettid();
    while (sem_wait(&ending.told) != 0)
        ; /* a debugger came */
    int signal = (int)atomic_read(cookie, &ending.first);
    if (signal == 0)
        return NULL;
    spprof_stop();
    deliver();
    die_of(signal);
}

/* This and the next with `lock` held. The program's signals are not for the thread. Returns 0 or a
 * positive errno value. */
static int start_thread(void) {
    if (ending.pauses > 0)
        return 0;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&ending.thread, NULL, run, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    ending.running = error == 0;
    return error;
}

/* Where a signal has come it goes on, and the process ends with it. */
static void stop_thread(void) {
    if (!ending.running || atomic_read(cookie, &ending.first) != 0)
        return;
    sem_post(&ending.told);
    pthread_join(ending.thread, NULL);
    ending.running = false;
    ended_await(ending.tid); /* who counts threads after this must not find ours */
}

/* --- begin and end --------------------------------------------------------------------------- */

/* A signal that came to the parent is not the child's. */
static void after_fork_in_child(void) {
    give_signals_back();
    ending.active = ending.running = false;
    ending.pauses = 0;
    pthread_mutex_init(&ending.lock, NULL);
}

/* This and those below with `lock` held. */
static void renew(void) {
    sem_init(&ending.told, 0, 0);
    atomic_write(cookie, &ending.process, getpid());
    atomic_write(cookie, &ending.first, 0);
    atomic_write(cookie, &ending.came_at, 0);
    atomic_write(counter_shared, &ending.claims, 0);
}

static bool prepare_process(void) {
    static bool prepared;
    if (!prepared)
        prepared = pthread_atfork(NULL, NULL, after_fork_in_child) == 0;
    return prepared;
}

/* Returns 0 or a positive errno value. */
static int begin(PyObject *deliver) {
    if (ending.active)
        return EBUSY;
    renew();
    if (!prepare_process())
        return ENOMEM;
    ending.deliver = deliver;
    int error = start_thread();
    if (error != 0)
        return error;
    ending.active = true;
    take_signals();
    return 0;
}

/* False: a signal has come first. */
static bool close_claims(void) {
    give_signals_back();
    ending.active = false;
    return atomic_add(counter_shared, &ending.claims, OVER) == 0;
}

/* The kernel lets no default action end the first process of a container. */
static bool can_end(void) { return getpid() != 1; }

static void set_error(int error) {
    static const char busy[] = "another run of this process waits for SIGTERM and SIGHUP; "
                               "start this one in a process of its own";
    if (error == EBUSY)
        PyErr_SetString(PyExc_RuntimeError, busy);
    else
        PyErr_Format(PyExc_RuntimeError, "no thread could be started: %s", strerror(error));
}

bool ending_begin(PyObject *deliver) {
    if (!can_end())
        return true;
    PyThreadState *detached = PyEval_SaveThread();
    pthread_mutex_lock(&ending.lock);
    int error = begin(deliver);
    pthread_mutex_unlock(&ending.lock);
    PyEval_RestoreThread(detached);
    if (error == 0)
        Py_INCREF(deliver);
    else
        set_error(error);
    return error == 0;
}

static bool end(void) {
    pthread_mutex_lock(&ending.lock);
    bool was_active = ending.active;
    bool dies = was_active && !close_claims();
    if (!dies)
        stop_thread();
    pthread_mutex_unlock(&ending.lock);
    while (dies)
        pause();
    return was_active;
}

void ending_end(void) {
    PyThreadState *detached = PyEval_SaveThread();
    bool was_active = end();
    PyEval_RestoreThread(detached);
    if (was_active)
        Py_CLEAR(ending.deliver);
}

/* --- forks ----------------------------------------------------------------------------------- */

void ending_pause(void) {
    pthread_mutex_lock(&ending.lock);
    ending.pauses++;
    stop_thread();
    pthread_mutex_unlock(&ending.lock);
}

/* The signals are the program's again, and one that came ends it now. */
static void give_up(void) {
    if (close_claims())
        return;
    while (sem_wait(&ending.told) != 0)
        ; /* its handler is about to say which it is */
    die_of((int)atomic_read(cookie, &ending.first));
}

void ending_resume(void) {
    pthread_mutex_lock(&ending.lock);
    if (ending.pauses > 0)
        ending.pauses--;
    if (ending.active && !ending.running && start_thread() != 0)
        give_up();
    pthread_mutex_unlock(&ending.lock);
}
