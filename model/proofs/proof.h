/* What the proofs have in common. CBMC takes each nondet_ function for one that may return anything. */
#ifndef SPPROF_PROOF_H
#define SPPROF_PROOF_H

#include <stdbool.h>
#include <stdint.h>

bool nondet_bool(void);
int nondet_int(void);
uint32_t nondet_uint32(void);
uint64_t nondet_uint64(void);

#define assume(condition) __CPROVER_assume(condition)
#define prove(condition, text) __CPROVER_assert(condition, text)

/* A place that must be within reach, or what is proved of it means nothing. A run of its own (-DCOVER --cover cover) counts them. */
#ifdef COVER
#define reached(condition) __CPROVER_cover(condition)
#else
#define reached(condition)
#endif

#endif
