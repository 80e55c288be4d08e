#include "continuity.h"

static bool same_code(const struct walk_frame *one, const struct walk_frame *other) {
    return one->code == other->code && one->first_line == other->first_line;
}

/* Whether `count` frames from `one` on are those from `other` on. The first pair may be a frame that is running in one
 * stack and has been caught by a call in the other. */
static bool same_frames(const struct walk_frame *one, const struct walk_frame *other, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        if (!same_code(&one[i], &other[i]) || (i > 0 && one[i].instruction != other[i].instruction))
            return false;
    return true;
}

enum change continuity_compare(const struct stack *before, const struct stack *after) {
    if (after->depth == before->depth)
        return same_frames(before->frames, after->frames, after->depth) ? CHANGE_NONE : CHANGE_BROKEN;
    if (after->depth == before->depth + 1)
        return same_frames(before->frames, after->frames + 1, before->depth) ? CHANGE_GAINED : CHANGE_BROKEN;
    if (before->depth == after->depth + 1)
        return same_frames(before->frames + 1, after->frames, after->depth) ? CHANGE_LOST : CHANGE_BROKEN;
    return CHANGE_BROKEN;
}
