/* How much memory a recording may take, in pages: what it holds itself, and what its table of code objects does.
 *
 * One thread at a time, except that budget_used is for any. */
#ifndef SPPROF_BUDGET_H
#define SPPROF_BUDGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codes.h"

struct budget {
    struct codes *codes;
    uint64_t most;
    _Atomic uint64_t used; /* of the pages: who takes and gives writes, any thread reads */
};

/* From now on. What is taken is not given back by this. */
void budget_limit(struct budget *budget, uint64_t most);

/* `size` zero bytes; NULL where the budget or the system has no more. */
void *budget_take(struct budget *budget, size_t size);

/* Gives back what budget_take gave, of that size. Nothing for NULL. */
void budget_give(struct budget *budget, void *memory, size_t size);

/* Bytes, those of the table of code objects too. */
uint64_t budget_used(const struct budget *budget);

#endif
