/* The second opinion on every walk: what specs/walk.md promises, written a second time.
 *
 * Shares nothing with the core but the names of the outcomes. It keeps whole lists where the core keeps a cursor (every
 * chunk, every generator's frame, every stored frame), and reads through a function that knows what memory the image
 * has. */
#ifndef SPPROF_FUZZ_ORACLE_H
#define SPPROF_FUZZ_ORACLE_H

#include <stdbool.h>
#include <stdint.h>

#include "fields.h"
#include "spprof.h"

/* What the oracle is told, and how it reads. */
struct oracle_question {
    const struct interpreter *interpreter;
    uint64_t state, code_type, tid;
    uint64_t stack_low, stack_high; /* both 0: not known */
    uint64_t entry_instruction;     /* 0: not known */
    uint32_t max_depth, looks_room; /* at most ORACLE_DEPTH each */
    uint32_t again;                 /* looks that follow the first */
    uint32_t attempts;              /* of all looks, at most */
    bool (*read)(void *context, uint64_t address, unsigned size, uint64_t *value);
    /* Whether a code object has died since the attempt began. Asked after each, for the next. NULL: does not matter. */
    bool (*died)(void *context);
    void *context;
};

#define ORACLE_DEPTH 256

struct oracle_frame {
    uint64_t code;
    uint32_t instruction;
    int32_t first_line;
};

struct oracle_answer {
    enum spprof_reason reason;
    uint32_t depth, flags; /* meant where the reason is `captured` */
    struct oracle_frame frames[ORACLE_DEPTH];
    uint32_t met[SPPROF_REASONS]; /* outcomes of the attempts */
};

void oracle_answer(const struct oracle_question *question, struct oracle_answer *answer);

#endif
