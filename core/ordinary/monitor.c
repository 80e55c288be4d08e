#define _GNU_SOURCE /* gettid */
#include "monitor.h"

#include <unistd.h>

#include "atomics.h"
#include "clock.h"
#include "stack.h"
#include "timers.h"

/* The monitor writes, who asks for them reads. */
static _Atomic uint64_t unasked; /* ticks */
static _Atomic uint64_t watched; /* nanoseconds */

void monitor_begin(void) {
    atomic_write(counter_outcome, &unasked, 0);
    atomic_write(counter_outcome, &watched, 0);
}

static void count(_Atomic uint64_t *counter, uint64_t more) {
    atomic_write(counter_outcome, counter, atomic_read(counter_own, counter) + more);
}

uint64_t monitor_unasked(void) { return atomic_read(counter_snapshot, &unasked); }

uint64_t monitor_watched(void) { return atomic_read(counter_snapshot, &watched); }

static void wait_at_most(struct monitor *monitor, uint64_t wait) {
    if (wait < monitor->wait)
        monitor->wait = wait;
}

/* The sum of what is due is of this time: whoever compares the two sees whether ticks went missing. */
static void count_watched(struct watch *watch, int64_t used) {
    uint64_t more = (uint64_t)(used - watch->watched);
    count(&watched, more);
    watch->time += more;
    watch->watched = used;
}

/* --- ticks -------------------------------------------------------------------------------------------- */

/* Of a thread's CPU time: how many intervals have ended by now. */
static uint64_t ended_intervals(struct watch *watch, uint64_t interval, int64_t used) {
    if (used < watch->next)
        return 0;
    uint64_t ended = 1 + (uint64_t)(used - watch->next) / interval;
    watch->next += (int64_t)(ended * interval);
    return ended;
}

static uint64_t due_by_cpu_time(struct watch *watch, struct monitor *monitor, int64_t used) {
    uint64_t ended = ended_intervals(watch, monitor->interval, used);
    if (used != watch->used)
        wait_at_most(monitor, (uint64_t)(watch->next - used));
    return ended;
}

/* A thread was not there for the ticks that a late monitor has missed before it was found, in this look or in the next: a late
 * look is followed by one for what was missed. */
static uint64_t due_by_the_clock(struct watch *watch, const struct monitor *monitor) {
    int64_t since = (int64_t)monitor->now - watch->next;
    uint64_t most = since < 0 ? 0 : 1 + (uint64_t)since / monitor->apart;
    uint64_t due = monitor->ticks < most ? monitor->ticks : most;
    watch->next += (int64_t)(due * monitor->apart);
    return due;
}

/* --- where stacks lie ----------------------------------------------------------------------------- */

/* Where the thread's stack was not found, it is looked for once in a while. The handler goes on
 * with what its slot has: it may be reading that at any time, and knows where it stands itself. */
static void find_stack(struct slot *slot, struct monitor *monitor) {
    struct watch *watch = &slot->watch;
    bool is_wanted = watch->stack_high == 0 && monitor->finds_stack;
    if (!is_wanted || monitor->now - watch->sought_at < SOUGHT_APART)
        return;
    monitor->finds_stack = false;
    watch->sought_at = monitor->now;
    load_looking = true;
    stack_find(&monitor->reader, slot->tid, slot->thread_id, &watch->stack_low, &watch->stack_high);
    load_looking = false;
}

/* --- looks -------------------------------------------------------------------------------------------- */

static struct walk outside_walk(struct slot *slot, struct reader reader) {
    struct walk walk = handler_walk(slot, reader);
    walk.entry_instr_ptr = sampler.entry_instr_ptr;
    walk.stack_low = slot->watch.stack_low;
    walk.stack_high = slot->watch.stack_high;
    return walk;
}

/* A session that was started before any frame ran does not know where the interpreter's own frames stand. Certain is a
 * chain that stood still, of a thread that has given up its thread state: it is not in the midst of a push. */
static uintptr_t entry_instr_ptr_of(const struct walk *walk) {
    return walk->flags & SPPROF_SAMPLE_DETACHED ? walk_find_entry_instr_ptr(walk) : 0;
}

struct view {
    struct walk walk;
    enum spprof_reason outcome;
    uint64_t generation;
    uintptr_t entry_instr_ptr; /* 0: not looked for, or not found */
};

/* One look from outside. What it shows was so if the thread did not run meanwhile. */
static void view_once(struct slot *slot, struct reader reader, struct view *view) {
    /* Read before the walk: an object on a stack that stands cannot die before the walk is over. */
    view->generation = atomic_read(generation_read, &sampler.deaths);
    view->walk = outside_walk(slot, reader);
    view->entry_instr_ptr = 0;
    load_looking = true;
    view->outcome = handler_look(slot, &view->walk);
    if (view->outcome == SPPROF_CAPTURED && sampler.entry_instr_ptr == 0)
        view->entry_instr_ptr = entry_instr_ptr_of(&view->walk);
    load_looking = false;
}

/* The kernel reads whether the thread runs and then the time that it had used when it was switched away, in no order
 * (task_sched_runtime in kernel/sched/core.c): of one that came and went meanwhile the first reading may give the old time,
 * and the second cannot. */
static bool has_used_no_more(const struct slot *slot, int64_t used) {
    atomic_fence(stands_until);
    if (clock_cpu_time(slot->tid) != used)
        return false;
    atomic_fence(stands_until);
    return clock_cpu_time(slot->tid) == used;
}

/* Whether the thread, which had used that much, stood still during the look: its CPU clock counts in nanoseconds, and a
 * switch to it and back takes hundreds. */
static bool view_standing(struct slot *slot, struct monitor *monitor, int64_t used, struct view *view) {
    find_stack(slot, monitor);
    atomic_fence(stands_since);
    view_once(slot, monitor->reader, view);
    if (!has_used_no_more(slot, used) && slot->tid != gettid()) /* the caller's own Python code stands */
        return false;
    if (view->entry_instr_ptr != 0)
        sampler.entry_instr_ptr = view->entry_instr_ptr;
    return true;
}

static void view_running(struct slot *slot, const struct monitor *monitor, struct view *view) {
    view->walk = outside_walk(slot, monitor->reader);
    view->outcome = observe_thread(monitor->observer, &view->walk);
    view->walk.flags |= SPPROF_SAMPLE_UNASKED;
    view->generation = monitor->observer->generation;
}

/* The ticks come to that. */
static void conclude(struct slot *slot, struct reader reader, uint32_t ticks, const struct view *view) {
    enum spprof_reason outcome = view->outcome;
    counters_begin(&slot->counters, ticks);
    if (reader.through != NULL)
        counters_unguarded(&slot->counters, ticks);
    if (outcome == SPPROF_CAPTURED)
        outcome = handler_record(slot, &view->walk, view->generation, ticks);
    if (outcome == SPPROF_CAPTURED && (view->walk.flags & SPPROF_SAMPLE_UNASKED))
        count(&unasked, ticks);
    counters_end(&slot->counters, ticks, outcome);
}

/* What is found at a slot. */
struct visit {
    uint32_t ticks, left; /* that are due, and those of them that were so before */
    bool asked;           /* the thread has been, and has not answered, */
    bool in_vain;         /* though it had CPU time enough for it */
    int64_t used;         /* its CPU time, ns */
    bool ran;             /* since the last visit */
};

/* Visits in a row that found a thread not to have run, after which it has turns. */
#define IDLE_VISITS 16

static bool is_its_turn(const struct slot *slot, const struct monitor *monitor) {
    return slot->watch.idle_visits < IDLE_VISITS || slot->thread % monitor->turns == monitor->turn % monitor->turns;
}

/* --- asking -------------------------------------------------------------------------------------------- */

/* 0, or a negative errno value. */
static int ask_now(struct watch *watch) {
    watch->waits_at = -1;
    return timers_ask(watch->timer);
}

/* Whether the thread will look itself: it has been asked, or is now. One that was asked in vain may have had the signal taken
 * away (sigwait, SIG_IGN while it is blocked), so the timer is set again: where the signal still waits that changes nothing. */
static bool is_asked(struct slot *slot, const struct visit *visit) {
    struct watch *watch = &slot->watch;
    if (!visit->asked && watch->timer == NO_TIMER)
        return false;
    if (visit->in_vain) {
        ask_now(watch);
        return false;
    }
    if (visit->asked) {
        due_lay(&slot->due, visit->ticks);
        return true;
    }
    watch->asked_at = visit->used;
    due_lay(&slot->due, visit->ticks | ASKED);
    return ask_now(watch) == 0 || due_take(&slot->due) == 0;
}

/* Has the kernel signal the thread at the next of its ticks that finds it running: a timer of its CPU time wakes nobody. */
static void ask_once_it_runs(struct watch *watch, int64_t used) {
    watch->waits_at = used;
    timers_ask_later(watch->timer);
}

/* Whether the kernel has done so, as long ago as a thread may take to answer. A thread that works for moments between two of
 * its ticks can use as much time without meeting one. */
static bool is_waited_for_in_vain(const struct watch *watch, int64_t used) {
    return used - watch->waits_at >= ASKED_MOST && timers_has_fired(watch->timer);
}

/* A thread uses no time where it stands: what is due on it stays so until it is found running, by a look that it cannot be
 * in step with, or by the kernel. False: that has taken too long, or the thread was asked in vain. */
static bool is_left_due(struct slot *slot, struct monitor *monitor, const struct visit *visit) {
    struct watch *watch = &slot->watch;
    if (monitor->is_last || monitor->now - watch->left_at >= LEFT_MOST)
        return false;
    bool is_set = !visit->asked && visit->left > 0 && watch->waits_at >= 0;
    bool in_vain = visit->in_vain || (is_set && is_waited_for_in_vain(watch, visit->used));
    if (in_vain || !(visit->asked || is_set))
        ask_once_it_runs(watch, visit->used);
    if (in_vain)
        return false;
    due_lay(&slot->due, visit->ticks);
    if (visit->ran)
        wait_at_most(monitor, monitor->interval / 4 + observer_throw(monitor->observer) % (monitor->interval / 2));
    return true;
}

/* Of CPU time: whether the thread will look itself. It is looked at from outside only to learn where entry frames stand. */
static bool is_put_off(struct slot *slot, struct monitor *monitor, const struct visit *visit) {
    struct view view;
    bool stands = sampler.entry_instr_ptr != 0 ? has_used_no_more(slot, visit->used)
                                               : view_standing(slot, monitor, visit->used, &view);
    return stands ? is_left_due(slot, monitor, visit) : is_asked(slot, visit);
}

static uint32_t sum_of(uint64_t newly, uint32_t before) {
    return newly < DUE_MOST - before ? (uint32_t)newly + before : DUE_MOST;
}

/* What has come due is taken from the slot. */
static struct visit begin_visit(struct slot *slot, struct monitor *monitor, int64_t used) {
    struct watch *watch = &slot->watch;
    struct visit visit = {.used = used, .ran = used != watch->used};
    uint64_t newly = monitor->interval != 0 ? due_by_cpu_time(watch, monitor, used) : due_by_the_clock(watch, monitor);
    watch->used = used;
    uint32_t word = due_withdraw(&slot->due);
    visit.asked = word & ASKED;
    visit.in_vain = visit.asked && used - watch->asked_at >= ASKED_MOST;
    visit.left = word & DUE_MOST;
    visit.ticks = sum_of(newly, visit.left);
    if (visit.left == 0)
        watch->left_at = monitor->now;
    watch->idle_visits = visit.ran ? 0 : watch->idle_visits + (watch->idle_visits < IDLE_VISITS);
    return visit;
}

/* A clock that shows less than before is another thread's, which has got the kernel's id of one that ended. */
bool monitor_slot(struct slot *slot, struct monitor *monitor) {
    monitor->met++;
    if (!is_its_turn(slot, monitor))
        return true;
    int64_t used = clock_cpu_time(slot->tid), before = slot->watch.used;
    bool has_ended = used < before; /* or it has no clock */
    count_watched(&slot->watch, has_ended ? before : used);
    if (has_ended)
        return false;
    struct visit visit = begin_visit(slot, monitor, used);
    if (visit.ticks == 0)
        return true;
    if (atomic_read(quiesce_check, &slot->inside) != 0) { /* it looks just now, and its timer may have fired */
        slot->watch.waits_at = -1;
        due_lay(&slot->due, visit.ticks);
        return true;
    }
    bool by_its_time = monitor->interval != 0 && slot->tid != gettid();
    if (by_its_time && slot->watch.timer != NO_TIMER && is_put_off(slot, monitor, &visit))
        return true;
    struct view view;
    if (!view_standing(slot, monitor, used, &view)) {
        if (!by_its_time && is_asked(slot, &visit))
            return true;
        view_running(slot, monitor, &view);
    }
    if (by_its_time)
        view.walk.flags |= SPPROF_SAMPLE_UNASKED;
    conclude(slot, monitor->reader, visit.ticks, &view);
    return true;
}
