/* `owners WORD...`: owners of a signal that come, go, chain and leave, by a script, with or without us among them. Prints who
 * ran, in order; what it prints and how it ends without us is what must be with us.
 *
 *   signal:NUMBER          which signal is meant from here on
 *   take:OWNER:WAY:FLAGS   an owner, a letter, takes it. WAY is what its handler does, FLAGS what it asked for (below)
 *   back:OWNER             it puts back what it found
 *   default, ignore        the program sets the signal to that, by signal(2)
 *   revive                 it ignores the signal and then puts back what it found, by signal(2), which knows no flags
 *   send:HOW               raise, queue, thread, or fault: the program's own, on a page that it has protected
 *   direct                 the program calls the signal's handler itself
 *   wait                   a thread that waits in a system call gets the signal: is the call interrupted?
 *   start, look, stop      what a session does to signals, where there is one
 *   between:WORD[+WORD]... what happens at our next change, after we have looked and before we put
 *                          ourselves in front, and at those after it: a word each, or elsewhere, a
 *                          signal to another thread
 *   within                 that thread gets it when we are in front and have not compared yet
 *   join                   until it has been handled
 *   claim                  what stands for a tick from here on: a signal with the value 42
 *   queue                  such a one; is it forgotten?
 *   spoil                  leaves that value wherever the next signal's frame may be
 *
 * As a program it does to signals what a session does; as a library, owners_run calls a session of its caller's.
 */
#define _GNU_SOURCE /* gettid */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define OWNERS 3
#define RUNS_MOST 12 /* of handlers in one `send`: more is a circle */
#define ALTERNATE (256 << 10)

/* What an owner's handler does once it has said that it runs. */
enum way {
    NOTHING = 'n',
    MEND = 'm',     /* makes the page readable */
    CALL = 'c',     /* calls its predecessor as sigaction(2) told of it; puts it back where it is no function */
    NUMBER = 'u',   /* calls it with the signal's number alone, as what signal(2) returns is called */
    OPTIONAL = 'o', /* calls it where it is a function, else nothing */
    PAUSE = 'p',    /* the same, once somebody has been put in front of it */
    RESTORE = 'r',  /* puts it back, sends the signal again, takes the signal again */
    LAST = 'l',     /* puts it back and sends the signal again */
    JUMP = 'j',     /* leaves by siglongjmp */
    RESET = 'd',    /* sets the default action */
    END = 'e',      /* gives the signal back, ends the session and calls its predecessor */
    AGAIN = 'a',    /* takes the signal again without looking at what it finds, and mends */
};

static struct owner {
    enum way way;
    struct sigaction action, found;
    bool has_found; /* with the flag k it keeps what it found first */
} owners[OWNERS];

static int number = SIGPROF;
static volatile int runs;
static volatile bool displaced; /* an owner that pauses may go on */
static sigjmp_buf landing;
static char *page;
static char *alternate;
static void (*session)(const char *what);

/* --- what is written: by write(2) alone, from handlers too -------------------------------------------------- */

static void say(const char *text) {
    if (write(1, text, strlen(text)) < 0)
        _exit(97);
}

static void say_number(long value) {
    char text[24];
    char *at = text + sizeof text - 1;
    unsigned long left = value < 0 ? -(unsigned long)value : (unsigned long)value;
    *at = '\0';
    do
        *--at = (char)('0' + left % 10);
    while ((left /= 10) != 0);
    if (value < 0)
        *--at = '-';
    say(at);
}

static bool blocked(int which) {
    sigset_t set;
    pthread_sigmask(SIG_SETMASK, NULL, &set);
    return sigismember(&set, which) == 1;
}

static void say_run(int letter, int which, const siginfo_t *info) {
    char here = 0, name[2] = {(char)('A' + letter), '\0'};
    say(name);
    say(blocked(which) ? "b" : "");
    say(blocked(SIGUSR1) ? "u" : "");
    say(blocked(SIGUSR2) ? "v" : "");
    say(&here >= alternate && &here < alternate + ALTERNATE ? "s" : "");
    if (info != NULL) {
        say_number(info->si_code);
        say(info->si_code == SI_QUEUE ? "=" : "");
        if (info->si_code == SI_QUEUE)
            say_number(info->si_value.sival_int);
    }
    say(" ");
}

/* --- owners --------------------------------------------------------------------------------------------------- */

/* The kernel goes by the address alone, whatever the flags. */
static bool is_function(const struct sigaction *action) {
    return action->sa_handler != SIG_DFL && action->sa_handler != SIG_IGN;
}

static void mend(void) { mprotect(page, 4096, PROT_READ | PROT_WRITE); }

static void call_found(struct owner *owner, int which, siginfo_t *info, void *context) {
    if (owner->found.sa_flags & SA_SIGINFO)
        owner->found.sa_sigaction(which, info, context);
    else if (is_function(&owner->found))
        owner->found.sa_handler(which);
}

/* With what chance would leave in the registers where a handler of three arguments looks for the
 * others. */
typedef void one_argument(int);
static void call_with_number(one_argument *function, int which) {
    typedef void three_arguments(int, uintptr_t, uintptr_t);
    ((three_arguments *)(uintptr_t)function)(which, 0x10, 0x18); // NOLINT: numbers on purpose
}

static void run(const char *word);

static __attribute__((noinline)) void act(int letter, int which, siginfo_t *info, void *context) {
    struct owner *owner = &owners[letter];
    if (runs++ == RUNS_MOST) {
        say("endless\n");
        _exit(98);
    }
    say_run(letter, which, owner->action.sa_flags & SA_SIGINFO ? info : NULL);
    switch (owner->way) {
    case MEND:
        mend();
        break;
    case CALL:
        if (is_function(&owner->found))
            call_found(owner, which, info, context);
        else if (owner->found.sa_handler == SIG_DFL) {
            sigaction(which, &owner->found, NULL);
            raise(which);
        }
        break;
    case END:
        sigaction(which, &owner->found, NULL);
        run("stop");
        call_found(owner, which, info, context);
        break;
    case NUMBER:
        if (owner->found.sa_handler != SIG_DFL && owner->found.sa_handler != SIG_IGN)
            call_with_number(owner->found.sa_handler, which);
        break;
    case RESTORE:
    case LAST:
        sigaction(which, &owner->found, NULL);
        raise(which);
        if (owner->way == RESTORE)
            sigaction(which, &owner->action, NULL);
        break;
    case JUMP:
        siglongjmp(landing, 1);
    case RESET:
        signal(which, SIG_DFL);
        break;
    case PAUSE:
        while (!displaced)
            usleep(100);
        break;
    case AGAIN:
        sigaction(which, &owner->action, NULL);
        mend();
        break;
    default:
        break;
    }
}

static bool passes_on(int letter) { return owners[letter].way == OPTIONAL || owners[letter].way == PAUSE; }

/* The call of an OPTIONAL owner is the last thing that its handler does. The compiler makes a
 * jump of it, whatever else it was told, and the handler's own frame is gone. */
#if defined(__clang__)
#define JUMPING
#define JUMP_TO __attribute__((musttail)) return
#else
#define JUMPING __attribute__((optimize("O2")))
#define JUMP_TO
#endif
#define HANDLERS_OF(letter)                                                                                            \
    static JUMPING void told_##letter(int which, siginfo_t *info, void *context) {                                     \
        act(letter, which, info, context);                                                                             \
        if (passes_on(letter) && is_function(&owners[letter].found))                                                   \
            JUMP_TO owners[letter].found.sa_sigaction(which, info, context);                                           \
    }                                                                                                                  \
    static void plain_##letter(int which) {                                                                            \
        act(letter, which, NULL, NULL);                                                                                \
        if (passes_on(letter))                                                                                         \
            call_found(&owners[letter], which, NULL, NULL);                                                            \
    }
HANDLERS_OF(0)
HANDLERS_OF(1)
HANDLERS_OF(2)
typedef void informed(int, siginfo_t *, void *);
static informed *const told[OWNERS] = {told_0, told_1, told_2};
static one_argument *const plain[OWNERS] = {plain_0, plain_1, plain_2};

/* --- words ------------------------------------------------------------------------------------------------------ */

static const struct {
    char letter;
    int flag;
} flags[] = {{'i', SA_SIGINFO}, {'d', SA_NODEFER}, {'o', SA_ONSTACK}, {'h', (int)SA_RESETHAND}, {'r', SA_RESTART}};

/* A careful owner, that keeps what it found the first time where it finds itself. */
static void take(int letter, enum way way, const char *wanted) {
    struct owner *owner = &owners[letter];
    struct sigaction action = {0}, found;
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (strchr(wanted, flags[i].letter) != NULL)
            action.sa_flags |= flags[i].flag;
    if (strchr(wanted, 'u') != NULL)
        sigaddset(&action.sa_mask, SIGUSR1);
    int number_of_mask = atoi(wanted + strcspn(wanted, "0123456789"));
    for (int bit = 0; bit < 16; bit++)
        if (number_of_mask >> bit & 1)
            sigaddset(&action.sa_mask, SIGRTMIN + 4 + bit);
    if (action.sa_flags & SA_SIGINFO)
        action.sa_sigaction = told[letter];
    else
        action.sa_handler = plain[letter];
    owner->way = way;
    owner->action = action;
    if (sigaction(number, &action, &found) != 0)
        abort();
    bool keeps = strchr(wanted, 'k') != NULL && owner->has_found;
    if (found.sa_sigaction != action.sa_sigaction && !keeps)
        owner->found = found;
    owner->has_found = true;
}

static void fault(void) { *(volatile char *)page = 1; }

static void send(const char *how) {
    mprotect(page, 4096, PROT_NONE);
    runs = 0;
    if (sigsetjmp(landing, 1) != 0) {
        say("left ");
    } else if (strcmp(how, "raise") == 0) {
        raise(number);
    } else if (strcmp(how, "queue") == 0) {
        sigqueue(getpid(), number, (union sigval){.sival_int = 42});
    } else if (strcmp(how, "thread") == 0) {
        pthread_kill(pthread_self(), number);
    } else {
        fault();
    }
    say(blocked(number) ? "still blocked" : "");
    say(blocked(SIGUSR1) ? "still masked" : "");
    say(". ");
}

struct waiting {
    int pipe[2];
    pthread_t thread;
};

/* Sends it once the other waits, and ends the wait some time after the handler has run. */
static void *interrupt(void *argument) {
    const struct waiting *waiting = argument;
    usleep(100000);
    pthread_kill(waiting->thread, number);
    for (int i = 0; i < 1000 && runs == 0; i++)
        usleep(1000);
    usleep(50000);
    return (void *)(write(waiting->pipe[1], "x", 1) - 1);
}

static void wait_for_signal(void) {
    struct waiting waiting = {.thread = pthread_self()};
    pthread_t other;
    char byte;
    runs = 0;
    if (pipe(waiting.pipe) != 0 || pthread_create(&other, NULL, interrupt, &waiting) != 0)
        abort();
    ssize_t got = read(waiting.pipe[0], &byte, 1);
    say(got == 1 ? "restarted. " : errno == EINTR ? "interrupted. " : "failed. ");
    pthread_join(other, NULL);
    close(waiting.pipe[0]);
    close(waiting.pipe[1]);
}

/* "name", "name:one", "name:one:two" and so on: whether `word` begins with `name`, and what
 * follows it. */
static const char *after(const char *word, const char *name) {
    size_t length = strlen(name);
    return strncmp(word, name, length) == 0 ? word + length : NULL;
}

/* Calls whoever has the signal, as a function, with its number alone. */
static void call_present(void) {
    struct sigaction present;
    sigaction(number, NULL, &present);
    call_with_number(present.sa_handler, number);
    say(". ");
}

static void run(const char *word) {
    const char *rest;
    if ((rest = after(word, "signal:")) != NULL)
        number = atoi(rest);
    else if ((rest = after(word, "take:")) != NULL)
        take(rest[0] - 'A', (enum way)rest[2], rest + 3);
    else if ((rest = after(word, "back:")) != NULL)
        sigaction(number, &owners[rest[0] - 'A'].found, NULL);
    else if ((rest = after(word, "send:")) != NULL)
        send(rest);
    else if (strcmp(word, "direct") == 0)
        call_present();
    else if (strcmp(word, "revive") == 0)
        signal(number, signal(number, SIG_IGN));
    else if (strcmp(word, "default") == 0)
        signal(number, SIG_DFL);
    else if (strcmp(word, "ignore") == 0)
        signal(number, SIG_IGN);
    else if (strcmp(word, "wait") == 0)
        wait_for_signal();
    else if (session != NULL)
        session(word);
}

/* Whether the signal's handler is one of the owners'. */
int owners_are_in_front(void) {
    struct sigaction present;
    sigaction(number, NULL, &present);
    for (int i = 0; i < OWNERS; i++)
        if (present.sa_sigaction == told[i] || present.sa_handler == plain[i])
            return true;
    return false;
}

/* Runs the words on a thread that has an alternate stack. `with` is called for a session's
 * words; NULL: there is none. */
void owners_run(int count, char **words, void (*with)(const char *what)) {
    session = with;
    page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    alternate = mmap(NULL, ALTERNATE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stack_t stack = {.ss_sp = alternate, .ss_size = ALTERNATE};
    if (page == MAP_FAILED || alternate == MAP_FAILED || sigaltstack(&stack, NULL) != 0)
        abort();
    for (int i = 0; i < count; i++)
        run(words[i]);
    say("end\n");
}

#ifdef PROGRAM
#include <dlfcn.h>

#include "handler.h"
#include "signals.h"

/* What comes between two of our calls: a word that is run when we have looked who is in front,
 * and a signal to another thread when we have put ourselves there, which has time to go wrong.
 * `meanwhile` is a session's word that is run when a handler of ours has been called and has not
 * yet looked who is in front. */
static bool ours;
static const char *between;
static const char *meanwhile;
static bool send_within;
static pthread_t other;

static void *receive(void *argument) {
    sigset_t none;
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, NULL);
    send("raise");
    return argument;
}

/* `most`: milliseconds to wait for a handler; 0: until there is one. */
static void send_elsewhere(int most) {
    if (pthread_create(&other, NULL, receive, NULL) != 0)
        abort();
    for (int i = 0; (most == 0 || i < most) && runs == 0; i++)
        usleep(1000);
}

static void let_pass_on(void) {
    displaced = true;
    for (int i = 0; i < 20 && runs == 1; i++)
        usleep(1000);
}

/* The first word of `between`, which is then without it. */
static const char *next_between(void) {
    static char word[40];
    size_t length = strcspn(between, "+");
    snprintf(word, sizeof word, "%.*s", (int)length, between);
    between = between[length] == '+' ? between + length + 1 : NULL;
    return word;
}

static void run_between(const char *what) {
    ours = false; /* what it changes is no change of ours */
    run(what);
    ours = true;
}

static void as_a_session(const char *what);

static void run_meanwhile(void) {
    const char *what = meanwhile;
    meanwhile = NULL;
    as_a_session(what);
}

int sigaction(int which, const struct sigaction *action, struct sigaction *found) {
    static int (*next)(int, const struct sigaction *, struct sigaction *);
    if (next == NULL)
        next = (int (*)(int, const struct sigaction *, struct sigaction *))dlsym(RTLD_NEXT, "sigaction");
    if (!ours && which == number && action == NULL && meanwhile != NULL)
        run_meanwhile();
    if (!ours || which != number || action == NULL || between == NULL)
        return next(which, action, found);
    const char *before = next_between();
    bool elsewhere = strcmp(before, "elsewhere") == 0;
    if (elsewhere)
        send_elsewhere(0);
    else
        run_between(before);
    int result = next(which, action, found);
    if (elsewhere)
        let_pass_on();
    else if (send_within)
        send_elsewhere(20);
    return result;
}

/* What stands for a tick here: a signal with this value. */
static const siginfo_t *claimed;

static bool claim_42(int signal, siginfo_t *info, void *ucontext) {
    (void)signal;
    (void)ucontext;
    claimed = info;
    return info->si_value.sival_int == 42;
}

/* Leaves that value wherever the next signal's frame may be. */
static __attribute__((noinline)) void spoil_stack(void) {
    volatile uint64_t words[2048];
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        words[i] = 42;
}

static __attribute__((noinline)) void queue_and_look(void) {
    sigqueue(getpid(), number, (union sigval){.sival_int = 42});
    int left = *(const volatile int *)&claimed->si_signo;
    say(left == number ? "kept " : "forgotten ");
}

static signal_claim *claim_on_ticks = handler_on_profile_signal;

static void take_signal(int which) {
    int error = signals_take(which, which == SIGPROF ? claim_on_ticks : handler_on_fault);
    if (error == -ENOSPC)
        say("full ");
    else if (error != 0)
        abort();
}

/* As session.c does it. */
static void as_a_session(const char *what) {
    const char *rest = after(what, "between:"), *later = after(what, "meanwhile:");
    ours = true;
    if (rest != NULL) {
        between = rest;
    } else if (later != NULL) {
        meanwhile = later;
    } else if (strcmp(what, "claim") == 0) {
        claim_on_ticks = claim_42;
    } else if (strcmp(what, "spoil") == 0) {
        spoil_stack();
    } else if (strcmp(what, "queue") == 0) {
        queue_and_look();
    } else if (strcmp(what, "within") == 0) {
        send_within = true;
    } else if (strcmp(what, "join") == 0) {
        pthread_join(other, NULL);
    } else if (strcmp(what, "stop") == 0) {
        signals_give_back(SIGSEGV);
        signals_give_back(SIGBUS);
    } else {
        take_signal(SIGSEGV);
        take_signal(SIGBUS);
        take_signal(SIGPROF);
    }
    ours = false;
}

/* The first word says whether we are there: `plain` or `sampled`. */
int main(int count, char **arguments) {
    setrlimit(RLIMIT_CORE, &(struct rlimit){0});
    alarm(20); /* a circle that does not end */
    bool sampled = count > 1 && strcmp(arguments[1], "sampled") == 0;
    owners_run(count - 2, arguments + 2, sampled ? as_a_session : NULL);
    return 0;
}
#endif
