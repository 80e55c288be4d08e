/* Put before the core's sources when the ring target is built: stops before and after every atomic access, so that
 * another side of the ring may go on there. The accesses themselves are the core's own. */
#ifndef SPPROF_FUZZ_INTERLEAVE_H
#define SPPROF_FUZZ_INTERLEAVE_H

/* As the sources that need it do, before the first header of all. */
#define _GNU_SOURCE
#include <stdbool.h>

#include "atomics.h"

/* Defined by the target. `after` tells whether the access has been made. */
void interleave(const char *site, bool after);

#undef atomic_read
#undef atomic_write
#undef atomic_add
#undef atomic_subtract

#define atomic_read(site, object)                                                                                      \
    __extension__({                                                                                                    \
        interleave(#site, false);                                                                                      \
        __typeof__(atomic_load_explicit((object), ORDER_##site)) interleave_value =                                    \
            atomic_load_explicit((object), ORDER_##site);                                                              \
        interleave(#site, true);                                                                                       \
        interleave_value;                                                                                              \
    })
#define atomic_write(site, object, value)                                                                              \
    __extension__({                                                                                                    \
        interleave(#site, false);                                                                                      \
        atomic_store_explicit((object), (value), ORDER_##site);                                                        \
        interleave(#site, true);                                                                                       \
    })
#define INTERLEAVED_CHANGE(change, site, object, value)                                                                \
    __extension__({                                                                                                    \
        interleave(#site, false);                                                                                      \
        __typeof__(atomic_load_explicit((object), ORDER_counter_own)) interleave_value =                               \
            change((object), (value), ORDER_##site);                                                                   \
        interleave(#site, true);                                                                                       \
        interleave_value;                                                                                              \
    })
#define atomic_add(site, object, value) INTERLEAVED_CHANGE(atomic_fetch_add_explicit, site, object, value)
#define atomic_subtract(site, object, value) INTERLEAVED_CHANGE(atomic_fetch_sub_explicit, site, object, value)

#endif
