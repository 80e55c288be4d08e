#include "beat.h"

uint32_t beat_next(struct beat *beat, uint64_t now) {
    uint64_t missed = now < beat->due ? 0 : (now - beat->due) / beat->interval;
    beat->due = (now < beat->due ? now : beat->due) + (1 + missed) * beat->interval;
    return missed < UINT32_MAX ? (uint32_t)missed + 1 : UINT32_MAX;
}
