#include "calltree.h"

#include "location.h"
#include "pages.h"

static uint32_t most_blocks(const struct budget *budget) {
    uint64_t most = budget->most / CALLTREE_BLOCK_BYTES + 1, possible = INT32_MAX / CALLTREE_BLOCK;
    return (uint32_t)(most < possible ? most : possible);
}

bool calltree_begin(struct calltree *tree, struct budget *budget) {
    *tree = (struct calltree){.codes = budget->codes, .budget = budget, .block_room = most_blocks(budget)};
    tree->blocks = pages_grow(NULL, 0, tree->block_room * sizeof *tree->blocks); /* touched as far as it is used */
    tree->memo = budget_take(budget, CALLTREE_MEMO * sizeof *tree->memo);
    if (tree->blocks != NULL && tree->memo != NULL && index_begin(&tree->index, budget))
        return true;
    calltree_end(tree);
    return false;
}

void calltree_end(struct calltree *tree) {
    for (uint32_t i = 0; tree->blocks != NULL && i < calltree_blocks(tree); i++)
        budget_give(tree->budget, tree->blocks[i], CALLTREE_BLOCK_BYTES);
    pages_free(tree->blocks, tree->block_room * sizeof *tree->blocks);
    budget_give(tree->budget, tree->memo, CALLTREE_MEMO * sizeof *tree->memo);
    index_end(&tree->index, tree->budget);
    tree->blocks = NULL;
    tree->memo = NULL;
    tree->count = 0;
}

/* --- nodes ------------------------------------------------------------------------------------ */

static uint64_t hash_node(const struct calltree_node *node) {
    return index_mix((uint64_t)(uint32_t)node->parent << 32 | (uint32_t)node->code, node->instruction);
}

static uint64_t hash_of(const void *owner, uint32_t number) { return hash_node(calltree_node(owner, (int32_t)number)); }

static bool is_same(const void *owner, uint32_t number, const void *wanted) {
    const struct calltree_node *node = calltree_node(owner, (int32_t)number), *other = wanted;
    return node->parent == other->parent && node->code == other->code && node->instruction == other->instruction;
}

static bool make_room(struct calltree *tree) {
    if (!index_grow(&tree->index, tree->budget, hash_of, tree))
        return false;
    if (tree->count % CALLTREE_BLOCK != 0)
        return true;
    uint32_t block = (uint32_t)tree->count / CALLTREE_BLOCK;
    if (block == tree->block_room)
        return false;
    if (tree->blocks[block] == NULL)
        tree->blocks[block] = budget_take(tree->budget, CALLTREE_BLOCK_BYTES);
    return tree->blocks[block] != NULL;
}

static int32_t add_node(struct calltree *tree, struct calltree_node node) {
    uint64_t hash = hash_node(&node);
    uint32_t *place = index_find(&tree->index, hash, is_same, tree, &node);
    if (*place != 0)
        return (int32_t)(*place - 1);
    if (!make_room(tree))
        return CALLTREE_NO_MEMORY;
    *calltree_node(tree, tree->count) = node;
    index_put(&tree->index, hash, (uint32_t)tree->count);
    tree->index.count++;
    return tree->count++;
}

/* --- stacks ----------------------------------------------------------------------------------- */

static uint64_t hash_stack(const struct spprof_sample *sample) {
    uint64_t hash = sample->depth;
    for (uint32_t i = 0; i < sample->depth; i++)
        hash = index_mix(hash, sample->frames[i].code ^ (uint64_t)sample->frames[i].instruction << 40);
    return hash | 1;
}

/* Whether the stack that ends at `node` is the sample's: the same objects at the same instructions, and no more. */
static bool is_stack(const struct calltree *tree, int32_t node, const struct spprof_sample *sample) {
    for (uint32_t i = 0; i < sample->depth; i++) {
        if (node == CALLTREE_ROOT)
            return false;
        const struct calltree_node *at = calltree_node(tree, node);
        const struct spprof_frame *frame = &sample->frames[i];
        if (at->instruction != frame->instruction || !codes_is(tree->codes, at->code, frame->code, frame->generation))
            return false;
        node = at->parent;
    }
    return node == CALLTREE_ROOT;
}

static int32_t add_stack(struct calltree *tree, const struct spprof_sample *sample) {
    int32_t node = CALLTREE_ROOT;
    for (uint32_t i = sample->depth; i-- > 0 && node != CALLTREE_NO_MEMORY;) {
        const struct spprof_frame *frame = &sample->frames[i];
        int32_t code = codes_identify(tree->codes, frame->code, frame->generation);
        if (code < 0)
            return CALLTREE_NO_MEMORY;
        node = add_node(tree, (struct calltree_node){.parent = node, .code = code, .instruction = frame->instruction});
    }
    return node;
}

/* Most stacks are seen again soon, and need not be taken apart then. */
int32_t calltree_add(struct calltree *tree, const struct spprof_sample *sample) {
    uint64_t hash = hash_stack(sample);
    struct calltree_memo *memo = &tree->memo[(hash >> 32) % CALLTREE_MEMO];
    if (memo->hash == hash) {
        codes_hold(tree->codes);
        bool is_known = is_stack(tree, memo->node, sample);
        codes_let_go(tree->codes);
        if (is_known)
            return memo->node;
    }
    int32_t node = add_stack(tree, sample);
    if (node != CALLTREE_NO_MEMORY)
        *memo = (struct calltree_memo){.hash = hash, .node = node};
    return node;
}

void calltree_find_lines(struct calltree *tree) {
    for (int32_t i = 0; i < tree->count; i++) {
        struct calltree_node *node = calltree_node(tree, i);
        const struct code_names *names = codes_get(tree->codes, node->code);
        node->line = names == NULL ? 0
                                   : location_line((const uint8_t *)names->linetable.bytes, names->linetable.length,
                                                   names->first_line, node->instruction);
    }
}
