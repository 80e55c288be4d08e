/* Which code object a sample means, and what it was called.
 *
 * A code object may die, and its address be used again, between the capture of a sample and its naming. The keeper of
 * this table is told of each death while the object is still whole, and takes its names then; so (address, generation)
 * means one object for ever, and one that is still alive can be named later.
 *
 * Ordinary code; every function but codes_is takes the table's lock and may be called from any thread. The texts are the caller's
 * malloc'ed memory and become the table's.
 */
#ifndef SPPROF_CODES_H
#define SPPROF_CODES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A text: UTF-8, except that lone surrogates are encoded as if they were characters (Python's "surrogatepass"). */
struct text {
    char *bytes;
    size_t length;
};

struct code_names {
    struct text qualname;
    struct text filename;
    struct text linetable; /* the bytes of co_linetable */
    int32_t first_line;
};

struct codes;

/* NULL where there is no memory. */
struct codes *codes_new(void);
void codes_free(struct codes *codes);

/* Bytes that the table and its names hold. */
uint64_t codes_bytes(struct codes *codes);

/* From now on codes_identify gives no new number where the table holds more than `most` bytes. Without this there is no limit. */
void codes_limit(struct codes *codes, uint64_t most);

/* The number of the object that was at `code` when a sample of `generation` was taken; -1 where there is no memory. */
int32_t codes_identify(struct codes *codes, uint64_t code, uint64_t generation);

/* Whether that number is the object that was at `code` then. Between codes_hold and codes_let_go only, which hold the lock:
 * nothing else of this header may be called there. */
bool codes_is(const struct codes *codes, int32_t number, uint64_t code, uint64_t generation);
void codes_hold(struct codes *codes);
void codes_let_go(struct codes *codes);

/* The object at `code` is dying. `die` is called under the lock to advance the generation, `names` to take its names
 * (false: they could not be had). Returns false where there is no memory to remember it. */
struct codes_death {
    uint64_t (*die)(const void *code);
    bool (*names)(const void *code, struct code_names *names);
};
bool codes_died(struct codes *codes, const void *code, const struct codes_death *death);

/* Every sample of a generation below `generation` has been identified: the dead that no sample means are forgotten. */
void codes_caught_up(struct codes *codes, uint64_t generation);

/* Names every object that is still alive. `names` is called under the lock, which keeps the objects alive: none can die
 * without codes_died. */
void codes_name_living(struct codes *codes, bool (*names)(const void *code, struct code_names *names));

/* What a list of code objects, which somebody makes of those that samples mean, has for one of them. */
struct codes_note {
    int32_t place; /* in the list, from 0 on: the same for ever */
    bool named;
    struct code_names names; /* the texts are the table's, until codes_free */
};

/* The note of a number that codes_identify gave. One that has no place in the list gets `next`; one that is alive and has
 * no names is named, as codes_name_living does. */
struct codes_note codes_note(struct codes *codes, int32_t number, int32_t next,
                             bool (*names)(const void *code, struct code_names *names));

/* How many numbers there are, and the names of one, or NULL where it has none. After the last codes_identify; valid
 * until codes_free. */
int32_t codes_count(struct codes *codes);
const struct code_names *codes_get(struct codes *codes, int32_t number);

/* Frees what `names` points to. */
void code_names_free(struct code_names *names);

#endif
