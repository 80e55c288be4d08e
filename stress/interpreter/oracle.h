/* Which stacks the synthetic interpreter can have, told from a sample alone. Shares no code with the core.
 *
 * A code object's first line says what it is: its kind, family and level. Level 0 of a thread is its root, which is the
 * thread's own; from there a function calls the next level of its family, sends to a generator, or calls a leaf, a code
 * object made for that one call. Each kind of call is made at one instruction.
 */
#ifndef SPPROF_ORACLE_H
#define SPPROF_ORACLE_H

#include <stdbool.h>
#include <stdint.h>

#include "spprof.h"

enum kind { ROOT = 1, FUNCTION, GENERATOR, LEAF };

/* Instructions at which a frame that is not the innermost can stand. */
enum site { AT_RESUME = 1, AT_CALL = 4, AT_SEND = 6, AT_LEAF = 8, AT_C_CALL = 10, AT_YIELD = 12 };

#define ROOTS 1024           /* families of roots: one for each thread ever alive at a time */
#define THREAD_FAMILIES 2    /* families of functions that threads run ... */
#define GENERATOR_FAMILIES 3 /* ... and that generators do, one each */
#define FAMILIES (THREAD_FAMILIES + GENERATOR_FAMILIES)
#define LEVELS 24

static inline int32_t line_of(enum kind kind, int family, int level) {
    return (int32_t)kind << 20 | family << 8 | level;
}

struct oracle {
    uint64_t judged, impossible;
    uint64_t frames, deepest;
    const void
        *stable[FAMILIES][LEVELS + 1]; /* the code objects that live as long as the process; level 0: generators */
    int32_t roots[1 << 20];            /* by the session's thread number: its root's family + 1 */
    char example[512];                 /* the first impossible stack, outermost first */
};

extern struct oracle oracle;

/* A session begins: thread numbers start anew. */
void oracle_session(void);

/* Counts the sample, and whether no thread can have had its stack. A spprof_sample_function: one call at a time. */
void oracle_judge(void *unused, const struct spprof_sample *sample);

#endif
