/* Taking signals over from their owners and giving them back. Ordinary code, under the session's lock or on its own
 * thread; never two calls at once. */
#ifndef SPPROF_INSTALL_H
#define SPPROF_INSTALL_H

#include "signals.h"

/* Makes `function` the handler of `signal` and the present owner its former owner. Nothing happens where it is the
 * handler already. Returns 0 or a negative errno value; on failure the owner is as it was. */
int install_handler(int signal, signal_function *function);

/* Gives `signal` back to its former owner, where `function` still is its handler. */
void install_restore(int signal, signal_function *function);

#endif
