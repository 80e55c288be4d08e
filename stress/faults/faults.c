#define _GNU_SOURCE
#include "faults.h"

#include <errno.h>
#include <stdatomic.h>
#include <unistd.h>

#define COUNT(...) (sizeof((int[]){__VA_ARGS__}) / sizeof(int))
#define KIND(call, ...) {.name = #call, .errors = {__VA_ARGS__}, .error_count = COUNT(__VA_ARGS__)},

const struct call_kind call_kinds[CALLS] = {
#define FAULT KIND
#define SYSTEM KIND
#define SOUND(call, why)
#include "calls.def"
#undef FAULT
#undef SYSTEM
#undef SOUND
};

struct holdings holdings;
__thread int fault_waiting;

static struct fault plan;
static atomic_bool counting;
static atomic_uint uses, fired;

void fault_plan(const struct fault *fault) {
    plan = *fault;
    atomic_store(&uses, 0);
    atomic_store(&fired, 0);
}

void faults_on(void) { atomic_store(&counting, true); }
void faults_off(void) { atomic_store(&counting, false); }
unsigned fault_fired(void) { return atomic_load(&fired); }

bool fault_due(enum call call) {
    if (!atomic_load(&counting) || call != plan.call || plan.nth == 0)
        return false;
    if (plan.thread != 0 && plan.thread != gettid() && plan.thread != fault_waiting)
        return false;
    unsigned use = atomic_fetch_add(&uses, 1) + 1;
    if (use != plan.nth && !(plan.lasting && use > plan.nth))
        return false;
    atomic_fetch_add(&fired, 1);
    errno = plan.error;
    return true;
}
