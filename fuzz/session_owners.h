/* Those who want the signals that a session takes, and beside them the oracle: who would run, and
 * in which order, in a program without us.
 *
 * Each signal has the handler that the program began with, and four neighbours: two are told why a
 * signal comes, one gets its number alone, one ignores it. They take it and give it back whenever
 * the input says. A handler of theirs calls what it found, puts that back and sends the signal
 * again, or passes nothing on. What it found is what the kernel gave it, one of the core's or not.
 *
 * One thread, from ordinary code.
 */
#ifndef SPPROF_FUZZ_SESSION_OWNERS_H
#define SPPROF_FUZZ_SESSION_OWNERS_H

#include <stdbool.h>
#include <stdint.h>

/* Notes what becomes of a crash, and the signal by which threads are asked. Once, before the first session. */
void owners_set_up(int asks);

/* Every input begins alike: the core has never taken a signal, and each is the program's own. No
 * session may be active. */
void owners_begin(void);

/* A neighbour takes a signal, or gives it back; a signal is sent, and who runs must be who would
 * run without us. The argument, from its lowest bit: 2 bits for the signal, 2 for the neighbour,
 * 2 for what its handler does. Nothing happens where there would be a circle without us, or where
 * specs/signals.md promises nothing. */
void owners_take(uint8_t argument);
void owners_give_back(uint8_t argument);
void owners_send(uint8_t argument);

/* A start or look that nothing hindered has taken all three signals. */
void owners_seen(void);

/* A start, a look or a stop has failed or was hindered: which signals it has taken is not known. */
void owners_perhaps_seen(void);

/* A stop's last look takes all three before the stop gives two of them back. */
void owners_seen_at_last(void);

/* The core's list of owners is as in a process that has just begun. Defined beside the list, in
 * session_signals.c. */
void fake_signals_forget(void);

#endif
