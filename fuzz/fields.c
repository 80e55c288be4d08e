#include "fields.h"

#include <string.h>

#define FIELD_NAME(name, text, width) text,
#define FIELD_WIDTH(name, text, width) width,
const char *const field_name[FIELDS] = {FIELD_LIST(FIELD_NAME)};
const uint8_t field_width[FIELDS] = {FIELD_LIST(FIELD_WIDTH)};

#define SIZES [RUNTIME_SIZE] = 400000, [TUPLE_SIZE] = 56

#define INTERPRETER_13                                                                                                 \
    [RUNTIME_INTERPRETERS_HEAD] = 632, [INTERPRETER_SIZE] = 194984, [INTERPRETER_NEXT] = 7264,                         \
    [INTERPRETER_THREADS_HEAD] = 7344
#define INTERPRETER_14                                                                                                 \
    [RUNTIME_INTERPRETERS_HEAD] = 808, [INTERPRETER_SIZE] = 225864, [INTERPRETER_NEXT] = 7272,                         \
    [INTERPRETER_THREADS_HEAD] = 7344
#define INTERPRETER_15                                                                                                 \
    [RUNTIME_INTERPRETERS_HEAD] = 936, [INTERPRETER_SIZE] = 247104, [INTERPRETER_NEXT] = 7264,                         \
    [INTERPRETER_THREADS_HEAD] = 7336

#define THREAD(size)                                                                                                   \
    [THREAD_SIZE] = (size), [THREAD_NEXT] = 8, [THREAD_INTERPRETER] = 16, [THREAD_CURRENT_FRAME] = 72,                 \
    [THREAD_THREAD_ID] = 152, [THREAD_NATIVE_THREAD_ID] = 160, [THREAD_DATASTACK_CHUNK] = 232, [THREAD_STATUS] = 32
#define THREAD_15                                                                                                      \
    [THREAD_SIZE] = 888, [THREAD_NEXT] = 8, [THREAD_INTERPRETER] = 16, [THREAD_CURRENT_FRAME] = 72,                    \
    [THREAD_BASE_FRAME] = 80, [THREAD_THREAD_ID] = 176, [THREAD_NATIVE_THREAD_ID] = 184,                               \
    [THREAD_DATASTACK_CHUNK] = 256, [THREAD_STATUS] = 32

#define FRAME(size, owner)                                                                                             \
    [FRAME_SIZE] = (size), [FRAME_PREVIOUS] = 8, [FRAME_EXECUTABLE] = 0, [FRAME_INSTR_PTR] = 56, [FRAME_OWNER] = (owner)
#define FRAME_14T FRAME(88, 78), [FRAME_TLBC_INDEX] = 72

/* The free-threaded build's object header is 16 bytes longer. */
#define CODE(header, size)                                                                                             \
    [CODE_SIZE] = (header) + (size), [CODE_FILENAME] = (header) + 112, [CODE_QUALNAME] = (header) + 128,               \
    [CODE_FIRST_LINE] = (header) + 68, [CODE_ADAPTIVE] = (header) + (size) - 8, [CODE_UNITS] = (header) + 16,          \
    [OBJECT_SIZE] = 16 + (header), [OBJECT_TYPE] = (header) + 8
#define CODE_TLBC_14T [CODE_TLBC] = 224

#define WORDS_HEAD                                                                                                     \
    [RUNTIME_SIZE] = 3, [RUNTIME_INTERPRETERS_HEAD] = 5, [INTERPRETER_SIZE] = 6, [INTERPRETER_NEXT] = 8,               \
    [INTERPRETER_THREADS_HEAD] = 9
#define WORDS_13                                                                                                       \
    WORDS_HEAD, [THREAD_SIZE] = 19, [THREAD_NEXT] = 21, [THREAD_INTERPRETER] = 22, [THREAD_CURRENT_FRAME] = 23,        \
                [THREAD_THREAD_ID] = 24, [THREAD_NATIVE_THREAD_ID] = 25, [THREAD_DATASTACK_CHUNK] = 26,                \
                [THREAD_STATUS] = 27, [FRAME_SIZE] = 28, [FRAME_PREVIOUS] = 29, [FRAME_EXECUTABLE] = 30,               \
                [FRAME_INSTR_PTR] = 31, [FRAME_OWNER] = 33, [CODE_SIZE] = 34, [CODE_FILENAME] = 35,                    \
                [CODE_QUALNAME] = 37, [CODE_FIRST_LINE] = 39, [CODE_ADAPTIVE] = 43, [OBJECT_SIZE] = 44,                \
                [OBJECT_TYPE] = 45, [TUPLE_SIZE] = 50, [CODE_UNITS] = 52
#define WORDS_14                                                                                                       \
    WORDS_HEAD, [THREAD_SIZE] = 22, [THREAD_NEXT] = 24, [THREAD_INTERPRETER] = 25, [THREAD_CURRENT_FRAME] = 26,        \
                [THREAD_THREAD_ID] = 27, [THREAD_NATIVE_THREAD_ID] = 28, [THREAD_DATASTACK_CHUNK] = 29,                \
                [THREAD_STATUS] = 30, [FRAME_SIZE] = 31, [FRAME_PREVIOUS] = 32, [FRAME_EXECUTABLE] = 33,               \
                [FRAME_INSTR_PTR] = 34, [FRAME_OWNER] = 36, [FRAME_TLBC_INDEX] = 38, [CODE_SIZE] = 39,                 \
                [CODE_FILENAME] = 40, [CODE_QUALNAME] = 42, [CODE_FIRST_LINE] = 44, [CODE_ADAPTIVE] = 48,              \
                [CODE_TLBC] = 49, [OBJECT_SIZE] = 50, [OBJECT_TYPE] = 51, [TUPLE_SIZE] = 56, [CODE_UNITS] = 58
#define WORDS_15                                                                                                       \
    WORDS_HEAD, [THREAD_SIZE] = 22, [THREAD_NEXT] = 24, [THREAD_INTERPRETER] = 25, [THREAD_CURRENT_FRAME] = 26,        \
                [THREAD_BASE_FRAME] = 27, [THREAD_THREAD_ID] = 30, [THREAD_NATIVE_THREAD_ID] = 31,                     \
                [THREAD_DATASTACK_CHUNK] = 32, [THREAD_STATUS] = 33, [FRAME_SIZE] = 39, [FRAME_PREVIOUS] = 40,         \
                [FRAME_EXECUTABLE] = 41, [FRAME_INSTR_PTR] = 42, [FRAME_OWNER] = 44, [FRAME_TLBC_INDEX] = 46,          \
                [CODE_SIZE] = 47, [CODE_FILENAME] = 48, [CODE_QUALNAME] = 50, [CODE_FIRST_LINE] = 52,                  \
                [CODE_ADAPTIVE] = 56, [CODE_TLBC] = 57, [OBJECT_SIZE] = 58, [OBJECT_TYPE] = 59, [TUPLE_SIZE] = 68,     \
                [CODE_UNITS] = 70

const struct interpreter interpreters[INTERPRETERS] = {
    {"3.13",
     0x030d,
     false,
     false,
     false,
     0,
     {SIZES, INTERPRETER_13, THREAD(312), FRAME(80, 70), CODE(0, 208)},
     {WORDS_13}},
    {"3.13t",
     0x030d,
     true,
     false,
     false,
     0,
     {SIZES, INTERPRETER_13, THREAD(312), FRAME(80, 70), CODE(16, 208)},
     {WORDS_13}},
    {"3.14",
     0x030e,
     false,
     false,
     false,
     3,
     {SIZES, INTERPRETER_14, THREAD(832), FRAME(88, 74), CODE(0, 216)},
     {WORDS_14}},
    {"3.14t",
     0x030e,
     true,
     false,
     true,
     3,
     {SIZES, INTERPRETER_14, THREAD(832), FRAME_14T, CODE(16, 224), CODE_TLBC_14T},
     {WORDS_14}},
    {"3.15",
     0x030f,
     false,
     true,
     false,
     3,
     {SIZES, INTERPRETER_15, THREAD_15, FRAME(88, 74), CODE(0, 216)},
     {WORDS_15}},
    {"3.15t",
     0x030f,
     true,
     true,
     true,
     3,
     {SIZES, INTERPRETER_15, THREAD_15, FRAME_14T, CODE(16, 224), CODE_TLBC_14T},
     {WORDS_15}},
};

#define FINAL_RELEASE 0x07f0 /* micro version 7, level "final" */

void fields_table(const struct interpreter *interpreter, uint64_t table[TABLE_WORDS]) {
    memset(table, 0, TABLE_WORDS * sizeof *table);
    memcpy(table, "xdebugpy", 8);
    table[1] = (uint64_t)interpreter->version << 16 | FINAL_RELEASE;
    table[2] = interpreter->free_threaded;
    for (int i = 0; i < FIELDS; i++)
        if (interpreter->word[i] != 0)
            table[interpreter->word[i]] = interpreter->at[i];
}
