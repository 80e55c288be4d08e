/* A table of offsets that layout_read accepts makes every later offset in range, whatever the table holds; one that it
 * refuses leaves the layout as it was. With HEXVERSION, the table is of that version, and the
 * CONDITION of layout_sound.h is proved; without, the table is of any version but the three. */
#include "layout.c"
#include "layout_sound.h"
#include "proof.h"

#ifdef HEXVERSION
static void prove_condition(const struct layout *layout) {
    enum {
#define NAME(name, condition) CONDITION_##name,
        LAYOUT_CONDITIONS(NAME)
    };
#define PROVE(name, condition)                                                                                         \
    if (CONDITION == CONDITION_##name)                                                                                 \
        prove(condition, #name);
    LAYOUT_CONDITIONS(PROVE)
}
#endif

int main(void) {
    uint64_t table[LAYOUT_TABLE_BYTES / 8];
    for (unsigned i = 0; i < LAYOUT_TABLE_BYTES / 8; i++)
        table[i] = nondet_uint64();
#ifdef HEXVERSION
    table[1] = HEXVERSION;
#else
    assume(table[1] < 0x030d0000 || table[1] > 0x030fffff || (table[1] & 0xf0) < 0xc0);
#endif
    struct layout before, layout;
    before.version = layout.version = nondet_uint32();
    before.frame.owner = layout.frame.owner = nondet_uint32();
    char problem[8];
    bool accepted = layout_read(&layout, table, sizeof table, problem, sizeof problem);
#ifdef HEXVERSION
    if (accepted)
        prove_condition(&layout);
    reached(accepted && layout.free_threaded);
    reached(accepted && !layout.free_threaded);
#else
    prove(!accepted, "no other version is accepted");
#endif
    if (!accepted)
        prove(layout.version == before.version && layout.frame.owner == before.frame.owner,
              "a refused table changes nothing");
    reached(!accepted);
}
