#include "budget.h"

#include "atomics.h"
#include "pages.h"

uint64_t budget_used(const struct budget *budget) {
    return atomic_read(counter_snapshot, &budget->used) + codes_bytes(budget->codes);
}

/* The table has what is left: it grows between two calls of budget_take too. */
static void set_used(struct budget *budget, uint64_t used) {
    atomic_write(counter_outcome, &budget->used, used);
    codes_limit(budget->codes, used < budget->most ? budget->most - used : 0);
}

void budget_limit(struct budget *budget, uint64_t most) {
    budget->most = most;
    set_used(budget, atomic_read(counter_own, &budget->used));
}

void *budget_take(struct budget *budget, size_t size) {
    uint64_t used = budget_used(budget);
    if (used > budget->most || size > budget->most - used)
        return NULL;
    void *memory = pages_grow(NULL, 0, size);
    if (memory != NULL)
        set_used(budget, atomic_read(counter_own, &budget->used) + size);
    return memory;
}

void budget_give(struct budget *budget, void *memory, size_t size) {
    if (memory == NULL)
        return;
    pages_free(memory, size);
    set_used(budget, atomic_read(counter_own, &budget->used) - size);
}
