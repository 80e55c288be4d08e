/* The life of a session, with one sampled thread: start, ticks, stop, a signal that comes late, the
 * thread's end with a signal still queued, fork, restart, the session's own thread that drains and
 * retires, and the death of a code object.
 *
 * Every interleaving of these steps is checked, each step as one indivisible access in the order of the source: memory
 * orders are the litmus tests' business. A step is named after the function of core/ that it stands for.
 *
 * Proved: a handler that is past its check touches a slot's memory only while there is memory and
 * it is of the tenant that the signal was sent for; a stop that has returned leaves nobody
 * inside; every tick that was delivered has one outcome; a sample that is handed over finds every
 * name that it may need; nothing waits for ever. With ABANDON a stop, and the end of a thread,
 * need not wait for a handler: it may find that its slot was given up, with all that it uses, at
 * any step. A mutant takes one of the means away and must be refuted:
 *
 *   NO_CHECK             enter() does not look at `active` and the lease
 *   NO_LEASE        enter() does not look at the lease alone
 *   NO_WAIT              close_slot() does not wait until nobody is inside
 *   CHECK_BEFORE_RAISE   enter() looks first and raises `inside` afterwards
 *   FREE_BEFORE_QUIESCE  stop_locked() gives the memory back before quiesce()
 *   NO_RETIRE            a slot keeps its lease when its thread ends
 *   NO_FORK_RESET        the child keeps the parent's `active` and its slots
 *   NEVER_LEAVE          a handler does not lower `inside`
 *   NO_QUIET             drain_all() forgets names though a handler was inside,
 *   DEATHS_LAST          or counts the deaths when it has looked for handlers
 *   GENERATION_FIRST     a handler reads the generation before it is inside
 *   FREE_ABANDONED       the memory of a slot that was given up is given back
 *   LET_ABANDONED        a slot that was given up is let to the next thread
 *   KEEP_ABANDONED       a slot that was given up is not replaced
 */
#define SESSIONS 2 /* start and stop, this often */
#define TICKS 3    /* signals that the timer sends in all */
#define PENDING 2  /* signals that can be waiting for the thread at once */
#ifdef ABANDON
#define SLOTS 2    /* the first may be given up, once */
#else
#define SLOTS 1
#endif

bool is_active;     /* sampler.active */
byte at;            /* sampler.slots[0]: which of the slots there have been is in the table */
byte lease[SLOTS];  /* slot.lease */
byte inside[SLOTS]; /* slot.inside */
bool memory[SLOTS]; /* tenant.memory: ring and scratch are mapped */
byte owner[SLOTS];  /* the thread that the slot's memory is furnished for; 0: none */
bool abandoned;     /* tenant.abandoned */
bool timer;         /* tenant.timer exists */
bool work;          /* session.work is held */
byte records[SLOTS]; /* in the ring */
byte early[SLOTS];  /* of them, those of a generation before the death */
bool died;          /* sampler.deaths: of the one object that dies */
bool forgotten;     /* its name: codes_caught_up() was told of that generation */
bool known, quiet;  /* drain_all(): the deaths that it has read, and whether it saw nobody inside */
byte sent;          /* ticks sent */
byte delivered;     /* ticks taken by a handler */
byte counted;       /* outcomes: of the slot, and strays */
byte drained;       /* records handed over */
byte captured;      /* records pushed */
byte thread = 1;    /* the thread that is alive: 1, and after its end 2, which takes over its slot; 0 between */
byte found;         /* the thread that is being admitted, under the work lock */
bool stopping;      /* session.stopping */
bool watching;      /* the session's thread runs */
bool stopped;       /* a stop has returned and no start has begun since */
bool over;          /* the program's own steps are done */
chan queued = [PENDING] of { byte, byte }; /* signals that wait: lease in their value, and whose they are */

inline lock_work() { atomic { !work -> work = true } }
inline unlock_work() { work = false }

/* --- ordinary/threads.c --- */

#ifdef LET_ABANDONED
#define LETTABLE true
#else
#define LETTABLE (!abandoned)
#endif

inline admit(who) { /* admit(): furnish, then start_timer */
    memory[at] = true;
    owner[at] = who;
    timer = true
}

inline close_slot() { /* close_slot(): timers_close, the lease, and the wait */
    timer = false;
#ifndef NO_RETIRE
    lease[at] = lease[at] + 1;
#endif
#if defined(NO_WAIT)
    skip
#elif defined(ABANDON)
    if
    :: inside[at] == 0
    :: atomic { inside[at] != 0 && at + 1 < SLOTS -> abandoned = true }
    fi
#else
    inside[at] == 0
#endif
}

inline drain_slot() { /* drain_slot(): ring_pop until there is nothing */
    do
    :: atomic {
          records[at] > 0 ->
          assert(memory[at]);
          assert(early[at] == 0 || !forgotten); /* hand_over() */
          early[at] = early[at] - (early[at] > 0);
          records[at] = records[at] - 1;
          drained = drained + 1
       }
    :: records[at] == 0 -> break
    od
}

inline drain_all() {
#ifndef DEATHS_LAST
    known = died; /* generation_read */
#endif
    quiet = inside[at] == 0; /* drain_slot(): quiesce_check */
#ifdef DEATHS_LAST
    known = died;
#endif
    drain_slot();
#ifdef NO_QUIET
    forgotten = known
#else
    forgotten = forgotten || (known && quiet) /* caught_up */
#endif
}

inline threads_release() {
    memory[at] = false;
    owner[at] = 0;
    records[at] = 0;
    early[at] = 0
}

/* What the handler in there uses stays its own, and another slot takes the place in the
 * table. (What is in its ring the session goes on to drain from a copy of the ring's ends: nothing of that is here.) */
inline threads_replace_abandoned() {
#ifdef ABANDON
    if
    :: abandoned ->
#ifdef FREE_ABANDONED
       memory[at] = false;
#endif
#ifndef KEEP_ABANDONED
       lease[at + 1] = lease[at];
       at = at + 1;
#endif
       abandoned = false
    :: else
    fi
#else
    skip
#endif
}

/* --- handler.c: the signal on the sampled thread, or on any thread while the kernel redirects a queued one --- */

proctype handler() {
    byte mine, whose, my;
    bool go, late; /* late: after the death */
end: /* a handler that waits for a signal may wait for ever */
    do
    :: atomic { queued ? mine, whose -> delivered = delivered + 1 };
       my = at; /* on_tick(): slot_find */
#ifdef GENERATION_FIRST
       late = died;
#endif
#ifdef CHECK_BEFORE_RAISE
       go = is_active;
       go = go && lease[my] == mine;
       inside[my] = inside[my] + 1;
#else
       inside[my] = inside[my] + 1; /* enter(): enter_raise */
#ifdef NO_CHECK
       go = true;
#else
       go = is_active; /* enter(): enter_check */
#ifndef NO_LEASE
       go = go && lease[my] == mine; /* enter(): enter_lease */
#endif
#endif
#endif
       if
       :: go ->
          /* handler_tick(): the walk writes into the scratch memory; the slot must still be the one of the signal */
          assert(memory[my]);
          assert(owner[my] == whose);
          assert(!stopped || my != at); /* or the slot was given up */
#ifndef GENERATION_FIRST
          late = died; /* take_sample(): generation_read */
#endif
          if
          :: atomic { /* ring_push */
                 assert(memory[my] && owner[my] == whose);
                 records[my] = records[my] + 1;
                 early[my] = early[my] + !late;
                 captured = captured + 1
             }
          :: skip /* refused by the walk, or ring_full */
          fi;
          assert(memory[my] && owner[my] == whose);
          late = false
       :: else -> skip /* counters_stray(): busy or no_thread_state */
       fi;
       counted = counted + 1;
#ifndef NEVER_LEAVE
       inside[my] = inside[my] - 1 /* leave() */
#endif
    od
}

/* --- the kernel: the timer's signal is queued for the thread, with the lease the timer was made for --- */

proctype kernel() {
end:
    do
    :: atomic { timer && sent < TICKS && nfull(queued) -> sent = sent + 1; queued ! lease[at], owner[at] }
    :: over && !timer -> break
    od
}

/* --- the sampled threads: one ends, with its signal still queued (it is then delivered to whoever the process has left,
 * or late), and another begins --- */

proctype threads() {
    if
    :: atomic { thread == 1 -> thread = 0 };
       thread = 2
    :: skip
    fi
}

/* --- the interpreter: a code object dies, and the hook of the package says so --- */

proctype interpreter() {
    died = true /* spprof_code_died(): generation_advance */
}

/* --- ordinary/session.c: keep_watch(), the session's own thread; keep_monitoring() looks in between --- */

proctype watch() {
    do
    :: stopping -> break
    :: !stopping ->
       lock_work();
       if /* threads_scan(): who has gone is retired, who is new admitted */
       :: owner[at] != 0 && owner[at] != thread && !abandoned ->
          close_slot(); /* retire() */
          drain_slot();
          if
          :: LETTABLE ->
             owner[at] = 0;
             if
             :: atomic { thread != 0 -> found = thread };
                admit(found)
             :: thread == 0
             fi
          :: else /* what was given up is not let; the thread has another slot, which is not here */
          fi
       :: atomic { owner[at] == 0 && thread != 0 -> found = thread };
          admit(found)
       :: else -> skip
       fi;
       if /* monitor_slot(), under the lock that retires */
       :: owner[at] != 0 -> assert(memory[at])
       :: else -> skip
       fi;
       drain_all();
       unlock_work()
    od;
    watching = false
}

/* --- ordinary/session.c: spprof_start(), spprof_stop(), fork --- */

inline start() {
    stopped = false;
    threads_release();
    stopping = false;
    is_active = true; /* begin_sampling(): active_write */
    lock_work();
    if
    :: atomic { thread != 0 -> found = thread };
       admit(found)
    :: thread == 0
    fi;
    unlock_work();
    watching = true; /* start_thread() */
    run watch()
}

inline stop() {
    stopping = true; /* stop_thread() */
    !watching;
#ifdef FREE_BEFORE_QUIESCE
    threads_release();
#endif
    is_active = false; /* quiesce(): active_write */
    if /* threads_end() */
    :: abandoned
    :: !abandoned -> close_slot()
    fi;
    lock_work();
    drain_all();
    threads_replace_abandoned();
    unlock_work();
    threads_release();
    stopped = true
}

/* after_fork_in_child(), threads_forget(): the child has the memory as it was and this thread alone; no timer, no
 * handler of another thread, no signal that was queued. Nobody will ever lower what was raised. */
inline fork_child() {
    lock_work();
    unlock_work();
#ifndef NO_FORK_RESET
    is_active = false;
    lease[at] = lease[at] + 1;
    inside[at] = 0;
    threads_release()
#else
    skip
#endif
}

proctype program() {
    byte round = 0;
    do
    :: round < SESSIONS ->
       start();
       stop();
       round = round + 1
    :: round == SESSIONS -> break
    od;
    over = true
}

/* The child of a fork in the middle of a session, with a handler's thread that is not there any more. */
proctype child() {
    is_active = true;
    memory[at] = true;
    owner[at] = 1;
    inside[at] = 1; /* of a thread that the child has not */
    fork_child();
    assert(!is_active);
    start();
    stop();
    over = true
}

init {
#ifdef FORK
    atomic { run child(); run kernel(); run handler() }
#else
    atomic { run program(); run threads(); run kernel(); run handler(); run interpreter() }
#endif
    /* When nothing can move any more: nobody was kept waiting, and every tick that was taken has an outcome. */
    timeout;
    assert(over && !watching && !timer);
    assert(counted == delivered && inside[0] == 0 && inside[SLOTS - 1] == 0);
    assert(records[at] == 0 && drained <= captured)
}
