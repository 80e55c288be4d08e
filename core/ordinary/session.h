/* What a sink may ask of the session that has called it, beside spprof.h, whose functions wait for locks that are held then.
 *
 * From a sink or from caught_up only, on the thread that it was called on; nothing waits. */
#ifndef SPPROF_SESSION_H
#define SPPROF_SESSION_H

#include "spprof.h"

/* The counters of this moment: with ticks whose stacks are still in their rings. */
void session_count(struct spprof_stats *stats);

/* The kernel's id and name of a thread by its number in the session, as they are known. False: no such thread. */
bool session_thread(uint64_t number, int32_t *tid, char name[16]);

/* Whether this is the session's own thread and it may open files (SPPROF_OWN_FILES): it takes no number that the program may
 * count on. */
bool session_opens_files(void);

#endif
