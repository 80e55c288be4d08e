/* Makes one call of the core fail: the call, the use of it, the errno value, once or from then on.
 *
 * What the core calls is renamed to functions of shim.c; each asks `fault_due` first. Between `faults_on` and
 * `faults_off` uses are counted and the planned one fails; outside, everything passes. Any thread; a use from a signal
 * handler counts as well.
 */
#ifndef FAULTS_H
#define FAULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum call {
#define FAULT(call, ...) CALL_##call,
#define SYSTEM(call, ...) CALL_##call,
#define SOUND(call, why)
#include "calls.def"
#undef FAULT
#undef SYSTEM
#undef SOUND
    CALLS /* how many there are */
};

#define ERRORS_MOST 4

struct call_kind {
    const char *name;
    int errors[ERRORS_MOST]; /* the first `error_count` */
    int error_count;
};

extern const struct call_kind call_kinds[CALLS];

struct fault {
    enum call call;
    int error;
    unsigned nth; /* the use that fails, from 1; 0: none */
    bool lasting; /* and all after it */
    int thread;   /* whose uses count, and those of a thread that it waits for; 0: any thread's */
};

/* The thread that waits for the calling one; 0: none does. */
extern __thread int fault_waiting;

/* Plans a fault and forgets the uses that were counted. */
void fault_plan(const struct fault *fault);
/* From here on uses count / do not. */
void faults_on(void);
void faults_off(void);
/* How often the planned fault has come about since it was planned. */
unsigned fault_fired(void);

/* A shim's question: whether this use is to fail. Sets errno then. Async-signal-safe. */
bool fault_due(enum call call);

/* A neighbour takes the signal as soon as the core has taken it, until this is called with NULL. */
struct sigaction;
void faults_insist(int signal, const struct sigaction *neighbour);

/* What the shim has seen handed out to the core and not given back. A refusal to take something back is the fault's
 * doing: what it leaves is not the core's. */
struct holdings {
    long blocks;   /* of malloc, calloc, realloc */
    long mappings; /* of mmap */
    long files;    /* of open, fopen */
    unsigned refused_deletes, refused_unmaps, refused_actions;
};
extern struct holdings holdings;

#endif
