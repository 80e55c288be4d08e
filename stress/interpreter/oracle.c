#include "oracle.h"

#include <stdio.h>
#include <string.h>

struct oracle oracle;

void oracle_session(void) { memset(oracle.roots, 0, sizeof oracle.roots); }

struct what {
    int kind, family, level;
};

static struct what what_is(const struct spprof_frame *frame) {
    return (struct what){frame->first_line >> 20, frame->first_line >> 8 & 0xfff, frame->first_line & 0xff};
}

static bool is_generators(int family) { return family >= THREAD_FAMILIES && family < FAMILIES; }

/* Whether a frame can exist at all. */
static bool exists(const struct spprof_frame *frame) {
    struct what it = what_is(frame);
    if (frame->instruction >= 16)
        return false;
    switch (it.kind) {
    case ROOT:
        return it.family < ROOTS && it.level == 0;
    case FUNCTION:
        return it.family < FAMILIES && it.level >= 1 && it.level <= LEVELS &&
               (const void *)(uintptr_t)frame->code == oracle.stable[it.family][it.level]; // NOLINT: an address
    case GENERATOR:
        return is_generators(it.family) && it.level == 0 &&
               (const void *)(uintptr_t)frame->code == oracle.stable[it.family][0]; // NOLINT: an address
    case LEAF:
        return it.family < FAMILIES && it.level >= 1 && it.level <= LEVELS;
    default:
        return false;
    }
}

/* Whether `caller`, where it stands, can have called `callee`. */
static bool calls(const struct spprof_frame *caller, const struct spprof_frame *callee) {
    struct what from = what_is(caller), to = what_is(callee);
    switch (to.kind) {
    case FUNCTION:
        if (caller->instruction != AT_CALL || to.level != from.level + 1)
            return false;
        return from.kind == ROOT ? to.family < THREAD_FAMILIES
                                 : (from.kind == FUNCTION || from.kind == GENERATOR) && to.family == from.family;
    case GENERATOR:
        return caller->instruction == AT_SEND && from.kind == FUNCTION && from.family < THREAD_FAMILIES;
    case LEAF:
        return caller->instruction == AT_LEAF && from.kind == FUNCTION && from.family == to.family &&
               from.level == to.level;
    default:
        return false; /* a root has no caller */
    }
}

static bool root_is_the_threads(const struct spprof_sample *sample) {
    struct what outermost = what_is(&sample->frames[sample->depth - 1]);
    if (outermost.kind != ROOT)
        return false;
    if (sample->thread >= sizeof oracle.roots / sizeof *oracle.roots)
        return true;
    int32_t *known = &oracle.roots[sample->thread];
    if (*known == 0)
        *known = outermost.family + 1;
    return *known == outermost.family + 1;
}

static bool possible(const struct spprof_sample *sample) {
    if (sample->depth == 0)
        return true; /* before its root or after it */
    for (uint32_t i = 0; i < sample->depth; i++)
        if (!exists(&sample->frames[i]))
            return false;
    for (uint32_t i = 0; i + 1 < sample->depth; i++)
        if (!calls(&sample->frames[i + 1], &sample->frames[i]))
            return false;
    return (sample->flags & SPPROF_SAMPLE_TRUNCATED) || root_is_the_threads(sample);
}

static void keep_example(const struct spprof_sample *sample) {
    size_t used = 0;
    for (uint32_t i = sample->depth; i-- > 0 && used < sizeof oracle.example - 40;) {
        struct what it = what_is(&sample->frames[i]);
        used += (size_t)snprintf(oracle.example + used, sizeof oracle.example - used, "%c%d.%d@%u ",
                                 it.kind >= 0 && it.kind <= LEAF ? "?RFGL"[it.kind] : '?', it.family, it.level,
                                 sample->frames[i].instruction);
    }
}

void oracle_judge(void *unused, const struct spprof_sample *sample) {
    (void)unused;
    oracle.judged++;
    oracle.frames += sample->depth;
    if (sample->depth > oracle.deepest)
        oracle.deepest = sample->depth;
    if (!possible(sample) && oracle.impossible++ == 0)
        keep_example(sample);
}
