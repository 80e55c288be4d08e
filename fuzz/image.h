/* A synthetic process image: the memory of one interpreter's thread, and the writes that will be done to it.
 *
 * An input is a header and records of 16 bytes. Records that build push frames as an interpreter would, so that without
 * any other record a walk finds a whole stack. Records that write change one word of that, before the walk or after its
 * k-th read: so every torn chain has an input that replays it, without threads and without chance.
 *
 *   header  0 interpreter   1 enum look_kind, modulo 8   2 enum header_flag   3 max_depth   4 room for looks   5-7 not used
 *           8-15 added to the thread state's address
 *   record  0 enum record_kind   1 p   2-3 a   4-7 b   8-15 v
 *
 *   CODE    a code object           p: 1 hidden (an interpreter's trampoline), 2-4 copies of its bytecode - 1
 *                                   a: units, b: first line
 *   ENTER   interpreter's frame     p: owner CSTACK instead of INTERPRETER
 *   CALL    function's frame        p: its code object, a: instruction, b: 0-5 room for locals in words, 8-12 repeats,
 *   RESUME  generator's frame          v: tag
 *   CHUNK   of the data stack       a: size
 *   WRITE   a word                  p: 0-2 enum place, 3-5 enum origin, 6-7 width (0: that of the field)
 *                                   a: 0-7 which of these objects, newest first, 8-15 which field; ARENA: word
 *                                   b: after which read of the walk, 0: before it
 *                                   v: value, or 0-31 signed distance and 32-63 which object
 *   DEATH   a code object dies      b: after which read
 *
 * Everything in an input has a meaning, modulo what there is: no input is refused. */
#ifndef SPPROF_FUZZ_IMAGE_H
#define SPPROF_FUZZ_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fields.h"

#define HEADER_BYTES 16
#define RECORD_BYTES 16
#define IMAGE_LARGEST 4096 /* bytes of an input */

enum look_kind { LOOK_ONCE, LOOK_TWICE, LOOK_OBSERVE };
enum header_flag { NO_STATE = 1, ENTRY_KNOWN = 2, NO_STACK = 4 };
enum record_kind { R_NOTHING, R_CODE, R_ENTER, R_CALL, R_RESUME, R_CHUNK, R_WRITE, R_DEATH, RECORD_KINDS };
enum place { AT_THREAD, AT_FRAME, AT_CODE, AT_CHUNK, AT_ARRAY, AT_ARENA, PLACES };
enum origin { OF_NOTHING, OF_FRAME, OF_CODE, OF_CHUNK, OF_ARENA, OF_PROTECTED, OF_ABSENT, OF_OLD, ORIGINS };

/* Where the image lies. Nothing else of the process is within `ARENA_RESERVED` of its start, so what is not mapped here
 * is not there. That is as far as an index of bytecode (32 bits, of 8 bytes each) can lead. */
#define ARENA UINT64_C(0x200000000000)
#define ARENA_RESERVED (UINT64_C(40) << 30)
#define PAGE 4096u
enum { HEAP_PAGES = 16, DATA_PAGES = 8, STACK_PAGES = 4 };
/* heap | protected | C stack | absent | data stack | protected for ever: so there are frames below the C stack and above */
#define HEAP ARENA
#define PROTECTED (HEAP + HEAP_PAGES * PAGE)
#define STACK (PROTECTED + PAGE)
#define STACK_END (STACK + STACK_PAGES * PAGE)
#define ABSENT STACK_END
#define DATA (ABSENT + PAGE)
#define DATA_END (DATA + DATA_PAGES * PAGE)
#define ARENA_END DATA_END

#define IMAGE_TID 4711
/* Where the interpreter's own frames stand. */
#define ENTRY_INSTRUCTION (HEAP + 8)

#define EVENTS_MOST (IMAGE_LARGEST / RECORD_BYTES)

/* One write of the schedule. */
struct event {
    uint32_t after; /* reads */
    uint32_t width; /* bytes; 0: not a write but the death of a code object */
    uint64_t address;
    uint64_t value;
};

struct image {
    const struct interpreter *interpreter;
    enum look_kind look;
    bool no_state, entry_known;
    bool no_stack; /* nobody knows where its C stack lies */
    uint32_t max_depth, looks_room;
    uint64_t state, code_type;
    struct event events[EVENTS_MOST]; /* in order of `after` */
    uint32_t event_count;
};

/* Once: maps the arena. Ends the process where that is not possible. */
void image_map(void);

/* Makes the image of an input in the arena, over the one that was there. */
void image_build(struct image *image, const uint8_t *bytes, size_t count);

/* Whether the arena has these bytes, and what they hold. Knows by itself, asks no hardware. */
bool image_read(uint64_t address, unsigned size, uint64_t *value);

/* Does a write, as far as there is memory. */
void image_write(uint64_t address, unsigned size, uint64_t value);

#endif
