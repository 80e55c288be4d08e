#include "states.h"

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

bool states_each(const struct reader *reader, states_visit *visit, void *context) {
    uint64_t state;
    if (!load_link(reader, sampler.interpreter + sampler.layout.interpreter.threads_head, &state))
        return false;
    for (uint32_t count = 0; state != 0; count++) {
        struct state_fields fields;
        if (count == STATES_MOST || !states_read(reader, state, &fields))
            return false;
        if (!visit(reader, state, &fields, context))
            return true;
        state = fields.next;
    }
    return true;
}

struct search {
    uint64_t tid;
    uintptr_t found;
};

static bool search_state(const struct reader *reader, uintptr_t state, const struct state_fields *fields,
                         void *context) {
    (void)reader;
    struct search *search = context;
    bool own = fields->tid == search->tid && states_bound(fields);
    bool taken = own && (fields->status & sampler.layout.thread.status_active);
    if (taken || (own && search->found == 0))
        search->found = state;
    return !taken;
}

bool states_find(const struct reader *reader, uint64_t tid, uintptr_t *found) {
    struct search search = {.tid = tid};
    bool sound = states_each(reader, search_state, &search);
    *found = search.found;
    return sound;
}
