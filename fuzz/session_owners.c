#define _GNU_SOURCE
#include "session_owners.h"

#include <signal.h>
#include <string.h>

#include "signals.h"
#include "target.h"

enum { BASE, TOLD, NUMBER_ALONE, IGNORING, ALSO_TOLD, OWNERS, NOBODY = -1 };
enum way { NOTHING, CALL_IT, PUT_BACK, WAYS };
#define SIGNALS 3
#define ASKS 2 /* the one by which threads are asked */

#define RUNS_MOST 32 /* more is a circle */

struct runs {
    int who[RUNS_MOST + 1];
    unsigned count;
};

/* The kernel, as it would be without us. */
struct plain {
    int front;
    int found[OWNERS]; /* NOBODY: has not the signal, and nobody passes one on to it */
};

static struct watched {
    int number;
    struct sigaction at_first; /* before we came */
    struct plain plain;
    enum way ways[OWNERS];
    struct sigaction given[OWNERS]; /* as its predecessor, by the kernel */
    /* What the core can know, and so be asked of one that takes the signal again: */
    int seen;            /* who is in front, for certain; NOBODY: there may have been changes */
    int newcomer;        /* took the signal from that one, for the first time; no change since */
    bool newest[OWNERS]; /* the core may take it for the one in front */
    bool came[OWNERS];   /* has taken the signal */
    bool placed[OWNERS]; /* the core saw it first as a newcomer, so knows whom it found */
    bool own[OWNERS];    /* found its own place, and the core has not looked since */
} signals[SIGNALS] = {{.number = SIGSEGV}, {.number = SIGBUS}, {.number = 0}}; /* [ASKS]: owners_set_up */

static bool sending;
static struct runs runs;

static void note_run(struct runs *noted, int owner) {
    if (noted->count <= RUNS_MOST)
        noted->who[noted->count] = owner;
    noted->count++;
}

static struct watched *watched_of(int number) {
    int i = 0;
    while (signals[i].number != number)
        i++;
    return &signals[i];
}

/* --- neighbours ------------------------------------------------------------------------------ */

static void run_owner(int owner, int number, siginfo_t *info, void *context);

#define HANDLER_OF(owner)                                                                                              \
    static void run_##owner(int number, siginfo_t *info, void *context) { run_owner(owner, number, info, context); }
HANDLER_OF(BASE)
HANDLER_OF(TOLD)
HANDLER_OF(ALSO_TOLD)
static void run_NUMBER_ALONE(int number) { run_owner(NUMBER_ALONE, number, NULL, NULL); }

/* A handler that sends the signal again must not have it blocked. */
static struct sigaction action_of(int owner) {
    static const struct sigaction actions[OWNERS] = {
        [BASE] = {.sa_sigaction = run_BASE, .sa_flags = SA_SIGINFO | SA_NODEFER},
        [TOLD] = {.sa_sigaction = run_TOLD, .sa_flags = SA_SIGINFO | SA_NODEFER},
        [NUMBER_ALONE] = {.sa_handler = run_NUMBER_ALONE, .sa_flags = SA_NODEFER},
        [IGNORING] = {.sa_handler = SIG_IGN},
        [ALSO_TOLD] = {.sa_sigaction = run_ALSO_TOLD, .sa_flags = SA_SIGINFO | SA_NODEFER},
    };
    return actions[owner];
}

/* A careful owner, that keeps what it found the first time where it finds itself. */
static void put_in_front(struct watched *watched, int owner) {
    struct sigaction action = action_of(owner), found;
    sigaction(watched->number, &action, &found);
    if (found.sa_sigaction != action.sa_sigaction)
        watched->given[owner] = found;
}

static void call_found(const struct sigaction *found, int number, siginfo_t *info, void *context) {
    if (found->sa_flags & SA_SIGINFO)
        found->sa_sigaction(number, info, context);
    else if (found->sa_handler != SIG_IGN)
        found->sa_handler(number);
}

static void run_owner(int owner, int number, siginfo_t *info, void *context) {
    struct watched *watched = watched_of(number);
    if (!sending) { /* a crash, which happens again and then is reported */
        FUZZ_LAW(number != signals[ASKS].number);
        sigaction(number, &watched->at_first, NULL);
        return;
    }
    note_run(&runs, owner);
    if (runs.count > RUNS_MOST || owner == BASE)
        return;
    if (watched->ways[owner] == PUT_BACK) {
        sigaction(number, &watched->given[owner], NULL);
        raise(number);
        put_in_front(watched, owner);
    } else if (watched->ways[owner] == CALL_IT) {
        call_found(&watched->given[owner], number, info, context);
    }
}

/* --- the oracle ------------------------------------------------------------------------------ */

static void plain_take(struct plain *plain, int owner) {
    if (plain->front != owner)
        plain->found[owner] = plain->front;
    plain->front = owner;
}

static void plain_run(struct plain *plain, const enum way *ways, int owner, struct runs *noted) {
    if (owner == IGNORING)
        return;
    note_run(noted, owner);
    if (noted->count > RUNS_MOST || owner == BASE)
        return;
    if (ways[owner] == PUT_BACK) {
        plain->front = plain->found[owner];
        plain_run(plain, ways, plain->front, noted);
        plain_take(plain, owner);
    } else if (ways[owner] == CALL_IT) {
        plain_run(plain, ways, plain->found[owner], noted);
    }
}

static bool is_predecessor(const struct plain *plain, int owner) {
    for (int i = 0; i < OWNERS; i++)
        if (i != owner && plain->found[i] == owner)
            return true;
    return false;
}

static bool any_puts_back(const struct watched *watched, const struct runs *noted) {
    for (unsigned i = 0; i < noted->count; i++)
        if (noted->who[i] != BASE && watched->ways[noted->who[i]] == PUT_BACK)
            return true;
    return false;
}

/* --- what is promised ------------------------------------------------------------------------ */

static void note_change(struct watched *watched) { watched->seen = watched->newcomer = NOBODY; }

/* An owner that takes the signal again and is given its own place keeps its predecessor from the
 * next look on, where the core knows who that is and no other owner has found the same place.
 * Until then nobody may come in front of it. The core takes for such an owner each that it knew in
 * front and finds there again: so none may come again that has found a newer one. */
static bool may_take(const struct watched *watched, int owner) {
    int front = watched->plain.front;
    if (front != owner)
        return !watched->own[front] && !watched->newest[owner];
    bool finds_itself = !signals_in_front(watched->number);
    bool known = watched->seen == owner && watched->placed[owner];
    return finds_itself || (known && !is_predecessor(&watched->plain, owner) && owner != IGNORING);
}

/* It came before the core had its predecessor in the list. */
static bool found_no_place(const struct watched *watched, int owner) {
    return thunk_place(watched->given[owner].sa_sigaction) < 0;
}

/* Nor may one be put in front itself. */
static bool may_give_back(const struct watched *watched, int owner) {
    bool itself = found_no_place(watched, owner);
    return !watched->own[owner] && !(itself && watched->newest[watched->plain.found[owner]]);
}

/* Nor may it come again from its handler, where the core does not see the signal that it sends
 * meanwhile and another has found its place. */
static bool may_send(const struct watched *watched, int afterwards) {
    int front = watched->plain.front;
    if (watched->own[front] && watched->ways[front] == PUT_BACK)
        return false;
    bool ours = afterwards == front && signals_in_front(watched->number);
    bool unseen = watched->ways[afterwards] == PUT_BACK && found_no_place(watched, afterwards);
    return !unseen || !(ours || watched->newest[afterwards]) || !is_predecessor(&watched->plain, afterwards);
}

static void note_taking(struct watched *watched, int owner) {
    int front = watched->plain.front;
    bool ours = signals_in_front(watched->number);
    bool new = ours && watched->seen == front && !watched->came[owner];
    if (front == owner && !ours)
        return;
    note_change(watched);
    watched->own[owner] = front == owner;
    if (front == owner)
        return;
    watched->placed[owner] = false;
    watched->came[owner] = true;
    watched->newcomer = new ? owner : NOBODY;
}

static void note_newest(struct watched *watched, int owner) {
    memset(watched->newest, 0, sizeof watched->newest);
    watched->newest[owner] = true;
}

static void see(struct watched *watched) {
    int front = watched->plain.front;
    if (!signals_in_front(watched->number))
        return;
    note_newest(watched, front);
    if (watched->newcomer == front)
        watched->placed[front] = true;
    watched->own[front] = false;
    watched->newcomer = NOBODY;
    watched->seen = front;
}

/* --- what the input says --------------------------------------------------------------------- */

static struct watched *signal_of(uint8_t argument) { return &signals[(argument & 3) % SIGNALS]; }

static int neighbour_of(uint8_t argument) { return 1 + (argument >> 2 & 3); }

void owners_take(uint8_t argument) {
    struct watched *watched = signal_of(argument);
    int owner = neighbour_of(argument);
    if (!may_take(watched, owner))
        return;
    note_taking(watched, owner);
    watched->ways[owner] = (enum way)((argument >> 4) % WAYS);
    plain_take(&watched->plain, owner);
    put_in_front(watched, owner);
}

void owners_give_back(uint8_t argument) {
    struct watched *watched = signal_of(argument);
    struct plain *plain = &watched->plain;
    int owner = neighbour_of(argument);
    if (plain->found[owner] == NOBODY || !may_give_back(watched, owner))
        return;
    plain->front = plain->found[owner];
    if (!is_predecessor(plain, owner))
        plain->found[owner] = NOBODY;
    note_change(watched);
    sigaction(watched->number, &watched->given[owner], NULL);
}

/* The core notes whose place the kernel has called. */
static void note_sent(struct watched *watched, int front, bool ours, const struct runs *ran) {
    if (any_puts_back(watched, ran)) {
        note_change(watched);
        for (unsigned i = 0; i < ran->count; i++) {
            watched->newest[ran->who[i]] = true;
            watched->placed[ran->who[i]] = false; /* it may have found another when it came back */
        }
    } else if (ours) {
        note_newest(watched, front);
        watched->seen = front;
        watched->newcomer = NOBODY;
    }
}

/* Owner -1: none. */
static void compare(int number, const struct runs *plain) {
    for (unsigned i = 0; i < runs.count || i < plain->count; i++) {
        int ran = i < runs.count ? runs.who[i] : NOBODY;
        int would = i < plain->count ? plain->who[i] : NOBODY;
        if (ran != would)
            fuzz_fail("signal %d: run %u is of owner %d, without us of %d", number, i, ran, would);
    }
}

void owners_send(uint8_t argument) {
    struct watched *watched = signal_of(argument);
    int front = watched->plain.front;
    struct plain after = watched->plain;
    struct runs expected = {.count = 0};
    plain_run(&after, watched->ways, front, &expected);
    if (expected.count > RUNS_MOST || !may_send(watched, after.front))
        return;
    watched->plain = after;
    bool ours = signals_in_front(watched->number);
    runs.count = 0;
    sending = true;
    raise(watched->number);
    sending = false;
    compare(watched->number, &expected);
    fuzz_note("passed_on");
    note_sent(watched, front, ours, &expected);
}

void owners_seen(void) {
    for (int i = 0; i < SIGNALS; i++)
        see(&signals[i]);
}

void owners_perhaps_seen(void) {
    for (int i = 0; i < SIGNALS; i++)
        if (signals_in_front(signals[i].number))
            signals[i].newest[signals[i].plain.front] = true;
}

/* What it saw is not asked of it: only that the one in front may be its newest. */
void owners_seen_at_last(void) {
    for (int i = 0; i < SIGNALS; i++)
        signals[i].newest[signals[i].plain.front] = true;
}

/* --- an input's beginning -------------------------------------------------------------------- */

static void forget(struct watched *watched) {
    *watched = (struct watched){.number = watched->number, .at_first = watched->at_first};
    watched->plain.front = BASE;
    for (int i = 0; i < OWNERS; i++)
        watched->plain.found[i] = NOBODY;
    note_change(watched);
}

void owners_begin(void) {
    struct sigaction base = action_of(BASE);
    fake_signals_forget();
    for (int i = 0; i < SIGNALS; i++) {
        forget(&signals[i]);
        sigaction(signals[i].number, &base, NULL);
    }
}

void owners_set_up(int asks) {
    signals[ASKS].number = asks;
    for (int i = 0; i < SIGNALS; i++)
        sigaction(signals[i].number, NULL, &signals[i].at_first);
}
