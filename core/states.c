#include "states.h"

bool states_first(const struct reader *reader, uint64_t *state) {
    return load_link(reader, sampler.interpreter + sampler.layout.interpreter.threads_head, state);
}

/* Its interpreter is read last: a state that was freed meanwhile, and used for something else, does not pass. */
bool states_read(const struct reader *reader, uintptr_t state, struct state_fields *fields) {
    const struct layout *layout = &sampler.layout;
    return state % 8 == 0 && load_word(reader, state + layout->thread.native_thread_id, &fields->tid) &&
           load_word(reader, state + layout->thread.thread_id, &fields->thread_id) &&
           load_int(reader, state + layout->thread.status, &fields->status) &&
           load_link(reader, state + layout->thread.next, &fields->next) &&
           load_link(reader, state + layout->thread.interpreter, &fields->interpreter) &&
           fields->interpreter == sampler.interpreter;
}

bool states_bound(const struct state_fields *fields) {
    const struct layout *layout = &sampler.layout;
    return (fields->status & layout->thread.status_bound) && !(fields->status & layout->thread.status_unbound);
}

bool states_find(const struct reader *reader, uint64_t tid, uintptr_t *found) {
    uint64_t state;
    *found = 0;
    if (!states_first(reader, &state))
        return false;
    for (uint32_t count = 0; state != 0; count++) {
        struct state_fields fields;
        if (count == STATES_MOST || !states_read(reader, state, &fields))
            return false;
        bool own = fields.tid == tid && states_bound(&fields);
        bool taken = own && (fields.status & sampler.layout.thread.status_active);
        if (taken || (own && *found == 0))
            *found = state;
        if (taken)
            return true;
        state = fields.next;
    }
    return true;
}
