/* The life of a session, with one sampled thread: start, ticks, stop, a signal that comes late, the thread's end with a
 * signal still queued, fork, restart, and the session's own thread that drains and retires.
 *
 * Every interleaving of these steps is checked, each step as one indivisible access in the order of the source: memory
 * orders are the litmus tests' business. A step is named after the function of core/ that it stands for.
 *
 * Proved: a handler that is past its check touches a slot's memory only while there is memory and it is of the tenant
 * that the signal was sent for; a stop that has returned leaves nobody inside; every tick that was delivered has one
 * outcome; nothing waits for ever. A mutant takes one of the means away and must be refuted:
 *
 *   NO_CHECK             enter() does not look at `active` and the lease
 *   NO_LEASE        enter() does not look at the lease alone
 *   NO_WAIT              close_slot() does not wait until nobody is inside
 *   CHECK_BEFORE_RAISE   enter() looks first and raises `inside` afterwards
 *   FREE_BEFORE_QUIESCE  stop_locked() gives the memory back before quiesce()
 *   NO_RETIRE            a slot keeps its lease when its thread ends
 *   NO_FORK_RESET        the child keeps the parent's `active` and its slots
 *   NEVER_LEAVE          a handler does not lower `inside`
 */
#define SESSIONS 2 /* start and stop, this often */
#define TICKS 3    /* signals that the timer sends in all */
#define PENDING 2  /* signals that can be waiting for the thread at once */

bool is_active;     /* sampler.active */
byte lease;    /* slot.lease */
byte inside;        /* slot.inside */
bool memory;        /* tenant.memory: ring and scratch are mapped */
byte owner;         /* the thread that the slot's memory is furnished for; 0: none */
bool timer;         /* tenant.timer exists */
bool work;          /* session.work is held */
byte records;       /* in the ring */
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

inline admit(who) { /* admit(): furnish, then start_timer */
    memory = true;
    owner = who;
    timer = true
}

inline close_slot() { /* close_slot(): timers_close, the lease, and the wait */
    timer = false;
#ifndef NO_RETIRE
    lease = lease + 1;
#endif
#ifndef NO_WAIT
    inside == 0
#else
    skip
#endif
}

inline drain_slot() { /* drain_slot(): ring_pop until there is nothing */
    do
    :: atomic { records > 0 -> assert(memory); records = records - 1; drained = drained + 1 }
    :: records == 0 -> break
    od
}

inline threads_release() { memory = false; owner = 0; records = 0 }

/* --- handler.c: SIGPROF on the sampled thread, or on any thread while the kernel redirects a queued one --- */

proctype handler() {
    byte mine, whose;
    bool go;
end: /* a handler that waits for a signal may wait for ever */
    do
    :: atomic { queued ? mine, whose -> delivered = delivered + 1 };
#ifdef CHECK_BEFORE_RAISE
       go = is_active;
       go = go && lease == mine;
       inside = inside + 1;
#else
       inside = inside + 1; /* enter(): enter_raise */
#ifdef NO_CHECK
       go = true;
#else
       go = is_active; /* enter(): enter_check */
#ifndef NO_LEASE
       go = go && lease == mine; /* enter(): enter_lease */
#endif
#endif
#endif
       if
       :: go ->
          /* handler_tick(): the walk writes into the scratch memory; the slot must still be the one of the signal */
          assert(memory);
          assert(owner == whose);
          assert(!stopped);
          if
          :: atomic { assert(memory && owner == whose); records = records + 1; captured = captured + 1 } /* ring_push */
          :: skip /* refused by the walk, or ring_full */
          fi;
          assert(memory && owner == whose)
       :: else -> skip /* counters_stray(): busy or no_thread_state */
       fi;
       counted = counted + 1;
#ifndef NEVER_LEAVE
       inside = inside - 1 /* leave() */
#endif
    od
}

/* --- the kernel: the timer's signal is queued for the thread, with the lease the timer was made for --- */

proctype kernel() {
end:
    do
    :: atomic { timer && sent < TICKS && nfull(queued) -> sent = sent + 1; queued ! lease, owner }
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

/* --- ordinary/session.c: keep_watch(), the session's own thread; keep_observing() is the same, and looks in between --- */

proctype watch() {
    do
    :: stopping -> break
    :: !stopping ->
       lock_work();
       if /* threads_scan(): who has gone is retired, who is new admitted */
       :: owner != 0 && owner != thread ->
          close_slot(); /* retire() */
          drain_slot();
          owner = 0;
          if
          :: atomic { thread != 0 -> found = thread };
             admit(found)
          :: thread == 0
          fi
       :: atomic { owner == 0 && thread != 0 -> found = thread };
          admit(found)
       :: else -> skip
       fi;
       if /* observe_slot(), under the lock that retires */
       :: owner != 0 -> assert(memory)
       :: else -> skip
       fi;
       drain_slot();
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
    close_slot();   /* threads_end() */
    lock_work();
    drain_slot(); /* drain_all() */
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
    lease = lease + 1;
    inside = 0;
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
    memory = true;
    owner = 1;
    inside = 1; /* of a thread that the child has not */
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
    atomic { run program(); run threads(); run kernel(); run handler() }
#endif
    /* When nothing can move any more: nobody was kept waiting, and every tick that was taken has an outcome. */
    timeout;
    assert(over && !watching && !timer);
    assert(counted == delivered && inside == 0 && records == 0 && drained <= captured)
}
