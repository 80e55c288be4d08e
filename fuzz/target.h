/* What a fuzz target is, and what it is given.
 *
 * A target is one C file in targets/ that defines the first four names below. driver.c, which every target is linked
 * with, feeds it: AFL++, libFuzzer, or files and folders to be replayed. The input is all that may decide what a target
 * does: no clock, no random number, no address that changes from run to run.
 */
#ifndef SPPROF_FUZZ_TARGET_H
#define SPPROF_FUZZ_TARGET_H

#include <stddef.h>
#include <stdint.h>

#include "spprof.h"

/* The target's name, that of its file. */
extern const char fuzz_name[];

/* Bytes of an input that are looked at, at most. */
extern const size_t fuzz_largest;

/* Called once, before the first input. May allocate, map and install handlers. */
void fuzz_set_up(void);

/* Tries one input and leaves no trace that the next one could see. A disagreement between the core and the oracle ends
 * in fuzz_fail. */
void fuzz_one(const uint8_t *bytes, size_t count);

/* --- given by driver.c --------------------------------------------------------------------------------- */

/* The core came to this outcome, and the oracle agrees. */
void fuzz_reach(enum spprof_reason reason);

/* Something about this input that a replay should say: what it came to, in a word. Static storage. */
void fuzz_note(const char *word);

/* Core and oracle disagree, or a law is broken: prints one line and aborts. */
_Noreturn void fuzz_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Fails unless `condition` holds. */
#define FUZZ_LAW(condition)                                                                                            \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            fuzz_fail("%s:%d: does not hold: %s", __FILE__, __LINE__, #condition);                                     \
    } while (0)

#endif
