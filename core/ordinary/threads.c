#define _GNU_SOURCE /* mmap flags */
#include "threads.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "atomics.h"
#include "clock.h"
#include "refused.h"
#include "stack.h"
#include "states.h"
#include "timers.h"

/* What the ordinary side knows of a slot. */
struct tenant {
    struct slot *slot;
    void *memory; /* ring words and scratch, or NULL */
    int timer;
    bool live;        /* belongs to a thread */
    bool seen;        /* in the present reading of the list */
    bool keeps;       /* the state that it is known by was, too */
    uintptr_t newest; /* its first state there; 0: it has none */
    bool abandoned;   /* a handler did not come out: the slot is not let, and is replaced when the session is over */
    bool lent;        /* the memory stays with such a handler; here it is only read */
};

/* What is kept of a thread when it is gone. */
struct thread_name {
    int32_t tid;
    char name[16];
    uint64_t time; /* CPU time that was counted, nanoseconds, from when its slot was closed on */
};

static struct {
    struct threads_config config;
    struct tenant tenants[SLOTS_MAX];
    uint32_t tenants_made;
    uint16_t *by_tid; /* hash of thread ids to tenant + 1, made anew for each reading */
    struct thread_name *names;
    uint64_t names_room;
    bool name_at_once;
    uint64_t last_scan;          /* CLOCK_MONOTONIC, when the last sound reading began; 0: there was none */
    _Atomic uint64_t discovered; /* threads that got a slot: the scanner writes, threads_count reads */
    _Atomic uint64_t refused;    /* threads that could get none: the scanner writes, threads_count reads */
    _Atomic uint64_t abandoned;  /* slots: who closes them writes, threads_count reads */
    uint32_t patience;           /* naps that are left for waiting, in the present reading or stop */
    bool stuck;                  /* a slot was abandoned in this process: its handler may yet go on */
} registry;

#define BY_TID_SIZE (2 * SLOTS_MAX)

/* How long a stop, or a reading of the list, waits for handlers in all. A handler's run takes
 * microseconds, and some milliseconds where it reads through system calls; one that is not out
 * after a second has a thread that does not run: a debugger has stopped it, or the threads
 * before it in priority leave it no processor. Counted in naps, which take longer where the
 * machine is slow and are not used up while the whole process is stopped; and a nap lets a
 * thread of lower real-time priority run, as sched_yield would not. */
#define NAPS 1000
#define NAP 1000000 /* nanoseconds */
#define YIELDS 100  /* before the first nap */

/* --- memory of a slot ------------------------------------------------------------------------- */

static size_t scratch_bytes(void) { return sizeof(struct record) + sampler.max_depth * sizeof(struct walk_frame); }

/* Fresh pages, untouched until the thread is sampled: an idle thread costs its slot alone. */
static bool furnish(struct tenant *tenant) {
    if (tenant->memory == NULL) {
        void *memory = mmap(NULL, registry.config.ring_bytes + scratch_bytes(), PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED)
            return false;
        tenant->memory = memory;
    }
    ring_init(&tenant->slot->ring, tenant->memory, registry.config.ring_bytes / 8);
    tenant->slot->scratch = (struct record *)((char *)tenant->memory + registry.config.ring_bytes);
    return true;
}

static struct slot *make_slot(void) {
    struct slot *slot = aligned_alloc(alignof(struct slot), sizeof *slot);
    if (slot != NULL)
        memset(slot, 0, sizeof *slot);
    return slot;
}

/* Whether the slot can be let: nobody has it, no sample waits in it, and a lease is left. */
static bool is_free(const struct tenant *tenant) {
    return !tenant->live && !tenant->abandoned && atomic_read(enter_lease, &tenant->slot->lease) < LEASES &&
           (tenant->memory == NULL || registry.config.drain(tenant->slot));
}

static struct tenant *free_tenant(void) {
    for (uint32_t i = 0; i < registry.tenants_made; i++)
        if (is_free(&registry.tenants[i]))
            return &registry.tenants[i];
    if (registry.tenants_made == SLOTS_MAX)
        return NULL;
    struct slot *slot = make_slot();
    if (slot == NULL)
        return NULL;
    struct tenant *tenant = &registry.tenants[registry.tenants_made];
    *tenant = (struct tenant){.slot = slot, .timer = NO_TIMER};
    atomic_write(slot_publish, &sampler.slots[registry.tenants_made], slot);
    registry.tenants_made++;
    return tenant;
}

/* --- names ------------------------------------------------------------------------------------- */

static void read_kernel_name(struct thread_name *name) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/comm", name->tid);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return;
    char text[sizeof name->name];
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    if (length > 0 && text[length - 1] == '\n')
        length--;
    if (length <= 0)
        return;
    memcpy(name->name, text, (size_t)length);
    name->name[length] = '\0';
}

static bool make_room_for_name(uint64_t thread) {
    if (thread < registry.names_room)
        return true;
    uint64_t room = registry.names_room ? 2 * registry.names_room : 64;
    struct thread_name *names = realloc(registry.names, room * sizeof *names);
    if (names == NULL)
        return false;
    registry.names = names;
    registry.names_room = room;
    return true;
}

static void remember_name(uint64_t thread, int32_t tid) {
    registry.names[thread] = (struct thread_name){.tid = tid};
    if (registry.name_at_once)
        read_kernel_name(&registry.names[thread]);
}

void threads_name_at_once(bool at_once) { registry.name_at_once = at_once; }

void threads_read_names(void) {
    for (uint32_t i = 0; i < registry.tenants_made; i++)
        if (registry.tenants[i].live)
            read_kernel_name(&registry.names[registry.tenants[i].slot->thread]);
}

bool threads_name(uint64_t thread, int32_t *tid, char name[16]) {
    if (thread >= atomic_read(counter_shared, &registry.discovered))
        return false;
    *tid = registry.names[thread].tid;
    memcpy(name, registry.names[thread].name, 16);
    return true;
}

bool threads_time(uint64_t thread, uint64_t *time) {
    if (thread >= atomic_read(counter_shared, &registry.discovered))
        return false;
    *time = registry.names[thread].time;
    return true;
}

/* --- thread ids --------------------------------------------------------------------------------- */

static uint16_t *tid_entry(int32_t tid) {
    uint32_t at = (uint32_t)tid * 2654435761u % BY_TID_SIZE;
    while (registry.by_tid[at] != 0 && registry.tenants[registry.by_tid[at] - 1].slot->tid != tid)
        at = (at + 1) % BY_TID_SIZE;
    return &registry.by_tid[at];
}

/* --- admitting and retiring -------------------------------------------------------------------- */

/* A thread's first tick is due after a part of an interval, 1 to all of it, another for each thread: so of threads that live
 * for less than an interval as many have a tick as their time says. Multiples of the golden ratio lie evenly, however many
 * there are. */
static uint64_t phase_of(uint64_t thread) {
    uint32_t part = (uint32_t)thread * 2654435769u; /* of 2^32 */
    return registry.config.interval - ((part * (unsigned __int128)registry.config.interval) >> 32);
}

/* A thread with more CPU time than has passed since the last reading of the list is older than that: it is new to the
 * interpreter, not to the world. */
static bool is_older(int64_t used) {
    uint64_t since = clock_now() - registry.last_scan;
    return registry.last_scan == 0 || (uint64_t)used > since + since / CLOCKS_DIFFER;
}

/* A thread that was born since the last reading of the list has run without a timer since. Ticks are laid on its CPU
 * clock from its birth, and those that it missed are counted. *first: until its next, of its CPU time. */
static uint64_t missed_ticks(uint64_t thread, int64_t used, bool is_older, uint64_t *first) {
    uint64_t interval = registry.config.interval, phase = phase_of(thread), time = (uint64_t)used;
    uint64_t missed = is_older || time < phase ? 0 : 1 + (time - phase) / interval;
    *first = phase + missed * interval - (is_older ? 0 : time);
    return missed;
}

/* The missed ticks are counted while the handler, which counts the others, cannot run yet. */
static int start_timer(struct tenant *tenant) {
    struct slot *slot = tenant->slot;
    int64_t used = timers_cpu_time(slot->tid);
    if (used < 0)
        return (int)used;
    uint32_t number = (uint32_t)(tenant - registry.tenants);
    uint32_t lease = atomic_read(enter_lease, &slot->lease);
    int timer = timers_open(clock_of_thread(slot->tid), slot->tid, sampler.signal, tick_value(number, lease));
    if (timer < 0)
        return timer;
    tenant->timer = timer;
    uint64_t first;
    counters_missed(&slot->counters, (uint32_t)missed_ticks(slot->thread, used, is_older(used), &first));
    return timers_run(timer, first, registry.config.interval);
}

static int timer_or_none(clockid_t clock, pid_t tid, uint64_t value) {
    int timer = timers_open(clock, tid, sampler.signal, value);
    return timer < 0 ? NO_TIMER : timer;
}

/* A thread that cannot have a timer cannot be asked, and is looked at from outside. */
static int start_watch(struct tenant *tenant) {
    struct slot *slot = tenant->slot;
    int64_t used = timers_cpu_time(slot->tid);
    if (used < 0)
        return (int)used;
    bool older = is_older(used);
    uint64_t first, next = registry.last_scan != 0 ? clock_now() : 0;
    if (registry.config.interval != 0) {
        counters_missed(&slot->counters, (uint32_t)missed_ticks(slot->thread, used, older, &first));
        next = (uint64_t)used + first;
    }
    uint32_t number = (uint32_t)(tenant - registry.tenants);
    uint64_t value = tick_value(number, atomic_read(enter_lease, &slot->lease)) | VALUE_ASKS;
    tenant->timer = timer_or_none(clock_of_thread(slot->tid), slot->tid, value);
    slot->watch = (struct watch){.timer = tenant->timer,
                                 .waits_at = -1,
                                 .next = (int64_t)next,
                                 .used = used,
                                 .watched = older ? used : 0,
                                 .stack_low = slot->stack_low,
                                 .stack_high = slot->stack_high,
                                 .sought_at = clock_now()};
    return 0;
}

static bool nap(void) {
    if (registry.patience == 0)
        return false;
    registry.patience--;
    nanosleep(&(struct timespec){.tv_nsec = NAP}, NULL);
    return true;
}

/* Waits until no handler is in the slot, whose lease has ended; gives the slot up where one does not come out. */
static void wait_until_left(struct tenant *tenant) {
    for (int looks = 0; atomic_read(quiesce_check, &tenant->slot->inside) != 0; looks++) {
        if (looks < YIELDS) {
            sched_yield();
        } else if (!nap()) {
            tenant->abandoned = registry.stuck = true;
            atomic_write(counter_outcome, &registry.abandoned, atomic_read(counter_own, &registry.abandoned) + 1);
            return;
        }
    }
}

static void close_timer(struct tenant *tenant) {
    timers_close(tenant->timer);
    tenant->timer = NO_TIMER;
}

/* Ends the slot's lease: a signal of its timer is not taken for one of its next tenant's any more. Ticks that nobody took
 * come to `left`. */
static void close_slot(struct tenant *tenant, enum spprof_reason left) {
    close_timer(tenant);
    atomic_add(slot_retire, &tenant->slot->lease, 1);
    wait_until_left(tenant);
    if (registry.config.monitored)
        registry.names[tenant->slot->thread].time = tenant->slot->watch.time;
    uint32_t ticks = due_take(&tenant->slot->due);
    if (ticks > 0)
        counters_stray(&sampler.strays, ticks, left);
}

/* Puts another slot in the place of one that was given up: what a handler does in there is
 * nobody's any more. What waits in its ring still is to be handed over. False where there is no
 * memory. */
static bool replace(struct tenant *tenant) {
    struct slot *slot = make_slot(), *former = tenant->slot;
    if (slot == NULL)
        return false;
    atomic_write(slot_let, &slot->lease, atomic_read(enter_lease, &former->lease));
    if (tenant->memory != NULL)
        ring_inherit(&slot->ring, &former->ring);
    tenant->slot = slot;
    tenant->lent = tenant->memory != NULL;
    tenant->abandoned = false;
    atomic_write(slot_publish, &sampler.slots[tenant - registry.tenants], slot);
    return true;
}

static void retire(struct tenant *tenant) {
    close_slot(tenant, SPPROF_DETACHED);
    tenant->live = false;
    registry.config.drain(tenant->slot);
}

static int admit(const struct reader *reader, uintptr_t state, int32_t tid, uintptr_t thread_id) {
    struct tenant *tenant = free_tenant();
    uint64_t thread = atomic_read(counter_own, &registry.discovered);
    if (tenant == NULL || !furnish(tenant) || !make_room_for_name(thread))
        return -ENOMEM;
    struct slot *slot = tenant->slot;
    slot->thread = thread;
    slot->tid = tid;
    slot->thread_id = thread_id;
    slot->rest_until = 0;
    stack_find(reader, tid, thread_id, &slot->stack_low, &slot->stack_high);
    atomic_write(state_update, &slot->thread_state, state);
    /* A timer's signals come after the timer was made, as the kernel has it. So that the language has it too, the
     * lease that they will be compared with is stored again. */
    atomic_write(slot_let, &slot->lease, atomic_read(enter_lease, &slot->lease));
    int error = registry.config.monitored ? start_watch(tenant) : start_timer(tenant);
    if (error != 0) {
        if (tenant->timer != NO_TIMER) /* else no signal has the lease: it is the next tenant's */
            close_slot(tenant, SPPROF_DETACHED);
        return error;
    }
    remember_name(thread, tid);
    tenant->live = tenant->seen = tenant->keeps = true;
    *tid_entry(tid) = (uint16_t)(tenant - registry.tenants + 1);
    atomic_write(counter_outcome, &registry.discovered, thread + 1);
    return 0;
}

/* --- reading the list --------------------------------------------------------------------------- */

static bool index_tenants(void) {
    if (registry.by_tid == NULL)
        registry.by_tid = malloc(BY_TID_SIZE * sizeof *registry.by_tid);
    if (registry.by_tid == NULL)
        return false;
    memset(registry.by_tid, 0, BY_TID_SIZE * sizeof *registry.by_tid);
    for (uint32_t i = 0; i < registry.tenants_made; i++) {
        registry.tenants[i].seen = registry.tenants[i].keeps = false;
        registry.tenants[i].newest = 0;
        if (registry.tenants[i].live)
            *tid_entry(registry.tenants[i].slot->tid) = (uint16_t)(i + 1);
    }
    return true;
}

static void count_refused(int32_t tid, uintptr_t thread_id) {
    if (refused_add(tid, thread_id))
        atomic_write(counter_outcome, &registry.refused, atomic_read(counter_own, &registry.refused) + 1);
}

/* A thread state of the list: known, or admitted now. The list has the newest first, so where a
 * thread has several the newest counts, but not before the one that it is known by is gone: CPython
 * makes passing ones. A known thread id with another pthread_t is a new thread
 * that the kernel gave the number of a dead one. */
static int meet(const struct reader *reader, uintptr_t state, const struct state_fields *fields) {
    if (!states_bound(fields) || fields->tid == 0 || fields->tid > INT32_MAX)
        return 0;
    uint16_t entry = *tid_entry((int32_t)fields->tid);
    struct tenant *tenant = entry != 0 ? &registry.tenants[entry - 1] : NULL;
    if (tenant != NULL && tenant->live && tenant->slot->thread_id != fields->thread_id && !tenant->seen)
        retire(tenant);
    if (tenant == NULL || !tenant->live)
        return admit(reader, state, (int32_t)fields->tid, fields->thread_id);
    if (!tenant->seen)
        tenant->newest = state;
    tenant->seen = true;
    tenant->keeps = tenant->keeps || state == atomic_read(state_update, &tenant->slot->thread_state);
    return 0;
}

/* After a sound reading: a state that is not in the list is gone, and its memory may be anything. Its thread is not, while the
 * kernel has it: C code makes a state for each of its calls into Python. */
static void let_go(void) {
    for (uint32_t i = 0; i < registry.tenants_made; i++) {
        struct tenant *tenant = &registry.tenants[i];
        if (!tenant->live)
            continue;
        if (!tenant->seen && timers_cpu_time(tenant->slot->tid) < 0)
            retire(tenant);
        else if (!tenant->keeps)
            atomic_write(state_update, &tenant->slot->thread_state, tenant->newest);
    }
}

int threads_admit(uintptr_t state, struct reader reader) {
    struct state_fields fields;
    if (!index_tenants())
        return -ENOMEM;
    load_looking = true;
    bool readable = states_read(&reader, state, &fields);
    load_looking = false;
    return readable ? meet(&reader, state, &fields) : -EINVAL;
}

static bool meet_listed(const struct reader *reader, uintptr_t state, const struct state_fields *fields, void *unused) {
    (void)unused;
    int error = meet(reader, state, fields);
    if (error != 0 && error != -ESRCH && error != -EINVAL) /* these two: the thread has ended meanwhile */
        count_refused((int32_t)fields->tid, fields->thread_id);
    return true;
}

bool threads_scan(struct reader reader) {
    if (!index_tenants())
        return false;
    uint64_t began = clock_now();
    registry.patience = NAPS;
    load_looking = true;
    bool sound = states_each(&reader, meet_listed, NULL);
    load_looking = false;
    if (sound) {
        let_go();
        registry.last_scan = began;
    }
    refused_reading_over(sound);
    return sound;
}

/* --- a session's life ---------------------------------------------------------------------------- */

bool threads_begin(const struct threads_config *config) {
    if (!threads_replace_abandoned())
        return false;
    registry.config = *config;
    registry.last_scan = 0;
    registry.name_at_once = true;
    registry.patience = NAPS;
    atomic_write(counter_outcome, &registry.abandoned, 0);
    atomic_write(counter_outcome, &registry.discovered, 0);
    atomic_write(counter_outcome, &registry.refused, 0);
    refused_forget();
    for (uint32_t i = 0; i < registry.tenants_made; i++)
        memset(&registry.tenants[i].slot->counters, 0, sizeof(struct counters));
    for (int i = 0; i < SPPROF_REASONS; i++) /* a late tick of the last session may be adding to them */
        atomic_write(counter_shared, &sampler.strays.by_reason[i], 0);
    return true;
}

/* All timers before any slot: closing one may wait for its thread to run, and all others' ticks
 * would go on meanwhile. */
void threads_disarm(void) {
    for (uint32_t i = 0; i < registry.tenants_made; i++)
        close_timer(&registry.tenants[i]);
}

void threads_end(void) {
    registry.patience = NAPS;
    for (uint32_t i = 0; i < registry.tenants_made; i++) {
        struct tenant *tenant = &registry.tenants[i];
        if (tenant->abandoned)
            continue;
        if (!tenant->live) {
            wait_until_left(tenant); /* for a late tick's handler */
            continue;
        }
        close_slot(tenant, SPPROF_BUSY);
        tenant->live = false;
    }
}

bool threads_replace_abandoned(void) {
    bool replaced = true;
    for (uint32_t i = 0; i < registry.tenants_made; i++)
        if (registry.tenants[i].abandoned)
            replaced = replace(&registry.tenants[i]) && replaced;
    return replaced;
}

bool threads_stuck(void) { return registry.stuck; }

void threads_each_live(bool (*visit)(struct slot *slot, void *context), void *context) {
    for (uint32_t i = 0; i < registry.tenants_made; i++)
        if (registry.tenants[i].live && !visit(registry.tenants[i].slot, context))
            retire(&registry.tenants[i]);
}

void threads_each(void (*visit)(struct slot *slot, void *context), void *context) {
    for (uint32_t i = 0; i < registry.tenants_made; i++)
        if (registry.tenants[i].memory != NULL)
            visit(registry.tenants[i].slot, context);
}

void threads_release(void) {
    for (uint32_t i = 0; i < registry.tenants_made; i++) {
        struct tenant *tenant = &registry.tenants[i];
        if (tenant->memory != NULL && !tenant->lent && !tenant->abandoned)
            munmap(tenant->memory, registry.config.ring_bytes + scratch_bytes());
        tenant->memory = NULL;
        tenant->lent = false;
    }
}

void threads_forget(void) {
    for (uint32_t i = 0; i < registry.tenants_made; i++) {
        struct tenant *tenant = &registry.tenants[i];
        if (tenant->live) /* the session that let it is not the child's */
            atomic_add(slot_retire, &tenant->slot->lease, 1);
        tenant->timer = NO_TIMER;
        tenant->live = tenant->abandoned = false; /* a handler that does not come out was another thread's */
        atomic_write(fork_reset, &tenant->slot->inside, 0);
        atomic_write(fork_reset, &tenant->slot->due, 0);
        memset(&tenant->slot->counters, 0, sizeof(struct counters));
    }
    atomic_write(counter_outcome, &registry.discovered, 0);
    atomic_write(counter_outcome, &registry.abandoned, 0);
    atomic_write(counter_outcome, &registry.refused, 0);
    refused_forget();
    registry.stuck = false;
    threads_release();
}

void threads_count(struct spprof_stats *stats) {
    for (uint32_t i = 0; i < SLOTS_MAX; i++) {
        struct slot *slot = atomic_read(slot_find, &sampler.slots[i]);
        if (slot == NULL)
            break;
        counters_snapshot(&slot->counters, stats);
    }
    counters_stray_snapshot(&sampler.strays, stats);
    stats->threads = atomic_read(counter_snapshot, &registry.discovered);
    stats->threads_refused = atomic_read(counter_snapshot, &registry.refused);
    stats->slots_abandoned = atomic_read(counter_snapshot, &registry.abandoned);
}
