/* Asking a thread to look at itself (core/ask.h): the session's monitor lays ticks that have come due
 * on the thread's slot and asks for them by a signal, or takes them back and looks itself; the
 * handler takes them; a thread ends with its signal on the way, and another gets the slot; a stop.
 *
 * Every interleaving is checked, each step as one indivisible access in the order of the source:
 * memory orders are the litmus tests' business. A step is named after the function of core/ that it
 * stands for. Whoever counts ticks in the slot and pushes into its ring is its producer.
 *
 * Proved: a slot never has two producers; every tick that came due is counted once, and not for
 * another thread; an ask that no handler has answered is on its way; nobody waits for ever. A mutant
 * takes one of the means away and must be refuted:
 *
 *   NOT_TAKEN   the handler produces though it has taken no tick
 *   TAKE_FIRST  the handler takes the ticks before it is inside
 *   NO_LOOK     the monitor produces without having looked at `inside`
 *   TWO_STEPS   due_withdraw() is a read and a write
 *   KEEP_ASKED  an ask that failed counts as one that is on its way
 *   KEEP_DUE    close_slot() leaves what is due on the slot
 *   NO_WAIT     close_slot() does not wait until nobody is inside
 *
 * Left out are slots that are given up (lifecycle.pml): the tick of a handler that does not come out
 * is counted when it does.
 */
#define TICKS 3    /* that come due in all */
#define LOOKS 5    /* of the monitor, at most */
#define TENANTS 2  /* threads that have the slot one after the other */
#define HANDLERS 2 /* threads that a signal may come to: the tenant, and whoever gets a late one */
#define ASKED 64   /* in the same word as the ticks */

#define ticks_of(word) (word & (ASKED - 1))
#define is_set(word) (word >= ASKED)

bool is_active = true; /* sampler.active */
byte lease;            /* slot.lease */
byte inside;           /* slot.inside */
byte due;              /* slot.due */
bool timer;            /* watch.timer: the thread can be asked */
chan queued = [TENANTS] of { byte }; /* signals on their way, with the lease in their value */

byte tenant;     /* the lease of the thread that the slot is furnished for */
byte unanswered; /* signals of that lease, sent and with no handler yet that has taken the ticks */
byte producers;
byte come;       /* ticks that have come due */
byte counted;
bool over;

/* --- core/ask.h --- */

inline due_lay(word) { due = due + word }

inline due_take(result) { d_step { result = ticks_of(due); due = 0 } }

inline due_withdraw(result) {
#ifdef TWO_STEPS
    result = due;
    due = result - ticks_of(result)
#else
    d_step { result = due; due = result - ticks_of(result) }
#endif
}

inline count(number) { d_step { assert(counted + number <= come); counted = counted + number } }

inline produce(number) { /* counters_begin(), ring_push(), counters_end() */
    d_step { assert(producers == 0); producers++ };
    count(number);
    producers--
}

/* --- core/handler.c --- */

inline enter() {
    inside++;
    go = is_active;
    go = go && lease == mine
}

inline take() {
    d_step { due_take(ticks); unanswered = unanswered - (tenant == mine) }
}

inline handler_tick() {
    assert(tenant == mine);
    produce(ticks);
    ticks = 0
}

proctype handler() {
    byte mine, ticks;
    bool go;
end: /* a handler that waits for a signal may wait for ever */
    do
    :: queued ? mine -> /* on_tick() */
#ifdef TAKE_FIRST
       go = is_active && lease == mine;
       if
       :: go -> take(); inside++
       :: else -> inside++
       fi;
#else
       enter();
       if
       :: go -> take()
       :: else
       fi;
#endif
       if
#ifdef NOT_TAKEN
       :: go -> handler_tick()
#else
       :: ticks > 0 -> handler_tick()
#endif
       :: else
       fi;
       inside-- /* leave() */
    od
}

/* --- ordinary/monitor.c, with the work lock held --- */

inline is_asked() { /* with no ask on its way: sends one; what cannot be sent the monitor takes back */
    due_lay(ticks + ASKED);
    if
    :: d_step { nfull(queued) -> queued ! lease; unanswered++ } /* timers_ask() */
    :: true ->
#ifndef KEEP_ASKED
       due_take(left);
       if
       :: left > 0 -> produce(left)
       :: else
       fi
#else
       skip
#endif
    fi
}

inline look_or_ask() {
    if
    :: produce(ticks) /* it stands; or it runs and cannot be asked, or has not answered in time */
    :: is_set(word) -> due_lay(ticks)
    :: !is_set(word) && timer -> is_asked()
    fi
}

inline monitor_slot() {
    d_step { assert(!is_set(due) || unanswered > 0); ticks = 0 };
    do /* due_by_cpu_time(), due_by_the_clock() */
    :: d_step { come < TICKS -> come++; ticks++ }
    :: break
    od;
    due_withdraw(word);
    ticks = ticks + ticks_of(word);
    if
    :: ticks == 0
#ifdef NO_LOOK
    :: else -> look_or_ask()
#else
    :: ticks > 0 && inside != 0 -> due_lay(ticks) /* quiesce_check */
    :: ticks > 0 && inside == 0 -> look_or_ask()
#endif
    fi
}

/* --- ordinary/threads.c --- */

inline admit() {
    assert(due == 0);
    tenant = lease;
    if
    :: timer = true
    :: timer = false
    fi
}

inline close_slot() {
    timer = false; /* timers_close(): what is queued stays queued */
    lease++;
#ifndef NO_WAIT
    inside == 0; /* wait_until_left() */
#endif
#ifndef KEEP_DUE
    due_take(left);
    count(left); /* counters_stray() */
#endif
    unanswered = 0
}

/* --- ordinary/session.c: the session's thread, and who stops the session once that has ended --- */

proctype session() {
    byte ticks, word, left, looks, tenants;
    admit();
    do
    :: looks < LOOKS -> looks++; monitor_slot()
    :: tenants + 1 < TENANTS -> tenants++; close_slot(); admit() /* retire() */
    :: break
    od;
    timer = false;     /* quiesce(): threads_disarm(), */
    is_active = false; /* active_write, */
    close_slot();      /* threads_end() */
    over = true
}

init {
    byte number;
    atomic {
        run session();
        do
        :: number < HANDLERS -> run handler(); number++
        :: else -> break
        od
    }
    timeout;
    assert(over && inside == 0 && producers == 0); /* nobody waits */
    assert(due == 0 && counted == come)
}
