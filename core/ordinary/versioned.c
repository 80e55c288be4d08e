#include "versioned.h"

#include <string.h>

static size_t size_of(const void *theirs) {
    size_t size;
    memcpy(&size, theirs, sizeof size);
    return size;
}

static bool is_wrong(size_t size, struct versions versions) { return size < versions.first || size > VERSIONED_MOST; }

enum versioned versioned_take(void *own, const void *theirs, struct versions versions) {
    size_t size = size_of(theirs);
    if (is_wrong(size, versions))
        return VERSIONED_WRONG_SIZE;
    for (size_t i = versions.own; i < size; i++)
        if (((const unsigned char *)theirs)[i] != 0)
            return VERSIONED_UNKNOWN;
    memset(own, 0, versions.own);
    memcpy(own, theirs, size < versions.own ? size : versions.own);
    return VERSIONED_TAKEN;
}

bool versioned_give(void *theirs, const void *own, struct versions versions) {
    size_t size = size_of(theirs);
    if (is_wrong(size, versions))
        return false;
    size_t shared = size < versions.own ? size : versions.own;
    memcpy((char *)theirs + sizeof size, (const char *)own + sizeof size, shared - sizeof size);
    memset((char *)theirs + shared, 0, size - shared);
    return true;
}
