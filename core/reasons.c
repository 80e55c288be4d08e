#include "spprof.h"

const char *spprof_reason_name(enum spprof_reason reason) {
    static const char *const names[SPPROF_REASONS] = {
        [SPPROF_CAPTURED] = "captured",
        [SPPROF_BOUNDS] = "bounds",
        [SPPROF_ALIGNMENT] = "alignment",
        [SPPROF_TYPE] = "type",
        [SPPROF_OWNER] = "owner",
        [SPPROF_PROGRESS] = "progress",
        [SPPROF_CYCLE] = "cycle",
        [SPPROF_FAULT] = "fault",
        [SPPROF_CODE_RANGE] = "code_range",
        [SPPROF_TORN] = "torn",
        [SPPROF_INCOMPLETE] = "incomplete",
        [SPPROF_DETACHED] = "detached",
        [SPPROF_NO_THREAD_STATE] = "no_thread_state",
        [SPPROF_RING_FULL] = "ring_full",
        [SPPROF_BUSY] = "busy",
        [SPPROF_THROTTLED] = "throttled",
        [SPPROF_STACK_UNKNOWN] = "stack_unknown",
        [SPPROF_NO_MEMORY] = "no_memory",
    };
    return (unsigned)reason < SPPROF_REASONS ? names[reason] : NULL;
}
