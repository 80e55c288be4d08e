#include "observe.h"

#include <sys/uio.h>

#include "atomics.h"
#include "handler.h"

/* --- the second look, where each load is a system call ------------------------------------------------------------ */

/* A system call for each word leaves the thread time to go round between two of them: both looks could then see the same
 * words of different moments. So what the second look will read is copied at once, and it reads the copies. An interrupt
 * in the midst of a copy gives that time as well, and the first look, which takes long, is no help against it: the second
 * look is made so often. */
#define COPIED_TIMES 3

#define COPIED_LOOKS ((COPY_PIECES - 1) / 3)

struct copies {
    const struct walk *walk;
    uint32_t at;           /* the look that was read last */
    uint32_t first, count; /* looks whose words are in `looks` */
    struct {
        uint64_t current_frame;
        struct look looks[COPIED_LOOKS]; /* .frame is the frame's caller */
    } words;
};

static struct iovec piece(uintptr_t address) {
    return (struct iovec){.iov_base = (void *)address, .iov_len = 8}; // NOLINT: an address on purpose
}

static uintptr_t current_frame_of(const struct walk *walk) {
    return walk->thread_state + walk->layout->thread.current_frame;
}

/* Copies the words of as many looks as one call can, from `first` on. */
static bool copy_looks(struct copies *copies, uint32_t first) {
    const struct walk *walk = copies->walk;
    struct iovec pieces[1 + 3 * COPIED_LOOKS];
    uint32_t left = walk->looks_count - first, count = left < COPIED_LOOKS ? left : COPIED_LOOKS;
    pieces[0] = piece(current_frame_of(walk));
    for (uint32_t i = 0; i < count; i++) {
        uintptr_t frame = walk->looks[first + i].frame;
        pieces[1 + 3 * i] = piece(frame + walk->layout->frame.previous);
        pieces[2 + 3 * i] = piece(frame + walk->layout->frame.executable);
        pieces[3 + 3 * i] = piece(frame + walk->layout->frame.instr_ptr);
    }
    copies->first = first;
    copies->count = count;
    return copy_by_syscall(pieces, 1 + 3 * count, &copies->words, (1 + 3 * count) * 8);
}

/* Where in a look's copy the word at `address` is; -1: it is none of that frame's. */
static int field_at(const struct walk *walk, uint32_t number, uintptr_t address) {
    uint64_t offset = address - walk->looks[number].frame;
    return offset == walk->layout->frame.previous     ? (int)offsetof(struct look, frame)
           : offset == walk->layout->frame.executable ? (int)offsetof(struct look, executable)
           : offset == walk->layout->frame.instr_ptr  ? (int)offsetof(struct look, instr_ptr)
                                                      : -1;
}

/* A read_function. A second look begins with the current frame and goes from each frame to its caller. What is not copied
 * (of code objects, of the thread's state) does not go to and fro. */
static bool read_copied(void *context, uintptr_t address, unsigned size, uint64_t *value) {
    struct copies *copies = context;
    if (address == current_frame_of(copies->walk)) {
        bool copied = copy_looks(copies, 0);
        *value = copies->words.current_frame;
        return copied;
    }
    for (uint32_t i = copies->at; i <= copies->at + 1 && i < copies->walk->looks_count; i++) {
        int field = field_at(copies->walk, i, address);
        if (field < 0)
            continue;
        if (i >= copies->first + copies->count && !copy_looks(copies, i))
            return false;
        copies->at = i;
        *value = *(const uint64_t *)((const char *)&copies->words.looks[i - copies->first] + field);
        return true;
    }
    return read_by_syscall(NULL, address, size, value);
}

static enum spprof_reason confirm_from_copies(struct walk *walk) {
    struct copies copies;
    copies.walk = walk;
    walk->reader = (struct reader){.through = read_copied, .context = &copies};
    enum spprof_reason reason = SPPROF_CAPTURED;
    for (int i = 0; i < COPIED_TIMES && reason == SPPROF_CAPTURED; i++) {
        copies.at = copies.first = copies.count = 0;
        reason = walk_confirm(walk);
    }
    walk->reader = (struct reader){.through = read_by_syscall};
    return reason;
}

/* --- the third look ------------------------------------------------------------------------------------------------ */

/* A thread that goes round as fast as the looks follow each other shows both the same mixture. So a third comes at a
 * distance that it cannot be in step with, up to some microseconds: as long as some turns of the quickest of functions. */
#define SPINS_MOST 4096

static void wait_at_random(struct observer *observer) {
    for (volatile uint32_t spins = observer_throw(observer) % SPINS_MOST; spins > 0; spins--)
        ;
}

static enum spprof_reason confirm(struct observer *observer, struct walk *walk) {
    bool by_syscall = walk->reader.through == read_by_syscall;
    enum spprof_reason reason = by_syscall ? confirm_from_copies(walk) : walk_confirm(walk);
    if (reason != SPPROF_CAPTURED)
        return reason;
    wait_at_random(observer);
    return by_syscall ? confirm_from_copies(walk) : walk_confirm(walk);
}

/* --- attempts ------------------------------------------------------------------------------------------------------ */

static enum spprof_reason attempt(struct observer *observer, struct walk *walk) {
    observer->generation = atomic_read(generation_read, &sampler.deaths);
    enum spprof_reason reason = walk_thread(walk);
    if (reason == SPPROF_CAPTURED)
        reason = confirm(observer, walk);
    /* An acquire load would not do: the walk's loads come before it, and may be later than it on ARM64. Adding nothing
     * is a release: a death that the sum does not hold comes after all that was read here. */
    if (reason == SPPROF_CAPTURED && atomic_add(generation_confirm, &sampler.deaths, 0) != observer->generation)
        reason = SPPROF_TORN; /* which of two objects at one address was seen cannot be told */
    return reason;
}

enum spprof_reason observe_thread(struct observer *observer, struct walk *walk) {
    walk->looks = observer->looks;
    walk->looks_room = observer->room;
    enum spprof_reason reason = SPPROF_TORN;
    load_looking = true;
    for (int i = 0; i < OBSERVE_ATTEMPTS; i++) {
        reason = attempt(observer, walk);
        observer->met[reason]++;
        if (reason == SPPROF_CAPTURED)
            break;
        if (reason == SPPROF_DETACHED || reason == SPPROF_NO_THREAD_STATE)
            break; /* the thread has gone, and will not come back to this state */
        if (reason == SPPROF_STACK_UNKNOWN)
            break; /* no attempt can place its entry frames */
    }
    load_looking = false;
    return reason;
}
