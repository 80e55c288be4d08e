/* The threads that have been refused a timer or a slot, so that each is counted once, however often
 * it is met again in the interpreter's list.
 *
 * Memory of a fixed size, because a refusal may be for want of it. Ordinary code, not reentrant: the
 * session sees to it that one call runs at a time.
 */
#ifndef SPPROF_REFUSED_H
#define SPPROF_REFUSED_H

#include <stdbool.h>
#include <stdint.h>

/* Threads that are kept in mind at once; more are neither kept nor counted. */
#define REFUSED_MAX 16384

/* A thread of the present reading of the list was refused; its kernel id (not 0) and its pthread_t.
 * True where it was not known, and so is to be counted. */
bool refused_add(int32_t tid, uintptr_t thread_id);

/* The reading is over. `sound`: a thread that was not refused in it has gone, or was admitted; it is
 * a new one if it is met again. Else it may only have been hidden, and is kept in mind. */
void refused_reading_over(bool sound);

/* No thread is known. */
void refused_forget(void);

#endif
