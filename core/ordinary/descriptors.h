/* A table of file descriptors for one thread alone. */
#ifndef SPPROF_DESCRIPTORS_H
#define SPPROF_DESCRIPTORS_H

#include <stdbool.h>

/* Gives the calling thread a table of its own, an empty one; the process's other threads keep theirs.
 * What the thread opens then takes no number that they count on, and it holds no file of theirs open.
 * False, and nothing has changed, where the kernel is older than Linux 5.9 or a sandbox forbids it. */
bool descriptors_own(void);

#endif
