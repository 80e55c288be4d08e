/* Distinct stacks, each once, as paths in a tree.
 *
 * Ordinary code, not reentrant: one thread at a time adds, and the tree is read after that. */
#ifndef SPPROF_CALLTREE_H
#define SPPROF_CALLTREE_H

#include "budget.h"
#include "codes.h"
#include "index.h"
#include "spprof.h"

#define CALLTREE_ROOT (-1)      /* the node of a stack without frames */
#define CALLTREE_NO_MEMORY (-2) /* instead of a node */

/* A frame under its caller. */
struct calltree_node {
    int32_t parent; /* the caller's node, always a lower number; CALLTREE_ROOT: outermost */
    int32_t code;   /* number in the table of code objects */
    union {
        uint32_t instruction; /* index in code units, until */
        int32_t line;         /* calltree_find_lines; 0: not known */
    };
};

/* Nodes lie in blocks, so that none is ever moved. */
#define CALLTREE_BLOCK 4096
#define CALLTREE_BLOCK_BYTES (CALLTREE_BLOCK * sizeof(struct calltree_node))

/* Stacks seen lately. */
#define CALLTREE_MEMO 4096
struct calltree_memo {
    uint64_t hash; /* of all that was captured; 0: none */
    int32_t node;
};

struct calltree {
    struct codes *codes;
    struct budget *budget;
    struct calltree_node **blocks;
    uint32_t block_room;
    int32_t count;
    struct index index; /* by (parent, code, instruction) */
    struct calltree_memo *memo;
};

static inline struct calltree_node *calltree_node(const struct calltree *tree, int32_t number) {
    uint32_t at = (uint32_t)number;
    return &tree->blocks[at / CALLTREE_BLOCK][at % CALLTREE_BLOCK];
}

static inline uint32_t calltree_blocks(const struct calltree *tree) {
    return ((uint32_t)tree->count + CALLTREE_BLOCK - 1) / CALLTREE_BLOCK;
}

/* False: no memory. Uses `budget` and its codes, which must outlive it. */
bool calltree_begin(struct calltree *tree, struct budget *budget);
void calltree_end(struct calltree *tree);

/* The node of the sample's innermost frame; CALLTREE_ROOT where it has none, CALLTREE_NO_MEMORY. */
int32_t calltree_add(struct calltree *tree, const struct spprof_sample *sample);

/* Has each node the line of its instruction, once, after the last calltree_add. */
void calltree_find_lines(struct calltree *tree);

#endif
