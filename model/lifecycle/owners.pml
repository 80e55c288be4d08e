/* The owners of one signal: core/signals.c takes it, looks again and gives it back, while a
 * neighbour takes it and gives it back, and a signal arrives. Four calls of the session and four
 * moves of the neighbour, in any order.
 *
 * A is the owner from before; it passes nothing on. The neighbour B passes on by calling what it
 * found. Every interleaving is checked, each step one access or system call in the order of the
 * source, named after the function of core/ that it stands for. Beside it stands what the kernel
 * would have without us: B, while it is there, else A.
 *
 * Proved: a signal runs A once and B at most once; B runs if it would have all the while from the
 * delivery to the end, and does not if it would have at no moment; nobody waits for ever; when all
 * is done, the kernel has the owner that it would have, or a function that stands for it. A mutant
 * takes one of the means away and must be refuted:
 *
 *   NO_COMPARE       what the swap gives is not compared with what was looked up
 *   NO_WAIT          a function that the kernel has called while the signal is being taken does not
 *                    wait
 *   HANDED_ON        one that the kernel has called and that is not in front any more is handed on,
 *                    instead of the signal being sent again
 *   NO_COME_AGAIN    an owner that comes in front again keeps its function
 *   REUSED           it may get one that it had before
 *   NO_DYNAMIC       a call of the function of an owner that is itself in front goes to that
 *                    owner
 *   NOT_TOLD         a handler does not know that an owner is in front because we gave it the
 *                    signal back,
 *   TOLD_LATE        or knows it only when it has happened
 *   GIVE_BACK_BLIND  whoever came between the look and the giving back is not put back
 *
 * While the signal is on its way there is one call of the session at most and one move of B. Left
 * out is what is not promised (specs/signals.md):
 *
 *   - giving back has an instant in which whoever came in between is not in front: of a signal that
 *     meets it nothing is asked
 *   - so has taking, in which B does not come again
 *   - an owner that comes in front again and has found its own function: nothing is asked of
 *     whether B runs if it does so while the signal is on its way; it does not do so between two
 *     system calls of taking or giving back, nor give back before the session's next look, nor
 *     where we do not know its predecessor
 */
#define A 0 /* what may stand in the kernel, or be called */
#define B 1
#define THUNK 2 /* of place 0, and so on */

#define PLACES 6
#define NO_PLACE 100
#define UNSETTLED 101 /* of place 0, and so on */

#define CALLS 4 /* of the session */
#define MOVES 4 /* of B */

#define is_thunk(what) (what >= THUNK)
#define stands_for(what, owner) (is_thunk(what) && action[what - THUNK] == owner)

byte kernel = A;       /* the disposition */
byte front = NO_PLACE; /* front.place */
bool given_back;       /* front.given_back */
byte action[PLACES];   /* owners[]: signals_take writes these, before their function is installed */
byte older[PLACES];
bool passed[PLACES];
byte known;

byte found = A; /* by B */
bool there;     /* B has the signal, or would have it without us */

/* Of the signal on its way: */
bool live;
bool ever, always; /* B was there at some moment since the delivery, at all */
bool unasked;      /* met an instant of which nothing is promised, */
bool unsure;       /* or of which whether B runs is not */
byte calls_since, moves_since;

/* Of the session's call: */
bool busy;
bool giving;    /* it gives back */
bool displaced; /* its latest swap has put somebody else away, who is not back yet */

#define may_call (calls < CALLS && (!live || calls_since < 1))
#define may_move (moves < MOVES && (!live || moves_since < 1))
#define finds_itself stands_for(kernel, B)
#define may_take (!displaced && !(finds_itself && (busy || older[kernel - THUNK] == NO_PLACE)))
#define may_give_back (there && !(stands_for(found, B) && !passed[found - THUNK]))

inline meant_place(place) {
    do
    :: place != NO_PLACE && passed[place] -> place = older[place]
    :: else -> break
    od
}

/* --- the session: the list is its own, but for `passed`, which handlers read --- */

inline find_known(what, under) {
    place = NO_PLACE;
    at = 0;
    do
    :: at < known ->
       if
       :: action[at] == what && older[at] == under && (place == NO_PLACE || passed[place]) ->
          if
          :: at != former -> place = at
          :: else
          fi
       :: else
       fi;
       at++
    :: else -> break
    od;
    at = 0
}

inline add(what, under) {
    assert(known < PLACES);
    action[known] = what;
    older[known] = under;
    place = known;
    known++
}

inline place_in_list() { /* place_in_list(), come_again(): of `present`, in front of `newest` */
    d_step {
        place = newest;
        do
        :: place != NO_PLACE && action[place] != present -> place = older[place]
        :: else -> break
        od;
        former = (place != NO_PLACE && place == newest && !given_back -> place : NO_PLACE);
        under = (place != NO_PLACE -> older[place] : newest);
        place = NO_PLACE;
#ifndef REUSED
        if
        :: former == NO_PLACE -> find_known(present, under)
        :: else
        fi;
#else
        find_known(present, under);
#endif
        if
        :: place == NO_PLACE -> add(present, under)
        :: else
        fi
    }
#ifndef NO_COME_AGAIN
    if
    :: former != NO_PLACE -> passed[former] = true
    :: else
    fi;
#endif
    passed[place] = false
}

inline swap(what) { /* sigaction() */
    atomic {
        replaced = kernel;
        kernel = what;
        displaced = replaced != expected
    }
}

inline settle() {
    meant = place;
    meant_place(meant);
    front = meant
}

inline take_from() {
    newest = front;
    expected_place = NO_PLACE;
    expected = present;
    do
    :: if
       :: is_thunk(present) -> place = present - THUNK
       :: else -> place_in_list()
       fi;
       if
       :: expected_place == NO_PLACE -> expected_place = place
       :: else
       fi;
       front = UNSETTLED + place;
       swap(THUNK + place);
#ifdef NO_COMPARE
       displaced = false;
       break
#else
       if
       :: replaced == expected -> break
       :: else ->
          expected = THUNK + place;
          present = replaced;
          newest = expected_place;
          expected_place = place
       fi
#endif
    od;
    given_back = false;
    settle()
}

inline signals_take() {
    present = kernel;
    if
    :: is_thunk(present) ->
       place = present - THUNK;
       given_back = false;
       settle()
    :: else -> take_from()
    fi
}

inline signals_give_back() {
    present = kernel;
    if
    :: is_thunk(present) ->
       place = present - THUNK;
       meant = place;
       meant_place(meant);
       assert(meant != NO_PLACE);
       expected = present;
#ifndef TOLD_LATE
       given_back = true;
#endif
       atomic { swap(action[meant]); unasked = unasked || displaced };
       if
       :: replaced == expected -> given_back = true
       :: else ->
#ifndef GIVE_BACK_BLIND
          present = action[meant];
          do
          :: replaced == expected -> break
          :: else -> expected = present; present = replaced; swap(present)
          od;
#else
          displaced = false;
#endif
          given_back = false
       fi;
       settle()
    :: else
    fi
}

proctype session() {
    byte present, newest, place, replaced, expected, expected_place, under, former, at, meant, calls;
    do
    :: atomic { may_call ->
           calls++;
           calls_since++;
           busy = true;
           giving = false
       };
       if
       :: signals_take()
       :: giving = true; signals_give_back()
       fi;
       busy = false
    :: break
    od
}

/* --- the neighbour --- */

proctype neighbour() {
    byte moves;
    do
    :: atomic { may_move && may_take ->
           moves++;
           moves_since++;
           unasked = unasked || unsure;
           unsure = unsure || finds_itself;
           if
           :: kernel != B -> found = kernel
           :: else
           fi;
           kernel = B;
           there = true;
           ever = true
       }
    :: atomic { may_move && may_give_back ->
           moves++;
           moves_since++;
           unasked = unasked || unsure;
           kernel = found;
           there = false;
           always = false
       }
    :: break
    od
}

/* --- a signal, and the handlers that it runs --- */

inline deliver() {
    atomic {
        called = kernel;
        live = true;
        calls_since = (busy -> 1 : 0);
        moves_since = 0;
        ever = there;
        always = there;
        unasked = displaced && giving;
        unsure = false;
        direct = true;
        kernels_frame = true
    }
}

#ifndef NOT_TOLD
#define IS_GIVEN_BACK given_back
#else
#define IS_GIVEN_BACK false
#endif

inline find_caller() {
    place = called - THUNK;
#ifndef NO_WAIT
    if /* wait_until_settled() */
    :: kernels_frame && front > NO_PLACE -> front <= NO_PLACE
    :: else
    fi;
#endif
       present = kernel;
       by_kernel = kernels_frame && present == called;
       met = kernels_frame && direct && !by_kernel;
#ifndef HANDED_ON
       if
       :: met -> place = NO_PLACE
       :: else -> meant_place(place)
       fi;
#else
       met = false;
       meant_place(place);
#endif
       if
       :: place == NO_PLACE
       :: place != NO_PLACE && by_kernel ->
          if /* note_front() */
          :: front <= NO_PLACE -> front = place
          :: else
          fi
       :: else ->
#ifndef NO_DYNAMIC
          if
          :: present == action[place] && !IS_GIVEN_BACK -> place = older[place]
          :: else
          fi
#else
          skip
#endif
       fi
}

proctype signal() {
    byte called, place, present, runs_of_a, runs_of_b;
    bool kernels_frame, by_kernel, direct, met;
    deliver();
    do
    :: called == A -> runs_of_a++; break
    :: called == B ->
       runs_of_b++;
       if
       :: runs_of_b == 2 -> break
       :: else
       fi;
       if /* a handler whose last act is the call has no frame of its own any more */
       :: kernels_frame
       :: kernels_frame = false
       fi;
       direct = false;
       called = found
    :: is_thunk(called) -> /* signals_enter() */
       met = false;
       find_caller();
       if
       :: met -> deliver() /* send_again() */
       :: !met && place == NO_PLACE -> break /* end_list() */
       :: else ->
          called = action[place]; /* hand_on() */
          direct = false;
          kernels_frame = false
       fi
    od;
    atomic {
        assert(unasked || runs_of_a == 1);
        assert(unasked || runs_of_b < 2);
        assert(unasked || unsure || runs_of_b == 0 || ever);
        assert(unasked || unsure || runs_of_b == 1 || !always);
        live = false
    }
}

init {
    byte place;
    atomic { run session(); run neighbour(); run signal() }
    timeout;
    assert(_nr_pr == 1); /* nobody waits */
    place = kernel - THUNK;
    if
    :: is_thunk(kernel) ->
       meant_place(place);
       assert(place != NO_PLACE && action[place] == (there -> B : A))
    :: else -> assert(kernel == (there -> B : A))
    fi
}
