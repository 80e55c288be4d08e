/* A table of offsets that layout_read accepts makes every later offset in range, whatever the table holds; one that it
 * refuses leaves the layout as it was. With HEXVERSION, the table is of that version; without, of any but the three. */
#include "layout.c"
#include "layout_sound.h"
#include "proof.h"

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
        prove(layout_is_sound(&layout), "an accepted layout is sound");
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
