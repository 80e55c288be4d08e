#include "observe.h"

#include "atomics.h"
#include "handler.h"

static enum spprof_reason attempt(struct observer *observer, struct walk *walk) {
    observer->generation = atomic_read(generation_read, &sampler.deaths);
    enum spprof_reason reason = walk_thread(walk);
    if (reason == SPPROF_CAPTURED)
        reason = walk_confirm(walk);
    /* An acquire load would not do: the walk's loads come before it, and may be later than it on ARM64. Adding nothing
     * is a release: a death that the sum does not hold comes after all that was read here. */
    if (reason == SPPROF_CAPTURED && atomic_add(generation_confirm, &sampler.deaths, 0) != observer->generation)
        reason = SPPROF_TORN; /* which of two objects at one address was seen cannot be told */
    return reason;
}

enum spprof_reason observe_thread(struct observer *observer, struct walk *walk) {
    walk->looks = observer->looks;
    walk->looks_room = observer->room;
    enum spprof_reason reason = SPPROF_TORN;
    for (int i = 0; i < OBSERVE_ATTEMPTS; i++) {
        reason = attempt(observer, walk);
        observer->met[reason]++;
        if (reason == SPPROF_CAPTURED)
            break;
        if (reason == SPPROF_DETACHED || reason == SPPROF_NO_THREAD_STATE)
            break; /* the thread has gone, and will not come back to this state */
    }
    return reason;
}
