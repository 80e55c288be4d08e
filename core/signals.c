#define _GNU_SOURCE /* sigorset, syscall */
#include "signals.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "atomics.h"
#include "clock.h"

#define NO_PLACE (-1)
#define UNSETTLED(place) (-2 - (place)) /* less than NO_PLACE: in front for a moment, maybe not for its owner */

/* How long a handler gives way to the thread that is taking its signal before it goes on
 * without: two system calls of that thread, unless one of higher priority keeps it from running. */
#define GIVE_WAY UINT64_C(1000000000) /* nanoseconds */

/* What one of our functions stands for. signals_take writes it before the function is installed,
 * handlers read it. */
struct owner {
    struct sigaction action;
    int signal;
    int older;                /* the place that was in front before; NO_PLACE: not known */
    int afterwards;           /* the place of what the kernel makes of it at a delivery; NO_PLACE: it stays */
    _Atomic bool passed_over; /* signals_take writes, handlers read: it has come in front again elsewhere */
};

static struct owner owners[THUNKS];
static _Atomic int owners_known; /* signals_take writes and reads: how many have been published */

static struct front {
    _Atomic(signal_claim *) claim; /* signals_take writes, handlers read */
    /* The newest owner, UNSETTLED while a thread is finding it out, or NO_PLACE: signals_take
     * and signals_give_back write; handlers read, and write where the kernel has called an older
     * owner's function. */
    _Atomic int place;
    /* By us: the owner at `place` has the signal itself, or is about to. Taking and giving back
     * write, handlers read. */
    _Atomic bool given_back;
    bool begun; /* the fields above mean something. Taking alone uses it. */
} fronts[NSIG];

/* --- actions --------------------------------------------------------------------------------------------- */

static bool is_fault(int signal) { return signal == SIGSEGV || signal == SIGBUS; }

/* The kernel goes by the address alone, whatever the flags. */
static bool is_function(const struct sigaction *action) {
    return action->sa_handler != SIG_DFL && action->sa_handler != SIG_IGN;
}

/* Signal by signal: libc leaves the part of the set that has no signals as it happens to be. */
static bool same_set(const sigset_t *left, const sigset_t *right) {
    for (int signal = 1; signal < NSIG; signal++)
        if (sigismember(left, signal) != sigismember(right, signal))
            return false;
    return true;
}

#define KERNELS_OWN_FLAGS 0x04000000 /* SA_RESTORER, which libc adds */

static bool same_action(const struct sigaction *left, const struct sigaction *right) {
    return left->sa_sigaction == right->sa_sigaction &&
           ((left->sa_flags ^ right->sa_flags) & ~KERNELS_OWN_FLAGS) == 0 && same_set(&left->sa_mask, &right->sa_mask);
}

static int place_of_action(const struct sigaction *action) { return thunk_place(action->sa_sigaction); }

/* Of ours the place tells: the kernel takes signals out of a mask that cannot be blocked. */
static bool same_handler(const struct sigaction *left, const struct sigaction *right) {
    int place = place_of_action(left);
    return place != NO_PLACE ? place == place_of_action(right) : same_action(left, right);
}

static bool is_in_front(const struct sigaction *present) {
    return place_of_action(present) != NO_PLACE && (present->sa_flags & SA_SIGINFO);
}

/* While one of our handlers runs, nothing but a fault may interrupt it: another handler could
 * take long, or leave by longjmp and never come back. */
static sigset_t all_but_faults(void) {
    static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
    sigset_t set;
    sigfillset(&set);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        sigdelset(&set, faults[i]);
    return set;
}

/* What stands in the kernel for the owner of `place`. Whether its signal interrupts a system
 * call, and on which stack it is handled, the kernel decides before the handler runs: so that is
 * as the owner wants it. */
static struct sigaction action_in_front(int place) {
    const struct sigaction *owner = &owners[place].action;
    int kept = is_function(owner) ? owner->sa_flags & (SA_ONSTACK | SA_RESTART) : SA_ONSTACK | SA_RESTART;
    return (struct sigaction){
        .sa_sigaction = thunk_of(place), .sa_flags = SA_SIGINFO | kept, .sa_mask = all_but_faults()};
}

/* --- the list --------------------------------------------------------------------------------------------- */

static bool is_passed_over(int place) { return atomic_read(disposition_find, &owners[place].passed_over); }

static bool is_given_back(int signal) { return atomic_read(disposition_find, &fronts[signal].given_back); }

static void note_giving_back(int signal, bool given_back) {
    atomic_write(disposition_publish, &fronts[signal].given_back, given_back);
}

static void pass_over(int place, bool passed) { atomic_write(disposition_publish, &owners[place].passed_over, passed); }

/* The place whose owner `place` stands for; NO_PLACE: none that is known. */
static int meant_place(int signal, int place) {
    while (place != NO_PLACE && owners[place].signal == signal && is_passed_over(place))
        place = owners[place].older;
    return place;
}

static bool is_owner(int place, int signal, const struct sigaction *action, int older) {
    const struct owner *owner = &owners[place];
    return owner->signal == signal && owner->older == older && same_action(&owner->action, action);
}

/* A place of such an owner; NO_PLACE: there is none. */
static int find_known(int signal, const struct sigaction *action, int older) {
    int found = NO_PLACE, known = atomic_read(disposition_find, &owners_known);
    for (int place = 0; place < known; place++) {
        if (is_owner(place, signal, action, older) && (found == NO_PLACE || is_passed_over(found)))
            found = place;
    }
    return found;
}

static int add(int signal, const struct sigaction *action, int older, int afterwards) {
    int place = atomic_read(disposition_find, &owners_known);
    if (place == THUNKS)
        return NO_PLACE;
    owners[place].action = *action;
    owners[place].signal = signal;
    owners[place].older = older;
    owners[place].afterwards = afterwards;
    atomic_write(disposition_publish, &owners_known, place + 1);
    return place;
}

static int remember(int signal, const struct sigaction *action, int older);

/* A new one, with what it becomes at a delivery. NO_PLACE: there are too many. */
static int add_owner(int signal, const struct sigaction *action, int older) {
    int afterwards = NO_PLACE;
    if (is_function(action) && (action->sa_flags & SA_RESETHAND)) {
        struct sigaction reset = *action;
        reset.sa_handler = SIG_DFL;
        afterwards = remember(signal, &reset, older);
        if (afterwards == NO_PLACE)
            return NO_PLACE;
    }
    return add(signal, action, older, afterwards);
}

/* The same, or a new one. NO_PLACE: there are too many. */
static int remember(int signal, const struct sigaction *action, int older) {
    int place = find_known(signal, action, older);
    return place != NO_PLACE ? place : add_owner(signal, action, older);
}

/* Of those that such an owner had before, the one that it has not had for the longest time;
 * NO_PLACE: there is none. */
static int find_former(int signal, const struct sigaction *action, int older, int place) {
    int known = atomic_read(disposition_find, &owners_known);
    for (int i = 1; i < known; i++) {
        int former = (place + i) % known;
        if (is_owner(former, signal, action, older))
            return former;
    }
    return NO_PLACE;
}

/* Half of the room is left for others. */
static bool has_room_to_come_again(void) { return atomic_read(disposition_find, &owners_known) < THUNKS / 2; }

/* An owner that we have replaced puts itself in front again. It may have been given its own
 * place as its predecessor: from then on that place stands for the next older owner, and the
 * owner has another. A new one if there is room: any that it had before it may have been given
 * as its predecessor too, and may still have. */
static int come_again(int signal, const struct sigaction *present, int place) {
    int older = owners[place].older;
    int other = has_room_to_come_again() ? NO_PLACE : find_former(signal, present, older, place);
    if (other == NO_PLACE)
        other = add_owner(signal, present, older);
    if (other != NO_PLACE)
        pass_over(place, true);
    return other;
}

/* The place of whoever is in front, with `newest` as the newest owner until now: that of a known
 * one, whose newer ones have gone, or a new one. An owner is known by its handler; what else it
 * asks for may have changed. */
static int place_in_list(int signal, const struct sigaction *present, int newest) {
    int known = newest;
    while (known != NO_PLACE && owners[known].action.sa_sigaction != present->sa_sigaction)
        known = owners[known].older;
    bool again = known != NO_PLACE && known == newest && !is_given_back(signal) && is_function(present);
    int older = known != NO_PLACE ? owners[known].older : newest;
    int place = again ? come_again(signal, present, known) : remember(signal, present, older);
    if (place != NO_PLACE)
        pass_over(place, false);
    return place;
}

/* Puts `next` in front in the place of `expected`. Whoever came between the look and the swap is
 * found in what the swap gives and put back, and so is whoever came between those two. Returns a
 * negative errno value if nothing was changed, else 0; *met: nobody came. */
static int replace_in_front(int signal, struct sigaction expected, struct sigaction next, bool *met) {
    struct sigaction replaced;
    if (sigaction(signal, &next, &replaced) != 0)
        return -errno;
    *met = same_handler(&replaced, &expected);
    while (!same_handler(&replaced, &expected)) {
        expected = next;
        next = replaced;
        if (sigaction(signal, &next, &replaced) != 0)
            break;
    }
    return 0;
}

/* --- choosing --------------------------------------------------------------------------------------------- */

int signals_choose(void) {
    struct sigaction present;
    sigset_t blocked;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    for (int signal = SIGNALS_CHOICE_FIRST; signal >= SIGNALS_CHOICE_LAST; signal--)
        if (!sigismember(&blocked, signal) && sigaction(signal, NULL, &present) == 0 && present.sa_handler == SIG_DFL)
            return signal;
    return SIGPROF;
}

/* --- taking and giving back ------------------------------------------------------------------------------ */

/* Whoever comes between a look and the swap is found in what the swap gives, and becomes the
 * owner instead. It is newer than the one that it found there, and if that was ours, has been given
 * our function as its predecessor. Returns the place in front, or NO_PLACE and *error: then all is
 * as it was. */
static int displace(int signal, struct sigaction present, int newest, int *error) {
    struct sigaction ours, replaced, expected = present;
    int expected_place = NO_PLACE;
    for (;;) {
        int place = place_of_action(&present);
        if (place == NO_PLACE)
            place = place_in_list(signal, &present, newest);
        if (expected_place == NO_PLACE)
            expected_place = place;
        ours = place != NO_PLACE ? action_in_front(place) : present;
        atomic_write(disposition_publish, &fronts[signal].place, UNSETTLED(place));
        *error = sigaction(signal, &ours, &replaced) != 0 ? -errno : place == NO_PLACE ? -ENOSPC : 0;
        if (*error != 0)
            return NO_PLACE;
        if (same_handler(&replaced, &expected))
            return place;
        expected = ours;
        present = replaced;
        newest = expected_place;
        expected_place = place;
    }
}

static void settle(int signal, int place, bool given_back) {
    int meant = meant_place(signal, place);
    note_giving_back(signal, given_back);
    atomic_write(disposition_publish, &fronts[signal].place, meant);
}

/* Signals that are not ours wait meanwhile (wait_until_settled); so on this thread none may arrive. */
static int take_from(int signal, const struct sigaction *present) {
    struct front *front = &fronts[signal];
    int newest = atomic_read(disposition_find, &front->place);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error, place = displace(signal, *present, newest, &error);
    settle(signal, place != NO_PLACE ? place : newest, place == NO_PLACE && is_given_back(signal));
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

int signals_take(int signal, signal_claim *claim) {
    struct front *front = &fronts[signal];
    struct sigaction present;
    if (!front->begun)
        atomic_write(disposition_publish, &front->place, NO_PLACE);
    front->begun = true;
    if (sigaction(signal, NULL, &present) != 0)
        return -errno;
    atomic_write(disposition_publish, &front->claim, claim);
    if (!is_in_front(&present))
        return take_from(signal, &present);
    settle(signal, place_of_action(&present), false);
    return 0;
}

void signals_give_back(int signal) {
    struct sigaction present;
    bool met;
    if (sigaction(signal, NULL, &present) != 0 || place_of_action(&present) == NO_PLACE)
        return;
    int place = place_of_action(&present), meant = meant_place(signal, place);
    const struct owner *owner = &owners[meant != NO_PLACE ? meant : place];
    note_giving_back(signal, true); /* before a handler finds the owner in front */
    if (replace_in_front(signal, present, owner->action, &met) != 0)
        note_giving_back(signal, false);
    else
        settle(signal, place, met);
}

bool signals_in_front(int signal) {
    struct sigaction present;
    return sigaction(signal, NULL, &present) == 0 && is_in_front(&present);
}

/* --- handing on ------------------------------------------------------------------------------------------- */

/* One call of one of our functions. */
struct call {
    int signal;
    siginfo_t *info;
    void *ucontext;
    int thunk;      /* the place whose function it is */
    int place;      /* and the owner's that is meant */
    bool is_told;   /* `info` and `ucontext` mean something: a handler may pass the signal's number alone */
    bool by_kernel; /* and not by a handler that was called before us */
};

/* Whether there is memory at an address: the kernel reads a set before it looks at what to do
 * with it, here nothing. */
static bool is_readable(const void *address) {
    return address != NULL && (syscall(SYS_rt_sigprocmask, ~0, address, NULL, 8UL) == 0 || errno != EFAULT);
}

static bool is_believable(int signal, const siginfo_t *info, const void *ucontext) {
    bool aligned = ((uintptr_t)info | (uintptr_t)ucontext) % sizeof(void *) == 0;
    return aligned && is_readable(info) && info->si_signo == signal && is_readable(ucontext);
}

/* Without SA_SIGINFO the kernel fills in the context alone: what is in the place of `info` is
 * left from an earlier signal, if not from one of ours (forget_info). */
static bool is_filled_in(int signal, const siginfo_t *info) { return is_fault(signal) || info->si_signo == signal; }

static bool is_claimed(const struct call *call) {
    signal_claim *claim = atomic_read(disposition_find, &fronts[call->signal].claim);
    return claim != NULL && call->is_told && claim(call->signal, call->info, call->ucontext);
}

static void forget_info(const struct call *call) { call->info->si_signo = 0; }

#define FIRST_REAL_TIME 32 /* some emulators keep the last of these for themselves, and two never can be blocked */

/* Whether just those signals are blocked that the kernel blocks when it calls one of our functions:
 * it has called this one, or who called it did so as its last act and asked for the same mask. */
static bool has_our_mask(const struct call *call) {
    sigset_t present, ours = all_but_faults();
    sigorset(&ours, &ours, &((ucontext_t *)call->ucontext)->uc_sigmask);
    sigaddset(&ours, call->signal);
    if (pthread_sigmask(SIG_BLOCK, NULL, &present) != 0)
        return false;
    for (int signal = 1; signal < FIRST_REAL_TIME; signal++)
        if (signal != SIGKILL && signal != SIGSTOP && sigismember(&ours, signal) != sigismember(&present, signal))
            return false;
    return true;
}

/* While a thread is taking the signal, the owner whose function the kernel has called may not be
 * the newest. */
static bool is_unsettled(const struct call *call) {
    return atomic_read(disposition_find, &fronts[call->signal].place) < NO_PLACE;
}

static void wait_until_settled(const struct call *call) {
    for (uint64_t began = clock_now(); is_unsettled(call) && clock_now() - began < GIVE_WAY;)
        sched_yield();
}

/* An owner has put its predecessor in front, and will come again itself. */
static void note_front(const struct call *call) {
    struct front *front = &fronts[call->signal];
    if (atomic_read(disposition_find, &front->place) >= NO_PLACE)
        atomic_write(disposition_publish, &front->place, call->place);
}

/* Put back by signal(2), which knows no flags: the kernel no longer tells us why a signal comes. */
static void renew_flags(struct call *call) {
    struct sigaction ours = action_in_front(call->place);
    bool met;
    replace_in_front(call->signal, ours, ours, &met);
    call->is_told = false;
}

static bool is_itself_in_front(const struct owner *owner, const struct sigaction *present) {
    return is_function(present) && present->sa_sigaction == owner->action.sa_sigaction;
}

/* Who called: the stack tells (thunks.h), except where a handler's last act is to call its
 * predecessor and its own frame has gone already. The kernel calls only what is in front, and with
 * our mask. False where it called what was in front then and is not any more. */
static bool find_caller(struct call *call, bool kernels_frame) {
    struct sigaction present;
    if (kernels_frame)
        wait_until_settled(call);
    if (sigaction(call->signal, NULL, &present) != 0)
        return true;
    bool in_front = place_of_action(&present) == call->place;
    if (kernels_frame && !in_front && has_our_mask(call))
        return false;
    call->by_kernel = kernels_frame && in_front;
    if (in_front && !(present.sa_flags & SA_SIGINFO))
        renew_flags(call);
    int meant = meant_place(call->signal, call->place);
    if (meant != NO_PLACE || !call->by_kernel) /* else whoever has put it in front has meant its owner */
        call->place = meant;
    if (call->place == NO_PLACE)
        return true;
    const struct owner *owner = &owners[call->place];
    if (call->by_kernel && owner->signal == call->signal)
        note_front(call);
    else if (is_itself_in_front(owner, &present) && !is_given_back(call->signal))
        call->place = owner->older; /* it came in front again, and called its own place */
    return true;
}

static bool is_real_fault(const struct call *call) {
    return is_fault(call->signal) && call->is_told && call->info->si_code > 0;
}

static void send_bare(int signal) { syscall(SYS_tgkill, getpid(), (pid_t)syscall(SYS_gettid), signal); }

/* Has the kernel deliver it to whoever is in front now, with all that it says, once the handler has returned. A fault
 * happens again by itself. */
static void send_again(const struct call *call) {
    if (is_real_fault(call))
        return;
    if (!call->is_told ||
        syscall(SYS_rt_tgsigqueueinfo, getpid(), (pid_t)syscall(SYS_gettid), call->signal, call->info))
        send_bare(call->signal);
}

/* The default action of every signal taken here is to end the process, with this signal as its
 * cause. A fault happens again by itself when the handler returns, with its own address and
 * registers for the core file; anything that was sent must be sent again, and is delivered when
 * the handler's mask is lifted. */
static void take_default_action(const struct call *call) {
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigaction(call->signal, &action, NULL);
    if (!is_real_fault(call))
        send_bare(call->signal);
}

/* The default action, called by a handler that found a function in its place: whether it would
 * have ended the process itself, or done nothing more, cannot be told. A fault ends the process,
 * for one that nobody mends would come again for ever; another signal does not, and neither does
 * one that may be a tick. */
static void end_list(const struct call *call, bool is_ignored) {
    if (is_ignored ? is_real_fault(call) : (call->by_kernel && call->is_told) || is_fault(call->signal))
        take_default_action(call);
}

/* As the kernel would. The former mask is in the signal's frame and comes back when the thunk
 * returns to it. */
static void set_mask(const struct sigaction *owner, const struct call *call) {
    sigset_t during;
    sigorset(&during, &owner->sa_mask, &((ucontext_t *)call->ucontext)->uc_sigmask);
    if (!(owner->sa_flags & SA_NODEFER))
        sigaddset(&during, call->signal);
    pthread_sigmask(SIG_SETMASK, &during, NULL);
}

/* As the kernel would: an owner that wants only one signal is followed by the default action. */
static void replace_after_delivery(const struct owner *owner, const struct call *call) {
    struct sigaction present = action_in_front(call->thunk), next = action_in_front(owner->afterwards);
    bool met;
    replace_in_front(call->signal, present, next, &met);
}

static void deliver_as_kernel(const struct owner *owner, const struct call *call) {
    if (owner->afterwards != NO_PLACE)
        replace_after_delivery(owner, call);
    set_mask(&owner->action, call);
}

static void hand_on(const struct call *call) {
    const struct owner *owner = call->place != NO_PLACE ? &owners[call->place] : NULL;
    if (owner == NULL || !is_function(&owner->action)) {
        end_list(call, owner != NULL && owner->action.sa_handler == SIG_IGN);
        return;
    }
    if (call->by_kernel)
        deliver_as_kernel(owner, call);
    if (owner->action.sa_flags & SA_SIGINFO)
        owner->action.sa_sigaction(call->signal, call->info, call->ucontext);
    else
        owner->action.sa_handler(call->signal);
}

void signals_enter(int signal, siginfo_t *info, void *ucontext, uintptr_t function, uintptr_t stack) {
    int saved = errno;
    bool kernels_frame = thunk_called_by_kernel(stack, info, ucontext);
    struct call call = {.signal = signal, .info = info, .ucontext = ucontext};
    call.thunk = call.place = thunk_place((signal_function *)function); // NOLINT: an address on purpose
    call.is_told = kernels_frame ? is_filled_in(signal, info) : is_believable(signal, info, ucontext);
    if (!is_claimed(&call)) {
        if (find_caller(&call, kernels_frame))
            hand_on(&call);
        else
            send_again(&call);
    } else if (kernels_frame) {
        forget_info(&call);
    }
    errno = saved;
}
