/* Structs that carry their size as their first member, so that the program and the library may have
 * been made with different versions of the public header. A version adds members at the end alone,
 * behind the padding of the one before it. Reentrant. */
#ifndef SPPROF_VERSIONED_H
#define SPPROF_VERSIONED_H

#include <stdbool.h>
#include <stddef.h>

/* The sizes that one struct can have. */
struct versions {
    size_t first; /* in the first version of the header that had it */
    size_t own;   /* in the library's */
};

/* No struct here is near this: a greater size is none. */
#define VERSIONED_MOST 4096

enum versioned {
    VERSIONED_TAKEN,
    VERSIONED_WRONG_SIZE, /* smaller than the first version's, or none that a version could have */
    VERSIONED_UNKNOWN,    /* larger than the library's, and what the library does not know is not all 0 */
};

/* Takes the program's struct over into the library's, of `versions.own` bytes: what an older program
 * does not have is 0. Reads no more than the size that the program's says. */
enum versioned versioned_take(void *own, const void *theirs, struct versions versions);

/* Fills the program's struct but for its size, and no further than that: what an older program does
 * not have is left out, what a newer one has besides is 0. False, and nothing is written, where the
 * size is wrong. */
bool versioned_give(void *theirs, const void *own, struct versions versions);

#endif
