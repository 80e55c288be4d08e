/* core/ordinary/session.c as the session target has it, in its place, with what makes its dice
 * fall as in a process that has just begun: the distance to some looks is thrown, and must be the
 * input's. */
#include "ordinary/session.c"

#include "session_kernel.h"

void fake_dice_begin(void) { session.observer.dice = 0; }
