/* Memory for arrays that grow, on pages of their own.
 *
 * What a session records is much, grows by doubling and is given up at once. In the C library's heap its place would
 * stay with the process: each thread has a heap of its own there, and another thread empties the rings in every session.
 *
 * Ordinary code, of any thread; a system call and a copy each time, so only for arrays that are large or double. */
#ifndef SPPROF_PAGES_H
#define SPPROF_PAGES_H

#include <stddef.h>

/* Room for `after` bytes (more than 0) that begins with the `before` bytes at `memory`, which it takes over; the rest is
 * zero. `memory` is NULL and `before` 0 where there was none. Returns NULL where there is no memory: what was there is
 * then as it was. */
void *pages_grow(void *memory, size_t before, size_t after);

/* Gives back what pages_grow gave, of the size that it was asked for. NULL is nothing. */
void pages_free(void *memory, size_t size);

#endif
