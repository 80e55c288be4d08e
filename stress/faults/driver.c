/* Lets every call of the core fail, each use of it in turn, and looks at what is left.
 *
 *   driver FORM                              every case of that form: a line for each call, then a line with the sum
 *   driver FORM CALL ERROR once|lasting NTH  one case
 *
 * A form is how the session is run: cpu or wall, its samples to a sink or drained (cpu-sink, cpu-drain, ...). A case is a
 * child process that runs one program: start, ticks, a thread's birth and death, a fork, a fault handler displaced and
 * put back, drain, stop. While it calls the core, the planned use of the planned call fails. The uses are tried from the
 * first on until one is not reached any more, so none is left out.
 *
 * What must hold: a start that fails says why in one line and leaves everything as it was: no thread, timer, file,
 * mapping or signal handler, and no memory that grows from try to try. After a start that succeeds every tick is
 * counted, every stack that is handed over is the thread's, and a stop leaves nothing. After either the next start
 * works, and every thread is sampled whole.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "faults.h"
#include "handler.h"
#include "interpreter.h"
#include "kernel.h"
#include "spprof.h"

#define INTERVAL UINT64_C(10000000000) /* no timer comes due by itself: ticks are sent */
#define TRIES 6                        /* of the same program with the same fault; from ... */
#define SETTLED 4 /* ... this one on what the core keeps for ever is there, and memory must not grow */
#define HANG_SECONDS 60

enum { FIRED = 0, BROKEN = 1, NOT_REACHED = 3 }; /* a case's exit status */

struct form {
    const char *name;
    enum spprof_mode mode;
    bool sink;
    uint64_t flags;
};

static const struct form forms[] = {
    {"cpu-sink", SPPROF_CPU, true, SPPROF_OWN_FILES},
    {"cpu-drain", SPPROF_CPU, false, 0},
    {"wall-sink", SPPROF_WALL, true, 0},
    {"wall-drain", SPPROF_WALL, false, SPPROF_OWN_FILES},
};

static const struct form *form;
static struct fault fault;

/* --- what must hold ------------------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static void must(bool holds, const char *format, ...) {
    if (holds)
        return;
    char text[300];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fprintf(stderr, "%s\n", text);
    _exit(BROKEN);
}

static int entries_of(const char *folder) {
    DIR *entries = opendir(folder);
    must(entries != NULL, "%s cannot be read", folder);
    int count = -2; /* itself and its parent */
    while (readdir(entries) != NULL)
        count++;
    closedir(entries);
    return count;
}

/* The kernel's own list of this process's timers. */
static int kernel_timers(void) {
    FILE *file = fopen("/proc/self/timers", "re");
    must(file != NULL, "/proc/self/timers cannot be read: the kernel has to be built with CONFIG_POSIX_TIMERS");
    char line[200];
    int count = 0;
    while (fgets(line, sizeof line, file) != NULL)
        count += strncmp(line, "ID:", 3) == 0;
    fclose(file);
    return count;
}

static int taken[] = {SIGSEGV, SIGBUS, 0}; /* the last is set once it is known */
#define TAKEN 3
#define ASKS 2

struct world {
    int threads, files;
    struct sigaction actions[TAKEN];
};

static void look_at(struct world *world) {
    taken[ASKS] = spprof_signal(); /* chosen at the first look, before any call fails */
    world->threads = entries_of("/proc/self/task");
    world->files = entries_of("/proc/self/fd");
    for (int i = 0; i < TAKEN; i++)
        sigaction(taken[i], NULL, &world->actions[i]);
}

/* A thread that was joined is in the kernel's list until the kernel has put it away. */
#define PUT_AWAY_MS 10000

static void settle(struct world *now, int threads) {
    look_at(now);
    for (int i = 0; i < PUT_AWAY_MS && now->threads != threads; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        look_at(now);
    }
}

/* `started`: a session was, and is over: the handler of the signal that asks stays then. */
static void must_be_as_before(const struct world *before, bool started) {
    struct world now;
    settle(&now, before->threads);
    must(!spprof_is_active(), "a session is active");
    must(now.threads == before->threads, "%d threads are left over", now.threads - before->threads);
    must(now.files == before->files, "%d files are left open", now.files - before->files);
    must(holdings.files == 0, "the core has closed %ld files too few", holdings.files);
    must(kernel_timers() == (int)holdings.refused_deletes, "%d timers are left, %u could not be deleted",
         kernel_timers(), holdings.refused_deletes);
    unsigned changed = 0;
    for (int i = 0; i < TAKEN; i++)
        if (!started || i != ASKS)
            changed += now.actions[i].sa_sigaction != before->actions[i].sa_sigaction;
    must(changed <= holdings.refused_actions,
         "%u signal handlers are left behind, %u times nothing could be done about one", changed,
         holdings.refused_actions);
    if (!started || form->sink)
        must(holdings.mappings == holdings.refused_unmaps, "%ld mappings are left, %u could not be unmapped",
             holdings.mappings, holdings.refused_unmaps);
}

/* --- threads ------------------------------------------------------------------------------------------------ */

struct thread {
    pthread_t thread;
    struct state state;
    struct frame *entry;
    sem_t ask, answer;
    bool leaving;
};

static struct thread first, older, younger; /* the caller; one from before the session; one born in it */

static void wait_for(sem_t *semaphore) {
    while (sem_wait(semaphore) != 0)
        ; /* a signal came */
}

static void *live(void *argument) {
    struct thread *me = argument;
    struct frame entry;
    /* One whose pthread_t is no descriptor of libc's, but ends its stack all the same: the mappings are asked. */
    uintptr_t id = me == &younger ? (uintptr_t)(&entry + 1) : (uintptr_t)pthread_self();
    state_make(&me->state, gettid(), id, &entry);
    do {
        sem_post(&me->answer);
        wait_for(&me->ask);
    } while (!me->leaving);
    return NULL;
}

/* Returns when the thread has come by: a signal that was sent to it before has been handled. */
static void meet(struct thread *thread) {
    sem_post(&thread->ask);
    wait_for(&thread->answer);
}

static void be_born(struct thread *thread) {
    thread->leaving = false;
    sem_init(&thread->ask, 0, 0);
    sem_init(&thread->answer, 0, 0);
    must(pthread_create(&thread->thread, NULL, live, thread) == 0, "no thread can be made");
    wait_for(&thread->answer);
    state_link(&thread->state);
}

static void die(struct thread *thread) {
    state_unlink(&thread->state);
    thread->leaving = true;
    sem_post(&thread->ask);
    pthread_join(thread->thread, NULL);
}

/* --- ticks and samples ---------------------------------------------------------------------------------------- */

static uint64_t sent;      /* ticks, by the driver */
static uint64_t delivered; /* of those, by weight: that came back as samples */
static struct spprof_stats stats = {.size = sizeof stats};

/* In wall mode a thread that dies may be looked at when it has given up its state and not ended yet. */
static bool is_outside_of_python(const struct spprof_sample *sample) {
    return sample->depth == 0 && (sample->flags & SPPROF_SAMPLE_DETACHED) && sample->tid != getpid();
}

static void take(void *context, const struct spprof_sample *sample) {
    (void)context;
    const struct spprof_frame *frames = sample->frames;
    must(is_outside_of_python(sample) ||
             (sample->depth == 2 && frames[0].code == (uintptr_t)&inner && frames[0].instruction == INNER_AT &&
              frames[0].first_line == inner.first_line && frames[1].code == (uintptr_t)&outer &&
              frames[1].instruction == OUTER_AT && frames[1].first_line == outer.first_line),
         "a stack was handed over that no thread has");
    must((uint64_t)sample->tid == first.state.native_thread_id ||
             (uint64_t)sample->tid == older.state.native_thread_id ||
             (uint64_t)sample->tid == younger.state.native_thread_id,
         "a sample is of thread %d, which is none", sample->tid);
    delivered += sample->weight;
}

/* What the kernel would send when the thread's timer came due. Nothing where it has none. */
static void tick(struct thread *thread) {
    uint64_t value;
    pid_t tid = (pid_t)thread->state.native_thread_id;
    if (!kernel_timer_value(tid, &value))
        return;
    siginfo_t info = {.si_signo = sampler.signal, .si_code = SI_TIMER};
    info.si_value.sival_ptr = (void *)(uintptr_t)value; // NOLINT: a number on purpose
    must(syscall(SYS_rt_tgsigqueueinfo, getpid(), tid, sampler.signal, &info) == 0, "a tick could not be sent");
    sent++;
    if (thread != &first)
        meet(thread);
}

static void drain(void) {
    if (form->sink)
        return;
    faults_on();
    int64_t count = spprof_drain(take, NULL);
    faults_off();
    must(count >= 0, "the drain failed: %s", spprof_error());
}

static void look(void) {
    faults_on();
    leash_look();
    faults_off();
}

static void tick_all(bool younger_too) {
    faults_on();
    tick(&first);
    tick(&older);
    if (younger_too)
        tick(&younger);
    faults_off();
}

static void count(void) {
    faults_on();
    spprof_get_stats(&stats);
    faults_off();
    uint64_t sum = 0;
    for (int i = 0; i < SPPROF_REASONS; i++)
        sum += stats.by_reason[i];
    must(sum == stats.ticks, "%llu ticks but %llu outcomes", (unsigned long long)stats.ticks, (unsigned long long)sum);
}

/* --- the program ----------------------------------------------------------------------------------------------- */

static int start(void) {
    struct spprof_config config = {
        .size = sizeof config,
        .interval = INTERVAL,
        .max_depth = 16,
        .ring_bytes = 4096,
        .runtime = form->sink ? &_PyRuntime : NULL, /* NULL: to be found by name */
        .code_type = form->sink ? PyCode_Type : NULL,
        .thread_state = &first.state,
        .sink = form->sink ? take : NULL,
        .mode = form->mode,
        .flags = form->flags,
    };
    sent = delivered = 0;
    return spprof_start(&config);
}

static bool is_errno_of_the_fault(int error) { return error == fault.error; }

static void must_say_why(int error) {
    const char *why = spprof_error();
    must(error < 0, "a start returned %d", error);
    must(error == -EINVAL || error == -ENOMEM || error == -EAGAIN || is_errno_of_the_fault(-error),
         "a start failed with %d, which it does not promise and which was not injected", error);
    must(strlen(why) > 10 && strlen(why) < 200 && strchr(why, '\n') == NULL, "a start failed and said \"%s\"", why);
}

static void displaced(int signal) { (void)signal; }

/* A neighbour's fault handler in front of ours, and again when we take the signal back: reads go through a system call
 * meanwhile. */
static void tick_displaced(void) {
    struct sigaction theirs = {.sa_handler = displaced}, ours;
    sigaction(SIGSEGV, &theirs, &ours);
    tick_all(true);
    faults_insist(SIGSEGV, &theirs);
    leash_let_run(form->mode == SPPROF_WALL);
    look();
    look(); /* of threads that have not answered */
    leash_let_run(false);
    faults_insist(SIGSEGV, NULL);
    sigaction(SIGSEGV, &ours, NULL);
}

/* The child has no session, and may start its own. */
static void fork_child(void) {
    faults_on();
    pid_t child = fork();
    faults_off();
    must(child >= 0, "fork failed");
    if (child == 0) {
        must(!spprof_is_active(), "a forked child has a session");
        state_unlink(&older.state);
        state_unlink(&younger.state);
        state_make(&first.state, gettid(), pthread_self(), first.entry);
        spprof_get_stats(&stats);
        must(stats.ticks == 0, "a forked child has its parent's ticks");
        int32_t tid;
        char name[16];
        must(!spprof_thread_name(0, &tid, name), "a forked child has its parent's threads");
        int error = start();
        must(error == 0, "a forked child cannot start: %s", spprof_error());
        tick(&first);
        leash_look();
        must(spprof_stop() == 0, "a forked child cannot stop: %s", spprof_error());
        drain();
        must(delivered > 0, "a forked child gets no samples");
        _exit(0);
    }
    int status;
    must(waitpid(child, &status, 0) == child && status == 0, "the forked child failed");
}

static void name_all(void) {
    int32_t tid;
    char name[16];
    for (uint64_t i = 0; spprof_thread_name(i, &tid, name); i++)
        must(memchr(name, '\0', sizeof name) != NULL, "a thread's name has no end");
}

static void live_through(void) {
    tick_all(false);
    be_born(&younger);
    look();
    tick_all(true);
    fork_child();
    tick_displaced();
    drain();
    count();
    die(&younger);
    look();
    tick_all(false);
    faults_on();
    int error = spprof_stop();
    faults_off();
    must(error == 0, "a stop failed: %s", spprof_error());
    drain();
    count();
    must(form->mode == SPPROF_WALL || stats.ticks == sent, "%llu ticks of %llu are counted",
         (unsigned long long)stats.ticks, (unsigned long long)sent);
    must(delivered == stats.by_reason[SPPROF_CAPTURED], "%llu ticks of %llu that were captured were handed over",
         (unsigned long long)delivered, (unsigned long long)stats.by_reason[SPPROF_CAPTURED]);
    faults_on();
    name_all();
    faults_off();
}

/* One start and what follows, with the fault planned anew. Returns whether the start succeeded. */
static bool try_once(void) {
    struct world before;
    settle(&before, 2); /* this one, and `older` */
    fault_plan(&fault);
    faults_on();
    int error = start();
    faults_off();
    if (error != 0)
        must_say_why(error);
    else
        live_through();
    must_be_as_before(&before, error == 0);
    return error == 0;
}

static void must_work(void) {
    must(start() == 0, "a later start failed: %s", spprof_error());
    be_born(&younger);
    leash_look();
    tick(&first);
    tick(&older);
    tick(&younger);
    leash_look();
    drain();
    must(spprof_stop() == 0, "a later stop failed: %s", spprof_error());
    drain();
    die(&younger);
    spprof_get_stats(&stats);
    must(stats.threads == 3 && stats.threads_refused == 0, "later only %d threads were sampled", (int)stats.threads);
    must(stats.ticks >= 3 && stats.ticks == delivered, "later %llu of %llu ticks became samples",
         (unsigned long long)delivered, (unsigned long long)stats.ticks);
}

/* What asks a thread by a signal gets no answer: when one came would differ from run to run. In CPU mode ticks are sent. */
static void answer_nothing(void) {
    sigset_t ticks;
    sigemptyset(&ticks);
    sigaddset(&ticks, spprof_signal());
    pthread_sigmask(SIG_BLOCK, &ticks, NULL);
}

static int run_case(void) {
    struct frame entry;
    first.entry = &entry;
    alarm(HANG_SECONDS);
    if (form->mode == SPPROF_WALL)
        answer_nothing();
    state_make(&first.state, gettid(), pthread_self(), &entry);
    state_link(&first.state);
    be_born(&older);
    bool started = true;
    unsigned fired = 0;
    long blocks = 0;
    for (int try = 0; try < TRIES; try++) {
        if (try == SETTLED)
            blocks = holdings.blocks;
        bool now = try_once();
        fired += fault_fired();
        started = started && now;
    }
    must(holdings.blocks <= blocks, "the last %d tries keep %ld blocks of memory more", TRIES - SETTLED,
         holdings.blocks - blocks);
    must(started || fired > 0, "a start failed without any fault: %s", spprof_error());
    must_work();
    return fired > 0 ? FIRED : NOT_REACHED;
}

/* --- all cases ------------------------------------------------------------------------------------------------- */

static const char *lasting_name(bool lasting) { return lasting ? "lasting" : "once"; }

static int in_child(void) {
    pid_t child = fork();
    if (child < 0) {
        perror("stress/faults: fork");
        exit(1);
    }
    if (child == 0)
        _exit(run_case());
    int status;
    while (waitpid(child, &status, 0) < 0)
        ;
    if (WIFSIGNALED(status))
        fprintf(stderr, "ended by signal %d (%s)\n", WTERMSIG(status),
                WTERMSIG(status) == SIGALRM ? "it hung" : strsignal(WTERMSIG(status)));
    return WIFEXITED(status) ? WEXITSTATUS(status) : BROKEN;
}

static int give_up(const char *program) {
    fprintf(stderr, "to repeat: %s %s %s %d %s %u\n", program, form->name, call_kinds[fault.call].name, fault.error,
            lasting_name(fault.lasting), fault.nth);
    return BROKEN;
}

/* Every use of one call with one error; the number of cases, or -1. */
static long try_every_use(void) {
    for (fault.nth = 1;; fault.nth++) {
        int status = in_child();
        if (status == NOT_REACHED)
            return fault.nth - 1;
        if (status != FIRED)
            return -1;
    }
}

static int try_all(const char *program, bool every_error) {
    long sum = 0;
    for (int call = 0; call < CALLS; call++) {
        const struct call_kind *kind = &call_kinds[call];
        long cases = 0;
        for (int i = 0; i < (every_error ? kind->error_count : 1); i++)
            for (int lasting = 0; lasting < 2; lasting++) {
                fault = (struct fault){.call = (enum call)call, .error = kind->errors[i], .lasting = lasting};
                long found = try_every_use();
                if (found < 0)
                    return give_up(program);
                cases += found;
            }
        printf("%s %s %ld\n", form->name, kind->name, cases);
        fflush(stdout);
        sum += cases;
    }
    printf("%s cases %ld\n", form->name, sum);
    return sum > 0 ? 0 : BROKEN;
}

static int usage(const char *program) {
    fprintf(stderr,
            "usage: %s FORM [short | CALL ERROR once|lasting NTH]; FORM is cpu-sink, cpu-drain, wall-sink or "
            "wall-drain, CALL one of stress/faults/calls.def, ERROR a number\n",
            program);
    return 2;
}

static bool read_case(char **words) {
    int call = 0;
    while (call < CALLS && strcmp(words[0], call_kinds[call].name) != 0)
        call++;
    fault = (struct fault){.call = (enum call)call, .error = atoi(words[1]), .nth = (unsigned)atoi(words[3])};
    fault.lasting = strcmp(words[2], "lasting") == 0;
    return call < CALLS && fault.nth > 0 && (fault.lasting || strcmp(words[2], "once") == 0);
}

int main(int count, char **words) {
    for (size_t i = 0; count > 1 && i < sizeof forms / sizeof *forms; i++)
        if (strcmp(words[1], forms[i].name) == 0)
            form = &forms[i];
    bool is_short = count == 3 && strcmp(words[2], "short") == 0;
    if (form == NULL || (count != 2 && count != 6 && !is_short) || (count == 6 && !read_case(words + 2)))
        return usage(words[0]);
    if (count != 6)
        return try_all(words[0], !is_short);
    int status = in_child();
    printf("%s\n", status == FIRED ? "holds" : status == NOT_REACHED ? "holds; the fault was not reached" : "broken");
    return status == BROKEN;
}
